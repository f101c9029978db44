"""The label of a PDF is an entry of its information; what was there stays."""

import io
import re
from pathlib import Path

import pypdf
import pytest
from benchmarks.label_samples import streamed_pdf
from tests.labels.carriers import (
    LABEL,
    OTHER,
    exiftool,
    labelled,
    labels,
    page_texts,
    pdf,
)

from watermark.assets import DamagedAsset
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labels import xmp

PDFS = {"table": pdf(), "stream": streamed_pdf()}


@pytest.mark.parametrize("kind", PDFS)
def test_cn_01_exiftool_reads_the_label(kind: str, tmp_path: Path) -> None:
    data = labelled(PDFS[kind], "application/pdf")

    assert exiftool(data, tmp_path, ".pdf", "AIGC") == LABEL.decode() + "\n"


@pytest.mark.parametrize("kind", PDFS)
def test_cn_01_a_pdf_gets_an_entry_behind_what_it_was(kind: str) -> None:
    before = PDFS[kind]
    after = labelled(before, "application/pdf")
    literal = re.sub(rb"([\\()])", rb"\\\1", LABEL)

    assert after.startswith(before)
    assert after.count(b"/AIGC (" + literal + b")") == 1
    reader = pypdf.PdfReader(io.BytesIO(after), strict=True)
    assert reader.metadata is not None
    assert str(reader.metadata["/AIGC"]) == LABEL.decode()


@pytest.mark.parametrize("kind", PDFS)
def test_cn_02_a_pdf_has_one_label_after_two_writes(kind: str) -> None:
    once = labelled(PDFS[kind], "application/pdf")
    with pytest.raises(LabelError, match=r"6\.1 c\)"):
        labelled(once, "application/pdf")
    twice = labelled(once, "application/pdf", OTHER, replace=True)

    assert labels(twice, "application/pdf") == [OTHER]
    assert twice.count(b"/AIGC") == 1


@pytest.mark.parametrize("kind", PDFS)
def test_cn_03_and_cn_14_other_entries_and_pages_stay(kind: str) -> None:
    before = PDFS[kind]
    after = labelled(before, "application/pdf")
    was = pypdf.PdfReader(io.BytesIO(before), strict=True).metadata
    now = pypdf.PdfReader(io.BytesIO(after), strict=True).metadata

    assert was is not None
    assert now is not None
    assert dict(now) == {**was, "/AIGC": LABEL.decode()}
    assert page_texts(after) == page_texts(before)


def test_a_pdf_without_any_information_takes_a_label() -> None:
    data = PDFS["stream"].replace(b"/Info 4 0 R", b"           ")

    assert labels(data, "application/pdf") == []
    assert labels(labelled(data, "application/pdf"), "application/pdf") == [LABEL]


def test_an_old_label_stays_in_the_past_of_a_pdf_that_is_signed() -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(72, 72)
    number = pypdf.generic.NumberObject(3)
    form = pypdf.generic.DictionaryObject(
        {pypdf.generic.NameObject("/SigFlags"): number}
    )
    writer.root_object[pypdf.generic.NameObject("/AcroForm")] = form
    output = io.BytesIO()
    writer.write(output)
    once = labelled(output.getvalue(), "application/pdf")
    twice = labelled(once, "application/pdf", OTHER, replace=True)

    assert twice.startswith(once)
    assert labels(twice, "application/pdf") == [OTHER]


def test_the_xmp_of_a_pdf_is_read_and_is_not_written_over() -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(72, 72)
    writer.xmp_metadata = xmp.with_label(None, OTHER)
    output = io.BytesIO()
    writer.write(output)

    assert labels(output.getvalue(), "application/pdf") == [OTHER]
    with pytest.raises(LabelError, match="2 labels read back"):
        labelled(output.getvalue(), "application/pdf", replace=True)


def test_an_encrypted_pdf_is_refused() -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(72, 72)
    writer.encrypt("", "owner", algorithm="RC4-128")
    output = io.BytesIO()
    writer.write(output)
    with pytest.raises(UnsupportedFormat, match="encrypted"):
        labels(output.getvalue(), "application/pdf")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%PDF-1.4\n",
        pdf()[:-8],
        pdf() + b"and more",
        pdf().replace(b"/Root", b"/Toor"),
        re.sub(rb"startxref\s+\d+", b"startxref 7", pdf()),
        re.sub(rb"startxref\s+\d+", b"startxref 999999999", pdf()),
    ],
)
def test_cn_15_a_pdf_that_cannot_be_read_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedAsset):
        labels(data, "application/pdf")
