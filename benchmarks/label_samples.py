"""One small file of each container that a label can lie in, made anew.

ffmpeg makes the sounds and films (without it they are left out), Pillow the pictures.
"""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, features

from watermark.assets import OOXML
from watermark.labels.aigc import Label

LABEL = Label(
    label="1",
    content_producer="001191110102MAD55U9H0F10002",
    produce_id="0123456789abcdef0123456789abcdef",
).encode()

FILM = "-f lavfi -i testsrc=size=64x48:rate=10:duration=2 "
SOUND = "-f lavfi -i sine=frequency=440:duration=2 "
_TAGS = "-metadata title=Title -metadata comment=Comment "
_YUV = _TAGS + "-pix_fmt yuv420p "
_LIVE = _TAGS + "-c:v libvpx -c:a libopus -live 1 -f webm "
# Name of the file, media type, and how ffmpeg makes it.
_RECIPES = {
    "pcm.wav": ("audio/wav", SOUND + _TAGS),
    "plain.avi": ("video/avi", FILM + SOUND + _TAGS),
    "end.mp4": ("video/mp4", FILM + SOUND + _YUV),
    "start.mp4": ("video/mp4", FILM + SOUND + _YUV + "-movflags faststart"),
    "keys.mp4": ("video/mp4", FILM + _YUV + "-movflags faststart+use_metadata_tags"),
    "fragments.mp4": ("video/mp4", FILM + _YUV + "-movflags frag_keyframe+empty_moov"),
    "start.mov": ("video/quicktime", FILM + _YUV + "-movflags faststart"),
    "start.m4a": ("audio/mp4", SOUND + _TAGS + "-movflags faststart"),
    "plain.mkv": ("video/x-matroska", FILM + SOUND + _YUV),
    "plain.webm": ("video/webm", FILM + SOUND + _TAGS + "-c:v libvpx -c:a libopus"),
    "live.webm": ("video/webm", FILM + SOUND + _LIVE),
    "index.flv": (
        "video/x-flv",
        FILM + SOUND + _TAGS + "-ar 44100 -flvflags add_keyframe_index",
    ),
    "plain.mp3": ("audio/mpeg", SOUND + _TAGS),
    "older.mp3": ("audio/mpeg", SOUND + _TAGS + "-id3v2_version 3"),
    "bare.mp3": ("audio/mpeg", SOUND + "-id3v2_version 0 -write_xing 0"),
    "plain.flac": ("audio/flac", SOUND + _TAGS),
    "vorbis.ogg": ("audio/ogg", SOUND + _TAGS + "-c:a libvorbis"),
    "opus.opus": ("audio/ogg", SOUND + _TAGS + "-c:a libopus"),
    "flac.oga": ("audio/ogg", SOUND + _TAGS + "-c:a flac"),
}
_PICTURES = {
    "photo.jpg": ("image/jpeg", "JPEG"),
    "photo.png": ("image/png", "PNG"),
    "photo.gif": ("image/gif", "GIF"),
    "photo.tiff": ("image/tiff", "TIFF"),
    "photo.webp": ("image/webp", "WEBP"),
    "photo.avif": ("image/avif", "AVIF"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A file without a label: its name, media type and bytes."""

    name: str
    media_type: str
    data: bytes


@functools.cache
def samples() -> tuple[Sample, ...]:
    """Every file that can be made here."""
    return (*sounds_and_films(), *pictures(), *documents())


@functools.cache
def sounds_and_films() -> tuple[Sample, ...]:
    """One of each recipe, or none where ffmpeg is missing."""
    if shutil.which("ffmpeg") is None:
        return ()
    return tuple(
        Sample(name, media_type, ffmpeg(name, how))
        for name, (media_type, how) in _RECIPES.items()
    )


def ffmpeg(name: str, arguments: str) -> bytes:
    """What ffmpeg makes of this, the same at every run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        command = ["ffmpeg", "-loglevel", "error", "-nostdin", *arguments.split()]
        if "libvpx" in arguments:
            command += ["-deadline", "realtime", "-cpu-used", "8"]
        subprocess.run([*command, "-threads", "1", str(path)], check=True)
        return path.read_bytes()


def pictures() -> tuple[Sample, ...]:
    """One in each format that Pillow can write here."""
    across = np.linspace(0, 255, 64)
    plane = (across[None, :48].T + across[None, :]) / 2
    image = Image.fromarray(
        np.stack([plane, plane[::-1], 255 - plane], -1).astype("u1")
    )
    made = []
    for name, (media_type, form) in _PICTURES.items():
        if form == "AVIF" and not features.check("avif"):
            continue
        data = io.BytesIO()
        image.save(data, form)
        made.append(Sample(name, media_type, data.getvalue()))
    return tuple(made)


def documents() -> tuple[Sample, ...]:
    """Word, PDF, Markdown and HTML, each as small as it can be."""
    pdf = io.BytesIO()
    day = time.gmtime(0)
    Image.new("L", (8, 8)).save(pdf, "PDF", creationDate=day, modDate=day)
    return (
        Sample("text.docx", OOXML + "wordprocessingml.document", _docx()),
        Sample("page.pdf", "application/pdf", pdf.getvalue()),
        Sample("stream.pdf", "application/pdf", streamed_pdf()),
        Sample("notes.md", "text/markdown", b"# A title\n\nSome text.\n"),
        Sample(
            "page.html",
            "text/html",
            b"<!doctype html><html><head><title>A</title></head><body>B</body></html>",
        ),
    )


def streamed_pdf() -> bytes:
    """A PDF 1.5 whose cross-reference section is a stream."""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
        b"<</Title(The lamp)>>",
    )
    data, places = b"%PDF-1.5\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    places.append(len(data))
    rows = bytes((0, 0, 0, 0, 255))
    rows += b"".join(b"\1" + place.to_bytes(3, "big") + b"\0" for place in places)
    data += b"5 0 obj\n<</Type/XRef/Size 6/W[1 3 1]/Root 1 0 R/Info 4 0 R"
    data += b"/Length %d>>\nstream\n" % len(rows) + rows + b"\nendstream\nendobj\n"
    return data + b"startxref\n%d\n%%%%EOF\n" % places[-1]


def _docx() -> bytes:
    main = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    packaging = "http://schemas.openxmlformats.org/package/2006/"
    document = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    members = {
        "[Content_Types].xml": f'<Types xmlns="{packaging}content-types">'
        '<Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{document}.main+xml"/>'
        "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{packaging}relationships">'
        f'<Relationship Id="rId1" Type="{office}/officeDocument" '
        'Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{main}"><w:body><w:p><w:r><w:t>A'
        "</w:t></w:r></w:p></w:body></w:document>",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0"?>{text}')
    return data.getvalue()
