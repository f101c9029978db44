"""Attachment: the handle that `attach` returns, the same for every host."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from watermark.errors import AlreadyAttached, KeyFileError, UnsupportedPipeline
from watermark.files import write_atomically
from watermark.keys import Key, KeyRecord
from watermark.record import Record

OnUnsupported = Literal["raise", "warn"]
# The key record beside a saved model: what a detector must know, and no secret.
RECORD_FILE = "watermark.json"
MAX_RECORD_BYTES = 1 << 16
# Called with the records of one call, and the objects they are of where those can be
# told apart by identity, before the output is handed over; when it returns, the records
# are durable.
Sink = Callable[[Sequence[Record], Sequence[Any]], None]


@dataclass(frozen=True, slots=True)
class Layer:
    """One way in which an attachment marks, and what to expect of it.

    Attributes:
        name: of the scheme.
        on: whether it marks calls like the latest one (before any: a plain call).
        reason: why it is on or off, and why that much is expected.
        power: of detection on an untouched output: ``"high"``, ``"low"``,
            ``"unknown"``; ``"none"`` where the layer is off.
    """

    name: str
    on: bool
    reason: str
    power: Literal["high", "low", "unknown", "none"]


@dataclass(frozen=True, slots=True)
class Status:
    """What an attachment has done so far, and by which layers."""

    scheme: str
    key_id: str
    attached: bool
    calls: int
    outputs: int
    unmarked: int
    layers: tuple[Layer, ...] = ()


class Attachment:
    """A host object that marks what it generates, until `detach`.

    Use it as a context manager, or call `detach` yourself. `records` lists every output
    so far, each already in the ledger.
    """

    def __init__(
        self, host: Any, record: KeyRecord, sink: Sink, *, provider: str
    ) -> None:
        """Made by `attach`; not meant to be made by hand."""
        self.key_record = record
        # One for each scheme that may mark; the first is `key_record`.
        self.key_records: tuple[KeyRecord, ...] = (record,)
        self.provider = provider
        self.records: list[Record] = []
        self.layers: Callable[[], tuple[Layer, ...]] = tuple
        self._host = host
        self._swapped: list[tuple[Any, type]] = []
        self._sink = sink
        self._calls = 0

    def swap(self, overrides: dict[str, Any], part: Any = None) -> None:
        """Give the host, or a part of it, a subclass of its class with `overrides`.

        The subclass keeps the name and module, so that saving and type checks by name
        see no difference; nothing is stored on the object itself.

        Raises:
            AlreadyAttached: the object's class is one of ours. What this attachment
                swapped before is put back.
            UnsupportedPipeline: an attribute of the object would hide an override;
                likewise.
        """
        try:
            self._swap(overrides, self._host if part is None else part)
        except (AlreadyAttached, UnsupportedPipeline):
            self.detach()
            raise

    def _swap(self, overrides: dict[str, Any], host: Any) -> None:
        base = type(host)
        if getattr(base, "_watermark_attachment", None) is not None:
            raise AlreadyAttached(
                f"this {base.__name__} is attached already: detach() it first"
            )
        own = sorted(set(overrides) & set(vars(host)))
        if own:
            raise UnsupportedPipeline(
                f"this {base.__name__} has {', '.join(own)} set on the object itself, "
                "which would bypass the mark: delete it, or attach before it is set"
            )
        body = {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "_watermark_attachment": self,
            **overrides,
        }
        host.__class__ = type(base.__name__, (base,), body)
        self._swapped.append((host, base))

    @property
    def original(self) -> type:
        """The class the host had before, and has again after `detach`."""
        for part, base in self._swapped:
            if part is self._host:
                return base
        return type(self._host)

    def publish(self, records: Sequence[Record], outputs: Sequence[Any] = ()) -> None:
        """Hand the records of one call to the ledger, then list them here."""
        self._sink(records, outputs)
        self.records.extend(records)
        self._calls += 1

    def detach(self) -> None:
        """Make the host what it was. Does nothing if it is detached already."""
        while self._swapped:
            part, base = self._swapped.pop()
            part.__class__ = base

    def save(self, folder: str | Path) -> Path:
        """Write the key record, without its secret, beside a saved model.

        Returns:
            The path of the file, ``watermark.json``, which `load_record` reads.

        Raises:
            OSError: the folder is missing or refuses.
        """
        path = Path(folder) / RECORD_FILE
        text = json.dumps(self.key_record.to_dict(), indent=1) + "\n"
        write_atomically(path, text.encode(), replace=True)
        return path

    def status(self) -> Status:
        """What this attachment has done so far."""
        return Status(
            scheme=self.key_record.scheme,
            key_id=self.key_record.kid,
            attached=bool(self._swapped),
            calls=self._calls,
            outputs=len(self.records),
            unmarked=sum(
                not any(mark.coverage > 0 for mark in record.marks)
                for record in self.records
            ),
            layers=self.layers(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def __repr__(self) -> str:
        state = self.status()
        return (
            f"<Attachment {state.scheme} {state.key_id} on "
            f"{type(self._host).__name__}, {state.outputs} outputs>"
        )


def load_record(folder: str | Path, *, key: Key | None = None) -> KeyRecord:
    """The key record that `Attachment.save` wrote beside a model.

    Args:
        folder: where the model was saved.
        key: the key it names, which marking and detection need; the file has none.

    Raises:
        KeyFileError: there is no such file, or it is no key record.
        WeakKey: `key` is not the key it names.
    """
    path = Path(folder) / RECORD_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECORD_BYTES + 1)
        if len(data) > MAX_RECORD_BYTES:
            raise KeyFileError(
                f"{path} is larger than {MAX_RECORD_BYTES} bytes: it is no key record"
            )
        found = json.loads(data)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise KeyFileError(f"{path} is no JSON: it is no key record") from None
    return KeyRecord.from_dict(found, key=key)
