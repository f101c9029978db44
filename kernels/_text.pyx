"""Scoring and choosing tokens under `gumbel`. See `reference`."""
from libc.math cimport INFINITY, log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from watermark.kernels._lanes import LOOPS

from choice cimport choice, nats_of, top_of
from contexts cimport Contexts, check, check_nonces, draw, gather, release
from lanes cimport loops_of, wm_loops
from siphash cimport load64, siphash_tokens

DEF LANES = 16  # as lanes.h says

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
    cdef Py_ssize_t base, count, i, nonces
    cdef uint32_t drawn[16 * 256]
    cdef Contexts found
    cdef uint32_t[::1] at
    cdef double[:, ::1] view
    cdef double* row
    check(tokens, key, width, skip)
    check_nonces(nonce_bits)
    nonces = 1 << nonce_bits
    gather(wm, &found, tokens, key, width, skip, False)
    try:
        positions = np.empty(found.n, np.uint32)
        terms = np.empty((found.n, nonces), np.float64)
        at, view = positions, terms
        with nogil:
            for base in range(found.n):
                at[base] = found.at[base]
            for base in range(0, found.n, LANES):
                count = min(<Py_ssize_t>LANES, found.n - base)
                draw(wm, &found, base, count, nonces, drawn)
                row = &view[base, 0]
                for i in range(count * nonces):
                    row[i] = -log((4294967296.0 - drawn[i]) * 2.0**-32)
    finally:
        release(&found)
    return positions, terms


def gumbel_select(const float[::1] logits, bytes state not None,
                  unsigned long long nonce, int symbol, const int32_t[::1] lows,
                  const int32_t[::1] highs):
    """The chosen token, or -1 for NaN or +inf, or -2 where no logit is finite."""
    cdef const uint8_t* s = state
    cdef Py_ssize_t n = logits.shape[0]
    cdef int64_t token = -2
    cdef float top = -INFINITY
    cdef float* tops
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if lows.shape[0] != 8193 or highs.shape[0] != 8193:
        raise ValueError("the noise tables have the wrong length")
    if symbol > 255 or (symbol >= 0 and nonce > 255):
        raise ValueError(f"symbol {symbol}, nonce {nonce}: expected 0 to 255")
    if n == 0:
        return token
    tops = <float*>malloc(4 * ((n + 63) // 64))
    if tops == NULL:
        raise MemoryError
    with nogil:
        if not top_of(wm, &logits[0], n, tops, &top):
            token = -1
        elif top != -INFINITY:
            token = choice(wm, &logits[0], n, tops, top, load64(s), load64(s + 8),
                           nonce, symbol, &lows[0], &highs[0])
        free(tops)
    return token


def collision_nats(const float[:, ::1] scores, rows):
    """Collision entropy of some rows, 0 where one cannot be sampled."""
    cdef Py_ssize_t n = scores.shape[1], row
    cdef float top = -INFINITY
    cdef float* tops
    cdef double nats
    tops = <float*>malloc(4 * ((n + 63) // 64) + 4)
    if tops == NULL:
        raise MemoryError
    found = []
    try:
        for row in rows:
            if not 0 <= row < scores.shape[0]:
                raise ValueError(f"row {row}, expected 0 to {scores.shape[0] - 1}")
            nats = 0.0
            with nogil:
                if n > 0 and top_of(wm, &scores[row, 0], n, tops, &top):
                    if top != -INFINITY:
                        nats = nats_of(wm, &scores[row, 0], n, tops, top)
            found.append(nats)
    finally:
        free(tops)
    return found
