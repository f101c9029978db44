"""Signers whose key is in a PKCS#11 token: an HSM, a smart card, SoftHSM2.

The private key never leaves the token. Digests are made here and the token signs them:
that is the mechanism that every token has. Needs the extra ``pkcs11`` (python-pkcs11).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from watermark.errors import MissingDependency, SigningError
from watermark.sign.signer import ALGORITHMS

_DIGESTS = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def _api() -> Any:
    try:
        return importlib.import_module("pkcs11")
    except ImportError as error:
        raise MissingDependency("python-pkcs11", "pkcs11") from error


class Pkcs11Signer:
    """One private key in one token. Signatures are made one after another."""

    __slots__ = (
        "_api",
        "_find",
        "_key",
        "_lock",
        "_module",
        "_pin",
        "_process",
        "_session",
        "_token",
        "algorithm",
    )

    def __init__(
        self,
        module: Path | str,
        *,
        token: str,
        algorithm: str,
        pin: str | Callable[[], str],
        label: str | None = None,
        key_id: bytes | None = None,
    ) -> None:
        """Open the token and look the key up.

        Args:
            module: the library of the token's maker, such as ``libsofthsm2.so``.
            token: the token's label.
            algorithm: such as ``es256``.
            pin: the user PIN, or a function that asks for it.
            label: of the key.
            key_id: CKA_ID of the key.

        Raises:
            SigningError: no such module, token or key, or a wrong PIN.
            MissingDependency: python-pkcs11 is not installed.
        """
        self._api = _api()
        if algorithm not in ALGORITHMS:
            raise SigningError(
                f"found algorithm {algorithm!r}, expected one of "
                f"{', '.join(ALGORITHMS)}"
            )
        if label is None and key_id is None:
            raise SigningError("neither label nor key_id found, expected one of them")
        self.algorithm = algorithm
        self._module, self._token, self._pin = str(module), token, pin
        self._find = {"label": label, "id": key_id}
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._open()

    @property
    def pem(self) -> None:
        """None: the key is in the token."""
        return None

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`; ECDSA as r and s joined.

        Raises:
            SigningError: the token refuses, or this process was forked from the one
                that opened it.
        """
        if os.getpid() != self._process:
            raise SigningError(
                "this signer was opened in another process, and a PKCS#11 session does "
                "not survive a fork: open it in the process that signs"
            )
        with self._lock:
            try:
                return self._sign(message)
            except self._api.PKCS11Error:  # the session has ended: once more
                self._open()
            try:
                return self._sign(message)
            except self._api.PKCS11Error as error:
                raise self._failed("did not sign", error) from error

    def close(self) -> None:
        """End the session and the process's login; whoever signs again logs in anew."""
        with contextlib.suppress(self._api.PKCS11Error):
            self._session.close()

    def _sign(self, message: bytes) -> bytes:
        bits = self.algorithm[-3:]
        if self.algorithm == "ed25519":
            found = self._key.sign(message, mechanism=self._api.Mechanism.EDDSA)
        elif self.algorithm.startswith("es"):
            digest = _DIGESTS[bits](message).digest()
            found = self._key.sign(digest, mechanism=self._api.Mechanism.ECDSA)
        else:
            kinds = self._api.Mechanism, self._api.MGF
            salted = (*(kind[f"SHA{bits}"] for kind in kinds), int(bits) // 8)
            digest = _DIGESTS[bits](message).digest()
            found = self._key.sign(
                digest,
                mechanism=self._api.Mechanism.RSA_PKCS_PSS,
                mechanism_param=salted,
            )
        return bytes(found)

    def _open(self) -> None:
        try:
            library = self._api.lib(self._module)
            token = library.get_token(token_label=self._token)
        except (self._api.PKCS11Error, RuntimeError, OSError) as error:
            raise self._failed("cannot be opened", error) from error
        pin = self._pin if isinstance(self._pin, str) else self._pin()
        try:
            self._session: Any = self._login(token, pin)
        except self._api.PKCS11Error as error:
            raise self._failed("did not take the PIN", error) from error
        wanted = {name: value for name, value in self._find.items() if value}
        try:
            self._key: Any = self._session.get_key(
                object_class=self._api.ObjectClass.PRIVATE_KEY, **wanted
            )
        except self._api.PKCS11Error as error:
            self.close()
            raise self._failed(
                f"has no such key, or several: {wanted}", error
            ) from error

    def _login(self, token: Any, pin: str) -> Any:
        try:
            return token.open(user_pin=pin)
        except self._api.UserAlreadyLoggedIn:  # a login is for the whole process
            return token.open()

    def _failed(self, what: str, error: Exception) -> SigningError:
        reason = f"{type(error).__name__} {error}".strip()
        return SigningError(
            f"the PKCS#11 token {self._token!r} ({self._module}) {what} ({reason})"
        )

    def __repr__(self) -> str:
        return f"Pkcs11Signer({self._token!r}, {self.algorithm})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Pkcs11Signer is never pickled: open the token anew")
