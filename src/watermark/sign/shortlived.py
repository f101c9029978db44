"""Short-lived leaves: a key that is never on disk, and a certificate for hours or days.

When the life of a leaf is short, a stolen key is worth little and nothing has to be
revoked. What was signed outlives the leaf only with a time-stamp
(`watermark.sign.timestamp`): without one a verifier calls it expired.

>>> from datetime import timedelta
>>> from watermark.sign.authority import Authority
>>> leaves = ShortLived.under(Authority.create("Acme"), timedelta(hours=8))
>>> leaves.current() is leaves.current()
True
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NoReturn, Self

from watermark.errors import SigningError
from watermark.sign import chain
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential
from watermark.sign.signer import FileSigner, PublicKey, generate, private_pem

RENEW_AT = 0.5  # of the life: half of it is left when a new leaf is asked for


class ShortLived:
    """Gives the credential of the moment, and renews it in time. Threads may share it.

    After a fork each process makes its own key.
    """

    __slots__ = (
        "_algorithm",
        "_credential",
        "_ends",
        "_issue",
        "_lock",
        "_process",
        "_renew",
        "_root_pem",
    )

    def __init__(
        self,
        issue: Callable[[PublicKey], bytes],
        *,
        algorithm: str = "ed25519",
        root_pem: bytes | None = None,
    ) -> None:
        """Take the function that asks a certificate authority.

        Args:
            issue: answers the chain (PEM, leaf first) for a public key; what it raises
                reaches whoever calls `current`, unless the old leaf is still valid.
            algorithm: of the keys.
            root_pem: the root that the chains lead to, if at hand.
        """
        self._issue, self._algorithm, self._root_pem = issue, algorithm, root_pem
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._process = 0
        self._renew = self._ends = datetime.min.replace(tzinfo=UTC)

    @classmethod
    def under(
        cls, authority: Authority, life: timedelta, *, algorithm: str = "ed25519"
    ) -> Self:
        """Leaves of a development authority that was kept."""

        def issue(public_key: PublicKey) -> bytes:
            return authority.chain_pem(authority.certify(public_key, life=life))

        return cls(issue, algorithm=algorithm, root_pem=authority.root_pem)

    def current(self, now: datetime | None = None) -> Credential:
        """The credential to sign with now.

        Raises:
            SigningError: the authority answered a chain that cannot sign.
            Exception: whatever the authority's function raised, once the last leaf is
                no longer valid.
        """
        when = now or datetime.now(UTC)
        with self._lock:
            held = self._credential if self._process == os.getpid() else None
            if held is not None and when < self._renew:
                return held
            try:
                return self._renewed(when)
            except Exception:
                if held is not None and when < self._ends:
                    return held  # the authority is down: the old leaf is good yet
                raise

    def _renewed(self, now: datetime) -> Credential:
        key = generate(self._algorithm)
        chain_pem = self._issue(key.public_key())
        signer = FileSigner(private_pem(key), algorithm=self._algorithm)
        made = Credential(chain_pem, signer, root_pem=self._root_pem)
        leaf = chain.load(chain_pem)[0]
        if leaf.public_key() != key.public_key():
            raise SigningError(
                "the authority answered a certificate for another key, expected one "
                "for the public key that it was given"
            )
        self._credential, self._process = made, os.getpid()
        self._ends = leaf.not_valid_after_utc
        self._renew = now + (self._ends - now) * RENEW_AT
        return made

    def __repr__(self) -> str:
        return f"ShortLived({self._algorithm}, until {self._ends:%Y-%m-%d %H:%M} UTC)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ShortLived is never pickled: make it anew")
