"""Detect `gumbel` with a message: is it there, which message, and how surely.

Two looks share the error budget. The first takes the contexts that carry no symbol and
pays for the nonces only. The second decodes, and pays for every message: under a random
key ``P(any of M messages reaches S) <= M Q(n, S)``, Q the Gamma tail (a union bound,
within a tenth of the truth at 1e-6).

**A wrong message.** Say the text carries m*, and m differs from it in the symbols of a
set D of positions. There the terms of m are exponential variables that nothing was
chosen by, so ``P(S_D(m) >= s) <= Q(n_D, s)``. With a weight w for each m that differs
so, and ``sum 1/w <= 1`` over all m, the bound ``max_D w Q(n_D, S_D)`` of the message
that is told falls to e or below, while it is wrong, with probability at most e. The
weights stand in `_ln_rs_error` and `_ln_trellis_errors`. Texts without a mark, and
wrong nonces, are counted by half of the budget; texts of two messages are not.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark import kernels
from watermark.detectors.base import LN10, Score
from watermark.detectors.stats import ln_gamma_tail
from watermark.detectors.terms import owned_by_public, roles, under
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes.base import option
from watermark.schemes.gumbel import public_record
from watermark.schemes.payload import POSITIONS, PRESENCE16

# Distinct contexts for 90 % power at p = 1e-6 and 1 nat a token, by the bits of the
# message (synthetic source: 142, 198 and 298 tokens).
ENOUGH = {16: 140, 32: 195, 64: 295}
LOOK = 16  # one LOOK-th of the error budget is for the contexts without a symbol
CANDIDATES = 16  # nonces that are decoded at most
# So many silent contexts rank the nonces so well that the best few are enough.
RANKING, FEW = 100, 4
PAYLOAD_LN_ERROR = -3 * LN10  # the message is told where it is wrong once in 1,000
LN2, LN255 = math.log(2.0), math.log(255.0)
EXACT = 16  # patterns of differing bytes whose tail is exact
THETAS = np.arange(0.05, 0.75, 0.05)  # of Chernoff's bound; any choice is valid

Ids = NDArray[np.uint32]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def score(tokens: Any, record: KeyRecord, skip: int = 0) -> Score:
    """Test token ids under one key record with ``payload_bits`` above 0.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `gumbel`.
        skip: tokens of prompt at the start, not scored.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    bits = option(record.parameters, "payload_bits")
    n_silent, silent = _silent(ids, record, skip)
    order = sorted(range(len(silent)), key=lambda v: (-silent[v], v))
    kept = order if n_silent < RANKING else order[:FEW]
    tables = [_symbol_sums(ids, record, v, skip, POSITIONS[bits]) for v in kept]
    counts = tables[0][0]
    joint, nonce, message, chosen = _read(
        [(silent[v], v, sums) for v, (_, sums) in zip(kept, tables, strict=True)], bits
    )
    n = n_silent + int(counts.sum())
    looks = [
        (ln_gamma_tail(n_silent, silent[order[0]]), LOOK * len(silent), order[0]),
        (
            ln_gamma_tail(n, joint),
            -((-LOOK * len(silent) << bits) // (LOOK - 1)),
            nonce,
        ),
    ]
    ln_p, hypotheses, found = min(looks, key=lambda k: k[0] + math.log(k[1]))
    no_mark = LN2 + math.log(len(silent) << bits) + ln_gamma_tail(n, joint)
    errors = [max(no_mark, LN2 + e) for e in ln_errors(message, counts, chosen)]
    ln_error = min(0.0, max(errors))
    return Score(
        ln_p=ln_p,
        hypotheses=hypotheses,
        n=n,  # whichever look is the clearer: both saw these contexts
        statistic=joint,
        payload=message if ln_error <= PAYLOAD_LN_ERROR else None,
        nonce=found,
        decoded=message if n else None,
        ln_error=ln_error,
        confidence=tuple(max(0.0, -math.expm1(min(0.0, e))) for e in errors),
    )


def _silent(ids: Ids, record: KeyRecord, skip: int) -> tuple[int, list[float]]:
    """Contexts that carry no symbol, and their sum for each nonce."""
    width = int(record.parameters["width"])
    if not option(record.parameters, "dual"):
        return kernels.payload_presence(
            ids,
            context_key(record),
            width,
            int(record.parameters["nonce_bits"]),
            skip,
            PRESENCE16,
        )
    words = roles(ids, record, skip)
    public = owned_by_public(words)
    kept = public | (words[:, 0] >> 28 < PRESENCE16)
    ours = under(ids, public_record(record), skip)[1]
    terms = np.where(public[:, None], ours, under(ids, record, skip)[1])
    return int(kept.sum()), [float(s) for s in terms[kept].sum(axis=0)]


def _read(
    tables: list[tuple[float, int, Floats]], bits: int
) -> tuple[float, int, bytes, Floats]:
    """The best message: (sum, nonce, message, its sum at each position).

    Of many nonces those are decoded whose best symbols add up to most, code or not.

    Args:
        tables: of each nonce its silent sum, itself, and the sums of all symbols.
        bits: of the message.
    """
    tables = sorted(tables, key=lambda t: -(t[0] + float(t[2].max(axis=1).sum())))
    found = []
    for silent, nonce, sums in tables[:CANDIDATES]:
        if bits == 16:
            message = int(kernels.rs_decode(sums)[0]).to_bytes(2, "little")
        else:
            message = kernels.trellis256_decode(sums, bits // 8)[0]
        word = np.frombuffer(kernels.payload_symbols(message, bits), np.uint8)
        chosen = sums[np.arange(len(word)), word]
        found.append((silent + float(chosen.sum()), nonce, message, chosen))
    return max(found, key=lambda f: (f[0], -f[1]))


def _symbol_sums(
    ids: Ids, record: KeyRecord, nonce: int, skip: int, positions: int
) -> tuple[Counts, Floats]:
    """Contexts of each position, and the sum of each symbol there."""
    key, width = context_key(record), int(record.parameters["width"])
    if not option(record.parameters, "dual"):
        _, _, counts, sums = kernels.payload_score(
            ids, key, width, positions, nonce, skip, PRESENCE16
        )
        return np.asarray(counts), np.asarray(sums)
    counts = np.zeros(positions, np.int64)
    sums = np.zeros((positions, 256))
    where, words = kernels.role_words(ids, key, width, skip)
    carries = ~owned_by_public(words) & (words[:, 0] >> 28 >= PRESENCE16)
    for i, role in zip(
        where[carries].tolist(), words[carries, 1].tolist(), strict=True
    ):
        state = kernels.context_state(key, ids[i - width : i])
        first = 1 << 30 | nonce << 6
        drawn = [kernels.words(state, int(ids[i]), first | c) for c in range(64)]
        position = role * positions >> 32
        counts[position] += 1
        sums[position] -= np.log1p(
            np.asarray(drawn, np.float64).reshape(-1) * -(2.0**-32)
        )
    return counts, sums


# --- how surely ----------------------------------------------------------------------


def ln_errors(message: bytes, counts: Counts, chosen: Floats) -> list[float]:
    """For each byte, ln of the bound of the probability that it is wrong.

    Of texts that carry some message; see the module. May be above 0.

    Args:
        message: 2, 4 or 8 bytes.
        counts: contexts of each position.
        chosen: the message's sum at each position, nats.
    """
    if len(message) == 2:
        return [_ln_rs_error(counts, chosen)] * 2
    return _ln_trellis_errors(counts, chosen)


def _ln_rs_error(counts: Counts, chosen: Floats) -> float:
    """Two code words of RS (16, 2) agree in one position at most; w = 2**16."""
    n, total = int(counts.sum()), float(chosen.sum())
    tails = [ln_gamma_tail(n, total)] + [
        ln_gamma_tail(n - int(k), total - float(s))
        for k, s in zip(counts, chosen, strict=True)
    ]
    return 16 * LN2 + max(tails)


def _ln_trellis_errors(counts: Counts, chosen: Floats) -> list[float]:
    """By the pattern P of the bytes that differ: 255**|P| messages have it.

    A step between an equal and a differing byte differs in all 4 symbols. Between two
    that differ, ``p ^ alpha**j s`` agrees for at most one j, and for each j in one of
    255 messages. The weight of a class of messages is their number over its share of
    the budget: each byte differs as if with probability 1 / K, and each of the five
    cases of a step between two has a fifth.

    Tails are Chernoff's, a sum over positions for any theta; the exact Gamma tail takes
    their place where no symbol agrees and the pattern is among the likeliest.
    """
    size = len(counts) // 4
    patterns = np.asarray(list(itertools.product([False, True], repeat=size))[1:])
    before = np.roll(patterns, 1, axis=1)
    touched, both = patterns | before, patterns & before
    differing = patterns.sum(axis=1)
    share = (1 / size) ** differing * (1 - 1 / size) ** (size - differing)
    share *= 0.2 ** both.sum(axis=1) / (1 - (1 - 1 / size) ** size)
    weight = differing * LN255 - np.log(share)

    n, s = counts.reshape(size, 4), chosen.reshape(size, 4)
    g = -THETAS[:, None, None] * s - np.log1p(-THETAS)[:, None, None] * n
    least = (touched @ g.sum(axis=2).T).T  # (theta, pattern)
    none = weight + least.min(axis=0)
    for i in np.argsort(-none)[:EXACT].tolist():
        steps = touched[i]
        tail = ln_gamma_tail(int(n[steps].sum()), float(s[steps].sum()))
        none[i] = weight[i] + tail

    # What a step's agreement adds: one symbol's tail is lost, 1 in 255 messages has it.
    gain = -g.min(axis=2) - LN255  # (theta, step)
    more = np.where(both, gain[:, None, :], -np.inf)
    some = np.maximum(more, 0.0).sum(axis=2) + np.minimum(more.max(axis=2), 0.0)
    # Where all bytes differ, all steps agree only in their first symbols: alpha**j
    # multiplies to 1 around the circle. The last then follows: 255 messages, not one.
    free = gain.clip(0).sum(axis=1) - gain.clip(0).min(axis=1)
    free += np.minimum(gain.max(axis=1), 0.0)
    circle = -g[:, :, 0].sum(axis=1) - (size - 1) * LN255
    some[:, -1] = np.maximum(free, circle)
    worst = np.maximum(none, weight + (least + some).min(axis=0))
    return [float(worst[patterns[:, i]].max()) for i in range(size)]
