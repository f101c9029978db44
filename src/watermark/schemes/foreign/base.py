"""Another engine's scheme: how its configuration becomes a key record.

`Foreign` is what such a scheme says of itself, as `Scheme` is for ours, and
`engine_numbers` gives the integers that key the engine's generator, whoever made the
key. The fields of a configuration are read by `fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import unpack
from typing import Any, NamedTuple

from watermark.errors import ConfigError
from watermark.keys import EngineKey, Key, KeyRecord, Parameter
from watermark.schemes.base import Scheme, option
from watermark.schemes.foreign.fields import INT64 as INT64
from watermark.schemes.foreign.fields import MAX_VOCABULARY as MAX_VOCABULARY
from watermark.schemes.foreign.fields import UINT64 as UINT64
from watermark.schemes.foreign.fields import Fields as Fields
from watermark.schemes.foreign.fields import check_device as check_device
from watermark.schemes.foreign.fields import integer

# Names of the sub-keys of one of our own keys, 8 bytes each, read as big-endian
# integers; what `pipelines.vllm` and `pipelines.sglang` hand over. Every other scheme
# has one sub-key, under its own name.
SUBKEYS = {"vllm-gumbel": ("vllm",), "sglang-gumbel": ("sglang", "sglang-b")}
# Engines that compute in int64 take no larger key; theirs are one bit shorter.
FULL_WIDTH = frozenset(SUBKEYS)


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
        single: the numbers of which each alone makes the mark of a record with one key,
            or None: all numbers make one key together.
        guessable: whether the key, however long, leaves so little to the bits that all
            that it could be can be tried, or was published.
    """

    engine: str
    known_by: frozenset[str]
    reader: Callable[[Mapping[str, Any]], EngineConfig]
    fixed_vocabulary: bool = False
    shape: Callable[[Mapping[str, Parameter]], KeyShape] = lambda _: KeyShape()
    single: Callable[[KeyRecord], Sequence[int]] | None = None
    guessable: Callable[[KeyRecord], bool] = lambda _: False

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
            integer("key", number, shape.low, shape.high, secret=True)

    def secrets(self, record: KeyRecord) -> frozenset[object]:
        """The keys of a record: records with one in common can fire on one text."""
        numbers = engine_numbers(record)
        if self.single is None:
            return frozenset({numbers})
        return frozenset({*numbers, *self.single(record)})

    def weak(self, record: KeyRecord) -> bool:
        """Whether anybody could mark under this record."""
        engines = isinstance(record.key, EngineKey) and record.key.weak
        return engines or self.guessable(record)

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
            integer("vocab_size", size, 2, MAX_VOCABULARY, secret=False)
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
    count = option(record.parameters, "layers") or 1
    shift = 0 if record.scheme in FULL_WIDTH else 1
    return tuple(
        number >> shift
        for purpose in purposes
        for number in unpack(f">{count}Q", record.derive(purpose, length=8 * count))
    )
