from typing import Any

import numpy as np
from numpy.typing import NDArray

# `Any` stands for a contiguous buffer of the item type that the reference names.
def vllm_words(
    tokens: Any, keys: Any, width: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
def sglang_words(
    tokens: Any, keys: Any, width: int, threshold: int = 0, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
def synthid_states(
    tokens: Any, start: int, width: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...
def synthid_bits(states: Any, keys: Any) -> NDArray[np.uint8]: ...
