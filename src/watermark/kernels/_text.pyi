from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# `Any` stands for a contiguous buffer of the item type that reference.py names.
def context_state(key: bytes, context: Any) -> bytes: ...
def gumbel_select(
    logits: Any, state: bytes, nonce: int, symbol: int, lows: Any, highs: Any
) -> int: ...
def collision_nats(scores: Any, rows: Sequence[int]) -> list[float]: ...
def gumbel_score(
    tokens: Any, key: bytes, width: int, nonce_bits: int, skip: int = 0
) -> tuple[int, list[float]]: ...
def gumbel_terms(
    tokens: Any, key: bytes, width: int, nonce_bits: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]: ...
def token_words(
    tokens: Any, key: bytes, width: int, nonce_bits: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
