"""Payloads of `gumbel`: symbol scores and soft decoding. See `reference_payload`."""
from libc.math cimport log, rint
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from watermark.kernels._lanes import LOOPS

from contexts cimport Contexts, check, check_nonces, gather, release
from lanes cimport loops_of, wm_group, wm_loops
from philox cimport keyed_words
from siphash cimport load64
from viterbi cimport tail_biting

DEF LANES = 16  # as lanes.h says
DEF BRANCHES = 65536
DEF CODE = 16  # symbols of a Reed-Solomon codeword
DEF MOST = 8  # steps of a trellis
DEF STARTS = 64
cdef uint32_t ROLE = <uint32_t>1 << 31
cdef double QUANTUM = 1024.0
cdef int32_t WORST = 1 << 24

cdef const wm_loops* wm = loops_of(LOOPS)


cdef int check_share(int presence16) except -1:
    if not 0 <= presence16 <= 16:
        raise ValueError(f"presence16 is {presence16}, expected 0 to 16")
    return 0


def context_roles(bytes state not None, unsigned int positions, int presence16=1):
    """Whether a context carries a symbol, where in the code, and its owner."""
    cdef const uint8_t* s = state
    cdef uint32_t role[4]
    cdef bint carries
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    check_share(presence16)
    keyed_words(load64(s), load64(s + 8), 0, ROLE, role)
    carries = positions > 0 and role[0] >> 28 >= <uint32_t>presence16
    return (
        bool(carries),
        (role[1] * <uint64_t>positions) >> 32 if carries else 0,
        role[2] >> 31,
    )


# The role words of contexts base .. base + count - 1 (at most 16).
cdef void roles(
    const Contexts* found, Py_ssize_t base, Py_ssize_t count, uint32_t (*out)[16]
) noexcept nogil:
    cdef Py_ssize_t lane
    cdef wm_group g
    for lane in range(LANES):
        g.low[lane] = found.low[base + min(lane, count - 1)]
        g.high[lane] = found.high[base + min(lane, count - 1)]
        g.first[lane], g.second[lane] = 0, ROLE
    wm.philox(&g, out)


def role_words(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
               Py_ssize_t skip=0):
    """Where each distinct context's token stands, and the context's role words."""
    cdef Py_ssize_t base, count, lane
    cdef int j
    cdef uint32_t wide[4][16]
    cdef uint32_t[::1] at
    cdef uint32_t[:, ::1] view
    cdef Contexts found
    check(tokens, key, width, skip)
    gather(wm, &found, tokens, key, width, skip, False)
    try:
        positions = np.empty(found.n, np.uint32)
        words = np.empty((found.n, 4), np.uint32)
        at, view = positions, words
        with nogil:
            for base in range(0, found.n, LANES):
                count = min(<Py_ssize_t>LANES, found.n - base)
                roles(&found, base, count, wide)
                for lane in range(count):
                    at[base + lane] = found.at[base + lane]
                    for j in range(4):
                        view[base + lane, j] = wide[j][lane]
    finally:
        release(&found)
    return positions, words


def payload_presence(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                     int nonce_bits, Py_ssize_t skip=0, int presence16=1):
    """`gumbel_score` over the contexts that carry no symbol."""
    cdef Py_ssize_t base, count, lane, v, nonces, blocks, kept = 0
    cdef uint32_t wide[4][16]
    cdef double sums[256]
    cdef double products[256]
    cdef Contexts found
    check(tokens, key, width, skip)
    check_nonces(nonce_bits)
    check_share(presence16)
    nonces = 1 << nonce_bits
    blocks = (nonces + 3) // 4
    gather(wm, &found, tokens, key, width, skip, False)
    with nogil:
        for base in range(0, found.n, LANES):
            count = min(<Py_ssize_t>LANES, found.n - base)
            roles(&found, base, count, wide)
            for lane in range(count):
                if wide[0][lane] >> 28 < <uint32_t>presence16:
                    found.low[kept] = found.low[base + lane]
                    found.high[kept] = found.high[base + lane]
                    found.token[kept] = found.token[base + lane]
                    kept += 1
        for v in range(nonces):
            sums[v] = 0.0
        for base in range(0, kept, LANES):
            for v in range(4 * blocks):
                products[v] = 1.0
            wm.gumbel_products(
                found.low + base, found.high + base, found.token + base,
                min(<Py_ssize_t>LANES, kept - base), blocks, products
            )
            for v in range(nonces):
                sums[v] -= log(products[(v & 3) * blocks + (v >> 2)])
        release(&found)
    return kept, [sums[v] for v in range(nonces)]


# Take the logarithms of one position's products, which stand as lanes leave them.
cdef void close_position(double* products, double* sums) noexcept nogil:
    cdef int c
    for c in range(256):
        sums[c] -= log(products[64 * (c & 3) + (c >> 2)])
    for c in range(256):
        products[c] = 1.0


def payload_score(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                  Py_ssize_t positions, unsigned int nonce, Py_ssize_t skip=0,
                  int presence16=1):
    """The sum of every symbol at every position; first that of the other contexts."""
    cdef Py_ssize_t base, count, lane, i, p, presence = 0
    cdef uint32_t wide[4][16]
    cdef uint32_t out[4]
    cdef double total = 0.0, product = 1.0
    cdef double* products
    cdef int64_t[::1] seen
    cdef double[:, ::1] view
    cdef Contexts found
    check(tokens, key, width, skip)
    check_share(presence16)
    if not 1 <= positions <= 256 or nonce > 255:
        raise ValueError(
            f"{positions} positions, nonce {nonce}: expected 1 to 256 and 0 to 255"
        )
    counts = np.zeros(positions, np.int64)
    sums = np.zeros((positions, 256), np.float64)
    seen, view = counts, sums
    gather(wm, &found, tokens, key, width, skip, False)
    products = <double*>malloc(positions * 256 * sizeof(double))
    if products == NULL:
        release(&found)
        raise MemoryError
    with nogil:
        for i in range(256 * positions):
            products[i] = 1.0
        for base in range(0, found.n, LANES):
            count = min(<Py_ssize_t>LANES, found.n - base)
            roles(&found, base, count, wide)
            for lane in range(count):
                i = base + lane
                if wide[0][lane] >> 28 < <uint32_t>presence16:
                    keyed_words(found.low[i], found.high[i], found.token[i],
                                nonce >> 2, out)
                    product *= (4294967296.0 - out[nonce & 3]) * 2.0**-32
                    presence += 1
                    if presence & 15 == 0:
                        total -= log(product)
                        product = 1.0
                    continue
                p = <Py_ssize_t>((wide[1][lane] * <uint64_t>positions) >> 32)
                wm.symbol_products(found.low[i], found.high[i], found.token[i],
                                   <uint32_t>1 << 30 | nonce << 6, products + 256 * p)
                seen[p] += 1
                if seen[p] & 15 == 0:
                    close_position(products + 256 * p, &view[p, 0])
        if presence & 15:
            total -= log(product)
        for p in range(positions):
            if seen[p] & 15:
                close_position(products + 256 * p, &view[p, 0])
        free(products)
        release(&found)
    return presence, total, counts, sums


cdef uint8_t multiply(int a, int b) noexcept nogil:
    """Product in GF(256), polynomial 0x11d."""
    cdef int product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return <uint8_t>product


def rs_decode(const double[:, ::1] sums):
    """The 16-bit message with the largest sum, its sum, and the second largest."""
    cdef double* rows
    cdef double totals[256]
    cdef double best, second
    cdef uint8_t shift[CODE]
    cdef uint8_t power
    cdef int j, k, x, message = 0
    if sums.shape[0] != CODE or sums.shape[1] != 256:
        raise ValueError(
            f"sums of shape {sums.shape[0]} x {sums.shape[1]}, expected 16 x 256"
        )
    best = second = -float("inf")
    rows = <double*>malloc(CODE * 2048 * sizeof(double))
    if rows == NULL:
        raise MemoryError
    with nogil:
        for j in range(CODE):
            for k in range(8):
                for x in range(256):
                    rows[2048 * j + 256 * k + x] = sums[j, x ^ k]
        for k in range(256):
            power = 1
            for j in range(CODE):
                shift[j] = multiply(power, k)
                power = multiply(power, 2)
            wm.codewords(rows, shift, totals)
            for x in range(256):
                if totals[x] > second:
                    if totals[x] > best:
                        best, second, message = totals[x], best, k << 8 | x
                    else:
                        second = totals[x]
        free(rows)
    return message, best, second


def trellis256_decode(const double[:, ::1] sums, int steps):
    """The message with the largest sum, all but exactly, and its sum."""
    cdef int32_t* metrics
    cdef int32_t rows[4 * 2048]
    cdef int32_t units[256]
    cdef uint8_t shift[4 * 256]
    cdef uint8_t path[MOST]
    cdef uint8_t power = 1, inverse = 1
    cdef int step, j, k, x
    cdef double top, scaled, total = 0.0
    if not 2 <= steps <= MOST or sums.shape[0] != 4 * steps or sums.shape[1] != 256:
        raise ValueError(
            f"{steps} steps and sums of shape {sums.shape[0]} x {sums.shape[1]}, "
            "expected 2 to 8 and 4 steps x 256"
        )
    metrics = <int32_t*>malloc(steps * BRANCHES * sizeof(int32_t))
    if metrics == NULL:
        raise MemoryError
    with nogil:
        for j in range(4):
            # 142 = 1/2 in this field, so that alpha**j s ^ p = alpha**j (s ^ shift).
            for x in range(256):
                shift[4 * x + j] = multiply(inverse, x)
            inverse = multiply(inverse, 142)
        for step in range(steps):
            power = 1
            for j in range(4):
                top = sums[4 * step + j, 0]
                for x in range(1, 256):
                    top = max(top, sums[4 * step + j, x])
                for x in range(256):
                    scaled = (top - sums[4 * step + j, x]) * QUANTUM
                    units[x] = -<int32_t>rint(scaled) if scaled < WORST else -WORST
                for x in range(256):
                    rows[2048 * j + x] = units[multiply(power, x)]
                for k in range(1, 8):
                    for x in range(256):
                        rows[2048 * j + 256 * k + x] = rows[2048 * j + (x ^ k)]
                power = multiply(power, 2)
            wm.branches(rows, shift, metrics + step * BRANCHES)
        tail_biting(wm, metrics, steps, STARTS, path)
        for step in range(steps):
            power = 1
            for j in range(4):
                x = path[(step + steps - 1) % steps] ^ multiply(power, path[step])
                total += sums[4 * step + j, x]
                power = multiply(power, 2)
        free(metrics)
    return bytes([path[j] for j in range(steps)]), total
