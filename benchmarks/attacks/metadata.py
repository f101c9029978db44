"""Signed files: functions of a file's bytes, and of what an attacker has at hand.

None of them may ever leave a file that is reported as trusted for content that its
signer did not sign.
"""

from __future__ import annotations

import io
import struct
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.attacks import Attack, Change, named, swept, untouched

Rng = np.random.Generator
STEADY = 256  # bytes: of a manifest so many times these can be hit


def resaved(data: bytes, rng: Rng) -> bytes:
    """Opened and saved again by Pillow: every metadata segment is gone."""
    image = Image.open(io.BytesIO(data))
    out = io.BytesIO()
    options = {"quality": 90} if image.format in ("JPEG", "WEBP") else {}
    Image.fromarray(np.asarray(image)).save(out, str(image.format), **options)
    return out.getvalue()


def flipped(data: bytes, rng: Rng, bits: float) -> bytes:
    """Some bits turned over, anywhere in the file.

    A manifest is a few bytes longer or shorter each time it is signed. That does not
    move what is hit of the rest.
    """
    start, end = _place(data)
    rest, manifest = len(data) - (end - start), (end - start) // STEADY * STEADY
    out = bytearray(data)
    for bit in rng.integers(8 * (rest + manifest), size=round(bits)):
        place = int(bit) >> 3
        if place >= rest:
            place += start - rest
        elif place >= start:
            place += end - start
        out[place] ^= 1 << (bit & 7)
    return bytes(out)


def cut(data: bytes, rng: Rng, share: float) -> bytes:
    """The beginning of the file."""
    return data[: round(share * len(data))]


def padded(data: bytes, rng: Rng) -> bytes:
    """With something behind its end."""
    return data + rng.bytes(64)


def transplanted(data: bytes, rng: Rng, *, donor: bytes) -> bytes:
    """The manifest of another file of the same container on this one's content."""
    start, end = _place(data)
    first, last = _place(donor)
    out = data[:start] + donor[first:last] + data[end:]
    if data[:4] == b"RIFF":
        out = out[:4] + struct.pack("<I", len(out) - 8) + out[8:]
    return out


def rolled_back(data: bytes, rng: Rng, *, updated: Change[bytes]) -> bytes:
    """With its manifest again, after the signer had added to it."""
    return transplanted(updated(data, rng), rng, donor=data)


def _place(data: bytes) -> tuple[int, int]:
    """Where the manifest store of a PNG, JPEG or WebP lies, with its headers.

    Raises:
        ValueError: there is none, or it is none of these.
    """
    if data[:4] == b"RIFF":
        kinds, head, tail, place = (b"C2PA",), 8, 0, 12
    elif data[:4] == b"\x89PNG":
        kinds, head, tail, place = (b"caBX",), 8, 4, 8
    elif data[:2] == b"\xff\xd8":
        return _segments(data)
    else:
        raise ValueError(f"found {data[:4]!r}, expected a PNG, JPEG or WebP")
    while place + 8 <= len(data):
        name, size = data[place : place + 4], data[place + 4 : place + 8]
        if tail:  # PNG has the length first, and a checksum behind
            name, size = size, name
        length = int.from_bytes(size, "big" if tail else "little")
        end = place + head + length + (tail or length % 2)
        if name in kinds:
            return place, end
        place = end
    raise ValueError("found no manifest")


def _segments(data: bytes) -> tuple[int, int]:
    """The run of APP11 segments of a JPEG."""
    place, start = 2, 0
    while place + 4 <= len(data) and data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == 0xEB:
            start = start or place
        elif start:
            break
        place = end
    if not start:
        raise ValueError("found no manifest")
    return start, place


def table(
    donor: bytes, older: bytes, resigned: Change[bytes], updated: Change[bytes]
) -> dict[str, Attack[bytes]]:
    """Every attack by its name.

    Args:
        donor: another file that the same provider signed.
        older: an earlier version of the file, as the same provider signed it.
        resigned: signs a file with the attacker's key.
        updated: a file about which its signer says more; its content stays.
    """

    def by_another(data: bytes, rng: Rng) -> bytes:
        return resigned(resaved(data, rng), rng)

    return named(
        [
            Attack("none", untouched),
            Attack("saved again", resaved),
            *swept("bits flipped", flipped, (1, 16)),
            *swept("cut to", cut, (0.9, 0.5)),
            Attack("padded", padded),
            Attack("manifest of another file", partial(transplanted, donor=donor)),
            Attack("manifest of an older version", partial(transplanted, donor=older)),
            Attack("updated, no attack", updated),
            Attack("updated and rolled back", partial(rolled_back, updated=updated)),
            Attack("stripped and signed by another", by_another),
        ]
    )
