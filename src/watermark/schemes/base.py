"""What every scheme says of itself, and how a key becomes a key record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from watermark.keys import EngineKey, Key, KeyRecord, Parameter


@dataclass(frozen=True, slots=True)
class Scheme:
    """Name, version and parameters of one way to mark.

    Attributes:
        name: the same in schemes/, detectors/, key records and manifests.
        version: changes whenever the bits change; old versions stay verifiable.
        carrier: what is marked.
        defaults: every parameter and its default.
        check: raises `ValueError` for parameters outside their range.
    """

    name: str
    version: int
    carrier: Literal["tokens", "latents", "pixels", "samples"]
    defaults: Mapping[str, Parameter]
    check: Callable[[Mapping[str, Parameter]], None]

    def record(
        self,
        key: Key | EngineKey,
        *,
        epoch: int = 0,
        vocab_size: int | None = None,
        tokenizer: str | None = None,
        **parameters: Parameter,
    ) -> KeyRecord:
        """A key record of this scheme.

        Raises:
            ValueError: an unknown parameter, or one outside its range.
        """
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            raise ValueError(
                f"{self.name} has no parameter {', '.join(unknown)}; it has "
                f"{', '.join(self.defaults)}"
            )
        merged = {**self.defaults, **parameters}
        self.check(merged)
        return KeyRecord(
            kid=key.kid,
            scheme=self.name,
            version=self.version,
            epoch=epoch,
            parameters=merged,
            vocab_size=vocab_size,
            tokenizer=tokenizer,
            key=key,
        )


def within(parameters: Mapping[str, Parameter], name: str, low: int, high: int) -> None:
    """Raise unless the integer parameter `name` lies in ``low..high``."""
    value = parameters[name]
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, expected an integer in {low}..{high}")


def option(parameters: Mapping[str, Parameter], name: str) -> int:
    """An integer parameter that is 0, off, in records older than the parameter."""
    value = parameters.get(name, 0)
    if not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, expected an integer")
    return value
