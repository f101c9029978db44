"""What people wrote: prose, code, licences, tables, boilerplate, twelve languages.

All of it lies on every machine that runs this: in the standard library, in the licences
of packages that the benchmarks need, in Django's message catalogues. Nothing is
downloaded.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import struct
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Unavailable
from watermark.errors import TokenizerMismatch
from watermark.tokenizer import TextTokenizer

Ids = NDArray[np.uint32]

CHARACTERS = 300_000  # of one kind, at most
CODE = (
    *("argparse.py", "typing.py", "statistics.py", "ssl.py", "turtle.py"),
    *("asyncio/base_events.py", "tarfile.py", "email/message.py"),
    *("unittest/mock.py", "codecs.py", "decimal.py"),
)
TABLES = (
    *("encodings/cp1252.py", "encodings/koi8_r.py", "encodings/mac_greek.py"),
    *("html/entities.py", "stringprep.py"),
)
LICENSED = ("numpy", "scipy", "torch", "transformers", "matplotlib")
# In nine scripts, from Latin and Greek to Devanagari, Han and Hangul.
LANGUAGES = (
    *("ar", "de", "el", "es", "fr", "he", "hi", "ja", "ko", "ru", "tr", "zh_Hans"),
)
REPEATED = 4_000  # characters that a paragraph of boilerplate is repeated to


def texts() -> dict[str, str]:
    """Texts by kind; languages by their code, as far as Django is installed."""
    licences = list(_licences())
    paragraphs = [p for text in licences for p in text.split("\n\n") if len(p) > 100]
    found = {
        "prose": topics.values(),
        "code": _library(CODE),
        "licences": licences,
        "tables": _library(TABLES),
        "boilerplate": ((p + "\n") * (REPEATED // len(p) + 1) for p in paragraphs),
        **{name: _catalogue(name) for name in LANGUAGES},
    }
    joined = {name: "\n\n".join(found[name])[:CHARACTERS] for name in found}
    return {name: text for name, text in joined.items() if text}


def _library(names: Iterable[str]) -> Iterator[str]:
    """Files of the standard library."""
    for name in names:
        path = Path(sysconfig.get_path("stdlib")) / name
        if path.exists():
            yield path.read_text("utf-8", "replace")


def _licences() -> Iterator[str]:
    """Python's own, and those of some packages, as far as they are installed."""
    yield from _library(["LICENSE.txt"])
    for name in LICENSED:
        try:
            files = importlib.metadata.files(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.stem in ("LICENSE", "COPYING") and file.suffix in ("", ".txt"):
                yield file.read_text(encoding="utf-8")


def _catalogue(language: str) -> Iterator[str]:
    """Django's own messages in one language, in the order of the English ones."""
    spec = importlib.util.find_spec("django")
    for root in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(root).rglob(f"{language}/LC_MESSAGES/django.mo")):
            yield from messages(path.read_bytes())


def messages(catalogue: bytes) -> Iterator[str]:
    """The translations in a GNU message catalogue, without its header.

    Format: a count, and where the two tables of (length, offset) are (gettext manual,
    "The Format of GNU MO Files"); the plural forms of one message lie between NULs.
    """
    count, _, table = struct.unpack_from("<3I", catalogue, 8)
    for i in range(1, count):
        length, offset = struct.unpack_from("<2I", catalogue, table + 8 * i)
        text = catalogue[offset : offset + length].decode("utf-8")
        yield text.replace("\0", "\n")


def reader(folder: Path) -> TextTokenizer:
    """The tokenizer of a model; its weights do not matter here.

    Raises:
        Unavailable: there is none.
    """
    try:
        return TextTokenizer.of(folder)
    except TokenizerMismatch as error:
        raise Unavailable(f"no tokenizer in {folder.name}/") from error


@dataclass(frozen=True, slots=True)
class Corpus:
    """Token ids of every kind of text."""

    ids: Mapping[str, Ids]

    @classmethod
    def read(cls, tokenizer: TextTokenizer, found: Mapping[str, str]) -> Corpus:
        """`found` in tokens."""
        return cls(
            {k: np.asarray(tokenizer.encode(t), np.uint32) for k, t in found.items()}
        )

    def draw(
        self, lengths: tuple[int, ...], generator: np.random.Generator, count: int
    ) -> Iterator[tuple[str, Ids]]:
        """`count` segments: any kind, any length, any place, all equally likely."""
        kinds = list(self.ids)
        kind = generator.integers(len(kinds), size=count)
        length = generator.choice(lengths, size=count)
        place = generator.random(count)
        for k, n, share in zip(kind.tolist(), length.tolist(), place, strict=True):
            ids = self.ids[kinds[k]]
            start = int(share * max(1, len(ids) - n + 1))
            yield kinds[k], ids[start : start + n]

    def documents(self, length: int, most: int) -> Iterator[tuple[str, Ids]]:
        """Disjoint segments from the beginning of each kind, `most` of each."""
        for kind, ids in self.ids.items():
            for start in range(0, min(len(ids) - length + 1, most * length), length):
                yield f"{kind} {start}", ids[start : start + length]


def library(folder: Path) -> list[Ids]:
    """Long texts of the standard library, prose and code, in a model's tokens."""
    found = texts()
    some = {kind: found[kind] for kind in ("prose", "code")}
    return list(Corpus.read(reader(folder), some).ids.values())
