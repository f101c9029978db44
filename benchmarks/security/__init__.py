"""Security: what an attacker without the key learns, forges and removes.

    python -m benchmarks security [--only stealing,oracle,collusion,keys] [--full]

Kerckhoffs holds: the attacker knows the scheme and its parameters, and has the same
unmarked model; only the key is secret. The model is made of word pairs (`bigrams`), so
that 30,000 answers take minutes.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.options import Options
from benchmarks.report import Part, Result
from benchmarks.security import collusion, keys, oracle, stealing

PARTS: dict[str, Callable[[Options], Part]] = {
    "stealing": stealing.measure,
    "oracle": oracle.measure,
    "collusion": collusion.measure,
    "keys": keys.measure,
}


def run(options: Options) -> Result:
    """Every part, or those that the command line names.

    Raises:
        Unavailable: no part of a name given.
    """
    parts = [PARTS[name](options) for name in options.chosen(PARTS)]
    return Result.of("security", parts, seed=options.seed)
