"""The sequencer: one writer at a time, and one transaction for all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from watermark.errors import LedgerCorrupt, StoreError


class CommitUnknown(StoreError):
    """A transaction failed at its commit: what it wrote may be durable, or not."""


Item = TypeVar("Item")
Result = TypeVar("Result")


class _Ticket(Generic[Item, Result]):
    """What one thread wants written, and what came of it.

    Attributes:
        turn: held until the thread need not wait any more: it is done, or it leads.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.results: Sequence[Result] | None = None
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()

    @property
    def done(self) -> bool:
        return self.results is not None or self.error is not None


class Sequencer(Generic[Item, Result]):
    """Gives every item its turn, in the order of arrival.

    The thread whose turn it is writes what all the others brought meanwhile, so that a
    hundred threads pay for one flush to disk together, and not for a hundred. Then it
    wakes those it wrote for, all at once so that they soon bring the next, and hands
    its turn to one who came too late.

    >>> sequencer = Sequencer(lambda items: [item * 2 for item in items])
    >>> sequencer.submit([1, 2])
    [2, 4]
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int = 2000,
    ) -> None:
        """Make one.

        Args:
            write: writes items in one transaction, whole or not at all; one result for
                each.
            most: about how many items go into one transaction.
        """
        self._write = write
        self._most = most
        self._guard = threading.Lock()
        self._waiting: list[_Ticket[Item, Result]] = []
        self._leader: _Ticket[Item, Result] | None = None

    def submit(self, items: Sequence[Item]) -> Sequence[Result]:
        """The results of `items`, once they are written; what `write` raises for them.

        Items of one call are written together.
        """
        ticket: _Ticket[Item, Result] = _Ticket(items)
        try:
            with self._guard:
                self._waiting.append(ticket)
                self._leader = leader = self._leader or ticket
            if leader is not ticket:
                ticket.turn.acquire()
            while not ticket.done:
                self._write_next()
        finally:
            self._leave(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.results or []

    def _write_next(self) -> None:
        tickets = self._take()
        try:
            self._lead(tickets)
        finally:
            for ticket in tickets:
                ticket.turn.release()

    def _leave(self, ticket: _Ticket[Item, Result]) -> None:
        """Wait no more, and let the next lead if `ticket` did."""
        with self._guard:
            if ticket in self._waiting:  # its thread was stopped as it waited
                self._waiting.remove(ticket)
            if self._leader is ticket:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.turn.release()

    def _take(self) -> list[_Ticket[Item, Result]]:
        with self._guard:
            count, total = 0, 0
            for ticket in self._waiting:
                total += len(ticket.items)
                if count and total > self._most:
                    break
                count += 1
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _lead(self, tickets: Sequence[_Ticket[Item, Result]]) -> None:
        """Write for all of `tickets`; each is done after, well or not."""
        try:
            self._together(tickets)
        except StoreError as error:
            # What may be written already is never written again.
            if len(tickets) == 1 or isinstance(error, LedgerCorrupt | CommitUnknown):
                _fail(tickets, error)
                return
            self._one_by_one(tickets)  # one of them is at fault: each for itself
        except Exception as error:
            _fail(tickets, error)
        except BaseException as error:
            _fail(tickets, _stopped(error))
            raise

    def _one_by_one(self, tickets: Sequence[_Ticket[Item, Result]]) -> None:
        try:
            for ticket in tickets:
                self._lead([ticket])
        except BaseException as error:  # stopped: those after it had no turn
            _fail(tickets, _stopped(error))
            raise

    def _together(self, tickets: Sequence[_Ticket[Item, Result]]) -> None:
        items = [item for ticket in tickets for item in ticket.items]
        results, start = self._write(items), 0
        for ticket in tickets:
            stop = start + len(ticket.items)
            ticket.results, start = results[start:stop], stop


def _fail(tickets: Sequence[_Ticket[Item, Result]], error: BaseException) -> None:
    for ticket in tickets:
        if not ticket.done:
            ticket.error = error


def _stopped(error: BaseException) -> StoreError:
    """What the other threads are told when the one that wrote for them was stopped."""
    return StoreError(
        f"the thread that wrote this was stopped ({type(error).__name__}): look it up "
        "before appending it again, it may be in the ledger"
    )
