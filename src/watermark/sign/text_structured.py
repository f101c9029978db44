"""Manifests in structured text: a comment or a front matter block (C2PA 2.4, A.9)."""

from __future__ import annotations

import base64
import binascii
import re

from watermark.errors import UnsupportedFormat
from watermark.sign.place import (
    STORE_BYTES,
    Linked,
    Located,
    Place,
    Unusable,
    is_meant,
    is_store,
)

BEGIN, END = b"-----BEGIN C2PA MANIFEST-----", b"-----END C2PA MANIFEST-----"
DATA_URI = b"data:application/c2pa;base64,"

_CODE = "manifest.structuredText."
NONE, MULTIPLE = _CODE + "noManifest", _CODE + "multipleReferences"
EMPTY, MALFORMED = _CODE + "emptyReference", _CODE + "malformedReference"

# How comments start and end, and the suffixes of files that have them so.
_COMMENTS: dict[tuple[bytes, bytes], str] = {
    (b"#", b""): ".py .sh .bash .zsh .rb .pl .r .jl .yaml .yml .toml .cfg .conf .mk "
    ".dockerfile .tcl .nix .ps1 .ex .exs .gd .tf",
    (b"//", b""): ".c .h .cc .cpp .hpp .cs .dart .go .java .kt .m .mm .php .rs .scala "
    ".swift .ts .tsx .jsx .zig .proto .groovy",
    (b"--", b""): ".sql .lua .hs .elm .ada .adb .ads .vhd .vhdl",
    (b";", b""): ".ini .asm .lisp .clj .el .scm .rkt",
    (b"%", b""): ".tex .bib .erl .hrl .mat .pro",
    (b"/*", b"*/"): ".scss .less",
    (b"/*!", b"*/"): ".css .js .mjs .cjs",  # A.9.3.1: tools are told to keep these
    (b"<!--", b"-->"): ".md .markdown .xml .xhtml .xsl .rss .vue .svelte",
}
_BY_SUFFIX = {
    suffix: marks
    for marks, suffixes in _COMMENTS.items()
    for suffix in suffixes.split()
}
SUFFIXES = frozenset(_BY_SUFFIX)

# A first line that has to stay the first: a script's interpreter, an XML or PHP
# declaration, a character set, a byte order mark.
_RESERVED = (b"#!", b"<?", b"@charset", b"\xef\xbb\xbf")
_REFERENCE = re.compile(BEGIN + rb"\s*" + DATA_URI)
_FRONT_MATTER = re.compile(rb"(---|\+\+\+)\r?\n")


def write(content: bytes, suffix: str, store: bytes) -> tuple[bytes, int, int]:
    """The text with its manifest block, and start and length of what is excluded.

    Args:
        content: the file, whose lines end in LF or CRLF.
        suffix: of its name, such as ``.py``: it tells how comments are written.
        store: the manifest store.

    Raises:
        UnsupportedFormat: no comments in such files, or lines that end in CR.
    """
    return _inserted(content, suffix, DATA_URI + base64.b64encode(store))


def link(content: bytes, suffix: str, url: str) -> bytes:
    """The text with a block that says where its manifest is.

    Raises:
        UnsupportedFormat: as for `write`.
    """
    return _inserted(content, suffix, url.encode())[0]


def _inserted(content: bytes, suffix: str, reference: bytes) -> tuple[bytes, int, int]:
    if suffix.lower() not in _BY_SUFFIX:
        raise UnsupportedFormat(
            f"found suffix {suffix!r}, expected that of a text with comments, such as "
            ".md or .py: use 'wrapper' or 'sidecar'"
        )
    if re.search(rb"\r(?!\n)", content):
        raise UnsupportedFormat(
            "lines that end in CR cannot be told apart from others: save the text with "
            "LF or CRLF (C2PA 2.4, A.9.4)"
        )
    newline = b"\r\n" if b"\r\n" in content else b"\n"
    if matter := _FRONT_MATTER.match(content):
        block = newline.join([BEGIN, reference, END, b""])
        start = matter.end()
        return content[:start] + block + content[start:], start, len(block)
    before, after = _BY_SUFFIX[suffix.lower()]
    block = b" ".join([before, BEGIN, reference, END, after]).rstrip()
    if content.lower().startswith(_RESERVED):
        block = newline + block
        return content + block, len(content), len(block)
    block += newline
    return block + content, 0, len(block)


def locate(data: bytes) -> Place | None:
    """The manifest block in a text, if there is one."""
    begins, ends = data.count(BEGIN), data.count(END)
    if not begins and not ends:
        return None
    if begins > 1 or ends > 1:
        stores = (data[m.end() : m.end() + 100] for m in _REFERENCE.finditer(data))
        return Unusable(MULTIPLE, meant=any(map(is_meant, stores)))
    start, end = data.find(BEGIN), data.find(END)
    if not 0 <= start < end:
        return Unusable(NONE, meant=False)
    reference = data[start + len(BEGIN) : end].strip()
    if not reference:
        return Unusable(EMPTY, meant=False)
    if re.fullmatch(rb"https?://\S{1,2000}", reference):
        return Linked(reference.decode("ascii", "replace"))
    store = _decoded(reference)
    if store is None:
        begins = reference.startswith(DATA_URI)
        meant = begins and is_meant(reference.removeprefix(DATA_URI))
        return Unusable(MALFORMED, meant=meant)
    return Located(store, data, _ranges(data, start, end + len(END), reference))


def _decoded(reference: bytes) -> bytes | None:
    encoded = reference.removeprefix(DATA_URI)
    if encoded == reference or len(encoded) > 2 * STORE_BYTES:
        return None
    try:
        store = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    exact = is_store(store) and base64.b64encode(store) == encoded
    return store if exact else None


def _ranges(
    data: bytes, start: int, end: int, reference: bytes
) -> frozenset[tuple[int, int]]:
    """What may be excluded for this block (A.9.4); nothing for a block with more in it.

    What is excluded is not signed, so a line that holds anything but the block, such
    as a statement before the comment, is no place for a manifest.
    """
    first = data.rfind(b"\n", 0, start) + 1
    last = data.find(b"\n", end)
    stop, whole = (len(data), len(data)) if last < 0 else (last, last + 1)
    if data[stop - 1 : stop + 1] == b"\r\n":
        stop -= 1
    line = data[first:stop]
    forms = [b"\n".join([BEGIN, reference, END]), b"\r\n".join([BEGIN, reference, END])]
    for before, after in _COMMENTS:
        forms.append(b" ".join([before, BEGIN, reference, END, after]).rstrip())
    if line not in forms:
        return frozenset()
    ranges = {(first, stop - first), (first, whole - first)}
    if stop == len(data):  # at the end, the newline before belongs to it
        for newline in (b"\n", b"\r\n"):
            if data[:first].endswith(newline):
                length = len(newline)
                ranges.add((first - length, stop - first + length))
    return frozenset(ranges)
