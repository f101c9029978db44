"""Patience: a connection that does not come to its request, or to its end, is closed.

uvicorn waits for ever for the rest of a request's head, and for somebody to read its
answer. Whoever opens connections and sends a byte now and then, or asks and reads
nothing, would hold all that there are.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Impatient(H11Protocol):
    """One connection.

    `seconds` may pass until the head of a request is there, and `stalled_seconds` while
    an answer waits to be read.
    """

    seconds = 10.0
    stalled_seconds = 30.0
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, unless a request is under way."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop()
        self._resume()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for somebody who has much to read."""
        super().pause_writing()
        self._stall()

    def resume_writing(self) -> None:
        """They read; what is being closed has its time and no more."""
        if not self.transport.is_closing():
            self._resume()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close when there was nothing to do; the last answer may still be unread."""
        super().timeout_keep_alive_handler()
        self._stall()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
        self._stall()

    def _stall(self) -> None:
        if self._stalled is None:
            self._stalled = self.loop.call_later(
                self.stalled_seconds, self.transport.abort
            )

    def _resume(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
