"""Explicit marks in text, and the words of all explicit marks.

GB 45438-2025, 5.1: a text says at its start, its end or in between that it is
generated, in words that hold both ``人工智能`` or ``AI`` and ``生成`` or ``合成``.
"""

from __future__ import annotations

import re

from watermark.errors import LabelError

CLAUSE = "GB 45438-2025, 5.1"
WORDING = "AI生成"
WINDOW = 64  # characters at either end in which readers look for it
SUFFIXES = ("", ".txt", ".text")  # plain text that a line at either end does not break

# AI is a word of its own: not the one in "chair".
_AI = re.compile(r"人工智能|(?<![0-9A-Za-z])AI(?![0-9A-Za-z])")
# A manifest can stand at the end of a text as a row of these (C2PA 2.4, A.8).
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# One way to read each line: hostile texts cannot make it try the others.
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(?:[^\n]*\n)*?---[ \t]*(?:\r?\n|\Z)")
_MADE = re.compile(r"生成|合成")


def says_generated(said: str) -> bool:
    """Whether words say, as GB 45438-2025 wants it, that something is generated.

    >>> says_generated("AI生成"), says_generated("detailed chair 生成")
    (True, False)
    """
    return _AI.search(said) is not None and _MADE.search(said) is not None


def shown(text: str) -> str:
    """What a reader sees of a text: no front matter, no variation selectors."""
    return _SELECTORS.sub("", text[_front_matter(text) :]).strip()


def is_marked(text: str) -> bool:
    """Whether a text says so within the first or last `WINDOW` characters shown."""
    text = shown(text)
    return says_generated(text[:WINDOW]) or says_generated(text[-WINDOW:])


def says(said: str, wording: str) -> bool:
    """Whether these very words stand within `WINDOW` characters of either end.

    >>> says("MAIL", "AI"), says("AI: a picture", "AI")
    (False, True)
    """
    words = re.compile(rf"(?<![0-9A-Za-z]){re.escape(wording)}(?![0-9A-Za-z])")
    return bool(words.search(said[:WINDOW]) or words.search(said[-WINDOW:]))


def is_ours(text: str, wording: str) -> bool:
    """Whether `mark` with these words left its line at both ends."""
    lines = shown(text).splitlines()
    return len(lines) > 1 and lines[0].strip() == lines[-1].strip() == wording


def mark(text: str, wording: str = WORDING) -> str:
    """`text` with a line that says so before it, and one after it.

    Markdown's front matter stays the first thing in the file.

    Raises:
        LabelError: `wording` is empty or more than one line.
    """
    check_wording(wording)
    start = _front_matter(text)
    head, body = text[:start], text[start:]
    end = "\n" if body.endswith("\n") else ""
    return f"{head}{wording}\n\n{body.rstrip()}\n\n{wording}{end}"


def ui_hint(wording: str, *, provider: str, model: str = "", filing: str = "") -> str:
    """A line for the interface that shows the output, near it and all the time.

    It takes the place of marks in what cannot carry one, and with the filing number it
    is the notice on the product's page (CAC, 2024-04).

    Args:
        wording: of the explicit mark.
        provider: who runs the model.
        model: its name as filed.
        filing: its filing number.
    """
    of = f" {model}" if model else ""
    number = f" ({filing})" if filing else ""
    return f"{wording} · {provider}{of}{number}"


def check_wording(wording: str) -> None:
    """Return if these are words on one line, and no markup.

    Raises:
        LabelError: they are not.
    """
    if not wording.strip() or not wording.isprintable() or set(wording) & set("<>&"):
        raise LabelError(
            CLAUSE, f"found the wording {wording!r:.60}, expected words on one line"
        )


def _front_matter(text: str) -> int:
    """Where the text begins, after a block of front matter."""
    found = _FRONT_MATTER.match(text)
    return found.end() if found else 0
