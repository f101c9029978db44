"""Video: functions of frames, uint8 (frames, height, width, 3).

What only moves frames takes latents, too: any array whose first axis is the frames.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import Attack, named, swept, untouched

Frames = NDArray[np.uint8]
Rng = np.random.Generator
FPS = 24


def dropped(frames: Frames, rng: Rng, share: float) -> Frames:
    """Some frames left out, one at least stays."""
    kept = rng.random(len(frames)) >= share
    kept[int(rng.integers(len(frames)))] = True
    return frames[kept]


def trimmed(frames: Frames, rng: Rng, share: float) -> Frames:
    """A run of frames that has `share` of the length, from anywhere."""
    length = max(1, round(len(frames) * share))
    start = int(rng.integers(len(frames) - length + 1))
    return frames[start : start + length]


def reordered(frames: Frames, rng: Rng, reach: float) -> Frames:
    """Frames change places with others at most so far away."""
    order = np.argsort(np.arange(len(frames)) + rng.uniform(0, reach + 1, len(frames)))
    return frames[order]


def frozen(frames: Frames, rng: Rng, share: float) -> Frames:
    """Some frames show what the one before showed, as after a lost packet."""
    kept = rng.random(len(frames)) >= share
    kept[0] = True
    return frames[np.maximum.accumulate(np.where(kept, np.arange(len(frames)), 0))]


def encoded(frames: Frames, rng: Rng, quality: float) -> Frames:
    """Through ffmpeg's MPEG-4 encoder and back; quality 2 (best) to 31."""
    count, height, width, _ = frames.shape
    raw = (*("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),)
    rate = ("-r", str(FPS))
    packed = _ffmpeg(
        frames.tobytes(),
        *(*raw, *rate, "-i", "-", "-c:v", "mpeg4", "-q:v", str(round(quality))),
        *("-f", "matroska"),
    )
    plain = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough")
    seen = np.frombuffer(_ffmpeg(packed, "-i", "-", *plain), np.uint8)
    return seen.reshape(-1, height, width, 3)[:count]


def _ffmpeg(data: bytes, *arguments: str) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", *arguments, "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def moves() -> dict[str, Attack[Any]]:
    """Attacks that only move frames, by their names."""
    return named(
        [
            Attack("none", untouched),
            *swept("frames dropped", dropped, (0.1, 0.5)),
            *swept("trimmed", trimmed, (0.5, 0.25)),
            *swept("reordered", reordered, (2,)),
            *swept("frozen", frozen, (0.2,)),
        ]
    )


def table() -> dict[str, Attack[Frames]]:
    """Every attack by its name; re-encoding where ffmpeg is installed."""
    again: list[Attack[Frames]] = []
    if shutil.which("ffmpeg"):
        again = swept("MPEG-4, q", encoded, (2, 4, 8, 12))
    return {**moves(), **named(again)}
