from typing import Any

import numpy as np
from numpy.typing import NDArray

# `Any` stands for a contiguous buffer of the item type that reference_pixel.py names.
def pixel_coefficients(pixels: Any) -> NDArray[np.int16]: ...
def pixel_embed(
    pixels: Any, coefficients: Any, chips: Any, template: Any, faint: int, budget: int
) -> NDArray[np.uint8]: ...
