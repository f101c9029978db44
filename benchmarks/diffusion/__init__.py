"""Diffusion: how often a mark in a picture is found, and what it costs.

    python -m benchmarks diffusion [--only found]

Each part is a file here: `measure(options) -> Part`.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.diffusion import (
    channel,
    cost,
    distribution,
    found,
    pixel,
    replay,
    robustness,
    signcode,
    wave,
)
from benchmarks.options import Options
from benchmarks.report import Part, Result

PARTS: dict[str, Callable[[Options], Part]] = {
    "channel": channel.measure,
    "code": signcode.measure,
    "cost": cost.measure,
    "found": found.measure,
    "wave": wave.measure,
    "pixel": pixel.measure,
    "robustness": robustness.measure,
    "replay": replay.measure,
    "distribution": distribution.measure,
}


def run(options: Options) -> Result:
    """Every part, or those that the command line names.

    Raises:
        Unavailable: there is no pipeline, or no part of a name given.
    """
    parts = [PARTS[name](options) for name in options.chosen(PARTS)]
    return Result.of("diffusion", parts, seed=options.seed)
