"""The commands put together, and `main`: mistakes become one line and an exit code."""

from __future__ import annotations

import io
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import watermark
from watermark.cli import (
    calibrating,
    checking,
    embedding,
    keys,
    ledger,
    repositories,
    serving,
    stamping,
    trusting,
    verifying,
)
from watermark.cli import certificates as certificates  # commands of `wm keys`
from watermark.cli import measuring as measuring  # likewise
from watermark.cli.options import PassphraseOption, passphrase
from watermark.cli.terminal import (
    EPILOG,
    Code,
    Failure,
    error,
    hint,
    say,
    title,
    warn,
)
from watermark.errors import WatermarkError

app = typer.Typer(
    help="Mark what generative models make, and find it again.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes do not survive a pipe, a log or a narrow window
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `argv`, by default the process's own; raises SystemExit."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may not fit its encoding
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        mistake: Exception
        try:
            app(arguments, prog_name="wm")
        except Failure as failure:
            mistake, code = failure, failure.code
            error(mistake)
        except (WatermarkError, OSError) as failure:
            mistake, code = failure, Code.CONFIGURATION
            error(mistake)
        except Exception as failure:
            mistake, code = failure, Code.BUG
            error(f"{type(failure).__name__}: {failure}")
            hint("This is a bug in wm. Please report it, with what --debug prints.")
    if "--debug" in arguments:
        traceback.print_exception(mistake)
    sys.exit(code)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    warn(message)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"wm {watermark.__version__} (watermark-sdk)")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Say which this is."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback with an error.")
    ] = False,
) -> None:
    """Options that stand before the command; `main` looks for --debug itself."""


@app.command(epilog=EPILOG)
def init(
    path: Annotated[
        Path | None,
        typer.Argument(
            envvar="WATERMARK_HOME",
            metavar="[PATH]",
            help="Where; by default in your data folder. Nothing is overwritten.",
            show_default=False,
        ),
    ] = None,
    *,
    provider: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Who runs the models; it stands in every signature."
        ),
    ],
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make a home: keys, a development certificate and an empty ledger."""
    from watermark.api import Watermark
    from watermark.home import default_path

    secret = passphrase(passphrase_file)
    chosen = default_path() if path is None else path
    w = Watermark.create(chosen, provider=provider, passphrase=secret)
    title(f"Made a home at {chosen}")
    say("provider", w.home.provider)
    say("key", f"{w.home.ring.newest.key.kid}, which marks from now on")
    say("certificate", f"for {w.home.credential.organisation}, for development only:")
    say("", "strangers will see `valid`, not `trusted`, unless you give them")
    say("", chosen / "credential" / "root.pem")
    say("ledger", "empty; its log is called " + w.home.ledger.origin)
    say(
        "on disk", "keys are " + ("encrypted" if secret else "not encrypted, mode 0600")
    )
    w.home.ledger.close()
    title("Next")
    if chosen != default_path():
        say("use it", f"export WATERMARK_HOME={chosen.absolute()}")
    say("sign", "wm embed photo.png -o signed.png")
    say("check", "wm verify signed.png")
    say("mark", "in Python: watermark.attach(pipeline), then generate")
    say("back up", "this folder: without the key, no mark is ever found again")


app.command(no_args_is_help=True, epilog=EPILOG)(embedding.embed)
app.command(no_args_is_help=True, epilog=EPILOG)(verifying.verify)
app.command(no_args_is_help=True, epilog=EPILOG)(calibrating.calibrate)
app.command(no_args_is_help=True, epilog=EPILOG)(checking.check)
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.add_typer(repositories.app, name="repository")
app.add_typer(serving.app, name="serve")
app.add_typer(stamping.app, name="stamp")
app.add_typer(trusting.app, name="trust")


@app.command(epilog=EPILOG)
def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the demonstration writes.")
    ] = Path("demo"),
    models: Annotated[
        Path, typer.Option(metavar="DIR", help="The small models that it runs.")
    ] = Path("benchmarks/models"),
) -> None:
    """Generate, mark, sign, damage and verify, from beginning to end."""
    from watermark.demo import run

    raise typer.Exit(run(out, models))
