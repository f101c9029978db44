"""Payloads of `gumbel` in plain Python: which context carries what, and two codes.

A keyed part of the contexts carries no symbol, so that presence is tested first and
cheaply. Every other context belongs to one position of the code, and the words of its
candidates depend on the symbol there. Detection sums every symbol's terms at every
position and decodes them softly.

Codes over GF(256), polynomial 0x11d, generator 2. 16 bits: Reed-Solomon (16, 2), every
codeword tried. 32 and 64 bits: a tail-biting trellis of 4 or 8 bytes, four symbols for
each step, with the constrained Viterbi search of `reference_noise`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watermark.kernels.reference import (
    LogSums,
    Numbers,
    context_state,
    fresh_contexts,
    integers,
    token_word,
    words,
)
from watermark.kernels.reference_noise import tail_biting

PRESENCE16 = 1  # sixteenths of the contexts that carry no symbol
POSITIONS = {16: 16, 32: 16, 64: 32}  # of each payload size in bits
QUANTUM = 1024.0  # a branch metric counts in units of 1/1024 nat
WORST = 1 << 24  # no symbol is held to be worse than the best by more units than this
# End states that the search tries at most. In a simulation of texts just long enough 8
# found the message in 54 of 60, and 64 in 57.
START_STATES = 64
ROLE = 1 << 31  # the Philox counter of a context's role


def context_roles(
    state: bytes, positions: int, presence16: int = PRESENCE16
) -> tuple[bool, int, int]:
    """What a context is for.

    Args:
        state: 16 bytes from `context_state`.
        positions: of the code, 0 where there is no payload.
        presence16: sixteenths of the contexts that carry no symbol.

    Returns:
        (carries, position, owner): whether it carries a symbol, at which position of
        the code (0 where it carries none), and whose it is under a dual key: 0 the
        public key, 1 the private one.
    """
    role = words(state, 0, ROLE)
    carries = positions > 0 and role[0] >> 28 >= presence16
    return carries, (role[1] * positions) >> 32 if carries else 0, role[2] >> 31


def role_words(
    tokens: Numbers, key: bytes, width: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The four words of `context_roles` for every context that is scored.

    Args: as for `gumbel_score`.

    Returns:
        (positions, words): indices of the scored tokens, rising, uint32 (n,); and
        uint32 (n, 4).
    """
    found = list(fresh_contexts(integers(tokens), width, skip))
    drawn = [words(context_state(key, context), 0, ROLE) for _, context in found]
    positions = np.asarray([i for i, _ in found], np.uint32)
    return positions, np.asarray(drawn, np.uint32).reshape(-1, 4)


def payload_presence(
    tokens: Numbers,
    key: bytes,
    width: int,
    nonce_bits: int,
    skip: int = 0,
    presence16: int = PRESENCE16,
) -> tuple[int, list[float]]:
    """`gumbel_score` over the contexts that carry no symbol: does a mark exist at all?

    Returns:
        (n, sums): the number of such contexts and one sum for each nonce.
    """
    tokens = integers(tokens)
    sums = LogSums(1 << nonce_bits)
    for i, context in fresh_contexts(tokens, width, skip):
        state = context_state(key, context)
        if not context_roles(state, 1, presence16)[0]:
            sums.add(token_word(state, tokens[i], v) for v in range(1 << nonce_bits))
    return sums.n, sums.totals()


def payload_score(
    tokens: Numbers,
    key: bytes,
    width: int,
    positions: int,
    nonce: int,
    skip: int = 0,
    presence16: int = PRESENCE16,
) -> tuple[int, float, NDArray[np.int64], NDArray[np.float64]]:
    """Sum of ``-log(1 - u)`` for every symbol at every position of the code.

    Args:
        tokens: ids in [0, 2**32).
        key: 16-byte SipHash key.
        width: tokens of context.
        positions: of the code, 1 to 256.
        nonce: 0 to 255.
        skip: tokens of prompt, as for `gumbel_score`.
        presence16: sixteenths of the contexts that carry no symbol.

    Returns:
        (n, sum, counts, sums): contexts that carry no symbol and their sum; contexts of
        each position, int64 (positions,), and their sum under every symbol, float64
        (positions, 256), nats.
    """
    tokens = integers(tokens)
    presence, data = LogSums(1), [LogSums(256) for _ in range(positions)]
    for i, context in fresh_contexts(tokens, width, skip):
        state = context_state(key, context)
        carries, position, _ = context_roles(state, positions, presence16)
        if carries:
            data[position].add(
                token_word(state, tokens[i], nonce, c) for c in range(256)
            )
        else:
            presence.add([token_word(state, tokens[i], nonce)])
    counts = np.asarray([sums.n for sums in data], np.int64)
    totals = np.asarray([sums.totals() for sums in data], np.float64)
    return presence.n, presence.totals()[0], counts, totals


# --- codes ---------------------------------------------------------------------------


def multiply(a: int, b: int) -> int:
    """Product in GF(256), polynomial 0x11d."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def _powers(count: int) -> list[int]:
    powers = [1]
    while len(powers) < count:
        powers.append(multiply(powers[-1], 2))
    return powers


ALPHA = _powers(16)  # alpha**j


def payload_symbols(message: bytes, bits: int) -> bytes:
    """The symbol at each position of the code.

    16 bits: ``m[0] ^ alpha**j m[1]`` at position j. Otherwise at position 4i + j:
    ``m[i-1] ^ alpha**j m[i]`` with j = 0..3, where m[-1] is the last byte.

    Args:
        message: bits / 8 bytes.
        bits: 16, 32 or 64.
    """
    if bits not in POSITIONS:
        raise ValueError(f"a payload of {bits} bits, expected 16, 32 or 64")
    if 8 * len(message) != bits:
        raise ValueError(f"the message has {len(message)} bytes, expected {bits // 8}")
    if bits == 16:
        return bytes(message[0] ^ multiply(a, message[1]) for a in ALPHA)
    return _trellis_symbols(message)


def _trellis_symbols(message: bytes) -> bytes:
    return bytes(
        message[i - 1] ^ multiply(a, message[i])
        for i in range(len(message))
        for a in ALPHA[:4]
    )


def rs_decode(sums: Numbers) -> tuple[int, float, float]:
    """The 16-bit message with the largest sum, by trying all of them.

    Args:
        sums: float64 (16, 256) from `payload_score`.

    Returns:
        (message, best, second): ``m[0] | m[1] << 8``, the smaller of two equal ones;
        its sum, in nats, added in the order of the positions; the largest sum of any
        other message.
    """
    table = [[float(value) for value in row] for row in sums]
    best, second, message = -float("inf"), -float("inf"), 0
    for high in range(256):
        shifts = [multiply(a, high) for a in ALPHA]
        for low in range(256):
            total = 0.0
            for row, shift in zip(table, shifts, strict=True):
                total += row[low ^ shift]
            if total > best:
                best, second, message = total, best, high << 8 | low
            elif total > second:
                second = total
    return message, best, second


def trellis256_decode(sums: Numbers, steps: int) -> tuple[bytes, float]:
    """The message of `steps` bytes with the largest sum, all but exactly.

    The branch from byte p to byte s at step i has ``sum_j sums[4i+j][p ^ alpha**j s]``,
    counted in integers as the distance to each position's best symbol, so that neither
    order nor length of the text changes a bit. The search is `tail_biting`.

    Args:
        sums: float64 (4 steps, 256) from `payload_score`.
        steps: bytes of the message, 2 to 8.

    Returns:
        (message, sum): and its sum in nats, added in the order of the positions.
    """
    table = [[float(value) for value in row] for row in sums]
    units = [[-_units(max(row) - value) for value in row] for row in table]
    products = [[multiply(a, state) for a in ALPHA[:4]] for state in range(256)]
    metrics = [
        [
            sum(row[before ^ p] for row, p in zip(rows, products[state], strict=True))
            for before in range(256)
            for state in range(256)
        ]
        for rows in (units[4 * step : 4 * step + 4] for step in range(steps))
    ]
    message = tail_biting(metrics, START_STATES)[1]
    total = 0.0
    for position, symbol in enumerate(_trellis_symbols(message)):
        total += table[position][symbol]
    return message, total


def _units(nats: float) -> int:
    scaled = nats * QUANTUM
    return round(scaled) if scaled < WORST else WORST
