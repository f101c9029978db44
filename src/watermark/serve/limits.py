"""Limits: of each address, of each request body, and of all bodies together."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from starlette.types import Message, Receive

from watermark.serve.problems import Problem, busy

ADDRESSES = 20_000  # remembered; of more the one not seen for longest is forgotten
SITE_SHARE = 8  # networks of one IPv6 site that may ask as much as they like


class Rates:
    """A bucket for each network: `burst` at once, refilled at `rate` a minute.

    An IPv6 address takes from two buckets: its /64's, and its /48's, which is
    `SITE_SHARE` times as large. Who holds a /48 has 65,536 networks to ask from.
    """

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
        costs = networks(address)
        wait = max(self._wait(name, cost) for name, cost in costs.items())
        if wait == 0:
            self.charge(address, 1)
        return wait

    def charge(self, address: str, looks: float) -> None:
        """Count more: what was asked cost so much. It may become a debt."""
        now = self._clock()
        for name, cost in networks(address).items():
            left = self._left(name) - looks * cost
            self._buckets[name] = (left, now)
            self._buckets.move_to_end(name)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)

    def _wait(self, name: str, cost: float) -> float:
        return max(0.0, cost - self._left(name)) / self._per_second

    def _left(self, name: str) -> float:
        now = self._clock()
        left, last = self._buckets.get(name, (self._burst, now))
        return min(self._burst, left + (now - last) * self._per_second)


def networks(address: str) -> dict[str, float]:
    """Who counts as one asker, and what share of a look each of them pays.

    >>> networks("192.0.2.1"), networks("::ffff:192.0.2.1")
    ({'192.0.2.1': 1.0}, {'192.0.2.1': 1.0})
    >>> networks("2001:db8:1:2:3:4:5:6")
    {'2001:db8:1:2::/64': 1.0, '2001:db8:1::/48': 0.125}
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return {address[:64]: 1.0}
    if not isinstance(ip, ipaddress.IPv6Address):
        return {str(ip): 1.0}
    if ip.ipv4_mapped:
        return {str(ip.ipv4_mapped): 1.0}
    costs = {64: 1.0, 48: 1 / SITE_SHARE}
    return {
        str(ipaddress.ip_network((ip, bits), strict=False)): cost
        for bits, cost in costs.items()
    }


def asker(address: str) -> str:
    """Who is behind an address: an IPv4 address, the /64 of an IPv6 one."""
    return next(iter(networks(address)))


class Budget:
    """Bytes of all contents that are held at one time, and of each asker's."""

    def __init__(self, most: int, share: int | None = None) -> None:
        self._most, self._share = most, most if share is None else share
        self._held: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """Bytes that are held now."""
        return self._held.total()

    def take(self, count: int, who: str = "") -> None:
        """Hold `count` more.

        Raises:
            Problem: 503: there is no room, or `who` has all that one asker may.
        """
        if self.used + count > self._most or self._held[who] + count > self._share:
            raise busy("too much is being uploaded at this moment")
        self._held[who] += count

    def give(self, count: int, who: str = "") -> None:
        """Hold `count` less."""
        self._held[who] -= count
        if not self._held[who]:
            del self._held[who]


class Body:
    """The body of one request: so many bytes at most, within so many seconds."""

    def __init__(
        self,
        receive: Receive,
        *,
        most: int,
        seconds: float,
        budget: Budget,
        who: str = "",
    ) -> None:
        self._receive, self._most, self._budget = receive, most, budget
        self._who = who
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
        self._budget.take(count, self._who)
        self.taken += count
        return message

    def close(self) -> None:
        """The request is answered: its bytes are held no longer."""
        self._budget.give(self.taken, self._who)
        self.taken = 0


def too_large(most: int) -> Problem:
    """413."""
    return Problem(413, "too-large", f"at most {most} bytes are taken here")
