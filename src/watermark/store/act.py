"""Acts: what was done to the ledger itself, as leaves of it.

An entry that was pruned, or whose personal fields were erased, looks like one that
somebody removed. A leaf that says so, under the next signed checkpoint, tells the two
apart; legal holds stand in leaves for the same reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from watermark.errors import StoreError
from watermark.store import cbor
from watermark.store.merkle import Range, leaf_hash

VERSION = 1
SALT_BYTES = 16
MAX_TEXT = 1000

ActEvent = Literal["pruned", "erased", "held", "released"]
EVENTS: tuple[ActEvent, ...] = get_args(ActEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act, read from its leaf.

    Attributes:
        idx: its place, from 0; -1 while it has none.
        ts: when it was appended.
        event: ``pruned``: the bodies of `entries` are gone; ``erased``: their personal
            fields are; ``held`` and ``released``: the legal hold `hold` began, ended.
        entries: ranges ``(start, stop)`` of entries, in order; of ``held``, those that
            the record had then.
        hold: name of a legal hold, or empty.
        record_id: what is held, or empty: everything.
        reason: as it was given.
        leaf_hash: hash of `body` in the tree.
        body: the leaf's bytes, all of the above.
    """

    idx: int
    ts: str
    event: ActEvent
    entries: tuple[Range, ...] = ()
    hold: str = ""
    record_id: str = ""
    reason: str = ""
    leaf_hash: bytes
    body: bytes

    def columns(self) -> dict[str, Any]:
        """This act as a row of the table ``entry``."""
        empty = dict.fromkeys(
            ("record_id", "kind", "asset_sha256", "manifest_id", "manifest_sha256"), ""
        )
        return {
            "idx": self.idx,
            "ts": self.ts,
            "event": self.event,
            **empty,
            "body": self.body,
            "leaf_hash": self.leaf_hash,
        }


def make(
    event: ActEvent,
    *,
    ts: str,
    entries: Sequence[Range] = (),
    hold: str = "",
    record_id: str = "",
    reason: str = "",
) -> Act:
    """An act with a fresh salt; its place is not known yet.

    Raises:
        StoreError: a text is too long or cannot be written.
    """
    for text in (hold, reason):
        if len(text) > MAX_TEXT or not (text.isprintable() or not text):
            raise StoreError(
                f"found {text!r:.80}, expected at most {MAX_TEXT} printable characters"
            )
    leaf = {
        "v": VERSION,
        "ts": ts,
        "event": event,
        "entries": [list(span) for span in entries],
        "hold": hold,
        "record_id": record_id,
        "reason": reason,
        "salt": secrets.token_bytes(SALT_BYTES),
    }
    return decode(-1, cbor.encode(leaf), leaf)


def decode(idx: int, body: bytes, leaf: dict[str, Any]) -> Act:
    """The act in a leaf whose fields were read already.

    Raises:
        KeyError, TypeError, ValueError: it is no act.
    """
    entries = tuple((int(start), int(stop)) for start, stop in leaf["entries"])
    if any(not 0 <= start < stop for start, stop in entries):
        raise ValueError(f"entries {entries!r:.100}")
    return Act(
        idx=idx,
        ts=leaf["ts"],
        event=leaf["event"],
        entries=entries,
        hold=leaf["hold"],
        record_id=leaf["record_id"],
        reason=leaf["reason"],
        leaf_hash=leaf_hash(body),
        body=body,
    )


def ranges(indexes: Iterable[int]) -> tuple[Range, ...]:
    """Indexes, in order, as the fewest ranges.

    >>> ranges([1, 2, 3, 7, 9, 10])
    ((1, 4), (7, 8), (9, 11))
    """
    found: list[Range] = []
    for index in indexes:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return tuple(found)
