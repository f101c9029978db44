"""Changed files are never trusted: ``python -m benchmarks.conformance.tampering``.

Single bits of a small signed PNG and of signed texts are flipped, and files of every
container are damaged at random. Reading must not raise, must not take long, and must
not answer ``trusted``, but where what changed is nothing that anybody signs: padding,
and the boxes around what is signed. Those places are worked out here from the
structure, not from what was found. ``--full`` flips every bit and damages 100,000
files; `benchmarks.conformance.changes` runs it so that it can be stopped.
"""

from __future__ import annotations

import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cbor2

from benchmarks.conformance.containers import containers, picture
from benchmarks.conformance.signing import RECORD, TEXTS
from watermark.sign import c2pa, claims, text
from watermark.sign.credential import Credential
from watermark.sign.jumbf import ASSERTIONS, boxes, parse
from watermark.sign.manifest import ManifestResult

FULL = 100_000  # damaged files
STRIDE = 101  # of the bits that are flipped, without --full
# The toggles of a description box. The library hashes that box as it understood it, so
# that three reserved bits of this byte are in no hash. They say nothing.
_TOGGLES = 8 + 16
SMALL = ("image/png", *(name for name in TEXTS if not name.endswith("sidecar")))
SLOW = 2.0  # seconds of this process; a machine that is busy is not a hang


@dataclass(frozen=True)
class Victim:
    """A signed file, and where it may change without being another one.

    Attributes:
        name: what it is.
        data: the file.
        read: reads such a file.
        loose: places of bytes that nobody signs; in a text, of what carries the store.
        store: the manifest store.
        loose_store: places of bytes in it that nobody signs.
        said: what it says as it is.
    """

    name: str
    data: bytes = field(repr=False)
    read: Callable[[bytes], ManifestResult]
    loose: frozenset[int] = field(repr=False)
    store: bytes = field(repr=False)
    loose_store: frozenset[int] = field(repr=False)
    said: tuple[object, ...] = field(repr=False)


@dataclass
class Outcome:
    """What became of changed files.

    Attributes:
        states: how often each was read.
        loose: of the trusted ones, those where only loose bytes changed.
        wrong: places of trusted ones where something else changed, and what raised.
        slowest: seconds of the slowest reading.
    """

    states: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Change files and read them; returns 0 if none is trusted that should not be."""
    from benchmarks import __main__ as benchmarks  # it imports this module

    return benchmarks.main(["sign", "--only", "flips,corruptions", *(arguments or ())])


def small(credential: Credential) -> Iterator[Victim]:
    """A small PNG and the texts."""
    yield container("image/png", picture("PNG", (8, 8)), credential)
    for name in SMALL[1:]:
        yield a_text(name, credential)


def every(credential: Credential) -> list[Victim]:
    """All containers and all texts."""
    found = [container(kind, data, credential) for kind, data in containers().items()]
    return [*found, *small(credential)]


def flip(victim: Victim, stride: int) -> Outcome:
    """Flip single bits, every `stride`-th of the file."""
    return flip_bits(victim, range(0, 8 * len(victim.data), stride))


def flip_bits(victim: Victim, bits: Iterable[int]) -> Outcome:
    """Flip these bits of a file, one at a time; those after its end are none."""
    outcome = Outcome()
    for bit in bits:
        if bit >= 8 * len(victim.data):
            break
        changed = bytearray(victim.data)
        changed[bit // 8] ^= 1 << bit % 8
        _judge(victim, bytes(changed), outcome, f"byte {bit // 8} bit {bit % 8}")
    return outcome


def corrupt(victims: Sequence[Victim], count: int, seed: int) -> Outcome:
    """Damage files at random."""
    outcome, draw = Outcome(), random.Random(seed)
    for number in range(count):
        victim = draw.choice(victims)
        changed = _damaged(victim.data, draw)
        if changed != victim.data:
            _judge(victim, changed, outcome, f"corruption {number} of seed {seed}")
    return outcome


def _damaged(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    size = min(len(data) - start, 1 << draw.randrange(12))
    end = start + size
    kind = draw.randrange(7)
    if kind == 0:
        changed = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    if kind == 1:
        return data[:start] + draw.randbytes(size) + data[end:]
    if kind == 2:
        return data[:start] + draw.choice([b"\0", b"\xff"]) * size + data[end:]
    if kind == 3:
        return data[:start]
    if kind == 4:
        return data[:start] + data[end:]
    if kind == 5:
        return data[:end] + data[start:]
    return data[:start] + draw.randbytes(size) + data[start:]


def _judge(victim: Victim, changed: bytes, outcome: Outcome, what: str) -> None:
    before = time.process_time()
    try:
        found = victim.read(changed)
    except Exception as error:  # none is expected: each is a finding
        outcome.wrong.append(f"{victim.name}, {what}: {error!r}")
        return
    outcome.slowest = max(outcome.slowest, time.process_time() - before)
    outcome.states[found.state] += 1
    if found.state != "trusted":
        return
    same = _only(victim.loose, victim.data, changed)
    same &= _only(victim.loose_store, victim.store, found.manifest or b"")
    if same and _said(found) == victim.said:
        outcome.loose += 1
    else:
        outcome.wrong.append(f"{victim.name}, {what}: trusted")


def _only(places: frozenset[int], before: bytes, after: bytes) -> bool:
    """Whether nothing differs but bytes in these places."""
    pairs = enumerate(zip(before, after, strict=False))
    return len(before) == len(after) and places.issuperset(
        at for at, (old, new) in pairs if old != new
    )


def container(media_type: str, data: bytes, credential: Credential) -> Victim:
    """One signed file."""
    definition = claims.definition(RECORD)
    signed = c2pa.sign(data, media_type, definition, credential)
    anchors = credential.root_pem or b""
    return again(media_type, signed.data, signed.manifest, anchors)


def a_text(name: str, credential: Credential) -> Victim:
    """One signed text."""
    carrier, suffix, data = TEXTS[name]
    signed = text.sign(
        data, claims.definition(RECORD), credential, carrier=carrier, suffix=suffix
    )
    return again(name, signed.data, signed.manifest, credential.root_pem or b"")


def again(name: str, data: bytes, store: bytes, anchors: bytes) -> Victim:
    """A file that was signed before, perhaps by another process."""
    if name in TEXTS:
        place = text.locate(data)
        start, length = max(place.ranges, key=lambda r: r[1])  # type: ignore[union-attr]
        loose = frozenset(range(start, start + length))
    else:
        loose = _loose_in_container(data, store)

    def read(changed: bytes) -> ManifestResult:
        if name in TEXTS:
            return text.read(changed, anchors=anchors)
        return c2pa.read(changed, name, anchors=anchors)

    return Victim(
        name=name,
        data=data,
        read=read,
        loose=loose,
        store=store,
        loose_store=_loose_store(store),
        said=_said(read(data)),
    )


def _said(found: ManifestResult) -> tuple[object, ...]:
    return (
        found.signer,
        found.manifest_id,
        found.soft_bindings,
        found.source_types,
        found.record_id,
    )


def _loose_store(store: bytes) -> frozenset[int]:
    """Places in a store that are neither hashed nor signed.

    Signed are the claim, and the protected header that is signed with it; hashed by
    the claim are the payloads of assertions. Left are the heads of boxes, the
    descriptions of the superboxes around these, the unprotected header, and the toggles
    of an assertion's own description.
    """
    loose = set(range(len(store)))
    manifest = parse(store)
    for payload in manifest.assertions.values():
        at = store.index(payload)
        loose -= set(range(at, at + len(payload)))
        loose.add(at + _TOGGLES)
    ((_, whole),) = boxes(store)
    *_, (_, active) = boxes(whole)
    _, *parts = boxes(active)
    for _, part in parts:
        label = next(boxes(part))[1][17:].partition(b"\0")[0].decode()
        if label == ASSERTIONS:
            continue
        (content,) = [body for kind, body in boxes(part) if kind == b"cbor"]
        at = store.index(content)
        if label.startswith("c2pa.claim"):
            loose -= set(range(at, at + len(content)))
        else:
            protected, _, _, signature = cbor2.loads(content).value
            for signed in (protected, signature):
                begin = store.index(signed, at)
                loose -= set(range(begin, begin + len(signed)))
    return frozenset(loose)


def _loose_in_container(data: bytes, store: bytes) -> frozenset[int]:
    """Loose places of the store, and the container's own head around it."""
    at = data.find(store)
    loose = {at + place for place in _loose_store(store)} if at >= 0 else set()
    binding = parse(store).assertions
    if "c2pa.hash.data" in binding:
        for each in parse(store).content("c2pa.hash.data").get("exclusions", ()):
            start, end = each["start"], each["start"] + each["length"]
            inside = range(at, at + len(store)) if at >= 0 else range(0)
            loose |= {place for place in range(start, end) if place not in inside}
    elif data[4:8] == b"ftyp":
        (brands,) = struct.unpack(">I", data[:4])
        head = data.rfind(b"uuid", 0, at) - 4  # excluded: A.5.6
        loose |= {*range(brands), *range(head, at)}
    else:  # ZIP: the manifest's own local header, and its checksum in the directory
        name = b"META-INF/content_credential.c2pa"
        # The library leaves the old directory where it was, before its own member:
        # dead bytes, which no reader of archives looks at.
        loose |= set(range(min(data.find(b"PK\1\2"), at), at))
        directory = data.rfind(name) - 46
        loose |= set(range(directory + 16, directory + 20))
    return frozenset(loose)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
