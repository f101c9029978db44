"""Labels in containers: what writing costs, and what spoilt files come to.

    python -m benchmarks labels [--full] [--only time,stream,corruption]

A labelled file is written and read back in memory. Files of a gibibyte are copied from
disk to disk (``--full``; 64 MiB else). ``--full`` spoils 100,000 files in all.
"""

from __future__ import annotations

import io
import math
import struct
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.label_corruption import Outcome, attack
from benchmarks.label_samples import LABEL, SOUND, Sample, ffmpeg, samples
from benchmarks.options import Options
from benchmarks.report import Cell, Part, Result, Table, Target
from benchmarks.timing import compare
from watermark.labels import containers

MILLISECONDS = 5.0  # for a file of a megabyte
HELD = 8e6  # bytes of memory, whatever the file's size
MEDIA = 1_000_000  # bytes of a file that is timed


def run(options: Options) -> Result:
    """Times, streaming and corruption of every container that can be made here.

    Raises:
        Unavailable: there is no part of a name in `only`.
    """
    parts = [PARTS[name](options) for name in options.chosen(PARTS)]
    notes = () if _films() else ("ffmpeg is missing: no sounds and films were made.",)
    return Result.of("labels", [*parts, Part(notes=notes)], seed=options.seed)


def times(options: Options) -> Part:
    """Milliseconds to label a file of a megabyte, its read-back included."""
    files = megabytes()
    cases: dict[str, Callable[[], object]] = {
        sample.name: partial(_write, sample) for sample in files
    }
    found = compare(cases, options.track(range(options.count(5, 21)), "time"))
    rows = tuple(
        (sample.name, len(sample.data), t.median * 1e3, t.low * 1e3, t.high * 1e3)
        for sample, t in zip(files, found.values(), strict=True)
    )
    columns = ("file", "bytes", "median ms", "lower quartile", "upper quartile")
    targets = [
        Target.at_most(
            f"label written into {name} of 1 MB: ms",
            found[name].median * 1e3,
            MILLISECONDS,
        )
        for name in ("noise.jpg", "noise.png", "noise.mp3")
        if name in found
    ]
    return Part(targets=tuple(targets), tables=(Table("Times", columns, rows),))


def stream(options: Options) -> Part:
    """Memory that labelling a large file takes: from disk to disk, and read back."""
    size = 1 << 30 if options.full else 1 << 26
    options.work.mkdir(parents=True, exist_ok=True)
    targets, rows = [], []
    makers = {
        "wav": ("audio/wav", large_wav),
        "mp4": ("video/mp4", large_mp4),
    }
    for name, (media_type, make) in makers.items():
        old, new = (options.work / f"{kind}.{name}" for kind in ("large", "labelled"))
        try:
            make(old, size)
            seconds, peak = _streamed(old, new, media_type)
        finally:
            old.unlink(missing_ok=True)
            new.unlink(missing_ok=True)
        rows.append((name, size, peak, seconds))
        title = f"memory to label a {name} of {size >> 20} MiB: bytes"
        targets.append(Target.at_most(title, peak, HELD))
    columns = ("file", "bytes", "bytes of memory", "seconds")
    return Part(
        targets=tuple(targets),
        tables=(Table("Streaming", columns, tuple(rows)),),
        notes=("Memory is what Python allocated at most; times include tracing it.",),
    )


def corruption(options: Options) -> Part:
    """What comes of spoilt files: no crash, and never a missing label unexplained."""
    files = samples()
    each = math.ceil(options.count(40 * len(files), 100_000) / len(files))
    start = options.seed * each
    seeds = range(start, start + each)
    outcomes: dict[str, Outcome] = {
        sample.name: attack(sample, seeds) for sample in options.track(files, "spoil")
    }
    total: Counter[str] = Counter()
    for outcome in outcomes.values():
        total += outcome.counts
    wrong = [case for outcome in outcomes.values() for case in outcome.wrong]
    kinds = ("damaged", "label", "name spoilt")
    slowest = max(outcome.slowest for outcome in outcomes.values())
    rows: list[tuple[Cell, ...]] = [
        (name, *(o.counts[k] for k in kinds), len(o.wrong), o.slowest * 1e3)
        for name, o in outcomes.items()
    ]
    rows.append(("all", *(total[k] for k in kinds), len(wrong), slowest * 1e3))
    title = f"crashes, hangs and labels missed in {each * len(files)} spoilt files"
    return Part(
        targets=(Target.at_most(title, len(wrong), 0, "; ".join(wrong[:3])),),
        tables=(
            Table(
                "Spoilt files",
                ("file", *kinds, "wrong", "slowest ms"),
                tuple(rows),
                "name spoilt: no label was found, because a name on the way to it is "
                "no longer in the file.",
            ),
        ),
        new=each * len(files),
    )


PARTS = {"time": times, "stream": stream, "corruption": corruption}


def _films() -> bool:
    return any(sample.media_type == "video/mp4" for sample in samples())


def megabytes() -> tuple[Sample, ...]:
    """The files that are timed, each of about a megabyte."""
    side = 580  # of a picture of noise, three bytes a pixel
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    made = []
    for name, form, media_type, more in (
        ("noise.jpg", "JPEG", "image/jpeg", {"quality": 100, "subsampling": 0}),
        ("noise.png", "PNG", "image/png", {}),
        ("noise.webp", "WEBP", "image/webp", {"lossless": True}),
    ):
        data = io.BytesIO()
        Image.fromarray(noise).save(data, form, **more)
        made.append(Sample(name, media_type, data.getvalue()))
    if not _films():
        return tuple(made)
    sound = SOUND.replace(
        "sine=frequency=440:duration=2", "anoisesrc=seed=1:duration={}"
    )
    wav, mp3, ogg = (sound.format(seconds) for seconds in (11, 42, 60))
    return (
        *made,
        Sample("noise.mp3", "audio/mpeg", ffmpeg("n.mp3", mp3 + "-b:a 192k")),
        Sample("noise.wav", "audio/wav", ffmpeg("n.wav", wav)),
        Sample("noise.flac", "audio/flac", ffmpeg("n.flac", wav)),
        Sample("noise.ogg", "audio/ogg", ffmpeg("n.ogg", ogg + "-c:a libvorbis")),
        Sample("noise.m4a", "audio/mp4", ffmpeg("n.m4a", ogg + "-movflags faststart")),
    )


def _write(sample: Sample) -> None:
    source, target = io.BytesIO(sample.data), io.BytesIO()
    containers.write(source, target, sample.media_type, LABEL)


def large_wav(path: Path, size: int) -> None:
    """Silence, stereo at 48 kHz, that takes no room on the disk."""
    about = struct.pack("<HHIIHH", 1, 2, 48_000, 192_000, 4, 16)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16) + about
    with path.open("wb") as file:
        file.write(head + struct.pack("<4sI", b"data", size))
        file.truncate(len(head) + 8 + size)


def large_mp4(path: Path, size: int) -> None:
    """A film whose 100,000 chunks follow the movie header: all offsets have to move."""
    chunks = 100_000

    def box(name: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", 8 + len(body), name) + body

    def header(first: int) -> bytes:
        offsets = (first + np.arange(chunks) * (size // chunks)).astype(">u4").tobytes()
        table = box(b"stco", struct.pack(">II", 0, chunks), offsets)
        stbl = box(b"minf", box(b"stbl", table))
        return box(b"moov", box(b"trak", box(b"mdia", stbl)))

    start = box(b"ftyp", b"isom", bytes(4), b"isom")
    first = len(start) + len(header(0)) + 8
    with path.open("wb") as file:
        file.write(start + header(first) + struct.pack(">I4s", 8 + size, b"mdat"))
        file.truncate(first + size)


def _streamed(old: Path, new: Path, media_type: str) -> tuple[float, int]:
    """Seconds, and the most bytes that were allocated."""
    with old.open("rb") as source, new.open("w+b") as target:
        tracemalloc.start()
        start = time.perf_counter()
        try:
            containers.write(source, target, media_type, LABEL)
            return time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
