"""``wm keys``: what marks, and who else may find it. No command prints a secret."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.options import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    passphrase,
)
from watermark.cli.terminal import (
    EPILOG,
    Code,
    Failure,
    hint,
    row,
    say,
    title,
    warn,
    write_json,
)

if TYPE_CHECKING:
    from watermark.keys import KeyRing

app = typer.Typer(
    help="List, rotate, revoke and export keys.", no_args_is_help=True, epilog=EPILOG
)
Kid = Annotated[str, typer.Argument(metavar="KID", help="As `wm keys list` shows it.")]

FORGERY = (
    "this key is symmetric: whoever holds it can find your marks, and can also forge "
    "them on anything. Give it only to those who may speak for you, and encrypt it"
)


def _ring(home: Path | None, secret: str | None) -> KeyRing:
    from watermark.home import Home

    return Home.open(home, passphrase=secret).ring


@app.command("list")
def list_keys(
    as_json: JsonOption = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Show the keys, oldest first. The newest active one marks; all of them verify."""
    ring = _ring(home, passphrase(passphrase_file))
    if as_json:
        write_json(
            [
                {
                    "kid": entry.key.kid,
                    "state": entry.state,
                    "epoch": entry.epoch,
                    "created_at": entry.created_at,
                }
                for entry in ring
            ]
        )
        return
    row(f"{'KID':<17}", f"{'STATE':<7}", f"{'EPOCH':<5}", "CREATED")
    for entry in ring:
        row(
            f"{entry.key.kid:<17}",
            f"{entry.state:<7}",
            f"{entry.epoch:<5}",
            entry.created_at,
        )


@app.command()
def rotate(
    epoch: Annotated[
        bool,
        typer.Option(
            "--epoch", help="Only a fresh sub-key of the same key: the next epoch."
        ),
    ] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Mark with a new key from now on. What older keys marked is still found."""
    secret = passphrase(passphrase_file)
    ring = _ring(home, secret)
    if epoch:
        entry = ring.advance()
        title(f"Key {entry.key.kid} is in epoch {entry.epoch}")
    else:
        entry = ring.rotate()
        title(f"Made key {entry.key.kid}")
        say("before it", ", ".join(e.key.kid for e in ring[:-1]) + ": only verify now")
    say("in effect", "at the next attach; what is attached already keeps its key")
    say("back up", "the home: without the key, no mark is ever found again")


@app.command()
def revoke(
    kid: Kid,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Never mark with a key again. Its marks are still found, as of a revoked key."""
    secret = passphrase(passphrase_file)
    ring = _ring(home, secret)
    ring.revoke(kid)
    title(f"Revoked key {kid}")
    if not any(entry.state == "active" for entry in ring):
        warn("no key is active, so nothing can be marked: run wm keys rotate")


@app.command()
def export(
    kid: Kid,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="A new file, mode 0600."),
    ],
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Encrypt the exported key with the passphrase in FILE; by default "
            "with the home's own, if it has one.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation.")
    ] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Write one secret key to a file, for `wm verify --keys` elsewhere.

    A key is symmetric: whoever holds it can forge marks as well as find them.
    """
    secret = passphrase(passphrase_file)
    found = [entry for entry in _ring(home, secret) if entry.key.kid == kid]
    if not found:
        raise Failure(f"no key {kid!r} in this home: see wm keys list")
    if out.exists():
        raise Failure(f"{out} exists: a key file is never overwritten")
    wrapping = (
        secret if new_passphrase_file is None else passphrase(new_passphrase_file)
    )
    warn(FORGERY)
    if not yes:
        _confirm(kid, out)
    found[0].key.save(out, passphrase=wrapping, epoch=found[0].epoch)
    title(f"Wrote key {kid} to {out}")
    say("on disk", "encrypted" if wrapping else "not encrypted; mode 0600")
    say("use it", f"wm verify --keys {out} FILE...")


def _confirm(kid: str, out: Path) -> None:
    if not sys.stdin.isatty():
        raise Failure("nobody can be asked here: pass --yes to export", Code.USAGE)
    if not typer.confirm(f"Write the secret key {kid} to {out}?", err=True):
        hint("Nothing was written.")
        raise typer.Exit(Code.USAGE)
