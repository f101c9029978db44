# Header only: MurmurHash3_x86_32 (Appleby, public domain), seed 0, of 32-bit words, and
# contexts told apart by it as SGLang does.
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from windows cimport Windows, known, make


cdef inline uint32_t scrambled(uint32_t k) noexcept nogil:
    k *= <uint32_t>0xCC9E2D51
    k = (k << 15) | (k >> 17)
    return k * <uint32_t>0x1B873593


# A state and one scrambled word.
cdef inline uint32_t absorbed(uint32_t h, uint32_t k) noexcept nogil:
    h ^= k
    h = (h << 13) | (h >> 19)
    return h * 5 + <uint32_t>0xE6546B64


# The hash, of the state after `count` words.
cdef inline uint32_t finished(uint32_t h, uint32_t count) noexcept nogil:
    h ^= 4 * count
    h = (h ^ (h >> 16)) * <uint32_t>0x85EBCA6B
    h = (h ^ (h >> 13)) * <uint32_t>0xC2B2AE35
    return h ^ (h >> 16)


# A state and both halves of a key: of its 64 bits 32 are left.
cdef inline uint32_t keyed(uint32_t h, uint64_t key) noexcept nogil:
    h = absorbed(h, scrambled(<uint32_t>key))
    return absorbed(h, scrambled(<uint32_t>(key >> 32)))


# Whether a hash is in a table of hashes, stored plus one; put it there. Multiplied by a
# random odd number, so that the slots are this process's own.
cdef inline bint hash_known(
    uint64_t* table, uint64_t mask, uint32_t hashed, uint64_t odd
) noexcept nogil:
    cdef uint64_t slot = ((hashed * odd) >> 32) & mask
    while table[slot]:
        if table[slot] == <uint64_t>hashed + 1:
            return True
        slot = (slot + 1) & mask
    table[slot] = <uint64_t>hashed + 1
    return False


# The first token after each context.
cdef struct Contexts:
    Py_ssize_t n
    uint32_t* at  # where that token stands
    uint32_t* hashes  # of the context, scrambled
    uint32_t* ready  # every token of the text, scrambled


# To be freed with `release`, whatever happens.
cdef inline int gather(
    Contexts* found, const uint32_t[::1] tokens, Py_ssize_t width, Py_ssize_t skip,
    const uint64_t* spread
) except -1:
    cdef Py_ssize_t i, j, length, count = tokens.shape[0]
    cdef Py_ssize_t first = skip if skip else min(width, count)
    cdef const uint32_t* t
    cdef uint32_t h
    cdef uint64_t size = 16
    cdef uint64_t* table = NULL
    cdef Windows quoted
    memset(found, 0, sizeof(Contexts))
    if first == count:
        return 0
    while size < 2 * <uint64_t>(count - first):
        size *= 2
    t = &tokens[0]
    quoted.ends = NULL
    found.at = <uint32_t*>malloc(4 * (3 * count))
    try:
        table = <uint64_t*>calloc(size, 8)
        if table == NULL or found.at == NULL:
            raise MemoryError
        found.hashes, found.ready = found.at + count, found.at + 2 * count
        make(&quoted, skip, width + 1, spread)
        with nogil:
            for i in range(count):
                found.ready[i] = scrambled(t[i])
            for i in range(width, skip):
                known(&quoted, t, i + 1, True)
            for i in range(first, count):
                length = min(i, width)
                h = 0
                for j in range(i - length, i):
                    h = absorbed(h, found.ready[j])
                h = finished(h, <uint32_t>length)
                if hash_known(table, size - 1, h, spread[0] | 1):
                    continue
                if i >= width and skip > width and known(&quoted, t, i + 1, False):
                    continue
                found.at[found.n], found.hashes[found.n] = <uint32_t>i, scrambled(h)
                found.n += 1
    finally:
        free(table)
        free(quoted.ends)
    return 0


cdef inline void release(Contexts* found) noexcept nogil:
    free(found.at)
