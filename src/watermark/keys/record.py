"""KeyRecord: what marking and finding must agree on, without the secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn, Self

from watermark.errors import KeyFileError, WeakKey
from watermark.keys.engine import EngineKey
from watermark.keys.key import Key

RECORD_SCHEMA = "watermark.keyrecord/1"
# Parameters that a detector does not need: the strength of a mark is not its place.
EMBED_ONLY = frozenset({"decibels", "delta"})
# Parameters that a record may lack, which then are 0: what they add is switched off.
OPTIONAL = frozenset({"dual", "gate100", "payload_bits", "registry"})
# Schemes whose lists are drawn from the whole vocabulary: its size decides the bits.
FIXED_VOCABULARY = frozenset({"hf-kgw", "kgw", "unigram"})

Parameter = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """Everything that marking and finding must agree on; one object for both sides.

    Attributes:
        kid: public name of the key.
        scheme: name of the scheme.
        version: version of the scheme's bits.
        epoch: epoch of the sub-key.
        parameters: the scheme's own parameters, by name.
        vocab_size: width of the logits, or None where it does not matter.
        tokenizer: digest of the tokenizer (`watermark.tokenizer`), or None: any.
        key: the secret, ours or another engine's; not shown, compared or written.
    """

    kid: str
    scheme: str
    version: int = 1
    epoch: int = 0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    vocab_size: int | None = None
    tokenizer: str | None = None
    key: Key | EngineKey | None = field(default=None, repr=False, compare=False)
    # Sub-keys that were asked for: HKDF costs as much as the mark of several tokens.
    _derived: dict[tuple[str, int], bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        frozen = MappingProxyType(dict(sorted(self.parameters.items())))
        object.__setattr__(self, "parameters", frozen)
        if self.key is not None and self.key.kid != self.kid:
            raise WeakKey(
                f"the record names key {self.kid}, but was given key {self.key.kid}"
            )

    @property
    def secret(self) -> Key:
        """The key, which is ours.

        Raises:
            KeyFileError: this record was read without its key.
            WeakKey: it is another engine's: nothing of ours is made with it.
        """
        if self.key is None:
            raise KeyFileError(
                f"the key {self.kid} of this record is not at hand: load its key file"
            )
        if isinstance(self.key, EngineKey):
            raise WeakKey(
                f"{self.kid} is the key of another engine: it finds that engine's "
                f"marks and makes none; {self.scheme!r} needs a Key"
            )
        return self.key

    @property
    def test(self) -> tuple[Any, ...]:
        """What decides the bits: records with equal `test` are one hypothesis."""
        bits = tuple(
            (name, value)
            for name, value in self.parameters.items()
            if name not in EMBED_ONLY and (value or name not in OPTIONAL)
        )
        name = self.kid, self.scheme, self.version, self.epoch, bits
        return (*name, self.vocab_size) if self.scheme in FIXED_VOCABULARY else name

    def derive(self, purpose: str, *, length: int = 32) -> bytes:
        """A sub-key for `purpose` under this record's scheme, version and epoch.

        Raises:
            KeyFileError: this record was read without its key.
            WeakKey: the key is another engine's.
        """
        found = self._derived.get((purpose, length))
        if found is None:
            found = self.secret.derive(
                purpose, f"{self.scheme}.{self.version}", self.epoch, length=length
            )
            self._derived[purpose, length] = found
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the secret."""
        return {
            "schema": RECORD_SCHEMA,
            "kid": self.kid,
            "scheme": self.scheme,
            "version": self.version,
            "epoch": self.epoch,
            "parameters": dict(self.parameters),
            "vocab_size": self.vocab_size,
            "tokenizer": self.tokenizer,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, key: Key | None = None) -> Self:
        """The inverse of `to_dict`, for keys of ours.

        Raises:
            KeyFileError: another schema, or a field is missing.
            WeakKey: another key, or another engine's: whether that fits its scheme is
                known where its configuration is read (`watermark.load_records`).
        """
        if isinstance(key, EngineKey):
            raise WeakKey(
                f"{key.kid} is the key of another engine: read its configuration "
                "with load_records, which checks that the key fits"
            )
        if not isinstance(data, Mapping) or data.get("schema") != RECORD_SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data)
            raise KeyFileError(
                f"found a key record of schema {found!r}, expected {RECORD_SCHEMA!r}"
            )
        try:
            fields = {k: data[k] for k in data if k != "schema"}
            return cls(**fields, key=key)
        except (TypeError, AttributeError, ValueError) as error:
            raise KeyFileError(f"a key record cannot be read: {error}") from None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeyRecord is never pickled: write to_dict() instead")
