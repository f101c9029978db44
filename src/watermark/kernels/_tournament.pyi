from typing import Any

import numpy as np
from numpy.typing import NDArray

# `Any` stands for a contiguous buffer of the item type that the reference names.
def tournament_scale(
    p: Any, tokens: Any, state: bytes, nonce: int, layers: int
) -> None: ...
def tournament_bits(
    tokens: Any,
    key: bytes,
    width: int,
    nonce_bits: int,
    layers: int,
    skip: int = 0,
) -> tuple[int, NDArray[np.int64]]: ...
