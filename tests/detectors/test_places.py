"""One array tested at many places: the right one is found, and every one is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.rates import Rate
from numpy.typing import NDArray

from watermark.detectors import places, signs
from watermark.detectors.signs import Registry
from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES, noise

SHAPE = (4, 16, 16)
ROOM = 5  # by which a cut may lie lower or further right


def record(seed: int, **parameters: Any) -> KeyRecord:
    key = Key(np.random.default_rng([9, seed]).bytes(32))
    return SCHEMES["noise"].record(key, **parameters)


def moved(part: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """A cut of 12 x 12 at one of the 25 places in 16 x 16."""
    down, across = divmod(index, ROOM)
    out = np.zeros(SHAPE, np.float32)
    out[:, down : down + 12, across : across + 12] = part
    return out


@pytest.mark.parametrize("index", [0, 7, 24])
def test_a_cut_is_found_where_it_lay_and_every_place_is_counted(index: int) -> None:
    code = noise.Code(record(0, nonce_bits=6), SHAPE)
    z = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    marked, nonce, mark_id = noise.mark(z, code)
    down, across = divmod(index, ROOM)
    part = marked[:, down : down + 12, across : across + 12].astype(np.float32)
    alone = signs.score(signs.weights(moved(part, index)), code)

    score, place = places.score(lambda at: moved(part, at), 25, code)

    assert place == index
    assert (score.nonce, score.payload) == (nonce, mark_id)
    assert score.statistic == alone.statistic
    assert score.hypotheses == 25 * alone.hypotheses


def test_one_place_is_an_ordinary_test() -> None:
    code = noise.Code(record(2, nonce_bits=4), SHAPE)
    z = np.random.default_rng(3).standard_normal(SHAPE)

    assert places.score(lambda at: z, 1, code) == (
        signs.score(signs.weights(z), code),
        0,
    )


def test_a_long_pilot_is_compared_by_its_beginning_and_tested_whole() -> None:
    code = noise.Code(record(4, nonce_bits=4), (4, 48, 48))
    assert len(code.pilot) > 2 * places.HEAD
    z = np.random.default_rng(5).standard_normal(code.shape)
    marked, nonce, _ = noise.mark(z, code)
    arrays = [np.roll(marked, shift, axis=-1) for shift in (3, 0, 1)]

    score, place = places.score(arrays.__getitem__, 3, code)

    assert (place, score.nonce) == (1, nonce)
    assert score.statistic == signs.score(signs.weights(marked), code).statistic


def test_nonces_on_file_are_tried_at_every_place() -> None:
    code = noise.Code(record(6, registry=1), SHAPE)
    z = np.random.default_rng(7).standard_normal(SHAPE)
    marked, nonce, mark_id = noise.mark(z, code)
    arrays = [np.roll(marked, shift, axis=-1) for shift in (2, 0)]

    score, place = places.score(
        arrays.__getitem__, 2, code, {nonce: mark_id, 5: bytes(8)}
    )

    assert (place, score.payload, score.hypotheses) == (1, mark_id, 2 * 2 * 2)


def test_a_ledger_is_asked_for_the_few_that_fit_best() -> None:
    code = noise.Code(record(12, registry=1), SHAPE)
    z = np.random.default_rng(13).standard_normal(SHAPE)
    marked, nonce, mark_id = noise.mark(z, code)
    part = marked[:, 1:13, 2:14].astype(np.float32)
    asked: list[bytes] = []

    def mark_id_of(value: bytes) -> bytes | None:
        asked.append(value)
        return None if value == pruned else mark_id

    pruned = bytes(12)
    on_file = [nonce.to_bytes(12, "little"), pruned]
    on_file += [bytes([k] * 12) for k in range(1, 60)]
    registry = Registry.of(on_file, mark_id_of)

    score, place = places.score(lambda at: moved(part, at), 25, code, registry)

    assert (place, score.nonce, score.payload) == (7, nonce, mark_id)
    assert score.hypotheses == 25 * 2 * len(registry)
    assert 1 <= len(asked) <= signs.CANDIDATES


def test_nonces_that_are_on_file_no_more_are_not_tested() -> None:
    code = noise.Code(record(14, registry=1), SHAPE)
    z = np.random.default_rng(15).standard_normal(SHAPE)
    marked, nonce, _ = noise.mark(z, code)
    gone = Registry.of([nonce.to_bytes(12, "little")], lambda value: None)

    score, _ = places.score(lambda at: marked, 2, code, gone)

    assert (score.n, score.log10_p()) == (0, 0.0)


def test_what_cannot_be_tested_raises() -> None:
    code = noise.Code(record(8, nonce_bits=4), SHAPE)
    empty = places.score(lambda at: np.zeros(SHAPE), 4, code)[0]

    assert empty.log10_p() == 0.0
    with pytest.raises(InvalidSignal, match="NaN"):
        places.score(lambda at: np.full(SHAPE, np.nan), 4, code)


def test_random_keys_are_as_rare_as_stated_because_places_are_counted() -> None:
    """With the mark ids on file, which needs no decoding."""
    part = np.random.default_rng(11).standard_normal((4, 12, 12)).astype(np.float32)
    arrays = [moved(part, index) for index in range(0, 25, 3)]
    tails = []
    for seed in range(2000):
        code = noise.Code(record(1000 + seed, registry=1), SHAPE)
        score, _ = places.score(arrays.__getitem__, 9, code, {seed: bytes(8)})
        tails.append(score.log10_p())
    at = {
        alpha: Rate(sum(tail <= np.log10(alpha) for tail in tails), len(tails))
        for alpha in (0.3, 0.1, 0.01)
    }
    uncounted = Rate(sum(t - np.log10(9) <= -1 for t in tails), len(tails))

    assert all(rate.interval()[0] <= alpha for alpha, rate in at.items())
    assert at[0.3].hits > 0
    # What would be claimed if the places were not paid for.
    assert uncounted.interval()[0] > 0.1
