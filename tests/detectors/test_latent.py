"""`latent` is found after decoding and encoding, and claims nothing that is not so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from tests.schemes.test_latent import SHAPE, record, smooth

from watermark.detectors import latent, signs
from watermark.detectors.stats import ln_sign_tail
from watermark.errors import InvalidSignal
from watermark.schemes.latent import Code, mark, whiten

LARGE = (4, 64, 64)
KEYS = 4000


def damaged(latents: NDArray[Any], seed: int, share: float = 0.15) -> NDArray[Any]:
    """What decoding, eight bits and encoding add: noise beside the mark."""
    rng = np.random.default_rng(seed)
    noise = share * latents.std() * rng.standard_normal(latents.shape)
    return np.asarray(latents + noise, dtype=np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_mark_is_read_and_a_wrong_key_finds_nothing(seed: int) -> None:
    code, other = (Code(record(s, nonce_bits=8), LARGE) for s in (seed, seed + 100))
    marked, nonce, mark_id = mark(smooth(seed, LARGE), code)
    score = latent.score(damaged(marked, seed), code)
    stranger = latent.score(damaged(marked, seed), other)

    assert (score.payload, score.nonce) == (mark_id, nonce)
    assert score.log10_p() < -6
    assert stranger.payload is None
    assert stranger.log10_p() > -3


def test_a_mark_is_read_at_the_default_of_sixteen_nonce_bits() -> None:
    code = Code(record(5), LARGE)
    marked, _, mark_id = mark(smooth(5, LARGE), code)

    assert latent.score(damaged(marked, 5), code).payload == mark_id


def test_the_whole_search_is_valid_under_random_keys() -> None:
    scores = [
        latent.score(smooth(1), Code(record(seed, nonce_bits=6), SHAPE))
        for seed in range(60)
    ]
    found = np.asarray([score.log10_p() for score in scores])
    for alpha in (0.3, 1e-1, 1e-2, 1e-3):
        hits = int((found <= math.log10(alpha)).sum())
        print(f"{alpha:g}: {hits / len(found):g}")

        assert hits <= scipy.stats.binom.ppf(0.999, len(found), alpha)
    assert all(score.payload is None for score in scores)


@pytest.mark.parametrize("kind", ["picture", "constant but one", "stripes", "heavy"])
def test_the_tail_at_one_nonce_is_valid_under_random_keys(kind: str) -> None:
    """Over 4,000 keys, on latents that do not change."""
    latents: NDArray[Any] = smooth(6, (4, 16, 16))
    if kind == "constant but one":
        latents = np.zeros((4, 16, 16))
        latents[0, 8, 8] = 1
    elif kind == "stripes":
        latents = np.indices((4, 16, 16)).sum(0) % 2 * 1.0
    elif kind == "heavy":
        latents = np.random.default_rng(7).standard_cauchy((4, 16, 16))
    w = signs.weights(whiten(latents)).reshape(4, 16, 16)
    norm = math.sqrt(float((w.astype(np.int64) ** 2).sum()))
    found = []
    for seed in range(KEYS):
        total = int((w * Code(record(seed), w.shape).signs(3, bytes(8))).sum())
        found.append(ln_sign_tail(total / norm))
    for alpha in (1e-1, 1e-2, 1e-3):
        hits = int((np.asarray(found) <= math.log(alpha)).sum())

        assert hits <= scipy.stats.binom.ppf(0.999, KEYS, alpha)
    assert kind == "constant but one" or min(found) < math.log(1e-2)


def test_parts_that_are_not_known_count_nothing() -> None:
    code = Code(record(8, nonce_bits=6), LARGE)
    marked, _, mark_id = mark(smooth(8, LARGE), code)
    g = whiten(damaged(marked, 8))
    g[:, :16] = 0
    score = latent.score_whitened(g, code)

    assert score.payload == mark_id
    assert score.n < 0.8 * g.size


def test_latents_of_nothing_are_no_evidence() -> None:
    score = latent.score(np.zeros(SHAPE, np.float32), Code(record(), SHAPE))

    assert (score.ln_p, score.payload) == (0.0, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_latents_that_are_not_finite_are_refused(bad: float) -> None:
    latents = smooth(9)
    latents[0, 0, 0] = bad
    with pytest.raises(InvalidSignal, match="NaN or infinity"):
        latent.score(latents, Code(record(), SHAPE))


@pytest.mark.parametrize("shape", [(4, 32, 31), (4096,), (1, 4, 32, 32)])
def test_latents_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSignal, match="shape"):
        latent.score(np.ones(shape, np.float32), Code(record(), SHAPE))
