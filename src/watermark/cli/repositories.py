"""``wm repository``: who may be asked for manifests that this home does not have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.options import HomeOption, JsonOption
from watermark.cli.terminal import EPILOG, Code, Failure, hint, say, title, write_json

if TYPE_CHECKING:
    from watermark.home import Home

app = typer.Typer(
    help="Name the repositories that wm verify --resolve may ask.",
    no_args_is_help=True,
    epilog=EPILOG,
)
Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", help="Its base, such as https://repository.acme.example/v1."
    ),
]


@app.command(epilog=EPILOG)
def add(url: Url, home: HomeOption = None) -> None:
    """Let wm verify --resolve ask the repository at URL.

    It has to speak the Soft Binding Resolution API (C2PA 2.4), as wm serve does. It
    will see what the marks in your files carry. Nothing that it answers is believed
    unless somebody signed it whom you trust (wm trust).
    """
    from watermark.resolution import endpoints

    found = _home(home)
    try:
        name = endpoints.base_url(url)
    except ValueError as problem:
        raise Failure(str(problem), Code.USAGE) from problem
    known = found.repositories
    if name in known:
        hint(f"{name} may be asked already")
        return
    endpoints.write(found.path, [*known, name])
    say("added", name)
    hint("It is asked by wm verify --resolve, and by nothing else")


@app.command(epilog=EPILOG)
def remove(url: Url, home: HomeOption = None) -> None:
    """Let nobody ask the repository at URL any more."""
    from watermark.resolution import endpoints

    found = _home(home)
    known, name = found.repositories, url.rstrip("/")
    if name not in known:
        raise Failure(f"there is no repository {url[:200]!r}", Code.UNREADABLE)
    endpoints.write(found.path, [each for each in known if each != name])
    say("removed", name)


@app.command("list", epilog=EPILOG)
def listed(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the repositories, in the order in which they are asked."""
    known = _home(home).repositories
    if as_json:
        write_json(list(known))
        return
    if not known:
        hint("No repositories: add one with wm repository add URL")
        return
    title("Repositories")
    for name in known:
        say("ask", name)


def _home(path: Path | None) -> Home:
    from watermark.home import Home

    return Home.open(path)
