"""Videos that were cut, thinned or re-ordered are found, and their frames placed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark.detectors import frames
from watermark.errors import InvalidSignal
from watermark.keys import Key
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code, mark

SHAPE = (4, 12, 16, 16)
EDITS = {
    "whole": list(range(12)),
    "cut": list(range(3, 11)),
    "dropped": [0, 1, 2, 4, 5, 7, 8, 9, 11],
    "swapped": [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5],
    "shuffled": [3, 7, 1, 0, 9, 11, 2, 10, 5, 4, 8, 6],
}


def code(seed: int, nonce_bits: int = 6) -> Code:
    key = Key(np.random.default_rng(seed).bytes(32))
    return Code(SCHEMES["noise"].record(key, nonce_bits=nonce_bits), SHAPE)


def draw(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("edit", EDITS)
def test_frames_are_put_in_their_place(edit: str) -> None:
    """At rho 0.3, where one frame alone is four standard deviations of its pilot."""
    kept = EDITS[edit]
    right = 0
    for seed in range(3):
        one = code(seed)
        marked, nonce, mark_id = mark(draw(SHAPE, seed), one)
        latents = 0.3 * marked + math.sqrt(0.91) * draw(SHAPE, seed + 50)
        found = frames.score(latents[:, kept], one)

        assert (found.score.nonce, found.score.payload) == (nonce, mark_id)
        assert found.score.log10_p() < -30
        right += sum(a == b for a, b in zip(found.places, kept, strict=True))
    assert right >= 0.97 * 3 * len(kept)


def test_frames_may_lie_along_any_axis() -> None:
    one = Code(code(5).record, (12, 4, 16, 16))
    marked, _, mark_id = mark(draw(one.shape, 5), one)
    found = frames.score(marked[4:], one, axis=0)

    assert found.places == tuple(range(4, 12))
    assert found.score.payload == mark_id


def test_frames_from_elsewhere_are_left_out() -> None:
    one = code(6)
    marked, _, mark_id = mark(draw(SHAPE, 6), one)
    latents = marked.copy()
    latents[:, 3:5] = draw((4, 2, 16, 16), 7)
    found = frames.score(latents, one)

    assert found.score.payload == mark_id
    outside = [place for i, place in enumerate(found.places) if i not in (3, 4)]
    assert outside == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]


def test_unmarked_videos_are_found_as_seldom_as_stated() -> None:
    latents = draw((4, 9, 16, 16), 8)
    found = [frames.score(latents, code(seed, 2)) for seed in range(100, 115)]
    for alpha in (0.3, 0.1, 1e-2):
        hits = sum(one.score.log10_p() <= math.log10(alpha) for one in found)

        assert hits <= scipy.stats.binom.ppf(0.999, len(found), alpha)
    assert all(one.score.payload is None for one in found)


def test_layouts_are_counted() -> None:
    """An unmarked video's p-value without them, over keys: it would be false."""
    one = code(9)
    marked, _, _ = mark(draw(SHAPE, 9), one)
    whole = frames.score(marked, one).score

    assert whole.hypotheses == 3 * 23 * (2 << 6 + 64)  # a shift is enough
    shuffled = frames.score(marked[:, EDITS["shuffled"]], one).score
    layouts = sum(math.comb(12, k) ** 2 * math.factorial(k) for k in range(13))
    assert shuffled.hypotheses == 3 * layouts * (2 << 6 + 64)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 0, 16, 16), 1), ((4, 12, 16, 15), 1), ((12, 16, 16), 1), ((4, 9, 16, 16), 4)],
)
def test_latents_of_another_shape_are_refused(
    shape: tuple[int, ...], axis: int
) -> None:
    with pytest.raises(InvalidSignal, match="expected"):
        frames.score(np.ones(shape, np.float32), code(10), axis)
