"""Getting time-stamps: from one of several authorities, again if need be, or later.

>>> stamper = TimeStamper(["http://tsa.example"], anchors=roots)  # doctest: +SKIP
>>> stamper.stamp(b"what was signed").time                         # doctest: +SKIP

Signing need not wait for an authority: `Deferred` keeps the digests of what was signed
in a folder until `Deferred.stamp` is called, perhaps by a timer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from watermark.errors import KeyFileError, StoreError
from watermark.files import locked, read_private, write_atomically
from watermark.sign import fetching, timestamp
from watermark.sign.timestamp import (
    MAX_TOKEN,
    Refusal,
    TimeStamp,
    TimestampError,
    Untrustworthy,
)

SCHEMA = "watermark.pendingstamp/1"
NONCE_BITS = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Unavailable(TimestampError):
    """No authority could be reached, or none answered with a response."""


class Slow(TimestampError):
    """An authority did not answer in time."""


class TimeStamper:
    """Asks time-stamp authorities, and believes no answer that does not verify."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        anchors: bytes,
        seconds: float = 10,
        rounds: int = 3,
        pause: float = 0.5,
        tolerance: timedelta = timedelta(minutes=5),
        within: float = 60,
    ) -> None:
        """Take the authorities.

        Args:
            urls: of the authorities, in the order of preference.
            anchors: PEM certificates that they have to lead to, as `watermark.sign.
                trust` keeps them.
            seconds: for one answer.
            rounds: how often all of them are asked at most. One that refused or lied is
                not asked again.
            pause: seconds before the second round; it doubles with each.
            tolerance: how far the time may be from this machine's clock.
            within: seconds for all rounds together.

        Raises:
            KeyFileError: `anchors` are not PEM certificates.
        """
        try:
            self._anchors = x509.load_pem_x509_certificates(anchors)
        except ValueError as error:
            raise KeyFileError(
                f"the TSA anchors cannot be read ({error}); expected PEM certificates"
            ) from error
        self._urls, self._seconds = tuple(urls), seconds
        self._rounds, self._pause, self._tolerance = rounds, pause, tolerance
        self._within = within

    def stamp(self, message: bytes) -> TimeStamp:
        """A verified time-stamp over `message`; only its SHA-256 leaves this machine.

        Raises:
            Unavailable: no authority could be reached.
            Slow: the last one asked did not answer in time.
            Refusal: the last one asked will not stamp.
            Untrustworthy: the last one asked lied.
        """
        return self.stamp_digest(timestamp.imprint(message))

    def stamp_digest(self, digest: bytes) -> TimeStamp:
        """The same for a digest (SHA-256) that was made earlier."""
        failure: TimestampError = Unavailable("no time-stamp authority was given")
        useless: set[str] = set()
        deadline = time.monotonic() + self._within
        for turn in range(self._rounds):
            if turn and self._urls:
                pause = self._pause * 2 ** (turn - 1)
                if time.monotonic() + pause >= deadline:
                    break
                time.sleep(pause)
            for url in self._urls:
                left = deadline - time.monotonic()
                if url in useless or left <= 0:
                    continue
                try:
                    return self._ask(url, digest, min(self._seconds, left))
                except (Refusal, Untrustworthy) as error:
                    useless.add(url)
                    failure = error
                except TimestampError as error:
                    failure = error
            if useless == set(self._urls):
                break
        raise failure

    def _ask(self, url: str, digest: bytes, seconds: float) -> TimeStamp:
        nonce = secrets.randbits(NONCE_BITS)
        try:
            response = fetching.exchange(
                url,
                body=timestamp.request(digest, nonce),
                content_type="application/timestamp-query",
                answer_type="application/timestamp-reply",
                limit=MAX_TOKEN,
                seconds=seconds,
            )
        except fetching.TooSlow as error:
            raise Slow(f"the time-stamp authority is too slow: {error}") from error
        except fetching.FetchError as error:
            raise Unavailable(
                f"the time-stamp authority cannot be reached: {error}"
            ) from error
        now = datetime.now(UTC)
        try:
            token = timestamp.answer(response)
            found = timestamp.verify(token, digest, self._anchors, nonce=nonce)
        except TimestampError as error:
            raise type(error)(f"{url}: {error}") from error
        if abs(found.time - now) > self._tolerance:
            raise Untrustworthy(
                f"{url}: the time {found.time:%Y-%m-%d %H:%M:%S} found, expected about "
                f"{now:%Y-%m-%d %H:%M:%S} UTC: its clock is wrong, or this machine's"
            )
        return found

    def __repr__(self) -> str:
        return f"TimeStamper({', '.join(self._urls)})"


@dataclass(frozen=True, slots=True)
class Round:
    """What one call of `Deferred.stamp` did.

    Attributes:
        stamped: the names that have a time-stamp now.
        waiting: how many have none yet.
        failure: why it stopped, or None.
    """

    stamped: tuple[str, ...]
    waiting: int
    failure: TimestampError | None


class Deferred:
    """A folder of digests that wait for a time-stamp, and of the stamps they got."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def put(self, name: str, message: bytes) -> None:
        """Remember that `message` shall be stamped; durable when this returns.

        Args:
            name: how it is asked for again, such as a manifest's label.
            message: what shall be stamped; only its digest is kept.

        Raises:
            StoreError: the folder cannot be written, or `name` waits for a stamp over
                another message.
        """
        digest = timestamp.imprint(message).hex()
        row = {"schema": SCHEMA, "name": name, "digest": digest}
        path = self._path(name, "pending")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = json.dumps(row).encode()
            if path.exists() and path.read_bytes() != data:
                raise StoreError(f"{name!r} waits for a stamp over something else")
            write_atomically(path, data, mode=0o600, replace=True)
        except OSError as error:
            raise StoreError(f"time-stamps in {self._folder}: {error}") from error

    def waiting(self) -> list[str]:
        """The names that have no stamp yet, oldest first."""
        return [name for name, _ in self._rows()]

    def token(self, name: str) -> bytes | None:
        """The stamp of `name`, or None while it waits."""
        try:
            return read_private(self._path(name, "token"), MAX_TOKEN)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"time-stamps in {self._folder}: {error}") from error

    def stamp(self, stamper: TimeStamper) -> Round:
        """Get the stamps that are due; stops at the first failure.

        Raises:
            StoreError: the folder cannot be read or written.
        """
        if not self._folder.is_dir():
            return Round((), 0, None)
        done: list[str] = []
        failure = None
        try:
            with locked(self._folder / ".lock"):
                for name, digest in self._rows():
                    try:
                        found = stamper.stamp_digest(digest)
                    except TimestampError as error:
                        failure = error
                        break
                    token = self._path(name, "token")
                    write_atomically(token, found.token, mode=0o600, replace=True)
                    self._path(name, "pending").unlink()
                    done.append(name)
        except OSError as error:
            raise StoreError(f"time-stamps in {self._folder}: {error}") from error
        return Round(tuple(done), len(self._rows()), failure)

    def _rows(self) -> list[tuple[str, bytes]]:
        found = []
        for path in self._folder.glob("*.pending"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                found.append((path.stat().st_mtime_ns, *self._row(path)))
        return [(name, digest) for _, name, digest in sorted(found)]

    def _row(self, path: Path) -> tuple[str, bytes]:
        try:
            row = json.loads(read_private(path))
            name, digest = row["name"], row["digest"]
            if row["schema"] != SCHEMA or not _DIGEST.fullmatch(digest):
                raise ValueError("another schema, or no digest")
            return str(name), bytes.fromhex(digest)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{path} is damaged: {error!r}") from error

    def _path(self, name: str, suffix: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return self._folder / f"{digest}.{suffix}"
