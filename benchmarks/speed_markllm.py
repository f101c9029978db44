"""MarkLLM's KGW at its defaults, timed beside ours where MarkLLM is installed.

It asks for versions of other packages that ours exclude, so no extra installs it; the
unpacked wheel on the import path is enough. lm-watermarking is no package at all;
transformers' KGW is its code, ported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch

MISSING = "MarkLLM is not installed."


def kgw(vocab: int) -> Any:
    """MarkLLM's KGW for a vocabulary, or None."""
    try:
        found: Any = import_module("markllm.watermark.kgw.kgw")
        settings: Any = import_module("markllm.utils.transformers_config")
    except ImportError:
        return None
    config = settings.TransformersConfig(
        model=None, tokenizer=None, vocab_size=vocab, device="cpu"
    )
    return found.KGW(None, config)


def embedding(
    logits: torch.Tensor, contexts: Iterator[torch.Tensor]
) -> dict[str, Callable[[], object]]:
    """Its processor, or nothing."""
    peer = kgw(logits.shape[1])
    if peer is None:
        return {}
    scores = logits.clone()  # it writes into them
    return {
        "MarkLLM KGW, full vocabulary": lambda: peer.logits_processor(
            next(contexts), scores
        )
    }


def detection(ids: torch.Tensor, vocab: int) -> dict[str, Callable[[], object]]:
    """Its detector on one text, or nothing."""
    peer = kgw(vocab)
    name = f"MarkLLM KGW {len(ids)}"
    return {} if peer is None else {name: lambda: peer.utils.score_sequence(ids)}
