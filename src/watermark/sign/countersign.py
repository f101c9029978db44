"""A time-stamp inside a claim signature, put there when it was made or later.

C2PA 2.4, 10.3.2.5: the authority stamps the claim signature; its token stands in the
unprotected header under ``sigTst2``. That header is not signed and no hash covers it,
so that a token can still be put where padding was left, at the same length, into a file
that has long been signed.

>>> token = stamper.stamp(message(cose)).token    # doctest: +SKIP
>>> stamped = attach(cose, token)                 # doctest: +SKIP
>>> len(stamped) == len(cose)                     # doctest: +SKIP
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2

from watermark.errors import SigningError

ROOM = 10_240  # bytes of padding that leave room for the tokens of public authorities

_SIGN1 = 18  # COSE_Sign1_Tagged (RFC 9052, 2)
_STAMP, _PADS = "sigTst2", ("pad", "pad2")


def message(cose: bytes) -> bytes:
    """What a time-stamp authority has to stamp for a claim signature.

    Args:
        cose: the COSE_Sign1_Tagged of a claim, encoded.

    Raises:
        SigningError: it is none.
    """
    protected, _, _, signature = _parts(cose)
    return message_of(protected, signature)


def message_of(protected: bytes, signature: bytes) -> bytes:
    """The same, from the encoded protected header and the raw signature."""
    inner = cbor2.dumps(signature)
    return cbor2.dumps(["CounterSignature", protected, b"", inner])


def parts(cose: bytes) -> tuple[bytes, bytes]:
    """Protected header and raw signature of a claim signature.

    Raises:
        SigningError: it is none.
    """
    protected, _, _, signature = _parts(cose)
    return protected, signature


def header(token: bytes) -> dict[str, Any]:
    """The entry of the unprotected header that carries a token (DER)."""
    return {_STAMP: {"tstTokens": [{"val": token}]}}


def attach(cose: bytes, token: bytes) -> bytes:
    """The claim signature with a token in place of padding, as long as before.

    Raises:
        SigningError: there is not enough padding, or `cose` is no claim signature.
    """
    protected, before, payload, signature = _parts(cose)
    kept = {k: v for k, v in before.items() if k not in (_STAMP, *_PADS)}

    def encoded(pads: dict[str, bytes]) -> bytes:
        parts = [protected, {**kept, **header(token), **pads}, payload, signature]
        return cbor2.dumps(cbor2.CBORTag(_SIGN1, parts))

    spare = len(cose) - len(encoded({}))
    if spare == 0:
        return encoded({})
    # "pad" and its head take 5 to 9 bytes; a second field reaches the lengths between.
    whole = [{"pad": bytes(n)} for n in range(max(spare - 9, 0), spare - 4)]
    split = [
        {"pad": bytes(n), "pad2": bytes(4)}
        for n in range(max(spare - 20, 0), spare - 14)
    ]
    for pads in (*whole, *split):
        if len(found := encoded(pads)) == len(cose):
            return found
    raise SigningError(
        f"the time-stamp of {len(token)} bytes does not fit: {max(-spare, 1)} bytes of "
        f"padding are missing. Sign with about {ROOM} bytes of padding, or keep the "
        "time-stamp beside the file"
    )


def _parts(cose: bytes) -> tuple[bytes, Mapping[Any, Any], Any, bytes]:
    try:
        tag = cbor2.loads(cose)
        protected, unprotected, payload, signature = tag.value
    except Exception as error:  # whatever damaged CBOR raises
        raise SigningError(f"this is no claim signature: {error}") from error
    good = isinstance(protected, bytes) and isinstance(signature, bytes)
    if tag.tag != _SIGN1 or not good or not isinstance(unprotected, Mapping):
        raise SigningError("this is no claim signature: expected COSE_Sign1_Tagged")
    return protected, unprotected, payload, signature
