"""The tests of marked noise hold their error, and fail where they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.diffusion import distribution, features
from benchmarks.diffusion.distribution import BLIND, CONTROL, LISTED
from benchmarks.options import Options
from numpy.typing import NDArray
from scipy.stats import binom, kstest

SHAPE = (2, 16, 16)


def white(seed: int, draws: int = 20) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((draws, *SHAPE))


def test_the_tests_are_uniform_on_white_noise() -> None:
    found: dict[str, list[float]] = {"moments": [], "spectrum": [], "pairs": []}
    for seed in range(150):
        draws = white(seed)
        flat = draws.reshape(len(draws), -1)
        kinds = np.arange(len(draws))
        found["moments"] += distribution.moments(flat)[:2]
        found["spectrum"] += distribution.spectrum(draws)
        found["pairs"] += distribution.pairs(flat, kinds)[0][1:]

    for p in found.values():
        assert kstest(p, "uniform").pvalue > 1e-4


def test_pairs_of_many_draws_are_not_independent() -> None:
    """With 100 draws of 64 numbers the variance is twice that of independent pairs."""
    p = [
        distribution.pairs(
            np.random.default_rng(seed).standard_normal((100, 64)), np.arange(100)
        )[0][1]
        for seed in range(150)
    ]

    assert sum(value <= 0.1 for value in p) <= binom.ppf(0.999, len(p), 0.1)
    assert sum(value <= 0.3 for value in p) >= binom.ppf(0.001, len(p), 0.3)


def test_the_largest_pair_is_bounded() -> None:
    p = [
        distribution.pairs(white(seed, 12).reshape(12, -1), np.arange(12))[0][0]
        for seed in range(300)
    ]

    assert sum(value <= 0.1 for value in p) <= binom.ppf(0.999, len(p), 0.1)


def test_what_is_not_white_is_told() -> None:
    draws = white(1, 200)
    soft = (draws + np.roll(draws, 1, axis=-1)) / np.sqrt(2)
    flat = draws.reshape(len(draws), -1)
    copied = flat.copy()
    copied[7] = flat[3]

    assert min(distribution.spectrum(soft)) < 1e-12
    assert min(distribution.moments(1.02 * flat)) < 1e-6
    assert min(distribution.moments(np.sign(flat))) < 1e-12
    assert distribution.pairs(copied, np.arange(len(flat)))[0][0] < 1e-12


def test_pairs_with_one_nonce_are_shown_apart() -> None:
    flat = white(2, 30).reshape(30, -1)
    flat[4] = flat[9]
    kinds = np.arange(30)
    kinds[4] = kinds[9]
    p, shared = distribution.pairs(flat, kinds)

    assert p[0] > 1e-3
    assert len(shared) == 1
    assert shared[0] > 15


@pytest.mark.parametrize("mode", [BLIND, LISTED])
def test_marked_noise_passes(mode: str) -> None:
    row = distribution.of_key(mode, 0, 0, 60)
    p = [value for values in row["p"].values() for value in values]

    assert min(p) * len(p) > 0.01
    assert row["shared"] == 0


def test_one_nonce_for_all_is_told() -> None:
    row = distribution.of_key(CONTROL, 0, 0, 60)

    assert row["p"]["mean at each place"][0] < 1e-12
    assert row["p"]["pairs of draws"][0] < 1e-12
    assert row["shared"] == 60 * 59 // 2
    # sqrt(n) / (2 pi): a quarter of the signs, times (E|z|)^2 = 2 / pi.
    assert row["sum"] / row["shared"] == pytest.approx(10.19, abs=0.3)


def test_repeats_are_those_of_the_scheme() -> None:
    found = [distribution.repeats(0, key)[str(5_000)] for key in range(3)]

    # 11.9 pairs a key; a wrong width of the nonce is out by a factor of two.
    assert binom.cdf(sum(found), 3 * 12_497_500, 2**-20) > 1e-3
    assert binom.sf(sum(found) - 1, 3 * 12_497_500, 2**-20) > 1e-3


def test_the_energy_test_is_uniform_and_finds_a_shift() -> None:
    rng = np.random.default_rng(0)
    null = []
    for seed in range(40):
        one, other = rng.standard_normal((2, 12, 5))
        null.append(features.energy_test(one, other, seed)[1])
    one, other = rng.standard_normal((2, 40, 5))
    distance, p = features.energy_test(one, other + 1.0, 0)

    assert sum(value <= 0.1 for value in null) <= binom.ppf(0.999, len(null), 0.1)
    assert distance > 0
    assert p <= 1e-3


def test_the_energy_distance_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((2, 6, 3))
    scale = np.concatenate([one, other]).std(0)

    def mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(np.linalg.norm((a[:, None] - b[None]) / scale, axis=2).mean())

    expected = 2 * mean(one, other) - mean(one, one) - mean(other, other)

    assert features.energy_test(one, other, 0)[0] == pytest.approx(expected)


def test_a_run_goes_on_and_needs_no_model(tmp_path: Path) -> None:
    options: dict[str, Any] = {"work": tmp_path, "pipeline": tmp_path / "none"}
    first = distribution.measure(Options(samples=1, **options))
    again = distribution.measure(Options(samples=1, **options))

    assert (again.new, again.reused) == (0, first.new)
    assert again.tables == first.tables
    assert any("not compared" in note for note in first.notes)
    assert [t.reached for t in first.targets] == [True] * 4
