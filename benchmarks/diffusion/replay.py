"""Replay: a genuine mark on a forged picture, and whether `verify` tells.

Two forgeries of Mueller et al. 2024 ("Black-box forgery attacks on semantic
watermarks"), both given the generator itself, its autoencoder and one marked picture,
and not the key:

- re-prompted: the marked picture is inverted, and another class is generated from what
  was found for its noise;
- imprinted: a picture that is not marked is bent, by gradient descent on its latents,
  until its inversion is that noise.

Marked by `attach`'s adapter into a ledger, verified by `Watermark.verify` from 8-bit
pixels after each change. A forgery counts where its mark is found: without, it is none.
What flags it is the record's fingerprint (`other-content`), which must let the genuine
pictures pass after the same changes. `likeness.LIMIT` was chosen on other draws.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.diffusion import attacks
from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, seeded_key, weights_sha256
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from watermark import detectors, invert, kernels, schemes, verification
from watermark.api import Watermark
from watermark.assets import fingerprint, likeness
from watermark.invert.latents import Inverter
from watermark.invert.schedules import EARLY_TIME
from watermark.pipelines import diffusers as adapter
from watermark.record import Record
from watermark.report import Verdict
from watermark.schemes import SCHEMES
from watermark.store.leaf import Entry

Pixels = NDArray[np.uint8]
Row = dict[str, Any]

FPR = 1e-6
QUICK, FULL = 20, 50  # steps of generation
ATTACKER_STEPS = 20  # of the forger's inversion
IMPRINT_STEPS, IMPRINT_ROUNDS, IMPRINT_RATE = 2, 40, 0.02  # inversion, Adam
GENUINE, REPROMPTED, IMPRINTED = "genuine", "re-prompted", "imprinted"
KINDS = (GENUINE, REPROMPTED, IMPRINTED)


# What happens to each picture, and the effort that looks for its mark afterwards.
CHANGES: dict[str, tuple[attacks.Attack, str]] = {
    "none": (attacks.none, "normal"),
    "JPEG 50": (attacks.compress(50, "JPEG"), "normal"),
    "resize 0.5 and back": (attacks.resize, "normal"),
    "resize 0.5": (attacks.half, "thorough"),
    "flip": (attacks.flip, "thorough"),
    "crop 75%, centre": (attacks.crop_centre, "thorough"),
    "brightness 1.5": (attacks.brightness, "normal"),
}
DECISIVE = ("none", "JPEG 50", "resize 0.5 and back", "resize 0.5")
MOVED, EVERY = ("flip", "crop 75%, centre"), 8  # one in so many: a search takes seconds
SAME_FRAME = (*DECISIVE, "brightness 1.5")  # whose fingerprints compare as they are


def measure(options: Options) -> Part:
    """Mark, forge, change, verify, count.

    Raises:
        Unavailable: there is no pipeline.
    """
    sha256 = weights_sha256(options.pipeline)
    forged, genuine = options.count(3, 100), options.count(6, 400)
    steps = FULL if options.full else QUICK
    identity = {
        "code": code_version(
            (
                *(detectors, schemes, adapter, invert, kernels, verification),
                *(fingerprint, likeness),
            ),
            *("diffusion/replay.py", "diffusion/attacks.py", "attacks/image.py"),
        ),
        "model": sha256,
        "seed": options.seed,
        "steps": steps,
    }
    counts = {GENUINE: genuine, REPROMPTED: forged, IMPRINTED: forged}
    ids = [f"{kind}/{i}" for kind in KINDS for i in range(counts[kind])]
    with Journal(options.work, "diffusion-replay", identity) as journal:
        missing = journal.missing(ids)
        if missing:
            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(options, steps, Path(folder))
                for name in options.track(missing, "replay"):
                    kind, _, index = name.partition("/")
                    journal.add(name, bench.row(kind, int(index)))
                bench.home.home.ledger.close()
        rows = {
            kind: [journal.rows[f"{kind}/{i}"] for i in range(counts[kind])]
            for kind in KINDS
        }
        new = journal.added
    return Part(
        parameters={
            "genuine": genuine,
            "forgeries of each": forged,
            "steps": steps,
            "model": sha256[:12],
        },
        targets=tuple(_targets(rows)),
        tables=(_verdicts(rows), _distances(rows)),
        notes=(
            "Replay: the forger has the generator and its autoencoder (no surrogates) "
            f"and one marked picture; inversion in {ATTACKER_STEPS} steps, imprinting "
            f"by {IMPRINT_ROUNDS} steps of Adam through {IMPRINT_STEPS} steps of "
            "inversion. Intervals are Clopper-Pearson at 95 %.",
            "A forger who also keeps the coarse look of the marked picture is not "
            "told by its fingerprint.",
        ),
        new=new,
        reused=len(ids) - new,
    )


class Bench:
    """A home whose ledger has what one seeded key marked, and a forger."""

    def __init__(self, options: Options, steps: int, folder: Path) -> None:
        self.pipe = load_pipeline(options.pipeline)
        self.pipe.unet.requires_grad_(False)
        self.inverter = Inverter(self.pipe)
        self.steps, self.seed = steps, options.seed
        self.home = Watermark.create(folder / "home", provider="benchmark")
        self.key_record = SCHEMES["noise"].record(seeded_key("replay", options.seed))
        with torch.inference_mode():
            empty = self.pipe.encode_prompt("", torch.device("cpu"), 1, False)[0]
        self.empty = empty.clone()

    def row(self, kind: str, index: int) -> Row:
        """One picture of a kind, after every change."""
        picture, record = self.marked(index)
        forge = {REPROMPTED: self.reprompted, IMPRINTED: self.imprinted}.get(kind)
        made = picture if forge is None else forge(picture, index)
        found = {}
        for name, (change, effort) in CHANGES.items():
            if name in MOVED and index % EVERY:
                continue
            changed = change(made, index)
            found[name] = self.verified(changed, effort)
            if name in SAME_FRAME:
                found[name]["apart"] = _apart(record.fingerprint, changed)
        return found

    def marked(self, index: int) -> tuple[Pixels, Record]:
        """A picture that the home marked, and its record in the ledger."""

        def sink(records: Sequence[Record], outputs: Sequence[Any]) -> None:
            self.home.home.ledger.append(
                [Entry(event="generated", record=record) for record in records]
            )

        with adapter.attach(
            self.pipe, self.key_record, sink, provider="benchmark"
        ) as attachment:
            picture = self.generate(_class(index), generator=self._draw("own", index))
        return picture, attachment.records[-1]

    def generate(self, label: str, **noise: Any) -> Pixels:
        """A picture of a class, in 8 bits."""
        image = self.pipe(
            PROMPT.format(label), num_inference_steps=self.steps, **noise
        ).images[0]
        return np.asarray(image, dtype=np.uint8)

    def reprompted(self, picture: Pixels, index: int) -> Pixels:
        """Another class from the noise that the picture is inverted to."""
        found = self.inverter.noise(picture, steps=ATTACKER_STEPS)
        latents = torch.from_numpy(found)[None]
        return self.generate(_other(index), latents=latents)

    def imprinted(self, picture: Pixels, index: int) -> Pixels:
        """An unmarked picture of another class, bent towards that noise."""
        cover = self.generate(_other(index), generator=self._draw("cover", index))
        target = torch.from_numpy(self.inverter.noise(picture, steps=ATTACKER_STEPS))
        scale = self.pipe.vae.config.scaling_factor
        start = torch.from_numpy(self.inverter.latents(cover))[None] * scale
        latents = start.clone().requires_grad_()
        descent = torch.optim.Adam([latents], lr=IMPRINT_RATE)
        for _ in range(IMPRINT_ROUNDS):
            descent.zero_grad()
            loss = (self._inverted(latents) - target).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            descent.step()
        with torch.inference_mode():
            decoded = self.pipe.vae.decode(latents.detach() / scale).sample
        image = self.pipe.image_processor.postprocess(decoded)[0]
        return np.asarray(image, dtype=np.uint8)

    def _inverted(self, latents: torch.Tensor) -> torch.Tensor:
        """As `Inverter.noise` of a DDIM pipeline, with its gradient."""
        signal = self.pipe.scheduler.alphas_cumprod
        below, low = signal[0], 0
        for step in range(IMPRINT_STEPS):
            high = len(signal) * (step + 1) // IMPRINT_STEPS - 1
            asked = low + EARLY_TIME * (high - low)
            noise = self.pipe.unet(
                latents, asked, encoder_hidden_states=self.empty
            ).sample
            above = signal[high]
            clean = (latents - (1 - below).sqrt() * noise) / below.sqrt()
            latents = above.sqrt() * clean + (1 - above).sqrt() * noise
            below, low = above, high
        return latents

    def verified(self, pixels: Pixels, effort: str) -> Row:
        """Whether the mark is found, and whether the picture is called forged."""
        report = self.home.verify(
            Image.fromarray(pixels),
            pipeline=self.inverter,
            keys=self.key_record,
            effort=effort,
        )
        (mark,) = (e for e in report.evidence if e.layer == "mark")
        p = mark.log10_p if mark.log10_p is not None else 0.0
        codes = {reason.code for reason in report.reasons}
        return {
            "found": p <= math.log10(FPR),
            "read": mark.payload is not None,
            "flagged": report.verdict == Verdict.CONFLICT and "other-content" in codes,
        }

    def _draw(self, *name: object) -> torch.Generator:
        start = int.from_bytes(seeded("replay", self.seed, *name)[:8], "little") >> 1
        return torch.Generator().manual_seed(start)


def _apart(kept: bytes, pixels: Pixels) -> float | None:
    """None where too much of a picture that looks different is clipped to tell."""
    try:
        return likeness.distance(kept, pixels)
    except ValueError:
        return None


def _class(index: int) -> str:
    return CLASSES[index % len(CLASSES)]


def _other(index: int) -> str:
    """The class of a forgery: each of the others in turn."""
    further = 1 + index // len(CLASSES) % (len(CLASSES) - 1)
    return _class(index + further)


def _flagged(rows: Sequence[Row], change: str) -> Rate:
    """Of pictures that carry the mark."""
    found = [row[change] for row in rows if change in row and row[change]["found"]]
    return Rate(sum(one["flagged"] for one in found), len(found))


def _targets(rows: dict[str, list[Row]]) -> list[Target]:
    targets = [
        Target.of_rate(
            f"replay, {change}: {kind} forgeries flagged",
            _flagged(rows[kind], change),
            0.95,
        )
        for kind in (REPROMPTED, IMPRINTED)
        for change in DECISIVE
    ]
    for change in DECISIVE:
        rate = _flagged(rows[GENUINE], change)
        targets.append(
            Target(
                name=f"replay, {change}: false CONFLICT of genuine pictures",
                target="<= 0.01",
                measured=rate.value if rate.n else None,
                reached=rate.value <= 0.01 if rate.n else None,
                interval=rate.interval(),
                note=f"{rate.hits} of {rate.n}",
            )
        )
    return targets


def _verdicts(rows: dict[str, list[Row]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for change in CHANGES:
        for kind in KINDS:
            seen = [row[change] for row in rows[kind] if change in row]
            found, read = (
                Rate(sum(one[what] for one in seen), len(seen))
                for what in ("found", "read")
            )
            flagged = _flagged(rows[kind], change)
            shown.append((change, kind, str(found), str(read), str(flagged)))
    columns = ("change", "picture", "mark found at 1e-6", "mark id read", "CONFLICT")
    note = "CONFLICT: other-content, of those whose mark is found."
    return Table("Replayed marks", columns, tuple(shown), note)


def _distances(rows: dict[str, list[Row]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for change in SAME_FRAME:
        for kind in KINDS:
            told = [row[change]["apart"] for row in rows[kind]]
            apart = [each for each in told if each is not None]
            spread: tuple[Cell, ...] = (None, None, None)
            if apart:
                spread = min(apart), statistics.median(apart), max(apart)
            shown.append((change, kind, *spread, len(told) - len(apart)))
    columns = ("change", "picture", "least", "median", "most", "not told")
    note = (
        f"In grey levels; more than {likeness.LIMIT:g} is other content. Not told: "
        "looks different, and nearly all of it is partly black or white."
    )
    return Table("Distances to the record's fingerprint", columns, tuple(shown), note)
