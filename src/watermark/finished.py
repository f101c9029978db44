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
from watermark.keys import Key, KeyRecord
from watermark.record import Mark, Record
from watermark.schemes import SCHEMES

# Types that are decoded, marked and encoded again.
CARRIERS: dict[str, tuple[str, ...]] = {
    "image": ("image/png", "image/jpeg", "image/webp"),
    "audio": ("audio/wav",),
}


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
    reason = _uncarried(asset)
    if reason:
        return Finished(asset, record, reason)
    try:
        if asset.kind == "image":
            return _picture(asset, record, key, epoch)
        return _sound(asset, record, key, epoch)
    except (DamagedAsset, InvalidSignal, UnsupportedFormat) as error:
        return Finished(asset, record, str(error))


def _uncarried(asset: Asset) -> str:
    """Why no finished media of this type is marked, or ""."""
    if asset.kind not in CARRIERS:
        made = {
            "video": "; mark it where it is made (attach the pipeline), and give its "
            "record= here",
            "text": "; mark it where it is made (attach the model)",
        }
        return f"there is no mark for finished {asset.kind} yet" + made.get(
            asset.kind, ""
        )
    known = CARRIERS[asset.kind]
    if asset.picture is None and asset.media_type not in known:
        return (
            f"{asset.media_type} cannot be marked when it is finished, expected one of "
            f"{', '.join(known)}: convert it first"
        )
    return ""


def _picture(asset: Asset, record: Record, key: Key, epoch: int) -> Finished:
    from watermark.assets import fingerprint, image
    from watermark.detectors import pixel as detector
    from watermark.schemes import pixel

    if asset.data is not None:
        before = image.decode(asset.data)
        image.check_plain(asset.data)
    else:
        given: Any = asset.picture
        if int(getattr(given, "n_frames", 1)) > 1:
            raise UnsupportedFormat("it has several frames, and only one is marked")
        before = image.upright(image.loaded(given))
    colour, alpha = image.split(before)
    code = pixel.Code(SCHEMES["pixel"].record(key, epoch=epoch))
    marked, _, mark_id = pixel.mark(colour, code)
    after = image.joined(marked, alpha, before)
    data, shown = None, after
    if asset.data is not None:
        data = image.encode(after, asset.media_type, like=before)
        shown = image.decode(data)
    seen = image.to_rgb8(shown)
    _read_back(detector.score(seen, code).payload, mark_id)
    made = _mark(code.record, mark_id)
    record = replace(
        record,
        marks=(*record.marks, made),
        fingerprint=fingerprint.fingerprint(seen),
    )
    record = record.with_content(image.digest(shown))
    picture = after if data is None else None
    return Finished(replace(asset, data=data, picture=picture), record)


def _sound(asset: Asset, record: Record, key: Key, epoch: int) -> Finished:
    from watermark.assets import audio
    from watermark.detectors import wave as detector
    from watermark.schemes import wave

    samples, rate = audio.decode(asset.data or b"")
    code = wave.Code(SCHEMES["wave"].record(key, epoch=epoch))
    marked, _, mark_id = wave.mark(samples, rate, code)
    data = audio.changed(asset.data or b"", marked - samples)
    heard, _ = audio.decode(data)
    _read_back(detector.score(heard, rate, code).payload, mark_id)
    record = replace(record, marks=(*record.marks, _mark(code.record, mark_id)))
    record = record.with_content(audio.digest(heard, rate))
    return Finished(replace(asset, data=data), record)


def _mark(record: KeyRecord, mark_id: bytes) -> Mark:
    return Mark(
        scheme=record.scheme,
        version=record.version,
        key_id=record.kid,
        epoch=record.epoch,
        mark_id=mark_id,
    )


def _read_back(found: bytes | None, mark_id: bytes) -> None:
    """Never record a mark that is not there."""
    if found != mark_id:
        raise InvalidSignal(
            "a mark was put in, but cannot be read back: it is too small, too short, "
            "too quiet or too flat to carry one"
        )
