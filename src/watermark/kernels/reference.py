"""What every kernel computes, in plain Python. The tests hold the two equal.

Nothing here is fast, and nothing here is approximate: integers throughout, so that a
mark made on one machine, device or dtype is the same on every other. The one use of
floating point is the logarithm of a product in `gumbel_score`, where order and rounding
are fixed.

Sources: SipHash (Aumasson and Bernstein 2012), Philox4x32-10 (Salmon et al., SC 2011),
Gumbel-max sampling with a keyed generator (Aaronson 2022).
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterator
from typing import Any, Protocol


class Numbers(Protocol):
    """A list, an array or any other buffer of numbers of one type."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
NOISE_BITS = 24  # Gumbel noise and logits are compared in units of 2**-24 nats
LOGIT_FLOOR = -64.0  # no candidate this far below the best can win: noise spans 26 nats
STEPS = 8  # bytes of a mark id, one trellis step each
START_STATES = 8  # start states that the tail-biting search tries


def _integers(values: Numbers) -> list[int]:
    """As Python integers, which never overflow; those of an array would."""
    return [int(value) for value in values]


# --- keyed words ---------------------------------------------------------------------


def siphash128(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 with 128-bit output: 16 bytes from a 16-byte key and any data."""
    k0, k1 = struct.unpack("<QQ", key)
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D ^ 0xEE,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    tail = len(data) % 8
    padded = data[: len(data) - tail] + data[len(data) - tail :].ljust(7, b"\0")
    padded += bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        _sip_rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xEE
    _sip_rounds(v, 4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    _sip_rounds(v, 4)
    return struct.pack("<QQ", low, v[0] ^ v[1] ^ v[2] ^ v[3])


def _sip_rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        v[0] = (v[0] + v[1]) & MASK64
        v[1] = _rotl64(v[1], 13) ^ v[0]
        v[0] = _rotl64(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK64
        v[3] = _rotl64(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK64
        v[3] = _rotl64(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK64
        v[1] = _rotl64(v[1], 17) ^ v[2]
        v[2] = _rotl64(v[2], 32)


def _rotl64(x: int, n: int) -> int:
    return ((x << n) | (x >> (64 - n))) & MASK64


def philox4x32(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Philox4x32-10: four 32-bit words from a 128-bit counter and a 64-bit key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (p1 >> 32) ^ c1 ^ k0,
            p1 & MASK32,
            (p0 >> 32) ^ c3 ^ k1,
            p0 & MASK32,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c0, c1, c2, c3


def words(state: bytes, first: int, second: int) -> tuple[int, int, int, int]:
    """Four words from a 16-byte SipHash state and two counter words.

    The state's first half keys Philox; its second half fills the upper counter.
    """
    k0, k1, c2, c3 = struct.unpack("<IIII", state)
    counter = (int(first) & MASK32, int(second) & MASK32, c2, c3)
    return philox4x32(counter, (k0, k1))


def stream(state: bytes, nonce: int, count: int) -> bytes:
    """`count` 32-bit words, little-endian: block j is ``words(state, j, nonce)``."""
    blocks = (words(state, j, nonce) for j in range((count + 3) // 4))
    flat = [word for block in blocks for word in block][:count]
    return struct.pack(f"<{count}I", *flat)


# --- text ----------------------------------------------------------------------------


def context_state(key: bytes, context: Numbers) -> bytes:
    """SipHash state of the last tokens, each as four little-endian bytes."""
    return siphash128(key, struct.pack(f"<{len(context)}I", *context))


def _noise_nodes() -> tuple[array[int], array[int]]:
    """Gumbel quantiles at ``y = 2**e (1 + k/256)`` of 2**33, from both ends."""
    scale = 1 << NOISE_BITS
    low, high = array("i"), array("i")
    for index in range(32 * 256 + 1):
        exponent, step = divmod(index, 256)
        t = 2.0 ** (exponent - 33) * (1 + step / 256)
        low.append(round(-math.log(-math.log(t)) * scale))
        high.append(round(-math.log(-math.log1p(-t)) * scale))
    return low, high


NOISE_LOW, NOISE_HIGH = _noise_nodes()


def gumbel_noise(word: int) -> int:
    """Standard Gumbel quantile of ``(2 word + 1) / 2**33`` in units of 2**-24 nats.

    Linear interpolation in a table that is logarithmic at both ends; off by at most
    5e-6 nats, the same integer everywhere.
    """
    y = 2 * word + 1
    nodes = NOISE_LOW
    if y >= 1 << 32:
        y, nodes = (1 << 33) - y, NOISE_HIGH
    exponent = y.bit_length() - 1
    mantissa = y << (32 - exponent)  # leading one at bit 32
    index = exponent * 256 + ((mantissa >> 24) & 255)
    fraction = mantissa & 0xFFFFFF
    return nodes[index] + (((nodes[index + 1] - nodes[index]) * fraction) >> 24)


def gumbel_select(logits: Numbers, state: bytes, nonce: int) -> int:
    """The token that keyed Gumbel-max sampling chooses.

    ``argmax_x round(2**24 max(l_x - max l, -64)) + noise(u_x)``, the smallest token
    where two are equal; u_x from Philox counter (x, nonce >> 2), word nonce & 3.

    Args:
        logits: float32 values; -inf excludes a token.
        state: 16 bytes from `context_state`.
        nonce: 0 to 2**34 - 1.

    Returns:
        The token; -1 where a logit is NaN or +inf; -2 where none is finite.
    """
    if any(math.isnan(logit) or logit == math.inf for logit in logits):
        return -1
    if all(logit == -math.inf for logit in logits):
        return -2
    top = max(logits)
    best, chosen = -(1 << 62), -1
    for token, logit in enumerate(logits):
        if logit == -math.inf:
            continue
        value = round(max(float(logit) - float(top), LOGIT_FLOOR) * (1 << NOISE_BITS))
        value += gumbel_noise(words(state, token, nonce >> 2)[nonce & 3])
        if value > best:
            best, chosen = value, token
    return chosen


def gumbel_score(
    tokens: Numbers, key: bytes, width: int, nonce_bits: int
) -> tuple[int, list[float]]:
    """Sum of ``-log(1 - u)`` over distinct contexts, for each nonce.

    Only the first token after each context counts: the generator keys no other, and
    one token for each context leaves independent terms whatever the text repeats.

    u is the word divided by 2**32, rounded down, so that under a random key each term
    is at most an exponential variable and Gamma(n, 1) bounds the sum's tail.

    Args:
        tokens: ids in [0, 2**32).
        key: 16-byte SipHash key.
        width: tokens of context, h.
        nonce_bits: 2**nonce_bits nonces are scored, 0 to 8.

    Returns:
        (n, sums): the number of distinct contexts and one sum for each nonce.
    """
    tokens = _integers(tokens)
    nonces = 1 << nonce_bits
    sums, products = [0.0] * nonces, [1.0] * nonces
    seen: set[tuple[int, ...]] = set()
    for i in range(width, len(tokens)):
        context = tuple(tokens[i - width : i])
        if context in seen:
            continue
        seen.add(context)
        state = context_state(key, context)
        for nonce in range(nonces):
            word = words(state, tokens[i], nonce >> 2)[nonce & 3]
            products[nonce] *= (4294967296.0 - word) * 2.0**-32
        if len(seen) % 16 == 0:  # 16 factors of at least 2**-32 cannot underflow
            for nonce in range(nonces):
                sums[nonce] -= math.log(products[nonce])
                products[nonce] = 1.0
    if len(seen) % 16:
        for nonce in range(nonces):
            sums[nonce] -= math.log(products[nonce])
    return len(seen), sums


def is_green(state: bytes, token: int, gamma16: int) -> bool:
    """Whether `token` is on the green list: one keyed nibble below `gamma16`."""
    word = words(state, token >> 5, 0)[(token >> 3) & 3]
    return (word >> (4 * (token & 7))) & 15 < gamma16


def greenlist_count(
    tokens: Numbers, key: bytes, width: int, gamma16: int
) -> tuple[int, int]:
    """Distinct (context, token) pairs, and how many of them are green."""
    tokens = _integers(tokens)
    pairs = {tuple(tokens[i - width : i + 1]) for i in range(width, len(tokens))}
    green = sum(
        is_green(context_state(key, pair[:-1]), pair[-1], gamma16) for pair in pairs
    )
    return len(pairs), green


def greenlist_mask(state: bytes, vocab: int, gamma16: int) -> bytes:
    """One byte per token, 1 where the token is green."""
    return bytes(is_green(state, token, gamma16) for token in range(vocab))


def greenlist_bias(logits: Any, state: bytes, gamma16: int, delta: float) -> int:
    """Add `delta` to the logits of the green tokens, in place, rounding to float32.

    Returns:
        How many logits are above -inf, or -1 if one is NaN.
    """
    for token in range(len(logits)):
        if is_green(state, token, gamma16):
            logits[token] += delta
    if any(math.isnan(logit) for logit in logits):
        return -1
    return sum(logit > -math.inf for logit in logits)


# --- latents -------------------------------------------------------------------------


def pilot_search(
    weights: Numbers, state: bytes, nonce_bits: int, keep: int
) -> list[tuple[int, int]]:
    """The nonces whose keyed signs agree best with the pilot coordinates.

    A first pass counts agreeing signs over the first 2,048 coordinates and keeps the
    best tenth (at least `keep`, ties kept); the second ranks those by the exact sum.

    Args:
        weights: one signed integer per pilot coordinate, |w| <= 1024.
        state: 16 bytes; the signs of nonce v are the bits of ``stream(state, v, ...)``,
            least significant first, 1 meaning minus.
        nonce_bits: nonces 0 to 2**nonce_bits - 1 are searched.
        keep: how many to return.

    Returns:
        (sum, nonce) pairs, largest sum first, smaller nonce first among equals.
    """
    weights = _integers(weights)
    count = len(weights)
    hard = [1 if w < 0 else 0 for w in weights]
    head = min(count, 2048)
    agree = []
    for nonce in range(1 << nonce_bits):
        bits = _bits(stream(state, nonce, (count + 31) // 32))
        agree.append(sum(hard[i] == bits[i] for i in range(head)))
    wanted = min(len(agree), max(keep, len(agree) // 10))
    cut = sorted(agree, reverse=True)[wanted - 1]
    scored = []
    for nonce, value in enumerate(agree):
        if value >= cut:
            bits = _bits(stream(state, nonce, (count + 31) // 32))
            total = sum(-w if bits[i] else w for i, w in enumerate(weights))
            scored.append((total, nonce))
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:keep]


def _bits(data: bytes) -> list[int]:
    return [(byte >> k) & 1 for byte in data for k in range(8)]


def code_bits(masks: Numbers, mark_id: bytes) -> bytes:
    """The coded bit of each data coordinate: a tail-biting byte trellis.

    Coordinate k belongs to step ``i = k % 8`` and has a 16-bit mask; its bit is the
    parity of ``mask & (b[i-1] << 8 | b[i])``, where b are the bytes of `mark_id` and
    b[-1] is the last.
    """
    pairs = [mark_id[i - 1] << 8 | mark_id[i] for i in range(STEPS)]
    masks = _integers(masks)
    return bytes((m & pairs[k % STEPS]).bit_count() & 1 for k, m in enumerate(masks))


def trellis_decode(masks: Numbers, values: Numbers) -> tuple[int, bytes]:
    """The mark id that agrees best with `values`, and its agreement.

    Branch metrics of all 65,536 byte pairs of a step come from one Walsh-Hadamard
    transform; two laps of unconstrained Viterbi rank the end states; the best 8 are
    decoded with the path forced to bite its tail.

    Args:
        masks: as for `code_bits`.
        values: one signed integer per coordinate, its keyed sign already removed.

    Returns:
        (sum, mark_id) with ``sum = sum(value * (-1)**bit)`` over the coordinates.
    """
    masks, values = _integers(masks), _integers(values)
    metrics = []
    for step in range(STEPS):
        table = [0] * 65536
        for k in range(step, len(masks), STEPS):
            table[masks[k]] += values[k]
        metrics.append(_walsh_hadamard(table))
    rank = [0] * 256
    for step in range(2 * STEPS):
        rank = _viterbi_step(rank, metrics[step % STEPS])[0]
    starts = sorted(range(256), key=lambda s: (-rank[s], s))[:START_STATES]
    best: tuple[int, bytes] | None = None
    for start in starts:
        total, path = _viterbi_from(start, metrics)
        if best is None or total > best[0]:
            best = (total, path)
    return best if best is not None else (0, bytes(STEPS))


def _walsh_hadamard(table: list[int]) -> list[int]:
    half = 1
    while half < len(table):
        for i in range(0, len(table), 2 * half):
            for j in range(i, i + half):
                a, b = table[j], table[j + half]
                table[j], table[j + half] = a + b, a - b
        half *= 2
    return table


def _viterbi_step(before: list[int], metric: list[int]) -> tuple[list[int], list[int]]:
    after, origin = [], []
    for state in range(256):
        scores = [before[p] + metric[p << 8 | state] for p in range(256)]
        top = max(scores)
        after.append(top)
        origin.append(scores.index(top))
    return after, origin


def _viterbi_from(start: int, metrics: list[list[int]]) -> tuple[int, bytes]:
    scores = [metrics[0][start << 8 | state] for state in range(256)]
    origins: list[list[int]] = []
    for step in range(1, STEPS):
        scores, origin = _viterbi_step(scores, metrics[step])
        origins.append(origin)
    state, path = start, [start]
    for origin in reversed(origins):
        state = origin[state]
        path.append(state)
    return scores[start], bytes(reversed(path))
