"""Credential: a certificate chain and the signer that goes with it.

>>> credential = Credential.create_dev(home / "credential", "Acme")  # doctest: +SKIP
>>> credential                                                       # doctest: +SKIP
Credential('Acme', es256, 3f0c...)
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, Self

from cryptography.hazmat.primitives import hashes

from watermark.errors import KeyFileError
from watermark.files import read_private, write_atomically
from watermark.sign import authority, chain, linter
from watermark.sign.signer import (
    CallbackSigner,
    FileSigner,
    Signer,
    check_algorithm,
    spki,
    verifies,
)
from watermark.sign.stamps import Stamps

ROOT, CHAIN, KEY = "root.pem", "chain.pem", "key.pem"
CURRENT = "current"  # after a rotation: the name of the folder beside it that signs
_NAME = re.compile(r"[0-9a-f]{16}")
_CHALLENGE = b"does this key belong to this certificate?"


class Credential:
    """Who signs, and with what.

    Attributes:
        signer: what makes the signatures.
        chain_pem: the certificates, leaf first.
        root_pem: the root that those certificates lead to, or None if not at hand;
            with it, what was signed is read back as trusted before it is handed out.
        stamps: which authorities time-stamp what it signs, and when; None: none.
        organisation: the O of the leaf's subject: the name a verifier sees.
        fingerprint: SHA-256 of the leaf, hex.
    """

    __slots__ = (
        "chain_pem",
        "fingerprint",
        "organisation",
        "root_pem",
        "signer",
        "stamps",
    )

    def __init__(
        self,
        chain_pem: bytes,
        signer: Signer,
        *,
        root_pem: bytes | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        """Check the chain and take it.

        Raises:
            SigningError: a check of the chain failed; the message names it.
        """
        certificates = chain.load(chain_pem)
        linter.check(certificates)
        check_algorithm(signer.algorithm, certificates[0].public_key())
        self.chain_pem = chain_pem
        self.root_pem = root_pem
        self.signer = signer
        self.stamps = stamps
        self.organisation = chain.organisation(certificates[0])
        self.fingerprint = certificates[0].fingerprint(hashes.SHA256()).hex()

    @classmethod
    def create_dev(
        cls,
        folder: Path,
        organisation: str,
        *,
        passphrase: str | None = None,
        algorithm: str = "es256",
        life: timedelta = authority.LEAF_LIFE,
        under: authority.Authority | None = None,
    ) -> Self:
        """Make a development CA and a credential under it, in `folder`.

        Args:
            folder: made (mode 0700) if missing; gets root.pem, chain.pem and key.pem
                (mode 0600).
            organisation: the name that verifiers will see.
            passphrase: encrypt key.pem with this.
            algorithm: what it signs with: ``es256``, ``es384``, ``es512``, ``ps256``,
                ``ps384``, ``ps512`` or ``ed25519`` (the smallest manifests).
            life: of the leaf; after it nothing can be signed, and what was signed
                without a time-stamp is no longer trusted.
            under: an authority that is kept; by default a fresh one, dropped at once.

        Raises:
            KeyFileError: one of the files exists, or the folder cannot be written.
            SigningError: `organisation` does not fit a certificate, or there is no
                such algorithm.
        """
        for name in (ROOT, CHAIN, KEY):
            if (folder / name).exists():
                raise KeyFileError(
                    f"{folder / name} exists: a credential is never overwritten; "
                    "choose another folder"
                )
        issued = authority.issue(
            organisation,
            passphrase=passphrase,
            algorithm=algorithm,
            life=life,
            under=under,
        )
        _write(folder, issued)
        return cls.load(folder, passphrase=passphrase)

    @classmethod
    def load(cls, folder: Path, passphrase: str | None = None) -> Self:
        """Read chain.pem, key.pem and, where there are any, root.pem and stamps/.

        After a rotation (`watermark.sign.rotation`) those of the newest credential.

        Raises:
            KeyFileError: a file is missing or damaged, others can read the key, the
                passphrase is wrong, or the key does not belong to the leaf.
            SigningError: a check of the chain failed; the message names it.
        """
        stamps = Stamps.load(folder)
        folder = active(folder)
        try:
            key_pem = read_private(folder / KEY)
            chain_pem = (folder / CHAIN).read_bytes()
            root_pem = None
            with contextlib.suppress(FileNotFoundError):
                root_pem = (folder / ROOT).read_bytes()
        except OSError as error:
            raise KeyFileError(f"the credential in {folder}: {error}") from error
        found = cls.from_pem(
            chain_pem, key_pem, passphrase, root_pem=root_pem, where=f"{folder}: "
        )
        found.stamps = stamps
        return found

    @classmethod
    def from_pem(
        cls,
        chain_pem: bytes,
        key_pem: bytes,
        passphrase: str | None = None,
        *,
        algorithm: str | None = None,
        root_pem: bytes | None = None,
        where: str = "",
    ) -> Self:
        """A credential from a chain and its key, as a certificate authority gives them.

        Args:
            chain_pem: the certificates, leaf first.
            key_pem: the leaf's key as PKCS#8, encrypted or not.
            passphrase: of an encrypted key.
            algorithm: of an RSA key ``ps256``, ``ps384`` or ``ps512``.
            root_pem: the root, if at hand.
            where: begins the messages of mistakes.

        Raises:
            KeyFileError: the key cannot be read, or does not belong to the leaf.
            SigningError: a check of the chain failed; the message names it.
        """
        try:
            signer = FileSigner(key_pem, passphrase, algorithm)
        except KeyFileError as error:
            raise KeyFileError(f"{where}{KEY}: {error}") from error
        leaf = chain.load(chain_pem)[0]
        credential = cls(chain_pem, signer, root_pem=root_pem)
        if spki(leaf.public_key()) != signer.public_bytes:
            raise KeyFileError(
                f"{where}{KEY} is not the key of the first certificate in {CHAIN}: "
                "expected the leaf first, and its own key"
            )
        return credential

    @classmethod
    def from_callback(
        cls,
        chain_pem: bytes,
        algorithm: str,
        sign: Callable[[bytes], bytes],
        *,
        root_pem: bytes | None = None,
    ) -> Self:
        """A credential whose key is in a KMS or HSM.

        Args:
            chain_pem: the certificates, leaf first.
            algorithm: such as ``es256``.
            sign: answers the signature over the bytes it is given (it hashes them);
                ECDSA as DER or as r and s joined. It may run in any thread.
            root_pem: the root, if at hand.

        Raises:
            SigningError: a check of the chain failed, or an unknown algorithm.
        """
        return cls(chain_pem, CallbackSigner(algorithm, sign), root_pem=root_pem)

    def prove(self) -> None:
        """Sign something, and see that the leaf's key verifies it.

        For keys that are elsewhere (KMS, PKCS#11): a wrong one is told now and not when
        a file is signed.

        Raises:
            KeyFileError: the signature is not one by the key of the leaf.
            Exception: whatever the signer raised.
        """
        key = chain.load(self.chain_pem)[0].public_key()
        if not verifies(key, self.algorithm, self.signer.sign(_CHALLENGE), _CHALLENGE):
            raise KeyFileError(
                f"what {self.signer!r} signed does not verify with the key of the "
                "first certificate: expected the leaf first, and its own key"
            )

    @property
    def algorithm(self) -> str:
        """The C2PA name of the signature algorithm, such as ``es256``."""
        return self.signer.algorithm

    def __repr__(self) -> str:
        return (
            f"Credential({self.organisation!r}, {self.algorithm}, {self.fingerprint})"
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Credential is never pickled: load it from its folder")


def active(folder: Path) -> Path:
    """The folder whose key signs: `folder` itself before the first rotation.

    Raises:
        KeyFileError: the file that says so is damaged.
    """
    try:
        name = (folder / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return folder
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{folder / CURRENT}: {error}") from error
    if not _NAME.fullmatch(name):
        raise KeyFileError(
            f"{folder / CURRENT} is damaged: expected the name of a folder beside it"
        )
    return folder / name


def _write(folder: Path, issued: authority.Issued) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / KEY, issued.key_pem, mode=0o600)
        write_atomically(folder / CHAIN, issued.chain_pem)
        write_atomically(folder / ROOT, issued.root_pem)
    except OSError as error:
        raise KeyFileError(f"the credential in {folder}: {error}") from error
