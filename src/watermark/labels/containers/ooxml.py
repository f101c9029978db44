"""Word, Excel and PowerPoint files: a custom property (TC260-PG-20258A, 6.1).

They are ZIP archives of XML parts (ECMA-376 Part 2). Three small parts change; all
other members are copied as they are packed.
"""

from __future__ import annotations

import copy
import zipfile
import zlib
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels import elements
from watermark.labels.containers.streams import is_label, take
from watermark.labels.elements import Element

_TYPES, _RELATIONS, _PART = "[Content_Types].xml", "_rels/.rels", "docProps/custom.xml"
_TYPES_SPACE = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS_SPACE = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/"
_RELATION = _OFFICE + "relationships/custom-properties"
_STRICT_RELATION = (  # of ISO/IEC 29500 Strict
    "http://purl.oclc.org/ooxml/officeDocument/relationships/customProperties"
)
_TYPE = "application/vnd.openxmlformats-officedocument.custom-properties+xml"
_SPACE, _VALUES = _OFFICE + "custom-properties", _OFFICE + "docPropsVTypes"
_FORMAT = "{D5CDD505-2E9C-101B-9397-08002B2CF9AE}"  # of custom properties: [MS-OSHARED]
_FIRST_ID = 2  # 0 and 1 are reserved

_NEW = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    f'<Properties xmlns="{_SPACE}" xmlns:vt="{_VALUES}"></Properties>'
).encode()

_MEMBERS = 65_536
_ENCRYPTED, _UTF8 = 1, 0x800  # of the general purpose bits (APPNOTE 4.4.4)
# What zipfile raises of damaged and of unusual archives.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def read(source: BinaryIO) -> list[bytes]:
    """The values of custom properties named AIGC."""
    try:
        with zipfile.ZipFile(source) as archive:
            return _read(archive)
    except _UNREADABLE as error:
        raise DamagedAsset(f"this Office file cannot be read: {error}") from error


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The property takes the place of others of its name."""
    try:
        with zipfile.ZipFile(source) as archive:
            parts = _changed(archive, label)
            _copy(source, archive, target, parts)
    except _UNREADABLE as error:
        raise DamagedAsset(f"this Office file cannot be read: {error}") from error


def _read(archive: zipfile.ZipFile) -> list[bytes]:
    _check(archive)
    _member(archive, _TYPES)
    name = _part(elements.parse(_member(archive, _RELATIONS)))
    if name is None:
        return []
    root = elements.parse(_member(archive, name))
    return [e.text.strip().encode() for e in root.children if _is_label(e)]


def _check(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > _MEMBERS or len({m.filename for m in members}) != len(members):
        raise DamagedAsset(
            f"{len(members)} members found in this Office file, expected at most "
            f"{_MEMBERS}, each with a name of its own"
        )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.NameToInfo:
        raise DamagedAsset(f"this Office file lacks {name}")
    if archive.getinfo(name).flag_bits & _ENCRYPTED:
        raise DamagedAsset(f"{name} of this Office file is encrypted")
    with archive.open(name) as member:
        data = member.read(elements.MAX_BYTES + 1)
    if len(data) > elements.MAX_BYTES:
        raise DamagedAsset(f"{name} of this Office file is too large to be read")
    return data


def _part(relations: Element) -> str | None:
    """The name of the part with the custom properties, or None."""
    found = [
        relation.attributes.get(("", "Target"), "").lstrip("/")
        for relation in relations.children
        if relation.attributes.get(("", "Type")) in (_RELATION, _STRICT_RELATION)
    ]
    if len(found) > 1:  # ECMA-376 Part 1, 15.2.12.2 knows one
        raise DamagedAsset(f"{len(found)} parts with custom properties, expected one")
    return found[0] if found else None


def _is_label(element: Element) -> bool:
    name = element.attributes.get(("", "name"), "")
    return element.name[1] == "property" and is_label(name.encode())


def _changed(archive: zipfile.ZipFile, label: bytes) -> dict[str, bytes]:
    """The parts that are not as they were, by name."""
    _check(archive)
    data = _member(archive, _RELATIONS)
    relations = elements.parse(data)
    name = _part(relations)
    if name is not None:
        return {name: _with_property(_member(archive, name), label)}
    if _PART in archive.NameToInfo:
        raise UnsupportedFormat(f"{_PART} found, to which nothing relates")
    types = _member(archive, _TYPES)
    ids = {r.attributes.get(("", "Id"), "") for r in relations.children}
    number = next(n for n in range(1, len(ids) + 2) if f"rId{n}" not in ids)
    relation = (
        f'<Relationship xmlns="{_RELATIONS_SPACE}" Id="rId{number}" '
        f'Type="{_RELATION}" Target="{_PART}"/>'
    )
    override = (
        f'<Override xmlns="{_TYPES_SPACE}" PartName="/{_PART}" ContentType="{_TYPE}"/>'
    )
    return {
        _TYPES: _appended(types, elements.parse(types), override),
        _RELATIONS: _appended(data, relations, relation),
        _PART: _with_property(_NEW, label),
    }


def _with_property(data: bytes, label: bytes) -> bytes:
    """The part with the label, and without others."""
    root = elements.parse(data)
    gone = [(e.start, e.end, b"") for e in root.children if _is_label(e)]
    kept = [e for e in root.children if not _is_label(e)]
    ids = [e.attributes.get(("", "pid"), "") for e in kept]
    last = max((int(n) for n in ids if n.isdecimal()), default=_FIRST_ID - 1)
    new = (
        f'<property xmlns="{_SPACE}" fmtid="{_FORMAT}" pid="{last + 1}" name="AIGC">'
        f'<vt:lpwstr xmlns:vt="{_VALUES}">{escape(label.decode())}</vt:lpwstr>'
        "</property>"
    )
    return _appended(data, root, new, gone)


def _appended(
    data: bytes,
    root: Element,
    child: str,
    gone: list[tuple[int, int, bytes]] | None = None,
) -> bytes:
    """The document with another child of its root; namespaces said twice go."""
    for declared in (f' xmlns="{root.name[0]}"', f' xmlns:vt="{_VALUES}"'):
        if not root.prefix and declared.encode() in data[root.start : root.inner]:
            child = child.replace(declared, "")
    if root.closed:
        tag = data[root.start : root.end]
        name = tag[1:].split()[0].rstrip(b"/>")
        opened = tag[:-2].rstrip() + b">" + child.encode() + b"</" + name + b">"
        return elements.spliced(data, [(root.start, root.end, opened)])
    new = root.close, root.close, child.encode()
    return elements.spliced(data, [*(gone or []), new])


def _copy(
    source: BinaryIO,
    archive: zipfile.ZipFile,
    target: BinaryIO,
    parts: dict[str, bytes],
) -> None:
    """The archive with these members in place of theirs, or at its end."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    ends = [m.header_offset for m in members[1:]] + [archive.start_dir]
    new = dict(parts)
    target.seek(0)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as output:
        output.comment = archive.comment
        for member, end in zip(members, ends, strict=True):
            if member.filename in new:
                about = zipfile.ZipInfo(member.filename, member.date_time)
                about.compress_type = zipfile.ZIP_DEFLATED
                about.external_attr = member.external_attr
                output.writestr(about, new.pop(member.filename))
            else:
                _kept(source, member, end, output)
        for name, data in new.items():
            output.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    target.truncate()


def _kept(
    source: BinaryIO, member: zipfile.ZipInfo, end: int, output: zipfile.ZipFile
) -> None:
    """A member as it is packed; zipfile itself would pack it anew."""
    if not member.filename.isascii() and not member.flag_bits & _UTF8:
        raise UnsupportedFormat(
            f"member {member.filename!r} has no name in UTF-8: pack the file anew"
        )
    stream: Any = output.fp
    moved = copy.copy(member)
    stream.seek(output.start_dir)
    moved.header_offset = stream.tell()
    for start in range(member.header_offset, end, 1 << 20):
        stream.write(take(source, start, min(1 << 20, end - start)))
    output.filelist.append(moved)
    output.NameToInfo[moved.filename] = moved
    output.start_dir = stream.tell()
