"""``wm serve``: the HTTP service, and who may do what there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.options import HomeOption, PassphraseOption, passphrase
from watermark.cli.terminal import EPILOG, Code, Failure, hint, row, say, title

if TYPE_CHECKING:
    from watermark.serve.tokens import Tokens

app = typer.Typer(
    help="Serve a verify page and the C2PA Soft Binding Resolution API.",
    epilog=EPILOG,
)
MIB = 1 << 20
BACKLOG = 2048


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8000,
    public_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Where strangers reach it, for receipts; by default host and port.",
        ),
    ] = "",
    contact: Annotated[
        str,
        typer.Option(metavar="URL", help="Where visitors tell you of mistakes."),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that look at content.")
    ] = 2,
    effort: Annotated[
        str, typer.Option(help="Of a look: quick, normal or thorough.")
    ] = "normal",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="That one look may take.")
    ] = 20.0,
    memory: Annotated[
        int, typer.Option(min=64, metavar="MIB", help="That one look may take.")
    ] = 1536,
    content: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="Largest content.")
    ] = 32,
    rate: Annotated[
        float,
        typer.Option(min=0.01, help="Looks a minute of an address without a token."),
    ] = 30.0,
    closed: Annotated[
        bool, typer.Option("--closed", help="Reading needs a token, too.")
    ] = False,
    references: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-reference",
            metavar="HOST",
            help="byReference may fetch from this host. Can be repeated; without it "
            "nothing is fetched.",
        ),
    ] = None,
    proxies: Annotated[
        str,
        typer.Option(
            "--proxy",
            metavar="ADDRESS,...",
            help="Whose X-Forwarded-For is believed: your reverse proxy.",
        ),
    ] = "127.0.0.1",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Serve until the process is told to end. Put a proxy with TLS in front."""
    if context.invoked_subcommand is not None:
        return
    if "*" in proxies:
        raise Failure(
            "--proxy '*' believes every stranger's X-Forwarded-For, and limits none: "
            "name the addresses or networks of your proxy, such as 10.0.0.0/8",
            Code.USAGE,
        )
    from watermark.home import default_path
    from watermark.serve.app import create, run
    from watermark.serve.settings import Settings

    folder = default_path() if home is None else home
    secret = passphrase(passphrase_file)
    with _listening(host, port) as listening:
        address = f"http://{_in_url(host)}:{listening.getsockname()[1]}"
        try:
            settings = Settings(
                public_url=public_url or address,
                contact=contact,
                anonymous_read=not closed,
                workers=workers,
                effort=effort,
                seconds=seconds,
                memory=memory * MIB,
                content=content * MIB,
                in_flight=max(8 * content, 256) * MIB,
                rate=rate,
                references=frozenset(name.lower() for name in references or ()),
            )
        except ValueError as problem:
            raise Failure(str(problem), Code.USAGE) from problem
        served = create(folder, settings, passphrase=secret)
        hint(f"Serving {folder} on {address}")
        run(served, listening, proxies=proxies)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


@app.command()
def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="fetch:manifests, store:manifests, store:bindings, or verify:full "
            "(p-values and places). Can be repeated.",
        ),
    ],
    home: HomeOption = None,
) -> None:
    """Make a token. It is shown this once; the home keeps its digest."""
    try:
        secret = _tokens(home).add(name, frozenset(scopes))
    except ValueError as problem:
        raise Failure(str(problem), Code.USAGE) from problem
    hint(f"Token {name!r}, for Authorization: Bearer. It cannot be shown again.")
    typer.echo(secret)


@app.command()
def tokens(home: HomeOption = None) -> None:
    """List the tokens and what each may do."""
    found = _tokens(home).all()
    if not found:
        hint("No tokens: reading is open to all, unless --closed; nobody may store.")
        return
    title("Tokens")
    for each in found:
        row(f"{each.name:<20}", each.created_at, ", ".join(sorted(each.scopes)))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME")], home: HomeOption = None
) -> None:
    """Take a token back; a service that runs knows at once."""
    if not _tokens(home).revoke(name):
        raise Failure(f"there is no token {name!r}", Code.UNREADABLE)
    say("revoked", name)


def _tokens(home: Path | None) -> Tokens:
    from watermark.home import Home
    from watermark.serve.tokens import Tokens

    return Tokens(Home.open(home).path)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
