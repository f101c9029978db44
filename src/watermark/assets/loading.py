"""Whatever a caller hands over, as one `Asset`: told by type, never by guessing.

`str` is always text; files are `os.PathLike`; token ids are `Tokens` or one axis of
integers; pictures are PIL images, bytes of a file, or arrays; films are lists of PIL
images, or arrays (`watermark.assets.arrays`).
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.assets import (
    MEDIA_BYTES,
    DamagedAsset,
    arrays,
    check_size,
    kind_of,
    sniff,
)
from watermark.assets import text as text_asset
from watermark.assets.arrays import Latents as Latents
from watermark.errors import UnsupportedFormat

PATH_CHARS = 4096  # Linux's longest path
SIDECAR_BYTES = 32 << 20  # the native library's own limit for a manifest


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a text, as the model gave them."""

    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound: floats in [-1, 1], (n,) or (n, channels), and samples per second."""

    samples: NDArray[np.floating]
    rate: int

    def to_wav(self) -> bytes:
        """A 16-bit PCM WAV file.

        Raises:
            UnsupportedFormat: not finite, or not one or two axes.
        """
        samples = np.asarray(self.samples, dtype=np.float64)
        if samples.ndim not in (1, 2) or not np.isfinite(samples).all():
            raise UnsupportedFormat(
                f"found audio of shape {samples.shape}, expected finite samples of "
                "shape (n,) or (n, channels)"
            )
        pcm = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")
        output = io.BytesIO()
        with wave.open(output, "wb") as file:
            file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(pcm.tobytes())
        return output.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One asset as it was handed over.

    Attributes:
        kind: sort of medium; ``latents`` of any; ``unknown`` where nothing in the
            allow-list matches.
        media_type: of `data`, or "".
        data: the file's bytes, or None for what is in memory.
        text: the text, where it is one.
        tokens: token ids, where they were given.
        picture: a PIL image, where one was given.
        frames: uint8 (frames, height, width, 3), RGB, where a film was given as such.
        latents: float32, of one sample, where those were given.
        initial: whether `latents` are its initial noise, or an estimate of that.
        sidecar: bytes of the manifest beside the file, or None.
        shared: whether that file's name could be another file's manifest as well.
        problem: why the content could not be read, or "".
    """

    kind: str
    media_type: str = ""
    data: bytes | None = None
    text: str | None = None
    tokens: NDArray[np.uint32] | None = None
    picture: Any = None
    frames: NDArray[np.uint8] | None = field(default=None, repr=False)
    latents: NDArray[np.float32] | None = field(default=None, repr=False)
    initial: bool = False
    sidecar: bytes | None = field(default=None, repr=False)
    shared: bool = False
    problem: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the file's bytes, or ""."""
        return "" if self.data is None else hashlib.sha256(self.data).hexdigest()

    @property
    def in_memory(self) -> bool:
        """Whether this is what a file shows, and no file that could hold a manifest."""
        bare = (self.picture, self.frames, self.latents)
        return any(each is not None for each in bare)


def load(source: Any) -> Asset:
    """The asset that `source` is. Bad content becomes `Asset.problem`.

    Raises:
        UnsupportedFormat: an object of a type that is no asset.
        OSError: a path that cannot be read.
    """
    if isinstance(source, Asset):
        return source
    if isinstance(source, str):
        _warn_of_a_path(source)
        return _from_text(source)
    if isinstance(source, Tokens):
        return _from_tokens(source.ids)
    if isinstance(source, Audio):
        return _from_bytes(source.to_wav(), None)
    if isinstance(source, os.PathLike):
        return _from_path(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), None)
    if hasattr(source, "getbands"):  # a PIL image, told without importing PIL
        return Asset(kind="image", picture=source)
    if isinstance(source, Latents):
        return Asset(kind="latents", latents=source.array(), initial=source.initial)
    if isinstance(source, list | tuple) and source:
        if hasattr(source[0], "getbands"):
            return _from_pictures(source)
        if isinstance(source[0], list | tuple) and _of_pictures(source[0]):
            if len(source) == 1:
                return _from_pictures(source[0])
            raise UnsupportedFormat(
                f"found {len(source)} films, expected one: pass .frames[0]"
            )
    if hasattr(source, "detach") or isinstance(source, np.ndarray | list | tuple):
        return _from_array(source)
    raise UnsupportedFormat(
        f"a {type(source).__name__} was given, expected text (str), a path, bytes, a "
        "PIL image, a list of them, an array, Tokens, Audio or Latents"
    )


def _warn_of_a_path(text: str) -> None:
    """Say so where the name of a file was given as a text: no mark of it is read."""
    if len(text) <= PATH_CHARS and os.path.isfile(text):
        warnings.warn(
            f"found the text {text!r}, which is the name of a file: it is taken for a "
            "text; expected pathlib.Path of it if the file is meant",
            stacklevel=4,
        )


def sidecar_of(path: Path) -> Path:
    """Where the manifest of a file lies that cannot hold one: ``name.txt.c2pa``.

    The whole name, so that `a.txt` and `a.md` do not share a manifest.
    """
    return path.with_name(path.name + ".c2pa")


def _from_text(text: str) -> Asset:
    try:
        check_size(text.encode(), "text/plain")
    except UnicodeEncodeError as error:
        problem = f"character {error.start} is a lone surrogate: this is no text"
        return Asset(kind="text", problem=problem)
    except DamagedAsset as error:
        return Asset(kind="text", problem=str(error))
    return Asset(kind="text", text=text)


def _from_path(path: Path) -> Asset:
    if path.stat().st_size > MEDIA_BYTES:
        return Asset(
            kind="unknown", problem=f"the file is larger than {MEDIA_BYTES >> 20} MiB"
        )
    beside = sidecar_of(path)
    shared = not beside.is_file()
    if shared:  # as other tools name it; `a.md` and `a.txt` would share this one
        beside = path.with_suffix(".c2pa")
    sidecar = None
    if beside != path and beside.is_file() and beside.stat().st_size <= SIDECAR_BYTES:
        sidecar = beside.read_bytes()
    asset = _from_bytes(path.read_bytes(), sidecar)
    return replace(asset, shared=shared)


def _from_bytes(data: bytes, sidecar: bytes | None) -> Asset:
    if len(data) > MEDIA_BYTES:
        return Asset(
            kind="unknown", problem=f"the file is larger than {MEDIA_BYTES >> 20} MiB"
        )
    media_type = sniff(data)
    if media_type is None:
        return Asset(
            kind="unknown",
            data=data,
            problem="the file is of no known type of picture, sound, video, document "
            "or UTF-8 text",
        )
    kind = kind_of(media_type)
    if kind == "text":
        try:
            text = text_asset.decode(data)
        except DamagedAsset as error:
            return Asset(
                kind=kind, media_type=media_type, data=data, problem=str(error)
            )
        return Asset(
            kind=kind, media_type=media_type, data=data, text=text, sidecar=sidecar
        )
    # Every other type holds its manifest itself: a file put beside it is nobody's.
    return Asset(kind=kind, media_type=media_type, data=data)


def _of_pictures(source: Sequence[Any]) -> bool:
    return bool(source) and hasattr(source[0], "getbands")


def _from_pictures(pictures: Sequence[Any]) -> Asset:
    """A film; of one frame it is that picture."""
    if len(pictures) == 1:
        return Asset(kind="image", picture=pictures[0])
    try:
        return Asset(kind="video", frames=arrays.film(pictures))
    except DamagedAsset as error:
        return Asset(kind="video", problem=str(error))


def _from_array(source: Any) -> Asset:
    """Token ids, where it is one axis of integers; else a picture or a film."""
    found = arrays.numbers(source)
    if found.ndim < 2 or (found.ndim == 2 and found.shape[0] == 1):
        return _from_tokens(found)
    pixels = arrays.pixels(found, channels_first=hasattr(source, "detach"))
    if pixels.ndim == 4 and len(pixels) > 1:
        return Asset(kind="video", frames=pixels)
    from PIL import Image

    shown = pixels[0] if pixels.ndim == 4 else pixels
    return Asset(kind="image", picture=Image.fromarray(shown))


def _from_tokens(ids: Any) -> Asset:
    array = arrays.numbers(ids)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.uint32)
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UnsupportedFormat(
            f"found an array of shape {array.shape} and dtype {array.dtype}, expected "
            "token ids: one axis of integers"
        )
    if array.size and (array.min() < 0 or array.max() >= 1 << 32):
        raise UnsupportedFormat("token ids must lie in 0..2**32 - 1")
    return Asset(kind="text", tokens=array.astype(np.uint32))
