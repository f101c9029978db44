"""Finding and reading a sign code. See `reference_noise`."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from lanes cimport loops_of, wm_group, wm_log2, wm_loops, wm_popcount32
from siphash cimport absorb, finish, load64, start
from viterbi cimport tail_biting

from watermark.kernels._lanes import LOOPS

DEF LANES = 16  # as lanes.h says
DEF STEPS = 8
DEF BRANCHES = 65536
DEF STARTS = 8
DEF HEAD = 2048
DEF PLAIN = 12
DEF NONCE = 12

cdef const wm_loops* wm = loops_of(LOOPS)


# The best sums so far, largest first; equal sums keep the smaller nonce first, since
# nonces come in rising order.
cdef struct Best:
    int64_t sums[256]
    int64_t nonces[256]
    Py_ssize_t found
    Py_ssize_t keep


cdef void offer(Best* best, int64_t total, int64_t nonce) noexcept nogil:
    cdef Py_ssize_t slot = best.found, j
    while slot > 0 and best.sums[slot - 1] < total:
        slot -= 1
    if slot >= best.keep:
        return
    if best.found < best.keep:
        best.found += 1
    for j in range(best.found - 1, slot, -1):
        best.sums[j] = best.sums[j - 1]
        best.nonces[j] = best.nonces[j - 1]
    best.sums[slot] = total
    best.nonces[slot] = nonce


# A pilot: weights padded to whole blocks of 128 signs, their signs as bits.
cdef struct Pilot:
    int32_t* padded
    uint32_t* hard
    Py_ssize_t count
    Py_ssize_t blocks
    int64_t squares


cdef int take(const int32_t[::1] weights, Pilot* pilot) except -1:
    cdef Py_ssize_t i
    cdef int64_t total = 0
    pilot.count = weights.shape[0]
    pilot.blocks = (pilot.count + 127) // 128
    pilot.squares = 0
    for i in range(pilot.count):
        if not -1024 <= weights[i] <= 1024:
            raise ValueError(f"weight {weights[i]} is outside -1024..1024")
        total += weights[i] if weights[i] >= 0 else -weights[i]
        pilot.squares += weights[i] * weights[i]
    if total >= <int64_t>1 << 30:
        raise ValueError("the weights are too large to be summed in 32 bits twice over")
    pilot.padded = <int32_t*>calloc(128 * pilot.blocks + 4, 4)
    pilot.hard = <uint32_t*>calloc(4 * pilot.blocks + 4, 4)
    if pilot.padded == NULL or pilot.hard == NULL:
        drop(pilot)
        raise MemoryError
    for i in range(pilot.count):
        pilot.padded[i] = weights[i]
        if weights[i] < 0:
            pilot.hard[i >> 5] |= <uint32_t>1 << (i & 31)
    return 0


cdef void drop(Pilot* pilot) noexcept nogil:
    free(pilot.padded)
    free(pilot.hard)


# The bits of the last word that lie below `head`.
cdef uint32_t last_word(Py_ssize_t head) noexcept nogil:
    return (<uint32_t>1 << (head & 31)) - 1 if head & 31 else <uint32_t>0xFFFFFFFF


# The smallest agreement that `wanted` of the `nonces` reach.
cdef uint32_t cut_of(
    const uint32_t* agree, int64_t nonces, int64_t wanted, Py_ssize_t head,
    int64_t* histogram
) noexcept nogil:
    cdef int64_t i, total
    cdef Py_ssize_t cut = head
    memset(histogram, 0, (head + 1) * sizeof(int64_t))
    for i in range(nonces):
        histogram[agree[i]] += 1
    total = histogram[cut]
    while total < wanted:
        cut -= 1
        total += histogram[cut]
    return <uint32_t>cut


def pilot_search(const int32_t[::1] weights, bytes state not None, int nonce_bits,
                 int keep):
    """The nonces whose keyed signs agree best, as (sum, nonce) pairs."""
    cdef Py_ssize_t head, lane, fresh, i
    cdef Py_ssize_t longest
    cdef int64_t nonces, nonce, wanted
    cdef uint32_t cut
    cdef int level
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint64_t chosen[LANES]
    cdef int32_t sums[LANES]
    cdef uint32_t* agree = NULL
    cdef int64_t* histogram = NULL
    cdef Pilot pilot
    cdef Best best
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if not 1 <= keep <= 256 or not 0 <= nonce_bits <= 30:
        raise ValueError("expected keep in 1..256 and nonce_bits in 0..30")
    nonces = <int64_t>1 << nonce_bits
    low, high = load64(s), load64(s + 8)
    take(weights, &pilot)
    longest = min(pilot.count, max(<Py_ssize_t>HEAD, 5 * pilot.count // 8))
    agree = <uint32_t*>malloc((nonces + LANES) * 4)
    histogram = <int64_t*>malloc((longest + 1) * sizeof(int64_t))
    if agree == NULL or histogram == NULL:
        drop(&pilot)
        free(agree)
        free(histogram)
        raise MemoryError
    best.keep = keep
    with nogil:
        for level in range(0 if longest >= 4 * HEAD else 1, 2):
            if level == 0:
                head = min(pilot.count, <Py_ssize_t>HEAD)
                wanted = max(<int64_t>keep, nonces // 1024)
            else:
                head = longest
                wanted = max(<int64_t>keep * 16, nonces // 32)
            wanted = min(wanted, nonces)
            for nonce in range(0, nonces, LANES):
                wm.differences(
                    low, high, <uint64_t>nonce, pilot.hard, (head + 31) // 32,
                    last_word(head), <int32_t*>agree + nonce
                )
            for nonce in range(nonces):
                agree[nonce] = <uint32_t>head - agree[nonce]
            cut = cut_of(agree, nonces, wanted, head, histogram)
            best.found = 0
            nonce = 0
            while nonce < nonces:
                fresh = 0
                while nonce < nonces and fresh < LANES:
                    chosen[fresh] = <uint64_t>nonce
                    fresh += agree[nonce] >= cut
                    nonce += 1
                if fresh == 0:
                    break
                for lane in range(fresh, LANES):
                    chosen[lane] = 0  # computed and not used
                wm.signed_sums(low, high, chosen, pilot.padded, pilot.blocks, sums)
                for lane in range(fresh):
                    offer(&best, sums[lane], <int64_t>chosen[lane])
            if wanted == nonces or (
                best.sums[0] > 0
                and best.sums[0] * best.sums[0] >= PLAIN * PLAIN * pilot.squares
            ):
                break
    drop(&pilot)
    free(agree)
    free(histogram)
    return [(best.sums[i], best.nonces[i]) for i in range(best.found)]


# Bits set in x: without the instruction, which not every processor has, in vectors.
cdef inline uint32_t ones(uint32_t x) noexcept nogil:
    x -= (x >> 1) & <uint32_t>0x55555555
    x = (x & <uint32_t>0x33333333) + ((x >> 2) & <uint32_t>0x33333333)
    return (((x + (x >> 4)) & <uint32_t>0x0F0F0F0F) * <uint32_t>0x01010101) >> 24


# The states of 16 nonces of 12 bytes: SipHash-2-4-128 of each under the pilot's.
cdef void hashed(
    uint64_t low, uint64_t high, const uint8_t* nonces, Py_ssize_t count, wm_group* g
) noexcept nogil:
    cdef uint64_t v[4]
    cdef Py_ssize_t lane
    for lane in range(LANES):
        g.second[lane] = 0
        if lane >= count:
            g.low[lane] = 0
            g.high[lane] = 0
            continue
        start(low, high, v)
        absorb(v, load64(nonces + NONCE * lane))
        absorb(
            v,
            <uint64_t>NONCE << 56
            | <uint64_t>nonces[NONCE * lane + 8]
            | <uint64_t>nonces[NONCE * lane + 9] << 8
            | <uint64_t>nonces[NONCE * lane + 10] << 16
            | <uint64_t>nonces[NONCE * lane + 11] << 24
        )
        finish(v, &g.low[lane], &g.high[lane])


def listed_search(const int32_t[::1] weights, bytes state not None,
                  const uint8_t[::1] nonces, int keep):
    """Of the 12-byte nonces listed those that agree best, as (sum, place) pairs."""
    cdef Py_ssize_t count = nonces.shape[0] // NONCE, head, words, i, j, u, lane
    cdef int64_t place, wanted
    cdef uint32_t cut, bits
    cdef int32_t total
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint32_t out[4][LANES]
    cdef uint32_t differ[LANES]
    cdef uint32_t keep_bits
    cdef uint32_t* agree = NULL
    cdef int64_t* histogram = NULL
    cdef const int32_t* w
    cdef wm_group g
    cdef Pilot pilot
    cdef Best best
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if not 1 <= keep <= 256:
        raise ValueError(f"keep is {keep}, expected 1..256")
    if nonces.shape[0] % NONCE:
        raise ValueError(f"{nonces.shape[0]} bytes of nonces, expected {NONCE} each")
    low, high = load64(s), load64(s + 8)
    take(weights, &pilot)
    head = min(pilot.count, max(<Py_ssize_t>HEAD, 5 * pilot.count // 8))
    words = (head + 31) // 32
    agree = <uint32_t*>malloc((count + LANES) * 4)
    histogram = <int64_t*>malloc((head + 1) * sizeof(int64_t))
    if agree == NULL or histogram == NULL:
        drop(&pilot)
        free(agree)
        free(histogram)
        raise MemoryError
    best.keep = keep
    best.found = 0
    with nogil:
        for place in range(0, count, LANES):
            hashed(low, high, &nonces[NONCE * place], count - place, &g)
            memset(differ, 0, sizeof(differ))
            for i in range(0, words, 4):
                for lane in range(LANES):
                    g.first[lane] = <uint64_t>(i // 4)
                wm.philox(&g, out)
                for j in range(min(<Py_ssize_t>4, words - i)):
                    bits = pilot.hard[i + j]
                    keep_bits = <uint32_t>0xFFFFFFFF
                    if i + j == words - 1:
                        keep_bits = last_word(head)
                    for lane in range(LANES):
                        differ[lane] += ones((out[j][lane] ^ bits) & keep_bits)
            for lane in range(LANES):
                agree[place + lane] = <uint32_t>head - differ[lane]
        wanted = min(max(<int64_t>keep * 16, <int64_t>count // 32), <int64_t>count)
        cut = cut_of(agree, count, wanted, head, histogram)
        for place in range(count):
            if agree[place] < cut:
                continue
            hashed(low, high, &nonces[NONCE * place], 1, &g)
            total = 0
            for i in range(0, pilot.blocks, LANES):
                for lane in range(LANES):
                    g.low[lane] = g.low[0]
                    g.high[lane] = g.high[0]
                    g.first[lane] = <uint64_t>(i + lane)
                wm.philox(&g, out)
                for lane in range(min(<Py_ssize_t>LANES, pilot.blocks - i)):
                    for j in range(4):
                        bits = out[j][lane]
                        w = pilot.padded + 128 * (i + lane) + 32 * j
                        for u in range(32):
                            total += -w[u] if bits >> u & 1 else w[u]
            offer(&best, total, place)
    drop(&pilot)
    free(agree)
    free(histogram)
    return [(best.sums[i], best.nonces[i]) for i in range(best.found)]


# A coordinate and the word that decides its place.
cdef struct Keyed:
    uint64_t key
    int64_t index


# `size` coordinates in the order of their words: into buckets by their leading bits,
# a few to each, and those by insertion.
cdef int sort_keyed(
    uint64_t low, uint64_t high, Py_ssize_t size, Keyed* sorted_, uint64_t* keys,
    int32_t* ends
) noexcept nogil:
    cdef int bits = max(1, wm_log2(<uint64_t>size) - 1)
    cdef Py_ssize_t buckets = <Py_ssize_t>1 << bits, i, j, k, lane
    cdef int shift = 64 - bits
    cdef uint32_t out[4][LANES]
    cdef Keyed item
    cdef wm_group g
    cdef int32_t place, total = 0
    for lane in range(LANES):
        g.low[lane] = low
        g.high[lane] = high
        g.second[lane] = 0
    memset(ends, 0, buckets * 4)
    for i in range(0, size, 2 * LANES):
        for lane in range(LANES):
            g.first[lane] = <uint64_t>(i // 2 + lane)
        wm.philox(&g, out)
        for lane in range(LANES):
            for j in range(2):
                k = i + 2 * lane + j
                if k < size:
                    keys[k] = out[2 * j][lane] | <uint64_t>out[2 * j + 1][lane] << 32
                    ends[keys[k] >> shift] += 1
    for i in range(buckets):
        place = ends[i]
        ends[i] = total
        total += place
    for i in range(size):
        place = ends[keys[i] >> shift]
        ends[keys[i] >> shift] = place + 1
        sorted_[place].key = keys[i]
        sorted_[place].index = i
    for i in range(1, size):  # nearly sorted: what is out of place is so by a few
        item = sorted_[i]
        j = i
        while j > 0 and sorted_[j - 1].key > item.key:
            sorted_[j] = sorted_[j - 1]
            j -= 1
        sorted_[j] = item
    return 0


def keyed_order(bytes state not None, Py_ssize_t size):
    """The indices 0 .. size - 1 in the order of their keyed words, as int64 bytes."""
    cdef const uint8_t* s = state
    cdef Keyed* items = NULL
    cdef uint64_t* keys = NULL
    cdef int32_t* ends = NULL
    cdef Py_ssize_t i
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if not 0 <= size < <Py_ssize_t>1 << 30:
        raise ValueError(f"size is {size}, expected 0 to 2**30 - 1")
    data = bytearray(8 * size)
    cdef uint8_t[::1] view = data
    cdef int64_t* order
    if size == 0:
        return b""
    items = <Keyed*>malloc(size * sizeof(Keyed))
    keys = <uint64_t*>malloc(size * 8)
    ends = <int32_t*>malloc((size + 2) * 4)
    if items == NULL or keys == NULL or ends == NULL:
        free(items)
        free(keys)
        free(ends)
        raise MemoryError
    order = <int64_t*>&view[0]
    with nogil:
        sort_keyed(load64(s), load64(s + 8), size, items, keys, ends)
        for i in range(size):
            order[i] = items[i].index
    free(items)
    free(keys)
    free(ends)
    return bytes(data)


def pilot_sums(const int32_t[:, ::1] weights, bytes order_state not None,
               bytes state not None, unsigned long long nonce):
    """Of each column its signed sum over the keyed pilot, and its sum of squares."""
    cdef Py_ssize_t size = weights.shape[0], columns = weights.shape[1]
    cdef Py_ssize_t count = size // 4, i, j, lane
    cdef const uint8_t* s = state
    cdef const uint8_t* t = order_state
    cdef Keyed* items = NULL
    cdef uint64_t* keys = NULL
    cdef int32_t* ends = NULL
    cdef int64_t* sums = NULL
    cdef const int32_t* row
    cdef int64_t sign
    cdef uint64_t low, high
    cdef uint32_t out[4][LANES]
    cdef wm_group g
    if len(state) != 16 or len(order_state) != 16:
        raise ValueError("expected states of 16 bytes")
    if size < 1 or columns < 1:
        raise ValueError(f"{size} rows of {columns} weights, expected some")
    items = <Keyed*>malloc(size * sizeof(Keyed))
    keys = <uint64_t*>malloc(size * 8)
    ends = <int32_t*>malloc((size + 2) * 4)
    sums = <int64_t*>calloc(2 * columns, 8)
    if items == NULL or keys == NULL or ends == NULL or sums == NULL:
        free(items)
        free(keys)
        free(ends)
        free(sums)
        raise MemoryError
    low, high = load64(s), load64(s + 8)
    with nogil:
        sort_keyed(load64(t), load64(t + 8), size, items, keys, ends)
        for lane in range(LANES):
            g.low[lane] = low
            g.high[lane] = high
            g.second[lane] = <uint32_t>nonce
        for i in range(count):
            if i % (128 * LANES) == 0:
                for lane in range(LANES):
                    g.first[lane] = <uint64_t>(i // 128 + lane)
                wm.philox(&g, out)
            lane = (i // 128) % LANES
            sign = 1 - 2 * <int64_t>(out[(i // 32) % 4][lane] >> (i % 32) & 1)
            row = &weights[items[i].index, 0]
            for j in range(columns):
                sums[j] += sign * row[j]
                sums[columns + j] += <int64_t>row[j] * row[j]
    totals = [sums[j] for j in range(columns)]
    squares = [sums[columns + j] for j in range(columns)]
    free(items)
    free(keys)
    free(ends)
    free(sums)
    return totals, squares


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


# The metrics of all branches, to be freed.
cdef int32_t* branches_of(
    const uint16_t[::1] masks, const int32_t[::1] values
) except NULL:
    cdef Py_ssize_t n = masks.shape[0], k, step
    cdef int64_t bound = 0
    cdef int32_t* metrics = NULL
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
    return metrics


def trellis_decode(const uint16_t[::1] masks, const int32_t[::1] values):
    """The mark id that agrees best with `values`, and its agreement."""
    cdef int32_t* metrics = branches_of(masks, values)
    cdef int32_t total
    cdef uint8_t path[STEPS]
    cdef Py_ssize_t k
    with nogil:
        total = tail_biting(wm, metrics, STEPS, STARTS, path)
    free(metrics)
    return total, bytes([path[k] for k in range(STEPS)])


def trellis_rivals(const uint16_t[::1] masks, const int32_t[::1] values,
                   bytes mark_id not None):
    """The agreements of all mark ids that differ from `mark_id` in one byte at most."""
    cdef int32_t* metrics
    cdef const int32_t* m
    cdef int32_t total = 0
    cdef Py_ssize_t i, b, after
    cdef int32_t sums[STEPS][256]
    cdef uint8_t path[STEPS]
    if len(mark_id) != STEPS:
        raise ValueError(f"the mark id has {len(mark_id)} bytes, expected {STEPS}")
    metrics = branches_of(masks, values)
    for i in range(STEPS):
        path[i] = mark_id[i]
    for i in range(STEPS):
        total += metrics[i * BRANCHES + (path[(i + STEPS - 1) % STEPS] << 8) + path[i]]
    for i in range(STEPS):
        after = (i + 1) % STEPS
        m = metrics + i * BRANCHES + (path[(i + STEPS - 1) % STEPS] << 8)
        for b in range(256):
            sums[i][b] = total + m[b] - m[path[i]]
        m = metrics + after * BRANCHES + path[after]
        for b in range(256):
            sums[i][b] += m[b << 8] - m[<Py_ssize_t>path[i] << 8]
    free(metrics)
    return [[sums[i][b] for b in range(256)] for i in range(STEPS)]
