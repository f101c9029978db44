# Header only: the contexts of a text, each once. See `reference.fresh_contexts`.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from lanes cimport wm_group, wm_loops
from siphash cimport load64, siphash_tokens

DEF LANES = 16  # as lanes.h says
DEF MOST = 63  # tokens of context
DEF PHRASE = 3  # reference.PHRASE
DEF RECALL = 128  # reference.RECALL


cdef struct Contexts:
    Py_ssize_t n
    uint32_t* at  # where the token after the context stands
    uint32_t* token  # that token
    uint64_t* low  # the context's SipHash state, in halves
    uint64_t* high


cdef inline int check(
    const uint32_t[::1] tokens, bytes key, Py_ssize_t width, Py_ssize_t skip
) except -1:
    if len(key) != 16:
        raise ValueError(f"the key has {len(key)} bytes, expected 16")
    if not 1 <= width <= MOST:
        raise ValueError(f"the context width is {width}, expected 1 to {MOST}")
    if tokens.shape[0] >= 1 << 31:
        raise ValueError(f"{tokens.shape[0]} tokens given, expected fewer than 2**31")
    if not 0 <= skip <= tokens.shape[0]:
        raise ValueError(f"skip is {skip}, expected 0 to {tokens.shape[0]}")
    return 0


cdef inline int check_nonces(int nonce_bits) except -1:
    if not 0 <= nonce_bits <= 8:
        raise ValueError(f"nonce_bits is {nonce_bits}, expected 0 to 8")
    return 0


# Where tokens go in a table is keyed: nobody can write a text whose tokens all go to
# one place, which would take quadratic time (multilinear hashing: Lemire and Kaser
# 2014).
cdef inline void spread_of(uint64_t k0, uint64_t k1, uint64_t* spread) noexcept nogil:
    siphash_tokens(k0, k1, NULL, 0, spread, spread + 1)
    siphash_tokens(~k0, k1, NULL, 0, spread + 2, spread + 3)


cdef inline bint first_time(
    const uint32_t* tokens, Py_ssize_t i, Py_ssize_t width, Py_ssize_t compared,
    uint64_t hashed, const uint64_t* spread, uint32_t* table, uint64_t mask
) noexcept nogil:
    # Open addressing over positions (stored plus one); equality is of the tokens
    # themselves, so a hash collision costs time and never a wrong count. `compared`
    # is the context alone (width) or the context and its token (width + 1).
    cdef uint64_t slot = hashed
    cdef uint32_t other
    if compared > width:
        slot += tokens[i] * spread[0]
    slot = (slot >> 32) & mask
    while True:
        other = table[slot]
        if other == 0:
            table[slot] = <uint32_t>(i + 1)
            return True
        if memcmp(tokens + i - width, tokens + (other - 1) - width,
                  4 * compared) == 0:
            return False
        slot = (slot + 1) & mask


# Whether the phrase that ends at i ended within RECALL before too. As `first_time`, but
# a slot holds where its phrase ended last.
cdef inline bint repeats(
    const uint32_t* tokens, Py_ssize_t i, const uint64_t* spread, uint32_t* table,
    uint64_t mask
) noexcept nogil:
    cdef const uint32_t* t = tokens + i - (PHRASE - 1)
    cdef uint64_t slot = spread[0] + t[0] * spread[1] + t[1] * spread[2]
    cdef uint32_t other
    slot = ((slot + t[2] * spread[3]) >> 32) & mask
    while True:
        other = table[slot]
        if other == 0 or memcmp(t, tokens + other - PHRASE, 4 * PHRASE) == 0:
            table[slot] = <uint32_t>(i + 1)
            return other != 0 and i + 1 - other <= RECALL
        slot = (slot + 1) & mask


# Pass over the windows that end at start .. stop - 1; keep the fresh ones if asked,
# without those that are `dull`.
cdef inline void collect(
    const wm_loops* wm, Contexts* found, const uint32_t* t, Py_ssize_t n, uint64_t k0,
    uint64_t k1, Py_ssize_t width, Py_ssize_t compared, Py_ssize_t start,
    Py_ssize_t stop, bint keep, const uint8_t* dull, const uint64_t* spread,
    uint32_t* table, uint64_t mask
) noexcept nogil:
    cdef uint64_t low[16]
    cdef uint64_t high[16]
    cdef uint32_t padded[16 + MOST]
    cdef const uint32_t* window
    cdef Py_ssize_t i, lane
    cdef bint fresh
    for i in range(start, stop, LANES):
        window = t + i - width
        if i + LANES > n:  # the last lanes would read past the text
            memset(padded, 0, sizeof(padded))
            memcpy(padded, window, 4 * (n - i + width))
            window = padded
        wm.siphash(k0, k1, window, width, low, high)
        for lane in range(min(<Py_ssize_t>LANES, stop - i)):
            fresh = first_time(t, i + lane, width, compared, low[lane], spread, table,
                               mask)
            if fresh and keep and not (dull != NULL and dull[i + lane]):
                found.at[found.n] = <uint32_t>(i + lane)
                found.token[found.n] = t[i + lane]
                found.low[found.n] = low[lane]
                found.high[found.n] = high[lane]
                found.n += 1


# The tokens that are scored after the prompt of `skip` tokens: `fresh_contexts`, or
# with `pairs` the first use of each context and token. The arguments are checked. To
# be freed with `release`.
cdef inline int gather(
    const wm_loops* wm, Contexts* found, const uint32_t[::1] tokens, bytes key,
    Py_ssize_t width, Py_ssize_t skip, bint pairs
) except -1:
    cdef Py_ssize_t n = tokens.shape[0], most = n - skip - width, i
    cdef uint64_t size = 16, k0, k1
    cdef uint64_t spread[4]
    cdef const uint8_t* k = key
    cdef uint32_t* table  # of contexts; behind it that of phrases
    cdef uint8_t* dull  # tokens that repeat a phrase
    memset(found, 0, sizeof(Contexts))
    if most <= 0:
        return 0
    while size < 2 * <uint64_t>n:
        size *= 2
    k0, k1 = load64(k), load64(k + 8)
    spread_of(k0, k1, spread)
    table = <uint32_t*>calloc(size * (1 if pairs else 2), 4)
    dull = NULL if pairs else <uint8_t*>calloc(n, 1)
    found.low = <uint64_t*>malloc(24 * most)
    if table == NULL or found.low == NULL or (dull == NULL and not pairs):
        free(table)
        free(dull)
        free(found.low)
        raise MemoryError
    found.high = found.low + most
    found.at = <uint32_t*>(found.high + most)
    found.token = found.at + most
    with nogil:
        if not pairs:
            for i in range(PHRASE - 1, n):  # none spans the boundary
                if not skip <= i < skip + PHRASE - 1:
                    dull[i] = repeats(&tokens[0], i, spread, table + size, size - 1)
        # A prompt's last context ends where the text begins; a pair's token is in it.
        collect(wm, found, &tokens[0], n, k0, k1, width, width + pairs, width,
                skip + (0 if pairs else 1), False, dull, spread, table, size - 1)
        collect(wm, found, &tokens[0], n, k0, k1, width, width + pairs, skip + width,
                n, True, dull, spread, table, size - 1)
    free(table)
    free(dull)
    return 0


cdef inline void release(Contexts* found) noexcept nogil:
    free(found.low)


# The words of contexts base .. base + count - 1 (at most 16) for every nonce, at
# out[c * nonces + v].
cdef inline void draw(
    const wm_loops* wm, const Contexts* found, Py_ssize_t base, Py_ssize_t count,
    Py_ssize_t nonces, uint32_t* out
) noexcept nogil:
    cdef Py_ssize_t blocks = (nonces + 3) // 4, t, lane, c, j
    cdef uint32_t wide[4][16]
    cdef wm_group g
    for t in range(0, count * blocks, LANES):
        for lane in range(LANES):
            c = base + min((t + lane) // blocks, count - 1)
            g.low[lane], g.high[lane] = found.low[c], found.high[c]
            g.first[lane], g.second[lane] = found.token[c], (t + lane) & (blocks - 1)
        wm.philox(&g, wide)
        for lane in range(min(<Py_ssize_t>LANES, count * blocks - t)):
            c = (t + lane) // blocks * nonces + 4 * ((t + lane) & (blocks - 1))
            for j in range(min(<Py_ssize_t>4, nonces)):
                out[c + j] = wide[j][lane]
