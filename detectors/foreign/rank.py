"""How often other keys do as well on the same text: a p-value that holds for any text.

A Gamma tail says how rare a sum is if the words of different contexts are independent
under a random key. Of a short hash they are only for texts that were not built against
it. SGLang's 64-bit key enters a state of 32 bits, to which contexts are added by an
exclusive or: contexts can be chosen whose words are equal under every key, or under
half of them, and a text of such contexts does well by luck far more often than its tail
says. TextSeal's sums can be chosen so, too.

So a p-value that could decide is tried: the text's sum under other keys, drawn at
random, until as many as `ENOUGH` reach it. Then p is `ENOUGH` by how many were drawn;
and if so many do not, one more than did by one more than were drawn. Whatever the text
and the hash, if nobody who made the text knew the key, that is a p-value (Besag and
Clifford, Biometrika 78 (1991)). Where not one other key reaches the sum, the tail
stands, and is then beyond what was tried.

Together: at most a share ``max(alpha, 1 / (most(n) + 1))`` of keys give any text
whatever a p of alpha or less, for every alpha up to `TRIED_FROM`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import BACKEND

# The statistic of one text under each of many keys: uint64 (m, 2), the second column
# for engines with two keys, to float64 (m,).
Sums = Callable[[NDArray[np.uint64]], NDArray[np.float64]]

TRIED_FROM = 1e-3  # p: what is larger decides nothing and is not reported
ENOUGH = 2
MOST_KEYS = (1 << 20) - 1
# Of a long text fewer are tried: some 0.4 s, and 2 s where kernels are not compiled.
MOST_WORDS = 1 << 28 if BACKEND == "cython" else 1 << 18
LEAST_BATCH, MOST_BATCH = 64, 1 << 14


def most(n: int) -> int:
    """How many other keys are tried at most on `n` contexts."""
    return max(1, min(MOST_KEYS, MOST_WORDS // max(1, n)))


def ln_p(total: float, sums: Sums, numbers: Sequence[int], n: int) -> float:
    """Ln of the p-value, or -inf where none of `most(n)` keys reaches the sum.

    Args:
        total: the sum that was found.
        sums: of the same text under other keys.
        numbers: the key that was tested. The others follow from it, so that a score is
            the same each time, and nobody who does not have it knows them.
        n: contexts.
    """
    name = b"watermark-sdk/other-keys/1:" + ",".join(map(str, numbers)).encode()
    seed = int.from_bytes(hashlib.sha256(name).digest()[:16], "big")
    generator = np.random.Philox(key=seed)
    least = total * (1 - 1e-12)  # sums are rounded
    tried = reached = 0
    while tried < most(n):
        batch = min(max(tried, LEAST_BATCH), MOST_BATCH, most(n) - tried)
        drawn = sums(generator.random_raw(2 * batch).reshape(batch, 2))
        places = np.flatnonzero(drawn >= least)
        if reached + len(places) >= ENOUGH:
            return math.log(ENOUGH / (tried + int(places[ENOUGH - reached - 1]) + 1))
        reached += len(places)
        tried += batch
    return math.log((reached + 1) / (tried + 1)) if reached else -math.inf


def ln_counted(n: int, vocab_size: int, states: int) -> float:
    """Ln of the p down to which no choice of `n` tokens gains more than a factor of e.

    Where a key leaves one of N states, a text can be chosen for some of them. For one
    text the states that give it a p of q or less are a Poisson number of mean N q, if
    the hash is taken for a random one; there are V^n texts, so for none they are more
    than e N q once N q reaches n ln V (Chernoff's bound ``e^-mu (e mu / k)^k``).

    Args:
        n: tokens that count.
        vocab_size: V.
        states: N.
    """
    return min(0.0, math.log(max(1, n) * math.log(vocab_size) / states))
