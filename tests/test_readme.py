"""The README's example runs as it stands, on the trained models of the checkout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = PYTHON.findall((ROOT / "README.md").read_text())


@pytest.mark.models
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)

    assert len(BLOCKS) == 2
    assert "MARKED" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "dress.png",
        "module.txt",
        "module.txt.c2pa",
    ]


@pytest.mark.models
def test_the_example_with_another_scheme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = PYTHON.findall((ROOT / "docs" / "foreign-latents.md").read_text())
    exec(compile(block, "foreign-latents.md", "exec"), {})
    *_, correlation, presence = capsys.readouterr().out.splitlines()

    assert float(correlation) < -20
    assert float(presence) < -20
