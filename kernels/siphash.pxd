# Header only: SipHash-2-4 with 128-bit output (Aumasson and Bernstein 2012).
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef inline uint64_t rotl(uint64_t x, int n) noexcept nogil:
    return (x << n) | (x >> (64 - n))


cdef inline void rounds(uint64_t* v, int count) noexcept nogil:
    cdef uint64_t v0 = v[0], v1 = v[1], v2 = v[2], v3 = v[3]
    cdef int _
    for _ in range(count):
        v0 += v1
        v1 = rotl(v1, 13) ^ v0
        v0 = rotl(v0, 32)
        v2 += v3
        v3 = rotl(v3, 16) ^ v2
        v0 += v3
        v3 = rotl(v3, 21) ^ v0
        v2 += v1
        v1 = rotl(v1, 17) ^ v2
        v2 = rotl(v2, 32)
    v[0] = v0
    v[1] = v1
    v[2] = v2
    v[3] = v3


cdef inline void start(uint64_t k0, uint64_t k1, uint64_t* v) noexcept nogil:
    v[0] = k0 ^ <uint64_t>0x736F6D6570736575
    v[1] = k1 ^ <uint64_t>0x646F72616E646F6D ^ <uint64_t>0xEE
    v[2] = k0 ^ <uint64_t>0x6C7967656E657261
    v[3] = k1 ^ <uint64_t>0x7465646279746573


cdef inline void absorb(uint64_t* v, uint64_t word) noexcept nogil:
    v[3] ^= word
    rounds(v, 2)
    v[0] ^= word


cdef inline void finish(uint64_t* v, uint64_t* low, uint64_t* high) noexcept nogil:
    v[2] ^= 0xEE
    rounds(v, 4)
    low[0] = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(v, 4)
    high[0] = v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    cdef uint64_t word = 0
    cdef int i
    for i in range(8):
        word |= <uint64_t>p[i] << (8 * i)
    return word


# State of `width` tokens, each four little-endian bytes: two tokens fill one word.
cdef inline void siphash_tokens(
    uint64_t k0, uint64_t k1, const uint32_t* tokens, Py_ssize_t width,
    uint64_t* low, uint64_t* high
) noexcept nogil:
    cdef uint64_t v[4]
    cdef uint64_t last = <uint64_t>((4 * width) & 0xFF) << 56
    cdef Py_ssize_t i
    start(k0, k1, v)
    for i in range(width // 2):
        absorb(v, <uint64_t>tokens[2 * i] | (<uint64_t>tokens[2 * i + 1] << 32))
    if width & 1:
        last |= tokens[width - 1]
    absorb(v, last)
    finish(v, low, high)
