"""Explicit marks in video: words on the opening frames, drawn by ffmpeg.

GB 45438-2025, 5.4: on the starting picture, at an edge or corner, for two seconds at
least, at least 5 % of the shortest side high. ffmpeg encodes the pictures anew; sound
and subtitles are copied. ffmpeg is a program of its own, looked up on the path, and no
part of this package.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from watermark.errors import LabelError
from watermark.labels.explicit_image import SHARE, Drawn, overlay
from watermark.labels.explicit_text import WORDING

CLAUSE = "GB 45438-2025, 5.4"
LEAST = 2.0  # seconds
SECONDS = 3.0
SHORT = 4.0  # seconds: a shorter clip is marked throughout
TIMEOUT = 3600.0  # seconds that ffmpeg may take to write a video
LOOK = 30.0  # and to show what is in one
# ffmpeg's names for what it reads and writes, and the encoder of the pictures.
_FORMATS = {
    "video/mp4": ("mov", "mp4", "libx264"),
    "video/quicktime": ("mov", "mov", "libx264"),
    "video/x-matroska": ("matroska", "matroska", "libx264"),
    "video/webm": ("matroska", "webm", "libvpx-vp9"),
    "video/avi": ("avi", "avi", "mpeg4"),
    "video/x-flv": ("flv", "flv", "flv1"),
}
_QUALITY = {
    "libx264": ("-crf", "17", "-preset", "fast", "-pix_fmt", "yuv420p"),
    "libvpx-vp9": ("-crf", "24", "-b:v", "0", "-deadline", "good", "-cpu-used", "4"),
    "mpeg4": ("-q:v", "2"),
    "flv1": ("-q:v", "2"),
}
FORMATS = frozenset(_FORMATS)


@dataclass(frozen=True, slots=True)
class Clip:
    """What a video says of itself.

    Attributes:
        width: of the upright picture, in pixels.
        height: the same.
        seconds: how long it is; 0.0 where the file does not say.
    """

    width: int
    height: int
    seconds: float


def probe(path: Path, media_type: str) -> Clip:
    """Size and length of a video.

    Raises:
        LabelError: ffmpeg is missing, or cannot read it.
    """
    demuxer = _format(media_type)[0]
    found = _run(
        [
            *("ffprobe", "-v", "error", "-protocol_whitelist", "file"),
            *("-f", demuxer, "-select_streams", "v:0", "-of", "json"),
            *("-show_entries", "stream=width,height:format=duration"),
            *("-show_entries", "stream_side_data=rotation", str(path.absolute())),
        ]
    )
    try:
        said = json.loads(found)
        stream = said["streams"][0]
        width, height = int(stream["width"]), int(stream["height"])
        sides = stream.get("side_data_list", [])
        turned = [int(side["rotation"]) for side in sides if "rotation" in side]
        seconds = float(said.get("format", {}).get("duration", 0))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise LabelError(CLAUSE, f"no picture found in this {media_type}") from error
    if any(turn % 180 for turn in turned):
        width, height = height, width
    return Clip(width, height, seconds)


def draw(
    source: Path,
    target: Path,
    media_type: str,
    text: str = WORDING,
    *,
    corner: str = "bottom-right",
    share: float = SHARE,
    seconds: float = SECONDS,
    font: Path | None = None,
) -> Drawn:
    """Copy a video with `text` on its opening frames.

    Args:
        source: the video.
        target: where the copy goes; replaced if it exists.
        media_type: one of `FORMATS`.
        text: one line.
        corner: as `explicit_image.draw`.
        share: as `explicit_image.draw`.
        seconds: from the start, at least `LEAST`; a clip shorter than `SHORT` is
            marked throughout.
        font: as `explicit_image.draw`.

    Raises:
        LabelError: ffmpeg is missing or fails, too short a time, or as
            `explicit_image.draw`.
    """
    if seconds < LEAST:
        raise LabelError(CLAUSE, f"{seconds} seconds found, expected {LEAST} up")
    demuxer, muxer, encoder = _format(media_type)
    clip = probe(source, media_type)
    png, drawn = overlay(
        clip.width, clip.height, text, corner=corner, share=share, font=font
    )
    until = "" if clip.seconds < SHORT else f":enable='lte(t,{seconds:.3f})'"
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "words.png"
        words.write_bytes(png)
        faster = ("-movflags", "+faststart+use_metadata_tags")
        _run(
            [
                *("ffmpeg", "-v", "error", "-nostdin", "-y"),
                *("-protocol_whitelist", "file"),
                *("-f", demuxer, "-i", str(source.absolute())),
                *("-protocol_whitelist", "file", "-i", str(words)),
                *("-filter_complex", f"[0:v:0][1:v]overlay=format=auto{until}[v]"),
                *("-map", "[v]", "-map", "0:a?", "-c:a", "copy", "-map_metadata", "0"),
                *("-map", "0:s?", "-c:s", "copy"),
                *("-c:v", encoder, *_QUALITY[encoder], "-threads", "2"),
                *(faster if muxer in ("mp4", "mov") else ()),
                *("-f", muxer, str(target.absolute())),
            ],
            TIMEOUT,
        )
    return drawn


def opening(source: Path, media_type: str, folder: Path) -> list[bytes]:
    """PNG pictures of a video's first frame and of that just before two seconds.

    Args:
        source: the video.
        media_type: one of `FORMATS`.
        folder: for temporary files.

    Raises:
        LabelError: ffmpeg is missing or fails.
    """
    clip = probe(source, media_type)
    last = LEAST if not clip.seconds else min(LEAST, clip.seconds)
    frames = []
    for number, second in enumerate((0.0, max(0.0, last - 0.15))):
        target = folder / f"frame-{number}.png"
        _run(
            [
                *("ffmpeg", "-v", "error", "-nostdin", "-y"),
                *("-protocol_whitelist", "file", "-f", _format(media_type)[0]),
                *("-i", str(source.absolute()), "-ss", f"{second:.3f}"),
                *("-frames:v", "1", str(target)),
            ]
        )
        if target.exists():
            frames.append(target.read_bytes())
    return frames


def _format(media_type: str) -> tuple[str, str, str]:
    if media_type not in _FORMATS:
        raise LabelError(
            CLAUSE,
            f"found {media_type!r}, expected one of {', '.join(sorted(_FORMATS))}",
        )
    return _FORMATS[media_type]


def _run(command: list[str], timeout: float = LOOK) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise LabelError(
            CLAUSE,
            f"{command[0]} is not on the path, and frames are marked with it: install "
            "ffmpeg, or mark the frames before they become a video",
        )
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabelError(CLAUSE, f"{command[0]} took over {timeout:g} s") from error
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise LabelError(CLAUSE, f"{command[0]} failed: {' '.join(told)[:300]}")
    return done.stdout.decode("utf-8", "replace")
