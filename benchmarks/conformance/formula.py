"""The expressions of C2PA's rubrics: as much of json-formula as they use.

JMESPath with functions in camel case and string literals in double quotes; nulls stay
in projections. What is not known here is an error, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<json>`[^`]*`)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<quoted>'(?:[^'\\]|\\.)*')
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<global>\$\w+)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<symbol>\[\?|\[\]|&&|\|\||[=!<>]=|[\[\](){}.,:|<>!*@])""",
    re.VERBOSE,
)
# How strongly a symbol binds what stands left of it.
_POWER = {
    "|": 1, "||": 2, "&&": 3, "==": 5, "!=": 5, "<": 5, "<=": 5, ">": 5, ">=": 5,
    "*": 7, "[]": 9, "[?": 21, ".": 40, "[": 55,
}  # fmt: skip
_PROJECTION_STOPS, _FILTER, _STAR, _NOT = 10, 21, 20, 45


class FormulaError(Exception):
    """An expression that this reader does not know."""


@dataclass(frozen=True)
class Scope:
    """What an expression can name besides its data.

    Attributes:
        values: of ``$name``.
        functions: of ``_name(...)``: an expression each.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Node] = field(default_factory=dict)


Node = Callable[[Any, Scope], Any]


def truth(value: Any) -> bool:
    """Whether a value counts as true: null, false, 0 and all that is empty do not."""
    return bool(value)


def compile_formula(text: str) -> Node:
    """An expression, to be called with data and scope.

    Raises:
        FormulaError: it uses more of the language than is known here.
    """
    parser = _Parser(text)
    node = parser.expression(0)
    if parser.kind != "end":
        raise parser.error()
    return node


class _Parser:
    """Top-down operator precedence, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = self._split(text)
        self.kind, self.token = next(self._tokens)

    def _split(self, text: str) -> Any:
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise FormulaError(f"at {text[place : place + 20]!r}")
            place = found.end()
            if found.lastgroup != "space":
                yield found.lastgroup, found[0]
        yield "end", ""

    def error(self) -> FormulaError:
        return FormulaError(f"{self.kind} {self.token!r} stands where it cannot")

    def take(self) -> str:
        token: str = self.token
        self.kind, self.token = next(self._tokens, ("end", ""))
        return token

    def expect(self, symbol: str) -> None:
        if self.kind != "symbol" or self.token != symbol:
            raise self.error()
        self.take()

    def at(self, symbol: str) -> bool:
        return (self.kind, self.token) == ("symbol", symbol)

    def expression(self, power: int) -> Node:
        left = self._prefix()
        while self.kind == "symbol" and _POWER.get(self.token, 0) > power:
            left = self._infix(left)
        return left

    def _prefix(self) -> Node:
        kind = self.kind
        if kind == "symbol":
            return self._symbol()
        token = self.take()
        if kind == "name":
            return self._call(token) if self.at("(") else _field(token)
        if kind == "quoted":
            return _field(token[1:-1])
        if kind == "global":
            return lambda _, scope: scope.values.get(token)
        if kind in ("string", "number"):
            return _constant(json.loads(token))
        if kind == "json":
            return _constant(json.loads(token[1:-1]))
        raise self.error()

    def _symbol(self) -> Node:
        if self.token in ("[]", "[?"):
            return self._infix(_current)
        token = self.take()
        if token == "@":
            return _current
        if token == "!":
            inner = self.expression(_NOT)
            return lambda value, scope: not truth(inner(value, scope))
        if token == "(":
            inner = self.expression(0)
            self.expect(")")
            return inner
        if token == "[":
            if self.kind == "number":
                return self._index(_current)
            items = self._list("]")
            return lambda value, scope: [each(value, scope) for each in items]
        if token == "{":
            return self._object()
        raise self.error()

    def _infix(self, left: Node) -> Node:
        token = self.take()
        if token == ".":
            return self._dotted(left)
        if token == "[":
            return self._index(left)
        if token == "[]":
            return _projection(_flat(left), self._projected(_POWER["[]"]))
        if token == "[?":
            test = self.expression(0)
            self.expect("]")
            return _projection(_filtered(left, test), self._projected(_FILTER))
        right = self.expression(_POWER[token])
        if token == "|":
            return lambda value, scope: right(left(value, scope), scope)
        if token == "||":
            return _either(left, right)
        if token == "&&":
            return _both(left, right)
        operate = _OPERATORS[token]
        return lambda value, scope: operate(left(value, scope), right(value, scope))

    def _dotted(self, left: Node) -> Node:
        if self.kind == "quoted":
            right = _field(self.take()[1:-1])
        elif self.kind == "name":
            name = self.take()
            right = self._call(name) if self.at("(") else _field(name)
        else:
            raise self.error()

        def chained(value: Any, scope: Scope) -> Any:
            inner = left(value, scope)
            return None if inner is None else right(inner, scope)

        return chained

    def _index(self, left: Node) -> Node:
        if self.kind != "number":
            raise self.error()
        number = int(self.take())
        self.expect("]")

        def indexed(value: Any, scope: Scope) -> Any:
            items = left(value, scope)
            there = isinstance(items, list) and number < len(items)
            return items[number] if there else None

        return indexed

    def _projected(self, power: int) -> Node:
        """What is done to each element of a projection."""
        if self.kind != "symbol" or _POWER.get(self.token, 0) < _PROJECTION_STOPS:
            return _current
        node: Node = _current
        while self.kind == "symbol" and _POWER.get(self.token, 0) > power:
            node = self._infix(node)
        return node

    def _list(self, end: str) -> list[Node]:
        items: list[Node] = []
        while not self.at(end):
            items.append(self.expression(0))
            if not self.at(end):
                self.expect(",")
        self.expect(end)
        return items

    def _object(self) -> Node:
        parts: dict[str, Node] = {}
        while not self.at("}"):
            name = self.take().strip("'\"")
            self.expect(":")
            parts[name] = self.expression(0)
            if not self.at("}"):
                self.expect(",")
        self.expect("}")
        return lambda value, scope: {k: n(value, scope) for k, n in parts.items()}

    def _call(self, name: str) -> Node:
        self.expect("(")
        given = self._list(")")
        if name == "if":
            test, then, other = given
            return lambda value, scope: (then if truth(test(value, scope)) else other)(
                value, scope
            )
        if name.startswith("_"):

            def call(value: Any, scope: Scope) -> Any:
                inner = replace(
                    scope,
                    values={
                        **scope.values,
                        "$args": [each(value, scope) for each in given],
                    },
                )
                return scope.functions[name](value, inner)

            return call
        if name not in _FUNCTIONS:
            raise FormulaError(f"no function {name!r} is known")
        function = _FUNCTIONS[name]
        return lambda value, scope: function(*(each(value, scope) for each in given))


def _current(value: Any, _: Scope) -> Any:
    return value


def _constant(constant: Any) -> Node:
    return lambda _, __: constant


def _field(name: str) -> Node:
    return lambda value, _: value.get(name) if isinstance(value, dict) else None


def _either(left: Node, right: Node) -> Node:
    def either(value: Any, scope: Scope) -> Any:
        first = left(value, scope)
        return first if truth(first) else right(value, scope)

    return either


def _both(left: Node, right: Node) -> Node:
    def both(value: Any, scope: Scope) -> Any:
        first = left(value, scope)
        return right(value, scope) if truth(first) else first

    return both


def _flat(left: Node) -> Node:
    def flat(value: Any, scope: Scope) -> Any:
        items = left(value, scope)
        if not isinstance(items, list):
            return None
        nested = [each if isinstance(each, list) else [each] for each in items]
        return [each for part in nested for each in part]

    return flat


def _filtered(left: Node, test: Node) -> Node:
    def filtered(value: Any, scope: Scope) -> Any:
        items = left(value, scope)
        if not isinstance(items, list):
            return None
        return [each for each in items if truth(test(each, scope))]

    return filtered


def _projection(items: Node, each: Node) -> Node:
    def projected(value: Any, scope: Scope) -> Any:
        found = items(value, scope)
        return None if found is None else [each(item, scope) for item in found]

    return projected


def _number(value: Any) -> float:
    return float(value or 0)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return compare(left, right)
        try:
            return compare(_number(left), _number(right))
        except (TypeError, ValueError):
            return False

    return ordered


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _same,
    "!=": lambda left, right: not _same(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "*": lambda left, right: _number(left) * _number(right),
}
_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean"}


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, str):
        return str(what or "") in where
    return any(_same(each, what) for each in where or ())


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "contains": _contains,
    "startsWith": lambda text, start: str(text or "").startswith(start),
    "endsWith": lambda text, end: str(text or "").endswith(end),
    "length": lambda value: len(value or ()),
    "keys": lambda value: list(value or {}),
    "values": lambda value: list((value or {}).values()),
    "split": lambda text, by: str(text or "").split(by),
    "notNull": lambda *values: next((v for v in values if v is not None), None),
    "type": lambda value: (
        "null" if value is None else _TYPES.get(type(value), "number")
    ),
}
