"""False positives: the stated p-value against the realised rate, over random keys.

    python -m benchmarks fpr

The randomness of every p-value is the key's. So assets are fixed and hostile, keys are
drawn, and the share of p <= alpha is held against alpha.
"""

from __future__ import annotations

from benchmarks import fpr_noise, fpr_text
from benchmarks.options import Options
from benchmarks.report import Part, Result


def run(options: Options) -> Result:
    """Count false positives of every scheme.

    Raises:
        Unavailable: there is no tokenizer to read windows of text with.
    """
    note = (
        "A key is drawn anew for every test, so the tests of one asset are "
        "independent; intervals are Clopper-Pearson at 99.9 %."
    )
    parts = (fpr_text.count(options), fpr_noise.count(options), Part(notes=(note,)))
    return Result.of("fpr", parts, seed=options.seed)
