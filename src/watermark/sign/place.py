"""Where the manifest of a text was found, whichever way it is carried."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from watermark.sign.jumbf import START_BYTES, begins_store, well_formed
from watermark.sign.manifest import GENERAL_ERROR

STORE_BYTES = 32 << 20  # the native library's own limit for a manifest


@dataclass(frozen=True, slots=True)
class Located:
    """A manifest store in a text.

    Attributes:
        store: the manifest store.
        data: the text's bytes; for an unstructured text, normalised around the store.
        ranges: start and length in `data` of what carries the store: the hard binding
            has to leave out one of these, and nothing else.
    """

    store: bytes = field(repr=False)
    data: bytes = field(repr=False)
    ranges: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Linked:
    """A text that says where its manifest is. It is never fetched."""

    url: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something that looks like a manifest, and is none.

    Attributes:
        code: C2PA's code for it.
        meant: whether it can only have been meant as one. A page that explains how
            manifests are written down is no text with a broken manifest.
    """

    code: str = GENERAL_ERROR
    meant: bool = True


def is_store(data: bytes) -> bool:
    """Whether these bytes are one box and no more, as a manifest store is.

    The native library passes over what follows the box, and nobody signs that.
    """
    whole = len(data) == int.from_bytes(data[:4], "big")
    sized = whole and data[4:8] == b"jumb" and len(data) <= STORE_BYTES
    return sized and well_formed(data)


def is_meant(encoded: bytes) -> bool:
    """Whether this base64 begins as that of a manifest store does.

    What comes later may be damaged. Anything else, such as the dots in an explanation,
    was never a manifest.
    """
    start = encoded[: -(-START_BYTES // 3) * 4]
    try:
        return begins_store(base64.b64decode(start, validate=True))
    except ValueError:  # of binascii.Error too
        return False


Place = Located | Linked | Unusable
