"""``wm stamp``: who says when something was signed."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.options import HomeOption, PassphraseOption, opened, passphrase
from watermark.cli.terminal import (
    EPILOG,
    Code,
    Failure,
    error,
    say,
    title,
    warn,
)
from watermark.errors import UnsupportedFormat, WatermarkError

if TYPE_CHECKING:
    from watermark.api import Watermark
    from watermark.sign.stamps import Stamps

CREDENTIAL = "credential"

app = typer.Typer(
    help="Name the time-stamp authorities, and stamp what was signed without them.",
    no_args_is_help=True,
    epilog=EPILOG,
)


@app.command(epilog=EPILOG)
def use(
    urls: Annotated[
        list[str],
        typer.Argument(
            metavar="URL...", help="Authorities (RFC 3161), the best first."
        ),
    ],
    anchors: Annotated[
        Path,
        typer.Option(metavar="FILE", help="CA certificates (PEM) they lead to."),
    ],
    deferred: Annotated[
        bool,
        typer.Option("--deferred", help="Sign without waiting; stamp later."),
    ] = False,
    home: HomeOption = None,
) -> None:
    """Have these authorities stamp what is signed from now on.

    They are asked once now: whether they answer, and how long their stamps are.
    """
    from watermark.sign.stamps import Stamps

    folder = _credential(home)
    try:
        pem = anchors.read_bytes()
    except OSError as problem:
        raise Failure(f"{anchors} cannot be read: {problem}") from problem
    tried = Stamps(tuple(urls), pem)
    found = tried.stamper().stamp(b"wm stamp use")
    room = max(4096, len(found.token) * 5 // 4)  # serial numbers and chains grow
    when = "deferred" if deferred else "now"
    made = Stamps.save(folder, urls, pem, when=when, room=room)  # type: ignore[arg-type]
    _describe(made)
    say("tried", f"{found.authority} answered {len(found.token)} bytes")


@app.command(epilog=EPILOG)
def show(home: HomeOption = None) -> None:
    """Show who stamps what is signed here, and what still waits."""
    stamps = _stamps(home)
    _describe(stamps)
    waiting = stamps.waiting()
    names = [] if waiting is None else waiting.waiting()
    say("waiting", f"{len(names)} signatures")
    for name in names[:20]:
        say("", name)


@app.command(epilog=EPILOG)
def due(home: HomeOption = None) -> None:
    """Get the stamps that wait: by a timer, before the certificate expires.

    Exit code 20 if some still wait. The files are not touched: see `wm stamp file`.
    """
    from watermark.sign import restamp

    done = restamp.due(_stamps(home))
    title(f"{len(done.stamped)} stamped, {done.waiting} waiting")
    for name in done.stamped[:20]:
        say("stamped", name)
    if done.failure is not None:
        raise Failure(str(done.failure))


@app.command(epilog=EPILOG)
def file(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files signed by this home.")
    ],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Put the stamp into FILE, in place of the room that was left for it."""
    with opened(home, passphrase(passphrase_file)) as w:
        stamps = _stamps(w.home.path)
        failed = 0
        for path in files:
            try:
                _stamp(path, w, stamps)
            except (WatermarkError, OSError) as problem:
                error(f"{path}: {problem}")
                failed += 1
    if failed:
        raise typer.Exit(Code.CONFIGURATION)


@app.command(epilog=EPILOG)
def off(home: HomeOption = None) -> None:
    """Sign without stamps from now on; those that are there stay."""
    from watermark.sign.stamps import Stamps

    stamps = _stamps(home)
    folder = _credential(home)
    made = Stamps.save(
        *(folder, stamps.urls, stamps.anchors),
        when="never",
        room=stamps.room,
        seconds=stamps.seconds,
    )
    _describe(made)


def _stamp(path: Path, w: Watermark, stamps: Stamps) -> None:
    from watermark.assets.loading import load, sidecar_of
    from watermark.files import write_atomically
    from watermark.sign import restamp, text

    asset = load(path)
    data = asset.data
    if data is None:
        raise UnsupportedFormat(asset.problem)
    kind = "text/plain" if asset.kind == "text" else asset.media_type
    beside = None
    if kind == "text/plain" and not text.holds(data):
        beside = asset.sidecar
    before = hashlib.sha256(data).hexdigest()
    made = restamp.stamp(data, kind, stamps, anchors=w.home.anchors, sidecar=beside)
    if beside is None:
        target, content = path, made.data
        _publish(w, before, made.data, made.manifest_id)
    else:  # the text itself stays, and so does what the ledger says of it
        target, content = sidecar_of(path), made.manifest
    mode = stat.S_IMODE(path.stat().st_mode)  # a private file stays private
    # What a link leads to is stamped, and the link stays.
    write_atomically(target.resolve(), content, mode=mode, replace=True)
    title(f"Stamped {target}")


def _publish(w: Watermark, before: str, data: bytes, manifest_id: str) -> None:
    """Enter the file as it is now, before it is one; only what was published here.

    The manifest on file stays the one that was signed: one name has one content.
    """
    from watermark.store.leaf import ASSET, Entry

    rows = w.home.ledger.by_binding(ASSET, bytes.fromhex(before))
    if not rows:
        warn("the ledger does not know this file: it was signed elsewhere")
        return
    w.home.ledger.append(
        [
            Entry(
                event="published",
                record=rows[-1].record,
                asset_sha256=hashlib.sha256(data).hexdigest(),
                manifest_id=manifest_id,
            )
        ]
    )


def _describe(stamps: Stamps) -> None:
    words = {
        "now": "while signing",
        "deferred": "later: wm stamp due, then wm stamp file FILE",
        "never": "never",
    }
    title("Time-stamps")
    for url in stamps.urls:
        say("authority", url)
    say("asked", words[stamps.when])
    say("room", f"{stamps.room} bytes in each signature")


def _stamps(home: Path | None) -> Stamps:
    from watermark.sign.stamps import Stamps

    found = Stamps.load(_credential(home))
    if found is None:
        raise Failure(
            "this home has no time-stamp authority: name one with wm stamp use URL "
            "--anchors FILE"
        )
    return found


def _credential(home: Path | None) -> Path:
    from watermark.home import Home

    return Home.open(home).path / CREDENTIAL
