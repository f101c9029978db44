"""The Merkle tree of RFC 9162, section 2.1, as functions over bytes; no storage here.

A tree of `size` leaves is spoken of by ranges ``(start, stop)`` of leaves: a proof is a
list of ranges, and the hash of each is folded from the complete subtrees, ``(level,
index)``, that a ledger stores. Both directions can be read beside the RFC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from watermark.errors import VerificationError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]
Node = tuple[int, int]


def leaf_hash(body: bytes) -> bytes:
    """The hash of one leaf: SHA-256(0x00 || body)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(bodies: Sequence[bytes]) -> bytes:
    """The root of a tree, straight from its definition: the reference for the rest."""
    if not bodies:
        return EMPTY_ROOT
    if len(bodies) == 1:
        return leaf_hash(bodies[0])
    middle = split(len(bodies))
    return node_hash(root(bodies[:middle]), root(bodies[middle:]))


def split(size: int) -> int:
    """The largest power of two smaller than `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Whose hashes prove that leaf `index` is in a tree of `size` (2.1.3.1)."""
    start, stop, found = 0, size, []
    while stop - start > 1:
        middle = start + split(stop - start)
        if index < middle:
            found.append((middle, stop))
            stop = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Whose hashes prove that the first `old` leaves of `new` are unchanged (2.1.4.1).

    Nothing is needed for ``old == 0`` and ``old == new``.
    """
    if old == 0:
        return []
    start, stop, old_root_is_known, found = 0, new, True, []
    while stop != old:
        middle = start + split(stop - start)
        if old <= middle:
            found.append((middle, stop))
            stop = middle
        else:
            found.append((start, middle))
            start, old_root_is_known = middle, False
    if not old_root_is_known:
        found.append((start, stop))
    return found[::-1]


def subtrees(start: int, stop: int) -> Iterator[Node]:
    """The complete subtrees that make up a range, largest first."""
    while start < stop:
        level = (stop - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range, from the hashes of its `subtrees`."""
    if not hashes:
        return EMPTY_ROOT
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes
) -> None:
    """Check that the leaf hash `leaf` is at `index` under the root `expected`.

    The steps and the names `fn`, `sn` are those of 2.1.3.2.

    Raises:
        VerificationError: it is not, or the proof is for another tree.
    """
    if not 0 <= index < size:
        raise VerificationError(f"leaf {index} cannot be in a tree of {size} leaves")
    fn, sn, found = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise VerificationError("the inclusion proof is too long for its tree")
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerificationError("the inclusion proof is too short for its tree")
    _same_root(found, expected)


def verify_consistency(
    old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree of `new` leaves extends the tree of `old` leaves (2.1.4.2).

    Raises:
        VerificationError: it does not, or the proof is for other trees.
    """
    if not 0 <= old <= new:
        raise VerificationError(f"a tree of {new} leaves cannot extend one of {old}")
    if old in (0, new):
        if path:
            raise VerificationError("the consistency proof is too long for its trees")
        _same_root(old_root, new_root if old == new else EMPTY_ROOT)
        return
    _consistent(old, new, path, old_root, new_root)


def _consistent(
    old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    if old & (old - 1) == 0:  # a complete tree: its root is a node of the new one
        path = [old_root, *path]
    if not path:
        raise VerificationError("the consistency proof is empty")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise VerificationError("the consistency proof is too long for its trees")
        if fn & 1 or fn == sn:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new_found = node_hash(new_found, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerificationError("the consistency proof is too short for its trees")
    _same_root(old_found, old_root)
    _same_root(new_found, new_root)


def _same_root(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise VerificationError(
            f"the proof leads to root {found.hex()}, expected {expected.hex()}: the "
            "entry, the proof or the tree was altered"
        )
