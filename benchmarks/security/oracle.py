"""Oracle: climb on what a detector answers, to remove a mark or to forge one.

One detector answers with log10 p, one with its verdict alone, as a public page does.
The attacker changes one word at a time, and keeps the change if the answer is no worse.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np

from benchmarks import sources
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table
from benchmarks.security.bigrams import Bigrams, drawn, model
from watermark.keys import KeyRecord
from watermark.schemes import SCHEMES
from watermark.verification.text import TEXT_DETECTORS

LENGTH = 200
BUDGET = 2_000  # questions that an attacker may ask
FPR = 1e-6
TEXTS, FULL = 5, 30
SCHEMES_TRIED = ("gumbel", "greenlist")

Answer = Callable[[list[int]], float]


def measure(options: Options) -> Part:
    """Removal and forgery by either answer."""
    count = options.count(TEXTS, FULL)
    cells: list[tuple[Cell, ...]] = []
    for scheme in SCHEMES_TRIED:
        for goal in ("remove", "forge"):
            for said in ("log10 p", "verdict"):
                runs = [
                    _run(scheme, goal, said, i, options)
                    for i in options.track(range(count), f"{scheme}: {goal} by {said}")
                ]
                done = [r for r in runs if r[0]]
                cells.append(
                    (
                        *(scheme, goal, said, str(Rate(len(done), len(runs)))),
                        statistics.median(r[1] for r in done) if done else None,
                        statistics.median(r[2] for r in done) if done else None,
                    )
                )
    columns = (
        *("mark", "goal", "the detector says", f"done in {BUDGET:,} questions"),
        *("median questions", "median words changed"),
    )
    note = (
        f"Texts of {LENGTH} words; a mark is there where p is at most {FPR:g}. Words "
        "are replaced by others that the model allows there."
    )
    return Part(tables=(Table("Oracle", columns, tuple(cells), note),))


def _run(
    scheme: str, goal: str, said: str, index: int, options: Options
) -> tuple[bool, int, int]:
    """(reached, questions, words changed) of one attack."""
    seed = seeded("oracle", options.seed, scheme, goal, index)
    rng = np.random.default_rng(int.from_bytes(seed[:16], "little"))
    record = SCHEMES[scheme].record(seeded_key("oracle", options.seed, scheme, index))
    words = model()
    mark = sources.marking(record, int(rng.integers(16))) if goal == "remove" else None
    text = words.sample(LENGTH, rng, mark)
    sign = 1.0 if goal == "remove" else -1.0  # up, or down
    return climb(text, sign, _answer(record, said), words, rng)


def _answer(record: KeyRecord, said: str) -> Answer:
    detector, least = TEXT_DETECTORS[record.scheme], math.log10(FPR)

    def answer(tokens: list[int]) -> float:
        p = float(detector.score(np.asarray(tokens, np.uint32), record).log10_p())
        if said == "log10 p":
            return p
        return 2 * least if p <= least else 0.0

    return answer


def climb(
    text: list[int],
    sign: float,
    answer: Answer,
    words: Bigrams,
    rng: np.random.Generator,
) -> tuple[bool, int, int]:
    """Change words until the verdict turns: (reached, questions, words changed)."""
    least = math.log10(FPR)

    def reached(value: float) -> bool:
        return value > least if sign > 0 else value <= least

    now, start = list(text), list(text)
    best = answer(now)
    if reached(best):
        return True, 1, 0
    for asked in range(2, BUDGET + 1):
        at = int(rng.integers(1, len(now)))
        before = now[at - 1]
        tried = list(now)
        tried[at] = int(words.ids[before][drawn(words.log_p[before], rng)])
        value = answer(tried)
        if sign * (value - best) >= 0:
            now, best = tried, value
        if reached(best):
            return True, asked, sum(a != b for a, b in zip(now, start, strict=True))
    return False, BUDGET, sum(a != b for a, b in zip(now, start, strict=True))
