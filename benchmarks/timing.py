"""Medians of repeated runs, ours and the peer's in turn so that noise hits both.

What is timed runs in one thread and waits for nothing, so its time is the processor
time of that thread: other programs on the machine take no part in it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

SLICE = 0.02  # seconds that one case is given in each round
MOST = 20_000  # calls of one case in a round


@dataclass(frozen=True, slots=True)
class Timing:
    """Processor seconds of one call: over the rounds, the median and the quartiles."""

    median: float
    low: float
    high: float
    rounds: int

    def micro(self) -> float:
        """The median in microseconds."""
        return self.median * 1e6


def compare(
    cases: Mapping[str, Callable[[], object]], rounds: Iterable[int]
) -> dict[str, Timing]:
    """Time every case once a round, all cases in each round, after a warm-up.

    Args:
        cases: what to call, by name; a fast one is called many times a round.
        rounds: one item for each round (a progress bar goes here).
    """
    repeats = {name: _calibrate(call) for name, call in cases.items()}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in rounds:
        for name, call in cases.items():
            start = time.thread_time()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.thread_time() - start) / repeats[name])
    return {name: _timing(values) for name, values in seconds.items()}


def _calibrate(call: Callable[[], object]) -> int:
    call()
    start = time.thread_time()
    call()
    once = max(time.thread_time() - start, 1e-7)
    return max(1, min(MOST, math.ceil(SLICE / once)))


def _timing(values: list[float]) -> Timing:
    if len(values) < 2:
        return Timing(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high, len(values))
