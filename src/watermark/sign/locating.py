"""Where the manifest of a text is, whichever way it is carried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from watermark.sign import html, text_structured, text_wrapper
from watermark.sign.place import Linked, Place, Unusable

Carrier = Literal["wrapper", "structured", "html", "sidecar"]

READERS: dict[Carrier, Callable[[bytes], Place | None]] = {
    "wrapper": text_wrapper.locate,
    "html": html.locate,
    "structured": text_structured.locate,
}


def locate(data: bytes) -> Place | None:
    """Where the manifest of a text is; several ways at once are none that counts."""
    readers = READERS.values()
    found = [place for reader in readers if (place := reader(data)) is not None]
    meant = [p for p in found if not isinstance(p, Unusable) or p.meant]
    if len(meant) > 1:  # links alone are no manifest that could be broken
        return Unusable(meant=any(not isinstance(p, Linked) for p in meant))
    return next(iter(meant or found), None)
