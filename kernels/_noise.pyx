"""Finding and reading the sign code of `noise`. See `reference_noise`."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from lanes cimport loops_of, wm_loops, wm_popcount32
from siphash cimport load64
from viterbi cimport tail_biting

from watermark.kernels._lanes import LOOPS

DEF LANES = 16  # as lanes.h says
DEF STEPS = 8
DEF BRANCHES = 65536
DEF HEAD = 2048
DEF STARTS = 8

cdef const wm_loops* wm = loops_of(LOOPS)


def pilot_search(const int32_t[::1] weights, bytes state not None, int nonce_bits,
                 int keep):
    """The `keep` nonces whose keyed signs agree best, as (sum, nonce) pairs."""
    cdef Py_ssize_t count = weights.shape[0], i, found = 0, j, slot, lane, fresh
    cdef Py_ssize_t blocks = (count + 127) // 128
    cdef Py_ssize_t head = min(count, HEAD), head_words, wanted, cut
    cdef int64_t nonces, nonce, total
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint64_t chosen[16]
    cdef int32_t sums[16]
    cdef int32_t differ[16]
    cdef uint32_t last
    cdef uint32_t* hard = NULL
    cdef uint16_t* agree = NULL
    cdef int32_t* padded = NULL
    cdef int64_t histogram[HEAD + 1]
    cdef int64_t best_sum[256]
    cdef int64_t best_nonce[256]
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if not 1 <= keep <= 256 or not 0 <= nonce_bits <= 30:
        raise ValueError("expected keep in 1..256 and nonce_bits in 0..30")
    if count >= 1 << 20:
        raise ValueError(f"{count} weights, expected fewer than 2**20")
    for i in range(count):
        if not -1024 <= weights[i] <= 1024:
            raise ValueError(f"weight {weights[i]} is outside -1024..1024")
    nonces = <int64_t>1 << nonce_bits
    head_words = (head + 31) // 32
    low, high = load64(s), load64(s + 8)
    hard = <uint32_t*>calloc(4 * blocks + 4, 4)
    agree = <uint16_t*>malloc(nonces * 2)
    padded = <int32_t*>calloc(128 * blocks + 4, 4)
    if hard == NULL or agree == NULL or padded == NULL:
        free(hard)
        free(agree)
        free(padded)
        raise MemoryError
    with nogil:
        for i in range(count):
            padded[i] = weights[i]
            if weights[i] < 0:
                hard[i >> 5] |= <uint32_t>1 << (i & 31)
        # Bits past the head do not count as differing.
        last = <uint32_t>0xFFFFFFFF
        if head & 31:
            last = (<uint32_t>1 << (head & 31)) - 1
        memset(histogram, 0, sizeof(histogram))
        for nonce in range(0, nonces, LANES):
            wm.differences(low, high, <uint64_t>nonce, hard, head_words, last, differ)
            for lane in range(min(<int64_t>LANES, nonces - nonce)):
                agree[nonce + lane] = <uint16_t>(head - differ[lane])
                histogram[head - differ[lane]] += 1
        wanted = max(<Py_ssize_t>keep, nonces // 10)
        if wanted > nonces:
            wanted = nonces
        cut = head
        total = histogram[cut]
        while total < wanted:
            cut -= 1
            total += histogram[cut]
        nonce = 0
        while nonce < nonces:
            fresh = 0
            while nonce < nonces and fresh < LANES:
                chosen[fresh] = <uint64_t>nonce
                fresh += agree[nonce] >= cut
                nonce += 1
            for lane in range(fresh, LANES):
                chosen[lane] = 0  # computed and not used
            wm.signed_sums(low, high, chosen, padded, blocks, sums)
            for lane in range(fresh):
                # Equal sums keep the smaller nonce first: they come in rising order.
                slot = found
                while slot > 0 and best_sum[slot - 1] < sums[lane]:
                    slot -= 1
                if slot < keep:
                    if found < keep:
                        found += 1
                    for j in range(found - 1, slot, -1):
                        best_sum[j] = best_sum[j - 1]
                        best_nonce[j] = best_nonce[j - 1]
                    best_sum[slot] = sums[lane]
                    best_nonce[slot] = <int64_t>chosen[lane]
    free(hard)
    free(agree)
    free(padded)
    return [(best_sum[i], best_nonce[i]) for i in range(found)]


def code_bits(const uint16_t[::1] masks, bytes mark_id not None):
    """The coded bit of each data coordinate."""
    cdef Py_ssize_t n = masks.shape[0], k
    cdef uint16_t pairs[STEPS]
    if len(mark_id) != STEPS:
        raise ValueError(f"the mark id has {len(mark_id)} bytes, expected {STEPS}")
    for k in range(STEPS):
        pairs[k] = <uint16_t>(mark_id[(k + STEPS - 1) % STEPS] << 8 | mark_id[k])
    data = bytearray(n)
    cdef uint8_t[::1] view = data
    with nogil:
        for k in range(n):
            view[k] = <uint8_t>(wm_popcount32(masks[k] & pairs[k % STEPS]) & 1)
    return bytes(data)


def trellis_decode(const uint16_t[::1] masks, const int32_t[::1] values):
    """The mark id that agrees best with `values`, and its agreement."""
    cdef Py_ssize_t n = masks.shape[0], k, step
    cdef int64_t bound = 0
    cdef int32_t total
    cdef int32_t* metrics = NULL
    cdef uint8_t path[STEPS]
    if values.shape[0] != n:
        raise ValueError(f"{n} masks and {values.shape[0]} values: expected as many")
    for k in range(n):
        bound += values[k] if values[k] >= 0 else -<int64_t>values[k]
    if bound >= <int64_t>1 << 30:
        raise ValueError("the values are too large to be summed in 32 bits twice over")
    metrics = <int32_t*>calloc(STEPS * BRANCHES, 4)
    if metrics == NULL:
        raise MemoryError
    with nogil:
        for k in range(n):
            metrics[(k % STEPS) * BRANCHES + masks[k]] += values[k]
        for step in range(STEPS):
            wm.butterfly(metrics + step * BRANCHES, BRANCHES)
        total = tail_biting(wm, metrics, STEPS, STARTS, path)
    free(metrics)
    return total, bytes([path[k] for k in range(STEPS)])
