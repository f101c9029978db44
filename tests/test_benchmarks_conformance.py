"""The reader of C2PA's rubrics: the expressions that they use, and no others."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.conformance import formula
from benchmarks.conformance.formula import FormulaError, Scope, compile_formula
from benchmarks.conformance.rubric import Rubric

DATA: dict[str, Any] = {
    "list": [{"n": 1, "tag": "c2pa.a"}, {"n": None, "tag": "x"}, {"tag": "c2pa.b"}],
    "deep": [[1, [2]], 3],
    "a.b": {"c": "2.4.0"},
    "none": None,
    "no": False,
    "empty": [],
    "map": {"p": {"x": 1}, "q": {"y": 2}},
}
SCOPE = Scope(
    values={"$known": ["c2pa.a"], "$two": 2},
    functions={
        "_first": compile_formula("list[0]"),
        "_of": compile_formula("$args[0].'a.b'.c"),
        "_twice": compile_formula("_of($args[0])"),
    },
)
CASES: list[tuple[str, Any]] = [
    ("list[0].n", 1),
    ("list[9].n", None),
    ("list.n", None),
    ("'a.b'.c", "2.4.0"),
    ("nothing.at.all", None),
    ("deep[]", [1, [2], 3]),
    ("deep[][]", [1, 2, 3]),
    ("none[]", None),
    ("list[?n == 1].tag", ["c2pa.a"]),
    ("list[?n == null].tag", ["x", "c2pa.b"]),
    ('list[?startsWith(tag, "c2pa.") && !contains($known, tag)].tag', ["c2pa.b"]),
    ("list[?n != null] | [0].tag", "c2pa.a"),
    ("list[].n", [1, None, None]),
    ("values(map)[?x != null][].x", [1]),
    ('list[?n == 1] | [].keys(@)[] | [?@ != `"n"`]', ["tag"]),
    ('list[?n == 1].notNull(zzz, "known")', ["known"]),
    ("keys(map)", ["p", "q"]),
    ("length(list) == 3 && length(none) == 0", True),
    ("empty || `[1]`", [1]),
    ("no && list", False),
    ("no || none", None),
    ('split("2.4.0", ".")[1]', "4"),
    ('split("2.4.0", ".")[1] * 1 >= 4.0', True),
    ('"10" < "9"', True),
    ("$two * 3 > 5", True),
    ("map > 1", False),
    ('contains("abc", "b")', True),
    ('endsWith("abc", "bc")', True),
    ('if(no, list, `"other"`)', "other"),
    ("type('a.b'.c) == `\"string\"`", True),
    ("{ a: none, b: [`1`, $two] }", {"a": None, "b": [1, 2]}),
    ("[$two, no]", [2, False]),
    ("_first().n", 1),
    ("_twice(@)", "2.4.0"),
    ("(list[0] || none).n", 1),
    ("!none && !no", True),
    ("no == `0`", False),  # equal only if of one type
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=range(len(CASES)))
def test_expressions(text: str, expected: Any) -> None:
    found = compile_formula(text)(DATA, SCOPE)

    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a.", "a[", "unknown(a)", "a + b", "a[*]", "&a", "a ? b", "a[-1]"],
)
def test_what_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises(FormulaError):
        compile_formula(text)


def test_a_rubric_passes_and_fails(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "rubric.yml"
    path.write_text(
        """
variables: {$bad: [x]}
expressions: {_tags: "list[].tag"}
---
- {id: there, expression: "length(list) == 3"}
- {id: bad tags, failIfMatched: true, expression: "_tags()[?contains($bad, @)]"}
- {id: odd tags, warnIfMatched: true, expression: "_tags()[?@ == `\\"y\\"`]"}
- {id: version, expression: "$expected_spec_version == `\\"2.4\\"`"}
"""
    )
    checks = Rubric.load(path).apply(DATA)

    assert [(check.name, check.passed) for check in checks] == [
        ("there", True),
        ("bad tags", False),
        ("odd tags", True),
        ("version", True),
    ]
    assert checks[1].found == ["x"]
    assert formula.truth(checks[1].found)
