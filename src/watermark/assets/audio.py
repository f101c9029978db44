"""Sound: decoding untrusted bytes."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from watermark.assets import DamagedAsset, check_size, sniff
from watermark.errors import UnsupportedFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("audio/wav",)
# Full scale of the integers that a WAV file may hold; 24 bits are read as 32.
_SCALES = {"u1": 128.0, "i2": 32768.0, "i4": 2147483648.0}


def decode(data: bytes) -> tuple[NDArray[np.float32], int]:
    """The sound in a WAV file: float32 (n,) or (n, channels) in [-1, 1], and its rate.

    Raises:
        UnsupportedFormat: not WAV, or no PCM.
        DamagedAsset: truncated, broken, empty, or too large.
    """
    media_type = sniff(data)
    if media_type not in FORMATS:
        raise UnsupportedFormat(
            f"found {media_type or 'an unknown type'}, expected {', '.join(FORMATS)}"
        )
    check_size(data, media_type)
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of chunks that it does not know
            rate, samples = wavfile.read(io.BytesIO(data))
    except Exception as error:  # a dozen types, from struct.error to ValueError
        raise DamagedAsset(
            f"this {media_type} cannot be decoded ({type(error).__name__}: {error}): "
            "it is truncated, damaged, or no PCM"
        ) from error
    if not samples.size:
        raise DamagedAsset(f"this {media_type} holds no samples")
    name = samples.dtype.str[1:]
    if name in _SCALES:
        offset = 128.0 if name == "u1" else 0.0
        found = (samples.astype(np.float32) - np.float32(offset)) / np.float32(
            _SCALES[name]
        )
        return found, int(rate)
    if samples.dtype.kind != "f":
        raise UnsupportedFormat(f"found samples of type {samples.dtype}, expected PCM")
    return samples.astype(np.float32), int(rate)


def digest(samples: NDArray[np.float32], rate: int) -> str:
    """SHA-256 (hex) of rate, shape and samples: the same in any lossless container."""
    header = f"audio/1 {rate} {'x'.join(map(str, samples.shape))} ".encode()
    values = np.ascontiguousarray(samples, dtype="<f4")
    return hashlib.sha256(header + values.tobytes()).hexdigest()


def changed(data: bytes, change: NDArray[np.floating]) -> bytes:
    """The WAV file `data` with `change` added to its samples; nothing else is touched.

    Args:
        data: that `decode` has read.
        change: float of the shape of its samples, full scale 1.

    Raises:
        UnsupportedFormat: its samples do not stand in one plain chunk.
    """
    start, length, bits = _body(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scipy.io import wavfile

        _, before = wavfile.read(io.BytesIO(data))
    name = before.dtype.str[1:]
    if name in _SCALES:
        # 24 bits are read as the upper three bytes of 32: whole steps of those.
        step = 256 if bits == 24 else 1
        moved = np.rint(change * (_SCALES[name] / step)).astype(np.int64) * step
        low, high = np.iinfo(before.dtype).min, np.iinfo(before.dtype).max
        top = high - high % step if step > 1 else high
        after = np.clip(before.astype(np.int64) + moved, low, top)
        body = after.astype(before.dtype.newbyteorder("<")).tobytes()
        if bits == 24:
            body = np.frombuffer(body, np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    else:
        peak = max(1.0, float(np.abs(before).max()))
        after = np.clip(before + change, -peak, peak)
        body = after.astype(before.dtype.newbyteorder("<")).tobytes()
    if len(body) != length:
        raise UnsupportedFormat("its samples are not all in one chunk of known length")
    return b"".join([data[:start], body, data[start + length :]])


def _body(data: bytes) -> tuple[int, int, int]:
    """(start, length) of the samples in a WAV file, and the bits of each."""
    place, bits = 12, 0
    while place + 8 <= len(data):
        name, size = (
            data[place : place + 4],
            int.from_bytes(data[place + 4 : place + 8], "little"),
        )
        if name == b"fmt " and size >= 16:
            bits = int.from_bytes(data[place + 22 : place + 24], "little")
        if name == b"data":
            if place + 8 + size > len(data):
                break
            return place + 8, size, bits
        place += 8 + size + size % 2
    raise UnsupportedFormat("its samples are not in one chunk of known length")
