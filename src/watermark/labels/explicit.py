"""The explicit mark of a file: the right one for its form, and whether it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watermark.assets import DamagedAsset, audio, image
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labels import (
    explicit_audio,
    explicit_image,
    explicit_page,
    explicit_text,
    explicit_video,
)

_SUFFIXES = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/webm": ".webm",
    "video/avi": ".avi",
    "video/x-flv": ".flv",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What mark is wanted.

    Attributes:
        wording: of words.
        corner: where they stand in a picture.
        sound: ``morse`` at the end, ``notice`` at the start, or ``both``.
        notice: the spoken notice, float (n,) in [-1, 1] at the sound's own rate.
    """

    wording: str = explicit_text.WORDING
    corner: str = "bottom-right"
    sound: str = "morse"
    notice: NDArray[np.floating] | None = None


def write(data: bytes, media_type: str, form: str, wish: Wish) -> bytes:
    """The file with its explicit mark; a text that has ours already stays as it is.

    Args:
        data: the file.
        media_type: as sniffed.
        form: of `watermark.labels.regimes.FORMS`.
        wish: what mark.

    Raises:
        LabelError: this file cannot be given one here, with the clause.
    """
    if form in ("text", "markdown", "page"):
        return _text(data, form, wish.wording)
    if form == "image" and media_type in image.FORMATS:
        return _picture(data, media_type, wish)
    if form == "audio":
        return _sound(data, wish)
    if form == "video":
        return _video(data, media_type, wish)
    raise LabelError(
        "GB 45438-2025, 5",
        f"no explicit mark can be put into {media_type} here: put it into the content "
        "before, and pass explicit='placed' (--explicit placed)",
    )


def is_there(data: bytes, media_type: str, form: str, wish: Wish) -> bool | None:
    """Whether the mark of `write` is there; None where a machine cannot tell.

    For text and Morse any mark is found that is as the standard has it; for pictures,
    video and a spoken notice only our own.
    """
    try:
        if form in ("text", "markdown", "page"):
            return _in_text(data.decode(), form, wish.wording)
        if form == "audio":
            return _in_sound(data, wish)
        if form in ("image", "video"):
            return bool(_corners(data, media_type, wish.wording, [wish.corner]))
    except (DamagedAsset, UnsupportedFormat, LabelError, UnicodeDecodeError):
        return None
    return None


def find(data: bytes, media_type: str, form: str, wording: str) -> str:
    """Where a mark is, in words, or "": as far as `is_there` finds them.

    Raises:
        DamagedAsset: the content cannot be decoded.
        UnsupportedFormat: a type that is not decoded here.
        LabelError: ffmpeg is missing, or cannot read the video.
    """
    if form in ("text", "markdown", "page"):
        there = _in_text(data.decode("utf-8", "replace"), form, wording)
        return "such words near an end" if there else ""
    if form == "audio":
        return "Morse AI" if _in_sound(data, Wish(wording)) else ""
    if form not in ("image", "video"):
        raise UnsupportedFormat(f"the content of {media_type} is not looked at here")
    found = _corners(data, media_type, wording, explicit_image.CORNERS)
    return f"{wording} at {found[0]}" if found else ""


def _text(data: bytes, form: str, wording: str) -> bytes:
    text = data.decode()
    # A text that talks of what AI generates is not marked yet: only our own words are.
    page = form == "page"
    own = explicit_page.is_ours if page else explicit_text.is_ours
    if own(text, wording):
        return data
    marked = explicit_page.mark if form == "page" else explicit_text.mark
    return marked(text, wording).encode()


def _in_text(text: str, form: str, wording: str) -> bool:
    page = form == "page"
    said = explicit_page.body(text).shown if page else explicit_text.shown(text)
    if explicit_text.says_generated(wording):
        return explicit_text.is_marked(said)
    return explicit_text.says(said, wording)


def _in_sound(data: bytes, wish: Wish) -> bool | None:
    samples, rate = audio.decode(data)
    said = None
    if wish.notice is not None and wish.sound != "morse":
        said = explicit_audio.is_said(samples, wish.notice, rate)
    if wish.sound == "notice" or said is False:
        return said
    return explicit_audio.is_heard(samples, rate)


def _picture(data: bytes, media_type: str, wish: Wish) -> bytes:
    try:
        image.check_plain(data)
        before = image.decode(data)
        after, _ = explicit_image.draw(before, wish.wording, corner=wish.corner)
        return image.encode(after, media_type, like=before)
    except UnsupportedFormat as error:
        raise LabelError(explicit_image.CLAUSE, str(error)) from error


def _sound(data: bytes, wish: Wish) -> bytes:
    rate = explicit_audio.rate_of(data)
    morse = explicit_audio.morse(rate) if wish.sound in ("morse", "both") else None
    spoken = wish.sound in ("notice", "both")
    if spoken and wish.notice is None:
        raise LabelError(
            "a spoken notice at the start",
            "no spoken notice was given: record a sentence that says so, and "
            "pass it as notice=Audio(samples, rate)",
        )
    notice = np.asarray(wish.notice, np.float32) if spoken else None
    if notice is not None:
        explicit_audio.check_notice(notice, rate)
    return explicit_audio.place(data, before=notice, after=morse)


def _video(data: bytes, media_type: str, wish: Wish) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        name = "video" + _SUFFIXES.get(media_type, "")
        source, target = Path(folder) / f"in-{name}", Path(folder) / f"out-{name}"
        source.write_bytes(data)
        explicit_video.draw(
            source, target, media_type, wish.wording, corner=wish.corner
        )
        return target.read_bytes()


def _corners(
    data: bytes, media_type: str, wording: str, corners: Iterable[str]
) -> list[str]:
    """Those of `corners` where our words stand, in every picture that has to have them.

    Raises:
        LabelError: ffmpeg is missing, or cannot read the video.
        DamagedAsset: a picture cannot be decoded.
        UnsupportedFormat: a type whose pictures are not read.
    """
    if media_type in explicit_video.FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / ("video" + _SUFFIXES[media_type])
            source.write_bytes(data)
            frames = explicit_video.opening(source, media_type, Path(folder))
    else:
        frames = [data]
    pictures = [image.decode(frame) for frame in frames]
    return [
        corner
        for corner in corners
        if pictures
        and all(explicit_image.is_drawn(p, wording, corner=corner) for p in pictures)
    ]
