"""Retention: until when an entry has to be kept, and when it may go.

The date stands in the entry's leaf from the day it was appended, so that no later
setting shortens it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from watermark.errors import StoreError

DAYS = 184  # six months are at most 184 days
MAX_DAYS = 36_525
_FORM = "%Y-%m-%dT%H:%M:%SZ"


def days(wanted: int, floor: int = 0) -> int:
    """`wanted` days, once they are found to be enough.

    Args:
        wanted: a whole number.
        floor: least days that the law asks for.

    Raises:
        StoreError: they are not, or they are no number of days.
    """
    check_days(wanted)
    if wanted < floor:
        raise StoreError(
            f"found a retention of {wanted} days, expected at least {floor}: the "
            "regimes of this home ask for them"
        )
    return wanted


def check_days(wanted: int) -> None:
    """Check a number of days.

    Raises:
        StoreError: it is none.
    """
    if type(wanted) is not int or not 0 <= wanted <= MAX_DAYS:
        raise StoreError(
            f"found a retention of {wanted!r:.80} days, expected a whole number from "
            f"0 to {MAX_DAYS}"
        )


@lru_cache(maxsize=16)
def until(ts: str, kept: int) -> str:
    """The time `kept` days after `ts`, in the form of both: RFC 3339, UTC."""
    return (time(ts) + timedelta(days=kept)).strftime(_FORM)


def check_time(ts: str) -> None:
    """Check the form of a time.

    Raises:
        StoreError: it is none, or has another form than an entry's.
    """
    try:
        good = time(ts).strftime(_FORM) == ts
    except ValueError:
        good = False
    if not good:
        raise StoreError(
            f"found {ts!r:.80}, expected a time in UTC such as 2026-11-23T09:00:00Z"
        )


def time(ts: str) -> datetime:
    """The time in an entry.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(ts, _FORM).replace(tzinfo=UTC)
