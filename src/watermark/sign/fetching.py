"""One HTTP request with limits: the only place in this package that opens a socket.

Nothing calls it unless a user asked for it by name: a time-stamp, a revocation status,
a new trust list, the repositories that `resolve=` names. Reading and verifying never do
by themselves. The whole exchange has one deadline, the answer a largest size, and
redirects are not followed.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from watermark.errors import WatermarkError

PORTS = {"http": 80, "https": 443}
MAX_URL = 2048
MAX_HEAD = 1 << 20  # bytes of an answer beside its body: head, and marks of chunks


class FetchError(WatermarkError):
    """A request over the network did not succeed."""


class Unreachable(FetchError):
    """No connection, or it broke."""


class TooSlow(FetchError):
    """The deadline passed."""


class Refused(FetchError):
    """The server, or a limit of ours, refused.

    Attributes:
        status: the HTTP status, or 0 where it was our own limit.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def exchange(
    url: str,
    *,
    body: bytes | None = None,
    content_type: str = "application/octet-stream",
    answer_type: str | None = None,
    limit: int,
    seconds: float,
    https_only: bool = False,
    public_only: bool = False,
) -> bytes:
    """GET `url`, or POST `body` to it, and give the answer's body.

    Args:
        url: http or https, without user name.
        body: what to post; None gets.
        content_type: of `body`.
        answer_type: the content type that the answer must have; None takes any.
        limit: the most bytes of the answer.
        seconds: for everything after the name is resolved.
        https_only: refuse plain http.
        public_only: refuse addresses that are not public: for URLs that somebody else
            wrote, such as those in a certificate.

    Raises:
        Unreachable: no connection, or it broke.
        TooSlow: the deadline passed.
        Refused: another status than 200, a wrong type, too many bytes, or a URL that
            is not allowed.
    """
    scheme, host, port, target = _parts(url, https_only)
    deadline = time.monotonic() + seconds
    headers = {"Accept": answer_type or "*/*", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = content_type
    try:
        wire = _connected(host, port, scheme == "https", deadline, public_only)
        with wire:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = _Timed(wire, deadline, limit + MAX_HEAD)
            method = "GET" if body is None else "POST"
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            return _content(answer, url, limit, answer_type)
    except TimeoutError as error:
        raise TooSlow(f"{url}: no answer within {seconds:g} seconds") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(f"{url}: {type(error).__name__}: {error}") from error


def _parts(url: str, https_only: bool) -> tuple[str, str, int, str]:
    allowed = ("https",) if https_only else tuple(PORTS)
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"{url[:200]!r} is no URL: {error}") from error
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    plain = url.isascii() and url.isprintable() and " " not in url
    if scheme not in allowed or not host or not plain or len(url) > MAX_URL:
        raise Refused(
            f"the URL {url[:200]!r} found, expected one that starts with "
            f"{' or '.join(f'{name}://' for name in allowed)} and a host"
        )
    if parts.username is not None or parts.password is not None:
        raise Refused("the URL holds a user name or password, expected none")
    return scheme, host, port or PORTS[scheme], target


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # IPv4 within IPv6 of old, RFC 4291


def _is_public(address: str) -> bool:
    """Whether an address, and the IPv4 address within it, are of the whole internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if ip in _NAT64 or ip in _COMPATIBLE:
            within = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if within is not None:
            return within.is_global and not within.is_multicast
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast


def _connected(
    host: str, port: int, secure: bool, deadline: float, public_only: bool
) -> socket.socket:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if public_only:  # each of them: the connection is made to the one that was checked
        for *_, address in addresses:
            if not _is_public(str(address[0]).partition("%")[0]):
                raise Refused(
                    f"{host} is at {address[0]}, which is not a public address: a file "
                    "must not choose what is asked inside this network"
                )
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in addresses:
        wire = socket.socket(family, kind, protocol)
        try:
            wire.settimeout(_left(deadline))
            wire.connect(address)
            if secure:
                context = ssl.create_default_context()
                wire.settimeout(_left(deadline))
                return context.wrap_socket(wire, server_hostname=host)
            return wire
        except TimeoutError:
            wire.close()
            raise
        except OSError as error:
            wire.close()
            failure = error
    raise failure


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline passed")
    return left


class _Timed(io.RawIOBase):
    """A socket whose every read and write ends at one deadline.

    A socket's own timeout starts anew with every byte, so that a server which sends one
    byte a second could keep a caller for hours.
    """

    def __init__(self, wire: socket.socket, deadline: float, most: int) -> None:
        self._wire, self._deadline, self._left = wire, deadline, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(_left(self._deadline))
        count = self._wire.recv_into(buffer)
        # `http.client` reads without end where a chunk says that it has -1 bytes.
        self._left -= count
        if self._left < 0:
            raise OSError("it sent more than was asked for")
        return count

    def sendall(self, data: bytes) -> None:
        self._wire.settimeout(_left(self._deadline))
        self._wire.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._wire, self._deadline, self._left))


def _content(
    answer: http.client.HTTPResponse, url: str, limit: int, answer_type: str | None
) -> bytes:
    if answer.status != 200:
        to = answer.getheader("Location", "")[:200]
        found = f", which points to {to}: redirects are not followed" if to else ""
        raise Refused(f"{url} answered {answer.status}{found}", answer.status)
    kind = answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    if answer_type is not None and kind != answer_type:
        raise Refused(f"{url} answered {kind[:80]!r}, expected {answer_type!r}")
    data = answer.read(limit + 1)
    if len(data) > limit:
        raise Refused(f"{url} answered more than {limit} bytes")
    if answer.length:  # the connection ended early
        raise Unreachable(f"{url}: {answer.length} bytes of the answer are missing")
    return data
