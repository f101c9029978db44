"""Other engines' marks: our detector beside each engine's own.

    python -m benchmarks engines [--wheels FOLDER] [--only speed,rates,power]

Three questions, on the same texts under the same keys: how fast, how often a text
without a mark is accused at a stated p-value, and how often a text that the engine
itself marked is found. transformers is always there. Packages that cannot be installed
beside it are taken from a folder of unpacked wheels and checkouts; what is not there is
left out, and the notes say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.engines import installed, power, rates, speed, unpacked
from benchmarks.engines.engine import BIAS, LENGTH, Engine
from benchmarks.options import Options
from benchmarks.report import Part, Result

PARTS: dict[str, Callable[[Sequence[Engine], Options], Part]] = {
    "speed": speed.measure,
    "rates": rates.measure,
    "power": power.measure,
}


def run(options: Options) -> Result:
    """Speed, rates and power of every engine that can run here.

    Raises:
        Unavailable: there is no part of a name in `only`, or no model.
    """
    names = options.chosen(PARTS)
    more, missing = unpacked.engines(options.wheels)
    engines = [*installed.engines(), *more]
    with options.threading(1):
        parts = [PARTS[name](engines, options) for name in names]
    return Result(
        name="engines",
        parameters={"seed": options.seed, "tokens": LENGTH, "bias": BIAS},
        targets=tuple(target for part in parts for target in part.targets),
        tables=tuple(table for part in parts for table in part.tables),
        new=sum(part.new for part in parts),
        reused=sum(part.reused for part in parts),
        notes=(
            "Texts and keys are the same for both detectors. The engine's detector "
            "runs with its defaults; its p-value is the one that it returns.",
            *missing,
        ),
    )
