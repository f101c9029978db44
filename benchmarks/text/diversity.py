"""One prompt sampled many times: distinct outputs and self-BLEU, of unmarked sampling.

Keyed Gumbel sampling is deterministic in its context; the nonce and the fresh prefix
keep it diverse.
"""

from __future__ import annotations

import math
import statistics

from benchmarks.bleu import self_bleu
from benchmarks.language import PROMPTS
from benchmarks.options import Options
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.text.samples import Sampler, Set, Text

REFERENCES = 50  # of self-BLEU
APART = 0.05  # how far marked diversity may lie from unmarked
ONE = PROMPTS[:1]
MARKED = Set("one prompt, gumbel", "gumbel", 1.0, prompts=ONE, fixed_key=True)
# A mark id of each output's own: it does the work of nonce and fresh prefix.
OWN = Set(
    *("one prompt, gumbel with 16 bits", "gumbel", 1.0),
    parameters=(("payload_bits", 16), ("nonce_bits", 0)),
    prompts=ONE,
    fixed_key=True,
)
PLAIN = Set("one prompt, unmarked", None, 1.0, prompts=ONE)
AGAIN = Set("one prompt, unmarked again", None, 1.0, prompts=ONE)


def measure(sampler: Sampler, options: Options) -> Part:
    """Marked against unmarked, and unmarked against itself as a yardstick."""
    count = options.count(200, 1000)
    sets = (MARKED, OWN, PLAIN, AGAIN)
    drawn = {part.name: sampler.texts(part, count) for part in sets}
    distinct = {k: len({tuple(t.ids) for t in texts}) for k, texts in drawn.items()}
    bleu = {name: _self_bleu(texts) for name, texts in drawn.items()}
    targets = []
    for name in (MARKED.name, OWN.name):
        ratio, error = _ratio(bleu[name], bleu[PLAIN.name])
        targets += [
            Target.at_least(
                f"{name}: distinct outputs, of unmarked",
                distinct[name] / distinct[PLAIN.name],
                1 - APART,
                f"{distinct[name]} of {count}, unmarked {distinct[PLAIN.name]}",
            ),
            Target(
                name=f"{name}: self-BLEU, of unmarked",
                target=f"1 +- {APART:g}",
                measured=ratio,
                reached=abs(ratio - 1) <= APART,
                note=f"standard error about {error:.3f}",
            ),
        ]
    rows: list[tuple[Cell, ...]] = [
        (name, count, distinct[name], *bleu[name], bleu[name][0] / bleu[PLAIN.name][0])
        for name in drawn
    ]
    columns = (
        *("samples of one prompt", "n", "distinct", "self-BLEU", "standard error"),
        "of unmarked",
    )
    note = (
        f"BLEU-4 of token ids against {REFERENCES} others of the set; the standard "
        "error takes samples as independent."
    )
    table = Table("Diversity at 1 nat", columns, tuple(rows), note)
    return Part(
        parameters={"of one prompt": count}, targets=tuple(targets), tables=(table,)
    )


def _self_bleu(texts: list[Text]) -> tuple[float, float]:
    scores = self_bleu([text.ids for text in texts], references=REFERENCES)
    if len(scores) < 2:
        return statistics.fmean(scores), math.nan
    return statistics.fmean(scores), statistics.stdev(scores) / math.sqrt(len(scores))


def _ratio(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The ratio of two means, and its standard error by the delta method."""
    if not one[0] or not other[0]:
        return math.nan, math.nan
    ratio = one[0] / other[0]
    return ratio, ratio * math.hypot(one[1] / one[0], other[1] / other[0])
