"""PRC: the pseudorandom code of Gunn, Zhao and Song (ICLR 2025), for comparison only.

Written from the paper (arXiv 2410.07369) with the parameters of its code at commit
07c28b4: keys of sparse parity checks, detection by their Hoeffding-type bound, decoding
by belief propagation and a solved linear system. Not part of the package: at these
lengths the parity checks can be found from marked images (a birthday search of about
n**(t/2)), and it needs noise found with three times the correlation that a plain keyed
code needs.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from watermark.detectors.stats import ln_sign_tail

VARIANCE = 1.5  # of the noise found, as their `recover_posteriors` assumes
NEAR_ONE = 1 - 1e-12

Bits = NDArray[np.uint8]
Reals = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Key:
    """Everything secret, for encoding and decoding.

    Attributes:
        generator: uint64 (n, words): rows of k bits, packed.
        checks: int (r, t): the indices of each parity check.
        pad: one-time pad, bits (n,).
        test_bits: bits at the start of every payload.
        random_bits: g, drawn anew for each image.
        message_bits: of a message.
        noise: rate of bits flipped on purpose.
    """

    generator: NDArray[np.uint64] = field(repr=False)
    checks: NDArray[np.int64] = field(repr=False)
    pad: Bits = field(repr=False)
    test_bits: Bits = field(repr=False)
    random_bits: int
    message_bits: int
    noise: float

    @property
    def payload_bits(self) -> int:
        """k."""
        return len(self.test_bits) + self.random_bits + self.message_bits


def keygen(
    n: int,
    rng: np.random.Generator,
    *,
    message_bits: int = 512,
    fpr: float = 1e-9,
    sparsity: int = 3,
) -> Key:
    """A key for codewords of n bits (their KeyGen).

    Args:
        n: numbers of a latent.
        rng: of everything drawn.
        message_bits: longest message.
        fpr: decides how many test bits a payload has.
        sparsity: t, numbers in one parity check.
    """
    tests = math.ceil(math.log2(1 / fpr))
    security = int(math.log2(math.comb(n, sparsity)))  # also g
    k = message_bits + security + tests
    count = n - k - security  # of parity checks
    rows = _pack(rng.integers(0, 2, (n, k), dtype=np.uint8))
    checks = np.empty((count, sparsity), dtype=np.int64)
    for at, row in enumerate(range(n - count, n)):
        chosen = _distinct(row, sparsity - 1, rng)
        checks[at] = [*chosen, row]
        rows[row] = np.bitwise_xor.reduce(rows[chosen])
    order = rng.permutation(n)
    place = np.argsort(order)
    return Key(
        generator=rows[order],
        checks=place[checks],
        pad=rng.integers(0, 2, n, dtype=np.uint8),
        test_bits=rng.integers(0, 2, tests, dtype=np.uint8),
        random_bits=security,
        message_bits=message_bits,
        noise=1 - 2 ** (-1 / security),  # 1 - 2 ** (-security / g**2), g = security
    )


def _distinct(below: int, count: int, rng: np.random.Generator) -> list[int]:
    while True:
        drawn = rng.integers(0, below, count).tolist()
        if len(set(drawn)) == count:
            return list(drawn)


def payload(key: Key, message: Bits, rng: np.random.Generator) -> Bits:
    """Test bits, fresh random bits, and the message filled up with zeros.

    Raises:
        ValueError: the message is too long.
    """
    if len(message) > key.message_bits:
        raise ValueError(f"{len(message)} bits, expected at most {key.message_bits}")
    fresh = rng.integers(0, 2, key.random_bits, dtype=np.uint8)
    rest = np.zeros(key.message_bits - len(message), dtype=np.uint8)
    return np.concatenate((key.test_bits, fresh, message, rest))


def codeword(key: Key, payload: Bits) -> Bits:
    """The bits of a payload's codeword under the pad, without the noise."""
    chosen = key.generator & _pack(payload[None])
    parity = np.bitwise_count(chosen).sum(axis=1) & 1
    bits: Bits = parity.astype(np.uint8) ^ key.pad
    return bits


def signs(key: Key, payload: Bits, rng: np.random.Generator) -> NDArray[np.int32]:
    """+1 or -1 (n,): the codeword with its deliberate noise (their Encode)."""
    flips = rng.random(len(key.pad)) < key.noise
    return 1 - 2 * (codeword(key, payload) ^ flips).astype(np.int32)


def posteriors(key: Key, z: Reals) -> Reals:
    """What each number of a noise estimate says of its bit (pad taken off): [-1, 1]."""
    seen = erf(z.reshape(-1) / math.sqrt(2 * VARIANCE * (1 + VARIANCE)))
    out: Reals = seen * (1 - 2 * key.noise) * (1 - 2 * key.pad.astype(np.float64))
    return out


def ln_p(key: Key, z: Reals, *, tight: bool = False) -> float:
    """Ln of the bound on the rate of false positives that just accepts (their Detect).

    Their bound is Hoeffding's, ``exp(-T^2 / 2)`` of the normalised sum T of the parity
    checks; over a random pad the checks' signs are fair and independent.

    Args:
        key: the key.
        z: (n,) noise estimate.
        tight: take 3.178 Q(T) for it, the bound of our own detectors.
    """
    products = np.prod(posteriors(key, z)[key.checks], axis=1)
    weight = np.abs(np.arctanh(np.clip(products, -NEAR_ONE, NEAR_ONE)))
    norm = math.sqrt(float(weight @ weight))
    if norm == 0.0:
        return 0.0
    t = float(np.sign(products) @ weight) / norm
    if tight:
        return ln_sign_tail(t)
    return -0.5 * t * t if t > 0 else 0.0


def decode(key: Key, z: Reals) -> Bits | None:
    """The message, or None where the test bits are not right (their Decode).

    Args:
        key: the key.
        z: (n,) noise estimate.
    """
    beliefs = propagate(key.checks, posteriors(key, z))
    order = np.argsort(-np.abs(beliefs), kind="stable")
    solved = _solve(key, order, (beliefs < 0).astype(np.uint8))
    tests = len(key.test_bits)
    if solved is None or not np.array_equal(solved[:tests], key.test_bits):
        return None
    return solved[tests + key.random_bits :]


def propagate(checks: NDArray[np.int64], seen: Reals) -> Reals:
    """Log-likelihood ratios after sum-product belief propagation; positive means 0.

    Args:
        checks: (r, t) indices of the parity checks.
        seen: (n,) expectations of (-1)**bit.
    """
    n = len(seen)
    rounds = int(math.log(n) / math.log(checks.shape[1]))
    own = 2 * np.arctanh(np.clip(seen, -NEAR_ONE, NEAR_ONE))
    whole = own.copy()
    back = np.zeros(checks.shape)  # from checks to numbers
    for _ in range(rounds):
        forth = np.tanh((whole[checks] - back) / 2)
        # Products of the others by direct multiplication: t is small.
        others = np.stack(
            [
                np.prod(np.delete(forth, column, axis=1), axis=1)
                for column in range(checks.shape[1])
            ],
            axis=1,
        )
        back = 2 * np.arctanh(np.clip(others, -NEAR_ONE, NEAR_ONE))
        whole = own + np.bincount(checks.reshape(-1), back.reshape(-1), n)
    return whole


def _solve(key: Key, order: NDArray[np.int64], bits: Bits) -> Bits | None:
    """The payload that the first independent rows in `order` mean.

    Elimination by columns over GF(2). A column is one integer whose low bits are its
    rows in that order and whose high bits say which columns were added up in it.
    """
    n, k = len(order), key.payload_bits
    rows = np.unpackbits(key.generator[order].view(np.uint8), axis=1, bitorder="little")
    packed = np.packbits(rows[:, :k].T, axis=1, bitorder="little")
    columns = [
        int.from_bytes(column.tobytes(), "little") | 1 << (n + j)
        for j, column in enumerate(packed)
    ]
    lowest, unused, answer = (1 << n) - 1, set(range(k)), 0
    while unused:
        # The first row that the columns left still tell apart.
        union = functools.reduce(operator.or_, (columns[j] for j in unused)) & lowest
        if not union:
            return None
        row = (union & -union).bit_length() - 1
        bit = 1 << row
        pivot = next(j for j in sorted(unused) if columns[j] & bit)
        own = columns[pivot]
        columns = [c ^ own if c & bit else c for c in columns]
        columns[pivot] = own
        unused.remove(pivot)
    for column in columns:  # each has its own row, where no other has a bit
        row = (column & -column).bit_length() - 1
        if bits[order[row]]:
            answer ^= column >> n
    return np.array([answer >> j & 1 for j in range(k)], dtype=np.uint8)


def _pack(bits: Bits) -> NDArray[np.uint64]:
    """Rows of bits as 64-bit words, low bit first."""
    rows, width = bits.shape
    padded = np.zeros((rows, -(-width // 64) * 64), dtype=np.uint8)
    padded[:, :width] = bits
    packed = np.packbits(padded, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64)
