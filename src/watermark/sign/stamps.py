"""Which authorities time-stamp what a credential signs, and when they are asked.

A folder of settings lies beside the credential's keys and outlives their rotation:

stamps/settings.toml   the authorities, when they are asked, and the room for an answer
stamps/anchors.pem     the certificates that they have to lead to
stamps/waiting/        digests of what was signed and not stamped yet, and its stamps

`now` asks while signing, and nothing is signed without an answer. `deferred` leaves
room in the signature and remembers its digest: `watermark.sign.restamp` puts the stamp
in.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from watermark.errors import KeyFileError, SigningError
from watermark.files import write_atomically
from watermark.sign.countersign import ROOM

if TYPE_CHECKING:
    from watermark.sign.stamping import Deferred, TimeStamper

SCHEMA = "watermark.stamps/1"
FOLDER = "stamps"
SETTINGS, ANCHORS, WAITING = "settings.toml", "anchors.pem", "waiting"
MAX_ROOM = 1 << 16

When = Literal["now", "deferred", "never"]
WHEN: tuple[When, ...] = get_args(When)


@dataclass(frozen=True, slots=True)
class Stamps:
    """The settings of one credential.

    Attributes:
        urls: of the authorities, in the order of preference.
        anchors: PEM certificates that they have to lead to.
        when: they are asked, unless a call says otherwise.
        room: bytes that are left for a token; those of public authorities take 3 to 8
            thousand.
        folder: of these settings and of what waits, or None where nothing is kept.
        seconds: for all questions about one signature together.
    """

    urls: tuple[str, ...]
    anchors: bytes = field(repr=False)
    when: When = "now"
    room: int = ROOM
    folder: Path | None = None
    seconds: float = 30

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            SigningError: no authority, or a value out of its range.
        """
        good = self.urls and all(
            u.startswith(("http://", "https://")) for u in self.urls
        )
        if not good:
            raise SigningError(
                f"time-stamp authorities {list(self.urls)} found, expected URLs that "
                "begin with https:// or http://"
            )
        check(self.when)
        if not 0 < self.room <= MAX_ROOM or not 0 < self.seconds <= 600:
            raise SigningError(
                f"room of {self.room} bytes and {self.seconds} seconds found, expected "
                f"1 to {MAX_ROOM} bytes and at most 600 seconds"
            )

    @classmethod
    def load(cls, credential: Path) -> Self | None:
        """The settings beside the credential in this folder, or None.

        Raises:
            KeyFileError: they are damaged.
        """
        folder = credential / FOLDER
        path = folder / SETTINGS
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
            anchors = (folder / ANCHORS).read_bytes()
        except FileNotFoundError:
            if path.exists():
                raise KeyFileError(f"{folder / ANCHORS} is missing") from None
            return None
        except (OSError, ValueError) as error:
            raise KeyFileError(f"{path} cannot be read: {error}") from error
        try:
            return cls(folder=folder, anchors=anchors, **_fields(found))
        except (KeyError, TypeError, ValueError, SigningError) as error:
            raise KeyFileError(
                f"{path} is damaged ({error}): delete it, or run `wm stamp use` again"
            ) from error

    @classmethod
    def save(
        cls,
        credential: Path,
        urls: Sequence[str],
        anchors: bytes,
        *,
        when: When = "now",
        room: int = ROOM,
        seconds: float = 30,
    ) -> Self:
        """Write the settings of the credential in this folder, in place of others.

        Raises:
            KeyFileError: `anchors` are not PEM certificates, or the folder cannot be
                written.
            SigningError: a value out of its range.
        """
        folder = credential / FOLDER
        made = cls(tuple(urls), anchors, when, room, folder, seconds)
        made.stamper()  # reads the anchors
        text = (
            f"schema = {json.dumps(SCHEMA)}\n"
            f"authorities = {json.dumps(list(urls))}  # asked in this order\n"
            f"when = {json.dumps(when)}  # now, deferred or never\n"
            f"room = {room}  # bytes for a time-stamp in each signature\n"
            f"seconds = {made.seconds}  # for all questions about one signature\n"
        )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(folder / ANCHORS, anchors, replace=True)
            write_atomically(folder / SETTINGS, text.encode(), replace=True)
        except OSError as error:
            raise KeyFileError(f"{folder} cannot be written: {error}") from error
        return made

    def stamper(self) -> TimeStamper:
        """What asks the authorities.

        Raises:
            KeyFileError: the anchors are not PEM certificates.
        """
        from watermark.sign.stamping import TimeStamper

        return TimeStamper(self.urls, anchors=self.anchors, within=self.seconds)

    def waiting(self) -> Deferred | None:
        """What was signed and not stamped yet; None where nothing is kept."""
        from watermark.sign.stamping import Deferred

        return None if self.folder is None else Deferred(self.folder / WAITING)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done about the time-stamp of one signature.

    Attributes:
        when: it is stamped.
        room: bytes that the signature leaves for a token; 0 where none will come.
        stamps: who is asked; None: `when` is not ``now``, and nothing is remembered.
    """

    when: When = "never"
    room: int = 0
    stamps: Stamps | None = None

    def token(self, message: bytes) -> bytes:
        """The time-stamp over `message`, or nothing if it is not made now.

        Raises:
            TimestampError: no authority gave one that can be believed.
        """
        if self.when != "now" or self.stamps is None:
            return b""
        return self.stamps.stamper().stamp(message).token

    def remember(self, name: str, message: bytes) -> None:
        """Keep for later what was not stamped now.

        Raises:
            StoreError: the folder cannot be written.
        """
        if self.when == "deferred" and self.stamps is not None:
            waiting = self.stamps.waiting()
            if waiting is not None:
                waiting.put(name, message)


NEVER = Plan()


def plan(stamps: Stamps | None, when: When | None = None) -> Plan:
    """What is done, by a credential's settings and what the caller wants.

    Args:
        stamps: of the credential.
        when: as the caller says; None: as the settings say.

    Raises:
        SigningError: there is no such time, or nobody to ask now.
    """
    if when is None:
        when = "never" if stamps is None else stamps.when
    check(when)
    if when == "never":
        return NEVER
    if stamps is None and when == "now":
        raise SigningError(
            "no time-stamp authority is known, expected one to ask now: name it with "
            "`wm stamp use URL --anchors FILE`, or sign with timestamp='deferred'"
        )
    return Plan(when, ROOM if stamps is None else stamps.room, stamps)


def anchors(credential: Path) -> bytes:
    """Certificates (PEM) of the authorities that stamp for this credential, or none."""
    try:
        return (credential / FOLDER / ANCHORS).read_bytes()
    except OSError:
        return b""


def check(when: str) -> None:
    """Return if there is such a time.

    Raises:
        SigningError: there is not.
    """
    if when not in WHEN:
        raise SigningError(
            f"time-stamp {when!r} found, expected one of {', '.join(WHEN)}"
        )


def _fields(found: dict[str, Any]) -> dict[str, Any]:
    if found["schema"] != SCHEMA:
        raise ValueError(f"schema {found['schema']!r}, expected {SCHEMA!r}")
    room, seconds = found["room"], found.get("seconds", 30)
    if type(room) is not int or type(seconds) not in (int, float):
        raise ValueError("room and seconds are no numbers")
    return {
        "urls": tuple(map(str, found["authorities"])),
        "when": str(found["when"]),
        "room": room,
        "seconds": float(seconds),
    }
