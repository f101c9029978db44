"""Check an export of a ledger, with nothing but Python: ``python check_export.py``.

This file stands in every export beside what it checks, and needs no other package: the
signature is checked with `cryptography` if that is installed, else with ``openssl``.

It checks that each entry is in the log that the newest checkpoint signs, that the facts
beside it are those of its leaf, that manifests and personal fields are those that the
leaf commits to, and that older checkpoints are of the same log. It cannot tell whether
entries were left out of the export: compare the count with what the log was asked for.
Time-stamps and lines of witnesses are for whoever trusts those who made them to check.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MAX_PATH = 64
MAX_DEPTH = 16


class Wrong(Exception):
    """Something does not agree."""


class Unchecked(Exception):
    """The signature could not be checked on this machine."""


# --- CBOR (RFC 8949), as far as a leaf needs it ---------------------------------------


def cbor(data: bytes) -> Any:
    """The one value in `data`."""
    value, end = _item(data, 0, 0)
    if end != len(data):
        raise Wrong("a leaf has bytes after its end")
    return value


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise Wrong("a leaf is nested too deep")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return _simple(data, at, low)
    if low < 24:
        n = low
    elif low <= 27:
        width = 1 << (low - 24)
        n, at = int.from_bytes(data[at : at + width], "big"), at + width
    else:
        raise Wrong(f"a leaf has an item of length {low}")
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        part = data[at : at + n]
        if len(part) != n:
            raise Wrong("a leaf is cut")
        return (part if major == 2 else part.decode()), at + n
    if major == 4:
        items = []
        for _ in range(n):
            value, at = _item(data, at, depth + 1)
            items.append(value)
        return items, at
    if major == 5:
        pairs = {}
        for _ in range(n):
            key, at = _item(data, at, depth + 1)
            pairs[key], at = _item(data, at, depth + 1)
        return pairs, at
    raise Wrong(f"a leaf has an item of type {major}")


def _simple(data: bytes, at: int, low: int) -> tuple[Any, int]:
    if low in (20, 21, 22):
        return {20: False, 21: True, 22: None}[low], at
    form, width = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}.get(low, ("", 0))
    if not form:
        raise Wrong(f"a leaf has a simple value {low}")
    return struct.unpack(form, data[at : at + width])[0], at + width


# --- the tree (RFC 9162) --------------------------------------------------------------


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || body)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def check_inclusion(
    leaf: bytes, index: int, size: int, path: list[bytes], root: bytes
) -> None:
    """2.1.3.2: the leaf is at `index` under `root`."""
    if not 0 <= index < size or len(path) > MAX_PATH:
        raise Wrong("its proof is for another tree")
    fn, sn, found = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise Wrong("its proof is too long")
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or found != root:
        raise Wrong("its proof does not lead to the signed root")


def check_consistency(
    old: int, new: int, path: list[bytes], old_root: bytes, new_root: bytes
) -> None:
    """2.1.4.2: the tree of `new` leaves extends that of `old`."""
    if old == new or old == 0:
        empty = hashlib.sha256(b"").digest()
        if path or old_root != (new_root if old == new else empty):
            raise Wrong("it is of another log")
        return
    if not 0 < old < new or len(path) > MAX_PATH:
        raise Wrong("its proof is for another tree")
    if old & (old - 1) == 0:
        path = [old_root, *path]
    if not path:
        raise Wrong("its proof is empty")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise Wrong("its proof is too long")
        if fn & 1 or fn == sn:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            after = node_hash(after, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or before != old_root or after != new_root:
        raise Wrong("it is of another log, or of a fork")


# --- checkpoints (C2SP signed-note, tlog-checkpoint) ----------------------------------


def check_note(note: str, key: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the log `key` signed."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    name, key_id, encoded = key.split("+", 2)
    public = base64.b64decode(encoded)
    named = hashlib.sha256(name.encode() + b"\n" + public).hexdigest()[:8]
    if public[:1] != b"\x01" or len(public) != 33 or named != key_id:
        raise Wrong(f"{key} is no Ed25519 log key")
    if origin != name:
        raise Wrong(f"a checkpoint is of {origin!r}, expected {name!r}")
    for line in lines.split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[:2] != ["\u2014", name]:
            continue
        signature = base64.b64decode(parts[2])
        if signature[:4].hex() == key_id:
            check_signature(public[1:], signature[4:], text.encode())
            return int(size), base64.b64decode(root)
    raise Wrong(f"a checkpoint has no signature by {key}")


def check_signature(public: bytes, signature: bytes, message: bytes) -> None:
    """Ed25519, by whichever program is at hand."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        _by_openssl(public, signature, message)
        return
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        raise Wrong("a checkpoint's signature is wrong") from None


def _by_openssl(public: bytes, signature: bytes, message: bytes) -> None:
    der = bytes.fromhex("302a300506032b6570032100") + public  # RFC 8410
    with tempfile.TemporaryDirectory() as name:
        files = {"key": der, "signature": signature, "message": message}
        for file, data in files.items():
            Path(name, file).write_bytes(data)
        command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin"
        command += " -in message -sigfile signature"
        try:
            done = subprocess.run(command.split(), cwd=name, capture_output=True)
        except FileNotFoundError:
            raise Unchecked("install openssl, or Python's `cryptography`") from None
    if b"Signature Verification Failure" in done.stdout:
        raise Wrong("a checkpoint's signature is wrong")
    if done.returncode != 0:  # no word on the signature: before 3.0 it knows no -rawin
        said = done.stderr.decode(errors="replace").strip()[:200]
        raise Unchecked(f"{said}: install OpenSSL 3, or Python's `cryptography`")


# --- the export -----------------------------------------------------------------------


def check(folder: Path, key: str = "") -> tuple[int, int]:
    """Check a whole export; (entries, size of the log).

    Raises:
        Wrong: anything at all does not agree; it says what.
    """
    key = key or (folder / "log.txt").read_text("utf-8").strip()
    size, root = check_note((folder / "checkpoint.txt").read_text("utf-8"), key)
    seen: set[int] = set()
    with (folder / "entries.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            try:
                check_entry(entry, size, root, folder)
                if entry["index"] in seen:
                    raise Wrong("it stands in the export twice")
            except Wrong as error:
                raise Wrong(f"entry {entry.get('index')!r:.20}: {error}") from None
            seen.add(entry["index"])
    with (folder / "checkpoints.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            older = json.loads(line)
            old, old_root = check_note(older["note"], key)
            try:
                if older["size"] != old:
                    raise Wrong(f"it says {older['size']!r:.20}")
                path = list(map(base64.b64decode, older["path"]))
                check_consistency(old, size, path, old_root, root)
            except Wrong as error:
                raise Wrong(f"checkpoint of {old} entries: {error}") from None
    return len(seen), size


def check_entry(entry: dict[str, Any], size: int, root: bytes, folder: Path) -> None:
    """One line of entries.jsonl."""
    body = base64.b64decode(entry["leaf"])
    path = [base64.b64decode(value) for value in entry["path"]]
    check_inclusion(leaf_hash(body), entry["index"], size, path, root)
    leaf = cbor(body)
    said, facts = readable(leaf), entry["facts"]
    for name in sorted({*said, *facts}):
        if name not in said or name not in facts or facts[name] != said[name]:
            raise Wrong(
                f"{name} is {facts.get(name)!r:.80}, its leaf says "
                f"{said.get(name)!r:.80}"
            )
    digest = leaf.get("manifest_sha256")
    if digest:
        name = f"{digest}.c2pa"
        data = (folder / "manifests" / name).read_bytes()
        if entry.get("manifest") != name or hashlib.sha256(data).hexdigest() != digest:
            raise Wrong("its manifest is not the one that the leaf names")
    elif "manifest" in entry:
        raise Wrong("it has a manifest, and its leaf names none")
    for name, opening in entry.get("personal", {}).items():
        message = name.encode() + b"\0" + opening["value"].encode()
        found = hmac.digest(bytes.fromhex(opening["nonce"]), message, "sha256")
        if leaf.get("personal", {}).get(name) != found:
            raise Wrong(f"the field {name} is not the one that the leaf commits to")


def readable(value: Any) -> Any:
    """A value of a leaf as JSON has it: bytes as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: readable(inner) for key, inner in value.items()}
    return [readable(inner) for inner in value] if isinstance(value, list) else value


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument(
        "--key", default="", help="the log's public key, from a place that you trust"
    )
    options = parser.parse_args()
    try:
        count, size = check(options.folder, options.key)
    except Wrong as error:
        print(f"WRONG: {error}")
        return 1
    except Unchecked as error:
        print(f"NOT CHECKED: {error}")
        return 2
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        RecursionError,
        struct.error,
    ) as error:
        print(f"WRONG: the export cannot be read: {error!r}")
        return 1
    print(f"{count} entries are in the log of {size}, which is signed as it should be")
    if not options.key:
        key = (options.folder / "log.txt").read_text("utf-8").strip()
        print(f"the key came with the export; compare it with the provider's: {key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
