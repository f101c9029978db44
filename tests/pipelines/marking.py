"""A tiny language model, a key record, and what an attachment reported of them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from tests.pipelines import tiny

from watermark.keys import Key, KeyRecord
from watermark.pipelines import transformers as host
from watermark.record import Record
from watermark.schemes import SCHEMES

VOCAB = 1000
# No row ends early by chance: a few tokens show no mark.
SAMPLE: dict[str, Any] = {
    "do_sample": True,
    "max_new_tokens": 70,
    "min_new_tokens": 70,
}
PROMPT = 6


@dataclass
class Case:
    model: Any
    record: KeyRecord
    records: list[Record] = field(default_factory=list)

    def sink(self, records: Sequence[Record], outputs: Sequence[Any]) -> None:
        self.records.extend(records)

    def attach(self, **more: Any) -> Any:
        return host.attach(self.model, self.record, self.sink, provider="Acme", **more)

    def score(self, row: torch.Tensor | Sequence[int]) -> Any:
        ids = row.tolist() if isinstance(row, torch.Tensor) else list(row)
        detector = import_module(f"watermark.detectors.{self.record.scheme}")
        return detector.score(ids, self.record)

    def p(self, row: torch.Tensor | Sequence[int]) -> float:
        """log10 of the p-value of one output."""
        return float(self.score(row).log10_p())


def case(scheme: str = "gumbel", *, seed: str = "", **parameters: Any) -> Case:
    """Under a new key; with a seed, under one key for ever."""
    key = Key(hashlib.sha256(seed.encode()).digest()) if seed else Key.generate()
    record = SCHEMES[scheme].record(key, vocab_size=VOCAB, **parameters)
    return Case(tiny.language_model(VOCAB), record)


def prompt(rows: int = 2) -> dict[str, torch.Tensor]:
    """Left-padded, as a batch of prompts of different lengths is."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCAB, (rows, PROMPT), generator=generator)
    mask = torch.ones_like(ids)
    if rows > 1:
        ids[0, :3], mask[0, :3] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def assistant(model: Any, noise: float = 0.02) -> Any:
    """A model that says nearly what `model` says."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in other.parameters():
            change = torch.randn(weight.shape, generator=generator)
            weight += noise * weight.std() * change
    return other
