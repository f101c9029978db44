"""Detect `gaussian_shading`: exact tests over the key stream, for any image.

Over a random key stream the decrypted bits of fixed noise are fair and independent, so
each number of votes is Bin(copies, 1/2). What is tested depends on what is known:

- `score`: key, nonce and message, by the message's bits, as the paper does. Their code
  reads a tied vote as 0 and takes a bit for right with probability 1/2; a 1 is right
  with less, a 0 with more, so their rate of false positives depends on the message. It
  also accepts one bit too few (1.18e-6 for a stated 1e-6 at 256 bits). Here the tail is
  exact for the message at hand.
- `correlation`: the same knowledge, by the sum of the noise with the signs: deeper.
- `presence`: key and nonce, whatever the message. Only of use where a nonce is frozen.

Each counts one hypothesis: whoever tries several keys, nonces or messages counts them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.detectors.stats import ln_binomial_tail, ln_chernoff_tail
from watermark.errors import InvalidSignal
from watermark.schemes.foreign.gaussian_shading import Code


def votes(latents: NDArray[np.floating], code: Code) -> NDArray[np.int64]:
    """How many copies of each message bit decrypt to 1: int64 (bits,).

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    ones = (_checked(latents, code) > 0).astype(np.uint8) ^ code.keystream
    counted: NDArray[np.int64] = code.gather(ones).astype(np.int64).sum(axis=1)
    return counted


def read(latents: NDArray[np.floating], code: Code) -> NDArray[np.uint8]:
    """The message by majority, a tie as 0: uint8 (bits,).

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    return (2 * votes(latents, code) > code.copies).astype(np.uint8)


def read_soft(latents: NDArray[np.floating], code: Code) -> NDArray[np.uint8]:
    """The message by the sum of the noise under its signs: fewer wrong bits.

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    w = signs.weights(_checked(latents, code)).astype(np.int64).reshape(code.shape)
    turned = w * (1 - 2 * code.keystream.astype(np.int64))
    soft: NDArray[np.int64] = code.gather(turned).astype(np.int64).sum(axis=1)
    return (soft > 0).astype(np.uint8)


def score(
    latents: NDArray[np.floating], code: Code, message: NDArray[np.uint8]
) -> Score:
    """Test for a message known beforehand, by its bits: exact over the key stream.

    Returns:
        A score whose statistic is the share of right bits.

    Raises:
        InvalidSignal: NaN or infinity, another shape, or another number of bits.
    """
    wanted = _message(message, code)
    right = int(np.sum(read(latents, code) == wanted))
    ones = int(wanted.sum())
    return Score(
        ln_p=ln_matches_tail(right, ones, code.bits - ones, code.copies),
        hypotheses=1,
        n=code.bits,
        statistic=right / code.bits,
    )


def correlation(
    latents: NDArray[np.floating], code: Code, message: NDArray[np.uint8]
) -> Score:
    """Test for a message known beforehand, by every number: a bound for any image.

    Raises:
        InvalidSignal: NaN or infinity, another shape, or another number of bits.
    """
    w = signs.weights(_checked(latents, code))
    total = int(w.astype(np.int64) @ code.signs(message).reshape(-1))
    norm = math.sqrt(float(np.sum(w.astype(np.float64) ** 2)))
    return Score(
        ln_p=signs.ln_tail(total, w),
        hypotheses=1,
        n=int(np.count_nonzero(w)),
        statistic=total / norm if norm else 0.0,
    )


def presence(latents: NDArray[np.floating], code: Code) -> Score:
    """Test for any message under this key and nonce: a bound for any image.

    The statistic is the sum over the bits of |votes - copies / 2|; its tail is
    Chernoff's bound.
    """
    distances = np.abs(2 * votes(latents, code) - code.copies)
    total = float(distances.sum()) / 2
    ln_pmf = np.array([ln_choose(code.copies, v) for v in range(code.copies + 1)])
    ln_pmf -= code.copies * math.log(2)
    values = np.abs(np.arange(code.copies + 1) - code.copies / 2)

    def cgf(t: float) -> tuple[float, float, float]:
        terms = ln_pmf + t * values
        top = float(terms.max())
        share = np.exp(terms - top)
        whole = float(share.sum())
        share /= whole
        mean = float(share @ values)
        spread = float(share @ (values - mean) ** 2)
        k = top + math.log(whole)
        return code.bits * k, code.bits * mean, code.bits * spread

    # Where every copy agrees the bound is that of the one outcome, which the search
    # only comes near.
    most = code.bits * code.copies / 2
    if total >= most:
        ln_p = code.bits * (1 - code.copies) * math.log(2)
    else:
        ln_p = ln_chernoff_tail(cgf, total)
    return Score(ln_p=ln_p, hypotheses=1, n=code.bits, statistic=total)


def ln_matches_tail(right: int, ones: int, zeros: int, copies: int) -> float:
    """Ln P(at least `right` bits of a message are right), votes Bin(copies, 1/2)."""
    # P(vote for 1): all the wins, none of the ties.
    tie = (
        math.exp(ln_choose(copies, copies // 2) - copies * math.log(2))
        if copies % 2 == 0
        else 0.0
    )
    q = (1 - tie) / 2
    if tie == 0.0 or ones == 0 or zeros == 0:
        each = q if ones else 1 - q
        return ln_binomial_tail(right, ones + zeros, each)
    if right <= 0:
        return 0.0
    # Sum over how many ones are right: P(X = i) P(Y >= right - i).
    terms = [
        _ln_pmf(i, ones, q) + ln_binomial_tail(right - i, zeros, 1 - q)
        for i in range(ones + 1)
    ]
    top = max(terms)
    if top == -math.inf:
        return top
    return min(0.0, top + math.log(math.fsum(math.exp(t - top) for t in terms)))


def ln_choose(n: int, k: int) -> float:
    """Ln of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _ln_pmf(k: int, n: int, q: float) -> float:
    return ln_choose(n, k) + k * math.log(q) + (n - k) * math.log1p(-q)


def _checked(latents: NDArray[np.floating], code: Code) -> NDArray[np.floating]:
    if tuple(latents.shape) != code.shape:
        raise InvalidSignal(
            f"found latents of shape {tuple(latents.shape)}, expected {code.shape}"
        )
    if not np.isfinite(latents).all():
        raise InvalidSignal("the array holds NaN or infinity: nothing can be tested")
    return latents


def _message(message: NDArray[np.uint8], code: Code) -> NDArray[np.uint8]:
    message = np.asarray(message, dtype=np.uint8).reshape(-1)
    if message.size != code.bits or message.max() > 1:
        raise InvalidSignal(
            f"a message of {message.size} numbers, expected {code.bits} bits"
        )
    return message
