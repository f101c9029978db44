"""What both training stages share: photographs, a resumable loop, checkpoints.

A stage runs until its budget of minutes is spent, not for a number of steps: minutes
of the processor, which other work on the machine does not shorten, or of the clock
where a GPU does the work. Step ``k`` draws everything random
from a generator seeded by ``(seed, k)``, so a resumed run sees what an unbroken one
would have seen. Checkpoints are safetensors and JSON, never pickles.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SIZE = 128  # pixels on each side
LOG_SECONDS = 60.0
CHECKPOINT_SECONDS = 240.0
WARMUP_STEPS = 200
FIRST_MINUTES = 5.0

Losses = Callable[[torch.Generator, float], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Photos:
    """Photographs as bytes (count, 3, SIZE, SIZE), with the class name of each."""

    pixels: Tensor
    names: list[str]

    def batch(self, index: Tensor | slice, device: torch.device) -> Tensor:
        """The photographs at ``index`` as floats in [-1, 1]."""
        return self.pixels[index].to(device).float() / 127.5 - 1


def load_photos(folder: Path, work: Path) -> Photos:
    """Every ``NNNN-class.jpg`` of ``folder`` at SIZE x SIZE, cached in ``work``."""
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise FileNotFoundError(f"no *.jpg in {folder}; pass --data DIR")
    names = [path.stem.split("-", 1)[1] for path in paths]
    cache = work / "photos.safetensors"
    if not cache.exists():
        pixels = torch.stack([_read(path) for path in paths])
        write_tensors({"pixels": pixels}, cache)
    return Photos(load_file(cache)["pixels"], names)


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Save tensors so that a reader sees the old file or the new, never a part."""
    part = path.with_suffix(".part")
    whole = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(whole, part)
    os.replace(part, path)


def write_json(value: object, path: Path) -> None:
    """Save JSON so that a reader sees the old file or the new, never a part."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


@dataclass
class Stage:
    """One network on its way: weights, moving average, optimiser, history."""

    name: str
    module: nn.Module
    work: Path
    minutes: float
    rate: float
    seed: int
    decay: float = 0.0  # of the moving average; 0 keeps none
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    average: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the optimiser, then take up the last checkpoint if there is one."""
        self.optimiser = torch.optim.AdamW(
            self.module.parameters(),
            lr=self.rate,
            betas=(0.9, 0.99),
            weight_decay=1e-3,
            fused=True,
        )
        if self.decay:
            state = self.module.state_dict()
            self.average = {k: v.detach().clone() for k, v in state.items()}
        if self._path(".json").exists():
            self._restore()

    @property
    def done(self) -> bool:
        """Whether the budget of minutes is spent."""
        return self.seconds >= 60 * self.minutes

    @property
    def fraction(self) -> float:
        """How much of the budget is spent, from 0 to 1."""
        return min(1.0, self.seconds / (60 * self.minutes)) if self.minutes else 1.0

    def fit(
        self,
        losses: Losses,
        *,
        device: torch.device,
        every: Callable[[], None] | None = None,
        every_minutes: float = 20.0,
    ) -> None:
        """Train until the budget is spent; call ``every`` now and then and at the end.

        The first call comes after five minutes, so that there is something early.

        ``losses(generator, fraction)`` returns named scalars; "loss" is minimised.
        """
        if self.done and every:
            every()
        self.module.train()
        bfloat = torch.autocast(device.type, torch.bfloat16)  # 1.6x on this CPU
        sums: dict[str, float] = {}
        count = 0
        clock = time.process_time if device.type == "cpu" else time.monotonic
        logged = saved = called = self.seconds
        if not self.step:
            called -= 60 * (every_minutes - FIRST_MINUTES)
        with _bar(self.name) as advance:
            while not self.done:
                start = clock()
                with bfloat:
                    parts = losses(self._generator(), self.fraction)
                self._update(parts["loss"])
                self.step += 1
                count += 1
                for key, value in parts.items():
                    sums[key] = sums.get(key, 0.0) + float(value.detach())
                self.seconds += clock() - start
                means = {key: value / count for key, value in sums.items()}
                advance(self, means)
                if self.seconds - logged >= LOG_SECONDS or self.done:
                    self.history.append(
                        {"step": self.step, "seconds": self.seconds, **means}
                    )
                    sums, count, logged = {}, 0, self.seconds
                if self.seconds - saved >= CHECKPOINT_SECONDS or self.done:
                    self.save()
                    saved = self.seconds
                if every and (self.seconds - called >= 60 * every_minutes or self.done):
                    every()
                    self.module.train()
                    called = self.seconds

    def save(self) -> None:
        """Write weights, moving average, optimiser and history."""
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
        write_tensors(tensors, self._path(".safetensors"))
        facts = {"step": self.step, "seconds": self.seconds, "history": self.history}
        write_json(facts, self._path(".json"))

    def averaged(self) -> dict[str, Tensor]:
        """The weights to use: the moving average if kept, else the last ones."""
        return self.average or self.module.state_dict()

    def _path(self, suffix: str) -> Path:
        return self.work / f"{self.name}{suffix}"

    def _restore(self) -> None:
        facts = json.loads(self._path(".json").read_text())
        self.step, self.seconds = facts["step"], facts["seconds"]
        self.history = facts["history"]
        tensors = load_file(self._path(".safetensors"))
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            group, _, rest = key.partition(".")
            groups.setdefault(group, {})[rest] = value
        self.module.load_state_dict(groups["module"])
        for key, value in groups.get("average", {}).items():
            self.average[key].copy_(value)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in groups.get("optimiser", {}).items():
            index, _, rest = key.partition(".")
            state.setdefault(int(index), {})[rest] = value
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**whole, "state": state})

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)

    def _update(self, loss: Tensor) -> None:
        warm = min(1.0, (self.step + 1) / WARMUP_STEPS)
        cosine = 0.5 * (1 + math.cos(math.pi * self.fraction))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * (0.02 + 0.98 * cosine)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimiser.step()
        # Short memory at first, so that the average does not hold the random start.
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for key, value in self.module.state_dict().items():
            if key in self.average:
                self.average[key].lerp_(value.detach(), 1 - decay)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Stage, Mapping[str, float]], None]]:
    """A progress bar on a terminal; a line every five minutes in a log file."""
    console = Console(width=None if os.isatty(1) else 110)
    columns = (TextColumn(name), BarColumn(), TimeElapsedColumn())
    last = time.monotonic()
    with Progress(
        *columns,
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=1.0, note="")

        def advance(stage: Stage, means: Mapping[str, float]) -> None:
            nonlocal last
            note = f"step {stage.step}  "
            note += "  ".join(f"{key} {value:.4f}" for key, value in means.items())
            progress.update(task, completed=stage.fraction, note=note)
            if not console.is_terminal and (
                time.monotonic() - last > 5 * LOG_SECONDS or stage.done
            ):
                console.log(f"{name} {stage.fraction:4.0%} {note}", highlight=False)
                last = time.monotonic()

        yield advance
