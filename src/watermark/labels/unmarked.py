"""A file without its explicit mark, on the user's request (Labelling Measures, Art. 9).

The user asks for it, the agreement says what the user's duties are then, and the log
keeps who got it for six months at least. The label in the metadata stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from watermark.errors import LabelError
from watermark.labels import regimes
from watermark.record import utc_now

CLAUSE = "Labelling Measures, Art. 9"


def retention_days() -> int:
    """How long the log keeps who got such a file, under whatever regime.

    China's days: six calendar months, whichever they are.
    """
    return regimes.load("cn")[-1].retention_days


@dataclass(frozen=True, slots=True)
class UnmarkedRequest:
    """What the law asks for before a file goes out without its explicit mark.

    Attributes:
        recipient: the provider's own id of the user; the log keeps it encrypted.
        agreement: version of the user agreement that states the user's duties.
        requested_at: when the user asked, RFC 3339, UTC.
    """

    recipient: str = field(repr=False)
    agreement: str
    requested_at: str = field(default_factory=utc_now)

    @property
    def personal(self) -> dict[str, str]:
        """What the log keeps of it, as personal fields of an entry."""
        return {
            "recipient": self.recipient,
            "agreement": self.agreement,
            "requested_at": self.requested_at,
        }

    def check(self) -> None:
        """Return if everything is there.

        Raises:
            LabelError: something is not.
        """
        try:
            datetime.fromisoformat(self.requested_at)
        except (ValueError, TypeError):
            raise LabelError(
                CLAUSE,
                f"requested_at is {self.requested_at!r:.40}, expected a time such as "
                "2026-11-23T09:00:00Z",
            ) from None
        for name in ("recipient", "agreement"):
            if not str(getattr(self, name)).strip():
                raise LabelError(
                    CLAUSE,
                    f"{name} is empty: the user has to ask, the agreement has to state "
                    "the user's duties, and the log has to say who got it",
                )
