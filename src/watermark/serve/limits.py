"""Limits: of each address, of each request body, and of all bodies together."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Message, Receive

from watermark.serve.problems import Problem, busy

ADDRESSES = 10_000  # remembered; of more the one not seen for longest is forgotten


class Rates:
    """A bucket for each address: `burst` at once, refilled at `rate` a minute."""

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        addresses: int = ADDRESSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second, self._burst = rate / 60, float(burst)
        self._most, self._clock = addresses, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Seconds until this address may ask again; 0: now, and it is counted."""
        name, now = network(address), self._clock()
        left, last = self._buckets.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - last) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[name] = (left - (wait == 0), now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait


def network(address: str) -> str:
    """What counts as one asker: an IPv4 address, the /64 of an IPv6 one.

    >>> network("2001:db8:1:2:3:4:5:6"), network("::ffff:192.0.2.1")
    ('2001:db8:1:2::/64', '192.0.2.1')
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip.packed[:8] + bytes(8), 64)))
    return str(ip)


class Budget:
    """Bytes of all bodies that are held at one time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0

    def take(self, count: int) -> None:
        """Hold `count` more.

        Raises:
            Problem: 503: there is no room.
        """
        if self.used + count > self._most:
            raise busy("too much is being uploaded at this moment")
        self.used += count

    def give(self, count: int) -> None:
        """Hold `count` less."""
        self.used -= count


class Body:
    """The body of one request: so many bytes at most, within so many seconds."""

    def __init__(
        self, receive: Receive, *, most: int, seconds: float, budget: Budget
    ) -> None:
        self._receive, self._most, self._budget = receive, most, budget
        self._deadline = time.monotonic() + seconds
        self._ended = False
        self.taken = 0

    async def receive(self) -> Message:
        """What the server got next.

        Raises:
            Problem: 408 too slow, 413 too large, 503 no room.
        """
        if self._ended:
            return await self._receive()
        left = self._deadline - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise Problem(408, "too-slow", "the body took too long to arrive") from None
        count = len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self.taken + count > self._most:
            raise too_large(self._most)
        self._budget.take(count)
        self.taken += count
        return message

    def close(self) -> None:
        """The request is answered: its bytes are held no longer."""
        self._budget.give(self.taken)
        self.taken = 0


def too_large(most: int) -> Problem:
    """413."""
    return Problem(413, "too-large", f"at most {most} bytes are taken here")
