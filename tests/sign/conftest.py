"""Real files of every format, made here, and one development credential."""

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from watermark.record import Mark, Record
from watermark.sign.credential import Credential


def _picture(kind: str) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    output = io.BytesIO()
    Image.fromarray(pixels).save(output, kind)
    return output.getvalue()


def _wav() -> bytes:
    output = io.BytesIO()
    with wave.open(output, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(range(256)) * 8)
    return output.getvalue()


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, name) + body


def _mp4() -> bytes:
    """ISO/IEC 14496-12: a movie header without tracks, and some media data."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    times = bytes(12) + struct.pack(">II", 1000, 0)  # version, dates, scale, duration
    rates = struct.pack(">IH", 0x10000, 0x100) + bytes(10)
    header = _box(b"mvhd", times, rates, matrix, bytes(24), struct.pack(">I", 1))
    brands = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2mp41")
    return brands + _box(b"moov", header) + _box(b"mdat", bytes(range(256)))


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """One small file of each format that carries a manifest."""
    return {
        "image/png": _picture("PNG"),
        "image/jpeg": _picture("JPEG"),
        "image/webp": _picture("WEBP"),
        "application/pdf": _picture("PDF"),
        "audio/wav": _wav(),
        "video/mp4": _mp4(),
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acme") / "credential"


@pytest.fixture(scope="session")
def credential(folder: Path) -> Credential:
    return Credential.create_dev(folder, "Acme")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    """Another CA that also calls itself Acme."""
    return Credential.create_dev(tmp_path_factory.mktemp("other") / "c", "Acme")


@pytest.fixture
def record() -> Record:
    noise = Mark(scheme="noise", version=1, key_id="k1", mark_id=bytes(range(248, 256)))
    pixel = Mark(scheme="pixel", version=2, key_id="k1", mark_id=b"\0\1\2\3\4\5\6\7")
    return Record(
        record_id="0123456789abcdef" * 2,
        kind="image",
        created_at="2026-11-23T09:00:00Z",
        provider="Acme",
        system="acme-diffusion/3.1",
        model="lighthouse-xl",
        marks=(noise, pixel, Mark(scheme="latent", version=1, key_id="k2")),
        content=("c0ffee" * 10 + "beef",),
    )
