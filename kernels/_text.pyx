"""Scoring and choosing tokens under `gumbel`. See `reference`."""
from libc.math cimport INFINITY, log, rint
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from watermark.kernels._lanes import LOOPS

from contexts cimport Contexts, check, check_nonces, draw, gather, release
from lanes cimport loops_of, wm_group, wm_log2, wm_loops, wm_trailing_zeros
from siphash cimport load64, siphash_tokens

DEF LANES = 16  # as lanes.h says

cdef double UNIT = 16777216.0  # 2**reference.NOISE_BITS
DEF CHUNK = 4096  # logits whose survivors are handled together

cdef const wm_loops* wm = loops_of(LOOPS)


def context_state(bytes key not None, const uint32_t[::1] context):
    """SipHash state of a context."""
    cdef const uint8_t* k = key
    cdef uint64_t low = 0, high = 0
    if len(key) != 16:
        raise ValueError(f"the key has {len(key)} bytes, expected 16")
    siphash_tokens(load64(k), load64(k + 8),
                   &context[0] if context.shape[0] else NULL, context.shape[0],
                   &low, &high)
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


def gumbel_score(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                 int nonce_bits, Py_ssize_t skip=0):
    """Distinct contexts, and the sum of -log(1 - u) for each nonce."""
    cdef Py_ssize_t base, v, nonces, blocks
    cdef double sums[256]
    cdef double products[256]
    cdef Contexts found
    check(tokens, key, width, skip)
    check_nonces(nonce_bits)
    nonces = 1 << nonce_bits
    blocks = (nonces + 3) // 4
    gather(wm, &found, tokens, key, width, skip, False)
    with nogil:
        for v in range(nonces):
            sums[v] = 0.0
        for base in range(0, found.n, LANES):
            for v in range(4 * blocks):
                products[v] = 1.0
            wm.gumbel_products(
                found.low + base, found.high + base, found.token + base,
                min(<Py_ssize_t>LANES, found.n - base), blocks, products
            )
            for v in range(nonces):
                sums[v] -= log(products[(v & 3) * blocks + (v >> 2)])
        release(&found)
    return found.n, [sums[v] for v in range(nonces)]


def token_words(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                int nonce_bits, Py_ssize_t skip=0):
    """Where each distinct context's token stands, and its words for every nonce."""
    cdef Py_ssize_t base, nonces
    cdef Contexts found
    cdef uint32_t[::1] at
    cdef uint32_t[:, ::1] drawn
    check(tokens, key, width, skip)
    check_nonces(nonce_bits)
    nonces = 1 << nonce_bits
    gather(wm, &found, tokens, key, width, skip, False)
    try:
        positions = np.empty(found.n, np.uint32)
        words = np.empty((found.n, nonces), np.uint32)
        at, drawn = positions, words
        with nogil:
            for base in range(found.n):
                at[base] = found.at[base]
            for base in range(0, found.n, LANES):
                draw(wm, &found, base, min(<Py_ssize_t>LANES, found.n - base), nonces,
                     &drawn[base, 0])
    finally:
        release(&found)
    return positions, words


def gumbel_terms(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                 int nonce_bits, Py_ssize_t skip=0):
    """Where each distinct context's token stands, and its -log(1 - u)."""
    cdef Py_ssize_t i, v
    cdef const uint32_t[:, ::1] drawn
    cdef double[:, ::1] view
    positions, words = token_words(tokens, key, width, nonce_bits, skip)
    terms = np.empty(words.shape, np.float64)
    drawn, view = words, terms
    with nogil:
        for i in range(drawn.shape[0]):
            for v in range(drawn.shape[1]):
                view[i, v] = -log((4294967296.0 - drawn[i, v]) * 2.0**-32)
    return positions, terms


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


def gumbel_select(const float[::1] logits, bytes state not None,
                  unsigned long long nonce, int symbol, const int32_t[::1] lows,
                  const int32_t[::1] highs):
    """The chosen token, or -1 for NaN or +inf, or -2 where no logit is finite."""
    cdef const uint8_t* s = state
    cdef Py_ssize_t n = logits.shape[0], i, start, chosen = -2
    cdef Py_ssize_t blocks = (n + 63) // 64, count, at, lane, lanes
    cdef uint64_t low, high, second = nonce >> 2
    cdef int which = nonce & 3
    cdef int64_t value, best = -(<int64_t>1 << 62)
    cdef uint32_t found[CHUNK]
    cdef uint32_t wide[4][16]
    cdef wm_group g
    cdef uint32_t hopes
    cdef float distance[LANES]
    cdef float top = -INFINITY, need = -INFINITY, cut
    cdef const float* x
    cdef float* tops
    cdef bint fit = True
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if lows.shape[0] != 8193 or highs.shape[0] != 8193:
        raise ValueError("the noise tables have the wrong length")
    if symbol > 255 or (symbol >= 0 and nonce > 255):
        raise ValueError(f"symbol {symbol}, nonce {nonce}: expected 0 to 255")
    if symbol >= 0:
        second, which = 1 << 30 | nonce << 6 | symbol >> 2, symbol & 3
    if n == 0:
        return chosen
    x = &logits[0]
    low, high = load64(s), load64(s + 8)
    tops = <float*>malloc(4 * blocks)
    if tops == NULL:
        raise MemoryError
    with nogil:
        fit = wm.block_tops(x, n, tops)
        for i in range(blocks):
            top = max(top, tops[i])
        # Noise spans -3.2 to 22.9 nats: further down nothing can win.
        cut = top - <float>27.0
        for lane in range(LANES):
            distance[lane] = 0.0
            g.low[lane], g.high[lane] = low, high
            g.first[lane], g.second[lane] = 0, <uint32_t>second
        for start in range(0, n if fit and top != -INFINITY else 0, CHUNK):
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
                    value += gumbel_noise(wide[which][lane], &lows[0], &highs[0])
                    if value > best:
                        best, chosen = value, i
                        need = <float>(<double>best / UNIT - 0.001)
        free(tops)
    return chosen if fit else -1
