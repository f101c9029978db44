"""False positives: the stated p-value against the realised rate, over random keys.

    python -m benchmarks fpr

The randomness of every p-value is the key's. So assets are fixed and hostile, keys are
drawn, and the share of p <= alpha is held against alpha. What a single key does on one
corpus, and how deep the p-values can be trusted, are parts of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import fpr_depth, fpr_keys, fpr_noise, fpr_text
from benchmarks.options import Options
from benchmarks.report import Part, Result

PARTS: dict[str, Callable[[Options], Part]] = {
    "text": fpr_text.count,
    "keys": fpr_keys.compare,
    "noise": fpr_noise.count,
    "depth": fpr_depth.compare,
}


def run(options: Options) -> Result:
    """Count false positives of every scheme.

    Raises:
        Unavailable: there is no tokenizer to read texts with, or no part of a name.
    """
    note = (
        "A key is drawn anew for every test, so the tests of one asset are "
        "independent; intervals are Clopper-Pearson at 99.9 %."
    )
    parts = [PARTS[name](options) for name in options.chosen(PARTS)]
    return Result.of("fpr", [*parts, Part(notes=(note,))], seed=options.seed)
