"""Credential: a certificate chain and the signer that goes with it.

>>> credential = Credential.create_dev(home / "credential", "Acme")  # doctest: +SKIP
>>> credential                                                       # doctest: +SKIP
Credential('Acme', es256, 3f0c...)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Self

from cryptography.hazmat.primitives import hashes

from watermark.errors import KeyFileError
from watermark.files import read_private, write_atomically
from watermark.sign import authority, chain
from watermark.sign.signer import CallbackSigner, FileSigner, Signer, spki

ROOT, CHAIN, KEY = "root.pem", "chain.pem", "key.pem"


class Credential:
    """Who signs, and with what.

    Attributes:
        signer: what makes the signatures.
        chain_pem: the certificates, leaf first.
        root_pem: the root that those certificates lead to, or None if not at hand;
            with it, what was signed is read back as trusted before it is handed out.
        organisation: the O of the leaf's subject: the name a verifier sees.
        fingerprint: SHA-256 of the leaf, hex.
    """

    __slots__ = ("chain_pem", "fingerprint", "organisation", "root_pem", "signer")

    def __init__(
        self, chain_pem: bytes, signer: Signer, *, root_pem: bytes | None = None
    ) -> None:
        """Check the chain and take it.

        Raises:
            SigningError: a check of the chain failed; the message names it.
        """
        certificates = chain.load(chain_pem)
        chain.check(certificates)
        self.chain_pem = chain_pem
        self.root_pem = root_pem
        self.signer = signer
        self.organisation = chain.organisation(certificates[0])
        self.fingerprint = certificates[0].fingerprint(hashes.SHA256()).hex()

    @classmethod
    def create_dev(
        cls, folder: Path, organisation: str, *, passphrase: str | None = None
    ) -> Self:
        """Make a development CA and a credential under it, in `folder`.

        Args:
            folder: made (mode 0700) if missing; gets root.pem, chain.pem and key.pem
                (mode 0600).
            organisation: the name that verifiers will see.
            passphrase: encrypt key.pem with this.

        Raises:
            KeyFileError: one of the files exists, or the folder cannot be written.
            SigningError: `organisation` does not fit a certificate.
        """
        for name in (ROOT, CHAIN, KEY):
            if (folder / name).exists():
                raise KeyFileError(
                    f"{folder / name} exists: a credential is never overwritten; "
                    "choose another folder"
                )
        issued = authority.issue(organisation, passphrase=passphrase)
        _write(folder, issued)
        return cls.load(folder, passphrase=passphrase)

    @classmethod
    def load(cls, folder: Path, passphrase: str | None = None) -> Self:
        """Read chain.pem, key.pem and, where there is one, root.pem.

        Raises:
            KeyFileError: a file is missing or damaged, others can read the key, the
                passphrase is wrong, or the key does not belong to the leaf.
            SigningError: a check of the chain failed; the message names it.
        """
        try:
            key_pem = read_private(folder / KEY)
            chain_pem = (folder / CHAIN).read_bytes()
            root_pem = None
            with contextlib.suppress(FileNotFoundError):
                root_pem = (folder / ROOT).read_bytes()
        except OSError as error:
            raise KeyFileError(f"the credential in {folder}: {error}") from error
        try:
            signer = FileSigner(key_pem, passphrase)
        except KeyFileError as error:
            raise KeyFileError(f"{folder / KEY}: {error}") from error
        credential = cls(chain_pem, signer, root_pem=root_pem)
        _match(signer, chain_pem, folder)
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


def _write(folder: Path, issued: authority.Issued) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / KEY, issued.key_pem, mode=0o600)
        write_atomically(folder / CHAIN, issued.chain_pem)
        write_atomically(folder / ROOT, issued.root_pem)
    except OSError as error:
        raise KeyFileError(f"the credential in {folder}: {error}") from error


def _match(signer: FileSigner, chain_pem: bytes, folder: Path) -> None:
    leaf = chain.load(chain_pem)[0]
    if spki(leaf.public_key()) != signer.public_bytes:
        raise KeyFileError(
            f"{folder / KEY} is not the key of the first certificate in "
            f"{folder / CHAIN}: expected the leaf first, and its own key"
        )
