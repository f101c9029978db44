"""Quotes: numbers that the documents give are those of `benchmarks/results`.

    python -m benchmarks.quotes [--write]

A measured number in a document is followed by a comment, which no reader sees::

    198 of 200<!-- text > Found at 1e-6 > gumbel, 1 nat > found at 200 tokens -->

It names a result, a table, a row and a column; a row by its first cell, or by several
of its first cells with `` & `` between them. ``text > target > NAME`` is a target,
``text > tests > NAME`` how many tests its note says, and ``text > parameter > NAME`` a
parameter. A number that only looks like a measurement, a
setting or a bound, is followed by ``<!-- set -->``.

The number is held against the result as it is written: "98 %", "0.98" and "196 of 200"
may all be right. ``--write`` puts the results' numbers in the place of others.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"
COMMENT = r"<!--\s*(?P<where>[^<]*?)\s*-->"
QUOTE = re.compile(rf"(?P<said>{NUMBER}(?: of {NUMBER})?(?:\s%)?)\s?{COMMENT}")
# What is taken for a measurement, so that no quote is forgotten.
MEASURED = re.compile(
    rf"(?<![\w.^-])(?:{NUMBER} of {NUMBER}"
    rf"|{NUMBER}(?=\s(?:%|dB|ms|µs|times)(?!\w)))(?:\s%)?"
)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
RATE = re.compile(r"\((\d+)/(\d+)(?: of \d+)?\)")
TESTS = re.compile(r"([\d,]+) tests")
COUNTS = re.compile(r"(\d+) of (\d+)")
SET = "set"
SHOWN = 40  # characters before a number


class Unknown(Exception):
    """A quote names what is not on file."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is on file.

    Attributes:
        value: the number; of a rate, the share.
        hits: of a rate, or None.
        n: how many there were, or None.
    """

    value: float
    hits: int | None = None
    n: int | None = None

    @classmethod
    def of(cls, cell: Any, n: Any = None, note: str = "") -> Found:
        """A table's cell, a target's number or a parameter.

        Args:
            cell: a number, or a rate as `benchmarks.rates` writes it.
            n: of a share without counts.
            note: of a target, which may say the counts.

        Raises:
            Unknown: it is no number.
        """
        counts = RATE.search(str(cell)) or COUNTS.match(note)
        try:
            value = float(str(cell).split(" [")[0].replace(",", ""))
        except ValueError:
            raise Unknown(f"{cell!r} is no number") from None
        if counts:
            return cls(value, int(counts[1]), int(counts[2]))
        if isinstance(n, int) and 0 <= value <= 1:
            return cls(value, round(value * n), n)
        return cls(value)

    def like(self, said: str) -> str:
        """This, written as `said` is: as a count, or to as many decimal places.

        Raises:
            Unknown: a count of what was not counted.
        """
        if " of " in said:
            if self.hits is None or self.n is None:
                raise Unknown(f"found {self.value:g}, which is no count")
            return f"{self.hits:,} of {self.n:,}"
        percent = said.endswith("%")
        number = said.removesuffix("%").strip()
        places = len(number.partition(".")[2])
        value = self.value * (100 if percent else 1)
        if "." not in number and self.hits is not None and not percent:
            value = self.hits
        return f"{value:,.{places}f}" + " %" * percent


def found(where: str, results: Path = RESULTS) -> Found:
    """What a quote's comment names.

    Raises:
        Unknown: there is no such result, table, row or column.
    """
    result, *rest = (part.strip() for part in where.split(" > "))
    data = _read(results / f"{result}.json")
    if len(rest) == 3:
        return _cell(data, *rest)
    if len(rest) == 2 and rest[0] == "parameter":
        if rest[1] not in data["parameters"]:
            raise Unknown(f"no parameter {rest[1]!r} in {result}")
        return Found.of(data["parameters"][rest[1]])
    if len(rest) == 2 and rest[0] in ("target", "tests"):
        target = _one(data["targets"], lambda t: t["name"] == rest[1], rest[1])
        if rest[0] == "target":
            return Found.of(target["measured"], note=target["note"])
        tests = TESTS.search(target["note"])
        if tests is None:
            raise Unknown(f"{rest[1]!r} says no number of tests")
        return Found.of(tests[1])
    raise Unknown(f"found {where!r}, expected a row and a column of a table, or a name")


@cache
def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Unknown(f"no result {path.stem!r} on file")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _cell(data: Mapping[str, Any], title: str, name: str, column: str) -> Found:
    table = _one(data["tables"], lambda t: t["title"] == title, title)
    first = name.split(" & ")
    row = _one(
        table["rows"], lambda r: [str(c) for c in r[: len(first)]] == first, name
    )
    named = dict(zip(table["columns"], row, strict=True))
    if column not in named:
        raise Unknown(f"no column {column!r} in {title!r}")
    return Found.of(named[column], named.get("n"))


def _one(things: Sequence[Any], fits: Callable[[Any], bool], name: str) -> Any:
    chosen = [thing for thing in things if fits(thing)]
    if len(chosen) != 1:
        raise Unknown(f"{len(chosen)} of {name!r}, expected one")
    return chosen[0]


@dataclass(frozen=True, slots=True)
class Quote:
    """One place of a document: the text from `start` to `end` is a number."""

    said: str
    where: str
    start: int
    end: int


def quotes(text: str) -> Iterator[Quote]:
    """Every quote of a document."""
    for match in QUOTE.finditer(_blank(CODE, text)):
        where = " ".join(match["where"].split())
        if where != SET:
            yield Quote(match["said"], where, *match.span("said"))


def unquoted(text: str) -> list[str]:
    """What looks like a measurement and says not where it comes from."""
    plain = _blank(CODE, text)
    known = {match.start("said") for match in QUOTE.finditer(plain)}
    shown = _blank(re.compile(COMMENT), plain)
    return [
        shown[: match.start()].rpartition("\n")[2][-SHOWN:] + match[0]
        for match in MEASURED.finditer(shown)
        if match.start() not in known
    ]


def _blank(what: re.Pattern[str], text: str) -> str:
    """The same length, with spaces where `what` stands."""
    return what.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def problems(text: str, results: Path = RESULTS) -> list[str]:
    """Quotes that are not what is on file, and numbers without a quote."""
    wrong = [f"{line!r}: where is that from?" for line in unquoted(text)]
    for quote in quotes(text):
        try:
            right = found(quote.where, results).like(quote.said)
        except Unknown as reason:
            wrong.append(f"{quote.said!r} <!-- {quote.where} -->: {reason}")
            continue
        if right != quote.said:
            wrong.append(f"{quote.said!r}, on file {right!r}: {quote.where}")
    return wrong


def written(text: str, results: Path = RESULTS) -> str:
    """The document with the numbers that are on file.

    Raises:
        Unknown: a quote names what is not on file.
    """
    for quote in reversed(list(quotes(text))):
        right = found(quote.where, results).like(quote.said)
        text = text[: quote.start] + right + text[quote.end :]
    return text


def documents() -> list[Path]:
    """Those that quote. Decisions are dated: they keep the numbers of their day."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a document says what is not on file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quotes")
    parser.add_argument("--write", action="store_true", help="mend the documents")
    args = parser.parse_args(arguments)
    wrong = 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if args.write:
            text = written(text)
            path.write_text(text, encoding="utf-8")
        for problem in problems(text):
            print(f"{path.relative_to(ROOT)}: {problem}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
