"""BLEU-4 of token sequences, and self-BLEU: how alike the samples of one prompt are.

Papineni et al. (2002), with the add-one smoothing of Lin and Och (2004) for n > 1, so
that a sample without one common 4-gram still counts as a little alike.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence

ORDER = 4

Grams = list[Counter[tuple[Hashable, ...]]]


def grams(tokens: Sequence[Hashable]) -> Grams:
    """Counts of the 1-grams, 2-grams ... of one sequence."""
    return [
        Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        for n in range(1, ORDER + 1)
    ]


def bleu(candidate: Grams, references: Sequence[Grams]) -> float:
    """BLEU-4 of one candidate against several references, in [0, 1]."""
    length = candidate[0].total()
    if not length or not references:
        return 0.0
    closest = min(
        (reference[0].total() for reference in references),
        key=lambda other: (abs(other - length), other),
    )
    logs = 0.0
    for n, counts in enumerate(candidate):
        clipped = sum(
            min(count, max(reference[n][gram] for reference in references))
            for gram, count in counts.items()
        )
        if n == 0 and clipped == 0:
            return 0.0
        smooth = 0 if n == 0 else 1
        logs += math.log((clipped + smooth) / (counts.total() + smooth))
    brevity = min(0.0, 1 - closest / length)
    return math.exp(brevity + logs / ORDER)


def self_bleu(
    samples: Sequence[Sequence[Hashable]], *, references: int = 50, seed: int = 0
) -> list[float]:
    """BLEU of each sample against others of the same set, `references` of them.

    Which others is drawn from `seed`, equally for every set of the same size.
    """
    counted = [grams(sample) for sample in samples]
    scores = []
    for index, candidate in enumerate(counted):
        others = [i for i in range(len(counted)) if i != index]
        drawn = random.Random(f"{seed}/{index}").sample(
            others, min(references, len(others))
        )
        scores.append(bleu(candidate, [counted[i] for i in drawn]))
    return scores
