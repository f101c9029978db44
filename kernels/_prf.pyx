"""Keyed words: SipHash-2-4-128 states, Philox4x32-10 streams. See `reference`."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from philox cimport keyed_words
from siphash cimport absorb, finish, load64, start


def siphash128(bytes key not None, const uint8_t[::1] data):
    """SipHash-2-4 with 128-bit output of `data` under a 16-byte key."""
    cdef const uint8_t* k = key
    cdef uint64_t v[4]
    cdef uint64_t low = 0, high = 0, last
    cdef Py_ssize_t i, n = data.shape[0]
    if len(key) != 16:
        raise ValueError(f"the key has {len(key)} bytes, expected 16")
    with nogil:
        last = <uint64_t>(n & 0xFF) << 56
        start(load64(k), load64(k + 8), v)
        for i in range(n // 8):
            absorb(v, load64(&data[8 * i]))
        for i in range(8 * (n // 8), n):
            last |= <uint64_t>data[i] << (8 * (i & 7))
        absorb(v, last)
        finish(v, &low, &high)
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


def words(bytes state not None, unsigned long long first, unsigned long long second):
    """Four 32-bit words from a 16-byte state and two counter words."""
    cdef const uint8_t* s = state
    cdef uint32_t out[4]
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    keyed_words(load64(s), load64(s + 8), <uint32_t>first, <uint32_t>second, out)
    return out[0], out[1], out[2], out[3]


def stream(bytes state not None, unsigned long long nonce, Py_ssize_t count):
    """`count` 32-bit words, little-endian: block j is ``words(state, j, nonce)``."""
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint32_t out[4]
    cdef Py_ssize_t i, j, k
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if count < 0:
        raise ValueError(f"count is {count}, expected 0 or more")
    data = bytearray(4 * count)
    cdef uint8_t[::1] view = data
    low, high = load64(s), load64(s + 8)
    with nogil:
        for j in range((count + 3) // 4):
            keyed_words(low, high, <uint32_t>j, <uint32_t>nonce, out)
            for i in range(4 * j, min(4 * j + 4, count)):
                for k in range(4):
                    view[4 * i + k] = <uint8_t>(out[i & 3] >> (8 * k))
    return bytes(data)
