"""Spoilt containers: read and written without a crash, and never called unlabelled.

Each trial spoils a labelled file in one place, more often near the label than
elsewhere. Then one of three things is right: the reader says that the file is damaged,
it finds a label, or it finds none because a name that leads to the label is no longer
in the file. Nothing in a container without checksums tells such a file from one that
never had a label. A file that is merely cut off is never one without, unless it is cut
where it ended before it was labelled.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.label_samples import LABEL, Sample
from watermark.assets import OOXML, DamagedAsset
from watermark.errors import WatermarkError
from watermark.labels import aigc, containers

SLOW = 2.0  # processor seconds; a reader that takes longer for such a small file hangs
TEXTS = ("text/markdown", "text/html")  # a piece of a text is a whole text
_NEAR = 400  # bytes around the label
_KINDS = ("bit", "byte", "number", "zeros", "noise", "several", "gone", "more", "cut")
_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\1\0\0\0")
_XMP = (b"AIGC", b"tc260.org.cn", b"Description", b"RDF")
_HEIF = (b"meta", b"iinf", b"infe", b"mime", b"application/rdf+xml", *_XMP)
_PROPERTIES = (b"docProps/custom.xml",)
# What leads a reader to the label.
NAMES: dict[str, tuple[bytes, ...]] = {
    "audio/wav": (b"AIGC",),
    "video/avi": (b"LIST", b"INFO", b"AIGC"),
    "audio/mp4": (b"udta", b"meta", b"keys", b"ilst", b"AIGC"),
    "video/mp4": (b"udta", b"meta", b"keys", b"ilst", b"AIGC"),
    "video/quicktime": (b"udta", b"meta", b"keys", b"ilst", b"AIGC"),
    "video/x-matroska": (b"\x12\x54\xc3\x67", b"\x67\xc8", b"\x45\xa3\x84AIGC"),
    "video/webm": (b"\x12\x54\xc3\x67", b"\x67\xc8", b"\x45\xa3\x84AIGC"),
    "video/x-flv": (b"\x02\0\x0aonMetaData", b"\0\x04AIGC"),
    "audio/mpeg": (b"ID3", b"TXXX", b"AIGC\0"),
    "audio/flac": (b"AIGC=",),
    "audio/ogg": (b"AIGC=",),
    "image/jpeg": (b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0", *_XMP),
    "image/png": (b"XML:com.adobe.xmp", *_XMP),
    "image/gif": (b"\x21\xff\x0bXMP DataXMP", *_XMP),
    "image/tiff": (b"\xbc\x02", *_XMP),
    "image/webp": (b"XMP ", *_XMP),
    "image/avif": _HEIF,
    "image/heic": _HEIF,
    OOXML + "wordprocessingml.document": _PROPERTIES,
    OOXML + "spreadsheetml.sheet": _PROPERTIES,
    OOXML + "presentationml.presentation": _PROPERTIES,
    "application/pdf": (b"/AIGC (", b"/Info ", b"trailer"),
    "text/markdown": (b"\nAIGC:\n    Label", b"\n---\n"),
    "text/html": (b'<meta name="AIGC" content="',),
}


@dataclass(slots=True)
class Outcome:
    """What became of the trials.

    Attributes:
        counts: damaged, label, or name spoilt.
        wrong: what must not be: each with how to make it again.
        slowest: processor seconds of one trial.
    """

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def labelled(sample: Sample) -> bytes:
    """The file with the label."""
    target = io.BytesIO()
    containers.write(io.BytesIO(sample.data), target, sample.media_type, LABEL)
    return target.getvalue()


def spoilt(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """The file with one thing wrong, and the name of that."""
    near = rng.random() < 0.6
    centre = data.find(b"AIGC")
    low = max(0, centre - _NEAR) if near else 0
    high = min(len(data), centre + len(LABEL) + _NEAR) if near else len(data)
    place = int(rng.integers(low, max(high, low + 1)))
    size = int(rng.integers(1, 24))
    noise = rng.bytes(size)
    kind = str(rng.choice(_KINDS))
    if kind == "bit":
        flipped = data[place] ^ 1 << int(rng.integers(8))
        changed = data[:place] + bytes([flipped]) + data[place + 1 :]
    elif kind == "byte":
        value = _BYTES[int(rng.integers(len(_BYTES)))]
        changed = data[:place] + bytes([value]) + data[place + 1 :]
    elif kind == "number":
        number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
        changed = data[:place] + number + data[place + len(number) :]
    elif kind == "zeros":
        changed = data[:place] + bytes(size) + data[place + size :]
    elif kind == "noise":
        changed = data[:place] + noise + data[place + size :]
    elif kind == "several":
        places = rng.integers(len(data), size=size)
        scattered = bytearray(data)
        for where, value in zip(places.tolist(), noise, strict=True):
            scattered[where] = value
        changed = bytes(scattered)
    elif kind == "gone":
        changed = data[:place] + data[place + size :]
    elif kind == "more":
        changed = data[:place] + noise + data[place:]
    else:
        changed = data[:place]
    return kind, changed


def attack(sample: Sample, seeds: Iterable[int]) -> Outcome:
    """One trial for each seed, on one file."""
    outcome = Outcome()
    good = labelled(sample)
    names = {name: counted(good, name) for name in NAMES[sample.media_type]}
    for seed in seeds:
        kind, data = spoilt(good, np.random.default_rng(seed))
        case = f"{sample.name}, {kind}, seed {seed}"
        start = time.thread_time()
        try:
            said = _read(data, sample.media_type)
            _write(data, sample.media_type)
        except Exception as error:  # spoilt files raise nothing: each is a finding
            outcome.wrong.append(f"{case}: {type(error).__name__}: {error}")
            continue
        finally:
            outcome.slowest = max(outcome.slowest, time.thread_time() - start)
        if said == "none":
            lost = any(counted(data, name) < there for name, there in names.items())
            whole = sample.media_type in TEXTS or _ended(data, sample.data)
            if (kind == "cut" and not whole) or not lost:
                outcome.wrong.append(f"{case}: no label")
                continue
            said = "name spoilt"
        outcome.counts[said] += 1
    if outcome.slowest > SLOW:
        outcome.wrong.append(f"{sample.name}: {outcome.slowest:.1f} s for one file")
    return outcome


def counted(data: bytes, name: bytes) -> int:
    """How often a name is in a file; a line also begins where the file does."""
    return (b"\n" + data).count(name)


def _ended(data: bytes, before: bytes) -> bool:
    """Whether a file is what it was without the label, but for space at its end."""
    return data.rstrip() == before.rstrip()


def _read(data: bytes, media_type: str) -> str:
    try:
        found = containers.read(io.BytesIO(data), media_type)
    except DamagedAsset:
        return "damaged"
    for each in found:
        aigc.parse(each)
    return "label" if found else "none"


def _write(data: bytes, media_type: str) -> None:
    """Writing into a spoilt file says no in our own words, or does it."""
    target = io.BytesIO()
    try:
        containers.write(io.BytesIO(data), target, media_type, LABEL, replace=True)
    except WatermarkError:
        return
    if containers.read(target, media_type) != [LABEL]:
        raise AssertionError("the label was not written")
