"""Finding and reading the sign code of `noise`. See `reference`."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from lanes cimport wm_butterfly, wm_philox_lanes, wm_popcount32, wm_viterbi
from philox cimport keyed_words
from siphash cimport load64

DEF STEPS = 8
DEF STATES = 256
DEF BRANCHES = 65536
DEF STARTS = 8
DEF HEAD = 2048
DEF LANES = 8


def pilot_search(const int32_t[::1] weights, bytes state not None, int nonce_bits,
                 int keep):
    """The `keep` nonces whose keyed signs agree best, as (sum, nonce) pairs."""
    cdef Py_ssize_t count = weights.shape[0], i, found = 0, j, slot
    cdef Py_ssize_t length = (count + 31) // 32, blocks = (length + 3) // 4
    cdef Py_ssize_t head = min(count, HEAD), head_words, head_blocks, wanted, cut
    cdef int64_t nonces, nonce, total
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint32_t out[4]
    cdef uint32_t first[LANES]
    cdef uint32_t second[LANES]
    cdef uint32_t wide[4][LANES]
    cdef int differ[LANES]
    cdef Py_ssize_t j4
    cdef int lane
    cdef uint32_t last, keep_bits
    cdef uint32_t* hard = NULL
    cdef uint16_t* agree = NULL
    cdef int32_t* nibbles = NULL
    cdef int64_t histogram[HEAD + 1]
    cdef int64_t best_sum[256]
    cdef int64_t best_nonce[256]
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if not 1 <= keep <= 256 or not 0 <= nonce_bits <= 30:
        raise ValueError("expected keep in 1..256 and nonce_bits in 0..30")
    for i in range(count):
        if not -1024 <= weights[i] <= 1024:
            raise ValueError(f"weight {weights[i]} is outside -1024..1024")
    nonces = <int64_t>1 << nonce_bits
    head_words = (head + 31) // 32
    head_blocks = (head_words + 3) // 4
    low, high = load64(s), load64(s + 8)
    hard = <uint32_t*>calloc(4 * blocks + 4, 4)
    agree = <uint16_t*>malloc(nonces * 2)
    nibbles = <int32_t*>calloc(8 * (4 * blocks + 4) * 16, 4)
    if hard == NULL or agree == NULL or nibbles == NULL:
        free(hard)
        free(agree)
        free(nibbles)
        raise MemoryError
    with nogil:
        for i in range(count):
            if weights[i] < 0:
                hard[i >> 5] |= <uint32_t>1 << (i & 31)
            for j in range(16):
                nibbles[16 * (i >> 2) + j] += (
                    -weights[i] if (j >> (i & 3)) & 1 else weights[i]
                )
        # Bits past the head agree by definition of `last`, and are taken off again.
        last = <uint32_t>0xFFFFFFFF
        if head & 31:
            last = (<uint32_t>1 << (head & 31)) - 1
        memset(histogram, 0, sizeof(histogram))
        for nonce in range(0, nonces, LANES):
            for lane in range(LANES):
                second[lane] = <uint32_t>(nonce + lane)
                differ[lane] = 0
            for j in range(head_blocks):
                for lane in range(LANES):
                    first[lane] = <uint32_t>j
                wm_philox_lanes(low, high, first, second, wide)
                for i in range(4 * j, min(4 * j + 4, head_words)):
                    keep_bits = (
                        last if i == head_words - 1 else <uint32_t>0xFFFFFFFF
                    )
                    for lane in range(LANES):
                        differ[lane] += wm_popcount32(
                            (wide[i & 3][lane] ^ hard[i]) & keep_bits
                        )
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
        for nonce in range(nonces):
            if agree[nonce] < cut:
                continue
            total = 0
            for j in range(blocks):
                keyed_words(low, high, <uint32_t>j, <uint32_t>nonce, out)
                for i in range(4 * j, min(4 * j + 4, length)):
                    last = out[i & 3]
                    for slot in range(8):
                        j4 = 16 * (8 * i + slot)
                        total += nibbles[j4 + (last >> (4 * slot) & 15)]
            # Equal sums keep the smaller nonce first: nonces come in rising order.
            slot = found
            while slot > 0 and best_sum[slot - 1] < total:
                slot -= 1
            if slot < keep:
                if found < keep:
                    found += 1
                for j in range(found - 1, slot, -1):
                    best_sum[j] = best_sum[j - 1]
                    best_nonce[j] = best_nonce[j - 1]
                best_sum[slot] = total
                best_nonce[slot] = nonce
    free(hard)
    free(agree)
    free(nibbles)
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
    cdef Py_ssize_t n = masks.shape[0], k, step, _
    cdef int start, i, j, p
    cdef int64_t bound = 0
    cdef int32_t total, best = 0
    cdef int32_t* metrics = NULL
    cdef int32_t rank[STATES]
    cdef int32_t scores[STATES]
    cdef int32_t ignored[STATES]
    cdef int32_t origins[STEPS][STATES]
    cdef int starts[STARTS]
    cdef uint8_t best_path[STEPS]
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
            wm_butterfly(metrics + step * BRANCHES, BRANCHES)
        memset(rank, 0, sizeof(rank))
        for _ in range(2):
            for step in range(STEPS):
                wm_viterbi(rank, metrics + step * BRANCHES, scores, ignored)
                memcpy(rank, scores, sizeof(rank))
        for i in range(STARTS):
            p = 0
            while rank[p] == -2147483647 - 1:
                p += 1
            for j in range(p + 1, STATES):
                if rank[j] > rank[p]:
                    p = j
            starts[i] = p
            rank[p] = -2147483647 - 1
        for i in range(STARTS):
            start = starts[i]
            memcpy(rank, metrics + STATES * start, sizeof(rank))
            for step in range(1, STEPS):
                wm_viterbi(rank, metrics + step * BRANCHES, scores, origins[step])
                memcpy(rank, scores, sizeof(rank))
            total = rank[start]
            if i == 0 or total > best:
                best = total
                p = start
                best_path[STEPS - 1] = <uint8_t>p
                for step in range(STEPS - 1, 0, -1):
                    p = origins[step][p]
                    best_path[step - 1] = <uint8_t>p
    free(metrics)
    return best, bytes([best_path[k] for k in range(STEPS)])
