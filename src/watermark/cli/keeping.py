"""``wm ledger``: add entries, hand them out, and let go of what is due."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watermark.cli.options import HomeOption, JsonOption
from watermark.cli.terminal import EPILOG, Code, Failure, hint, say, title, write_json

if TYPE_CHECKING:
    from watermark.store.act import Act
    from watermark.store.leaf import Entry
    from watermark.store.ledger import Ledger

app = typer.Typer(epilog=EPILOG)
ReasonOption = Annotated[
    str, typer.Option(metavar="TEXT", help="Why; it stands in the log, readable.")
]


def _ledger(home: Path | None) -> Ledger:
    from watermark.home import Home

    return Home.open(home).ledger


@app.command()
def create(home: HomeOption = None) -> None:
    """Make the ledger that home.toml names: ledger = "postgresql://..." ."""
    from watermark.home import Home

    with Home.open(home).create_ledger() as ledger:
        title(f"Made an empty ledger at {ledger.name}")
        say("log", ledger.verifier)


@app.command("personal-key")
def personal_key(home: HomeOption = None) -> None:
    """Make the key for personal fields, in a home of before there were any."""
    from watermark.home import Home

    opened = Home.open(home)
    opened.create_personal_key()
    title(f"Made {opened.path / 'personal.key'}")
    hint("Back it up: without it no personal field can be read.")


@app.command()
def append(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines; - reads stdin.")
    ],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add entries, one JSON object a line, all of them or none.

    Fields: event (generated or published), record (at least its kind), asset and
    manifest (paths), manifest_id, personal (an object of texts), retain_days.
    """
    from watermark.home import Home

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {error}") from error
    opened = Home.open(home)
    lines = [line for line in text.splitlines() if line.strip()]
    entries = [_entry(line, n, opened.provider) for n, line in enumerate(lines, 1)]
    with opened.ledger as ledger:
        rows = ledger.append(entries)
    if as_json:
        write_json(
            [{"idx": row.idx, "record_id": row.record.record_id} for row in rows]
        )
        return
    for row in rows:
        say("entry", f"{row.idx} {row.event} {row.record.record_id}")


def _entry(line: str, number: int, provider: str) -> Entry:
    from watermark.errors import StoreError
    from watermark.record import SCHEMA, Record, utc_now
    from watermark.store.leaf import Entry

    record_id = Record(kind="document", provider=provider).record_id
    default = {
        **{"schema": SCHEMA, "record_id": record_id, "origin": "created"},
        **{"created_at": utc_now(), "provider": provider, "system": "", "model": None},
        **{"mark": "none", "content": []},
    }
    try:
        data = json.loads(line)
        record = Record.from_dict({**default, **data.pop("record")})
        asset, manifest = data.pop("asset", None), data.pop("manifest", None)
        given = {
            **data,
            "asset_sha256": "" if asset is None else _sha256(Path(asset)),
            "manifest": None if manifest is None else Path(manifest).read_bytes(),
        }
        return Entry(record=record, **given)
    except (
        *(AttributeError, KeyError, OSError, RecursionError, StoreError),
        *(TypeError, ValueError),
    ) as error:
        raise Failure(f"line {number} is no entry: {error}", Code.UNREADABLE) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A new folder for the export.")
    ],
    since: Annotated[
        str, typer.Option(metavar="TIME", help="At or after 2026-11-23T09:00:00Z.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="Before this time, in the same form.")
    ] = "",
    record_id: Annotated[
        str, typer.Option("--record", metavar="ID", help="Of this record.")
    ] = "",
    sha256: Annotated[
        str, typer.Option(metavar="HEX", help="Of this file or content.")
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Made by this model.")
    ] = "",
    payload: Annotated[
        str, typer.Option(metavar="HEX", help="With a mark that carries this.")
    ] = "",
    personal: Annotated[
        bool, typer.Option(help="Show personal fields, with what proves them.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write entries with their proofs, and the script that checks them anywhere."""
    from watermark.store.export import Query
    from watermark.store.export import export as write_export

    try:
        carried = bytes.fromhex(payload)
    except ValueError:
        raise Failure(f"found {payload!r}, expected hex digits", Code.USAGE) from None
    query = Query(
        since=since,
        until=until,
        record_id=record_id,
        sha256=sha256,
        model=model,
        payload=carried,
    )
    with _ledger(home) as ledger:
        count = write_export(ledger, folder, query, personal=personal)
        verifier = ledger.verifier
    if as_json:
        write_json({"folder": str(folder), "entries": count, "verifier": verifier})
        return
    title(f"Exported {count} entries to {folder}")
    say("check it", f"python {folder / 'check_export.py'} --key '{verifier}'")


@app.command()
def prune(
    before: Annotated[
        str, typer.Option(metavar="TIME", help="Only what is older than this.")
    ] = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Forget entries that need not be kept any more; every proof still holds."""
    with _ledger(home) as ledger:
        act = ledger.prune(before=before, reason=reason)
    _tell(act, as_json, "Nothing is due: each entry says until when it is kept.")


@app.command()
def erase(
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID")],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Forget the personal fields of a record; its entries and proofs stay."""
    with _ledger(home) as ledger:
        act = ledger.erase(record_id, reason=reason)
    _tell(act, as_json, "This record has no personal fields.")


@app.command()
def hold(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the matter; none lists all.")
    ] = "",
    record_id: Annotated[
        str, typer.Option("--record", metavar="ID", help="Hold this record.")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Hold the whole ledger.")
    ] = False,
    release: Annotated[bool, typer.Option("--release", help="End this hold.")] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Put a record under a legal hold, or end one: what is held is never forgotten."""
    if name and sum([bool(record_id), everything, release]) != 1:
        raise Failure("expected one of --record, --all and --release", Code.USAGE)
    with _ledger(home) as ledger:
        if not name:
            _list(ledger.holds(), as_json)
        elif release:
            _tell(ledger.release(name, reason=reason), as_json)
        else:
            _tell(ledger.hold(name, record_id, reason=reason), as_json)


def _list(holds: dict[str, tuple[str, ...]], as_json: bool) -> None:
    if as_json:
        write_json({name: list(ids) for name, ids in holds.items()})
        return
    for name, ids in holds.items():
        for record_id in ids:
            say(name, record_id or "everything")
    if not holds:
        hint("No legal hold is in force.")


def _tell(act: Act | None, as_json: bool, nothing: str = "") -> None:
    if as_json:
        write_json(None if act is None else _described(act))
    elif act is None:
        hint(nothing)
    else:
        count = sum(stop - start for start, stop in act.entries)
        about = act.record_id or (f"{count} entries" if act.entries else "")
        what = f"{act.event} {act.hold}" if act.hold else act.event
        say("entry", f"{act.idx} {what} {about}".rstrip())


def _described(act: Act) -> dict[str, Any]:
    entries: Iterable[tuple[int, int]] = act.entries
    return {
        "idx": act.idx,
        "ts": act.ts,
        "event": act.event,
        "entries": [list(span) for span in entries],
        "hold": act.hold,
        "record_id": act.record_id,
        "reason": act.reason,
    }
