"""The looks at what was seen of a whole film: as it came, then with frames missing.

The code of a film is one code over all of its frames, so how many they were when it was
marked is a hypothesis, too: as many as came, or as many as the pipeline makes; with
more effort up to `MISSING` more than came. Half of the error budget is that of the film
as it came; the other half that of films whose frames were cut off, left out or
re-ordered (`watermark.detectors.frames`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import frames as detector
from watermark.detectors import signs
from watermark.keys import KeyRecord
from watermark.report import Reason
from watermark.verification.looks import Codes, Files, Look, Seen
from watermark.verification.where import Place

Floats = NDArray[Any]

PLAIN = {"quick": 1.0, "normal": 0.5, "thorough": 0.5}  # share of the film as it came
MISSING = {"normal": 0, "thorough": 8}  # frames of latents that may be; by effort
GROUPS = (1, 2, 4, 6, 8)  # frames of film for one of latents
# Frames of latents that may be in other places. The nonces are searched under every
# shift, so that each frame more costs seconds; and their orders are counted in a
# float64, which 160 exceed.
MOST = {"normal": 32, "thorough": 128}


@dataclass(frozen=True, slots=True)
class Time:
    """Where the frames are in what is seen, and how many they may have been.

    Attributes:
        axes: that may be those of the frames, the likeliest first; none: there is
            nothing to re-order.
        count: of the film's frames, or None where it is not known.
        native: how many frames the pipeline makes by default, or None.
    """

    axes: Sequence[int]
    count: int | None = None
    native: int | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], count: int, native: int | None) -> Time:
        """Of noise or latents of a film of `count` frames.

        Pipelines draw (channels, frames, height, width) or (frames, channels, height,
        width), and some have one frame of latents for several of the film (`GROUPS`).
        What is drawn in another number of axes is not taken apart.
        """
        if len(shape) != 4:
            return cls(())
        fit = [axis for axis in (1, 0) if _groups(shape[axis], count) is not None]
        return cls(fit or (1,), count, native)

    def lengths(self, found: int, missing: int) -> list[int]:
        """How many frames of latents there may have been when the film was marked."""
        lengths = {found: None}
        groups = None if self.count is None else _groups(found, self.count)
        if groups and self.native and self.count and self.native > self.count:
            lengths[groups(self.native)] = None
        return list(lengths | {found + n: None for n in range(1, missing + 1)})


def _groups(frames: int, count: int) -> Callable[[int], int] | None:
    """How `count` frames of film may have become so many of latents, or None."""
    for n in GROUPS:
        if frames == (count - 1) // n + 1:  # the first by itself
            return lambda many: (many - 1) // n + 1
        if frames == -(-count // n):
            return lambda many: -(-many // n)
    return None


def looks(
    name: str,
    share: float,
    seen: Floats,
    time: Time,
    effort: str,
    codes: Codes,
    files: Files,
) -> Iterator[Look | Reason]:
    """As it came, then rearranged.

    Args:
        name: of the look.
        share: of the error budget, of all of them.
        seen: noise or latents of one sample.
        time: where its frames are.
        effort: how many looks there are.
        codes: of what is seen.
        files: nonces on file.
    """
    yield plain(name, PLAIN[effort] * share, seen, time, codes, files)
    left = (1 - PLAIN[effort]) * share
    yield from rearranged(name, left, seen, time, effort, codes, files)


def plain(
    name: str, share: float, seen: Floats, time: Time, codes: Codes, files: Files
) -> Look:
    """All frames in their order."""
    axis = next(iter(time.axes), None)

    def score(record: KeyRecord) -> Seen:
        code = codes(record, seen.shape)
        best = signs.score(signs.weights(seen), code, files.get(record.test))
        return Seen(best, where=Place(seen, code, best.nonce, axis))

    return Look(name, share, score)


def rearranged(
    name: str,
    share: float,
    seen: Floats,
    time: Time,
    effort: str,
    codes: Codes,
    files: Files,
) -> Iterator[Look | Reason]:
    """Frames that were cut off, left out or re-ordered; where the effort is made."""
    if effort not in MISSING:
        return
    most = MOST[effort]
    every = [
        (axis, length)
        for axis in time.axes
        for length in time.lengths(seen.shape[axis], MISSING[effort])
    ]
    tries = [one for one in every if max(seen.shape[one[0]], one[1]) <= most]
    if len(tries) < len(every):
        yield Reason(
            "search-incomplete",
            f"{name}: frames in other places were not looked for among more than "
            f"{most} frames of latents: give a part of the film",
        )
    for axis, length in tries:

        def score(record: KeyRecord, axis: int = axis, length: int = length) -> Seen:
            shape = (*seen.shape[:axis], length, *seen.shape[axis + 1 :])
            code = codes(record, shape)
            best = detector.score(seen, code, axis, files.get(record.test))
            gone = length - sum(place is not None for place in best.places)
            laid = _laid(seen, shape, axis, best.places)
            where = Place(laid, code, best.score.nonce, axis, best.places)
            told = f"{name}, frames in other places, {gone} of {length} missing"
            return Seen(best.score, None, told, where)

        yield Look(name, share / len(tries), score, changed=True)


def _laid(
    seen: Floats, shape: tuple[int, ...], axis: int, places: detector.Layout
) -> Floats:
    """Every frame at its place in the film that was marked, zeros where none is."""
    out = np.zeros((shape[axis], *shape[:axis], *shape[axis + 1 :]), seen.dtype)
    for frame, place in zip(np.moveaxis(seen, axis, 0), places, strict=True):
        if place is not None:
            out[place] = frame
    return np.moveaxis(out, 0, axis)
