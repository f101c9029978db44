"""``wm ledger``: look things up in the log, prove them, and audit it."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watermark.cli import keeping
from watermark.cli.options import HomeOption, JsonOption
from watermark.cli.terminal import (
    EPILOG,
    Code,
    Failure,
    hint,
    row,
    say,
    title,
    write_json,
)

if TYPE_CHECKING:
    from watermark.store.leaf import Row
    from watermark.store.ledger import Ledger

app = typer.Typer(
    help="Keep, look up, prove and audit what was generated and published.",
    no_args_is_help=True,
    epilog=EPILOG,
)
app.add_typer(keeping.app)
PROOF_SCHEMA = "watermark.proof/1"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MARK_ID = re.compile(r"(?:[0-9a-fA-F]{2}){1,64}")


def _ledger(home: Path | None) -> Ledger:
    from watermark.home import Home

    return Home.open(home).ledger


@app.command("list")
def list_entries(
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="The newest N entries.")
    ] = 20,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show the newest entries, oldest first."""
    with _ledger(home) as ledger:
        size = ledger.size
        rows = list(ledger.rows(max(size - limit, 0), size))
    _show(rows, as_json)
    if not as_json and len(rows) < size:
        hint(f"{len(rows)} of {size} entries; --limit N shows more.")


@app.command()
def get(
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID")],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show one record and its entries."""
    with _ledger(home) as ledger:
        rows = ledger.by_record(record_id)
    if not rows:
        raise Failure(f"no record {record_id!r} in this ledger", Code.UNREADABLE)
    record = rows[-1].record
    if as_json:
        entries = [_entry(found) for found in rows]
        write_json({"record": record.to_dict(), "entries": entries})
        return
    title(f"Record {record.record_id}")
    say("what", f"{record.kind} {record.origin} {record.created_at}")
    say("by", record.provider)
    say("system", record.system or "not known")
    say("model", record.model or "not known")
    for mark in record.marks:
        carried = f", mark id {mark.mark_id.hex()}" if mark.mark_id else ""
        say("mark", f"{mark.scheme}, key {mark.key_id}, epoch {mark.epoch}{carried}")
    if not record.marks:
        say("mark", "none")
    for digest in record.content:
        say("content", digest)
    for found in rows:
        file = f", file {found.asset_sha256}" if found.asset_sha256 else ""
        say("entry", f"{found.idx} {found.event} {found.ts}{file}")


@app.command()
def find(
    mark_id: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="What a mark carries, as verify shows it."),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Digest of a file, or of a content."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Find entries by what a mark carries, or by a digest."""
    names = _names(mark_id, sha256)
    with _ledger(home) as ledger:
        found = {e.idx: e for name, v in names for e in ledger.by_binding(name, v)}
    _show([found[idx] for idx in sorted(found)], as_json)
    if not as_json and not found:
        hint("Nothing found.")


def _names(mark_id: str | None, sha256: str | None) -> list[tuple[str, bytes]]:
    """Every (algorithm, value) that an entry could be bound to."""
    from watermark.record import Mark
    from watermark.schemes import SCHEMES
    from watermark.store.leaf import ASSET, CONTENT

    if (mark_id is None) == (sha256 is None):
        raise Failure("expected one of --mark-id and --sha256", Code.USAGE)
    text, form = (mark_id, _MARK_ID) if mark_id is not None else (sha256, _SHA256)
    if text is None or not form.fullmatch(text):
        wanted = "64 hex digits" if mark_id is None else "pairs of hex digits"
        raise Failure(f"found {text!r}, expected {wanted}", Code.USAGE)
    value = bytes.fromhex(text)
    if mark_id is None:
        return [(ASSET, value), (CONTENT, value)]
    return [
        (Mark(scheme=scheme.name, version=scheme.version, key_id="").binding, value)
        for scheme in SCHEMES.values()
    ]


@app.command()
def prove(
    index: Annotated[int, typer.Argument(min=0, metavar="INDEX")],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Prove that an entry is in the log, to anyone who has the log's public key."""
    with _ledger(home) as ledger:
        rows = list(ledger.rows(index, min(index + 1, ledger.size)))
        if not rows:
            raise Failure(
                f"no entry {index}: the ledger holds {ledger.size}", Code.UNREADABLE
            )
        proof = ledger.inclusion(index)
        verifier = ledger.verifier
    [found] = rows
    proof.verify(found.body, verifier=verifier)
    if as_json:
        write_json(
            {
                "schema": PROOF_SCHEMA,
                "proof": proof.to_dict(),
                "body": base64.b64encode(found.body).decode(),
                "leaf": _entry(found),
                "verifier": verifier,
            }
        )
        return
    title(f"Entry {index} is among the first {proof.size}")
    say("record", found.record.record_id)
    say("event", f"{found.event} {found.ts}")
    say("leaf hash", found.leaf_hash.hex())
    for value in proof.path:
        say("path", value.hex())
    say("log", verifier)
    hint("--json gives the proof itself, for someone else to check.")


@app.command()
def checkpoint(
    cosigned: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep the witnesses' lines of this checkpoint."
        ),
    ] = None,
    stamp: Annotated[
        bool,
        typer.Option("--stamp", help="Ask the authorities of `wm stamp use` first."),
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Print the newest signed checkpoint. A copy kept elsewhere shows a rollback."""
    from watermark.store.checkpoint import parse

    with _ledger(home) as ledger:
        if cosigned is not None:
            ledger.cosign(_note(cosigned))
        note, verifier = ledger.checkpoint(), ledger.verifier
        head = parse(note)
        if stamp:
            ledger.add_timestamp(head.size, _token(home, head.text.encode()))
        token = ledger.timestamp(head.size)
    if as_json:
        write_json(
            {
                "origin": head.origin,
                "size": head.size,
                "root": head.root.hex(),
                "note": note,
                "verifier": verifier,
                "timestamp": token and base64.b64encode(token).decode(),
            }
        )
    else:
        typer.echo(note, nl=False)


def _token(home: Path | None, message: bytes) -> bytes:
    """A time-stamp of the authorities that stamp for this home."""
    from watermark.home import Home
    from watermark.sign.stamps import Stamps

    stamps = Stamps.load(Home.open(home).path / "credential")
    if stamps is None:
        raise Failure("no time-stamp authority is set: see `wm stamp use`")
    return stamps.stamper().stamp(message).token


@app.command()
def verify(
    verifier: Annotated[
        str,
        typer.Option(
            metavar="NAME+ID+KEY",
            help="The log's public key from elsewhere; by default the home's own.",
        ),
    ] = "",
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="A checkpoint kept elsewhere, which the log must contain.",
        ),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Recompute every hash, and compare every table with the log."""
    notes = [_note(file) for file in checkpoints or ()]
    with _ledger(home) as ledger:
        check = ledger.verify(verifier=verifier, notes=notes)
        stamped = _stamps(ledger, home)
    if as_json:
        write_json(
            {
                "size": check.size,
                "root": check.root.hex(),
                "signed": check.signed,
                "checkpoints": check.checkpoints,
                "timestamps": stamped,
                "verifier": check.verifier,
            }
        )
        return
    title("The ledger is sound")
    signed = "all" if check.signed == check.size else f"only {check.signed}"
    say("entries", f"{check.size}, {signed} signed for")
    say("checkpoints", check.checkpoints)
    for size, when in stamped.items():
        say("time-stamp", f"{size} entries were there at {when}")
    say("root", check.root.hex())
    say("log", check.verifier)
    if not notes:
        hint(
            "An older state of the whole file would look as sound: keep checkpoints "
            "elsewhere, and pass them with --checkpoint."
        )


def _stamps(ledger: Ledger, home: Path | None) -> dict[int, str]:
    """When each stamped checkpoint was seen, by the size of its log.

    Raises:
        TimestampError: a token is not of an authority that this home trusts.
    """
    from cryptography import x509

    from watermark.home import Home
    from watermark.sign import stamps, timestamp
    from watermark.store.checkpoint import parse

    pem = stamps.anchors(Home.open(home).path / "credential")
    anchors = x509.load_pem_x509_certificates(pem) if pem else []
    found = {}
    for size in ledger.vouched():
        token, note = ledger.timestamp(size), ledger.checkpoint_at(size)
        if token is not None and note is not None:
            digest = timestamp.imprint(parse(note).text.encode())
            seen = timestamp.verify(token, digest, anchors)
            found[size] = seen.time.isoformat()
    return found


def _note(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"the checkpoint {file} cannot be read: {error}") from error


def _show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        write_json([_entry(found) for found in rows])
        return
    if rows:
        row("ENTRY", f"{'WHEN':<20}", f"{'EVENT':<9}", f"{'KIND':<8}", "RECORD, MARK")
    for found in rows:
        record = found.record
        marks = ", ".join(mark.scheme for mark in record.marks) or "none"
        row(
            f"{found.idx:>5}",
            found.ts,
            f"{found.event:<9}",
            f"{record.kind:<8}",
            f"{record.record_id}  {marks}",
        )


def _entry(found: Row) -> dict[str, Any]:
    return {
        "idx": found.idx,
        "ts": found.ts,
        "event": found.event,
        "record": found.record.to_dict(),
        "asset_sha256": found.asset_sha256,
        "manifest_id": found.manifest_id,
        "manifest_sha256": found.manifest_sha256,
        "leaf_hash": found.leaf_hash.hex(),
    }
