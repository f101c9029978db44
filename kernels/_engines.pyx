"""The words of foreign engines' generators. See `reference_engines`."""
import os

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from philox cimport philox4x32
from siphash cimport load64, siphash_tokens

DEF MOST = 64  # reference_engines.MOST_WIDTH
DEF MOST_KEYS = 2

cdef uint32_t PADDING = 0xFFFFFFFF
cdef uint32_t CONTEXT_DOMAIN = 0x574D4358
cdef uint32_t TOKEN_DOMAIN = 0x574D544B
cdef uint64_t MULTIPLIER = 6364136223846793005

# Hash tables are keyed anew in each process, so that no text can fill one slot. What is
# equal is decided by the tokens themselves: the key changes no result.
cdef bytes SEED = os.urandom(16)
cdef uint64_t SEED0 = load64(SEED), SEED1 = load64(<const uint8_t*>SEED + 8)


cdef int check(const uint32_t[::1] tokens, Py_ssize_t width, Py_ssize_t skip) except -1:
    if not 1 <= width <= MOST:
        raise ValueError(f"the context width is {width}, expected 1 to {MOST}")
    if tokens.shape[0] >= (1 << 31) - MOST:
        raise ValueError(f"{tokens.shape[0]} tokens given, expected fewer than 2**31")
    if not 0 <= skip <= tokens.shape[0]:
        raise ValueError(f"skip is {skip}, expected 0 to {tokens.shape[0]}")
    return 0


# Windows of tokens, each once: open addressing over where they end, stored plus one.
cdef struct Windows:
    uint32_t* ends
    uint64_t mask
    Py_ssize_t length  # tokens in a window


cdef int make(Windows* windows, Py_ssize_t most, Py_ssize_t length) except -1:
    cdef uint64_t size = 16
    while size < 2 * <uint64_t>most:
        size *= 2
    windows.ends = <uint32_t*>calloc(size, 4)
    windows.mask, windows.length = size - 1, length
    if windows.ends == NULL:
        raise MemoryError
    return 0


# Whether the window that ends before `end` is there; put it there if `add`.
cdef bint known(
    Windows* windows, const uint32_t* tokens, Py_ssize_t end, bint add
) noexcept nogil:
    cdef uint64_t slot, high
    cdef Py_ssize_t length = windows.length
    siphash_tokens(SEED0, SEED1, tokens + end - length, length, &slot, &high)
    slot &= windows.mask
    while windows.ends[slot]:
        if memcmp(tokens + windows.ends[slot] - 1 - length, tokens + end - length,
                  4 * length) == 0:
            return True
        slot = (slot + 1) & windows.mask
    if add:
        windows.ends[slot] = <uint32_t>(end + 1)
    return False


# The tokens that an engine keys: of each context the first, unless the pair stands in
# the prompt. Indices into `buffer`; how many. Contexts shorter than `width` are fresh:
# each has a length of its own.
cdef Py_ssize_t pick(
    Windows* seen, Windows* quoted, const uint32_t* buffer, Py_ssize_t width,
    Py_ssize_t prompt, Py_ssize_t first, Py_ssize_t stop, uint32_t* at
) noexcept nogil:
    cdef Py_ssize_t i, n = 0
    for i in range(width, prompt):
        known(quoted, buffer, i + 1, True)
    for i in range(first, stop):
        if i >= width:
            if known(seen, buffer, i, True):
                continue
            if prompt > width and known(quoted, buffer, i + 1, False):
                continue
        at[n] = <uint32_t>i
        n += 1
    return n


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
    make(&seen, stop - first, width)
    try:
        make(&quoted, prompt, width + 1)
        with nogil:
            n = pick(&seen, &quoted, buffer, width, prompt, first, stop, &view[0])
    finally:
        free(seen.ends)
        free(quoted.ends)
    return at[:n]


# --- vLLM ----------------------------------------------------------------------------


cdef inline uint32_t vllm_word(
    const uint32_t* context, Py_ssize_t width, uint32_t token, uint64_t key
) noexcept nogil:
    cdef uint32_t k0 = <uint32_t>key, k1 = <uint32_t>(key >> 32)
    cdef uint32_t[4] c
    cdef uint32_t last
    cdef Py_ssize_t offset, i
    c[0], c[1], c[2], c[3] = CONTEXT_DOMAIN, <uint32_t>width, 0, 0
    for offset in range(0, width, 4):
        for i in range(4):
            if offset + i < width:
                c[i] ^= context[offset + i]
            else:
                c[i] ^= PADDING - <uint32_t>i
        philox4x32(c, k0 ^ <uint32_t>offset, k1)
    last = c[3]
    c[3], c[2], c[1], c[0] = c[2], c[1], c[0], token >> 2
    philox4x32(c, k0 ^ last, k1 ^ TOKEN_DOMAIN)
    return c[token & 3] & <uint32_t>0xFFFFFF00


def vllm_words(const uint32_t[::1] tokens, const uint64_t[::1] keys, Py_ssize_t width,
               Py_ssize_t skip=0):
    """Where each distinct context's token stands, and its word under each key."""
    cdef Py_ssize_t n, i, j, count = tokens.shape[0]
    cdef uint32_t* buffer
    cdef const uint32_t* end
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
            for i in range(n):
                end = buffer + at[i]
                for j in range(keys.shape[0]):
                    view[i, j] = vllm_word(end - width, width, end[0], keys[j])
                at[i] -= <uint32_t>width
    finally:
        free(buffer)
    return positions, words


# --- SGLang --------------------------------------------------------------------------


cdef inline uint32_t mix(uint32_t h, uint32_t k) noexcept nogil:
    k *= <uint32_t>0xCC9E2D51
    k = (k << 15) | (k >> 17)
    h ^= k * <uint32_t>0x1B873593
    h = (h << 13) | (h >> 19)
    return h * 5 + <uint32_t>0xE6546B64


cdef inline uint32_t murmur3(const uint32_t* words, Py_ssize_t count) noexcept nogil:
    cdef uint32_t h = 0
    cdef Py_ssize_t i
    for i in range(count):
        h = mix(h, words[i])
    h ^= <uint32_t>(4 * count)
    h = (h ^ (h >> 16)) * <uint32_t>0x85EBCA6B
    h = (h ^ (h >> 13)) * <uint32_t>0xC2B2AE35
    return h ^ (h >> 16)


# Whether a hash is in a table of hashes, stored plus one; put it there. Multiplied by a
# random odd number, so that the slots are this process's own.
cdef bint hash_known(uint64_t* table, uint64_t mask, uint32_t hashed) noexcept nogil:
    cdef uint64_t slot = ((hashed * (SEED0 | 1)) >> 32) & mask
    while table[slot]:
        if table[slot] == <uint64_t>hashed + 1:
            return True
        slot = (slot + 1) & mask
    table[slot] = <uint64_t>hashed + 1
    return False


def sglang_words(const uint32_t[::1] tokens, const uint64_t[::1] keys, Py_ssize_t width,
                 unsigned long long threshold=0, Py_ssize_t skip=0):
    """Where each distinct context's token stands, and its word under its key."""
    cdef Py_ssize_t i, length, n = 0, count = tokens.shape[0]
    cdef Py_ssize_t first = skip if skip else min(width, count)
    cdef const uint32_t* t
    cdef uint32_t hashed
    cdef uint64_t size = 16, key
    cdef uint64_t* table
    cdef uint32_t[5] coin
    cdef uint32_t[4] drawn
    cdef uint32_t[::1] at, view
    cdef Windows quoted
    check(tokens, width, skip)
    if not 1 <= keys.shape[0] <= MOST_KEYS:
        raise ValueError(f"{keys.shape[0]} keys were given, expected 1 or 2")
    at = positions = np.empty(count - first, np.uint32)
    view = words = np.empty(count - first, np.uint32)
    if first == count:
        return positions, words
    while size < 2 * <uint64_t>(count - first):
        size *= 2
    t = &tokens[0]
    quoted.ends = NULL
    table = <uint64_t*>calloc(size, 8)
    if table == NULL:
        raise MemoryError
    try:
        make(&quoted, skip, width + 1)
        with nogil:
            coin[0], coin[1] = <uint32_t>keys[0], <uint32_t>(keys[0] >> 32)
            key = keys[keys.shape[0] - 1]
            coin[2], coin[3] = <uint32_t>key, <uint32_t>(key >> 32)
            for i in range(width, skip):
                known(&quoted, t, i + 1, True)
            for i in range(first, count):
                length = min(i, width)
                hashed = murmur3(t + i - length, length)
                if hash_known(table, size - 1, hashed):
                    continue
                if i >= width and skip > width and known(&quoted, t, i + 1, False):
                    continue
                key = keys[0]
                if keys.shape[0] == 2:
                    coin[4] = hashed
                    if murmur3(coin, 5) >= threshold:
                        key = keys[1]
                drawn[0], drawn[1] = <uint32_t>key, <uint32_t>(key >> 32)
                drawn[2], drawn[3] = hashed, t[i]
                at[n], view[n] = <uint32_t>i, murmur3(drawn, 4)
                n += 1
    finally:
        free(table)
        free(quoted.ends)
    return positions[:n], words[:n]


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
