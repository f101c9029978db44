"""Explicit marks in HTML pages: a paragraph at both ends of the body.

Pages are read in one pass, in linear time whatever is in them: Python's own parser
takes minutes for a quarter of a megabyte of tags that do not end.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from watermark.labels.explicit_text import WORDING, check_wording

_OPEN = re.compile(r"<(?:(!--)|(/?[A-Za-z][A-Za-z0-9-]*)|[!?])")
_REST = re.compile(r"""(?:[^>"']|"[^"]*"|'[^']*')*+>""")
_RAW = {  # what they hold is no markup, and not shown
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "template", "noscript")
}


class Body(NamedTuple):
    """The body of a page.

    Attributes:
        start: where its content starts.
        end: where it ends.
        shown: its text, its spaces made one.
    """

    start: int
    end: int
    shown: str


def mark(page: str, wording: str = WORDING) -> str:
    """`page` with a paragraph that says so at both ends of its body.

    Raises:
        LabelError: `wording` is empty, more than one line, or markup.
    """
    check_wording(wording)
    found, paragraph = body(page), f"<p>{wording}</p>"
    inside = page[found.start : found.end]
    return page[: found.start] + paragraph + inside + paragraph + page[found.end :]


def is_ours(page: str, wording: str) -> bool:
    """Whether `mark` with these words left its paragraph at both ends."""
    found, paragraph = body(page), f"<p>{wording}</p>"
    inside = page[found.start : found.end]
    return (
        len(inside) >= 2 * len(paragraph)
        and inside.startswith(paragraph)
        and inside.endswith(paragraph)
    )


def body(page: str) -> Body:
    """Where the body is, and what is shown of it. Never raises."""
    start, end, at = 0, len(page), 0
    shown: list[str] = []
    while (opened := page.find("<", at)) >= 0:
        shown.append(page[at:opened])
        tag = _OPEN.match(page, opened)
        if tag is None:
            shown.append("<")
            at = opened + 1
            continue
        name = (tag[2] or "").lower()
        if name in ("/body", "/html"):
            end = at = opened
            break
        at = _after(page, tag, name)
        if name == "body":
            start = at
            shown.clear()
        if name in ("p", "br", "div", "li", "td", "h1", "h2", "h3", "/p", "/div"):
            shown.append(" ")
    else:
        shown.append(page[at:])
    text = html.unescape("".join(shown))
    return Body(start, max(start, end), " ".join(text.split()))


def _after(page: str, tag: re.Match[str], name: str) -> int:
    """Where the page goes on after a tag or comment; its end if that does not end."""
    if tag[1]:
        close = page.find("-->", tag.end())
        return close + 3 if close >= 0 else len(page)
    rest = _REST.match(page, tag.end())
    if rest is None:
        return len(page)
    if name not in _RAW:
        return rest.end()
    raw = _RAW[name].search(page, rest.end())
    return raw.start() if raw else len(page)
