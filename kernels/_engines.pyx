"""The words of foreign engines' generators. See `reference_engines`."""
import os

from libc.math cimport log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from watermark.kernels._lanes import LOOPS

from lanes cimport loops_of, wm_group, wm_loops
from murmur cimport Contexts, absorbed, finished, gather, keyed, release
from siphash cimport load64
from windows cimport Windows, check, make, pick

DEF LANES = 16  # as lanes.h says
DEF MOST_KEYS = 2
DEF SPREAD = 66  # multipliers for windows of 65 tokens
DEF TEXTSEAL_WORDS = 8191
DEF FACTORS = 31  # of a product before its logarithm: none is below 2**-32

cdef const wm_loops* wm = loops_of(LOOPS)

cdef uint32_t PADDING = 0xFFFFFFFF
cdef uint32_t CONTEXT_DOMAIN = 0x574D4358
cdef uint32_t TOKEN_DOMAIN = 0x574D544B
cdef uint64_t MULTIPLIER = 6364136223846793005
cdef uint64_t TEXTSEAL_MULTIPLIER = 15485863 * 40499

# Hash tables are keyed anew in each process: see windows.pxd.
cdef bytes SEED = os.urandom(8 * SPREAD)
cdef uint64_t[SPREAD] spread
cdef int place
for place in range(SPREAD):
    spread[place] = load64(<const uint8_t*>SEED + 8 * place)


# The positions of scored tokens in buffer[first:stop], as an array.
cdef object picked(
    const uint32_t* buffer, Py_ssize_t width, Py_ssize_t prompt, Py_ssize_t first,
    Py_ssize_t stop
):
    cdef Windows seen, quoted
    cdef Py_ssize_t n
    cdef uint32_t[::1] view
    quoted.ends = NULL
    at = np.empty(max(stop - first, 0), np.uint32)
    if stop <= first:
        return at
    view = at
    make(&seen, stop - first, width, spread)
    try:
        make(&quoted, prompt, width + 1, spread)
        with nogil:
            n = pick(&seen, &quoted, buffer, width, prompt, first, stop, &view[0])
    finally:
        free(seen.ends)
        free(quoted.ends)
    return at[:n]


# --- vLLM ----------------------------------------------------------------------------


# The words of up to 16 windows under one key: `ends` are their last tokens.
cdef void vllm_group(
    const uint32_t** ends, Py_ssize_t width, uint64_t key, uint32_t* words
) noexcept nogil:
    cdef wm_group g
    cdef uint32_t[4][LANES] state
    cdef uint32_t[4] block
    cdef uint32_t token
    cdef Py_ssize_t offset, i
    cdef int lane
    for lane in range(LANES):
        state[0][lane], state[1][lane] = CONTEXT_DOMAIN, <uint32_t>width
        state[2][lane] = state[3][lane] = 0
    for offset in range(0, width, 4):
        for lane in range(LANES):
            for i in range(4):
                if offset + i < width:
                    block[i] = ends[lane][offset + i - width] ^ state[i][lane]
                else:
                    block[i] = (PADDING - <uint32_t>i) ^ state[i][lane]
            g.first[lane], g.second[lane] = block[0], block[1]
            g.high[lane] = block[2] | <uint64_t>block[3] << 32
            g.low[lane] = key ^ <uint64_t>offset
        wm.philox(&g, state)
    for lane in range(LANES):
        g.first[lane], g.second[lane] = ends[lane][0] >> 2, state[0][lane]
        g.high[lane] = state[1][lane] | <uint64_t>state[2][lane] << 32
        g.low[lane] = key ^ (state[3][lane] | <uint64_t>TOKEN_DOMAIN << 32)
    wm.philox(&g, state)
    for lane in range(LANES):
        token = ends[lane][0]
        words[lane] = state[token & 3][lane] & <uint32_t>0xFFFFFF00


def vllm_words(const uint32_t[::1] tokens, const uint64_t[::1] keys, Py_ssize_t width,
               Py_ssize_t skip=0):
    """Where each distinct context's token stands, and its word under each key."""
    cdef Py_ssize_t n, base, lane, j, count = tokens.shape[0]
    cdef uint32_t* buffer
    cdef (const uint32_t*)[LANES] ends
    cdef uint32_t[LANES] drawn
    cdef uint32_t[::1] at
    cdef uint32_t[:, ::1] view
    check(tokens, width, skip)
    # The prompt, then the padding, then the text: no window spans prompt and text.
    buffer = <uint32_t*>malloc(4 * (count + width))
    if buffer == NULL:
        raise MemoryError
    try:
        if skip:
            memcpy(buffer, &tokens[0], 4 * skip)
        memset(buffer + skip, 0xFF, 4 * width)
        if count > skip:
            memcpy(buffer + skip + width, &tokens[skip], 4 * (count - skip))
        at = positions = picked(buffer, width, skip, skip + width, count + width)
        n = at.shape[0]
        words = np.empty((n, keys.shape[0]), np.uint32)
        view = words
        with nogil:
            for base in range(0, n, LANES):
                for lane in range(LANES):  # the last lanes may do the last again
                    ends[lane] = buffer + at[min(base + lane, n - 1)]
                for j in range(keys.shape[0]):
                    vllm_group(ends, width, keys[j], drawn)
                    for lane in range(min(<Py_ssize_t>LANES, n - base)):
                        view[base + lane, j] = drawn[lane]
            for base in range(n):
                at[base] -= <uint32_t>width
    finally:
        free(buffer)
    return positions, words


def word_sums(const uint32_t[:, ::1] words):
    """The sum of -log(1 - word / 2**32) in each column."""
    cdef Py_ssize_t n = words.shape[0], i, j
    cdef double product
    cdef double[::1] view
    view = sums = np.zeros(words.shape[1], np.float64)
    with nogil:
        for j in range(words.shape[1]):
            product = 1.0
            for i in range(n):
                product *= (4294967296.0 - words[i, j]) * 2.0**-32
                if i % FACTORS == FACTORS - 1:
                    view[j] -= log(product)
                    product = 1.0
            if n % FACTORS:
                view[j] -= log(product)
    return sums


# --- SGLang --------------------------------------------------------------------------


cdef int check_keys(Py_ssize_t count) except -1:
    if not 1 <= count <= MOST_KEYS:
        raise ValueError(f"{count} keys were given, expected 1 or 2")
    return 0


def sglang_words(const uint32_t[::1] tokens, const uint64_t[::1] keys, Py_ssize_t width,
                 unsigned long long threshold=0, Py_ssize_t skip=0):
    """Where each distinct context's token stands, and its word under its key."""
    cdef Py_ssize_t i, last = keys.shape[0] - 1
    cdef uint32_t a, b, coin, h
    cdef uint32_t[::1] at, view
    cdef Contexts found
    check(tokens, width, skip)
    check_keys(last + 1)
    try:
        gather(&found, tokens, width, skip, spread)
        at = positions = np.empty(found.n, np.uint32)
        view = words = np.empty(found.n, np.uint32)
        with nogil:
            a, b = keyed(0, keys[0]), keyed(0, keys[last])
            coin = keyed(a, keys[last])
            for i in range(found.n):
                at[i], h = found.at[i], found.hashes[i]
                if last == 0 or finished(absorbed(coin, h), 5) < threshold:
                    h = absorbed(a, h)
                else:
                    h = absorbed(b, h)
                view[i] = finished(absorbed(h, found.ready[at[i]]), 4)
    finally:
        release(&found)
    return positions, words


# The states of 16 keys, their words, and the products of the factors 1 - u. The loops
# are apart so that each is one the compiler makes vectors of.
cdef struct Keys:
    uint32_t[LANES] a
    uint32_t[LANES] b
    uint32_t[LANES] coin
    uint32_t[LANES] words
    double[LANES] products


cdef void one_key(Keys* k, uint32_t context, uint32_t token) noexcept nogil:
    cdef int lane
    for lane in range(LANES):
        k.words[lane] = finished(absorbed(absorbed(k.a[lane], context), token), 4)


cdef void two_keys(
    Keys* k, uint32_t context, uint32_t token, uint32_t below
) noexcept nogil:
    cdef int lane
    cdef uint32_t h, own
    for lane in range(LANES):
        own = 0 - <uint32_t>(finished(absorbed(k.coin[lane], context), 5) <= below)
        h = (k.a[lane] & own) | (k.b[lane] & ~own)
        k.words[lane] = finished(absorbed(absorbed(h, context), token), 4)


# Times 1 - word / 2**32, by a signed conversion, which processors have.
cdef void multiply(Keys* k) noexcept nogil:
    cdef int lane
    cdef int32_t shifted
    for lane in range(LANES):
        shifted = <int32_t>(k.words[lane] ^ <uint32_t>0x80000000)
        k.products[lane] *= (2147483648.0 - shifted) * 2.0**-32


def sglang_sums(const uint32_t[::1] tokens, const uint64_t[:, ::1] keys,
                Py_ssize_t width, unsigned long long threshold=0, Py_ssize_t skip=0):
    """The sum of -log(1 - u) of the same tokens under each of many keys."""
    cdef Py_ssize_t i, base, lane, last = keys.shape[1] - 1, count = keys.shape[0]
    cdef uint32_t below = <uint32_t>(threshold - 1)
    cdef bint tossed = last == 1 and 0 < threshold < <uint64_t>1 << 32
    cdef uint64_t a, b
    cdef uint32_t token
    cdef double[::1] view
    cdef Keys k
    cdef Contexts found
    check(tokens, width, skip)
    check_keys(last + 1)
    view = sums = np.zeros(count, np.float64)
    try:
        gather(&found, tokens, width, skip, spread)
        with nogil:
            for base in range(0, count, LANES):
                for lane in range(LANES):
                    a = keys[min(base + lane, count - 1), 0]
                    b = keys[min(base + lane, count - 1), last]
                    k.a[lane], k.b[lane] = keyed(0, a), keyed(0, b)
                    k.coin[lane] = keyed(k.a[lane], b)
                    if last == 1 and threshold == 0:  # every token is key B's
                        k.a[lane] = k.b[lane]
                    k.products[lane] = 1.0
                for i in range(found.n):
                    token = found.ready[found.at[i]]
                    if tossed:
                        two_keys(&k, found.hashes[i], token, below)
                    else:
                        one_key(&k, found.hashes[i], token)
                    multiply(&k)
                    if i % FACTORS == FACTORS - 1 or i == found.n - 1:
                        for lane in range(min(<Py_ssize_t>LANES, count - base)):
                            view[base + lane] -= log(k.products[lane])
                        for lane in range(LANES):
                            k.products[lane] = 1.0
    finally:
        release(&found)
    return sums


# --- TextSeal ------------------------------------------------------------------------


def textseal_sums(const uint64_t[::1] sums, const uint64_t[::1] offsets,
                  const double[::1] terms):
    """The sum of the terms of the words of all sums, for each key's offset."""
    cdef Py_ssize_t i, j
    cdef int64_t word
    cdef double total
    cdef double[::1] view
    if terms.shape[0] != TEXTSEAL_WORDS:
        raise ValueError(f"{terms.shape[0]} terms given, expected {TEXTSEAL_WORDS}")
    view = totals = np.empty(offsets.shape[0], np.float64)
    with nogil:
        for j in range(offsets.shape[0]):
            total = 0.0
            for i in range(sums.shape[0]):
                word = <int64_t>((sums[i] + offsets[j]) * TEXTSEAL_MULTIPLIER)
                word = (word ^ (word >> 13)) % TEXTSEAL_WORDS
                total += terms[word + TEXTSEAL_WORDS * (word < 0)]
            view[j] = total
    return totals


# --- SynthID-Text --------------------------------------------------------------------


def synthid_states(const uint32_t[::1] tokens, unsigned long long start,
                   Py_ssize_t width, Py_ssize_t skip=0):
    """Where each distinct context's token stands, and the hash of both."""
    cdef Py_ssize_t i, j
    cdef uint64_t h
    cdef uint32_t[::1] at
    cdef uint64_t[::1] view
    check(tokens, width, skip)
    at = positions = picked(&tokens[0] if tokens.shape[0] else NULL, width, skip,
                            skip + width, tokens.shape[0])
    view = states = np.empty(at.shape[0], np.uint64)
    with nogil:
        for i in range(at.shape[0]):
            h = start
            for j in range(at[i] - width, at[i] + 1):
                h = (h + tokens[j]) * MULTIPLIER + 1
            view[i] = h
    return positions, states


def synthid_bits(const uint64_t[::1] states, const uint64_t[::1] keys):
    """The g values of each state, one for each layer's key."""
    cdef Py_ssize_t i, layer
    cdef int _
    cdef uint64_t h
    cdef uint8_t[:, ::1] view
    view = bits = np.empty((states.shape[0], keys.shape[0]), np.uint8)
    with nogil:
        for i in range(states.shape[0]):
            for layer in range(keys.shape[0]):
                h = (states[i] + keys[layer]) * MULTIPLIER + 1
                for _ in range(12):
                    h = <uint64_t>(<int64_t>((h + 1) * MULTIPLIER + 1) >> 5)
                view[i, layer] = (h >> 30) & 1
    return bits
