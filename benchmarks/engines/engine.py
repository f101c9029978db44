"""Engine: one engine's mark, its own detector and ours of the same bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.options import seeded_key
from watermark.detectors.foreign import DETECTORS
from watermark.schemes.foreign import FOREIGN, engine_numbers

Ids = NDArray[np.uint32]
Numbers = tuple[int, ...]
Detect = Callable[[Ids], float]

LENGTH = 200  # tokens of a document
BIAS = 2.0  # of green tokens, in nats


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's mark.

    Attributes:
        name: in tables.
        scheme: ours of the same bits.
        peer: (numbers, vocabulary) to the engine's own detector: ids to its p-value.
            The numbers are the key, as `engine_numbers` gives them.
        parameters: of the key record.
        claims: whether the engine's detector gives a p-value; else its score is turned
            around, so that less is more evidence there too.
        config: numbers to what `generate(watermarking_config=...)` takes, or None
            where the engine does not generate through transformers.
        ratio: the stated least ratio of speeds, without lists that were kept, or None.
        again: the same where they were.
        reset: empties what our detector keeps between texts, or None: it keeps nothing.
        lengths: of the documents on which speed is measured, in tokens.
    """

    name: str
    scheme: str
    peer: Callable[[Numbers, int], Detect]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    claims: bool = True
    config: Callable[[Numbers], Any] | None = None
    ratio: float | None = None
    again: float | None = None
    reset: Callable[[], object] | None = None
    lengths: tuple[int, ...] = (LENGTH,)

    def both(self, vocab: int, *parts: object) -> tuple[Detect, Detect, Numbers]:
        """The engine's detector (p) and ours (ln p) under one key, and its numbers.

        Args:
            vocab: size of the vocabulary.
            parts: what the key depends on.
        """
        record = FOREIGN[self.scheme].record(
            seeded_key("engine", self.name, *parts), vocab_size=vocab, **self.parameters
        )
        numbers, detector = engine_numbers(record), DETECTORS[self.scheme]

        def ours(ids: Ids) -> float:
            return float(detector.score(ids, record).ln_p)

        return self.peer(numbers, vocab), ours, numbers


def weighted_mean(processor: Any) -> Detect:
    """SynthID's weighted mean of g values, less for more evidence.

    Dathathri et al., Nature 634 (2024): weights fall in a line from 10 to 1, contexts
    that repeat do not count. It needs no training, unlike the Bayesian detector.

    Args:
        processor: computes the g values and which contexts are new.
    """

    def score(ids: Ids) -> float:
        rows = torch.from_numpy(ids.astype(np.int64))[None]
        g = processor.compute_g_values(rows)[0].double()
        fresh = processor.compute_context_repetition_mask(rows)[0].bool()
        weights = torch.linspace(10, 1, g.shape[1], dtype=torch.float64)
        return -float(g[fresh].mean(0) @ (weights / weights.sum()))

    return score
