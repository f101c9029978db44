"""Marks for media that nobody generated here: a photograph, a recording.

The picture or sound is decoded, marked, and encoded again as it came. What cannot be
marked without loss of something else is left as it is, and the reason is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from watermark.assets import DamagedAsset
from watermark.assets.loading import Asset
from watermark.errors import InvalidSignal, UnsupportedFormat
from watermark.keys import Key
from watermark.record import Mark, Record
from watermark.schemes import SCHEMES

SCHEME_OF = {"image": "pixel", "audio": "wave"}


@dataclass(frozen=True)
class Finished:
    """Finished media and what was done to it.

    Attributes:
        asset: with the mark, or as it came.
        record: with the mark, its digest and its fingerprint, or as it was.
        reason: why there is no mark, or "".
    """

    asset: Asset
    record: Record
    reason: str = ""


def mark(asset: Asset, record: Record, key: Key, epoch: int) -> Finished:
    """Give finished media a mark of its own, where it can carry one.

    Args:
        asset: a picture or a sound.
        record: what it will be published under.
        key: the provider's newest key.
        epoch: of its sub-keys.
    """
    try:
        if asset.kind == "image":
            return _picture(asset, record, key, epoch)
        if asset.kind == "audio":
            return _sound(asset, record, key, epoch)
    except (DamagedAsset, InvalidSignal, UnsupportedFormat) as error:
        return Finished(asset, record, str(error))
    return Finished(asset, record, f"there is no mark for finished {asset.kind} yet")


def _picture(asset: Asset, record: Record, key: Key, epoch: int) -> Finished:
    from watermark.assets import fingerprint, image
    from watermark.schemes import pixel

    before: Any = asset.picture
    before = image.decode(asset.data or b"") if before is None else image.loaded(before)
    if asset.data is not None and image.animated(asset.data):
        raise UnsupportedFormat("it has several frames, and only the first is marked")
    colour, alpha = image.split(before)
    code = pixel.Code(SCHEMES["pixel"].record(key, epoch=epoch))
    marked, _, mark_id = pixel.mark(colour, code)
    after = image.joined(marked, alpha, before)
    data = None
    if asset.data is not None:
        data = image.encode(after, asset.media_type, like=before)
    made = Mark(
        scheme="pixel",
        version=pixel.SCHEME.version,
        key_id=code.record.kid,
        epoch=epoch,
        mark_id=mark_id,
    )
    seen = fingerprint.fingerprint(image.to_rgb8(after))
    record = replace(record, marks=(*record.marks, made), fingerprint=seen)
    record = record.with_content(image.digest(after))
    picture = after if data is None else None
    return Finished(replace(asset, data=data, picture=picture), record)


def _sound(asset: Asset, record: Record, key: Key, epoch: int) -> Finished:
    from watermark.assets import audio
    from watermark.schemes import wave

    samples, rate = audio.decode(asset.data or b"")
    code = wave.Code(SCHEMES["wave"].record(key, epoch=epoch))
    marked, _, mark_id = wave.mark(samples, rate, code)
    made = Mark(
        scheme="wave",
        version=wave.SCHEME.version,
        key_id=code.record.kid,
        epoch=epoch,
        mark_id=mark_id,
    )
    data = audio.encode(marked, rate, like=asset.data or b"")
    record = replace(record, marks=(*record.marks, made))
    return Finished(replace(asset, data=data), record)
