"""The label of an Office file is a custom property; other members stay packed."""

import io
import re
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from benchmarks.conformance.containers import zipped
from tests.labels.carriers import (
    DOCX,
    LABEL,
    PPTX,
    RELATIONS,
    XLSX,
    exiftool,
    files,
    labelled,
    labels,
)

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat

OFFICE = (DOCX, XLSX, PPTX)
CUSTOM = "http://schemas.openxmlformats.org/officeDocument/2006/custom-properties"
VALUES = "http://schemas.openxmlformats.org/officeDocument/2006/docPropsVTypes"
RELATION = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    "custom-properties"
)
SUFFIXES = {DOCX: ".docx", XLSX: ".xlsx", PPTX: ".pptx"}


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def raw_members(data: bytes) -> dict[str, bytes]:
    """As they are packed, with their headers."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        ends = [info.header_offset for info in infos[1:]] + [archive.start_dir]
        return {
            info.filename: data[info.header_offset : end]
            for info, end in zip(infos, ends, strict=True)
        }


def custom(properties: str) -> bytes:
    """A Word file with custom properties under a name of its own."""
    parts = members(files()[DOCX])
    relation = f'<Relationship Id="c" Type="{RELATION}" Target="/docProps/my.xml"/>'
    parts["_rels/.rels"] = parts["_rels/.rels"].replace(
        b"</Relationships>", relation.encode() + b"</Relationships>"
    )
    parts["docProps/my.xml"] = (
        f'<?xml version="1.0"?>\n<p:Properties xmlns:p="{CUSTOM}" xmlns:v="{VALUES}">'
        f"{properties}</p:Properties>"
    ).encode()
    return zipped(parts, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("media_type", OFFICE)
def test_cn_01_an_office_file_gets_a_custom_property(media_type: str) -> None:
    before = files()[media_type]
    after = members(labelled(before, media_type))

    assert after["docProps/custom.xml"].decode() == (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<Properties xmlns="{CUSTOM}" xmlns:vt="{VALUES}">'
        '<property fmtid="{D5CDD505-2E9C-101B-9397-08002B2CF9AE}" pid="2" name="AIGC">'
        f"<vt:lpwstr>{escape(LABEL.decode())}</vt:lpwstr></property></Properties>"
    )
    relation = f'Id="rId2" Type="{RELATION}" Target="docProps/custom.xml"/>'
    assert after["_rels/.rels"].count(relation.encode()) == 1
    override = (
        b'<Override PartName="/docProps/custom.xml" ContentType="application/'
        b'vnd.openxmlformats-officedocument.custom-properties+xml"/></Types>'
    )
    assert after["[Content_Types].xml"].endswith(override)
    assert list(after) == [*members(before), "docProps/custom.xml"]


@pytest.mark.parametrize("media_type", OFFICE)
def test_cn_01_exiftool_reads_the_label(media_type: str, tmp_path: Path) -> None:
    data = labelled(files()[media_type], media_type)
    found = exiftool(data, tmp_path, SUFFIXES[media_type], "AIGC")

    assert found == LABEL.decode() + "\n"


@pytest.mark.parametrize("media_type", OFFICE)
def test_cn_14_other_members_stay_as_they_are_packed(media_type: str) -> None:
    before, after = files()[media_type], labelled(files()[media_type], media_type)
    changed = {"[Content_Types].xml", "_rels/.rels", "docProps/custom.xml"}
    kept = {n: raw for n, raw in raw_members(before).items() if n not in changed}

    assert len(kept) == 1
    assert kept.items() <= raw_members(after).items()


def test_cn_03_other_custom_properties_stay() -> None:
    theirs = (
        '<p:property fmtid="{0}" pid="7" name="Case"><v:i4>5</v:i4></p:property>'
        '<p:property fmtid="{0}" pid="3" name="aigc"><v:lpwstr>{}</v:lpwstr>'
        "</p:property>"
    )
    before = custom(theirs)
    assert labels(before, DOCX) == [b"{}"]
    after = labelled(before, DOCX, replace=True)

    part = members(after)["docProps/my.xml"].decode()
    kept = theirs.partition('<p:property fmtid="{0}" pid="3"')[0]
    assert part.startswith(f'<?xml version="1.0"?>\n<p:Properties xmlns:p="{CUSTOM}"')
    assert f'"{VALUES}">{kept}<property xmlns="{CUSTOM}" ' in part
    assert 'pid="8" name="AIGC"' in part
    assert "docProps/custom.xml" not in members(after)


@pytest.mark.parametrize("empty", [True, False])
def test_a_part_without_properties_takes_one(empty: bool) -> None:
    before = custom("")
    if empty:
        parts = members(before)
        part = parts["docProps/my.xml"].replace(b"></p:Properties>", b" />")
        before = zipped({**parts, "docProps/my.xml": part})

    assert labels(labelled(before, DOCX), DOCX) == [LABEL]


@pytest.mark.parametrize(
    "problem", ["no types", "no relations", "no part", "twice", "encrypted", "a DTD"]
)
def test_cn_15_an_office_file_that_cannot_be_read_is_damage(problem: str) -> None:
    parts = members(custom(""))
    if problem == "no types":
        del parts["[Content_Types].xml"]
    elif problem == "no relations":
        del parts["_rels/.rels"]
    elif problem == "no part":
        del parts["docProps/my.xml"]
    elif problem == "a DTD":
        parts["_rels/.rels"] = b"<!DOCTYPE a><a/>"
    data = zipped(parts)
    if problem == "twice":
        data = data.replace(b"docProps/my.xml", b"_rels/.rels0000")
        data = data.replace(b"word/a.xml", b"docProps/a")
        data = data.replace(b"_rels/.rels0000", b"docProps/my.xml")
        output = io.BytesIO(data)
        with (
            pytest.warns(UserWarning, match="Duplicate"),
            zipfile.ZipFile(output, "a") as archive,
        ):
            archive.writestr("docProps/my.xml", b"")
        data = output.getvalue()
    elif problem == "encrypted":
        name = data.rindex(b"_rels/.rels")
        data = data[: name - 38] + b"\1\0" + data[name - 36 :]

    with pytest.raises(DamagedAsset):
        labels(data, DOCX)


def test_a_custom_part_that_nothing_relates_to_is_not_written_over() -> None:
    parts = {**members(files()[DOCX]), "docProps/custom.xml": b"<a/>"}
    with pytest.raises(UnsupportedFormat, match="to which nothing relates"):
        labelled(zipped(parts), DOCX)


def test_ids_of_relations_are_not_taken_twice() -> None:
    parts = members(files()[DOCX])
    relations = "".join(f'<Relationship Id="rId{n}"/>' for n in (1, 2, 4))
    parts["_rels/.rels"] = (
        f'<r:Relationships xmlns:r="{RELATIONS}">{relations}</r:Relationships>'.encode()
    )
    after = members(labelled(zipped(parts), DOCX))["_rels/.rels"]

    assert re.findall(rb'Id="(\w+)"', after) == [b"rId1", b"rId2", b"rId4", b"rId3"]
