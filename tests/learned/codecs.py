"""Small codecs of our own, that mark for real: a stand-in for no package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRENGTH = 4.0


@dataclass
class Carriers:
    """Bits on fixed carriers that anybody can know: +1 or -1 times each."""

    name: str = "carriers"
    bits: int = 48
    rate: int = 0
    least: int = 64
    most: int = 1 << 20

    def encode(self, content: NDArray[Any], bits: NDArray[np.uint8]) -> NDArray[Any]:
        patterns = self._patterns(content.size)
        signs = 2.0 * bits - 1.0
        added = (signs @ patterns).reshape(content.shape)
        if self.rate:
            sound: NDArray[Any] = content + (0.01 * added).astype(np.float32)
            return sound
        values: NDArray[Any] = content + STRENGTH * np.sqrt(3 / 48) * added
        shown: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return shown

    def decode(self, content: NDArray[Any]) -> Any:
        values = content.astype(np.float64).reshape(-1)
        return self._patterns(content.size) @ (values - values.mean()) > 0

    def _patterns(self, size: int) -> NDArray[np.float64]:
        rng = np.random.default_rng(5)
        return rng.choice(np.array([-1.0, 1.0]), (self.bits, size))


@dataclass
class Answers(Carriers):
    """Marks as `Carriers`, and whatever is wanted comes out of its decoder."""

    name: str = "answers"
    answer: Any = None

    def decode(self, content: NDArray[Any]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer
