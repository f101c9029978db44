"""Marking finished pictures by their 8x8 cosine blocks. See `reference_pixel`."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t

import numpy as np

from watermark.kernels import reference_pixel as reference

DEF BLOCK = 8
DEF COUNT = 9  # coefficients of a block
DEF ORDERS = 4  # cosines in each direction

cdef int32_t CLIP = reference.CLIP
cdef int32_t MARGIN = reference.MARGIN
cdef int32_t LEAST = reference.LEAST
cdef int32_t MOST = reference.MOST
cdef int32_t BUSY = reference.BUSY
cdef int32_t CALM = reference.CALM
cdef int32_t LOUDER = reference.LOUDER
cdef int32_t basis[ORDERS][BLOCK]
cdef int down[COUNT]
cdef int across[COUNT]
cdef uint8_t levels[COUNT][256]


def _tables():
    for u in range(ORDERS):
        for x in range(BLOCK):
            basis[u][x] = reference.BASIS[u][x]
    for k in range(COUNT):
        down[k], across[k] = reference.ZIGZAG[k]
        for u in range(256):
            levels[k][u] = reference.LEVELS[k][u]


_tables()


def pixel_coefficients(const uint8_t[:, :, ::1] pixels):
    """The first nine AC coefficients of the luma of every whole 8x8 block."""
    cdef Py_ssize_t rows = pixels.shape[0] // BLOCK, columns = pixels.shape[1] // BLOCK
    cdef Py_ssize_t i, j, y, x, k, u
    cdef const uint8_t* p
    cdef int32_t luma[BLOCK]
    cdef int32_t half[ORDERS][BLOCK]
    cdef int32_t total
    cdef int16_t[:, :, ::1] view
    if pixels.shape[2] != 3:
        raise ValueError(f"{pixels.shape[2]} channels, expected 3")
    out = np.empty((rows, columns, COUNT), np.int16)
    if not out.size:
        return out
    view = out
    with nogil:
        for i in range(rows):
            for j in range(columns):
                for y in range(BLOCK):
                    p = &pixels[BLOCK * i + y, BLOCK * j, 0]
                    for x in range(BLOCK):
                        luma[x] = (
                            77 * p[3 * x] + 150 * p[3 * x + 1] + 29 * p[3 * x + 2] + 128
                        ) >> 8
                    for u in range(ORDERS):
                        total = 0
                        for x in range(BLOCK):
                            total += basis[u][x] * luma[x]
                        half[u][y] = total
                # A coefficient is at most 924 units: 2^30 here, 15 bits when shifted.
                for k in range(COUNT):
                    total = 0
                    for y in range(BLOCK):
                        total += basis[down[k]][y] * half[across[k]][y]
                    view[i, j, k] = <int16_t>((total + (1 << 15)) >> 16)
    return out


cdef inline uint32_t selector(Py_ssize_t i, Py_ssize_t j, Py_ssize_t k) noexcept nogil:
    cdef uint32_t h = (
        <uint32_t>i * <uint32_t>0x9E3779B1
        + <uint32_t>j * <uint32_t>0x85EBCA77
        + <uint32_t>k * <uint32_t>0xC2B2AE3D
    )
    h = (h ^ h >> 15) * <uint32_t>0x2C1B3C6D
    h = (h ^ h >> 12) * <uint32_t>0x297A2D39
    return (h ^ h >> 15) >> 24


# The level and the amplitude of each coefficient of block (i, j), and the gain of the
# template there.
cdef inline int32_t amplitudes(
    const int16_t* c, const int8_t* chips, Py_ssize_t i, Py_ssize_t j,
    int32_t* level, int32_t* out
) noexcept nogil:
    cdef int32_t busy = 0, most, highest, agreement, size
    cdef int k
    for k in range(COUNT):
        size = c[k] if c[k] >= 0 else -<int32_t>c[k]
        busy += min(size, BUSY)
    most = min(MOST, LEAST + busy // 30)
    highest = max(CALM, busy // 6 - 40)
    for k in range(COUNT):
        level[k] = levels[k][selector(i, j, k)]
        agreement = <int32_t>c[k] * chips[k]
        if level[k] >= highest or agreement < -CLIP - most // 2:
            out[k] = 0
        else:
            out[k] = max(0, min(most, CLIP + MARGIN - agreement))
    return 16 + min(LOUDER, busy // 120)


def pixel_embed(
    const uint8_t[:, :, ::1] pixels,
    const int16_t[:, :, ::1] coefficients,
    const int8_t[:, :, ::1] chips,
    const int16_t[:, ::1] template,
    int64_t faint,
    int64_t budget,
):
    """`pixels` with the chips in their blocks' coefficients, and the template."""
    cdef Py_ssize_t height = pixels.shape[0], width = pixels.shape[1]
    cdef Py_ssize_t rows = coefficients.shape[0], columns = coefficients.shape[1]
    cdef Py_ssize_t down_chips = chips.shape[0], across_chips = chips.shape[1]
    cdef Py_ssize_t tall = template.shape[0], wide = template.shape[1]
    cdef Py_ssize_t i, j, y, x, k, first, last
    cdef int64_t spent[256]
    cdef int64_t total = 0
    cdef int32_t level[COUNT]
    cdef int32_t amplitude[COUNT]
    cdef int32_t cross[ORDERS][BLOCK]
    cdef int32_t wave, change, value, gain
    cdef int cut = 0, channel, v, u
    cdef const int8_t* chip
    cdef uint8_t[:, :, ::1] view
    cdef int32_t[:, ::1] line
    if rows != height // BLOCK or columns != width // BLOCK:
        raise ValueError(
            f"coefficients of {rows}x{columns} blocks, expected "
            f"{height // BLOCK}x{width // BLOCK}"
        )
    if pixels.shape[2] != 3 or coefficients.shape[2] != COUNT:
        raise ValueError(f"expected 3 channels and {COUNT} coefficients of a block")
    if chips.shape[2] != COUNT or not down_chips or not across_chips:
        raise ValueError(f"expected {COUNT} chips for each block")
    if not tall or not wide:
        raise ValueError("the template is empty")
    out = np.empty((height, width, 3), np.uint8)
    lines = np.zeros((BLOCK, max(width, 1)), np.int32)
    if not out.size:
        return out
    view, line = out, lines
    with nogil:
        for k in range(256):
            spent[k] = 0
        for i in range(rows):
            for j in range(columns):
                chip = &chips[i % down_chips, j % across_chips, 0]
                gain = amplitudes(&coefficients[i, j, 0], chip, i, j, level, amplitude)
                total += <int64_t>gain * gain * faint >> 8
                for k in range(COUNT):
                    spent[level[k]] += <int64_t>amplitude[k] * amplitude[k]
        while cut < 256 and total + spent[cut] <= budget:
            total += spent[cut]
            cut += 1
        for i in range((height + BLOCK - 1) // BLOCK):
            first, last = BLOCK * i, min(BLOCK * (i + 1), height)
            for y in range(first, last):
                for x in range(width):
                    line[y - first, x] = 16 * template[y % tall, x % wide]
            for j in range(columns if i < rows else 0):
                chip = &chips[i % down_chips, j % across_chips, 0]
                gain = amplitudes(&coefficients[i, j, 0], chip, i, j, level, amplitude)
                for v in range(ORDERS):
                    for x in range(BLOCK):
                        cross[v][x] = 0
                for k in range(COUNT):
                    if level[k] < cut and amplitude[k]:
                        v, u = down[k], across[k]
                        value = amplitude[k] * chip[k]
                        for x in range(BLOCK):
                            cross[v][x] += value * basis[u][x]
                for y in range(BLOCK):
                    for x in range(BLOCK):
                        wave = 0
                        for v in range(ORDERS):
                            wave += basis[v][y] * cross[v][x]
                        value = template[(first + y) % tall, (BLOCK * j + x) % wide]
                        line[y, BLOCK * j + x] = (
                            16 * ((wave + (1 << 15)) >> 16) + gain * value
                        )
            for y in range(first, last):
                for x in range(width):
                    change = (line[y - first, x] + 2048) >> 12
                    for channel in range(3):
                        value = pixels[y, x, channel] + change
                        view[y, x, channel] = <uint8_t>min(255, max(0, value))
    return out
