"""`wm` run in this process or one of its own, and a folder to run it in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from watermark.cli import main

SOURCES = Path(__file__).parents[2] / "src"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def wm(*argv: object) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stopped,
    ):
        main([str(argument) for argument in argv])
    return Ran(int(stopped.value.code or 0), out.getvalue(), err.getvalue())


def in_a_process(*argv: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "watermark", *map(str, argv)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def picture() -> Image.Image:
    return Image.linear_gradient("L").resize((64, 48)).convert("RGB")


def enter(folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(folder, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("WATERMARK_HOME", "home")
    monkeypatch.delenv("WATERMARK_PASSPHRASE", raising=False)
    return copy
