"""What `wm verify` says would help, where a picture was not decided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.running import wm

from watermark.api import Watermark

THOROUGH = "--effort thorough"
PIPELINE = "--pipeline DIR"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hints")
    w = Watermark.create(folder / "home", provider="Acme")
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    noise.save(folder / "noise.png")
    smooth = noise.resize((8, 8)).resize((320, 320))
    smooth.save(folder / "smooth.png")
    w.embed(folder / "smooth.png").save(folder / "marked.png")
    (folder / "text.txt").write_text("A text of some length that nobody marked. " * 9)
    w.home.ledger.close()
    return folder


def hints(home: Path, *argv: str) -> str:
    return wm("verify", home / argv[0], *argv[1:], "--home", home / "home").err


def test_what_was_not_looked_at_is_named(home: Path) -> None:
    said = hints(home, "noise.png")

    assert f"Would help: {PIPELINE}" in said
    assert f"Would help: {THOROUGH}, which also tries pictures that were cut" in said


def test_a_look_that_was_taken_is_not_asked_for(home: Path) -> None:
    said = hints(home, "noise.png", "--effort", "thorough")

    assert f"Would help: {PIPELINE}" in said
    assert THOROUGH not in said


@pytest.mark.parametrize("name", ["marked.png", "text.txt"])
def test_what_it_would_not_help_is_not_told(home: Path, name: str) -> None:
    assert THOROUGH not in hints(home, name)
