"""Rates with their exact confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from scipy.stats import beta, norm
from scipy.stats import t as student

LEVEL = 0.95


def clopper_pearson(
    hits: float, n: float, *, level: float = LEVEL
) -> tuple[float, float]:
    """The two-sided exact interval of a binomial rate.

    Its lower end is a one-sided bound at ``(1 + level) / 2``.

    Args:
        hits: of `n`; not whole where `n` is an effective number.
        n: trials.
        level: of confidence.

    Raises:
        ValueError: not ``0 <= hits <= n``.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"found {hits} hits in {n} trials")
    if n == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.isf(tail, hits + 1, n - hits))
    return low, high


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` among `n` trials."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share, or NaN of no trials."""
        return self.hits / self.n if self.n else float("nan")

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Clopper-Pearson, two-sided."""
        return clopper_pearson(self.hits, self.n, level=level)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.value:.4g} [{low:.4g}, {high:.4g}] ({self.hits}/{self.n})"


@dataclass(frozen=True, slots=True)
class Clustered:
    """Hits among trials of which some belong together, as all attacks on one sample.

    Attributes:
        each: hits and trials of every cluster; clusters are independent.
    """

    each: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, clusters: Iterable[Sequence[bool]]) -> Self:
        """From what every trial of every cluster gave."""
        return cls(tuple((sum(one), len(one)) for one in clusters if len(one)))

    @property
    def hits(self) -> int:
        """In all clusters."""
        return sum(hits for hits, _ in self.each)

    @property
    def n(self) -> int:
        """Trials in all clusters."""
        return sum(n for _, n in self.each)

    @property
    def value(self) -> float:
        """The share of all trials, or NaN of none."""
        return self.hits / self.n if self.n else float("nan")

    def effective(self, level: float = LEVEL) -> float:
        """How many independent trials tell as much.

        `n` over the design effect (Kish 1965), which is the variance of the share
        between clusters over that of independent trials; less for the degrees of
        freedom (Korn and Graubard 1998). Those are counted by what hit, and by what did
        not: a few clusters with all of the hits say little of how clusters differ.
        Never above `n`, nor below what clusters are worth whose trials are all alike,
        which is also the answer where no variance can be told.
        """
        least = _equal([n for _, n in self.each])
        freedom = -1 + min(
            _equal([hits for hits, _ in self.each]),
            _equal([n - hits for hits, n in self.each]),
        )
        if freedom <= 0:
            return least
        p, m = self.value, len(self.each)
        squares = sum((hits - p * n) ** 2 for hits, n in self.each)
        variance = m / (m - 1) * squares / self.n**2
        if variance == 0:
            return float(self.n)
        tail = (1 - level) / 2
        widened = float(norm.isf(tail) / student.isf(tail, freedom)) ** 2
        return min(max(p * (1 - p) / variance * widened, least), self.n)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Clopper-Pearson of the effective number of trials, two-sided."""
        effective = self.effective(level)
        hits = self.value * effective if self.n else 0.0
        return clopper_pearson(min(hits, effective), effective, level=level)

    def __str__(self) -> str:
        low, high = self.interval()
        of = f"{self.hits}/{self.n} of {len(self.each)}"
        return f"{self.value:.4g} [{low:.4g}, {high:.4g}] ({of})"


def _equal(sizes: Sequence[int]) -> float:
    """How many equal sizes are as unequal as these: (sum)^2 / sum of squares."""
    squares = sum(size * size for size in sizes)
    return sum(sizes) ** 2 / squares if squares else 0.0
