from typing import Any

import numpy as np
from numpy.typing import NDArray

# `Any` stands for a contiguous buffer of the item type that reference_payload.py names.
def context_roles(
    state: bytes, positions: int, presence16: int = 1
) -> tuple[bool, int, int]: ...
def role_words(
    tokens: Any, key: bytes, width: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
def payload_presence(
    tokens: Any,
    key: bytes,
    width: int,
    nonce_bits: int,
    skip: int = 0,
    presence16: int = 1,
) -> tuple[int, list[float]]: ...
def payload_score(
    tokens: Any,
    key: bytes,
    width: int,
    positions: int,
    nonce: int,
    skip: int = 0,
    presence16: int = 1,
) -> tuple[int, float, NDArray[np.int64], NDArray[np.float64]]: ...
def rs_decode(sums: Any) -> tuple[int, float, float]: ...
def trellis256_decode(sums: Any, steps: int) -> tuple[bytes, float]: ...
