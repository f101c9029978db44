"""Score: what every detector returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

LN10 = math.log(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One test of one asset under one key record.

    Attributes:
        ln_p: natural logarithm of the p-value of the best hypothesis, unadjusted.
        hypotheses: how many hypotheses the detector itself tried (nonces, messages).
        n: independent observations behind the statistic.
        statistic: the test statistic itself, in the detector's own units.
        payload: the mark id or message, where it was read beyond doubt.
        nonce: the nonce that fits best.
        decoded: the message that fits best, however badly.
        ln_error: natural logarithm of the bound of the probability that `decoded` is
            wrong; `payload` is set where that is at most 1e-3.
        confidence: for each byte of `decoded` one minus the bound that it is wrong.
    """

    ln_p: float
    hypotheses: int
    n: int
    statistic: float
    payload: bytes | None = None
    nonce: int = 0
    decoded: bytes | None = None
    ln_error: float = 0.0
    confidence: tuple[float, ...] = ()

    def log10_p(self, tests: int = 1) -> float:
        """log10 of the p-value, adjusted for own hypotheses and `tests` tests (<= 0).

        Bonferroni: ``min(1, tests * hypotheses * p)``, in log space.
        """
        return min(
            0.0, (self.ln_p + math.log(self.hypotheses) + math.log(tests)) / LN10
        )
