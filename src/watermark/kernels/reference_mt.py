"""What the Mersenne Twister kernels compute, in plain Python: torch's CPU generator.

MT19937 (Matsumoto and Nishimura, ACM TOMACS 8 (1998)), seeded by Knuth's recurrence as
`init_genrand` of their 2002 revision: 32 bits of a seed matter. `mt_permutation` is the
shuffle of ``torch.randperm`` on a CPU: for i from 0, one word z, and places i and
``i + z mod (n - i)`` change their contents. The green lists of the KGW family are the
first entries of such permutations.

Membership needs no list: it is enough to follow where one token stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from watermark.kernels.reference import Numbers

N, M = 624, 397
# Longer permutations would need 64-bit words: torch changes its shuffle there.
MAX_LENGTH = 1 << 27


def _stream(seed: int) -> Iterator[int]:
    state = [seed & 0xFFFFFFFF]
    for i in range(1, N):
        x = state[-1]
        state.append((1812433253 * (x ^ x >> 30) + i) & 0xFFFFFFFF)
    while True:
        for i in range(N):
            y = state[i] & 0x80000000 | state[(i + 1) % N] & 0x7FFFFFFF
            state[i] = state[(i + M) % N] ^ y >> 1 ^ (0x9908B0DF if y & 1 else 0)
        for y in state:
            y ^= y >> 11
            y ^= y << 7 & 0x9D2C5680
            y ^= y << 15 & 0xEFC60000
            yield y ^ y >> 18


def mt_words(seed: int, count: int) -> NDArray[np.uint32]:
    """The first `count` words of the generator.

    Args:
        seed: its low 32 bits are used.
        count: how many.

    Returns:
        uint32 [count].
    """
    words = _stream(seed)
    return np.asarray([next(words) for _ in range(count)], dtype=np.uint32)


def mt_permutation(seed: int, n: int, count: int) -> NDArray[np.uint32]:
    """The first `count` entries of the permutation of ``0..n-1`` that torch draws.

    Args:
        seed: its low 32 bits are used.
        n: length of the permutation, 1 to 2**27.
        count: 0 to n.

    Returns:
        uint32 [count].

    Raises:
        ValueError: a length outside its range.
    """
    _check(n, count)
    a = list(range(n))
    for i, z in zip(range(min(count, n - 1)), _stream(seed), strict=False):
        j = i + z % (n - i)
        a[i], a[j] = a[j], a[i]
    return np.asarray(a[:count], dtype=np.uint32)


def mt_members(
    seeds: Numbers, tokens: Numbers, n: int, count: int
) -> NDArray[np.uint8]:
    """For each pair, whether the token is among the first `count` of its permutation.

    Args:
        seeds: uint32 [pairs]. Pairs of one seed that follow each other share its words.
        tokens: uint32 [pairs]; one that is not below n is in no list.
        n: length of the permutations, 1 to 2**27.
        count: length of the lists, 0 to n.

    Returns:
        uint8 [pairs], 1 for a member.

    Raises:
        ValueError: arrays of different lengths, or a length outside its range.
    """
    _check(n, count)
    if len(seeds) != len(tokens):
        raise ValueError(f"found {len(seeds)} seeds for {len(tokens)} tokens")
    return np.asarray(
        [
            _member(int(seed), int(token), n, count)
            for seed, token in zip(seeds, tokens, strict=True)
        ],
        dtype=np.uint8,
    )


def _member(seed: int, token: int, n: int, count: int) -> bool:
    if token >= n or count == n:
        return token < n
    place = token
    for i, z in zip(range(count), _stream(seed), strict=False):
        j = i + z % (n - i)
        if j == place:
            return True  # it moves to i, where nothing comes again
        if i == place:
            place = j
    return False


def mt_mask(seed: int, n: int, count: int) -> NDArray[np.uint8]:
    """The first `count` of a permutation as a set of bits.

    Args:
        seed: its low 32 bits are used.
        n: length of the permutation, 1 to 2**27.
        count: length of the list, 0 to n.

    Returns:
        uint8 [ceil(n / 8)]: bit ``t & 7`` of byte ``t >> 3`` is 1 for a member t.

    Raises:
        ValueError: a length outside its range.
    """
    mask = np.zeros((n + 7) // 8, dtype=np.uint8)
    for token in mt_permutation(seed, n, count).tolist():
        mask[token >> 3] |= 1 << (token & 7)
    return mask


def _check(n: int, count: int) -> None:
    if not 1 <= n <= MAX_LENGTH:
        raise ValueError(f"the permutation's length is {n}, expected 1 to 2**27")
    if not 0 <= count <= n:
        raise ValueError(f"the list's length is {count}, expected 0 to {n}")
