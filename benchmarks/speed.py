"""Speed: what marking and detecting cost, ours and the peers' in the same run.

    python -m benchmarks speed

One thread, and its processor time: medians of rounds in which every case runs once. On
a busy machine the ratios mean more than the times.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import speed_text
from benchmarks.options import Options, seeded_key
from benchmarks.report import Result, Table, Target
from benchmarks.timing import compare
from watermark.detectors import noise as noise_detector
from watermark.keys import KeyRecord
from watermark.schemes import SCHEMES, noise

SHAPES = ((4, 32, 32), (4, 64, 64), (16, 64, 64))
MARKED = (4, 64, 64)  # of a 512 x 512 picture


def run(options: Options) -> Result:
    """Measure everything that has a time."""
    targets: list[Target] = []
    tables: list[Table] = []
    with options.threading(1):
        for part in (speed_text.embedding, speed_text.detection, image, importing):
            more, shown = part(options)
            targets += more
            tables += shown
    return Result(
        name="speed",
        parameters={"threads": 1, "seed": options.seed, "vocabulary": speed_text.VOCAB},
        targets=tuple(targets),
        tables=tuple(tables),
        notes=(
            "Processor time of one thread (the import: wall time). Ratios are of "
            "medians of the same run; quartiles show the noise.",
        ),
    )


def image(options: Options) -> tuple[list[Target], list[Table]]:
    """Marking one latent, and searching one for its nonce and mark id."""
    rounds = options.count(5, 21)
    record = SCHEMES["noise"].record(seeded_key(options.seed))
    generator = np.random.default_rng(options.seed)
    cases: dict[str, Callable[[], object]] = {}
    for shape in SHAPES:
        z = generator.standard_normal(shape).astype(np.float32)
        warm = noise.Code(record, shape)
        name = "x".join(map(str, shape))
        cases[f"mark {name}, warm code"] = partial(noise.mark, z, warm)
        cases[f"mark {name}, new code"] = partial(_mark_cold, z, record)
        cases[f"find {name}, 2^20 nonces"] = partial(noise_detector.score, z, warm)
    times = compare(cases, options.track(range(rounds), "image"))
    name = "x".join(map(str, MARKED))
    targets = [
        Target.at_most(
            f"noise mark at {name}, warm code: ms",
            times[f"mark {name}, warm code"].median * 1e3,
            2.0,
            f"new code {times[f'mark {name}, new code'].median * 1e3:.3g} ms",
        )
    ]
    rows = tuple(
        (case, t.median * 1e3, t.low * 1e3, t.high * 1e3) for case, t in times.items()
    )
    columns = ("step", "median ms", "lower quartile", "upper quartile")
    note = "Without the model: inversion comes on top of finding."
    return targets, [Table("Marking and finding latents", columns, rows, note)]


def _mark_cold(z: NDArray[np.float32], record: KeyRecord) -> object:
    return noise.mark(z, noise.Code(record, z.shape))


def importing(options: Options) -> tuple[list[Target], list[Table]]:
    """The seconds that ``import watermark`` adds to the start of Python."""
    seconds: dict[str, list[float]] = {"pass": [], "import watermark": []}
    for _ in options.track(range(options.count(5, 15)), "import"):
        for code, found in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            found.append(time.perf_counter() - start)
    bare, ours = (statistics.median(found) for found in seconds.values())
    return [Target.at_most("import watermark: s", ours - bare, 0.3)], []
