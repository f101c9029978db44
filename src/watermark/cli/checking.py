"""``wm check``: lint files against a law, clause by clause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.options import JsonOption
from watermark.cli.terminal import Code, Failure, error, hint, say, title, write_json

if TYPE_CHECKING:
    from watermark.labels.check import Finding

_STYLES = {"met": "green", "missed": "bold red", "unclear": "yellow", "outside": "dim"}


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    regime: Annotated[
        list[str],
        typer.Option(
            "--regime", "-r", metavar="NAME", help="cn, eu, us-ca, in, kr or global."
        ),
    ],
    as_json: JsonOption = False,
    as_sarif: Annotated[
        bool, typer.Option("--sarif", help="SARIF 2.1.0 on stdout, for CI.")
    ] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day whose rules are meant."),
    ] = None,
    on_market: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Since when the system is on the market; some rules come later for "
            "older ones.",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM",
            help="Root certificates of trusted signers and time-stamp authorities.",
        ),
    ] = None,
) -> None:
    """Look at a file, ours or anybody's, and say which clauses it meets.

    Only the file is looked at: marks are found with `wm verify`. The exit code is 12
    where a required clause is missed, else 3 where something could not be read. What no
    file shows (`outside`) is for you to see to, and never counted as met.
    """
    from watermark import __version__
    from watermark.errors import LabelError
    from watermark.labels import sarif
    from watermark.labels.check import check as lint
    from watermark.labels.check import not_read

    if as_json and as_sarif:
        raise Failure("expected one of --json and --sarif", Code.USAGE)
    anchors = trust.read_bytes() if trust is not None else b""
    day = as_of.date() if as_of is not None else None
    since = on_market.date() if on_market is not None else None
    name, code = "+".join(regime), Code.DONE
    results: list[tuple[Path, str, Sequence[Finding]]] = []
    for file in files:
        try:
            found = lint(file, regime, as_of=day, on_market=since, anchors=anchors)
        except LabelError as problem:
            raise Failure(str(problem), Code.USAGE) from problem
        except OSError as problem:
            error(f"{file}: {problem.strerror}")
            code = max(code, Code.UNREADABLE)
            results.append((file, name, [not_read(str(problem.strerror))]))
            continue
        results.append((file, name, found))
        code = max(code, _code(found))
        if not as_json and not as_sarif:
            _show(file, found)
    if as_json:
        write_json([_to_dict(*result) for result in results])
    elif as_sarif:
        write_json(sarif.log(results, version=__version__))
    raise typer.Exit(code)


def _code(found: Sequence[Finding]) -> Code:
    if any(f.state == "missed" and f.severity == "error" for f in found):
        return Code.MISSED
    return Code.UNREADABLE if any(f.state == "unclear" for f in found) else Code.DONE


def _show(file: Path, found: Sequence[Finding]) -> None:
    title(str(file))
    for f in found:
        wanted = f"{f.level.name.lower()}: " if f.state in ("missed", "unclear") else ""
        clause = f"; {f.clause}" if f.clause else ""
        said = f"{f.state}, {wanted}{f.detail}{clause}"
        say(f.layer, said, style=_STYLES[f.state])
    failed = [f for f in found if f.severity == "error"]
    missed = sum(f.state == "missed" for f in failed)
    outside = sum(f.state == "outside" for f in found)
    hint(
        f"Of {len(found)} clauses, required and missed: {missed}; required and "
        f"unclear: {len(failed) - missed}; not to be seen in a file: {outside}."
    )


def _to_dict(file: Path, regime: str, found: Sequence[Finding]) -> dict[str, object]:
    return {
        "schema": "watermark.check/1",
        "path": str(file),
        "regime": regime,
        "findings": [
            {
                "layer": f.layer,
                "state": f.state,
                "level": f.level.name.lower(),
                "severity": f.severity,
                "clause": f.clause,
                "detail": f.detail,
            }
            for f in found
        ],
    }
