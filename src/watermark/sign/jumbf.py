"""Manifest stores as JUMBF boxes (ISO 19566-5; C2PA 2.4, 11.1).

A store that the native library made a moment ago is taken apart and put together again.
Stores of strangers are read by the native library alone; here only the lengths of their
boxes are looked at.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cbor2

from watermark.errors import SigningError

ASSERTIONS, CLAIM, SIGNATURE = "c2pa.assertions", "c2pa.claim.v2", "c2pa.signature"
MANIFEST, UPDATE = b"c2ma", b"c2um"  # 11.1.4.2

MAX_DEPTH = 8  # store, manifest, assertion store, assertion; a databox has one more
MAX_BOXES = 4096  # a manifest written here with a mark has 27
START_BYTES = 38  # of a store, up to the end of its label

# 11.1.4.1: four letters and the rest of a UUID name the type of a superbox.
_TYPE = bytes.fromhex("00110010800000aa00389b71")
_REQUESTABLE_LABEL = b"\x03"


@dataclass(slots=True)
class Manifest:
    """The active manifest of a store, apart.

    Attributes:
        earlier: the boxes of the other manifests (ingredients), unchanged.
        kind: of its box: `MANIFEST` or `UPDATE`.
        label: URN of this manifest.
        assertions: payload of each assertion's superbox by label, in their order.
        claim: the claim's map.
        claim_bytes: the claim as it was signed.
        signature: the COSE signature as it stands there.
    """

    earlier: bytes
    kind: bytes
    label: str
    assertions: dict[str, bytes]
    claim: dict[str, Any]
    claim_bytes: bytes
    signature: bytes

    def content(self, label: str) -> Any:
        """What a CBOR assertion holds."""
        return cbor2.loads(_content(self.assertions[label]))

    def replace(self, label: str, content: Any) -> None:
        """Put other content into a CBOR assertion; its salt stays."""
        first = next(boxes(self.assertions[label]))
        self.assertions[label] = boxed(*first) + boxed(b"cbor", encode(content))

    def reference(self, label: str) -> dict[str, Any]:
        """The hashed URI of an assertion (8.4.2.3: without the superbox's header)."""
        return {
            "url": f"self#jumbf={ASSERTIONS}/{label}",
            "hash": hashlib.sha256(self.assertions[label]).digest(),
        }

    def store(self, claim: bytes, signature: bytes) -> bytes:
        """The whole store, with these bytes as claim and COSE signature."""
        assertions = b"".join(boxed(b"jumb", each) for each in self.assertions.values())
        active = _superbox(
            self.kind,
            self.label,
            _superbox(b"c2as", ASSERTIONS, assertions),
            _superbox(b"c2cl", CLAIM, boxed(b"cbor", claim)),
            _superbox(b"c2cs", SIGNATURE, boxed(b"cbor", signature)),
        )
        return _superbox(b"c2pa", "c2pa", self.earlier, active)


def parse(store: bytes) -> Manifest:
    """Take the active manifest, which is the last one, out of a store.

    Raises:
        SigningError: not a store as the native library writes them.
    """
    try:
        ((_, whole),) = boxes(store)
        _, *manifests = boxes(whole)
        active = list(boxes(manifests[-1][1]))
        parts = {labelled(each): _content(each) for _, each in active[1:]}
        assertions = {labelled(each): each for _, each in boxes(parts[ASSERTIONS])}
        return Manifest(
            earlier=b"".join(boxed(*each) for each in manifests[:-1]),
            kind=_kind(manifests[-1][1]),
            label=labelled(manifests[-1][1]),
            assertions=assertions,
            claim=cbor2.loads(parts[CLAIM]),
            claim_bytes=parts[CLAIM],
            signature=parts[SIGNATURE],
        )
    except (struct.error, LookupError, ValueError, cbor2.CBORError) as error:
        raise SigningError(
            f"this is no manifest store as c2pa-python 0.38 writes them: {error!r}"
        ) from error


def labelled_active(store: bytes) -> str:
    """The label of the active manifest, of a stranger's store too.

    Raises:
        SigningError: not a store.
    """
    try:
        ((_, whole),) = boxes(store)
        *_, (_, active) = boxes(whole)
        return labelled(active)
    except (struct.error, LookupError, ValueError, StopIteration) as error:
        raise SigningError(f"this is no manifest store: {error!r}") from error


def well_formed(store: bytes) -> bool:
    """Whether every box of a stranger's store fits into the one around it.

    The native library reserves memory for as many bytes as a box says it has: one
    changed bit made it work for two seconds. More than `MAX_BOXES` boxes, or superboxes
    deeper than `MAX_DEPTH`, are nobody's manifest.
    """
    level, count = [store], 0
    for _ in range(MAX_DEPTH + 1):
        inner = []
        try:
            for kind, payload in (each for outer in level for each in boxes(outer)):
                count += 1
                if count > MAX_BOXES:
                    return False
                if kind == b"jumb":
                    inner.append(payload)
        except (struct.error, ValueError):
            return False
        level = inner
    return not level


def begins_store(data: bytes) -> bool:
    """Whether these first bytes are those of a manifest store (11.1.4).

    A superbox, a description box, and the label after its type and one byte of flags.
    No length is looked at: a store that was damaged later still begins like one.
    """
    label = data[33:START_BYTES]
    return data[4:8] == b"jumb" and data[12:16] == b"jumd" and label == b"c2pa\0"


def encode(value: Any) -> bytes:
    """Deterministic CBOR (RFC 8949, 4.2.1), which 10.1 wants of a claim."""
    return cbor2.dumps(value, canonical=True)


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and payload of each box.

    Raises:
        ValueError: a length that does not fit.
    """
    place = 0
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if not 8 <= length <= len(data) - place:
            raise ValueError(f"a box of {length} bytes in {len(data) - place}")
        yield kind, data[place + 8 : place + length]
        place += length


def boxed(kind: bytes, payload: bytes) -> bytes:
    """A box around a payload."""
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def _superbox(kind: bytes, label: str, *content: bytes) -> bytes:
    about = kind + _TYPE + _REQUESTABLE_LABEL + label.encode() + b"\0"
    return boxed(b"jumb", boxed(b"jumd", about) + b"".join(content))


def _kind(payload: bytes) -> bytes:
    """The four letters in the description box that name the type of a superbox."""
    return next(boxes(payload))[1][:4]


def labelled(payload: bytes) -> str:
    """The label in the description box that starts a superbox's payload."""
    _, about = next(boxes(payload))
    return about[17:].partition(b"\0")[0].decode()


def _content(payload: bytes) -> bytes:
    """What follows the description box; of a single CBOR box, its payload."""
    about, *content = boxes(payload)
    if len(content) == 1 and content[0][0] == b"cbor":
        return content[0][1]
    return payload[8 + len(about[1]) :]
