"""Marked: an output that is signed, read back and published before it is a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watermark.assets import MEDIA_TYPES, media_type_for_suffix
from watermark.assets.loading import Asset, sidecar_of
from watermark.errors import SigningError, UnsupportedFormat
from watermark.files import write_atomically
from watermark.home import Home
from watermark.record import Record
from watermark.store.leaf import Entry


@dataclass
class Marked:
    """A finished output: signed and published, or waiting for `save` to choose a type.

    Attributes:
        record: what it was published under.
        manifest: the manifest store, once signed.
        carrier: of a text's manifest, as `Watermark.embed` was told.
    """

    record: Record
    manifest: bytes = field(default=b"", repr=False)
    carrier: Any = "sidecar"
    _home: Home | None = field(default=None, repr=False)
    _asset: Asset | None = field(default=None, repr=False)
    _original: Asset | None = field(default=None, repr=False)  # before any mark of ours
    _suffix: str = ".md"
    _data: bytes | None = field(default=None, repr=False)
    _media_type: str = ""

    @property
    def data(self) -> bytes:
        """The finished file's bytes.

        Raises:
            UnsupportedFormat: a picture whose container is not chosen yet.
        """
        if self._data is None:
            raise UnsupportedFormat(
                "the container is not chosen yet: pass format= to embed, or call save"
            )
        return self._data

    def save(self, path: str | Path) -> Path:
        """Write the file (and a text's sidecar), whole or not at all; returns its path.

        A text that carries its manifest itself has no sidecar.

        Raises:
            UnsupportedFormat: the suffix is unknown, or is not the chosen type's.
        """
        path = Path(path)
        if self._media_type == "text/plain":
            self._save_text(path)
            return path
        wanted = media_type_for_suffix(path.suffix)
        if self._data is None:
            self.finish(wanted)
        elif wanted != self._media_type:
            raise UnsupportedFormat(
                f"{path.name} asks for {wanted}, but this was signed as "
                f"{self._media_type}: a signed file cannot be converted"
            )
        write_atomically(path, self.data, replace=True)
        return path

    def _save_text(self, path: Path) -> None:
        taken = {
            s for m in MEDIA_TYPES.values() if m.kind != "text" for s in m.suffixes
        }
        if path.suffix.lower() in {*taken, ".c2pa"}:
            raise UnsupportedFormat(
                f"{path.name} is no name for a text: choose .txt, .md or the like"
            )
        if self.carrier == "structured" and path.suffix.lower() != self._suffix:
            raise UnsupportedFormat(
                f"{path.name} is no name for it: the manifest stands in a comment as "
                f"{self._suffix or 'plain'} files have them; embed a path to choose"
            )
        if self.carrier != "sidecar":
            write_atomically(path, self.data, replace=True)
            return
        beside = sidecar_of(path)
        before = beside.read_bytes() if beside.exists() else None
        write_atomically(beside, self.manifest, replace=True)
        try:
            write_atomically(path, self.data, replace=True)
        except OSError:  # the old pair belongs together as much as the new one
            if before is None:
                beside.unlink(missing_ok=True)
            else:
                write_atomically(beside, before, replace=True)
            raise

    def finish(self, media_type: str) -> None:
        """Sign, read back, enter in the ledger: only then is there any data."""
        from watermark.sign import c2pa, claims, text

        if self._home is None or self._asset is None:
            raise SigningError("this output was not made by Watermark.embed")
        home, source = self._home, _bytes_of(self._asset, media_type)
        definition = claims.definition(self.record)
        parent = None
        if claims.needs_parent(definition):
            before = source
            if self._original not in (None, self._asset):
                before = _bytes_of(self._original, media_type)
            parent = before, media_type
        if media_type == "text/plain":
            signed = text.sign(
                *(source, definition, home.credential),
                carrier=self.carrier,
                suffix=self._suffix,
                parent=parent,
            )
        else:
            if parent is None and c2pa.read(source, media_type).state != "none":
                raise SigningError(
                    "this file has a manifest already, which signing would replace: "
                    "embed the output as it was generated"
                )
            signed = c2pa.sign(
                source, media_type, definition, home.credential, parent=parent
            )
        home.ledger.append(
            [
                Entry(
                    event="published",
                    record=self.record,
                    asset_sha256=hashlib.sha256(signed.data).hexdigest(),
                    manifest_id=signed.manifest_id,
                    manifest=signed.manifest,
                )
            ]
        )
        self._data, self.manifest = signed.data, signed.manifest
        self._media_type = media_type


def _bytes_of(asset: Asset, media_type: str) -> bytes:
    if asset.data is not None:
        if asset.media_type != media_type:
            raise UnsupportedFormat(
                f"this file is {asset.media_type}, not {media_type}: embed signs a "
                "file as it is"
            )
        return asset.data
    if asset.text is not None:
        return asset.text.encode()
    if asset.picture is not None:
        from watermark.assets import image

        return image.encode(asset.picture, media_type)
    raise UnsupportedFormat(f"a {asset.kind} without bytes cannot be signed")
