"""transformers' KGW on any source of tokens, told at a realised error rate.

Its own p-values are a normal approximation; here a text's z is held against those of
unmarked texts of the same source under random keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from benchmarks import sources
from benchmarks.journal import code_version
from benchmarks.language import BATCH
from benchmarks.options import seeded
from benchmarks.text.foreign import Kgw
from benchmarks.text.samples import Sampler, Set, Text

KGW = Kgw("HF KGW")
GAMMA = KGW.gamma
FILES = ("text/kgw.py", "text/foreign.py")  # they decide a sample


def key(*parts: object) -> int:
    """A hashing key that depends on `parts` alone."""
    return int.from_bytes(seeded("kgw", *parts)[:4], "little")


def config(hashing_key: int, bias: float) -> Any:
    """For `generate(watermarking_config=...)`: its defaults but for key and bias."""
    made = KGW.config(hashing_key)
    made.bias = bias
    return made


def texts(sampler: Sampler, part: Set, bias: float, count: int) -> list[Text]:
    """`count` marked samples, kept in the sampler's journal; see `batch_key`."""
    sampling = sampler.sampling(part)
    version = f"{code_version((), *FILES)}, transformers {transformers.__version__}"
    stem = f"KGW {bias:g}/{version}/{part}/{sampling.temperature:.4f}"
    stem += f"/{sampling.top_p:g}"
    names = [f"{stem}/{i}" for i in range(count)]
    missing = [names.index(n) for n in sampler.journal.missing(names)]
    batches = sorted({i // BATCH for i in missing})
    for batch in sampler.options.track(batches, part.name) if batches else ():
        places = [i for i in missing if i // BATCH == batch]
        drawn = sampler.language.sample(
            [part.prompts[i % len(part.prompts)] for i in places],
            sampling=sampling,
            seed=seeded("sample", sampler.options.seed, part.name, places[0]),
            length=part.length,
            watermarking_config=config(batch_key(sampler, part, batch), bias),
        )
        for i, ids, nats in zip(places, drawn.ids, drawn.nats, strict=True):
            sampler.journal.add(names[i], {"ids": ids, "nats": nats})
    rows = [sampler.journal.rows[name] for name in names]
    return [Text(row["ids"], row["nats"], 1.0, None, b"") for row in rows]


def batch_key(sampler: Sampler, part: Set, batch: int) -> int:
    """The hashing key of one batch of samples."""
    return key(sampler.options.seed, part.name, batch)


def mark(hashing_key: int, bias: float, vocab: int) -> sources.Mark:
    """As transformers' processor biases a row, for the synthetic source."""
    processor = config(hashing_key, bias).construct_processor(vocab, "cpu")

    def step(tokens: list[int], logits: NDArray[np.float32], spent: float) -> Any:
        if not tokens:
            return None
        row = torch.from_numpy(logits.copy())[None]
        return processor(torch.tensor([tokens[-1:]]), row)[0].numpy()

    return step


def scores(
    texts: Sequence[NDArray[np.uint32]],
    hashing_key: int,
    lengths: Sequence[int],
    vocab: int,
) -> NDArray[np.float64]:
    """The z of WatermarkDetector over distinct pairs.  # (texts, lengths)"""
    green = np.asarray(KGW.under(texts, hashing_key, lengths, vocab))
    n = np.asarray([[KGW.scored(ids[:k]) for k in lengths] for ids in texts])
    return np.asarray((green - GAMMA * n) / np.sqrt(n * GAMMA * (1 - GAMMA)))


@dataclass(frozen=True, slots=True)
class Null:
    """Standard scores of unmarked texts under random keys.

    Attributes:
        lengths: of the first tokens that are looked at.
        vocab: width of the logits.
        known: the scores, ascending down each column: (texts x keys, lengths).
    """

    lengths: tuple[int, ...]
    vocab: int
    known: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        unmarked: Sequence[NDArray[np.uint32]],
        keys: Sequence[int],
        lengths: tuple[int, ...],
        vocab: int,
    ) -> Self:
        """Every text under every key."""
        found = [scores(unmarked, key, lengths, vocab) for key in keys]
        return cls(lengths, vocab, np.sort(np.concatenate(found), axis=0))

    def log10_p(self, ids: NDArray[np.uint32], hashing_key: int) -> list[float]:
        """log10 of the realised share of scores so high, by length.

        The text counts as one of them, so that no share is 0.
        """
        [row] = scores([ids], hashing_key, self.lengths, self.vocab)
        least = np.asarray(row) - 1e-9
        above = (self.known >= least).sum(axis=0)
        return [float(p) for p in np.log10((above + 1) / (len(self.known) + 1))]
