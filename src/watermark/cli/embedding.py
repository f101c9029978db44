"""``wm embed``: sign finished files, and publish them in the ledger."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watermark.cli.options import HomeOption, PassphraseOption, opened, passphrase
from watermark.cli.terminal import Code, Failure, error, say, title, warn
from watermark.errors import (
    AmbiguousRecord,
    CodecError,
    LabelError,
    MissingCodec,
    MissingDependency,
    NotMarked,
    SigningError,
    UnsupportedFormat,
)

if TYPE_CHECKING:
    from watermark.api import Watermark
    from watermark.marked import Marked
    from watermark.record import Record


class SourceName(StrEnum):
    """How a file came to be."""

    trained = "trained"  # all of it a model's
    composite = "composite"  # a model changed existing media


class ExplicitName(StrEnum):
    """What is done about the explicit mark."""

    yes = "yes"
    placed = "placed"


_EXPLICIT: dict[ExplicitName | None, Any] = {
    None: None,
    ExplicitName.yes: True,
    ExplicitName.placed: "placed",
}


class WhenName(StrEnum):
    """When a manifest is time-stamped."""

    now = "now"
    deferred = "deferred"
    never = "never"


class CarrierName(StrEnum):
    """How a text carries its manifest."""

    sidecar = "sidecar"
    wrapper = "wrapper"
    structured = "structured"
    html = "html"


def embed(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Pictures, texts, sound, PDF, MP4."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="The signed file; for several files, a folder.",
        ),
    ],
    require_mark: Annotated[
        bool,
        typer.Option(
            "--require-mark", help="Refuse files that carry no mark, not only warn."
        ),
    ] = False,
    carrier: Annotated[
        CarrierName,
        typer.Option("--carrier", help="Where a text's manifest goes."),
    ] = CarrierName.sidecar,
    mark: Annotated[
        bool,
        typer.Option(
            "--mark/--no-mark",
            help="Whether pictures and sound without a mark are changed to carry one.",
        ),
    ] = True,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="A mark to put in: pixel, wave, or a learned one (rivagan, trustmark, "
            "videoseal, audioseal). By default pixel or wave.",
        ),
    ] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option(
            "--regime",
            metavar="NAME",
            help="A law that the file shall satisfy: cn, eu, us-ca, in, kr, global.",
        ),
    ] = None,
    source: Annotated[
        SourceName | None,
        typer.Option(
            "--source", help="How the files came to be, where no record says so."
        ),
    ] = None,
    explicit: Annotated[
        ExplicitName | None,
        typer.Option(
            "--explicit",
            help="Whether a mark is put in that people see or hear; placed: it is "
            "there already. By default as the regime says.",
        ),
    ] = None,
    timestamp: Annotated[
        WhenName | None,
        typer.Option(
            "--timestamp", help="When it is stamped; by default as wm stamp was told."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that exist.")
    ] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Sign files and enter them in the ledger.

    A file that a model made here is found by its content and signed under its record;
    anything else is existing media. Pictures and sound of that kind are marked first
    (--no-mark leaves them as they are); the rest is signed with a warning. A text gets
    its manifest in a file beside it (NAME.c2pa; keep the two together), or carries it
    itself: as invisible characters at its end (wrapper), in a comment or front matter
    (structured), or in the head of a page (html).

    With --regime the file gets every layer that this law requires, each read back, or
    it is refused with the clause. The rest of the settings stands in home.toml.
    """
    _check_regimes(regime or [], explicit)
    if layer and not mark:
        raise Failure("--layer found with --no-mark, expected one of them", Code.USAGE)
    targets = _targets(files, out, force=force)
    failed, sidecars = 0, set[Path]()
    with opened(home, passphrase(passphrase_file)) as w:
        # Read before any file, so that an expired certificate is told as such.
        signer = w.home.credential.organisation
        for file, target in targets:
            try:
                marked = _embed(
                    *(w, file, target, sidecars),
                    carrier=carrier.value,
                    mark=mark,
                    require_mark=require_mark,
                    force=force,
                    source=source,
                    layers=layer or None,
                    regimes=tuple(regime or ()),
                    explicit=_EXPLICIT[explicit],
                    timestamp=None if timestamp is None else timestamp.value,
                )
            except (
                OSError,
                UnsupportedFormat,
                SigningError,
                NotMarked,
                AmbiguousRecord,
                LabelError,
                MissingDependency,
                MissingCodec,
                CodecError,
            ) as problem:
                error(f"{file}: {getattr(problem, 'strerror', None) or problem}")
                failed += 1
                continue
            _show(target, marked, signer)
    raise typer.Exit(Code.UNREADABLE if failed else Code.DONE)


def _check_regimes(regimes: Sequence[str], explicit: ExplicitName | None) -> None:
    """Tell a mistyped law before any file, and an option that would do nothing."""
    from watermark.labels.regimes import load

    if explicit is not None and not regimes:
        raise Failure("--explicit found, expected with --regime only", Code.USAGE)
    for name in regimes:
        try:
            load(name)
        except LabelError as problem:
            raise Failure(f"--regime: {problem}", Code.USAGE) from problem


def _targets(
    files: Sequence[Path], out: Path, *, force: bool
) -> list[tuple[Path, Path]]:
    """Each file and where it goes, once nothing can be overwritten by mistake."""
    if len(files) == 1:
        if out.is_dir():
            raise Failure(f"{out} is a folder: name the file to write", Code.USAGE)
        targets = [(files[0], out)]
    else:
        if out.exists() and not out.is_dir():
            raise Failure(f"{out} is a file: several files need a folder", Code.USAGE)
        targets = [(file, out / file.name) for file in files]
    inputs = {file.resolve() for file in files}
    taken = set[Path]()
    for file, target in targets:
        if target.resolve() in inputs:
            raise Failure(
                f"{target} is an input: choose another --out, so that the original "
                "stays as it is",
                Code.USAGE,
            )
        if target in taken:
            raise Failure(f"two inputs are called {file.name}", Code.USAGE)
        if target.exists() and not force:
            raise Failure(f"{target} exists: pass --force to replace it", Code.USAGE)
        taken.add(target)
    return targets


def _embed(
    w: Watermark,
    file: Path,
    target: Path,
    sidecars: set[Path],
    *,
    carrier: Any,
    mark: bool,
    require_mark: bool,
    force: bool,
    source: SourceName | None,
    **options: Any,
) -> Marked:
    from watermark.assets import format_of, media_type_for_suffix
    from watermark.assets.loading import load, sidecar_of
    from watermark.labels.regimes import form_of

    asset = load(file)
    # Told before anything is published: the ledger forgets nothing.
    is_text = asset.media_type == "text/plain"
    forms = {
        form_of(format_of(asset.data or b"", each.suffix) or "", "text", each.suffix)
        for each in (file, target)
    }
    if is_text and options["regimes"] and len(forms) > 1:
        raise UnsupportedFormat(
            f"{target.name} asks for something else than {file.name} under these "
            "regimes: give both the same suffix"
        )
    if is_text and carrier == "sidecar":
        beside = sidecar_of(target)
        if beside in sidecars:
            raise UnsupportedFormat(f"{beside} is the manifest of another text already")
        if beside.exists() and not force:
            raise FileExistsError(f"{beside} exists: pass --force to replace it")
        sidecars.add(beside)
    elif asset.media_type and not is_text:
        wanted = media_type_for_suffix(target.suffix)
        if wanted != asset.media_type:
            raise UnsupportedFormat(
                f"{target.name} asks for {wanted}, but this file is {asset.media_type}"
            )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        marked = w.embed(
            file if is_text else asset,
            carrier=carrier if is_text else None,
            mark=mark,
            require_mark=require_mark,
            record=_declared(w, asset.kind, source),
            **options,
        )
    for warning in caught:
        warn(f"{file}: {warning.message}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        marked.save(target)
    except OSError as problem:  # the next file would fail as well
        raise Failure(f"{target} cannot be written: {problem.strerror}") from problem
    return marked


def _declared(w: Watermark, kind: Any, source: SourceName | None) -> Record | None:
    """The record of a file that the caller says a model made."""
    if source is None:
        return None
    from watermark.record import Record

    if source is SourceName.trained:
        return Record(kind=kind, provider=w.home.provider)
    return Record(
        kind=kind, provider=w.home.provider, origin="altered", source="composite"
    )


def _show(target: Path, marked: Marked, signer: str) -> None:
    from watermark.assets.loading import sidecar_of

    record = marked.record
    title(str(target))
    say("signed by", signer)
    marks = ", ".join(f"{mark.scheme}, key {mark.key_id}" for mark in record.marks)
    say("mark", marks or "none")
    say("record", f"{record.record_id}, {record.kind} {record.origin}")
    for layer in marked.layers:
        clauses = f"; {'; '.join(layer.clauses)}" if layer.clauses else ""
        why = f": {layer.detail}" if layer.state != "verified" else ""
        say(layer.name, f"{layer.state}{why}{clauses}")
    if marked.ui_hint:
        say("show with it", marked.ui_hint)
    if record.kind == "text":
        inside = marked.carrier != "sidecar"
        say("manifest", "in the text" if inside else sidecar_of(target))
