"""HTML that cannot be injected into: every text and every attribute is escaped here.

>>> str(tag("p", "1 < 2", tag("b", "no script"), class_="x"))
'<p class="x">1 &lt; 2<b>no script</b></p>'
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup:
    """A piece of HTML that is well-formed."""

    __slots__ = ("_html",)

    def __init__(self, html: str) -> None:
        """Take HTML as it is: only `tag` and `join` call this."""
        self._html = html

    def __str__(self) -> str:
        return self._html


Content = Markup | str | None


def tag(name: str, /, *content: Content, **attributes: str | bool | None) -> Markup:
    """One element. A text is escaped; an attribute that is None or False is left out.

    Args:
        name: of the element.
        content: texts and elements in it.
        attributes: ``class_`` and ``for_`` without the underscore at the end, others
            with hyphens for underscores.
    """
    parts = [name]
    for key, value in attributes.items():
        plain = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(plain)
        elif isinstance(value, str):
            parts.append(f'{plain}="{escape(value)}"')
    start = f"<{' '.join(parts)}>"
    return Markup(start if name in VOID else f"{start}{join(content)}</{name}>")


def join(content: Iterable[Content]) -> Markup:
    """Elements and texts, one after the other."""
    return Markup("".join(map(_html, content)))


def page(*content: Content) -> str:
    """A whole document in English."""
    return f"<!doctype html>\n{tag('html', *content, lang='en')}\n"


def visible(text: str) -> str:
    """A stranger's text with nothing that hides, reorders or breaks lines.

    >>> visible("photo" + chr(0x202e) + "gnp.exe")
    'photo\u2423gnp.exe'
    """
    return "".join(
        c if unicodedata.category(c)[0] not in "CZ" or c == " " else "␣" for c in text
    )


def _html(content: Content) -> str:
    if content is None:
        return ""
    return str(content) if isinstance(content, Markup) else escape(content)
