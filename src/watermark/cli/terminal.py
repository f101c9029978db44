"""What the command says, and how: exit codes, lines for people, JSON for programs.

Names of files and of certificates come from strangers. Whatever is printed for people
goes through `plain`, so that no name can move the cursor, fake a line or hide itself.
"""

from __future__ import annotations

import json
import sys
import textwrap
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

LABEL = 14  # width of the column of labels; the longest is INCONCLUSIVE
MARGIN = "  "


class Code(IntEnum):
    """Exit codes. Where several apply, the largest."""

    DONE = 0
    BUG = 1
    USAGE = 2
    UNREADABLE = 3
    MARKED = 10
    NO_EVIDENCE = 11
    MISSED = 12
    CONFIGURATION = 20


# \b keeps the line breaks of what follows.
EPILOG = """\b
Exit codes:
   0  done
   1  something that nobody foresaw: please report it, with --debug
   2  usage: the command line is not right
   3  some inputs could not be read, or (embed) could not be signed
  10  --fail-on marked, and something is marked
  11  --fail-on no-evidence, and something has NO_EVIDENCE
  12  check: a clause that is required is missed
  20  trust or configuration: home, key, tokenizer, pipeline or ledger
"""


class Failure(Exception):
    """The command stops here, with one message and an exit code."""

    def __init__(self, message: str, code: Code = Code.CONFIGURATION) -> None:
        super().__init__(message)
        self.code = code


def plain(text: object) -> str:
    r"""`text` with everything escaped that a terminal would act on or not show.

    >>> print(plain("photo" + chr(27) + "[2J" + chr(10) + ".png"))
    photo\x1b[2J\n.png
    """
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def title(text: str) -> None:
    """A line that the lines of `say` belong to."""
    _print(plain(text), "bold")


def say(label: str, text: object, *, style: str = "") -> None:
    """One labelled line on stdout; folded only where a person watches."""
    head = f"{MARGIN}{label:<{LABEL}}"
    console = _console()
    lines = [plain(text)]
    if console.is_terminal:
        room = max(console.width - len(head), 24)
        lines = textwrap.wrap(
            lines[0], room, break_long_words=False, break_on_hyphens=False
        ) or [""]
    for n, line in enumerate(lines):
        _print((head if n == 0 else " " * len(head)) + line, style, console)


def row(*cells: object) -> None:
    """One line of a table on stdout; cells are padded by the caller."""
    _print(MARGIN + "  ".join(plain(cell) for cell in cells).rstrip(), "")


def hint(text: str) -> None:
    """A line for people on stderr: what was done, what comes next."""
    _print(plain(text), "dim", _console(stderr=True))


def warn(text: object) -> None:
    """``warning: text`` on stderr."""
    _tell("warning:", text, "bold yellow")


def error(text: object) -> None:
    """``error: text`` on stderr."""
    _tell("error:", text, "bold red")


def write_json(data: Any, *, compact: bool = False) -> None:
    """`data` on stdout, in ASCII: names that are not UTF-8 survive as surrogates."""
    typer.echo(
        json.dumps(data, separators=(",", ":"))
        if compact
        else json.dumps(data, indent=2)
    )


def watched() -> bool:
    """Whether a person is looking at stderr."""
    return sys.stderr.isatty()


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def _print(line: str, style: str, console: Console | None = None) -> None:
    from rich.text import Text

    (console or _console()).print(Text(line, style=style), soft_wrap=True)


def _tell(label: str, text: object, style: str) -> None:
    from rich.text import Text

    line = Text.assemble((label, style), " ", plain(text))
    _console(stderr=True).print(line, soft_wrap=True)
