"""Hidden: what every secret key has in common: it is named, never shown."""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from typing import NoReturn, Self


class Hidden(ABC):
    """A secret that is shown by its public name, `kid`, alone, and never pickled.

    Attributes:
        kid: its public name.
    """

    __slots__ = ()
    kid: str

    @abstractmethod
    def _plain(self) -> bytes:
        """The secret itself: keys are equal where it is."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kid})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return hmac.compare_digest(self._plain(), other._plain())

    def __hash__(self) -> int:
        return hash(self.kid)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} is never pickled: read its file again")
