"""The numbers of README and docs are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import quotes
from benchmarks.report import Result, Table, Target

README = (quotes.ROOT / "README.md").read_text(encoding="utf-8")
LEAST = 25  # quotes in README: so many are there, or the parser overlooks them


def drifted(said: str) -> str:
    """The same with another first digit."""
    return ("8" if said[0] != "8" else "9") + said[1:]


@pytest.mark.parametrize("path", quotes.documents(), ids=lambda path: path.name)
def test_every_number_is_that_on_file(path: Path) -> None:
    assert quotes.problems(path.read_text(encoding="utf-8")) == []


def test_every_quote_of_readme_is_read() -> None:
    found = list(quotes.quotes(README))

    assert len(found) == README.count("<!--") >= LEAST


def test_every_number_of_readme_that_drifts_is_told() -> None:
    for quote in quotes.quotes(README):
        text = README[: quote.start] + drifted(quote.said) + README[quote.end :]
        told = quotes.problems(text)

        assert len(told) == 1, quote
        assert quote.where in told[0]
        assert quotes.written(text) == README


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    columns = ("scheme", "tokens", "n", "found", "share", "size")
    rows = (
        ("ours", 50, 200, "0.5 [0.4, 0.6] (100/200)", 0.25, 12345.678),
        ("ours", 100, 200, "1 [0.9, 1] (200/200)", 0.985, 0.5),
        ("clustered", 50, 60, "0.5 [0.2, 0.8] (30/60 of 3)", 0.5, 0.5),
    )
    result = Result(
        name="made",
        parameters={"keys": 100, "sampling": "temperature 1"},
        targets=(
            Target.at_most("wrong", 0.0, 0.1, "0 of 1262; the interval is wide"),
            Target.at_most("rate", 6.0, 6.0, "2,000,000 tests, p known to 3%"),
        ),
        tables=(Table("Found", columns, rows),),
    )
    (folder / "made.json").write_text(json.dumps(result.to_dict()))
    return folder


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("100 of 200", "Found > ours & 50 > found"),
        ("30 of 60", "Found > clustered > found"),
        ("50 %", "Found > ours & 50 > found"),
        ("0.5", "Found > ours & 50 > found"),
        ("100", "Found > ours & 50 > found"),
        ("197 of 200", "Found > ours & 100 > share"),
        ("98.5 %", "Found > ours & 100 > share"),
        ("12,346", "Found > ours & 50 > size"),
        ("12,345.7", "Found > ours & 50 > size"),
        ("0 of 1,262", "target > wrong"),
        ("2,000,000", "tests > rate"),
        ("100", "parameter > keys"),
    ],
)
def test_a_number_may_be_written_in_several_ways(
    said: str, where: str, results: Path
) -> None:
    text = f"It is {said}<!-- made >\n  {where} --> of them."

    assert quotes.problems(text, results) == []
    assert quotes.written(text.replace(said, drifted(said)), results) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12 of 200", "where is that from"),
        ("It costs 3.5 dB.", "where is that from"),
        ("12 %, then", "where is that from"),
        ("1<!-- other > Found > ours & 50 > found -->", "no result 'other'"),
        ("1<!-- made > Lost > ours & 50 > found -->", "0 of 'Lost'"),
        ("1<!-- made > Found > ours > found -->", "2 of 'ours'"),
        ("1<!-- made > Found > ours & 50 > lost -->", "no column 'lost'"),
        ("1<!-- made > Found > ours & 50 -->", "expected a row and a column"),
        ("1<!-- made > target > other -->", "0 of 'other'"),
        ("1<!-- made > tests > wrong -->", "no number of tests"),
        ("1<!-- made > parameter > other -->", "no parameter 'other'"),
        ("1<!-- made > parameter > sampling -->", "is no number"),
        ("1<!-- made -->", "expected a row and a column"),
        ("1<!-- made > target -->", "expected a row and a column"),
        ("1 of 2<!-- made > parameter > keys -->", "no count"),
        ("101<!-- made > parameter > keys -->", "on file '100'"),
    ],
)
def test_what_is_not_on_file_is_told(text: str, reason: str, results: Path) -> None:
    (told,) = quotes.problems(text, results)

    assert reason in told


def test_settings_and_code_are_no_measurements(results: Path) -> None:
    text = "Cut to 75 %<!-- set -->, `3 dB`.\n```\n1 of 2\n```\nVersion 1.2 of 2 files."

    assert quotes.problems(text.replace("1.2 of 2 files", "2"), results) == []
    assert len(quotes.problems(text, results)) == 1


def test_the_rates_that_readme_calls_the_stated_ones_are() -> None:
    assert "realised error rates are\nthe stated ones" in README
    data = json.loads((quotes.RESULTS / "fpr.json").read_text())
    rates = [t for t in data["targets"] if "realised rate" in t["name"]]

    for scheme in ("gumbel", "tournament", "greenlist", "noise"):
        assert [t for t in rates if t["name"].startswith(scheme)]
    assert [t["name"] for t in rates if not t["reached"]] == []
