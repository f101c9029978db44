"""`noise` never claims more than is so on any latent, and finds what it marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

from watermark.detectors import noise, signs
from watermark.detectors.stats import ln_sign_tail
from watermark.errors import InvalidSignal
from watermark.kernels import pilot_search
from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code, mark

Array = NDArray[np.float32]
SHAPE = (4, 16, 16)
KEYS = 20_000


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["noise"].record(Key(rng.bytes(32)), **parameters)


def one(seed: int, **parameters: Any) -> KeyRecord:
    [record] = records(1, seed, **parameters)
    return record


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


def test_the_tail_at_one_nonce_is_valid_under_random_keys() -> None:
    """One-nonce statistics of all latents at once; the tenth key by `one_nonce`."""
    latents = {name: make() for name, make in LATENTS.items()}
    stacked = np.stack([signs.weights(values) for values in latents.values()])
    sums = np.empty((len(latents), KEYS), dtype=np.int64)
    norms = np.empty((len(latents), KEYS))
    for i, record in enumerate(records(KEYS, 4)):
        code = Code(record, SHAPE)
        pilots = stacked[:, code.pilot]
        sums[:, i] = pilots @ code.pilot_signs(7)
        norms[:, i] = np.sqrt((pilots.astype(np.int64) ** 2).sum(axis=1))
        if i == 10:
            found = [noise.one_nonce(values, code, 7) for values in latents.values()]
            t = np.divide(sums[:, i], norms[:, i])

            assert np.allclose(found, [ln_sign_tail(value) for value in t])
    for j, name in enumerate(latents):
        for alpha in (1e-1, 1e-2, 1e-3):
            critical = scipy.optimize.brentq(
                lambda t, a=alpha: ln_sign_tail(t) - math.log(a), 0, 10
            )
            hits = int((sums[j] >= critical * norms[j])[norms[j] > 0].sum())
            ratio = alpha * KEYS / hits if hits else math.inf
            print(f"{name}: {alpha:g}: {hits / KEYS:g}, {ratio:.1f}x conservative")

            assert hits <= scipy.stats.binom.ppf(0.999, KEYS, alpha), (name, alpha)


def test_the_tail_at_one_nonce_is_not_vacuous() -> None:
    """The bound is 3.178 times the normal tail, so about a third of alpha fires."""
    latents = draw(SHAPE, 1)
    ln_p = np.asarray(
        [noise.one_nonce(latents, Code(r, SHAPE), 0) for r in records(2000, 5)]
    )

    assert 0.15 < float(np.mean(ln_p <= math.log(0.05))) / 0.05 < 0.5


@pytest.mark.parametrize("name", ["gaussian", "constant", "heavy"])
def test_the_whole_search_is_valid_under_random_keys(name: str) -> None:
    latents = LATENTS[name]()
    scores = [
        noise.score(latents, Code(record, SHAPE))
        for record in records(50, 6, nonce_bits=8)
    ]
    found = np.asarray([score.log10_p() for score in scores])
    for alpha in (0.3, 1e-1, 1e-2, 1e-3):
        hits = int((found <= math.log10(alpha)).sum())
        print(f"{name}: {alpha:g}: {hits / len(found):g}")

        assert hits <= scipy.stats.binom.ppf(0.999, len(found), alpha)
    assert all(score.payload is None for score in scores)


def test_the_search_finds_the_largest_statistic_that_there_is() -> None:
    """What is paid for in hypotheses is searched: the best nonce of all 256."""
    code = Code(one(7, nonce_bits=8), SHAPE)
    latents = draw(SHAPE, 8)
    best = min(noise.one_nonce(latents, code, nonce) for nonce in range(256))
    pilot = signs.weights(latents)[code.pilot]
    [(total, nonce), *_] = pilot_search(pilot, code.pilot_state, 8, 16)

    assert noise.one_nonce(latents, code, nonce) == best
    assert total == int(pilot @ code.pilot_signs(nonce))


# --- power ---------------------------------------------------------------------------


def recover(shape: tuple[int, ...], rho: float, bits: int, seed: int) -> None:
    record, other = records(2, seed, nonce_bits=bits)
    code = Code(record, shape)
    marked, nonce, mark_id = mark(draw(shape, seed), code)
    blurred = rho * marked + math.sqrt(1 - rho * rho) * draw(shape, seed + 1000)
    score = noise.score(blurred, code)
    stranger = noise.score(blurred, Code(other, shape))

    assert (score.payload, score.nonce) == (mark_id, nonce)
    assert score.log10_p() < -6
    assert stranger.payload is None
    assert stranger.log10_p() > -3


@pytest.mark.parametrize("seed", range(10, 15))
def test_a_faint_mark_is_read_and_a_wrong_key_finds_nothing(seed: int) -> None:
    recover((4, 32, 32), 0.3, 8, seed)


@pytest.mark.parametrize("seed", range(20, 24))
def test_a_fainter_mark_is_read_from_a_larger_latent(seed: int) -> None:
    recover((4, 64, 64), 0.2, 8, seed)


def test_a_mark_is_read_at_the_default_of_twenty_nonce_bits() -> None:
    recover((4, 32, 32), 0.4, 20, 30)


@pytest.mark.parametrize("shape", [(4096,), (16, 5, 8, 8), (8, 600)])
def test_a_mark_is_read_from_latents_of_any_rank(shape: tuple[int, ...]) -> None:
    recover(shape, 0.6, 6, 40)


@pytest.mark.parametrize("scale", [1e-6, 0.18215, 1.0, 13.0, 1e6])
def test_scale_is_of_no_account(scale: float) -> None:
    code = Code(one(50, nonce_bits=4), SHAPE)
    marked, _, mark_id = mark(draw(SHAPE, 51), code)

    assert noise.score(marked * np.float32(scale), code).payload == mark_id


def test_outliers_do_not_drown_a_mark() -> None:
    code = Code(one(52, nonce_bits=4), (4, 32, 32))
    marked, _, mark_id = mark(draw((4, 32, 32), 53), code)
    marked.reshape(-1)[::500] = 60.0

    assert noise.score(marked, code).payload == mark_id


def test_another_epoch_finds_nothing() -> None:
    key = Key.generate()
    old, new = (
        SCHEMES["noise"].record(key, epoch=epoch, nonce_bits=4) for epoch in (0, 1)
    )
    marked, _, _ = mark(draw(SHAPE, 54), Code(old, SHAPE))

    assert noise.score(marked, Code(old, SHAPE)).log10_p() < -6
    assert noise.score(marked, Code(new, SHAPE)).log10_p() > -3


# --- edges ---------------------------------------------------------------------------


def test_latents_of_nothing_are_no_evidence() -> None:
    score = noise.score(np.zeros(SHAPE, np.float32), Code(one(60, nonce_bits=4), SHAPE))

    assert (score.ln_p, score.log10_p(), score.payload) == (0.0, 0.0, None)


def test_one_number_is_no_evidence() -> None:
    latents = np.zeros(SHAPE, np.float32)
    latents[0, 0, 0] = 5
    for record in records(5, 61, nonce_bits=4):
        assert noise.score(latents, Code(record, SHAPE)).log10_p() == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite_are_refused(bad: float) -> None:
    latents = draw(SHAPE, 62)
    latents[1, 2, 3] = bad
    with pytest.raises(InvalidSignal, match="NaN or infinity"):
        noise.score(latents, Code(one(63, nonce_bits=4), SHAPE))


@pytest.mark.parametrize("shape", [(4, 16, 15), (1024,), (1, 4, 16, 16)])
def test_latents_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSignal, match="shape"):
        noise.score(np.zeros(shape, np.float32), Code(one(64, nonce_bits=4), SHAPE))


@pytest.mark.parametrize("scale", [1e-300, 1e160, 1e300])
def test_latents_of_any_finite_size_are_scored(scale: float) -> None:
    latents = draw(SHAPE, 65).astype(np.float64) * scale
    weights = signs.weights(latents)

    assert np.abs(weights).max() <= 4 * 256
    assert scale < 1 or weights.any()


def test_weights_are_steps_of_the_rms_and_clipped() -> None:
    weights = signs.weights(np.asarray([3.0, -3.0, 0.0] * 10 + [1000.0]))

    assert weights.dtype == np.int32
    assert weights.max() == 4 * 256
    assert (weights[0], weights[2]) == (-weights[1], 0)
