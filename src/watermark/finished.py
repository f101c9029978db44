"""Marks for media that nobody generated here: a photograph, a recording.

The picture or sound is decoded, marked, and encoded again as it came. What cannot be
marked without loss of something else is left as it is, and the reason is told. Learned
marks (`watermark.schemes.learned`) go in first, then ours; each is read back from what
was encoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from watermark.assets import DamagedAsset
from watermark.assets.loading import Asset
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal, UnsupportedFormat
from watermark.keys import Key, KeyRecord
from watermark.record import Mark, Record
from watermark.schemes import SCHEMES, learned
from watermark.schemes.learned.codec import Codec

# Types that are decoded, marked and encoded again.
CARRIERS: dict[str, tuple[str, ...]] = {
    "image": ("image/png", "image/jpeg", "image/webp"),
    "audio": ("audio/wav",),
}
OWN = {"image": "pixel", "audio": "wave"}  # the layer of each that is ours
# A learned mark has to be read back as surely as this, or with every bit of it: it
# leaves room for some hundred other tests of a picture (31 of 32 bits).
SURE = math.log(1e-8)


@dataclass(frozen=True)
class Finished:
    """Finished media and what was done to it.

    Attributes:
        asset: with the mark, or as it came.
        record: with the mark, its digest and its fingerprint, or as it was.
        reason: why there is no mark, or "".
        keys: key records of learned marks, without which they are not looked for.
    """

    asset: Asset
    record: Record
    reason: str = ""
    keys: tuple[KeyRecord, ...] = ()


def mark(
    asset: Asset,
    record: Record,
    key: Key,
    epoch: int,
    layers: Sequence[str | Codec] | None = None,
) -> Finished:
    """Give finished media a mark of its own, where it can carry one.

    Args:
        asset: a picture or a sound.
        record: what it will be published under.
        key: the provider's newest key.
        epoch: of its sub-keys.
        layers: ``"pixel"`` or ``"wave"``, learned marks by the names of their codecs,
            and codecs of one's own; None: our own alone. Those that the record has are
            not put in again.

    Raises:
        ValueError: `layers` is empty, or no list.
        UnsupportedFormat: it names our layer of another medium.
        MissingDependency: a codec's package is not installed.
        MissingCodec: there is no such codec, or its weights are not on this machine.
        CodecError: a codec failed, or is for another medium or size.
    """
    reason = _uncarried(asset)
    if reason:
        return Finished(asset, record, reason)
    schemes = _schemes(OWN[asset.kind], layers)
    records = [
        SCHEMES[each].record(key, epoch=epoch)
        if isinstance(each, str)
        else learned.record(key, each, epoch=epoch)
        for each in schemes
    ]
    there = {mark.scheme for mark in record.marks if mark.coverage > 0}
    records = [each for each in records if each.scheme not in there]
    if not records:
        return Finished(asset, record)
    try:
        if asset.kind == "image":
            return _picture(asset, record, records)
        return _sound(asset, record, records)
    except (DamagedAsset, InvalidSignal, UnsupportedFormat) as error:
        return Finished(asset, record, str(error))


def _schemes(own: str, layers: Sequence[str | Codec] | None) -> list[str | Codec]:
    """Codecs, and our own layer's name after them."""
    if layers is None:
        return [own]
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers is {layers!r}, expected a list such as [{own!r}]")
    other = sorted({*OWN.values()} - {own})
    if wrong := [each for each in layers if each in other]:
        raise UnsupportedFormat(
            f"layers names {wrong[0]!r}, expected {own!r} or the names of codecs"
        )
    codecs = {c.name: c for c in map(learned.named, [n for n in layers if n != own])}
    return [*codecs.values(), *[own] * (own in layers)]


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


def _picture(asset: Asset, record: Record, records: list[KeyRecord]) -> Finished:
    from watermark.assets import fingerprint, image
    from watermark.detectors import learned as learned_detector
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
    marked, alpha = image.split(before)
    code, mark_id = None, b""
    for each in records:
        if learned.is_learned(each.scheme):
            marked = learned.mark_picture(marked, each)
        else:
            code = pixel.Code(each)
            marked, _, mark_id = pixel.mark(marked, code)
    after = image.joined(marked, alpha, before)
    data, shown = None, after
    if asset.data is not None:
        data = image.encode(after, asset.media_type, like=before)
        shown = image.decode(data)
    seen = image.to_rgb8(shown)
    if code is not None:
        _read_back(detector.score(seen, code).payload, mark_id)
    for each in (r for r in records if learned.is_learned(r.scheme)):
        read = learned.read_picture(seen, learned.codec_of(each))
        _sure(learned_detector.score([read], each), each)
    record = _recorded(record, records, mark_id)
    record = replace(record, fingerprint=fingerprint.fingerprint(seen))
    record = record.with_content(image.digest(shown))
    picture = after if data is None else None
    found = replace(asset, data=data, picture=picture)
    return Finished(found, record, keys=_to_keep(records))


def _sound(asset: Asset, record: Record, records: list[KeyRecord]) -> Finished:
    from watermark.assets import audio
    from watermark.detectors import learned as learned_detector
    from watermark.detectors import wave as detector
    from watermark.schemes import wave

    samples, rate = audio.decode(asset.data or b"")
    marked, code, mark_id = samples, None, b""
    for each in records:
        if learned.is_learned(each.scheme):
            marked = learned.mark_sound(marked, rate, each)
        else:
            code = wave.Code(each)
            marked, _, mark_id = wave.mark(marked, rate, code)
    data = audio.changed(asset.data or b"", marked - samples)
    heard, _ = audio.decode(data)
    if code is not None:
        _read_back(detector.score(heard, rate, code).payload, mark_id)
    for each in (r for r in records if learned.is_learned(r.scheme)):
        read = learned.read_sound(heard, rate, learned.codec_of(each))
        _sure(learned_detector.score(read, each), each)
    record = _recorded(record, records, mark_id)
    record = record.with_content(audio.digest(heard, rate))
    return Finished(replace(asset, data=data), record, keys=_to_keep(records))


def _recorded(record: Record, records: list[KeyRecord], mark_id: bytes) -> Record:
    """`record` with the marks; a learned one carries no id."""
    made = [
        _mark(each, b"" if learned.is_learned(each.scheme) else mark_id)
        for each in records
    ]
    return replace(record, marks=(*record.marks, *made))


def _to_keep(records: list[KeyRecord]) -> tuple[KeyRecord, ...]:
    return tuple(each for each in records if learned.is_learned(each.scheme))


def _sure(score: Score, record: KeyRecord) -> None:
    """As `_read_back`, of a learned mark."""
    if score.ln_p > max(SURE, -score.n * math.log(2)) or not score.n:
        raise InvalidSignal(
            f"{record.scheme} was put in, but {score.statistic:g} of {score.n} bits "
            "are read back: too few"
        )


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
