"""Texts from the trained language model: sampled, marked, and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    NoRepeatNGramLogitsProcessor,
)

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
NEAR = 0.01  # nats; the search stops well inside the stated 0.1
SEARCH = 4 * BATCH  # samples for each setting that is tried
STEPS = 8


@dataclass(frozen=True, slots=True)
class Sampling:
    """One setting of `generate`.

    Attributes:
        temperature: of the softmax.
        top_p: nucleus.
        no_repeat: no run of this many tokens comes twice (`no_repeat_ngram_size`);
            0: it may.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    no_repeat: int = 0

    def __str__(self) -> str:
        said = f"temperature {self.temperature:.4g}, top-p {self.top_p:.4g}"
        return said + f", no {self.no_repeat} tokens twice" * bool(self.no_repeat)


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
        sampling: Sampling,
        seed: bytes,
        record: KeyRecord | None = None,
        length: int = LENGTH,
        **more: Any,
    ) -> Sample:
        """Continue every prompt by `length` tokens: no top-k, no early end.

        Args:
            prompts: one for each row.
            sampling: temperature and nucleus.
            seed: of the generator that samples.
            record: mark with this key record, or None: unmarked.
            length: new tokens in each row.
            more: for `generate`, such as another `watermarking_config`.
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
                temperature=sampling.temperature,
                top_k=0,
                top_p=sampling.top_p,
                no_repeat_ngram_size=sampling.no_repeat,
                min_new_tokens=length,
                max_new_tokens=length,
                **more,
            )
        coverage, messages = [0.0] * len(prompts), [b""] * len(prompts)
        if attachment is not None:
            marks = [made.marks[0] for made in attachment.records]
            coverage = [mark.coverage for mark in marks]
            messages = [mark.mark_id for mark in marks]
        mask = torch.cat(
            [inputs["attention_mask"], torch.ones_like(ids[:, -length:])], dim=1
        )
        nats = self._nats(ids, mask, length, sampling)
        return Sample(ids[:, -length:].tolist(), nats, coverage, messages)

    @torch.inference_mode()
    def _nats(
        self, ids: torch.Tensor, mask: torch.Tensor, length: int, sampling: Sampling
    ) -> list[float]:
        """Mean entropy before any mark over the first `LENGTH` tokens, row by row."""
        found = []
        for row, kept in zip(torch.split(ids, 8), torch.split(mask, 8), strict=True):
            positions = (kept.cumsum(1) - 1).clamp(min=0)
            logits = self.model(
                input_ids=row, attention_mask=kept, position_ids=positions
            ).logits[:, -length - 1 : -1]
            logits[..., self.tokenizer.eos_token_id] = -torch.inf  # min_new_tokens
            if sampling.no_repeat:
                banned = NoRepeatNGramLogitsProcessor(sampling.no_repeat)
                for i in range(length):
                    before = row[:, : row.shape[1] - length + i]
                    logits[:, i] = banned(before, logits[:, i])
            chances = nucleus(
                (logits.float() / sampling.temperature).softmax(-1), sampling
            )
            found += torch.special.entr(chances).sum(-1)[:, :LENGTH].mean(1).tolist()
        return found


def nucleus(chances: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Chances cut to the nucleus, as transformers cuts them, and made to sum to one."""
    if sampling.top_p >= 1:
        return chances
    order = chances.sort(-1)
    below = order.values.cumsum(-1) <= 1 - sampling.top_p
    below[..., -1] = False
    kept = chances.masked_fill(below.scatter(-1, order.indices, below), 0.0)
    return kept / kept.sum(-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch.

    Attributes:
        ids: new tokens.
        nats: mean entropy of the first `LENGTH` tokens' distributions, unmarked.
        coverage: share of the tokens that the key chose.
        messages: mark ids.
    """

    ids: list[list[int]]
    nats: list[float]
    coverage: list[float]
    messages: list[bytes]


def sampling_at(
    language: Language,
    nats: float,
    options: Options,
    journal: Journal,
    *,
    no_repeat: int = 0,
) -> Sampling:
    """The setting of `nats` a token: temperature 1, and the nucleus that gives it.

    By bisection on the mean entropy of 200-token samples of `PROMPTS`. A nucleus and
    not a temperature: a small model below temperature 1 runs in circles. Where the
    whole vocabulary has less entropy than that, the temperature rises instead.
    """

    def mean(sampling: Sampling) -> float:
        return _mean_nats(language, sampling, options, journal)

    if mean(Sampling(no_repeat=no_repeat)) < nats:
        return _bisected(
            lambda t: Sampling(t, no_repeat=no_repeat), mean, (1.0, 3.0), nats
        )
    return _bisected(lambda p: Sampling(1.0, p, no_repeat), mean, (0.1, 1.0), nats)


def _bisected(
    setting: Callable[[float], Sampling],
    mean: Callable[[Sampling], float],
    ends: tuple[float, float],
    nats: float,
) -> Sampling:
    low, high = ends
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = mean(setting(middle))
        if abs(found - nats) < NEAR:
            break
        low, high = (middle, high) if found < nats else (low, middle)
    return setting(middle)


def _mean_nats(
    language: Language, sampling: Sampling, options: Options, journal: Journal
) -> float:
    name = f"sampling {sampling.temperature:.6f} {sampling.top_p} {sampling.no_repeat}"
    if name not in journal.rows:
        options.say(f"looking for a mean entropy: {name}")
        prompts = [PROMPTS[i % len(PROMPTS)] for i in range(BATCH)]
        nats: list[float] = []
        for i in range(SEARCH // BATCH):
            seed = seeded("sampling", options.seed, i)
            nats += language.sample(prompts, sampling=sampling, seed=seed).nats
        journal.add(name, {"nats": sum(nats) / len(nats)})
    return float(journal.rows[name]["nats"])
