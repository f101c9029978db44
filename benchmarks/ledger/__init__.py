"""The ledger: how much it takes, how fast it answers, what leads back from a mark.

    python -m benchmarks ledger [--only sqlite,lookup,postgres,recover,outputs]
        [--data DIR]

One append is a record with a mark, its leaf, three bindings, a manifest of 3.3 KB and
one encrypted personal field, durable when it returns. The ledger that `lookup` fills is
kept in the work folder (6 GB at full count): the next run asks it again.

DIR/photos holds photographs for ``recover``; pictures like them are made without it.
``outputs`` does the same with what the trained models make.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import ledger_recovery
from benchmarks.ledger import answers, appends, postgres
from benchmarks.options import Options
from benchmarks.report import Part, Result


def _outputs(options: Options) -> Part:
    from benchmarks import ledger_outputs  # it loads torch

    return ledger_outputs.recover(options)


PARTS: dict[str, Callable[[Options], Part]] = {
    "sqlite": appends.measure,
    "lookup": answers.measure,
    "postgres": postgres.measure,
    "recover": ledger_recovery.recover,
    "outputs": _outputs,
}


def run(options: Options) -> Result:
    """Every part that was asked for.

    Raises:
        Unavailable: there is no part of a name in `only`.
    """
    parts = [PARTS[name](options) for name in options.chosen(PARTS)]
    return Result.of("ledger", parts, seed=options.seed)
