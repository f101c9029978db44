"""The tail of a weighted sum of counts, against whole-number convolution."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from watermark.detectors.lattice import ln_count_tail

UNITS = 65536  # probabilities are multiples of 2**-16, as those of hf-synthid are


def exact_ln_tail(units: list[int], weights: list[int], total: int) -> float:
    mass = {0: 1}
    for weight in weights:
        longer: dict[int, int] = {}
        for value, ways in mass.items():
            for count, unit in enumerate(units):
                at = value + weight * count
                longer[at] = longer.get(at, 0) + ways * unit
        mass = longer
    ways = sum(ways for value, ways in mass.items() if value >= total)
    if not ways:
        return -math.inf
    share = Fraction(ways, UNITS ** len(weights))
    return math.log(share.numerator) - math.log(share.denominator)


@pytest.mark.parametrize("seed", range(25))
def test_the_tail_is_exact(seed: int) -> None:
    """Down to e^-60, with gaps and with a lonely atom far out."""
    rng = np.random.default_rng(seed)
    bulk = rng.multinomial(UNITS - 1, rng.dirichlet(np.full(rng.integers(2, 8), 2.0)))
    units = [*bulk.tolist(), *[0] * int(rng.integers(0, 4)), 1]
    weights = np.sort(rng.integers(1, 14, rng.integers(1, 6)))
    high = int(weights.sum()) * (len(units) - 1)
    for total in {*rng.integers(0, high, 12).tolist(), high - 2, high - 1, high}:
        found = ln_count_tail(np.asarray(units) / UNITS, weights, int(total))
        expected = exact_ln_tail(units, weights.tolist(), int(total))
        if expected == -math.inf:
            assert found == -math.inf
        else:
            assert found == pytest.approx(expected, abs=1e-8)


def test_the_ends() -> None:
    p = np.asarray([0.0, 0.25, 0.5, 0.25, 0.0])
    weights = np.asarray([1, 2, 2])

    assert ln_count_tail(p, weights, 5) == 0.0
    assert ln_count_tail(p, weights, 15) == pytest.approx(3 * math.log(0.25))
    assert ln_count_tail(p, weights, 16) == -math.inf


def test_a_count_that_never_varies_is_no_evidence() -> None:
    assert ln_count_tail(np.asarray([0.0, 1.0]), np.asarray([3, 1]), 4) == 0.0


def test_it_reaches_far_down() -> None:
    """200 fair coins in each of 30 layers, nine heads in ten: e^-2200 or so."""
    n = 200
    p = np.asarray([math.comb(n, k) / 2.0**n for k in range(n + 1)])
    weights = np.full(30, 1)
    found = ln_count_tail(p, weights, 5400)
    expected = math.log(
        sum(math.comb(6000, k) for k in range(5400, 6001))
    ) - 6000 * math.log(2)

    assert found == pytest.approx(expected, rel=1e-9)
