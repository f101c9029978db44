# Header only: Philox4x32-10 (Salmon et al., SC 2011), inlined where it is cimported.
from libc.stdint cimport uint32_t, uint64_t


cdef inline void philox4x32(uint32_t* c, uint32_t k0, uint32_t k1) noexcept nogil:
    cdef int _
    cdef uint64_t p0, p1
    cdef uint32_t c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3]
    for _ in range(10):
        p0 = <uint64_t>0xD2511F53 * c0
        p1 = <uint64_t>0xCD9E8D57 * c2
        c0 = <uint32_t>(p1 >> 32) ^ c1 ^ k0
        c1 = <uint32_t>p1
        c2 = <uint32_t>(p0 >> 32) ^ c3 ^ k1
        c3 = <uint32_t>p0
        k0 = k0 + <uint32_t>0x9E3779B9
        k1 = k1 + <uint32_t>0xBB67AE85
    c[0] = c0
    c[1] = c1
    c[2] = c2
    c[3] = c3


# Four words from a 16-byte state (as two little-endian halves) and two counter words.
cdef inline void keyed_words(
    uint64_t low, uint64_t high, uint32_t first, uint32_t second, uint32_t* out
) noexcept nogil:
    out[0] = first
    out[1] = second
    out[2] = <uint32_t>high
    out[3] = <uint32_t>(high >> 32)
    philox4x32(out, <uint32_t>low, <uint32_t>(low >> 32))
