"""Text: what a mark in a text costs, and how often it is found.

    python -m benchmarks text [--only power,diversity]

Each part is a file here: `measure(sampler, options) -> Part`. Samples of the language
model are made once and kept; scoring them again takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.language import Language
from benchmarks.options import Options
from benchmarks.report import Part, Result
from benchmarks.text import (
    code,
    distribution,
    diversity,
    edits,
    payloads,
    peers,
    power,
    synthetic,
    throughput,
)
from benchmarks.text.samples import Sampler

PARTS: dict[str, Callable[[Sampler, Options], Part]] = {
    "power": power.measure,
    "peers": peers.measure,
    "payloads": payloads.measure,
    "edits": edits.measure,
    "code": code.measure,
    "synthetic": synthetic.measure,
    "diversity": diversity.measure,
    "distribution": distribution.measure,
    "throughput": throughput.measure,
}


def run(options: Options) -> Result:
    """Every part, or those that the command line names.

    Raises:
        Unavailable: there is no language model, or no part of a name given.
    """
    names = options.chosen(PARTS)
    language = Language.load(options.lm)
    with Sampler(language, options) as sampler:
        parts = [PARTS[name](sampler, options) for name in names]
        made = Part(new=sampler.journal.added)
    return Result.of(
        "text", [*parts, made], seed=options.seed, model=language.sha256[:12]
    )
