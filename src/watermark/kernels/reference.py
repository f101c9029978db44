"""What every kernel computes, in plain Python. The tests hold the two equal.

Here: keyed words, `gumbel` and `greenlist`. `reference_payload`, `reference_tournament`
and `reference_noise` say the rest.

Nothing here is fast, and nothing here is approximate: integers throughout, so that a
mark made on one machine, device or dtype is the same on every other. Where floating
point is used (logarithms of products, tournament probabilities), order and rounding are
fixed.

Sources: SipHash (Aumasson and Bernstein 2012), Philox4x32-10 (Salmon et al., SC 2011),
Gumbel-max sampling with a keyed generator (Aaronson 2022).
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Numbers(Protocol):
    """A list, an array or any other buffer of numbers of one type."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
NOISE_BITS = 24  # Gumbel noise and logits are compared in units of 2**-24 nats
# Tokens of a phrase, and how far back it is a repetition. Chosen on texts of one small
# model (docs/decisions/0002-text.md); 64 and 256 tokens do as much there, and phrases
# of 4 tokens hardly anything.
PHRASE, RECALL = 3, 128
LOGIT_FLOOR = -64.0  # no candidate this far below the best can win: noise spans 26 nats


def integers(values: Numbers) -> list[int]:
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


def token_word(state: bytes, token: int, nonce: int, symbol: int = -1) -> int:
    """The word that u is made of, for one candidate token.

    Philox counter (token, nonce >> 2), word nonce & 3; where the context carries a
    symbol of a payload, counter (token, 1 << 30 | nonce << 6 | symbol >> 2), word
    symbol & 3. Counter 1 << 31 is `context_roles`'s, so the three never meet.
    """
    if symbol < 0:
        return words(state, token, nonce >> 2)[nonce & 3]
    return words(state, token, 1 << 30 | nonce << 6 | symbol >> 2)[symbol & 3]


def gumbel_select(logits: Numbers, state: bytes, nonce: int, symbol: int = -1) -> int:
    """The token that keyed Gumbel-max sampling chooses.

    ``argmax_x round(2**24 max(l_x - max l, -64)) + noise(u_x)``, the smallest token
    where two are equal; u_x from `token_word`.

    Args:
        logits: float32 values; -inf excludes a token.
        state: 16 bytes from `context_state`.
        nonce: 0 to 2**32 - 1; 0 to 255 where there is a symbol.
        symbol: the payload symbol that the context carries, 0 to 255, or -1.

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
        value += gumbel_noise(token_word(state, token, nonce, symbol))
        if value > best:
            best, chosen = value, token
    return chosen


def fresh_contexts(
    tokens: list[int], width: int, skip: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The tokens that are scored: the index of each, and the context before it.

    A token is scored where its context occurs for the first time, since the generator
    keys no other, and where it does not `repeats` what was just said: a model that says
    a thing again is sure of it, and what it is sure of no key chose. Both depend on the
    text alone, so under a random key the words of these tokens are independent.

    The first `skip` tokens are a prompt. Contexts that occur in it are never fresh, and
    the text starts anew after it: no context spans the boundary.
    """
    if not 0 <= skip <= len(tokens):
        raise ValueError(f"skip is {skip}, expected 0 to {len(tokens)}")
    seen = {tuple(tokens[i - width : i]) for i in range(width, skip + 1)}
    said: dict[tuple[int, ...], int] = {}
    for i in range(PHRASE - 1, skip):
        repeats(tokens, i, said)
    for i in range(skip, len(tokens)):
        again = i >= skip + PHRASE - 1 and repeats(tokens, i, said)
        context = tuple(tokens[i - width : i])
        if i < skip + width or context in seen:
            continue
        seen.add(context)
        if not again:
            yield i, context


def repeats(tokens: list[int], i: int, said: dict[tuple[int, ...], int]) -> bool:
    """Whether the `PHRASE` tokens that end at `i` ended within `RECALL` before too.

    Args:
        tokens: the text so far.
        i: index of the last token of a phrase.
        said: where each phrase ended last; updated.
    """
    phrase = tuple(tokens[i - PHRASE + 1 : i + 1])
    before = said.get(phrase)
    said[phrase] = i
    return before is not None and i - before <= RECALL


class LogSums:
    """Sums of ``-log(1 - word / 2**32)``: one logarithm for every 16 factors.

    Sixteen factors of at least 2**-32 cannot underflow.
    """

    def __init__(self, count: int) -> None:
        self.n = 0
        self._sums = [0.0] * count
        self._products = [1.0] * count

    def add(self, drawn: Iterable[int]) -> None:
        """One term for each sum."""
        self.n += 1
        for j, word in enumerate(drawn):
            self._products[j] *= (4294967296.0 - word) * 2.0**-32
        if self.n % 16 == 0:
            self._close()

    def totals(self) -> list[float]:
        """The sums of all terms so far."""
        if self.n % 16:
            self._close()
        return self._sums

    def _close(self) -> None:
        for j, product in enumerate(self._products):
            self._sums[j] -= math.log(product)
            self._products[j] = 1.0


def gumbel_score(
    tokens: Numbers, key: bytes, width: int, nonce_bits: int, skip: int = 0
) -> tuple[int, list[float]]:
    """Sum of ``-log(1 - u)`` over distinct contexts, for each nonce.

    Only the tokens of `fresh_contexts` count: one for each context leaves independent
    terms whatever the text repeats.

    u is the word divided by 2**32, rounded down, so that under a random key each term
    is at most an exponential variable and Gamma(n, 1) bounds the sum's tail.

    Args:
        tokens: ids in [0, 2**32).
        key: 16-byte SipHash key.
        width: tokens of context, h.
        nonce_bits: 2**nonce_bits nonces are scored, 0 to 8.
        skip: tokens of prompt at the start. They are not scored, and their contexts
            count as seen.

    Returns:
        (n, sums): the number of distinct contexts and one sum for each nonce.
    """
    tokens = integers(tokens)
    sums = LogSums(1 << nonce_bits)
    for i, context in fresh_contexts(tokens, width, skip):
        state = context_state(key, context)
        sums.add(token_word(state, tokens[i], v) for v in range(1 << nonce_bits))
    return sums.n, sums.totals()


def token_words(
    tokens: Numbers, key: bytes, width: int, nonce_bits: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The words of every token that `gumbel_score` scores.

    Args: as for `gumbel_score`.

    Returns:
        (positions, words): indices into `tokens`, rising, uint32 (n,); and uint32
        (n, nonces).
    """
    tokens = integers(tokens)
    positions, drawn = [], []
    for i, context in fresh_contexts(tokens, width, skip):
        state = context_state(key, context)
        positions.append(i)
        drawn.append([token_word(state, tokens[i], v) for v in range(1 << nonce_bits)])
    shaped = np.asarray(drawn, np.uint32).reshape(-1, 1 << nonce_bits)
    return np.asarray(positions, np.uint32), shaped


def gumbel_terms(
    tokens: Numbers, key: bytes, width: int, nonce_bits: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """The terms ``-log(1 - u)`` that `gumbel_score` sums.

    Args: as for `gumbel_score`.

    Returns:
        (positions, terms): indices of the scored tokens, rising, uint32 (n,); and
        float64 (n, nonces), nats, in [0, 22.2].
    """
    positions, drawn = token_words(tokens, key, width, nonce_bits, skip)
    terms = [
        [-math.log((4294967296.0 - word) * 2.0**-32) for word in row]
        for row in drawn.tolist()
    ]
    return positions, np.asarray(terms, np.float64).reshape(drawn.shape)


def is_green(state: bytes, token: int, gamma16: int) -> bool:
    """Whether `token` is on the green list: one keyed nibble below `gamma16`."""
    word = words(state, token >> 5, 0)[(token >> 3) & 3]
    return (word >> (4 * (token & 7))) & 15 < gamma16


def greenlist_count(
    tokens: Numbers, key: bytes, width: int, gamma16: int, skip: int = 0
) -> tuple[int, int]:
    """Distinct (context, token) pairs, and how many of them are green.

    Pairs that occur in the first `skip` tokens, a prompt, are left out; no pair spans
    the boundary.
    """
    tokens = integers(tokens)
    if not 0 <= skip <= len(tokens):
        raise ValueError(f"skip is {skip}, expected 0 to {len(tokens)}")
    prompt = {tuple(tokens[i - width : i + 1]) for i in range(width, skip)}
    pairs = {tuple(tokens[i - width : i + 1]) for i in range(skip + width, len(tokens))}
    pairs -= prompt
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
        How many logits are above -inf, or -1 if one is NaN or +inf.
    """
    for token in range(len(logits)):
        if is_green(state, token, gamma16):
            logits[token] += delta
    if not all(logit < math.inf for logit in logits):
        return -1
    return sum(logit > -math.inf for logit in logits)
