"""The green list: membership, counting, bias. See `reference`."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from contexts cimport Contexts, check, gather, release
from lanes cimport loops_of, wm_group, wm_loops
from philox cimport keyed_words
from siphash cimport load64

from watermark.kernels._lanes import LOOPS

DEF LANES = 16  # as lanes.h says

cdef const wm_loops* wm = loops_of(LOOPS)


def greenlist_count(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                    unsigned int gamma16, Py_ssize_t skip=0):
    """Distinct pairs, and how many of them are green."""
    cdef Py_ssize_t base, count, lane, hits = 0
    cdef uint32_t token
    cdef uint32_t wide[4][16]
    cdef wm_group g
    cdef Contexts found
    check(tokens, key, width, skip)
    gather(wm, &found, tokens, key, width, skip, True)
    with nogil:
        for base in range(0, found.n, LANES):
            count = min(<Py_ssize_t>LANES, found.n - base)
            for lane in range(LANES):
                g.low[lane] = found.low[base + min(lane, count - 1)]
                g.high[lane] = found.high[base + min(lane, count - 1)]
                g.first[lane] = found.token[base + min(lane, count - 1)] >> 5
                g.second[lane] = 0
            wm.philox(&g, wide)
            for lane in range(count):
                token = found.token[base + lane]
                token = wide[(token >> 3) & 3][lane] >> (4 * (token & 7))
                hits += (token & 15) < gamma16
        release(&found)
    return found.n, hits


def greenlist_mask(bytes state not None, Py_ssize_t vocab, unsigned int gamma16):
    """One byte per token, 1 where the token is green."""
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint32_t out[4]
    cdef Py_ssize_t block, i, stop
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    data = bytearray(vocab)
    cdef uint8_t[::1] view = data
    low, high = load64(s), load64(s + 8)
    with nogil:
        for block in range((vocab + 31) // 32):
            keyed_words(low, high, <uint32_t>block, 0, out)
            stop = min(vocab, 32 * block + 32)
            for i in range(32 * block, stop):
                view[i] = ((out[(i >> 3) & 3] >> (4 * (i & 7))) & 15) < gamma16
    return bytes(data)


def greenlist_bias(float[::1] logits, bytes state not None, unsigned int gamma16,
                   float delta):
    """Add `delta` to green logits in place; how many are above -inf; -1: NaN, +inf."""
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef long count
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if logits.shape[0] == 0:
        return 0
    if gamma16 == 0:
        delta = 0.0
    low, high = load64(s), load64(s + 8)
    with nogil:
        count = wm.add_green(&logits[0], logits.shape[0], low, high,
                             min(max(gamma16, 1), 16), delta)
    return count
