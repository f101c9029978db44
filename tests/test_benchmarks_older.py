"""Older versions of diffusers: what the table says, and that a failure is told."""

from __future__ import annotations

import sys
from pathlib import Path

import diffusers
import pytest
from benchmarks.diffusion import older, small
from benchmarks.diffusion.older import Found, environment


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_three_versions_are_older_than_the_one_installed() -> None:
    assert len(older.VERSIONS) == 3
    assert all(version(v) < version(diffusers.__version__) for v in older.VERSIONS)


@pytest.mark.parametrize(
    ("marked", "total", "reached"),
    [(84, 100, True), (83, 100, False), (212, 253, False), (213, 253, True), (0, 0, 0)],
)
def test_the_target_is_a_share(marked: int, total: int, reached: bool) -> None:
    assert Found("0.37.1", marked=marked, total=total).reached == reached


def test_an_environment_that_works_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older, "BESIDE", ("rich",))  # this environment has it
    folder = tmp_path / f"diffusers-{diffusers.__version__}" / "bin"
    folder.mkdir(parents=True)
    # Started by another name, Python looks for its packages beside that name.
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    assert environment(diffusers.__version__, tmp_path) == python
    with pytest.raises(RuntimeError, match="nothing_of_this_name"):
        older._runs(python, "-c", "import nothing_of_this_name")


def test_what_was_not_measured_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "diffusers-0.37.1").write_text("a file where a folder has to be")
    code = older.main(["--versions", "0.37.1", "--work", str(tmp_path)])

    assert code == 1
    assert "0.37.1" in capsys.readouterr().out


def test_a_preprocessor_has_another_name_in_older_transformers() -> None:
    name = "transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil"
    made = small.other(name)

    assert type(made).__name__.startswith("CLIPImageProcessor")


def test_a_component_gets_the_arguments_that_its_version_has() -> None:
    made = small.model(
        "diffusers", {"in_channels": 5, "not_yet": 1}, **{"class": "UNet2DModel"}
    )

    assert made.config.in_channels == 5
    assert "not_yet" not in made.config
