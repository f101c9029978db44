"""Tokenizers: one digest for both sides, and tokenising without torch or transformers.

The digest covers the table of ids, the merges, normaliser and pre-tokeniser: what
decides which ids a text becomes. Truncation, padding and templates do not enter.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal, MissingDependency, TokenizerMismatch

MAX_FILE = 64 << 20  # bytes; the largest tokenizer.json in use is about 35 MB


class TextTokenizer:
    """A text-to-ids function with a digest, from a `tokenizer.json`."""

    def __init__(self, definition: str, digest: str = "") -> None:
        """Read the JSON text of a `tokenizer.json`.

        Args:
            definition: the text.
            digest: what it was stored under, where it was; else it is computed.

        Raises:
            TokenizerMismatch: it is not one.
            MissingDependency: the package `tokenizers` is not installed.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingDependency("tokenizers", "detect") from error
        try:
            backend = Tokenizer.from_str(definition)
            # As this release writes it: older files say the same in other words.
            parsed = json.loads(backend.to_str())
        except Exception as error:  # tokenizers raises bare Exception
            raise TokenizerMismatch(
                "this is not a tokenizer.json that the package `tokenizers` can read: "
                f"{str(error)[:200]}"
            ) from error
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.definition = definition
        self.digest = digest or _digest(backend.get_vocab(), parsed)
        self.size = int(backend.get_vocab_size(with_added_tokens=True))

    @classmethod
    def of(cls, source: Any) -> Self:
        """From a folder, a `tokenizer.json`, or a transformers or tokenizers object.

        Raises:
            TokenizerMismatch: nothing of the kind, or a slow tokenizer, which has no
                definition of its own.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, str | Path):
            return cls(_read(Path(source)))
        backend = getattr(source, "backend_tokenizer", source)
        if not hasattr(backend, "to_str"):
            raise TokenizerMismatch(
                f"a {type(source).__name__} was given, expected a fast tokenizer "
                "(AutoTokenizer.from_pretrained), a folder or a tokenizer.json"
            )
        return cls(backend.to_str())

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens.

        Raises:
            InvalidSignal: a lone surrogate, which no tokenizer can read.
        """
        return list(self._encoded(text).ids)

    def places(self, text: str) -> NDArray[np.int32]:
        """The characters (start, end) that each token of `text` covers, int32 (n, 2).

        Raises:
            InvalidSignal: a lone surrogate, which no tokenizer can read.
        """
        return np.asarray(self._encoded(text).offsets, np.int32).reshape(-1, 2)

    def _encoded(self, text: str) -> Any:
        try:
            return self._backend.encode(text, add_special_tokens=False)
        except TypeError as error:
            raise InvalidSignal("the text holds a lone surrogate") from error

    def __repr__(self) -> str:
        return f"TextTokenizer({self.digest[:12]}, {self.size} tokens)"


def _read(path: Path) -> str:
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_FILE:
            raise TokenizerMismatch(f"{file} is larger than {MAX_FILE >> 20} MiB")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerMismatch(
            f"no tokenizer at {file}: expected a folder with a tokenizer.json"
        ) from error


def _digest(vocabulary: dict[str, int], parsed: dict[str, Any]) -> str:
    """Of the ids, the merges, and how a text is normalised and cut before them."""
    merges = (parsed.get("model") or {}).get("merges") or []
    parts = {
        "vocabulary": sorted((index, token) for token, index in vocabulary.items()),
        "merges": [m if isinstance(m, str) else " ".join(m) for m in merges],
        "normalizer": parsed.get("normalizer"),
        "pre_tokenizer": parsed.get("pre_tokenizer"),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(b"tokenizer/1\n" + text.encode()).hexdigest()
