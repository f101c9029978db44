"""What a picture's XMP says of its making: IPTC Photo Metadata 2025.1.

The source type, the system and its version, and the record's id as the instance's. The
prompt's fields stay empty: they can hold personal data.
"""

from __future__ import annotations

import io

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels import containers, facts, xmp
from watermark.labels.xmp import Property
from watermark.record import Record
from watermark.sign import claims

INSTANCE = Property("xmpMM", "http://ns.adobe.com/xap/1.0/mm/", "InstanceID")


def values(record: Record) -> dict[Property, str]:
    """The properties that a record fills."""
    about = facts.of_record(record)
    found = {
        xmp.DIGITAL_SOURCE_TYPE: claims.SOURCES[record.source or "trained"],
        xmp.AI_SYSTEM_USED: about.system,
        xmp.AI_SYSTEM_VERSION_USED: about.version,
        INSTANCE: f"xmp.iid:{record.record_id}",
    }
    return {name: value for name, value in found.items() if value}


def write(data: bytes, media_type: str, record: Record) -> bytes:
    """The picture with these properties; the rest of its XMP stays.

    Raises:
        UnsupportedFormat: a type whose XMP is not written here.
        DamagedAsset: the container or its XMP cannot be read.
        ValueError: a value that XML cannot hold.
    """
    packet = containers.read_xmp(io.BytesIO(data), media_type)
    target = io.BytesIO()
    changed = xmp.put(packet, values(record))
    containers.write_xmp(io.BytesIO(data), target, media_type, changed)
    return target.getvalue()


def is_there(data: bytes, media_type: str, record: Record) -> bool:
    """Whether the picture's XMP says all of it."""
    try:
        packet = containers.read_xmp(io.BytesIO(data), media_type)
        return packet is not None and all(
            xmp.get(packet, name) == [value] for name, value in values(record).items()
        )
    except (UnsupportedFormat, DamagedAsset):
        return False
