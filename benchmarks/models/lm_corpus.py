"""The corpus of the small language model: what its own interpreter carries.

The standard library, `pydoc_data.topics`, docstrings of the packages that training
needs, licence texts. Nothing is downloaded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

PACKAGES = {  # all needed by this script, if only through torch
    "matplotlib": "Matplotlib licence (PSF-based)",
    "networkx": "BSD-3-Clause",
    "numpy": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "torch": "BSD-3-Clause",
    "transformers": "Apache-2.0",
}
SKIP = {"test", "tests", "testing", "idle_test", "site-packages", "lib2to3"}


class Document(NamedTuple):
    """One file's worth of text; `source` says whose licence covers it."""

    source: str
    name: str
    kind: str  # "prose" or "code"
    text: str


def unwrap(paragraph: str) -> str:
    """Join lines that were broken only to fit a column."""
    lines: list[str] = []
    last = ""
    for line in paragraph.split("\n"):
        body = line.lstrip()
        same = len(line) - len(body) == len(last) - len(last.lstrip())
        if lines and same and len(last) > 50 and re.match(r"[\w(`'\"]", body):
            lines[-1] += " " + body
        else:
            lines.append(line)
        last = line
    return "\n".join(lines)


def is_prose(paragraph: str) -> bool:
    """Whether letters and spaces dominate, with no doctest and no ruled heading."""
    plain = sum(c.isalpha() or c in " \n" for c in paragraph)
    words = len(re.findall(r"[A-Za-z]{2,}", paragraph))
    markup = re.search(r">>>|^\s*[-=~*^+|]{3,}\s*$", paragraph, re.MULTILINE)
    enough = plain >= 0.85 * len(paragraph) and words >= 6
    return enough and paragraph.isascii() and not markup


def prose(pieces: Iterable[str], seen: set[str]) -> str:
    """Paragraphs of running text, each kept only the first time it is met."""
    kept = []
    for paragraph in re.split(r"\n\s*\n", "\n\n".join(pieces).expandtabs()):
        paragraph = re.sub(r"[ \f\r]+$", "", paragraph, flags=re.MULTILINE)
        key = " ".join(paragraph.split())
        if key not in seen and is_prose(paragraph):
            seen.add(key)
            kept.append(unwrap(paragraph))
    return "\n\n".join(kept)


def python_prose(source: str) -> Iterator[str]:
    """Docstrings of a module, then its comments of two lines or more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Old sources hold invalid escapes.
        tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds):
            yield ast.get_docstring(node) or ""
    for block in re.findall(r"(?:^[ \t]*# .*\n){2,}", source, re.MULTILINE):
        yield re.sub(r"^[ \t]*# ?", "", block, flags=re.MULTILINE)


def paths(extra: Path | None) -> Iterator[tuple[str, str, Path]]:
    """Source, name and path of every file that the corpus is made from."""
    stdlib, site = (Path(sysconfig.get_paths()[k]) for k in ("stdlib", "purelib"))
    roots = {"Python": stdlib, **{package: site / package for package in PACKAGES}}
    if extra:
        roots["extra data"] = extra
    for source, root in roots.items():
        for path in sorted(root.rglob("*")):
            inner = path.relative_to(root)
            if path.suffix in (".py", ".txt", ".rst") and not SKIP & set(inner.parts):
                yield source, f"{source}/{inner.as_posix()}", path
    licences = [*stdlib.glob("LICENSE*"), *site.glob("*.dist-info/**/*LICENSE*")]
    common = Path("/usr/share/common-licenses").glob("*")
    for path in sorted([*licences, *(p for p in common if not p.is_symlink())]):
        if path.is_file():
            yield "licence texts", f"{path.parent.name}/{path.name}", path


def collect(extra: Path | None) -> list[Document]:
    """Every document: prose from all sources, code from the standard library only."""
    seen: set[str] = set()
    found = [
        Document("Python", f"topics/{name}", "prose", prose([topics[name]], seen))
        for name in sorted(topics)
    ]
    for source, name, path in paths(extra):
        text = path.read_text("utf8", "replace")[:200_000]
        pieces = [text]
        if path.suffix == ".py":
            try:
                pieces = list(python_prose(text))
            except (SyntaxError, ValueError):
                continue
            if source in ("Python", "extra data") and text.isascii():
                found.append(Document(source, name, "code", text.expandtabs()))
        found.append(Document(source, name, "prose", prose(pieces, seen)))
    return [document for document in found if len(document.text) > 200]


def describe(documents: list[Document]) -> dict[str, Any]:
    """Digest of the corpus; licence and characters of each source."""
    licences = {"Python": f"{platform.python_version()}, PSF-2.0"}
    for name, licence in PACKAGES.items():
        licences[name] = f"{importlib.metadata.version(name)}, {licence}"
    digest = hashlib.sha256()
    sources: dict[str, dict[str, Any]] = {}
    for source, name, kind, text in documents:
        digest.update("\0".join((source, name, kind, text)).encode())
        licence = licences.get(source, "each text under its own terms")
        part = sources.setdefault(source, {"licence": licence, "prose": 0, "code": 0})
        part[kind] += len(text)
    return {"sha256": digest.hexdigest(), "sources": sources}
