"""Rates with their exact confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta

LEVEL = 0.95


def clopper_pearson(hits: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The two-sided exact interval of a binomial rate.

    Its lower end is a one-sided bound at ``(1 + level) / 2``.

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
