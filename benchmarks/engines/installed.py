"""transformers' own marks: green lists under either seeding, and SynthID."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    SynthIDTextWatermarkingConfig,
    SynthIDTextWatermarkLogitsProcessor,
    WatermarkDetector,
    WatermarkingConfig,
)

from benchmarks.engines.engine import (
    BIAS,
    Detect,
    Engine,
    Ids,
    Numbers,
    weighted_mean,
)
from watermark.detectors.foreign import kgw


def engines() -> Iterator[Engine]:
    """Every mark that `generate` makes; the ratios are issue 4's."""
    yield _green("lefthash", 1, ratio=10.0, again=100.0)
    yield _green("selfhash", 4)
    yield Engine(
        name="transformers SynthID",
        scheme="hf-synthid",
        peer=_synthid,
        claims=False,
        config=_synthid_config,
    )


def _green(
    seeding: str, width: int, ratio: float | None = None, again: float | None = None
) -> Engine:
    """Green lists, and `WatermarkDetector`."""

    def config(numbers: Numbers) -> Any:
        return WatermarkingConfig(
            hashing_key=numbers[0],
            seeding_scheme=seeding,
            context_width=width,
            bias=BIAS,
        )

    def peer(numbers: Numbers, vocab: int) -> Detect:
        model = LlamaConfig(vocab_size=vocab, bos_token_id=0)
        detector: Any = WatermarkDetector(model, "cpu", config(numbers))

        def p_value(ids: Ids) -> float:
            rows = torch.from_numpy(ids.astype(np.int64))[None]
            return float(detector(rows, return_dict=True).p_value[0])

        return p_value

    return Engine(
        name=f"transformers {seeding}",
        scheme="hf-kgw",
        peer=peer,
        parameters={"seeding": seeding, "width": width},
        config=config,
        ratio=ratio,
        again=again,
        reset=kgw.forget,
    )


def _synthid_config(numbers: Numbers) -> Any:
    return SynthIDTextWatermarkingConfig(ngram_len=5, keys=list(numbers))


def _synthid(numbers: Numbers, vocab: int) -> Detect:
    settings = _synthid_config(numbers)
    return weighted_mean(
        SynthIDTextWatermarkLogitsProcessor(
            ngram_len=settings.ngram_len,
            keys=settings.keys,
            sampling_table_size=settings.sampling_table_size,
            sampling_table_seed=settings.sampling_table_seed,
            context_history_size=settings.context_history_size,
            device=torch.device("cpu"),
        )
    )
