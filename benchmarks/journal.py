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
from watermark import kernels, keys, prf
from watermark.kernels import BACKEND

HERE = Path(__file__).parent
KERNELS = HERE.parent / "kernels"
BASE = (kernels, keys, prf)  # of the package: everything leans on them


def code_version(modules: Iterable[ModuleType], *benchmark: str) -> str:
    """The package's version, and a digest of the files that decide the results.

    Whoever names a module of the package has its keys, its keyed functions and the
    kernels counted, too. Kernels count by their sources; where those are not at hand,
    by what was built from them.

    Args:
        modules: of the package; a package counts with all its files, at any depth.
        benchmark: files of this folder.
    """
    digest = hashlib.sha256(BACKEND.encode())
    for name, path in sorted(_files(modules, benchmark).items()):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return f"{watermark.__version__}+{digest.hexdigest()[:12]}"


def _files(modules: Iterable[ModuleType], benchmark: Sequence[str]) -> dict[str, Path]:
    """By a name that does not depend on where the checkout lies."""
    files = {}
    for given in benchmark:
        path = HERE / given
        name = path.relative_to(HERE) if path.is_relative_to(HERE) else path.name
        files[f"benchmarks/{name}"] = path
    named = list(modules)
    for module in (*named, *(BASE if named else ())):
        path, name = Path(str(module.__file__)), module.__name__.replace(".", "/")
        if path.name == "__init__.py":
            files |= {
                f"{name}/{one.relative_to(path.parent)}": one
                for one in path.parent.rglob("*.py")
            }
        else:
            files[f"{name}.py"] = path
    if named:
        files |= {f"kernels/{path.name}": path for path in _kernels()}
    return files


def _kernels() -> list[Path]:
    if BACKEND == "reference":
        return []  # what runs is among the package's own files
    sources = [p for end in ("pyx", "pxd", "h") for p in KERNELS.glob(f"*.{end}")]
    built = Path(str(kernels.__file__)).parent
    return sources or [*built.glob("*.so"), *built.glob("*.pyd")]


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
