"""What a fingerprint holds, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from tests.pictures import photograph

from watermark.assets import fingerprint


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3, 5), (17, 16)])
def test_any_size_has_a_fingerprint(shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 200, np.uint8)
    found = fingerprint.fingerprint(pixels)
    luma, blue, red = fingerprint.means(found)

    assert len(found) == fingerprint.BYTES
    assert np.array_equal(luma, np.full(256, 200))
    assert np.array_equal([blue, red], np.full((2, 16), 128))
    assert fingerprint.is_size(found, pixels)


def test_cells_are_row_by_row() -> None:
    pixels = np.zeros((64, 32, 3), np.uint8)
    pixels[:4, 2:4] = 255  # the second cell of the first row
    pixels[48:, :8, 0] = 255  # red, in the first chroma cell of the last row
    luma, blue, red = fingerprint.means(fingerprint.fingerprint(pixels))

    assert np.flatnonzero(luma > 200).tolist() == [1]
    assert np.flatnonzero(red > 200).tolist() == [12]
    assert int(blue.argmin()) == 12


def test_other_sizes_are_told() -> None:
    found = fingerprint.fingerprint(photograph(0, 32, 48))

    assert fingerprint.is_size(found, np.zeros((32, 48, 3), np.uint8))
    assert not fingerprint.is_size(found, np.zeros((48, 32, 3), np.uint8))


@pytest.mark.parametrize("data", [b"", b"\1", bytes(fingerprint.BYTES), b"\1" * 400])
def test_other_bytes_are_refused(data: bytes) -> None:
    pixels = photograph(0, 32, 32)
    for read in (fingerprint.means, lambda d: fingerprint.is_size(d, pixels)):
        with pytest.raises(ValueError, match="fingerprint"):
            read(data)
