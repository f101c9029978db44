"""Labels written and read in memory, as the tests of containers need it."""

from __future__ import annotations

import io
import struct
from typing import Any

from benchmarks.label_samples import LABEL as LABEL

from watermark.labels import containers

OTHER = LABEL.replace(b"0123456789abcdef", b"fedcba9876543210")

AIGC = b"AIGC=" + LABEL  # as a Vorbis comment


def write(data: bytes, media_type: str, label: bytes = LABEL, **more: Any) -> bytes:
    """The file with this label."""
    target = io.BytesIO()
    containers.write(io.BytesIO(data), target, media_type, label, **more)
    return target.getvalue()


def read(data: bytes, media_type: str) -> list[bytes]:
    """The labels of a file."""
    return containers.read(io.BytesIO(data), media_type)


def comments(*entries: bytes, vendor: bytes = b"test") -> bytes:
    """A list of Vorbis comments."""
    row = [struct.pack("<I", len(entry)) + entry for entry in (vendor, *entries)]
    return row[0] + struct.pack("<I", len(entries)) + b"".join(row[1:])
