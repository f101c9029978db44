"""Signers: a private key in a file, or a callback to a KMS or HSM."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from watermark.errors import KeyFileError, SigningError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

# C2PA 2.4, 13.2.1: the algorithms a claim may be signed with.
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_NEW_CURVES: dict[str, ec.EllipticCurve] = {
    "es256": ec.SECP256R1(),
    "es384": ec.SECP384R1(),
    "es512": ec.SECP521R1(),
}
_RSA_BITS = {"ps256": 2048, "ps384": 3072, "ps512": 4096}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
OLD_FORMAT = re.compile(rb"-----BEGIN ((?:EC|RSA|DSA|OPENSSH) PRIVATE KEY)-----")


class Signer(Protocol):
    """Signs bytes with one algorithm."""

    @property
    def algorithm(self) -> str:
        """One of `ALGORITHMS`."""
        ...

    @property
    def pem(self) -> bytes | None:
        """The key as plain PKCS#8 PEM; None unless it lies so in its file."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over `message` (not over a digest of it)."""
        ...


class FileSigner:
    """A private key that was read from PKCS#8 PEM."""

    __slots__ = ("_key", "_pem", "algorithm")

    def __init__(
        self, pem: bytes, passphrase: str | None = None, algorithm: str | None = None
    ) -> None:
        """Read the key.

        Args:
            pem: PKCS#8, encrypted or not.
            passphrase: of an encrypted one.
            algorithm: of an RSA key ``ps256``, ``ps384`` or ``ps512``; by default as
                `algorithm_of` says.

        Raises:
            KeyFileError: damaged, wrong passphrase, or a kind of key C2PA lacks.
            SigningError: `algorithm` is not for this kind of key.
        """
        self._key = load_key(pem, passphrase)
        self._pem = pem if passphrase is None else None
        usual = algorithm_of(self._key.public_key())
        self.algorithm = algorithm or usual
        check_algorithm(self.algorithm, self._key.public_key())

    @property
    def pem(self) -> bytes | None:
        """The key as plain PKCS#8 PEM; None if its file is encrypted."""
        return self._pem

    @property
    def public_bytes(self) -> bytes:
        """The public key as DER SubjectPublicKeyInfo, to compare with a certificate."""
        return spki(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`; ECDSA as DER, which the library accepts."""
        digest = _HASHES.get(self.algorithm[-3:], _HASHES["256"])
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(message, ec.ECDSA(digest))
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        salted = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        return self._key.sign(message, salted, digest)

    def __repr__(self) -> str:
        return f"FileSigner({self.algorithm})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a FileSigner is never pickled: load it from its key file")


class CallbackSigner:
    """A function that signs, such as a call to a KMS or HSM."""

    __slots__ = ("_sign", "algorithm")

    def __init__(self, algorithm: str, sign: Callable[[bytes], bytes]) -> None:
        """Take the function.

        Raises:
            SigningError: C2PA knows no such algorithm.
        """
        if algorithm not in ALGORITHMS:
            raise SigningError(
                f"found algorithm {algorithm!r}, expected one of "
                f"{', '.join(ALGORITHMS)}"
            )
        self.algorithm = algorithm
        self._sign = sign

    @property
    def pem(self) -> None:
        """None: the key is somewhere else."""
        return None

    def sign(self, message: bytes) -> bytes:
        """What the callback answers; its exceptions pass through."""
        return self._sign(message)

    def __repr__(self) -> str:
        return f"CallbackSigner({self.algorithm})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CallbackSigner is never pickled: make a new one")


def algorithm_of(public_key: object) -> str:
    """The C2PA algorithm that goes with a public key.

    An RSA key may sign with any hash; from 3072 bits it is SHA-384, from 4096 SHA-512.

    Raises:
        KeyFileError: C2PA has none for it.
    """
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        name = _CURVES.get(public_key.curve.name)
        if name is not None:
            return name
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public_key, rsa.RSAPublicKey):
        for name, bits in reversed(_RSA_BITS.items()):
            if public_key.key_size >= bits:
                return name
    raise KeyFileError(
        f"a key of type {type(public_key).__name__} cannot sign C2PA claims; expected "
        "P-256, P-384, P-521, Ed25519, or RSA of 2048 bits or more"
    )


def check_algorithm(algorithm: str, public_key: object) -> None:
    """Return if a key of this kind can sign with `algorithm`.

    Raises:
        SigningError: it cannot.
        KeyFileError: C2PA has no algorithm for it at all.
    """
    usual = algorithm_of(public_key)
    fitting = tuple(_RSA_BITS) if usual in _RSA_BITS else (usual,)
    if algorithm not in fitting:
        raise SigningError(
            f"algorithm {algorithm!r} found, expected {' or '.join(fitting)}: the key "
            "of the leaf is of that kind"
        )


def verifies(
    public_key: object, algorithm: str, signature: object, message: bytes
) -> bool:
    """Whether a signature by `algorithm` verifies; ECDSA as DER or r and s joined."""
    digest = _HASHES.get(algorithm[-3:], _HASHES["256"])
    if not isinstance(signature, bytes):
        return False
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            half = (public_key.key_size + 7) // 8
            if len(signature) == 2 * half:
                r, s = signature[:half], signature[half:]
                signature = encode_dss_signature(
                    int.from_bytes(r, "big"), int.from_bytes(s, "big")
                )
            public_key.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(public_key, ed25519.Ed25519PublicKey):
            public_key.verify(signature, message)
        elif isinstance(public_key, rsa.RSAPublicKey):
            salted = padding.PSS(padding.MGF1(digest), digest.digest_size)
            public_key.verify(signature, message, salted, digest)
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def generate(algorithm: str) -> PrivateKey:
    """A new private key for `algorithm`.

    Raises:
        SigningError: C2PA knows no such algorithm.
    """
    if algorithm in _RSA_BITS:
        return rsa.generate_private_key(65537, _RSA_BITS[algorithm])
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in _NEW_CURVES:
        return ec.generate_private_key(_NEW_CURVES[algorithm])
    raise SigningError(
        f"found algorithm {algorithm!r}, expected one of {', '.join(ALGORITHMS)}"
    )


def private_pem(key: PrivateKey, passphrase: str | None = None) -> bytes:
    """A private key as PKCS#8 PEM, encrypted if there is a passphrase."""
    sealing: serialization.KeySerializationEncryption
    if passphrase is None:
        sealing = serialization.NoEncryption()
    else:
        sealing = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing
    )


def spki(public_key: object) -> bytes:
    """A public key as DER SubjectPublicKeyInfo."""
    der, info = serialization.Encoding.DER, serialization.PublicFormat
    return public_key.public_bytes(der, info.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]  # every key of cryptography has it


def load_key(pem: bytes, passphrase: str | None = None) -> PrivateKey:
    """A private key from PKCS#8 PEM.

    Raises:
        KeyFileError: damaged, an older format, wrong passphrase, or a kind of key that
            C2PA lacks.
    """
    if old := OLD_FORMAT.search(pem):  # the native library takes PKCS#8 only
        raise KeyFileError(
            f"the key is in the older format {old[1].decode()!r}, expected PKCS#8 "
            "('PRIVATE KEY' or 'ENCRYPTED PRIVATE KEY'). Convert it: "
            "openssl pkcs8 -topk8 -in key.pem -out key-pkcs8.pem"
        )
    secret = None if passphrase is None else passphrase.encode()
    try:
        key = serialization.load_pem_private_key(pem, secret)
    except TypeError as error:  # encrypted without a passphrase, or the reverse
        if secret is None:
            raise KeyFileError("the key is encrypted: give its passphrase") from error
        raise KeyFileError(
            "a passphrase was given, but the key is not encrypted: leave it out"
        ) from error
    except Exception as error:  # ValueError and UnsupportedAlgorithm, by version
        raise KeyFileError(
            "the key cannot be read: wrong passphrase, or not a PKCS#8 PEM file"
        ) from error
    algorithm_of(key.public_key())
    return key  # type: ignore[return-value]  # `algorithm_of` raised for the others
