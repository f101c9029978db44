"""Layers of keyed bits: `tournament`. See `reference_tournament`."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

import numpy as np

from watermark.kernels._lanes import LOOPS

from contexts cimport Contexts, check, check_nonces, draw, gather, release
from lanes cimport loops_of, wm_group, wm_loops
from siphash cimport load64

DEF LANES = 16  # as lanes.h says

cdef const wm_loops* wm = loops_of(LOOPS)


cdef int check_layers(int layers) except -1:
    if not 1 <= layers <= 32:
        raise ValueError(f"{layers} layers, expected 1 to 32")
    return 0


def tournament_scale(double[::1] p, const uint32_t[::1] tokens, bytes state not None,
                     unsigned long long nonce, int layers):
    """Replace the candidates' probabilities by those after all layers, in place."""
    cdef const uint8_t* s = state
    cdef Py_ssize_t n = p.shape[0], i, lane
    cdef uint64_t low, high
    cdef uint32_t wide[4][16]
    cdef uint32_t bit
    cdef uint32_t* drawn
    cdef wm_group g
    cdef int layer
    cdef double mean
    cdef double scale[2]
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if tokens.shape[0] != n:
        raise ValueError(f"{n} probabilities and {tokens.shape[0]} tokens: "
                         "expected as many")
    check_layers(layers)
    low, high = load64(s), load64(s + 8)
    drawn = <uint32_t*>malloc(4 * n + 4)
    if drawn == NULL:
        raise MemoryError
    with nogil:
        for lane in range(LANES):
            g.low[lane], g.high[lane] = low, high
            g.first[lane], g.second[lane] = 0, <uint32_t>(nonce >> 2)
        for i in range(0, n, LANES):
            for lane in range(min(<Py_ssize_t>LANES, n - i)):
                g.first[lane] = tokens[i + lane]
            wm.philox(&g, wide)
            for lane in range(min(<Py_ssize_t>LANES, n - i)):
                drawn[i + lane] = wide[nonce & 3][lane]
        for layer in range(1, layers + 1):
            mean = 0.0
            for i in range(n):
                mean += p[i] * ((drawn[i] >> (32 - layer)) & 1)
            scale[0], scale[1] = 1.0 - mean, 2.0 - mean
            for i in range(n):
                bit = (drawn[i] >> (32 - layer)) & 1
                p[i] *= scale[bit]
        free(drawn)


def tournament_bits(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                    int nonce_bits, int layers, Py_ssize_t skip=0):
    """Distinct contexts, and how often each layer's bit is 1, for each nonce."""
    cdef Py_ssize_t base, count, c, v, nonces
    cdef int layer
    cdef int32_t* counted
    cdef uint32_t* drawn
    cdef int64_t[:, ::1] view
    cdef Contexts found
    check(tokens, key, width, skip)
    check_nonces(nonce_bits)
    check_layers(layers)
    nonces = 1 << nonce_bits
    counts = np.empty((nonces, layers), np.int64)
    view = counts
    gather(wm, &found, tokens, key, width, skip, False)
    counted = <int32_t*>calloc(layers * nonces, 4)
    drawn = <uint32_t*>malloc(4 * LANES * nonces)
    if counted == NULL or drawn == NULL:
        free(counted)
        free(drawn)
        release(&found)
        raise MemoryError
    with nogil:
        for base in range(0, found.n, LANES):
            count = min(<Py_ssize_t>LANES, found.n - base)
            draw(wm, &found, base, count, nonces, drawn)
            for c in range(count):
                wm.layer_counts(drawn + c * nonces, nonces, layers, counted)
        for v in range(nonces):
            for layer in range(layers):
                view[v, layer] = counted[layer * nonces + v]
        free(counted)
        free(drawn)
        release(&found)
    return found.n, counts
