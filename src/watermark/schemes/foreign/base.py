"""What a scheme of another engine says of itself, and how its configuration is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from watermark.errors import ConfigError
from watermark.keys import EngineKey, Key, KeyRecord, Parameter
from watermark.schemes.base import Scheme, option

# Names of the sub-keys of one of our own keys, 8 bytes each, read as big-endian
# integers; what `pipelines.vllm` and `pipelines.sglang` hand over. Every other scheme
# has one sub-key, under its own name.
SUBKEYS = {"vllm-gumbel": ("vllm",), "sglang-gumbel": ("sglang", "sglang-b")}
# Engines that compute in int64 take no larger key; theirs are one bit shorter.
FULL_WIDTH = frozenset(SUBKEYS)
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT64 = (0, (1 << 64) - 1)
MAX_VOCABULARY = 1 << 24  # a hundred times the largest in use


class EngineConfig(NamedTuple):
    """What an engine's configuration says.

    Attributes:
        numbers: the key: one integer, or several in the engine's order.
        parameters: those of the scheme that the configuration decides.
        vocab_size: where the configuration holds it, else None.
    """

    numbers: tuple[int, ...]
    parameters: Mapping[str, Parameter]
    vocab_size: int | None = None


class KeyShape(NamedTuple):
    """Which integers can key a scheme: how many of them, and from where to where."""

    fewest: int = 1
    most: int = 1
    low: int = INT64[0]
    high: int = INT64[1]


@dataclass(frozen=True, slots=True)
class Foreign(Scheme):
    """A text watermark of another engine: we find it, and never make it.

    Attributes:
        engine: who makes it, as evidence names it.
        known_by: fields of a configuration, of which any tells that it is this engine's
            configuration of this scheme; empty where nothing does but a name.
        reader: from the engine's own configuration; raises `ConfigError`.
        fixed_vocabulary: whether the size of the vocabulary decides the bits, so that a
            record without it says nothing.
        shape: the keys that the engine can have under these parameters.
    """

    engine: str
    known_by: frozenset[str]
    reader: Callable[[Mapping[str, Any]], EngineConfig]
    fixed_vocabulary: bool = False
    shape: Callable[[Mapping[str, Parameter]], KeyShape] = lambda _: KeyShape()

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
            ConfigError: an engine's key that this engine cannot have.
            ValueError: an unknown parameter, or one outside its range.
        """
        record = Scheme.record(
            self,
            key,
            epoch=epoch,
            vocab_size=vocab_size,
            tokenizer=tokenizer,
            **parameters,
        )
        if isinstance(key, EngineKey):
            self._check_key(key.numbers, self.shape(record.parameters))
        return record

    def _check_key(self, numbers: Sequence[int], shape: KeyShape) -> None:
        """Of a key that does not fit another would be tested, or none."""
        if not shape.fewest <= len(numbers) <= shape.most:
            raise ConfigError(
                "key",
                f"found {len(numbers)} integers, expected {shape.fewest} to "
                f"{shape.most} for {self.name} with these parameters",
            )
        for number in numbers:
            _integer("key", number, shape.low, shape.high, secret=True)

    def read(self, config: Mapping[str, Any]) -> EngineConfig:
        """Key, parameters and vocabulary size of the engine's own configuration.

        Raises:
            ConfigError: a field is missing, unknown or out of range; it is named.
        """
        return self.reader(config)

    def from_config(
        self,
        config: Mapping[str, Any],
        *,
        vocab_size: int | None = None,
        tokenizer: str | None = None,
    ) -> KeyRecord:
        """The key record of an engine's configuration.

        Args:
            config: the fields, by the engine's own names.
            vocab_size: width of the model's logits, where `config` does not say.
            tokenizer: digest of the tokenizer, or None: any.

        Raises:
            ConfigError: a field is missing, unknown or out of range; it is named.
        """
        numbers, found, size = self.read(config)
        parameters: dict[str, Any] = dict(found)
        if None not in (size, vocab_size) and size != vocab_size:
            raise ConfigError(
                "vocab_size", f"found {size}, but {vocab_size} was given: expected one"
            )
        size = vocab_size if size is None else size
        if size is not None:
            _integer("vocab_size", size, 2, MAX_VOCABULARY, secret=False)
        if size is None and self.fixed_vocabulary:
            raise ConfigError(
                "vocab_size",
                f"missing: the green lists of {self.name} are drawn from the whole "
                "vocabulary. Give the width of the model's logits (vocab_size in its "
                "config.json, which counts padding)",
            )
        try:
            return self.record(
                EngineKey(numbers), vocab_size=size, tokenizer=tokenizer, **parameters
            )
        except ValueError as error:
            raise ConfigError(self.name, str(error)) from None


def engine_numbers(record: KeyRecord) -> tuple[int, ...]:
    """The integers that key the engine's PRF, for either kind of key.

    An `EngineKey` holds them. Of one of our own keys they are the sub-keys that the
    engine was given: 64 bits for vLLM and SGLang (the second under dual 1), `layers` of
    them for SynthID, 63 bits for engines that compute in int64.

    Raises:
        KeyFileError: the record was read without its key.
    """
    if isinstance(record.key, EngineKey):
        return record.key.numbers
    purposes = SUBKEYS.get(record.scheme, (record.scheme,))
    if not option(record.parameters, "dual"):
        purposes = purposes[:1]
    count = max(1, option(record.parameters, "layers"))
    shift = 0 if record.scheme in FULL_WIDTH else 1
    return tuple(
        int.from_bytes(data[at : at + 8], "big") >> shift
        for data in (record.derive(p, length=8 * count) for p in purposes)
        for at in range(0, len(data), 8)
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
        return _integer(name, value, low, high, secret=secret)

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
        return tuple(_integer(name, v, low, high, secret=secret) for v in value)

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


def _integer(name: str, value: Any, low: int, high: int, *, secret: bool) -> int:
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
