"""Scoring and choosing tokens: `gumbel` and `greenlist`. See `reference`."""
from libc.math cimport INFINITY, log, rint
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from lanes cimport (
    wm_add_green,
    wm_any_above,
    wm_candidates,
    wm_largest,
    wm_philox_lanes,
)
from philox cimport keyed_words
from siphash cimport load64, siphash_tokens

cdef double UNIT = 16777216.0  # 2**reference.NOISE_BITS


cdef inline bint first_time(
    const uint32_t* tokens, Py_ssize_t i, Py_ssize_t width, Py_ssize_t compared,
    uint64_t hashed, uint32_t* table, uint64_t mask
) noexcept nogil:
    # Open addressing over positions (stored plus one); equality is of the tokens
    # themselves, so a hash collision costs time and never a wrong count. `compared`
    # is the context alone (width) or the context and its token (width + 1).
    cdef uint64_t slot = hashed
    cdef uint32_t other
    if compared > width:
        slot ^= tokens[i] * <uint64_t>0x9E3779B97F4A7C15
    slot = (slot ^ (slot >> 32)) & mask  # ids that share low bits spread all the same
    while True:
        other = table[slot]
        if other == 0:
            table[slot] = <uint32_t>(i + 1)
            return True
        if memcmp(tokens + i - width, tokens + (other - 1) - width,
                  4 * compared) == 0:
            return False
        slot = (slot + 1) & mask


cdef uint64_t table_size(Py_ssize_t n) noexcept nogil:
    cdef uint64_t size = 16
    while size < 2 * <uint64_t>n:
        size *= 2
    return size


cdef int check(const uint32_t[::1] tokens, bytes key, Py_ssize_t width) except -1:
    if len(key) != 16:
        raise ValueError(f"the key has {len(key)} bytes, expected 16")
    if not 1 <= width <= 63:
        raise ValueError(f"the context width is {width}, expected 1 to 63")
    if tokens.shape[0] >= 1 << 31:
        raise ValueError(f"{tokens.shape[0]} tokens given, expected fewer than 2**31")
    return 0


def context_state(bytes key not None, const uint32_t[::1] context):
    """SipHash state of a context."""
    cdef const uint8_t* k = key
    cdef uint64_t low = 0, high = 0
    if len(key) != 16:
        raise ValueError(f"the key has {len(key)} bytes, expected 16")
    siphash_tokens(load64(k), load64(k + 8),
                   &context[0] if context.shape[0] else NULL, context.shape[0],
                   &low, &high)
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


def gumbel_score(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                 int nonce_bits):
    """Distinct contexts, and the sum of -log(1 - u) for each nonce."""
    cdef Py_ssize_t n = tokens.shape[0], i, seen = 0
    cdef int nonces, blocks, b, j
    cdef const uint8_t* k = key
    cdef uint64_t k0, k1, low = 0, high = 0, size
    cdef uint32_t out[4]
    cdef double sums[256]
    cdef double products[256]
    cdef uint32_t* table
    cdef const uint32_t* t
    check(tokens, key, width)
    if not 0 <= nonce_bits <= 8:
        raise ValueError(f"nonce_bits is {nonce_bits}, expected 0 to 8")
    nonces = 1 << nonce_bits
    blocks = (nonces + 3) // 4
    for j in range(256):
        sums[j], products[j] = 0.0, 1.0
    if n > width:
        size = table_size(n)
        table = <uint32_t*>calloc(size, 4)
        if table == NULL:
            raise MemoryError
        t = &tokens[0]
        k0, k1 = load64(k), load64(k + 8)
        with nogil:
            for i in range(width, n):
                siphash_tokens(k0, k1, t + i - width, width, &low, &high)
                if not first_time(t, i, width, width, low, table, size - 1):
                    continue
                seen += 1
                for b in range(blocks):
                    keyed_words(low, high, t[i], <uint32_t>b, out)
                    for j in range(4):
                        products[4 * b + j] *= (4294967296.0 - out[j]) * 2.0**-32
                if seen & 15 == 0:
                    for j in range(nonces):
                        sums[j] -= log(products[j])
                        products[j] = 1.0
                    for j in range(nonces, 4):
                        products[j] = 1.0
            if seen & 15:
                for j in range(nonces):
                    sums[j] -= log(products[j])
        free(table)
    return seen, [sums[j] for j in range(nonces)]


cdef inline bint green(
    uint64_t low, uint64_t high, uint32_t token, uint32_t gamma16
) noexcept nogil:
    cdef uint32_t out[4]
    keyed_words(low, high, token >> 5, 0, out)
    return ((out[(token >> 3) & 3] >> (4 * (token & 7))) & 15) < gamma16


def greenlist_count(const uint32_t[::1] tokens, bytes key not None, Py_ssize_t width,
                    unsigned int gamma16):
    """Distinct pairs, and how many of them are green."""
    cdef Py_ssize_t n = tokens.shape[0], i, seen = 0, hits = 0
    cdef const uint8_t* k = key
    cdef uint64_t k0, k1, low = 0, high = 0, size
    cdef uint32_t* table
    cdef const uint32_t* t
    check(tokens, key, width)
    if n > width:
        size = table_size(n)
        table = <uint32_t*>calloc(size, 4)
        if table == NULL:
            raise MemoryError
        t = &tokens[0]
        k0, k1 = load64(k), load64(k + 8)
        with nogil:
            for i in range(width, n):
                siphash_tokens(k0, k1, t + i - width, width, &low, &high)
                if first_time(t, i, width, width + 1, low, table, size - 1):
                    seen += 1
                    hits += green(low, high, t[i], gamma16)
        free(table)
    return seen, hits


cdef inline int64_t gumbel_noise(
    uint32_t word, const int32_t* lows, const int32_t* highs
) noexcept nogil:
    cdef uint64_t y = 2 * <uint64_t>word + 1
    cdef const int32_t* nodes = lows
    cdef int exponent = 31
    cdef int64_t index
    if y >= <uint64_t>1 << 32:
        y = (<uint64_t>1 << 33) - y
        nodes = highs
    y <<= 1
    while not y & (<uint64_t>1 << 32):  # the loop ends: y is odd, so never zero
        y <<= 1
        exponent -= 1
    index = exponent * 256 + ((y >> 24) & 255)
    return nodes[index] + (
        ((<int64_t>nodes[index + 1] - nodes[index]) * <int64_t>(y & 0xFFFFFF)) >> 24
    )


def gumbel_select(const float[::1] logits, bytes state not None,
                  unsigned long long nonce, const int32_t[::1] lows,
                  const int32_t[::1] highs):
    """The chosen token, or -1 for NaN or +inf, or -2 where no logit is finite."""
    cdef const uint8_t* s = state
    cdef Py_ssize_t n = logits.shape[0], i, block, chosen = -2
    cdef uint64_t low, high
    cdef int64_t value, best = -(<int64_t>1 << 62)
    cdef uint32_t out[4]
    cdef float top = -INFINITY, cut
    cdef const float* x
    cdef bint fit = True
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if lows.shape[0] != 8193 or highs.shape[0] != 8193:
        raise ValueError("the noise tables have the wrong length")
    if n == 0:
        return chosen
    x = &logits[0]
    low, high = load64(s), load64(s + 8)
    with nogil:
        fit = wm_largest(x, n, &top)
        if fit and top != -INFINITY:
            # Noise spans -3.2 to 22.9 nats: further down nothing can win.
            cut = top - <float>27.0
            for block in range(0, n, 64):
                if block + 64 <= n and not wm_any_above(x + block, cut):
                    continue
                for i in range(block, min(block + 64, n)):
                    if x[i] < cut:
                        continue
                    keyed_words(low, high, <uint32_t>i, <uint32_t>(nonce >> 2), out)
                    value = <int64_t>rint((<double>x[i] - <double>top) * UNIT)
                    value += gumbel_noise(out[nonce & 3], &lows[0], &highs[0])
                    if value > best:
                        best, chosen = value, i
    return chosen if fit else -1


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
    """Add `delta` to green logits in place; how many are above -inf, -1 for NaN."""
    cdef const uint8_t* s = state
    cdef uint64_t low, high
    cdef uint32_t out[4]
    cdef uint32_t first[8]
    cdef uint32_t second[8]
    cdef uint32_t wide[4][8]
    cdef Py_ssize_t block, i, vocab = logits.shape[0], blocks = vocab // 32
    cdef int lane, j
    cdef float* x
    cdef long count
    if len(state) != 16:
        raise ValueError(f"the state has {len(state)} bytes, expected 16")
    if vocab == 0:
        return 0
    x = &logits[0]
    low, high = load64(s), load64(s + 8)
    with nogil:
        for block in range(0, blocks, 8):
            for lane in range(8):
                first[lane] = <uint32_t>(block + lane)
                second[lane] = 0
            wm_philox_lanes(low, high, first, second, wide)
            for lane in range(min(<Py_ssize_t>8, blocks - block)):
                for j in range(4):
                    out[j] = wide[j][lane]
                wm_add_green(x + 32 * (block + lane), out, gamma16, delta)
        if vocab & 31:
            keyed_words(low, high, <uint32_t>blocks, 0, out)
            for i in range(32 * blocks, vocab):
                if ((out[(i >> 3) & 3] >> (4 * (i & 7))) & 15) < gamma16:
                    x[i] += delta
        count = wm_candidates(x, vocab)
    return count
