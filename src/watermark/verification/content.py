"""Does a marked picture show what its record is of?

A mark can be replayed: whoever inverts a marked picture can generate another from its
noise, or bend one until its inversion is that noise (Mueller et al. 2024, "Black-box
forgery attacks on semantic watermarks", re-prompting and imprinting). The mark is then
genuine and the picture is not; only the record's fingerprint tells.

The codes of `noise` and `latent` are bound to places, so that a mark which was found
tells how the picture lay when it was made: turned, resized or cut, it is compared in
that frame, and only where it is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from watermark.assets import DamagedAsset, fingerprint, image, likeness
from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.record import Record
from watermark.report import Evidence, Reason
from watermark.verification.setting import Findings


def picture(asset: Asset) -> Image:
    """The picture of an image asset, decoded.

    Raises:
        DamagedAsset: it cannot be decoded.
        UnsupportedFormat: a type that is not read.
    """
    if asset.picture is None:
        return image.decode(asset.data or b"")
    return image.loaded(asset.picture)


def compare(
    asset: Asset, mark: Evidence, records: Sequence[Record], found: Findings
) -> None:
    """Hold a marked picture against the fingerprints of the records that it names.

    One that looks like none of them is a conflict, ``other-content``. Where nothing
    tells how it lay, as after cutting a picture that `pixel` marked, or where one of
    the records has no fingerprint (it may be that one's: a seed used twice gives one
    mark id twice), a note says that it was not compared.
    """
    kept = {r.fingerprint for r in records if r.fingerprint}
    if asset.kind not in ("image", "video", "latents") or not records:
        return
    if asset.kind != "image":
        found.notes.append(
            Reason(
                "content-not-compared",
                "only a picture can be held against what its record knows: whether "
                f"this {asset.kind} is what the mark was made for was not looked at",
            )
        )
        return
    if not kept:
        found.notes.append(
            Reason(
                "content-not-compared",
                "the mark's record does not know what its picture looks like",
            )
        )
        return
    try:
        apart = _apart(asset, mark, kept, found)
    except (DamagedAsset, UnsupportedFormat, ValueError) as error:
        found.notes.append(Reason("content-not-compared", str(error)))
        return
    if apart > likeness.LIMIT and not all(r.fingerprint for r in records):
        found.notes.append(
            Reason(
                "content-not-compared",
                "several records have this mark id, and not all of them know what "
                "their picture looks like: it may be one of those",
            )
        )
    elif apart > likeness.LIMIT:
        found.conflicts.append(
            Reason(
                "other-content",
                f"the mark's record is of a picture that looks different: {apart:.1f} "
                f"grey levels apart, expected at most {likeness.LIMIT:g} after "
                "re-encoding, resizing or another light; it was edited since, or its "
                "mark carried over to another",
            )
        )


def _apart(asset: Asset, mark: Evidence, kept: set[bytes], found: Findings) -> float:
    """The distance to the nearest of `kept`.

    Raises:
        ValueError: the two cannot be compared, and why.
        DamagedAsset: as `picture`.
        UnsupportedFormat: as `picture`.
    """
    frame = found.frames.get(mark)
    if frame is not None:
        return likeness.nearest(kept, frame.pixels, frame.part)
    pixels = image.to_rgb8(picture(asset))
    same = {one for one in kept if fingerprint.is_size(one, pixels)}
    if not same or "other-geometry" in mark.codes:
        raise ValueError(
            "the picture was cut, turned or resized since: whether it shows what its "
            "record is of was not looked at"
        )
    return likeness.nearest(same, pixels)
