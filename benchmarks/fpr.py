"""False positives: the stated p-value against the realised rate, over random keys.

    python -m benchmarks fpr

The randomness of every p-value is the key's. So assets are fixed and hostile, keys are
drawn, and the share of p <= alpha is held against alpha.
"""

from __future__ import annotations

from benchmarks import fpr_noise, fpr_text
from benchmarks.options import Options
from benchmarks.report import Result


def run(options: Options) -> Result:
    """Count false positives of every scheme.

    Raises:
        Unavailable: there is no tokenizer to read windows of text with.
    """
    parts = (fpr_text.count(options), fpr_noise.count(options))
    return Result(
        name="fpr",
        parameters={"seed": options.seed} | parts[0].parameters | parts[1].parameters,
        targets=parts[0].targets + parts[1].targets,
        tables=parts[0].tables + parts[1].tables,
        notes=(
            "A key is drawn anew for every test, so the tests of one asset are "
            "independent; intervals are Clopper-Pearson at 99.9 %.",
        ),
        new=sum(part.new for part in parts),
        reused=sum(part.reused for part in parts),
    )
