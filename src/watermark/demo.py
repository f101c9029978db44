"""`wm demo`: the main job from end to end, on the small models of the checkout.

A text and a picture are marked while they are generated, signed, entered in a ledger,
saved and verified; then their metadata is taken away, as any website does, and they are
verified again. Everything is written below one folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from watermark.api import Watermark
from watermark.errors import HomeError, MissingDependency
from watermark.report import Report

PROMPT_TEXT = "This module provides"
PROMPT_IMAGE = "a photo of a dress"
TOKENS = 200
SEED = 2026
FOUND = -6.0  # log10 of the threshold that verification has by default


@dataclass(frozen=True, slots=True)
class Result:
    """What verification said of one file."""

    medium: str
    when: str
    path: Path
    report: Report

    @property
    def log10_p(self) -> float | None:
        """The smallest adjusted log10 p of any mark."""
        found = [e.log10_p for e in self.report.evidence if e.log10_p is not None]
        return min(found) if found else None


def run(folder: Path, models: Path) -> int:
    """Run the demonstration; 0 if everything was found again.

    Args:
        folder: where everything is written; an earlier demonstration is replaced.
        models: the folder of the small models, `benchmarks/models` of a checkout.

    Raises:
        HomeError: `folder` holds something else, or `models` holds no models.
        MissingDependency: torch, transformers or diffusers is missing.
    """
    console = Console()
    _prepare(folder, models)
    w = Watermark.create(folder / "home", provider="Acme")
    console.print(f"home      {folder / 'home'}  key {w.home.ring.newest.key.kid}")
    results = [*_text(w, folder, models, console), *_image(w, folder, models, console)]
    checked = w.home.ledger.verify()
    console.print(_table(results))
    console.print(f"ledger    {checked.size} entries, every hash and signature checked")
    rows = [
        {
            "medium": r.medium,
            "when": r.when,
            "file": str(r.path),
            "verdict": str(r.report.verdict),
            "log10_p": r.log10_p,
            "record_ids": list(r.report.record_ids),
        }
        for r in results
    ]
    report = folder / "report.json"
    report.write_text(
        json.dumps({"schema": "watermark.demo/1", "results": rows}, indent=1)
    )
    console.print(f"report    {report}")
    return 0 if all(str(r.report.verdict) == "MARKED" for r in results) else 1


def _prepare(folder: Path, models: Path) -> None:
    for name in ("lm", "diffusion"):
        if not (models / name).is_dir():
            raise HomeError(
                f"no model at {models / name}: run this in a checkout, or pass --models"
            )
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "home" / "home.toml").exists():
            raise HomeError(f"{folder} holds other files: choose another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _text(
    w: Watermark, folder: Path, models: Path, console: Console
) -> Iterator[Result]:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependency(error.name or "transformers", "text") from error
    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(models / "lm")
        model = AutoModelForCausalLM.from_pretrained(models / "lm").eval()
    torch.manual_seed(SEED)
    inputs = tokenizer(PROMPT_TEXT, return_tensors="pt")
    with w.attach(model, tokenizer=tokenizer) as mark, console.status("text ..."):
        ids = model.generate(
            **inputs, do_sample=True, temperature=0.7, max_new_tokens=TOKENS
        )
    text = tokenizer.decode(ids[0], skip_special_tokens=True)
    path = w.embed(text).save(folder / "text.txt")
    console.print(f"text      {path} and its manifest, record {_records(mark)}")
    yield Result("text", "as published", path, w.verify(path))
    bare = folder / "stripped" / "text.txt"
    bare.parent.mkdir()
    # Without the manifest beside it, and without the first words: no digest matches.
    bare.write_text(text[len(PROMPT_TEXT) :].strip(), encoding="utf-8")
    yield Result("text", "metadata stripped", bare, w.verify(bare))


def _image(
    w: Watermark, folder: Path, models: Path, console: Console
) -> Iterator[Result]:
    try:
        import torch
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise MissingDependency(error.name or "diffusers", "diffusion") from error
    from PIL import Image

    with _quiet():
        pipe = DiffusionPipeline.from_pretrained(models / "diffusion")
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(SEED)
    with w.attach(pipe) as mark, console.status("image ..."):
        image = pipe(PROMPT_IMAGE, generator=generator).images[0]
    path = w.embed(image).save(folder / "image.png")
    console.print(f"image     {path}, record {_records(mark)}")
    with console.status("inverting ..."):
        yield Result("image", "as published", path, w.verify(path, pipeline=pipe))
    bare = folder / "stripped" / "image.jpg"
    with Image.open(path) as picture:  # compressed again, as an upload would be
        picture.convert("RGB").save(bare, quality=90)
    with console.status("inverting ..."):
        yield Result("image", "metadata stripped", bare, w.verify(bare, pipeline=pipe))


def _records(mark: Any) -> str:
    return ", ".join(record.record_id for record in mark.records)


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading bars and advice of the model libraries would bury the result."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    yield


def _table(results: list[Result]) -> Table:
    table = Table("file", "verdict", "layer", "what it says", "log10 p")
    for result in results:
        first = True
        for e in result.report.evidence:
            if e.log10_p is not None and e.log10_p > -1:
                continue  # another scheme's test, which found nothing
            weak = e.log10_p is not None and e.log10_p > FOUND
            said = e.state or ("too weak to tell" if weak else "found")
            if e.payload:
                said += f", mark id {e.payload.hex()[:8]}..."
            if e.layer != "mark" and e.record_ids:
                said += f", record {e.record_ids[0][:8]}..."
            if e.layer == "manifest" and e.key_id:
                said += f", by {e.key_id}"
            p = "" if e.log10_p is None else f"{e.log10_p:.1f}"
            table.add_row(
                f"{result.medium}, {result.when}" if first else "",
                str(result.report.verdict) if first else "",
                f"{e.layer} {e.scheme}".strip(),
                said,
                p,
            )
            first = False
        table.add_section()
    return table
