"""The looks at learned marks, beside those of our own layers.

Each is one reading by a decoder of somebody else's, compared with every key at hand; so
a look costs the same for one key as for many. What cannot be looked for is told, and is
never taken for "not marked". Such a mark is `copyable`, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import learned as detector
from watermark.errors import (
    CodecError,
    InvalidSignal,
    MissingCodec,
    MissingDependency,
)
from watermark.keys import KeyRecord
from watermark.report import Reason
from watermark.schemes import learned
from watermark.schemes.learned import Bits
from watermark.verification.looks import Files, Layer, Look, Seen
from watermark.verification.setting import GEOMETRY, Findings, Setting, mark_evidence

FRAMES = 8  # of a film that are read, at equal distances
# What finding, loading or running a codec may raise.
TROUBLE = (MissingDependency, MissingCodec, CodecError)
_TURNS = tuple((turns, flip) for flip in (False, True) for turns in range(4))[1:]


def layers(content: Any, setting: Setting) -> Mapping[str, Layer[Any]]:
    """The looks at a picture or a film for every learned mark there is a key of."""
    if not isinstance(content, np.ndarray) or content.dtype != np.uint8:
        return {}  # latents
    look = {3: _picture, 4: _film}.get(content.ndim)
    names = sorted({r.scheme for r in setting.records if is_for(r, sound=False)})
    return {} if look is None else dict.fromkeys(names, look)


def is_for(record: KeyRecord, *, sound: bool) -> bool:
    """Whether a key record is of a learned mark for sound, or for pictures."""
    heard = bool(record.parameters.get("rate"))
    return learned.is_learned(record.scheme) and heard is sound


def at_hand(records: Sequence[KeyRecord], found: Findings) -> list[KeyRecord]:
    """Those whose codec is here, as the record has it; of the others it is told why."""
    own: list[KeyRecord] = []
    for record in records:
        try:
            learned.codec_of(record)
            own.append(record)
        except TROUBLE as error:
            reason = untold(record.scheme, error)
            if reason not in found.open:
                found.open.append(reason)
    return own


def untold(scheme: str, error: Exception) -> Reason:
    """Why a learned mark was not looked for."""
    name = scheme.removeprefix(learned.PREFIX)
    code = "codec-failed" if isinstance(error, CodecError) else "no-codec"
    return Reason(code, f"a mark of {name} was not looked for: {str(error)[:400]}")


def power(scheme: str) -> Reason:
    """What would have been found, by a learned mark that was looked for."""
    name = scheme.removeprefix(learned.PREFIX)
    return Reason(
        "power",
        f"expected to find a mark of {name} in what was marked so, as it is; what it "
        "survives, its makers say",
    )


def _picture(
    pixels: NDArray[np.uint8], setting: Setting, files: Files
) -> Iterator[Look]:
    """As it is; with more effort also turned and flipped."""
    share = GEOMETRY.get(setting.effort, 0.0)
    yield Look("as it is", 1 - share, _Reading(pixels[None]))
    if share:
        for turns, flip in _TURNS:
            turned = np.rot90(pixels[:, ::-1] if flip else pixels, turns)
            name = f"turned by {90 * turns} degrees" + ", flipped" * flip
            reading = _Reading(np.ascontiguousarray(turned)[None])
            yield Look(name, share / len(_TURNS), reading, changed=True)


def _film(film: NDArray[np.uint8], setting: Setting, files: Files) -> Iterator[Look]:
    """Some frames; each bit is as most of them have it."""
    few = min(len(film), FRAMES)
    chosen = [(2 * i + 1) * len(film) // (2 * few) for i in range(few)]
    yield Look(f"{few} frames together", 1.0, _Reading(film[chosen]))


class _Reading:
    """What a codec reads in pictures, read once; the test of it under a key record."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self._pictures = pictures
        self._read: dict[str, Bits | None] = {}

    def __call__(self, record: KeyRecord) -> Seen:
        codec = learned.codec_of(record)
        if codec.name not in self._read:
            read = [learned.read_picture(each, codec) for each in self._pictures]
            self._read[codec.name] = detector.majority(read)
        return Seen(detector.score([self._read[codec.name]], record))


def sound_marks(
    samples: NDArray[np.floating],
    rate: int,
    records: Sequence[KeyRecord],
    tests: int,
    setting: Setting,
    found: Findings,
) -> None:
    """Test key records of learned marks for sound.

    Args:
        samples: floats in [-1, 1], (n,) or (n, channels).
        rate: samples a second.
        records: of learned marks for sound, each another test.
        tests: how many tests there are of this sound.
        setting: what verification has to work with.
        found: takes the evidence.
    """
    for scheme in sorted({record.scheme for record in records}):
        own = at_hand([r for r in records if r.scheme == scheme], found)
        if not own:
            continue
        try:
            read = learned.read_sound(samples, rate, learned.codec_of(own[0]))
            for record in own:
                score = detector.score(read, record)
                found.evidence.append(mark_evidence(record, score, tests, setting))
            found.power.append(power(scheme))
        except TROUBLE as error:
            found.open.append(untold(scheme, error))
        except InvalidSignal as error:
            found.open.append(Reason("too-short", str(error)))
