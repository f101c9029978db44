"""SM2 signatures with SM3 (GB/T 32918.2, curve of GB/T 32918.5), in plain Python.

`cryptography` has SM3 and no SM2; of the packages that do, one takes its nonces from
Python's Mersenne Twister, which gives the key away, and one carries a library of early
2023. This is checked against the standard's example and against OpenSSL.

Python's integers do not run in constant time. The nonce is blinded; who can measure the
signing process finely should not share its machine. `Signer` in
`watermark.labels.security` also takes a key that signs elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

from cryptography.hazmat.primitives import hashes

from watermark.errors import KeyFileError
from watermark.files import read_private, write_atomically
from watermark.sign import der

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
A = P - 3
USER_ID = b"1234567812345678"  # where nobody agreed on another (GM/T 0009, 10)

CURVE = "1.2.156.10197.1.301"
EC_KEY = "1.2.840.10045.2.1"
_PEM = re.compile(
    rb"-----BEGIN PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]{1,2000})"
    rb"-----END PRIVATE KEY-----"
)

Point = tuple[int, int]
_Jacobian = tuple[int, int, int]


def sm3(*parts: bytes) -> bytes:
    """The digest of GB/T 32905.

    >>> sm3(b"abc").hex()[:16]
    '66c7f0f462eeedd9'
    """
    digest = hashes.Hash(hashes.SM3())
    for part in parts:
        digest.update(part)
    return digest.finalize()


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A private key; never shown.

    Attributes:
        public: the public key, 65 bytes: ``04 x y``.
    """

    _d: int
    public: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Compute the public key."""
        x, y = _affine(_times(self._d, G))
        encoded = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        object.__setattr__(self, "public", encoded)

    @classmethod
    def generate(cls) -> Self:
        """A fresh key."""
        return cls(1 + secrets.randbelow(N - 2))

    @classmethod
    def create(cls, path: Path) -> Self:
        """A fresh key, kept in `path` (mode 0600) as OpenSSL writes them.

        Raises:
            KeyFileError: `path` exists or cannot be written.
        """
        key = cls.generate()
        try:
            write_atomically(path, key._pem(), mode=0o600)
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error}") from error
        return key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key: PKCS#8 PEM, not encrypted, as ``openssl genpkey -algorithm SM2``.

        Raises:
            KeyFileError: missing, open to others, or no such key.
        """
        try:
            found = _PEM.search(read_private(path))
            key = _d_of(base64.b64decode(b"".join(found[1].split()))) if found else 0
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error}") from error
        except (ValueError, IndexError):
            key = 0
        if not 1 <= key <= N - 2:
            raise KeyFileError(
                f"{path} holds no SM2 key, expected unencrypted PKCS#8 PEM on the "
                "curve SM2, as `openssl genpkey -algorithm SM2` writes it"
            )
        return cls(key)

    def sign(self, message: bytes, *, user_id: bytes = USER_ID) -> bytes:
        """The signature over `message`: a DER sequence of r and s."""
        seed = self._d.to_bytes(32, "big") + secrets.token_bytes(32) + sm3(message)
        k = int.from_bytes(hashlib.sha512(seed).digest(), "big") % N
        return self.sign_with_nonce(message, k, user_id=user_id)

    def sign_with_nonce(
        self, message: bytes, k: int, *, user_id: bytes = USER_ID
    ) -> bytes:
        """As `sign`, for the standard's example. A nonce used twice gives the key away.

        Raises:
            ValueError: `k` is none for this message; the chance is 2 to the -255.
        """
        e = _e(message, user_id, self.public)
        blinded = k + N * (1 + secrets.randbelow(1 << 64))
        r = (e + _affine(_times(blinded, G))[0]) % N
        s = pow(1 + self._d, -1, N) * (k - r * self._d) % N
        if not k or not r or not s or r + k == N:
            raise ValueError("the nonce cannot be used for this message")
        return der.encode(der.SEQUENCE, der.integer(r), der.integer(s))

    def _pem(self) -> bytes:
        public = der.encode(0xA1, der.encode(der.BIT_STRING, b"\0" + self.public))
        secret = der.encode(der.OCTET_STRING, self._d.to_bytes(32, "big"))
        key = der.encode(der.SEQUENCE, der.integer(1), secret, public)
        body = der.encode(
            der.SEQUENCE,
            der.integer(0),
            der.encode(der.SEQUENCE, der.oid(EC_KEY), der.oid(CURVE)),
            der.encode(der.OCTET_STRING, key),
        )
        text = base64.encodebytes(body).decode().replace("\n", "")
        lines = [text[i : i + 64] for i in range(0, len(text), 64)]
        head, foot = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
        return "\n".join([head, *lines, foot, ""]).encode()

    def __repr__(self) -> str:
        return "PrivateKey(SM2)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PrivateKey is never pickled: load it from its file")


def verify(
    public: Point, message: bytes, signature: bytes, *, user_id: bytes = USER_ID
) -> bool:
    """Whether `signature` (DER) over `message` is that of the key. Never raises.

    Args:
        public: x and y, as `point` reads them.
        message: what was signed.
        signature: a DER sequence of r and s.
        user_id: the signer's name; nearly always `USER_ID`.
    """
    try:
        sequence = der.element(signature, der.SEQUENCE).children()
        r, s = map(der.number, sequence)
    except ValueError:
        return False
    if not (0 < r < N and 0 < s < N) or not (r + s) % N or not on_curve(public):
        return False
    x, y = public
    encoded = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    found = _add(_times(s, G), _times((r + s) % N, public))
    e = _e(message, user_id, encoded)
    return bool(found[2]) and (e + _affine(found)[0]) % N == r


def points(key: bytes) -> list[Point]:
    """The points that a public key in a label can mean; two where half of it is there.

    ``04 x y``, ``x y``, ``02/03 x``, ``00 x`` (y even), ``x``, or a
    SubjectPublicKeyInfo that ends with one of them.
    """
    if key[:1] == b"\x30":
        try:
            bits = der.element(key, der.SEQUENCE).children()[1]
        except (ValueError, IndexError):
            return []
        key = bits.content[1:] if bits.tag == der.BIT_STRING else b""
    if len(key) == 65 and key[0] == 4:
        key = key[1:]
    if len(key) == 64:
        found = [(int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big"))]
        return [each for each in found if on_curve(each)]
    if len(key) == 33 and key[0] in (0, 2, 3):
        return [each for each in _lifted(key[1:]) if each[1] % 2 == key[0] % 2]
    return _lifted(key) if len(key) == 32 else []


def on_curve(point: Point) -> bool:
    """Whether this is a point of the curve."""
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x + A) * x - B) % P == 0


def _lifted(x_bytes: bytes) -> list[Point]:
    x = int.from_bytes(x_bytes, "big")
    y = pow((x * x + A) * x + B, (P + 1) // 4, P)  # P is 3 modulo 4
    return [p for p in ((x, y), (x, P - y)) if on_curve(p)]


def _d_of(pkcs8: bytes) -> int:
    """The secret number in a PKCS#8 structure, 0 for another kind of key."""
    _, algorithm, wrapped, *_ = der.element(pkcs8, der.SEQUENCE).children()
    names = [der.dotted(e) for e in algorithm.children() if e.tag == der.OID]
    if names not in ([EC_KEY, CURVE], [CURVE], [CURVE, CURVE]):
        return 0
    key = der.element(wrapped.content, der.SEQUENCE).children()
    return int.from_bytes(key[1].content, "big")


def _e(message: bytes, user_id: bytes, public: bytes) -> int:
    """GB/T 32918.2, 5.5 and 6.1: the digest of who signs, and of what."""
    length = (8 * len(user_id)).to_bytes(2, "big")
    curve = b"".join(v.to_bytes(32, "big") for v in (A, B, *G))
    return int.from_bytes(sm3(sm3(length, user_id, curve, public[1:]), message), "big")


# --- points in Jacobian coordinates; (1, 1, 0) is the point at infinity -------------


def _times(k: int, point: Point) -> _Jacobian:
    """`point` k times: the same steps for each bit of k."""
    z = 1 + secrets.randbelow(P - 1)
    start = (point[0] * z * z % P, point[1] * z * z * z % P, z)
    low, high = (1, 1, 0), start
    for bit in bin(k)[2:]:
        if bit == "1":
            low, high = _add(low, high), _double(high)
        else:
            low, high = _double(low), _add(low, high)
    return low


def _double(p: _Jacobian) -> _Jacobian:
    x, y, z = p
    if not z or not y:
        return (1, 1, 0)
    squared = y * y % P
    s = 4 * x * squared % P
    m = 3 * (x - z * z) * (x + z * z) % P
    out = (m * m - 2 * s) % P
    return out, (m * (s - out) - 8 * squared * squared) % P, 2 * y * z % P


def _add(p: _Jacobian, q: _Jacobian) -> _Jacobian:
    if not p[2]:
        return q
    if not q[2]:
        return p
    zp, zq = p[2] * p[2] % P, q[2] * q[2] % P
    u, v = p[0] * zq % P, q[0] * zp % P
    s, t = p[1] * zq * q[2] % P, q[1] * zp * p[2] % P
    if u == v:
        return _double(p) if s == t else (1, 1, 0)
    h, r = (v - u) % P, (t - s) % P
    hh = h * h % P
    hhh, w = h * hh % P, u * hh % P
    x = (r * r - hhh - 2 * w) % P
    return x, (r * (w - x) - s * hhh) % P, h * p[2] * q[2] % P


def _affine(p: _Jacobian) -> Point:
    inverse = pow(p[2], -1, P)
    square = inverse * inverse % P
    return p[0] * square % P, p[1] * square * inverse % P
