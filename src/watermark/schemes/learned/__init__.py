"""`learned-<codec>`: bits of the key, carried by an encoder of somebody else's.

The message is n fair bits that the record's sub-key gives, for this codec and epoch;
there is no nonce and no mark id. So the mark says "this key" and nothing else, and it
is weak against copying: whoever has one marked file can read its bits, with a decoder
that anybody can have, and put them on anything. docs/learned.md says what follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from watermark.errors import CodecError, InvalidSignal
from watermark.keys import Key, KeyRecord, Parameter
from watermark.schemes.base import Scheme, within
from watermark.schemes.learned import codec as codecs
from watermark.schemes.learned.codec import BUILT_IN as BUILT_IN
from watermark.schemes.learned.codec import Bits as Bits
from watermark.schemes.learned.codec import Codec as Codec
from watermark.schemes.learned.codec import find
from watermark.schemes.learned.codec import register as register

PREFIX = "learned-"
VERSION = 1
PIECES = 64  # of a sound that are read, the first ones


def is_learned(scheme: str) -> bool:
    """Whether a scheme's name is that of a learned mark."""
    return scheme.startswith(PREFIX)


def scheme_of(name: str) -> Scheme | None:
    """The scheme ``learned-<codec>``, whether or not its codec is at hand.

    None for names that are not of that form.
    """
    if not is_learned(name) or not codecs._NAME.fullmatch(name.removeprefix(PREFIX)):
        return None
    return Scheme(
        name=name,
        version=VERSION,
        carrier="pixels",
        defaults={"bits": 32, "rate": 0},
        check=_check,
    )


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "bits", 1, codecs.MOST_BITS)
    within(parameters, "rate", 0, codecs.MOST_RATE)


def named(codec: str | Codec) -> Codec:
    """A codec by its name, or one's own, which is registered.

    Raises:
        MissingDependency: its package is not installed.
        MissingCodec: no such codec, or its weights are not on this machine.
        CodecError: it cannot be used.
    """
    if isinstance(codec, str):
        return find(codec.removeprefix(PREFIX))
    if not (isinstance(codec, Codec) and codec.name in BUILT_IN):
        register(codec)
    return codec


def record(key: Key, codec: str | Codec, *, epoch: int = 0) -> KeyRecord:
    """The key record of a learned mark; what verifies it without a home.

    Raises:
        MissingDependency: the codec's package is not installed.
        MissingCodec: no such codec, or its weights are not on this machine.
        CodecError: it cannot be used.
    """
    at_hand = named(codec)
    scheme = scheme_of(PREFIX + at_hand.name)
    assert scheme is not None
    return scheme.record(key, epoch=epoch, bits=at_hand.bits, rate=at_hand.rate)


def codec_of(record: KeyRecord) -> Codec:
    """The codec that a record names.

    Raises:
        MissingDependency: its package is not installed.
        MissingCodec: it is not registered, or its weights are not on this machine.
        CodecError: the codec here carries other bits than the record says.
    """
    found = find(record.scheme.removeprefix(PREFIX))
    here = {"bits": found.bits, "rate": found.rate}
    if here != dict(record.parameters):
        raise CodecError(
            f"{found.name}: the codec here has {here}, the key record "
            f"{dict(record.parameters)}: it is another version"
        )
    return found


def message(record: KeyRecord, piece: int = 0) -> Bits:
    """uint8 (bits,): the fair bits of a key, for a picture or one piece of a sound."""
    count = int(record.parameters["bits"])
    drawn = record.derive(f"message/{piece}", length=math.ceil(count / 8))
    return np.unpackbits(np.frombuffer(drawn, np.uint8), bitorder="little")[:count]


def mark_picture(pixels: NDArray[np.uint8], record: KeyRecord) -> NDArray[np.uint8]:
    """`pixels` with the key's bits, of the same shape.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        record: of a codec for pictures.

    Raises:
        InvalidSignal: another shape or dtype, or too small.
        MissingDependency: the codec's package is not installed.
        MissingCodec: it is not registered, or its weights are not on this machine.
        CodecError: the codec failed, or the picture is too large for it.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InvalidSignal(
            f"found pixels of shape {pixels.shape} and dtype {pixels.dtype}, expected "
            "(height, width, 3) and uint8"
        )
    codec = codec_of(record)
    codecs.check_picture(codec, pixels)
    return codecs.encode(codec, pixels, message(record))


def read_picture(pixels: NDArray[np.uint8], codec: Codec) -> Bits | None:
    """The bits in a picture, uint8 (bits,); None: its decoder says there are none.

    Raises:
        InvalidSignal: too small.
        CodecError: the codec failed, or the picture is too large for it.
    """
    codecs.check_picture(codec, pixels)
    return codecs.decode(codec, pixels)


def mark_sound(
    samples: NDArray[np.floating], rate: int, record: KeyRecord
) -> NDArray[np.floating]:
    """`samples` with the key's bits, of the same shape and dtype.

    The mean of the channels is brought to the codec's rate and encoded piece by piece,
    each with bits of its own; what that changed is brought back and added to every
    channel. Peaks are clipped to 1, or to those of the sound where they are higher.

    Args:
        samples: floats in [-1, 1], (n,) or (n, channels), one second to an hour.
        rate: samples a second, 8,000 to 384,000.
        record: of a codec for sound.

    Raises:
        InvalidSignal: another shape or rate, NaN or infinity, too short or too long.
        MissingDependency: the codec's package is not installed.
        MissingCodec: it is not registered, or its weights are not on this machine.
        CodecError: the codec failed, or is not for sound.
    """
    from watermark.schemes import wave

    codec = codec_of(record)
    low = _heard(samples, rate, codec)
    change = np.zeros_like(low)
    for index, place in enumerate(_pieces(len(low), codec)):
        bits = message(record, index)
        change[place] = codecs.encode(codec, low[place], bits) - low[place]
    back = wave.at(change.astype(np.float64), codec.rate, rate)[: len(samples)]
    back = np.pad(back, (0, len(samples) - len(back)))
    marked = samples + (back if samples.ndim == 1 else back[:, None])
    peak = max(1.0, float(np.abs(samples).max()))
    return np.clip(marked, -peak, peak).astype(samples.dtype)


def read_sound(
    samples: NDArray[np.floating], rate: int, codec: Codec
) -> list[Bits | None]:
    """The bits in each of the first 64 pieces of a sound, at places fixed beforehand.

    Raises:
        InvalidSignal: as `mark_sound`.
        CodecError: the codec failed, or is not for sound.
    """
    low = _heard(samples, rate, codec)
    places = _pieces(len(low), codec)[:PIECES]
    return [codecs.decode(codec, low[place]) for place in places]


def _heard(
    samples: NDArray[np.floating], rate: int, codec: Codec
) -> NDArray[np.float32]:
    """The mean of the channels at the codec's rate."""
    from watermark.schemes import wave

    if not codec.rate:
        raise CodecError(f"{codec.name} is for pictures, and this is sound")
    low = wave.at(wave.mixed(samples, rate), rate, codec.rate).astype(np.float32)
    if len(low) < codec.least:
        raise InvalidSignal(
            f"{codec.name} needs {codec.least / codec.rate:g} seconds of sound, found "
            f"{len(low) / codec.rate:.2f}"
        )
    return low


def _pieces(count: int, codec: Codec) -> list[slice]:
    """Pieces of `most` samples; a last one that is shorter than `least` is left out."""
    starts = range(0, count, codec.most)
    cut = (slice(at, min(at + codec.most, count)) for at in starts)
    return [piece for piece in cut if piece.stop - piece.start >= codec.least]
