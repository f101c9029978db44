# Header only: the choice of one token. See `reference.gumbel_select` and
# `reference_sequences.collision_nats`.
from libc.math cimport INFINITY, log, rint
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from lanes cimport wm_group, wm_log2, wm_loops, wm_trailing_zeros

DEF LANES = 16  # as lanes.h says
DEF UNIT = 16777216.0  # 2**reference.NOISE_BITS
DEF CHUNK = 4096  # logits whose survivors are handled together


cdef inline int64_t gumbel_noise(
    uint32_t word, const int32_t* lows, const int32_t* highs
) noexcept nogil:
    cdef uint64_t y = 2 * <uint64_t>word + 1
    cdef const int32_t* nodes = lows
    cdef int exponent
    cdef int64_t index
    if y >= <uint64_t>1 << 32:
        y = (<uint64_t>1 << 33) - y
        nodes = highs
    exponent = wm_log2(y)
    y <<= 32 - exponent
    index = exponent * 256 + ((y >> 24) & 255)
    return nodes[index] + (
        ((<int64_t>nodes[index + 1] - nodes[index]) * <int64_t>(y & 0xFFFFFF)) >> 24
    )


# The largest of a row, and of its blocks of 64; False where one is NaN or +inf.
cdef inline bint top_of(
    const wm_loops* wm, const float* x, Py_ssize_t n, float* tops, float* top
) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint fit = wm.block_tops(x, n, tops)
    top[0] = -INFINITY
    for i in range((n + 63) // 64):
        top[0] = max(top[0], tops[i])
    return fit


# The chosen token of a row whose largest is `top`, above -inf. The noise tables are
# those of the reference.
cdef inline int64_t choice(
    const wm_loops* wm, const float* x, Py_ssize_t n, const float* tops, float top,
    uint64_t low, uint64_t high, uint64_t nonce, int symbol, const int32_t* lows,
    const int32_t* highs
) noexcept nogil:
    cdef Py_ssize_t i, start, count, at, lane, lanes
    cdef int64_t value, best = -(<int64_t>1 << 62), chosen = -2
    cdef uint32_t found[CHUNK]
    cdef uint32_t wide[4][16]
    cdef wm_group g
    cdef uint32_t hopes
    cdef float distance[LANES]
    cdef uint64_t second = nonce >> 2
    cdef int which = nonce & 3
    # Noise spans -3.2 to 22.9 nats: further down nothing can win.
    cdef float need = -INFINITY, cut = top - <float>27.0
    if symbol >= 0:
        second, which = 1 << 30 | nonce << 6 | symbol >> 2, symbol & 3
    for lane in range(LANES):
        distance[lane] = 0.0
        g.low[lane], g.high[lane] = low, high
        g.first[lane], g.second[lane] = 0, <uint32_t>second
    for start in range(0, n, CHUNK):
        count = wm.survivors(x + start, min(<Py_ssize_t>CHUNK, n - start),
                             tops + start // 64, cut, found)
        for at in range(0, count, LANES):
            lanes = min(<Py_ssize_t>LANES, count - at)
            for lane in range(lanes):
                i = start + found[at + lane]
                g.first[lane], distance[lane] = <uint64_t>i, x[i] - top
            wm.philox(&g, wide)
            # Most cannot win whatever their exact noise: a bound tells, with room
            # for rounding.
            hopes = wm.hopeful(wide[which], distance, need)
            hopes &= (<uint32_t>1 << lanes) - 1
            while hopes:
                lane = wm_trailing_zeros(hopes)
                hopes &= hopes - 1
                i = start + found[at + lane]
                value = <int64_t>rint((<double>x[i] - <double>top) * UNIT)
                value += gumbel_noise(wide[which][lane], lows, highs)
                if value > best:
                    best, chosen = value, i
                    need = <float>(<double>best / UNIT - 0.001)
    return chosen


# Collision entropy of a row whose largest is `top`, above -inf.
cdef inline double nats_of(
    const wm_loops* wm, const float* x, Py_ssize_t n, const float* tops, float top
) noexcept nogil:
    cdef double sums[2 * LANES]
    cdef double one = 0.0, two = 0.0
    cdef int lane
    wm.collision(x, n, tops, top, sums)
    for lane in range(LANES):
        one += sums[lane]
        two += sums[LANES + lane]
    return 2.0 * log(one) - log(two)
