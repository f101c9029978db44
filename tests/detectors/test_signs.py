"""The statistic of the sign code never claims more than is so, on any array."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from numpy.typing import NDArray

from watermark.detectors import noise, signs
from watermark.errors import InvalidSignal
from watermark.kernels import pilot_search
from watermark.kernels._noise import pilot_sums
from watermark.keys import Key, KeyRecord
from watermark.prf import state
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code, mark
from watermark.schemes.signs import SignCode

Array = NDArray[np.float32]
SHAPE = (4, 16, 16)
KEYS = 10_000


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["noise"].record(Key(rng.bytes(32)), **parameters)


def draw(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sparse() -> Array:
    latents = np.zeros(SHAPE, dtype=np.float32)
    latents.reshape(-1)[::40] = 3.0
    return latents


def stripes() -> Array:
    parity = np.indices(SHAPE).sum(axis=0) % 2
    return np.asarray(2 * parity - 1, dtype=np.float32)


LATENTS: dict[str, Callable[[], Array]] = {
    "gaussian": lambda: draw(SHAPE, 1),
    "constant": lambda: np.full(SHAPE, 0.7, dtype=np.float32),
    "sparse": sparse,
    "stripes": stripes,
    "smooth": lambda: scipy.ndimage.gaussian_filter(draw(SHAPE, 2), (0, 4, 4)),
    "heavy": lambda: np.random.default_rng(3).standard_cauchy(SHAPE).astype(np.float32),
}


# --- false positives -----------------------------------------------------------------


def test_the_tail_at_one_nonce_is_the_stated_one_under_random_keys() -> None:
    """Of all latents at once; below 0.05 it is exact but for the steps of its sums."""
    values = [make() for make in LATENTS.values()]
    w = np.ascontiguousarray(np.stack([signs.weights(v) for v in values], axis=1))
    found = np.zeros((len(values), KEYS))
    for i, record in enumerate(records(KEYS, 4)):
        code = Code(record, SHAPE)
        order = state(record, "order", SHAPE)
        sums, squares = pilot_sums(w, order, code.pilot_state, 7)
        t = np.asarray(sums) / np.sqrt(np.maximum(squares, 1))
        for j in np.flatnonzero(t > 2.1):  # below it p is above 0.05
            found[j, i] = signs.ln_tail(int(sums[j]), w[:, j][code.pilot])
        if i % 4000 == 10:
            assert [noise.one_nonce(v, code, 7) for v in values] == [
                signs.ln_tail(int(s), column[code.pilot])
                for s, column in zip(sums, w.T, strict=True)
            ]
    for name, ln_p in zip(LATENTS, found, strict=True):
        for alpha in (3e-2, 1e-2, 1e-3):
            hits = int((ln_p <= math.log(alpha)).sum())
            print(f"{name}: {alpha:g}: {hits / KEYS:g}")

            assert hits <= scipy.stats.binom.ppf(0.999, KEYS, alpha), (name, alpha)
        if name in ("gaussian", "smooth"):
            hits = int((ln_p <= math.log(1e-2)).sum())

            assert hits >= scipy.stats.binom.ppf(0.001, KEYS, 1e-2), name


@pytest.mark.parametrize("name", ["gaussian", "heavy"])
def test_the_whole_search_is_valid_under_random_keys(name: str) -> None:
    latents = LATENTS[name]()
    scores = [
        noise.score(latents, Code(record, SHAPE))
        for record in records(30, 6, nonce_bits=8)
    ]
    found = np.asarray([score.log10_p() for score in scores])
    for alpha in (0.3, 1e-1, 1e-2, 1e-3):
        hits = int((found <= math.log10(alpha)).sum())

        assert hits <= scipy.stats.binom.ppf(0.999, len(found), alpha)
    assert all(score.payload is None for score in scores)


def test_the_search_finds_the_largest_statistic_that_there_is() -> None:
    """What is paid for in hypotheses is searched: the best nonce of all 256."""
    [record] = records(1, 7, nonce_bits=8)
    code = Code(record, SHAPE)
    latents = draw(SHAPE, 8)
    best = min(noise.one_nonce(latents, code, nonce) for nonce in range(256))
    pilot = signs.weights(latents)[code.pilot]
    [(total, nonce), *_] = pilot_search(pilot, code.pilot_state, 8, 16)

    assert noise.one_nonce(latents, code, nonce) == best
    assert total == int(pilot @ code.pilot_signs(nonce))


# --- the mark id ---------------------------------------------------------------------


def test_a_mark_id_that_may_be_wrong_is_not_told() -> None:
    """Faint marks: some ids are decoded wrong, none of those is told."""
    shape = (4, 64, 64)
    wrong, told, present = 0, 0, 0
    for seed, record in enumerate(records(60, 9, nonce_bits=1)):
        code = Code(record, shape)
        marked, _, mark_id = mark(draw(shape, seed), code)
        latents = 0.12 * marked + math.sqrt(1 - 0.12**2) * draw(shape, seed + 900)
        score = noise.score(latents, code)
        present += score.log10_p() <= -6
        wrong += score.log10_p() <= -6 and score.decoded != mark_id
        told += score.payload is not None

        assert score.payload in (None, mark_id)
        assert (score.payload is None) == (score.ln_error > math.log(1e-3))
    assert present > 40
    assert wrong >= 2  # or this test shows nothing
    assert told >= 5


def test_a_mark_in_plain_sight_ends_the_search() -> None:
    """As sure as the search of everything, and as right."""
    [record] = records(1, 10)
    shape = (16, 64, 64)
    code = Code(record, shape)
    marked, nonce, mark_id = mark(draw(shape, 10), code)
    score = noise.score(0.6 * marked + 0.8 * draw(shape, 11), code)

    assert (score.nonce, score.payload) == (nonce, mark_id)
    assert score.hypotheses in (2 << 20, 2 << 84)
    assert score.ln_error < -50


# --- weights -------------------------------------------------------------------------


def test_weights_are_whole_standard_and_clipped() -> None:
    w = signs.weights(7 * draw((10_000,), 12))

    assert w.dtype == np.int32
    assert abs(float(np.sqrt(np.mean(w.astype(float) ** 2))) - 256) < 2
    assert int(np.abs(signs.weights(np.eye(1, 5000))).max()) == 4 * 256


def test_weights_of_many_numbers_can_be_summed() -> None:
    """A video of 5 million numbers, which the kernels sum in 32 bits."""
    g = np.random.default_rng(13)
    w = signs.weights(g.choice([-1e3, 1.0], 5_000_000, p=[0.06, 0.94]))

    assert int(np.abs(w).sum(dtype=np.int64)) < 1 << 30
    assert int(np.abs(w).max()) >= 200


def test_a_video_of_five_million_numbers_is_tested() -> None:
    [record] = records(1, 14, nonce_bits=2)
    code = SignCode(record, (16, 21, 90, 160))
    signed = code.signs(1, b"12345678").reshape(-1)
    g = np.random.default_rng(14)
    score = signs.score(signs.weights(signed + 30 * g.standard_normal(code.size)), code)

    assert (score.nonce, score.payload) == (1, b"12345678")


def test_weights_that_are_too_many_are_refused() -> None:
    many = np.broadcast_to(np.float32(1.0), (1 << 27,))  # one number in memory
    with pytest.raises(InvalidSignal, match="at most"):
        signs.weights(many)
