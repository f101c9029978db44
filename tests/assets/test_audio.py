"""WAV files, those of strangers among them."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from watermark.assets import DamagedAsset, audio
from watermark.errors import UnsupportedFormat, WatermarkError


def wav(samples: Any, rate: int = 16_000) -> bytes:
    output = io.BytesIO()
    wavfile.write(output, rate, samples)
    return output.getvalue()


TONE = np.sin(np.arange(800) / 9) * 0.7


@pytest.mark.parametrize(
    ("samples", "step"),
    [
        ((128 + TONE * 127).astype(np.uint8), 1 / 128),
        ((TONE * 32767).astype(np.int16), 1 / 32768),
        ((TONE * (2**31 - 1)).astype(np.int32), 1e-6),
        (TONE.astype(np.float32), 1e-6),
        (TONE, 1e-6),
        (np.stack([TONE, -TONE], axis=1).astype(np.float32), 1e-6),
    ],
)
def test_every_kind_of_sample_is_read(samples: Any, step: float) -> None:
    found, rate = audio.decode(wav(samples))
    expected = TONE if samples.ndim == 1 else np.stack([TONE, -TONE], axis=1)

    assert rate == 16_000
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 2 * step


def test_a_file_cut_short_is_damaged_or_read_as_far_as_it_goes() -> None:
    data = wav((TONE * 32767).astype(np.int16))
    for end in range(12, len(data), 37):
        try:
            found, _ = audio.decode(data[:end])
        except WatermarkError:
            continue
        assert len(found) <= 800


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="image/png"):
        audio.decode(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DamagedAsset):
        audio.decode(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(DamagedAsset):
        audio.decode(wav(np.zeros(0, np.int16)))


def test_a_huge_header_asks_for_no_memory() -> None:
    data = bytearray(wav((TONE * 32767).astype(np.int16)))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 0xFFFFFFF0)
    try:
        found, _ = audio.decode(bytes(data))
    except DamagedAsset:
        return
    assert len(found) <= 800


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_a_sound_or_a_typed_error(data: bytes, kept: int) -> None:
    head = wav((TONE[:50] * 32767).astype(np.int16))[:kept]
    try:
        found, rate = audio.decode(b"RIFF\x40\0\0\0WAVE" + head[12:] + data)
    except WatermarkError:
        return
    assert found.dtype == np.float32
    assert isinstance(rate, int)
