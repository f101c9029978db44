"""A toy language model: texts of a known entropy, one word for each token."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from watermark.keys import KeyRecord
from watermark.schemes import gumbel

VOCABULARY = 400


def words() -> Any:
    """A tokenizer whose decoding and encoding are inverse: one word for each token."""
    vocab = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def text_of(ids: list[int]) -> str:
    return " ".join(f"w{i}" for i in ids)


def generate(
    record: KeyRecord | None,
    length: int = 260,
    *,
    nonce: int = 3,
    seed: int = 0,
    payload: bytes = b"",
) -> list[int]:
    """Tokens from random logits of about 1 nat, marked as an adapter marks, or not."""
    rng = np.random.default_rng(seed)
    order = None if record is None else gumbel.Sequencer(record, nonce, payload)
    tokens: list[int] = []
    spent = 0.0
    while len(tokens) < length:
        logits = rng.gumbel(size=VOCABULARY).astype(np.float32) * np.float32(2)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        choice = None if order is None else order.choose(tokens, spent)
        if choice is None:
            tokens.append(int(rng.choice(VOCABULARY, p=p)))
            spent -= math.log(float((p**2).sum()))
        else:
            tokens.append(gumbel.select(logits, *choice))
    return tokens
