"""One small file of each picture and document that takes a label, and tools on them."""

import functools
import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pypdf
import pytest
from benchmarks.conformance.containers import heic, picture, zipped
from numpy.typing import NDArray
from PIL import Image

from watermark.assets import OOXML
from watermark.labels import aigc, containers

CODE = "001191110102MAD55U9H0F10002"  # a provider's, as published
LABEL = aigc.Label("1", CODE, "0123456789abcdef" * 2, '{"a":"(b)<&>"}').encode()
OTHER = aigc.Label("2", CODE, "f" * 32).encode()

DOCX = OOXML + "wordprocessingml.document"
XLSX, PPTX = OOXML + "spreadsheetml.sheet", OOXML + "presentationml.presentation"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
PAGE = (
    b"<!doctype html><html><head><meta charset=utf-8><title>It's a lamp</title></head>"
    b"<body onload=it's><!-- <meta name=AIGC content=no> --><p>The lamp turned.</p>"
    b"</body></html>\n"
)


def office(folder: str) -> bytes:
    """An Office file as far as its package goes."""
    types = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<Types xmlns="{TYPES}"><Default Extension="xml" '
        'ContentType="application/xml"/></Types>'
    )
    relations = (
        f'<Relationships xmlns="{RELATIONS}"><Relationship Id="rId1" Type="urn:x" '
        f'Target="{folder}/a.xml"/></Relationships>'
    )
    members = {
        "[Content_Types].xml": types.encode(),
        "_rels/.rels": relations.encode(),
        f"{folder}/a.xml": b"<a>The lamp turned.</a>" * 40,
    }
    return zipped(members, zipfile.ZIP_DEFLATED)


def pdf() -> bytes:
    output = io.BytesIO()
    image = Image.open(io.BytesIO(picture("PNG")))
    image.save(output, "PDF", title="The (old) lamp", author="灯台")
    return output.getvalue()


DRAWN = ("image/jpeg", "image/png", "image/gif", "image/tiff", "image/avif")
PICTURES = (*DRAWN, "image/heic")  # nothing here draws the last
DOCUMENTS = (DOCX, XLSX, PPTX, "application/pdf", "text/markdown", "text/html")


@functools.cache
def files() -> dict[str, bytes]:
    """By media type."""
    pictures = {name: picture(name.removeprefix("image/")) for name in DRAWN}
    return {
        **pictures,
        "image/heic": heic(),
        DOCX: office("word"),
        XLSX: office("xl"),
        PPTX: office("ppt"),
        "application/pdf": pdf(),
        "text/markdown": b"---\ntitle: The lamp\n---\n# The lamp\n\nIt turned.\n",
        "text/html": PAGE,
    }


def labelled(
    data: bytes, media_type: str, label: bytes = LABEL, *, replace: bool = False
) -> bytes:
    target = io.BytesIO()
    source = io.BytesIO(data)
    containers.write(source, target, media_type, label, replace=replace)
    return target.getvalue()


def labels(data: bytes, media_type: str) -> list[bytes]:
    return containers.read(io.BytesIO(data), media_type)


def pixels(data: bytes) -> list[NDArray[np.uint8]]:
    """Of every frame."""
    with Image.open(io.BytesIO(data)) as image:
        frames = range(getattr(image, "n_frames", 1))
        return [np.asarray(_frame(image, frame)) for frame in frames]


def _frame(image: Image.Image, frame: int) -> Image.Image:
    image.seek(frame)
    return image.convert("RGB")


def page_texts(data: bytes) -> list[bytes]:
    """What each page of a PDF draws."""
    reader = pypdf.PdfReader(io.BytesIO(data), strict=True)
    contents = (page.get_contents() for page in reader.pages)
    return [content.get_data() if content else b"" for content in contents]


def exiftool(data: bytes, folder: Path, suffix: str, *tags: str) -> str:
    """What exiftool says of these tags, one line each, without names."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    names = [f"-{tag}" for tag in (*tags, "Warning", "Error")]
    command = ["exiftool", "-a", "-s3", *names, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
