"""Sound: decoding untrusted bytes."""

from __future__ import annotations

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


def encode(samples: NDArray[np.floating], rate: int, *, like: bytes) -> bytes:
    """A WAV file of `samples`, with samples of the type that the WAV file `like` has.

    24 bits become 32.
    """
    from scipy.io import wavfile

    _, before = wavfile.read(io.BytesIO(like))
    name = before.dtype.str[1:]
    values = np.asarray(samples, np.float64)
    if name in _SCALES:
        scale, offset = _SCALES[name], 128.0 if name == "u1" else 0.0
        low, high = np.iinfo(before.dtype).min, np.iinfo(before.dtype).max
        values = np.clip(np.rint(values * scale + offset), low, high)
    output = io.BytesIO()
    wavfile.write(output, rate, values.astype(before.dtype.newbyteorder("<")))
    return output.getvalue()
