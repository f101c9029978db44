"""Every exception this package raises.

* WatermarkError
  + KeyFileError           a key file is missing, unreadable, open to others, or damaged
  + WeakKey                a key that could be guessed was offered for marking
  + ConfigError            an engine's configuration lacks a field, or one is wrong
  + HomeError              a home is missing, already there, or damaged
  + UnsupportedPipeline    `attach` met an object or a mode it cannot mark
  + UnsupportedFormat      a file type no part of this package can write
  + AlreadyAttached        `attach` was called twice on one object
  + NotMarked              something was made without the mark that was asked for
  + AmbiguousRecord        an output matches several records
  + TokenizerMismatch      the tokenizer is not the one the key record names
  + VocabularyMismatch     the logits are not as wide as the key record says
  + InvalidSignal          NaN or infinity where a mark has to go
  + MissingDependency      an optional package is not installed (also an ImportError)
  + MissingCodec           a learned mark's codec or its weights are not at hand
  + CodecError             a learned mark's codec failed, or gave something else
  + SigningError           a manifest could not be signed, or failed its read-back
    - TimestampError       a time-stamp is refused, untrustworthy, late or not to be had
  + OcspError              a responder's answer cannot be had or believed
  + TrustListError         a list of trusted roots cannot be read or had
  + FetchError             an address that was asked for cannot be read
  + LabelError             a label, or a value for one, breaks a clause of its standard
  + StoreError             the ledger could not be read or written
    - LedgerCorrupt        the ledger contradicts itself or its signed checkpoint
  + VerificationError      a report did not meet the policy asked of it

A message says what was found, what was expected, and what to do. No message holds a
secret.
"""

from __future__ import annotations


class WatermarkError(Exception):
    """Base of all of ours."""


class KeyFileError(WatermarkError):
    """A key file is missing, unreadable, open to other users, or damaged."""


class WeakKey(WatermarkError):
    """A key that could be guessed was offered for marking."""


class ConfigError(WatermarkError):
    """An engine's configuration lacks a field, or one has a value it cannot have.

    Attributes:
        field: the field's name, as the configuration spells it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class HomeError(WatermarkError):
    """A home is missing, already exists, or is damaged."""


class UnsupportedPipeline(WatermarkError):
    """`attach` met an object, or a call met a mode, that it cannot mark."""


class UnsupportedFormat(WatermarkError):
    """A file type that this package cannot write."""


class AlreadyAttached(WatermarkError):
    """`attach` was called on an object that is attached already."""


class NotMarked(WatermarkError):
    """Something was generated or embedded without the mark that was asked for."""


class AmbiguousRecord(WatermarkError):
    """An output matches several records, so it cannot be published under one."""


class TokenizerMismatch(WatermarkError):
    """The tokenizer is not the one the key record names."""


class VocabularyMismatch(WatermarkError):
    """The logits are not as wide as the key record says."""


class InvalidSignal(WatermarkError):
    """NaN or infinity where a mark has to go, or a wrong shape or dtype."""


class MissingDependency(WatermarkError, ImportError):
    """An optional package is not installed; the message names the install line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed, and this needs it: "
            f"pip install 'watermark-sdk[{extra}]'"
        )


class MissingCodec(WatermarkError):
    """The codec of a learned mark, or its weights, are not on this machine."""


class CodecError(WatermarkError):
    """The codec of a learned mark failed, or gave something else than it says."""


class LabelError(WatermarkError):
    """A label, or a value for one, breaks a clause of its standard.

    Attributes:
        clause: which, as ``"GB 45438-2025, 6.1 c)"``.
    """

    def __init__(self, clause: str, problem: str) -> None:
        super().__init__(f"{problem} ({clause})")
        self.clause = clause


class SigningError(WatermarkError):
    """A manifest could not be signed, or failed its read-back."""


class StoreError(WatermarkError):
    """The ledger could not be read or written."""


class LedgerCorrupt(StoreError):
    """The ledger contradicts itself or its signed checkpoint."""


class VerificationError(WatermarkError):
    """A report did not meet the policy asked of it."""
