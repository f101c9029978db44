"""Settings: what the service allows, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

MIB = 1 << 20
FORM_BYTES = 64 << 10  # of a form, beside the content in it
EFFORTS = ("quick", "normal", "thorough")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the service runs.

    Attributes:
        public_url: base URL under which strangers reach it; it stands in receipts.
        contact: ``https:`` or ``mailto:`` URL where somebody hears of mistakes, or "".
        anonymous_read: whether reading needs no token.
        workers: processes that look at content.
        queue: how many may wait for one of them; more are told to come back later.
        effort: of a look, as `Watermark.verify` has it.
        seconds: that one look may take.
        memory: bytes that one look may take.
        content: bytes of one content to look at.
        in_flight: bytes of all request bodies together.
        body_seconds: that a request body may take to arrive.
        rate: looks a minute for each address without a token.
        burst: looks that such an address may make at once.
        references: hosts (``name`` or ``name:port``) from which byReference may fetch;
            none: it is off.
        private_references: those hosts may have addresses within this network.
    """

    public_url: str = "http://127.0.0.1:8000"
    contact: str = ""
    anonymous_read: bool = True
    workers: int = 2
    queue: int = 64
    effort: str = "normal"
    seconds: float = 20.0
    memory: int = 1536 * MIB
    content: int = 32 * MIB
    in_flight: int = 256 * MIB
    body_seconds: float = 30.0
    rate: float = 30.0
    burst: int = 10
    references: frozenset[str] = frozenset()
    private_references: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: one is out of range; the message names it.
        """
        positive = {
            "workers": self.workers,
            "queue": self.queue,
            "seconds": self.seconds,
            "memory": self.memory,
            "content": self.content,
            "body_seconds": self.body_seconds,
            "rate": self.rate,
            "burst": self.burst,
        }
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} is {value}, expected more than 0")
        if self.effort not in EFFORTS:
            raise ValueError(
                f"effort is {self.effort!r:.40}, expected one of {', '.join(EFFORTS)}"
            )
        if self.in_flight < self.content:
            raise ValueError(
                f"in_flight is {self.in_flight} bytes, expected room for one content "
                f"of {self.content}"
            )
        parts = urlsplit(self.public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(
                f"public_url is {self.public_url!r:.200}, expected such as "
                "https://verify.acme.example"
            )
        if self.contact and not self.contact.startswith(("https://", "mailto:")):
            raise ValueError(
                f"contact is {self.contact!r:.200}, expected an https: or mailto: URL"
            )
