"""``wm trust``: whose signatures and time-stamps are believed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.options import HomeOption, JsonOption
from watermark.cli.terminal import (
    EPILOG,
    Code,
    Failure,
    hint,
    say,
    title,
    warn,
    write_json,
)

if TYPE_CHECKING:
    from watermark.sign.trust import Kind, TrustList

FOLDER = "trust"

app = typer.Typer(
    help="Show and update the lists of authorities that are believed.",
    no_args_is_help=True,
    epilog=EPILOG,
)


@app.command(epilog=EPILOG)
def update(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="CA certificates in PEM.", show_default=False
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Fetch them from there (https) instead."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(metavar="KIND", help="manifest: who signs. tsa: who says when."),
    ] = "manifest",
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The digest that the publisher states."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Believe the authorities in FILE from now on, and those alone.

    This command is the only one that ever fetches a list, and only with --url.
    """
    from watermark.sign import trust

    chosen = _kind(kind)
    folder = _folder(home)
    if (file is None) == (url is None):
        raise Failure("give either FILE or --url", Code.USAGE)
    if url is not None:
        pem, source = trust.fetch(url), url
    else:
        assert file is not None
        try:
            pem, source = file.read_bytes(), str(file)
        except OSError as error:
            raise Failure(f"{file} cannot be read: {error}") from error
    done = trust.update(folder, chosen, pem, source=source, digest=sha256)
    _describe(done.new)
    for name in done.added:
        say("added", name)
    for name in done.removed:
        say("removed", name)
    if url is not None and sha256 is None:
        hint("To be sure of a list, compare its digest: --sha256 HEX")


@app.command(epilog=EPILOG)
def show(
    names: Annotated[
        bool, typer.Option("--names", help="Each authority on a line of its own.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show the lists that count, how old they are and where they come from."""
    from watermark.sign import trust

    folder = _folder(home)
    lists = [one for k in trust.KINDS if (one := trust.current(folder, k)) is not None]
    if as_json:
        write_json([_json(one) for one in lists])
        return
    if not lists:
        title("No trust lists: only this home's own certificate is believed")
        hint("Add one with wm trust update FILE")
    for one in lists:
        _describe(one)
        if names:
            for certificate in one.certificates:
                until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
                say(until, certificate.subject.rfc4514_string()[:200])
        if datetime.now(UTC) - one.taken_at > trust.STALE:
            warn(f"the list {one.kind!r} is more than {trust.STALE.days} days old")


def _describe(one: TrustList) -> None:
    now = datetime.now(UTC)
    title(f"{one.kind}: {len(one.certificates)} authorities")
    say(
        "taken",
        f"{one.taken_at:%Y-%m-%d %H:%M} UTC, {(now - one.taken_at).days} days ago",
    )
    say("source", one.source)
    say("sha256", one.digest)
    if expired := one.expired(now):
        say("expired", f"{len(expired)} of them")


def _json(one: TrustList) -> dict[str, object]:
    return {
        "kind": one.kind,
        "taken_at": one.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "source": one.source,
        "sha256": one.digest,
        "authorities": [c.subject.rfc4514_string()[:200] for c in one.certificates],
        "expired": len(one.expired(datetime.now(UTC))),
    }


def _kind(kind: str) -> Kind:
    from watermark.sign import trust

    if kind not in trust.KINDS:
        expected = " or ".join(trust.KINDS)
        raise Failure(f"--kind {kind!r} found, expected {expected}", Code.USAGE)
    return kind


def _folder(home: Path | None) -> Path:
    from watermark.home import Home

    return Home.open(home).path / FOLDER
