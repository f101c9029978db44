"""What a linter says of one thing: what it found, what it expected, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: a stable name, such as ``no-key-usage``.
        level: ``error``: nothing can be signed. ``warning``: strangers may distrust it.
        subject: the certificate (its place and name), the key, or the file.
        found: what is there.
        expected: what should be.
        action: what to do.
    """

    code: str
    level: Level
    subject: str
    found: str
    expected: str
    action: str

    def __str__(self) -> str:
        return (
            f"certificate check {self.code!r}: {self.subject}: found {self.found}; "
            f"expected {self.expected}: {self.action}"
        )


def error(code: str, subject: str, found: str, expected: str, action: str) -> Finding:
    """A finding with which nothing can be signed."""
    return Finding(code, "error", subject, found, expected, action)


def warning(code: str, subject: str, found: str, expected: str, action: str) -> Finding:
    """A finding for which strangers may distrust what is signed."""
    return Finding(code, "warning", subject, found, expected, action)
