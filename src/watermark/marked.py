"""Marked: an output that is signed, read back and published before it is a file."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watermark.assets import MEDIA_TYPES, format_of, media_type_for_suffix
from watermark.assets.loading import Asset, sidecar_of
from watermark.errors import LabelError, SigningError, UnsupportedFormat
from watermark.files import write_atomically
from watermark.home import Home
from watermark.labelling import Job, Layer, Order
from watermark.labels import aigc, containers, unmarked
from watermark.labels.regimes import form_of
from watermark.record import Record
from watermark.sign.stamps import When
from watermark.store.leaf import Entry

if TYPE_CHECKING:
    from watermark.labels.unmarked import UnmarkedRequest
    from watermark.sign.c2pa import SignedAsset
    from watermark.store.leaf import Row


@dataclass
class Marked:
    """A finished output: signed and published, or waiting for `save` to choose a type.

    Attributes:
        record: what it was published under.
        manifest: the manifest store, once signed.
        carrier: of a text's manifest, as `Watermark.embed` was told.
        layers: what became of each layer that the regimes ask for, and by which
            clauses; empty without regimes, and until there is a file.
        timestamp: whether the manifest was time-stamped: ``now``, ``deferred``,
            ``never``.
        ui_hint: under regimes, a line for the interface that shows this output;
            empty until there is a file.
    """

    record: Record
    manifest: bytes = field(default=b"", repr=False)
    carrier: Any = "sidecar"
    layers: tuple[Layer, ...] = ()
    timestamp: When = "never"
    ui_hint: str = ""
    _order: Order | None = field(default=None, repr=False)
    _when: When | None = None
    _home: Home | None = field(default=None, repr=False)
    _asset: Asset | None = field(default=None, repr=False)
    _original: Asset | None = field(default=None, repr=False)  # before any mark of ours
    _suffix: str = ".md"
    _named: bool = False  # whether the suffix is that of a file
    _data: bytes | None = field(default=None, repr=False)
    _media_type: str = ""
    _form: str = ""  # that the regimes took it for
    _labels: tuple[bytes, ...] = ()  # that a platform's file has to have in the end

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
        if self._asset is not None and self._asset.kind == "text":
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
        if self._form and self._form != _form(self.data, "text", path.suffix):
            raise UnsupportedFormat(
                f"{path.name} is no name for it: as {self._form} it has what the "
                "regimes ask of that, and another name asks for something else; embed "
                "a path of the name that it shall have"
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
        """Label, sign, read back, enter in the ledger: only then is there any data.

        Raises:
            UnsupportedFormat: no manifest can be written for this type.
            LabelError: a layer that a regime requires cannot be had.
            SigningError: signing or reading back failed.
        """
        if self._asset is None:
            raise SigningError("this output was not made by Watermark.embed")
        home, source = self._home_of(), _bytes_of(self._asset, media_type)
        job = None
        if self._order is not None:
            from watermark.labelling import writing

            suffix = self._suffix if self._named else ""
            form = _form(source, self._asset.kind, suffix)
            job = Job(home, self._order, self.record, media_type, form, suffix)
            source = writing.write(job, source)
            self._form = form
            self.record, self.ui_hint = job.record, job.ui_hint
        signed = self._signed(source, media_type, job)
        if self._labels:
            self._check_labels(signed.data, media_type)
        if job is not None:
            from watermark.labelling import reading

            reading.read_back(
                *(job, signed.data),
                signed=bool(signed.manifest_id),
                timestamp=signed.timestamp,
            )
            self.layers = tuple(job.account.layers)
        [row] = home.ledger.append(
            [
                Entry(
                    event="published",
                    record=self.record,
                    asset_sha256=hashlib.sha256(signed.data).hexdigest(),
                    manifest_id=signed.manifest_id,
                    manifest=signed.manifest or None,
                    **(job.kept() if job is not None else {}),
                )
            ]
        )
        if job is not None and job.left_out is not None:
            self._hold(row, job.left_out)
        self._data, self.manifest = signed.data, signed.manifest
        self._media_type, self.timestamp = media_type, signed.timestamp

    def _check_labels(self, data: bytes, media_type: str) -> None:
        found = containers.read(io.BytesIO(data), media_type)
        if tuple(found) != self._labels:
            raise LabelError(
                aigc.ONE_LABEL,
                f"{len(found)} labels read back from the signed file, expected the one "
                "that was written",
            )

    def _hold(self, row: Row, request: UnmarkedRequest) -> None:
        """See to it that nobody erases who got it before the law allows it (Art. 9).

        The entry and its hold are two writes. If the second fails, or somebody erased
        in between, there is an entry of a file that nobody ever got.

        Raises:
            LabelError: the log does not keep who gets it.
            StoreError: the log cannot be written.
        """
        ledger, record_id = self._home_of().ledger, self.record.record_id
        name = f"{unmarked.CLAUSE}: entry {row.idx}"
        ledger.hold(name, record_id, reason=f"kept until {row.retain_until}")
        held = record_id in ledger.holds().get(name, ())
        if not held or ledger.personal(row.idx) != request.personal:
            raise LabelError(
                unmarked.CLAUSE,
                f"entry {row.idx} of the ledger does not keep who gets this file: "
                "embed it again",
            )

    def _home_of(self) -> Home:
        if self._home is None:
            raise SigningError("this output was not made by Watermark.embed")
        return self._home

    def _signed(self, source: bytes, media_type: str, job: Job | None) -> SignedAsset:
        from watermark.sign import c2pa, claims, text

        if self._asset is None:
            raise SigningError("this output was not made by Watermark.embed")
        credential = self._home_of().credential
        definition = claims.definition(self.record)
        when = self._when
        if job is not None:
            definition["assertions"].append(job.assertion())
            holds = self._asset.kind == "text" or media_type in c2pa.EMBEDDABLE
            if not holds:
                job.account.lack("manifest", f"{media_type} holds none")
                return c2pa.SignedAsset(source, b"", "")
        parent, beside = None, None
        if claims.needs_parent(definition):
            before = source
            if self._original not in (None, self._asset):
                before = _bytes_of(self._original, media_type)
            # A manifest that lies beside the file goes into the new one's chain.
            parent, beside = (before, media_type), self._asset.sidecar
        if self._asset.kind == "text":
            return text.sign(
                *(source, definition, credential),
                carrier=self.carrier,
                suffix=self._suffix,
                parent=parent,
                parent_manifest=beside,
                timestamp=when,
            )
        if parent is None and c2pa.read(source, media_type).state != "none":
            raise SigningError(
                "this file has a manifest already, which signing would replace: embed "
                "the output as it was generated"
            )
        return c2pa.sign(
            *(source, media_type, definition, credential),
            parent=parent,
            parent_manifest=beside,
            timestamp=when,
        )


def _form(data: bytes, kind: str, suffix: str) -> str:
    """What the regimes take a text for: what it holds, then its name, decides."""
    return form_of(format_of(data, suffix) or "", kind, suffix)


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
