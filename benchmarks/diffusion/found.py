"""How often a picture's mark is found, clean and after JPEG.

Marked by `Watermark.attach` in a home made for the run, verified by `Watermark.verify`
from 8-bit pixels, with the pipeline's own default guidance and steps.
"""

from __future__ import annotations

import io
import math
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, weights_sha256
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from watermark import detectors, invert, kernels, schemes, verification
from watermark.api import Watermark
from watermark.invert.latents import Inverter
from watermark.keys import KeyRecord
from watermark.pipelines import diffusers as adapter
from watermark.report import Report
from watermark.schemes import noise

FPR = 1e-6
CLASSES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)
PROMPT = "a photo of a {}"
QUALITY = 75  # of JPEG
ROUTES = ("unattacked", f"JPEG {QUALITY}")


@dataclass
class Looking:
    """An inverter that remembers what each look at a picture saw."""

    inverter: Inverter
    looks: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def latents(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Inverter.latents`."""
        return self.inverter.latents(pixels)

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        """As `Inverter.noise`."""
        found = self.inverter.noise(pixels, steps=steps, rounds=rounds)
        self.looks[steps] = found
        return found


def measure(options: Options) -> Part:
    """Generate, attack, verify, count.

    Raises:
        Unavailable: there is no pipeline.
    """
    sha256 = weights_sha256(options.pipeline)
    count = options.count(10, 100)
    identity = {
        "code": code_version(
            (detectors, schemes, adapter, invert, kernels), "diffusion/found.py"
        ),
        "looks": [list(look) for look in verification.LOOKS["normal"]],
        "model": sha256,
        "seed": options.seed,
    }
    ids = [f"image/{i}" for i in range(count)]
    with Journal(options.work, "diffusion", identity) as journal:
        missing = journal.missing(ids)
        if missing:
            _make(missing, options, journal)
        rows = [journal.rows[name] for name in ids]
        new = journal.added
    return Part(
        parameters={
            "images": count,
            "prompts": len(CLASSES),
            "looks": ", ".join(str(s) for s, _ in verification.LOOKS["normal"]),
            "model": sha256[:12],
        },
        targets=tuple(_targets(rows)),
        tables=(_found(rows), _looks(rows)),
        notes=(
            f"Found: adjusted p at most {FPR:g}, with one key, every nonce, mark id "
            "and look counted. Inversion knows no prompt and guidance 1.",
            "rho: correlation of the noise found with the noise used; signs: share of "
            "equal signs. Intervals are Clopper-Pearson at 95 %.",
        ),
        new=new,
        reused=count - new,
    )


def load_pipeline(folder: Path) -> Any:
    """The pipeline in `folder`, silent."""
    from diffusers import DiffusionPipeline

    pipe: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _make(missing: list[str], options: Options, journal: Journal) -> None:
    pipe = load_pipeline(options.pipeline)
    with tempfile.TemporaryDirectory() as folder:
        home = Watermark.create(Path(folder) / "home", provider="benchmark")
        for name in options.track(missing, "diffusion"):
            index = int(name.partition("/")[2])
            journal.add(name, _one(home, pipe, index, options.seed))
        home.home.ledger.close()


def _one(home: Watermark, pipe: Any, index: int, seed: int) -> dict[str, Any]:
    """One picture: generated with a mark, and verified along every route."""
    start = int.from_bytes(seeded("image", seed, index)[:8], "little") >> 1
    prompt = PROMPT.format(CLASSES[index % len(CLASSES)])
    with home.attach(pipe) as attachment:
        picture = pipe(prompt, generator=torch.Generator().manual_seed(start)).images[0]
    mark = attachment.records[0].marks[0]
    row: dict[str, Any] = {"prompt": prompt}
    for route, seen in zip(ROUTES, (picture, _jpeg(picture)), strict=True):
        looking = Looking(Inverter(pipe))
        row[route] = _verified(home, looking, seen, mark.mark_id)
        shape = next(iter(looking.looks.values())).shape
        true = _true_noise(start, shape, attachment.key_record, mark.mark_id)
        row[route]["looks"] = {
            str(steps): _agreement(true, found)
            for steps, found in looking.looks.items()
        }
    return row


def _true_noise(
    seed: int, shape: tuple[int, ...], record: KeyRecord, mark_id: bytes
) -> NDArray[np.float32]:
    """The marked noise that the picture was made from, drawn again.

    Raises:
        RuntimeError: it is not the noise that the ledger's record names.
    """
    drawn = torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))[0]
    marked, _, own = noise.mark(drawn.numpy(), noise.Code(record, shape))
    if own != mark_id:
        raise RuntimeError("the noise drawn again is not the noise that was marked")
    return np.asarray(marked, dtype=np.float32)


def _jpeg(picture: Image.Image) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY)
    data.seek(0)
    return Image.open(data).convert("RGB")


def _verified(
    home: Watermark, looking: Looking, picture: Image.Image, mark_id: bytes
) -> dict[str, Any]:
    report: Report = home.verify(picture, pipeline=looking)
    marks = [e for e in report.evidence if e.layer == "mark" and e.scheme == "noise"]
    if not marks:
        raise RuntimeError(f"the picture was not looked at: {report}")
    best = min(marks, key=lambda evidence: evidence.log10_p or 0.0)
    p = best.log10_p if best.log10_p is not None else 0.0
    return {
        "log10_p": p,
        "decided": list(looking.looks)[-1] if p <= math.log10(FPR) else None,
        "id": best.payload == mark_id,
        "wrong_id": best.payload is not None and best.payload != mark_id,
    }


def _agreement(true: NDArray[np.float32], seen: NDArray[np.float32]) -> list[float]:
    """(correlation, share of equal signs)."""
    rho = float(np.corrcoef(true.reshape(-1), seen.reshape(-1))[0, 1])
    return [rho, float(np.mean(np.signbit(true) == np.signbit(seen)))]


def _rate(rows: list[dict[str, Any]], route: str) -> Rate:
    return Rate(sum(r[route]["decided"] is not None for r in rows), len(rows))


def _targets(rows: list[dict[str, Any]]) -> list[Target]:
    return [
        Target.of_rate(f"{route}: found at 1e-6", _rate(rows, route), least)
        for route, least in zip(ROUTES, (0.99, 0.9), strict=True)
    ]


def _found(rows: list[dict[str, Any]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for route in ROUTES:
        seen = [row[route] for row in rows]
        shown.append(
            (
                route,
                str(_rate(rows, route)),
                str(Rate(sum(s["id"] for s in seen), len(seen))),
                sum(s["wrong_id"] for s in seen),
                statistics.median(s["log10_p"] for s in seen),
            )
        )
    columns = ("route", "found", "mark id exact", "wrong ids", "median log10 p")
    return Table("Found at 1e-6", columns, tuple(shown))


def _looks(rows: list[dict[str, Any]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for route in ROUTES:
        for steps, _ in verification.LOOKS["normal"]:
            seen = [r[route]["looks"].get(str(steps)) for r in rows]
            looked = [pair for pair in seen if pair is not None]
            decided = sum(r[route]["decided"] == steps for r in rows)
            if looked:
                rho, signs = (statistics.fmean(v) for v in zip(*looked, strict=True))
                least = min(pair[0] for pair in looked)
                shown.append((route, steps, len(looked), decided, rho, least, signs))
    columns = ("route", "steps", "looked", "decided", "rho", "least rho", "signs")
    note = "A later look is taken only where no earlier one decided."
    return Table("Looks", columns, tuple(shown), note)
