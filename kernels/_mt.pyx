"""torch's CPU generator: MT19937 and its shuffle. See `reference_mt`."""
from libc.stdint cimport uint8_t, uint32_t

import numpy as np

DEF N = 624
DEF M = 397

cdef Py_ssize_t MAX_LENGTH = 1 << 27


cdef struct Twister:
    uint32_t state[N]
    uint32_t words[N]
    int at


cdef inline uint32_t mix(uint32_t far, uint32_t here, uint32_t then) noexcept nogil:
    cdef uint32_t y = (here & 0x80000000u) | (then & 0x7FFFFFFFu)
    return far ^ (y >> 1) ^ ((0u - (y & 1u)) & 0x9908B0DFu)


cdef void seed_with(Twister* t, uint32_t seed) noexcept nogil:
    cdef uint32_t i, x = seed
    t.state[0] = x
    for i in range(1, N):
        x = 1812433253u * (x ^ (x >> 30)) + i
        t.state[i] = x
    t.at = N


cdef void twist(Twister* t) noexcept nogil:
    """The next 624 words. The three loops carry nothing over 227 places."""
    cdef uint32_t* s = t.state
    cdef uint32_t y
    cdef int i
    for i in range(N - M):
        s[i] = mix(s[i + M], s[i], s[i + 1])
    for i in range(N - M, N - 1):
        s[i] = mix(s[i + M - N], s[i], s[i + 1])
    s[N - 1] = mix(s[M - 1], s[N - 1], s[0])
    for i in range(N):
        y = s[i]
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C5680u
        y ^= (y << 15) & 0xEFC60000u
        t.words[i] = y ^ (y >> 18)
    t.at = 0


cdef inline uint32_t next_word(Twister* t) noexcept nogil:
    if t.at == N:
        twist(t)
    t.at += 1
    return t.words[t.at - 1]


cdef int check(Py_ssize_t n, Py_ssize_t count) except -1:
    if not 1 <= n <= MAX_LENGTH:
        raise ValueError(f"the permutation's length is {n}, expected 1 to 2**27")
    if not 0 <= count <= n:
        raise ValueError(f"the list's length is {count}, expected 0 to {n}")
    return 0


def mt_words(seed, Py_ssize_t count):
    """The first words of the generator."""
    cdef Twister t
    cdef uint32_t start = seed & 0xFFFFFFFF
    cdef Py_ssize_t i
    words = np.empty(max(count, 0), np.uint32)
    cdef uint32_t[::1] out = words
    with nogil:
        seed_with(&t, start)
        for i in range(count):
            out[i] = next_word(&t)
    return words


def mt_permutation(seed, Py_ssize_t n, Py_ssize_t count):
    """The first entries of a permutation."""
    cdef uint32_t start = seed & 0xFFFFFFFF
    cdef uint32_t i, j, held, size = <uint32_t>n
    cdef Twister t
    cdef uint32_t[::1] a
    check(n, count)
    a = places = np.arange(n, dtype=np.uint32)
    with nogil:
        seed_with(&t, start)
        for i in range(<uint32_t>min(count, n - 1)):
            j = i + next_word(&t) % (size - i)
            held = a[i]
            a[i] = a[j]
            a[j] = held
    return places[:count].copy()


def mt_mask(seed, Py_ssize_t n, Py_ssize_t count):
    """The first entries of a permutation as a set of bits."""
    cdef Py_ssize_t i
    cdef const uint32_t[::1] members = mt_permutation(seed, n, count)
    cdef uint8_t[::1] out
    out = mask = np.zeros((n + 7) // 8, np.uint8)
    with nogil:
        for i in range(count):
            out[members[i] >> 3] |= <uint8_t>(1 << (members[i] & 7))
    return mask


def mt_members(const uint32_t[::1] seeds, const uint32_t[::1] tokens, Py_ssize_t n,
               Py_ssize_t count):
    """For each pair, whether the token is among the first of its permutation."""
    cdef Py_ssize_t start = 0, stop, pairs = seeds.shape[0]
    check(n, count)
    if pairs != tokens.shape[0]:
        raise ValueError(f"found {pairs} seeds for {tokens.shape[0]} tokens")
    found = np.zeros(pairs, np.uint8)
    cdef uint8_t[::1] out = found
    cdef uint32_t[::1] places = np.array(tokens, np.uint32)
    with nogil:
        while start < pairs:
            stop = start + 1
            while stop < pairs and seeds[stop] == seeds[start]:
                stop += 1
            follow(seeds[start], &places[start], &out[start], stop - start,
                   <uint32_t>n, <uint32_t>count)
            start = stop
    return found


cdef void follow(uint32_t seed, uint32_t* places, uint8_t* out, Py_ssize_t tokens,
                 uint32_t n, uint32_t count) noexcept nogil:
    """Follow some tokens through one shuffle; a token that was found stands at n."""
    cdef Twister t
    cdef uint32_t i, j, left = 0
    cdef Py_ssize_t k
    for k in range(tokens):
        if places[k] < n:
            left += 1
            if count == n:
                out[k] = 1
    if count == n or left == 0:
        return
    seed_with(&t, seed)
    for i in range(count):
        j = i + next_word(&t) % (n - i)
        for k in range(tokens):
            if places[k] == j:
                out[k], places[k] = 1, n
                left -= 1
                if left == 0:
                    return
            elif places[k] == i:
                places[k] = j
