"""What the acts in a log say is gone or held, compared with what is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from watermark.errors import LedgerCorrupt
from watermark.store import retention
from watermark.store.act import Act
from watermark.store.leaf import Row
from watermark.store.merkle import Range
from watermark.store.personal import PersonalKey

CLOCKS_APART = 1  # days, between machines that write one log


class Acts:
    """Gathered while the entries are read in order; judged at the end.

    An act comes after what it is about: only then is it known what was rightly gone.
    """

    def __init__(self, personal_key: PersonalKey | None, signed: int) -> None:
        """Start before the first entry.

        Args:
            personal_key: opens the personal fields, or None.
            signed: number of entries under a checkpoint; an act that is not among them
                says nothing, whoever can write the file can add one.
        """
        self._key = personal_key
        self._signed = signed
        self._fault = ""
        self._gone: list[int] = []  # bodies
        self._without: list[int] = []  # personal fields
        self._with: list[int] = []
        self._pruned: set[int] = set()
        self._erased: set[int] = set()
        self._holds: dict[tuple[str, str], int] = {}
        self._held: dict[tuple[str, str], set[int]] = {}  # what each is known to hold
        self._newest: Act | None = None  # act of pruning, by its time

    def add(self, found: Act) -> None:
        """Take what one act says."""
        self._check_clock(found)
        if found.idx >= self._signed:
            return
        if found.event == "pruned":
            self._pruned |= self._let_go(found)
            if self._newest is None or self._newest.ts < found.ts:
                self._newest = found
        elif found.event == "erased":
            self._erased |= self._let_go(found)
        elif found.event == "held":
            name = found.hold, found.record_id
            self._holds[name] = found.idx
            self._held[name] = _indexes(found.entries, found.idx)
        else:
            for name in [name for name in self._holds if name[0] == found.hold]:
                del self._holds[name], self._held[name]

    def row(self, row: Row) -> None:
        """Take an entry that has its body."""
        self._check_clock(row)
        for (_, record_id), entries in self._held.items():
            if record_id == row.record.record_id:
                entries.add(row.idx)

    def _let_go(self, found: Act) -> set[int]:
        """The entries that something of went, none of which may be held."""
        gone = _indexes(found.entries, found.idx)
        for (name, record_id), entries in self._held.items():
            if gone and (not record_id or gone & entries):
                self._fault = self._fault or (
                    f"entry {found.idx} says that entry "
                    f"{min(gone & entries or gone)} was {found.event}, but it was "
                    f"under the legal hold {name!r:.80}"
                )
        return gone

    def _check_clock(self, later: Row | Act) -> None:
        """Compare with the time of a pruning before: what went was due by that."""
        pruned = self._newest
        if pruned is not None and not _is_before(pruned.ts, later.ts):
            self._fault = self._fault or (
                f"entry {pruned.idx} says that entries were pruned at {pruned.ts}, but "
                f"entry {later.idx} came after it at {later.ts!r:.80}: the clock was "
                "wrong, and what was pruned may not have been due"
            )

    def pruned(self, idx: int) -> None:
        """Take an entry without a body."""
        self._gone.append(idx)

    def check_personal(self, row: Row, stored: Collection[tuple[Any, ...]]) -> str:
        """What is wrong with the personal fields of an entry, or ""."""
        names = {name for _, name, _ in stored}
        if names - set(row.personal):
            return f"entry {row.idx}: the table personal holds what the leaf has not"
        if not row.personal:
            return ""
        if not names:
            self._without.append(row.idx)
            return ""
        self._with.append(row.idx)
        if names != set(row.personal):
            return f"entry {row.idx}: some of its personal fields are missing"
        if self._key is None:
            return ""
        for _, name, sealed in stored:
            try:
                opening = self._key.open(sealed, idx=row.idx, name=name)
            except LedgerCorrupt as error:
                return str(error)
            if opening.commitment(name) != row.personal[name]:
                return (
                    f"entry {row.idx}: the personal field {name!r:.80} is not the one "
                    "that the leaf commits to"
                )
        return ""

    def fault(self, holds: Collection[tuple[Any, ...]]) -> str:
        """What the acts do not account for, or ""."""
        if self._fault:
            return self._fault
        for what, found, said in (
            ("body", self._gone, self._pruned),
            ("personal fields", self._without, self._erased),
        ):
            unsaid = next((idx for idx in found if idx not in said), None)
            if unsaid is not None:
                return f"entry {unsaid} lost its {what}, and no signed act says so"
        gone = set(self._gone)
        kept = next((idx for idx in sorted(self._pruned) if idx not in gone), None)
        if kept is not None:
            return f"entry {kept} was pruned, but its body is there"
        kept = next((idx for idx in self._with if idx in self._erased), None)
        if kept is not None:
            return f"entry {kept} was erased, but its personal fields are there"
        held = {(*name, idx) for name, idx in self._holds.items()}
        if held != set(holds):
            return (
                f"the table hold has {sorted(holds)!r:.200}, the acts say {held!r:.200}"
            )
        return ""


def _is_before(ts: str, later: str) -> bool:
    """Whether one time is before another, but for what clocks differ by."""
    try:
        return ts <= retention.until(later, CLOCKS_APART)
    except (TypeError, ValueError, OverflowError):
        return False


def _indexes(entries: Collection[Range], before: int) -> set[int]:
    """The indexes in the ranges of an act, which are all of entries before it."""
    return {idx for start, stop in entries for idx in range(start, min(stop, before))}
