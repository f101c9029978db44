"""The claim signature: COSE_Sign1 with the chain inside (C2PA 2.4, 10.3.2 and 13.2)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from watermark.errors import SigningError
from watermark.sign import chain, countersign
from watermark.sign.credential import Credential
from watermark.sign.jumbf import encode

# IANA COSE algorithms; of ECDSA also the bytes of each of r and s (RFC 9053, 2.1).
_ALGORITHMS = {
    "es256": -7,
    "es384": -35,
    "es512": -36,
    "ps256": -37,
    "ps384": -38,
    "ps512": -39,
    "ed25519": -8,
}
_ALGORITHM, _CHAIN = 1, 33  # labels of the protected header (RFC 9052, RFC 9360)
_SIGN1 = 18


class NoRoom(Exception):
    """The signature does not fit where it has to go; `missing` bytes too long."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing} bytes too long")
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Signature:
    """A signed claim, to be written at any length from its least upwards.

    Attributes:
        protected: the protected header, encoded.
        raw: the signature; of ECDSA, r and s joined.
        token: time-stamp over it (DER), or empty; not signed either.
    """

    protected: bytes
    raw: bytes
    token: bytes = b""

    @property
    def message(self) -> bytes:
        """What a time-stamp authority has to stamp."""
        return countersign.message_of(self.protected, self.raw)

    def encoded(
        self, pad: int | None = None, pad2: int | None = None, *, ended: bool = False
    ) -> bytes:
        """COSE_Sign1_Tagged with so many zero bytes of padding; None: no such field.

        The padding is not signed (10.4.4), and two fields of it reach every length.

        Args:
            pad: zeros in the first field.
            pad2: zeros in the second.
            ended: write the header as a map that ends with a break (RFC 8949, 3.2.2).
        """
        fields = {"pad": pad, "pad2": pad2}
        header = countersign.header(self.token) if self.token else {}
        header |= {name: bytes(n) for name, n in fields.items() if n is not None}
        parts: list[Any] = [self.protected, header, None, self.raw]
        whole = encode(cbor2.CBORTag(_SIGN1, parts))
        if not ended:
            return whole
        at = whole.index(encode(header), len(self.protected))
        end = at + len(encode(header))
        return whole[:at] + b"\xbf" + whole[at + 1 : end] + b"\xff" + whole[end:]

    def padded(self, length: int) -> bytes:
        """COSE_Sign1_Tagged of exactly `length` bytes.

        Raises:
            NoRoom: it is longer.
        """
        spare = length - len(self.encoded())
        if spare == 0:
            return self.encoded()
        for pad, pad2 in _paddings(spare):
            found = self.encoded(pad, pad2)
            if len(found) == length:
                return found
        raise NoRoom(32 - spare)


def _paddings(spare: int) -> list[tuple[int, int | None]]:
    """Sizes of both fields that can add up to `spare` bytes with their names."""
    whole = [(n, None) for n in range(spare - 9, spare - 4)]
    split = [(n, 4) for n in range(spare - 19, spare - 14)]
    return [(n, other) for n, other in [*whole, *split] if n >= 0]


def size(credential: Credential, room: int = 0) -> int:
    """Bytes of a signature with a time-stamp of `room` bytes, without padding."""
    return len(unsigned(credential, room).encoded())


def unsigned(credential: Credential, room: int = 0) -> Signature:
    """A signature of the same length that signs nothing, to measure with.

    Args:
        credential: who will sign.
        room: bytes of the time-stamp that it shall have room for; 0: for none.
    """
    length = _signature_bytes(credential)
    return Signature(_protected(credential), b"\xff" * length, b"\xff" * room)


def sign(claim: bytes, credential: Credential) -> Signature:
    """Sign a claim, once.

    Raises:
        SigningError: what came back is no signature of this algorithm.
        Exception: whatever a signing callback raised.
    """
    protected = _protected(credential)
    message = encode(["Signature1", protected, b"", claim])
    found = credential.signer.sign(message)
    if not isinstance(found, bytes):
        raise SigningError(
            f"the signing callback answered {type(found).__name__}, expected bytes"
        )
    length = _signature_bytes(credential)
    if credential.algorithm.startswith("es") and len(found) != length:
        found = _joined(found, length)
    if len(found) != length:
        raise SigningError(
            f"the signer answered {len(found)} bytes, expected {length} for "
            f"{credential.algorithm}: is it another key or algorithm?"
        )
    return Signature(protected, found)


def _joined(der: bytes, length: int) -> bytes:
    """R and s of an ECDSA signature in DER, joined."""
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(length // 2, "big") + s.to_bytes(length // 2, "big")
    except (ValueError, OverflowError) as error:
        raise SigningError(
            f"the signer answered {len(der)} bytes that are no ECDSA signature of "
            f"{length} bytes, neither DER nor r and s joined"
        ) from error


def _protected(credential: Credential) -> bytes:
    return _header(credential.chain_pem, credential.algorithm)


@functools.lru_cache(maxsize=16)
def _header(chain_pem: bytes, algorithm: str) -> bytes:
    certificates = [c.public_bytes(Encoding.DER) for c in _parsed(chain_pem)]
    carried = certificates if len(certificates) > 1 else certificates[0]
    return encode({_ALGORITHM: _ALGORITHMS[algorithm], _CHAIN: carried})


def _signature_bytes(credential: Credential) -> int:
    key: Any = _chain(credential)[0].public_key()
    if credential.algorithm == "ed25519":
        return 64
    whole: int = (key.key_size + 7) // 8
    return whole if credential.algorithm.startswith("ps") else 2 * whole


def _chain(credential: Credential) -> tuple[x509.Certificate, ...]:
    return _parsed(credential.chain_pem)


@functools.lru_cache(maxsize=16)
def _parsed(chain_pem: bytes) -> tuple[x509.Certificate, ...]:
    return chain.load(chain_pem)
