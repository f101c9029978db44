"""Texts from the trained language model: sampled, marked, and measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.journal import Journal
from benchmarks.options import Options, seeded, weights_sha256
from watermark.keys import KeyRecord
from watermark.pipelines import transformers as adapter
from watermark.tokenizer import TextTokenizer

LENGTH = 200  # new tokens in each sample
BATCH = 40
PROMPTS = (
    "The function returns a",
    "This module provides a simple way to",
    "When the connection is closed, the server",
    "In mathematics, the",
    "If the file does not exist,",
    "The main difference between the two methods is that",
    "Note that this class should not be used when",
    "You may copy and distribute the program",
    "A list of the most common errors",
    "Each row of the matrix",
)
TARGET_NATS, NEAR = 1.0, 0.02  # the search stops well inside the stated 0.1
SEARCH = BATCH  # samples for each temperature that is tried
STEPS = 9


@dataclass(frozen=True)
class Language:
    """A model and its tokenizer.

    Attributes:
        model: a causal transformers model.
        tokenizer: its fast tokenizer, padding on the left.
        reader: the same tokenizer as verification reads text with.
        sha256: of the weights.
        folder: where it lies.
    """

    model: Any
    tokenizer: Any
    reader: TextTokenizer
    sha256: str
    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Language:
        """The model in `folder`.

        Raises:
            Unavailable: there is none.
        """
        digest = weights_sha256(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, padding_side="left"
        )
        return cls(model.eval(), tokenizer, TextTokenizer.of(folder), digest, folder)

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return adapter.vocab_size(self.model)

    def sample(
        self,
        prompts: Sequence[str],
        *,
        temperature: float,
        seed: bytes,
        record: KeyRecord | None = None,
        length: int = LENGTH,
    ) -> Sample:
        """Continue every prompt by `length` tokens from the whole distribution.

        Args:
            prompts: one for each row.
            temperature: of the softmax; no top-k, no nucleus, no early end.
            seed: of the generator that samples.
            record: mark with this key record, or None: unmarked.
            length: new tokens in each row.
        """
        inputs = self.tokenizer(list(prompts), return_tensors="pt", padding=True)
        attachment = None
        if record is not None:
            attachment = adapter.attach(
                self.model, record, lambda records, outputs: None, provider="benchmark"
            )
        with torch.random.fork_rng(), attachment or nullcontext():
            torch.manual_seed(int.from_bytes(seed[:8], "little") >> 1)
            ids = self.model.generate(
                **inputs,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                min_new_tokens=length,
                max_new_tokens=length,
            )
        coverage = [0.0] * len(prompts)
        if attachment is not None:
            coverage = [made.marks[0].coverage for made in attachment.records]
        mask = torch.cat(
            [inputs["attention_mask"], torch.ones_like(ids[:, -length:])], dim=1
        )
        nats = self._nats(ids, mask, length, temperature)
        return Sample(ids[:, -length:].tolist(), nats, coverage)

    @torch.inference_mode()
    def _nats(
        self, ids: torch.Tensor, mask: torch.Tensor, length: int, temperature: float
    ) -> list[float]:
        """Mean entropy of the distribution before any mark, row by row."""
        found = []
        for row, kept in zip(torch.split(ids, 8), torch.split(mask, 8), strict=True):
            positions = (kept.cumsum(1) - 1).clamp(min=0)
            logits = self.model(
                input_ids=row, attention_mask=kept, position_ids=positions
            ).logits[:, -length - 1 : -1]
            logits[..., self.tokenizer.eos_token_id] = -torch.inf  # min_new_tokens
            chances = (logits.float() / temperature).softmax(-1)
            found += torch.special.entr(chances).sum(-1).mean(1).tolist()
        return found


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch: new ids, mean nats a token, and the share that the key chose."""

    ids: list[list[int]]
    nats: list[float]
    coverage: list[float]


def one_nat(
    language: Language, options: Options, journal: Journal
) -> tuple[float, str]:
    """The temperature of 1 nat a token, and where it comes from.

    From ``measured.json`` beside the weights where it is of these weights; else by
    bisection on the mean entropy of what is sampled.
    """
    measured = _measured(language)
    if measured is not None:
        return measured, "measured.json"
    low, high = 0.2, 1.4
    middle = (low + high) / 2
    for _ in range(STEPS):
        nats = _mean_nats(language, middle, options, journal)
        if abs(nats - TARGET_NATS) < NEAR:
            break
        low, high = (middle, high) if nats < TARGET_NATS else (low, middle)
        middle = (low + high) / 2
    return middle, "bisection"


def _measured(language: Language) -> float | None:
    path = language.folder / "measured.json"
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    weights = (language.folder / "model.safetensors").read_bytes()
    if data.get("model_sha256") != hashlib.sha256(weights).hexdigest():
        return None
    return float(data["at_1_nat"]["temperature"])


def _mean_nats(
    language: Language, temperature: float, options: Options, journal: Journal
) -> float:
    name = f"temperature {temperature:.6f}"
    if name not in journal.rows:
        options.say(f"looking for 1 nat a token: {name}")
        prompts = [PROMPTS[i % len(PROMPTS)] for i in range(SEARCH)]
        seed = seeded("temperature", options.seed)
        drawn = language.sample(prompts, temperature=temperature, seed=seed)
        journal.add(name, {"nats": sum(drawn.nats) / len(drawn.nats)})
    return float(journal.rows[name]["nats"])
