"""Fields of an engine's configuration: each read by name, checked, named if wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watermark.errors import ConfigError
from watermark.keys import Parameter

INT64 = (-(1 << 63), (1 << 63) - 1)
UINT64 = (0, (1 << 64) - 1)
MAX_VOCABULARY = 1 << 24  # a hundred times the largest in use


def check_device(name: Parameter) -> None:
    """Raise unless a mark was drawn by torch's generator of a CPU.

    CUDA's is Philox4x32-10, and its ``randperm`` and ``randint`` are other algorithms,
    whose order depends on the launch. Lists that were never compared with a GPU's would
    clear every text that has the mark.

    Raises:
        ConfigError: another device.
    """
    if str(name) != "cpu":
        raise ConfigError(
            "device",
            f"found {_shown(name)}, expected 'cpu': what a CUDA generator draws is not "
            "read by this version, since it was not checked against a GPU",
        )


class Fields:
    """The fields of one configuration: each is read once, by name, and checked.

    No message shows the value of a field that was read as `secret`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Take the configuration.

        Raises:
            ConfigError: not a mapping from names.
        """
        if not isinstance(config, Mapping) or not all(
            isinstance(name, str) for name in config
        ):
            raise ConfigError(
                "configuration",
                f"found {type(config).__name__}, expected fields by name",
            )
        self._config = config
        self._read: set[str] = set()

    def integer(
        self,
        name: str,
        low: int,
        high: int,
        default: int | None = None,
        *,
        secret: bool = False,
    ) -> int:
        """An integer in ``low..high``; required where there is no default."""
        value = self._value(name, default)
        return integer(name, value, low, high, secret=secret)

    def integers(
        self, name: str, low: int, high: int, most: int, *, secret: bool = False
    ) -> tuple[int, ...]:
        """One to `most` integers in ``low..high``; required."""
        value = self._value(name, None)
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise ConfigError(
                name, f"found {type(value).__name__}, expected a list of integers"
            )
        if not 0 < len(value) <= most:
            raise ConfigError(
                name, f"found {len(value)} integers, expected 1 to {most}"
            )
        return tuple(integer(name, v, low, high, secret=secret) for v in value)

    def listed(self, name: str) -> list[Any]:
        """A list, or one value as a list of one; required."""
        value = self._value(name, None)
        return value if isinstance(value, list) else [value]

    def number(
        self, name: str, low: float, high: float, default: float | None = None
    ) -> float:
        """A finite number in ``low..high``; required where there is no default."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(name, f"found {_shown(value)}, expected a number")
        if not low <= value <= high:  # NaN is not, either
            raise ConfigError(
                name, f"found {_shown(value)}, expected {low:g} to {high:g}"
            )
        return float(value)

    def choice(
        self, name: str, options: Sequence[str], default: str | None = None
    ) -> str:
        """One of some words; required where there is no default."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in options:
            expected = ", ".join(options)
            raise ConfigError(
                name, f"found {_shown(value)}, expected one of {expected}"
            )
        return value

    def text(
        self, name: str, default: str | None = None, *, secret: bool = False
    ) -> str:
        """A string of at most 4,096 characters; required where there is no default."""
        value = self._value(name, default)
        if not isinstance(value, str) or len(value) > 4096:
            found = type(value).__name__ if secret else _shown(value)
            raise ConfigError(name, f"found {found}, expected a string")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false; required where there is no default."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise ConfigError(name, f"found {_shown(value)}, expected true or false")
        return value

    def device(self) -> str:
        """The device whose generator drew the mark; a CPU where nothing is said."""
        name = str(self._value("device", "cpu"))[:40]
        check_device(name)
        return name

    def has(self, name: str) -> bool:
        """Whether the field is there, and not null."""
        return self._config.get(name) is not None

    def done(self, *ignored: str) -> None:
        """Refuse fields that nobody read: what they mean could decide the bits.

        Args:
            ignored: fields that are known to decide nothing here.

        Raises:
            ConfigError: such a field; it is named.
        """
        unknown = sorted(set(self._config) - self._read - set(ignored))
        if unknown:
            raise ConfigError(
                f"{unknown[0]:.80}",
                "unknown: it may decide the bits of the mark. This version of "
                "watermark-sdk does not know the field",
            )

    def _value(self, name: str, default: Any) -> Any:
        self._read.add(name)
        value = self._config.get(name)
        if value is not None:
            return value
        if default is None:
            raise ConfigError(name, "missing: the configuration has no such field")
        return default


def integer(name: str, value: Any, low: int, high: int, *, secret: bool) -> int:
    """The value, if it is an integer in ``low..high``; never shown where it is secret.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        found = type(value).__name__ if secret else _shown(value)
        raise ConfigError(name, f"found {found}, expected an integer")
    if not low <= value <= high:
        # Not even a key that is refused is shown: it may be a good one misspelt.
        found = _of_bits(value) if secret else _shown(value)
        raise ConfigError(name, f"found {found}, expected {low}..{high}")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    if isinstance(value, int) and value.bit_length() > 64:
        return _of_bits(value)  # beyond some thousand digits Python prints none
    if isinstance(value, int | float | bool):
        return f"{value!r:.40}"
    return type(value).__name__


def _of_bits(value: int) -> str:
    return f"an integer of {value.bit_length()} bits"
