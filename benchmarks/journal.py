"""Journal: results of long work, one line each, so that a broken run goes on.

A journal is known by what decides its rows: the code, the model's weights, the
parameters and the seed. Anything else changes the file, so rows never mix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import watermark
from watermark.kernels import BACKEND

ROOT = Path(__file__).parents[1]


def code_version(modules: Iterable[ModuleType], *benchmark: str) -> str:
    """The package's version, and a digest of the files that decide the results.

    Args:
        modules: of the package; a package counts with all its files.
        benchmark: files of this folder.
    """
    digest = hashlib.sha256(BACKEND.encode())
    for path in _files(modules, benchmark):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{watermark.__version__}+{digest.hexdigest()[:12]}"


def _files(modules: Iterable[ModuleType], benchmark: Sequence[str]) -> list[Path]:
    files = [Path(__file__).parent / name for name in benchmark]
    for module in modules:
        path = Path(str(module.__file__))
        folder = path.name == "__init__.py"
        files += sorted(path.parent.glob("*.py")) if folder else [path]
    return files


class Journal:
    """Rows by id, appended to a file as they are made.

    Attributes:
        rows: everything that is on file.
        added: how many rows this run made.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]) -> None:
        """Open the journal of `identity` in `folder`, or start one."""
        text = json.dumps(dict(identity), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = folder / f"{name}-{key}.jsonl"
        self.rows: dict[str, dict[str, Any]] = {}
        self.added = 0
        folder.mkdir(parents=True, exist_ok=True)
        whole = self._read()
        self._file = self.path.open("a", encoding="utf-8")
        if not whole:  # the last run was stopped in the middle of a line
            self._file.write("\n")
        if not self.rows and self._file.tell() == 0:
            self._write({"identity": dict(identity)})

    def _read(self) -> bool:
        if not self.path.exists():
            return True
        text = self.path.read_text(encoding="utf-8")
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "id" in row:
                self.rows[row.pop("id")] = row
        return not text or text.endswith("\n")

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` that are not on file."""
        return [name for name in ids if name not in self.rows]

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Write one row."""
        self._write({"id": name, **row})
        self.rows[name] = dict(row)
        self.added += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
