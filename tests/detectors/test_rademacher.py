"""The tail of a signed sum is never below the exact one, and hardly above it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from watermark.detectors.rademacher import LN_FAR, LN_NEAR, ln_signed_tail
from watermark.detectors.stats import ln_binomial_tail, ln_sign_tail

G = np.random.default_rng(0)
CASES: dict[str, list[int]] = {
    "normal": np.rint(G.normal(0, 60, 60)).astype(int).tolist(),
    "many": np.rint(G.normal(0, 20, 300)).clip(-80, 80).astype(int).tolist(),
    "equal": [7] * 100,
    "one": [5],
    "two": [3, -4],
    "a few huge": [1024] * 3 + [1] * 60,
    "huge and many": [1024] * 9 + [3] * 40,
    "all but one equal": [64] * 80 + [63],
    "nearly a lattice": [64] * 80 + [63] * 3 + [1] * 2,
    "big steps": [20 * int(x) for x in G.integers(0, 5, 100)] + [1],
    "powers": [2**i for i in range(11)],
    "all different": list(range(1, 90)),
    "heavy": np.rint(8 * G.standard_cauchy(80)).clip(-1024, 1024).astype(int).tolist(),
    "two sizes": [100] * 30 + [101] * 30,
    "zeros": [0] * 50 + [9] * 20,
}


def exact_tails(w: list[int]) -> dict[int, float]:
    """Ln of the exact tail at every value of the sum, by convolution of whole numbers.

    The counts are the digits of one large number, so nothing is rounded.
    """
    digit = len(w) + 2
    product = 1
    for size in map(abs, w):
        product += product << (digit * size)
    largest = sum(map(abs, w))
    mask = (1 << digit) - 1
    tails, tail = {}, 0
    for plus in range(largest, -1, -1):
        count = product >> (digit * plus) & mask
        tail += count
        if count:
            tails[2 * plus - largest] = math.log(tail) - len(w) * math.log(2)
    return tails


def bound(total: int, w: NDArray[np.int32]) -> float:
    return ln_sign_tail(total / math.sqrt(float((w.astype(float) ** 2).sum())))


@pytest.mark.parametrize("name", CASES)
def test_the_tail_is_exact_at_small_sizes(name: str) -> None:
    w = np.asarray(CASES[name], np.int32)
    tails = exact_tails(CASES[name])
    totals = [total for total in tails if total >= 0]
    if len(totals) > 40:  # the largest, and some in between
        chosen = np.random.default_rng(1).choice(totals[8:], 32, replace=False)
        totals = totals[:8] + [int(total) for total in chosen]
    for total in totals:
        found, exact = ln_signed_tail(total, w), tails[total]

        assert found >= exact - 1e-12, (total, found, exact)
        assert found <= bound(total, w)
        if LN_FAR < bound(total, w) <= LN_NEAR:
            assert found <= exact + 2e-3, (total, found, exact)


def test_between_values_of_the_sum_the_next_one_counts() -> None:
    w = np.full(100, 7, np.int32)
    exact = exact_tails(w.tolist())

    assert ln_signed_tail(7 * 30 - 3, w) == ln_signed_tail(7 * 30, w)
    assert abs(ln_signed_tail(7 * 30, w) - exact[7 * 30]) < 1e-3


@pytest.mark.parametrize("size", [1000, 16384])
def test_hard_signs_are_binomial(size: int) -> None:
    w = np.full(size, 256, np.int32)
    for deviations in (3, 5, 8):
        k = size // 2 + int(deviations * math.sqrt(size) / 2)
        found = ln_signed_tail(256 * (2 * k - size), w)

        assert 0 <= found - ln_binomial_tail(k, size, 0.5) < 1e-3


def test_normal_weights_have_a_tail_near_the_normal_one() -> None:
    """Half an order of magnitude below the bound, at every depth that is read."""
    w = np.rint(256 * np.random.default_rng(2).normal(0, 1, 65536).clip(-4, 4))
    w = w.astype(np.int32)
    norm = math.sqrt(float((w.astype(float) ** 2).sum()))
    for t in (2.5, 5, 10, 15):
        gain = (bound(int(t * norm), w) - ln_signed_tail(int(t * norm), w)) / math.log(
            10
        )

        assert 0.49 < gain < 0.7


@pytest.mark.parametrize("seed", range(6))
def test_it_is_a_tail_of_draws(seed: int) -> None:
    """Realised rates of weights too many to convolve, mean of sixty thousand draws."""
    g = np.random.default_rng(seed)
    w = np.rint(30 * g.standard_t(1 + seed, 200)).clip(-1024, 1024).astype(np.int32)
    sums = np.sort((1 - 2 * g.integers(0, 2, (60_000, len(w)), np.int8)) @ w)
    for alpha in (1e-2, 1e-3):
        total = int(sums[-int(alpha * len(sums))])
        rate = float(np.mean(sums >= total))
        error = 4 * math.sqrt(rate / len(sums))

        assert abs(math.exp(ln_signed_tail(total, w)) - rate) < error


def test_nothing_is_no_evidence() -> None:
    assert ln_signed_tail(0, np.zeros(5, np.int32)) == 0.0
    assert ln_signed_tail(0, np.zeros(0, np.int32)) == 0.0
    assert ln_signed_tail(-50, np.full(100, 3, np.int32)) == 0.0


def test_it_takes_no_longer_than_it_should() -> None:
    """Weights chosen to be slow are answered by the bound."""
    w = np.r_[np.full(2000, 1024), np.arange(1, 1024)].astype(np.int32)
    total = int(6 * math.sqrt(float((w.astype(float) ** 2).sum())))

    assert ln_signed_tail(total, w) <= bound(total, w)
