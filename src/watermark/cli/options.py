"""Options that several commands share, and what they open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.terminal import Failure

if TYPE_CHECKING:
    from watermark.api import Watermark

PASSPHRASE = "WATERMARK_PASSPHRASE"

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="PATH",
        envvar="WATERMARK_HOME",
        help="The home to use; by default the one in your data folder.",
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Read the home's passphrase from FILE; by default from ${PASSPHRASE}.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, and nothing else.")
]


def passphrase(file: Path | None) -> str | None:
    """The passphrase in `file`, without its line end, or in the environment."""
    if file is None:
        return os.environ.get(PASSPHRASE) or None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"the passphrase in {file} cannot be read: {error}") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Failure(f"{file} is empty, expected a passphrase on its first line")
    return text


@contextmanager
def opened(home: Path | None, secret: str | None) -> Iterator[Watermark]:
    """The home at `home`, with its ledger open until the block is left."""
    from watermark.api import Watermark

    w = Watermark.open(home, passphrase=secret)
    with w.home.ledger:
        yield w
