"""What a learned mark of somebody else's has to offer, and how it is called.

A codec is an encoder and a decoder that carry n bits in a picture or a sound. It is
other people's code and other people's weights: whatever it raises or returns, what
comes out here is n bits, None, or a typed error.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from watermark.errors import (
    CodecError,
    InvalidSignal,
    MissingCodec,
    MissingDependency,
    WatermarkError,
)

Bits = NDArray[np.uint8]  # each 0 or 1

MOST_BITS = 1024
MOST_RATE = 384_000
_OURS = (CodecError, InvalidSignal, MissingCodec, MissingDependency)
TAKEN = frozenset({"latent", "noise", "pixel", "wave"})  # layers of our own
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@runtime_checkable
class Codec(Protocol):
    """An encoder and decoder of somebody else's.

    Both are functions of their arguments alone: a decoder that knew a key would make
    the p-value worthless.

    Attributes:
        name: lower-case letters, digits and "-"; the scheme is ``learned-<name>``.
        bits: how many it carries at once, at most 1024.
        rate: samples a second that it works at, or 0: it is for pictures.
        least: pixels of the smaller side, or samples, that it needs.
        most: pixels in all, or samples, that it is given at once. A larger picture is
            refused; a longer sound is cut in pieces, each with bits of its own.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def bits(self) -> int: ...  # noqa: D102
    @property
    def rate(self) -> int: ...  # noqa: D102
    @property
    def least(self) -> int: ...  # noqa: D102
    @property
    def most(self) -> int: ...  # noqa: D102

    def encode(self, content: NDArray[Any], bits: Bits) -> NDArray[Any]:
        """`content` with `bits`: uint8 (height, width, 3), or float32 (n,)."""
        ...

    def decode(self, content: NDArray[Any]) -> Any:
        """The bits in `content`: `bits` numbers, each 0 or 1; None: there are none."""
        ...


# Ours, by the module that loads them; none is imported before it is asked for.
BUILT_IN = ("rivagan", "trustmark", "videoseal", "audioseal")
_registered: dict[str, Codec] = {}
_lock = threading.Lock()


def register(codec: Codec) -> None:
    """Make a codec of one's own known by its name, in this process.

    Raises:
        CodecError: it lacks an attribute, one is out of range, or its name is taken.
    """
    if not isinstance(codec, Codec) or not isinstance(codec.name, str):
        raise CodecError(
            f"a codec of type {type(codec).__name__} was given, expected one with "
            "name, bits, rate, least, most, encode and decode"
        )
    if not _NAME.fullmatch(codec.name) or codec.name in (*TAKEN, *BUILT_IN):
        raise CodecError(
            f"a codec has the name {codec.name[:40]!r}, expected lower-case letters, "
            f"digits and '-', and none of {', '.join((*sorted(TAKEN), *BUILT_IN))}"
        )
    numbers = (codec.bits, codec.rate, codec.least, codec.most)
    if not all(type(n) is int for n in numbers) or not (
        1 <= codec.bits <= MOST_BITS
        and 0 <= codec.rate <= MOST_RATE
        and 1 <= codec.least <= codec.most
    ):
        raise CodecError(
            f"{codec.name}: bits, rate, least and most are {numbers}, expected 1 to "
            f"{MOST_BITS} bits, a rate of 0 to {MOST_RATE}, and sizes of 1 or more"
        )
    _registered[codec.name] = codec


def find(name: str) -> Codec:
    """The codec of that name, registered or built in.

    Raises:
        MissingDependency: its package is not installed.
        MissingCodec: no such codec, or its weights are not on this machine.
        CodecError: its package cannot be used.
    """
    if name in _registered:
        return _registered[name]
    if name not in BUILT_IN:
        raise MissingCodec(
            f"there is no codec {name[:40]!r} here, expected one of "
            f"{', '.join((*BUILT_IN, *_registered))}: register one's own with "
            "watermark.schemes.learned.register"
        )
    with _lock:
        return _built_in(name)


@functools.cache
def _built_in(name: str) -> Codec:
    try:
        # They print as they load, and standard output may be a report.
        with contextlib.redirect_stdout(sys.stderr):
            module = import_module(f"watermark.schemes.learned.{name}")
            codec: Codec = module.load()
    except WatermarkError:
        raise
    except Exception as error:  # whatever somebody else's package does
        raise CodecError(f"{name} cannot be loaded: {_told(error)}") from error
    return codec


def encode(codec: Codec, content: NDArray[Any], bits: Bits) -> NDArray[Any]:
    """`content` with `bits`, of its own shape and dtype.

    Raises:
        CodecError: the encoder failed, or made something else.
    """
    try:
        made = np.asarray(codec.encode(content.copy(), bits.copy()))
    except _OURS:
        raise
    except Exception as error:
        raise CodecError(f"{codec.name}: encoding failed: {_told(error)}") from error
    if made.shape != content.shape or made.dtype != content.dtype:
        raise CodecError(
            f"{codec.name}: its encoder made shape {made.shape} and dtype "
            f"{made.dtype}, expected {content.shape} and {content.dtype}"
        )
    if made.dtype.kind == "f" and not np.isfinite(made).all():
        raise CodecError(f"{codec.name}: its encoder made NaN or infinity")
    return made


def decode(codec: Codec, content: NDArray[Any]) -> Bits | None:
    """The bits in `content`, or None where the decoder says that there are none.

    Raises:
        CodecError: the decoder failed, or made something else than bits.
    """
    try:
        found = codec.decode(content.copy())
        if found is None:
            return None
        read = np.asarray(found)
        fits = read.shape == (codec.bits,) and read.dtype.kind in "biuf"
        fits = fits and bool(np.isin(read, (0, 1)).all())  # NaN is neither
    except _OURS:
        raise
    except Exception as error:
        raise CodecError(f"{codec.name}: decoding failed: {_told(error)}") from error
    if not fits:
        raise CodecError(
            f"{codec.name}: its decoder gave something of shape {read.shape} and "
            f"dtype {read.dtype}, expected {codec.bits} bits, each 0 or 1"
        )
    return read.astype(np.uint8)


def check_picture(codec: Codec, pixels: NDArray[np.uint8]) -> None:
    """Raise where a codec takes no picture like this.

    Raises:
        InvalidSignal: too small.
        CodecError: too large, or the codec is not for pictures.
    """
    height, width = pixels.shape[:2]
    if codec.rate:
        raise CodecError(f"{codec.name} is for sound, and this is a picture")
    if min(height, width) < codec.least:
        raise InvalidSignal(
            f"{codec.name} needs {codec.least} pixels a side, found {width}x{height}"
        )
    if height * width > codec.most:
        raise CodecError(
            f"{codec.name} takes pictures of up to {codec.most:,} pixels, found "
            f"{width}x{height}"
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
