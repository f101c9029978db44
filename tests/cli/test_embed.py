"""`wm embed`: what it publishes, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cli.running import wm

from watermark.cli.terminal import Code


def test_embed_warns_on_stderr_where_there_is_no_mark(here: Path) -> None:
    ran = wm("embed", "photo.png", "-o", "new/signed.png")

    assert ran.code == Code.DONE
    assert ran.err.startswith("warning: photo.png: this image carries no mark")
    assert ran.err.count("\n") == 1
    assert Path("new/signed.png").exists()


def test_embed_of_several_files_fills_a_folder_and_tells_what_failed(
    here: Path,
) -> None:
    Path("noise.bin").write_bytes(b"\0\1\2")

    ran = wm("embed", "photo.png", "noise.bin", "none.png", "letter.txt", "-o", "out")

    assert ran.code == Code.UNREADABLE
    assert {p.name for p in Path("out").iterdir()} >= {"photo.png", "letter.txt"}
    assert "error: noise.bin: this asset cannot be signed" in ran.err
    assert "error: none.png: No such file or directory" in ran.err
    assert wm("verify", "out/photo.png", "out/letter.txt").out.count("SIGNED") == 2


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("photo.png", Code.USAGE, "is an input"),
        ("./home/../photo.png", Code.USAGE, "is an input"),
        ("signed-photo.png", Code.USAGE, "exists: pass --force"),
        ("home", Code.USAGE, "is a folder"),
        ("new.jpg", Code.UNREADABLE, "asks for image/jpeg"),
        ("new.bmp", Code.UNREADABLE, "found suffix '.bmp'"),
    ],
)
def test_embed_refuses_and_publishes_nothing(
    here: Path, out: str, code: Code, message: str
) -> None:
    before = {p.name: p.read_bytes() for p in here.glob("*.*")}
    size = wm("ledger", "checkpoint", "--json").json["size"]

    ran = wm("embed", "photo.png", "-o", out)

    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert {p.name: p.read_bytes() for p in here.glob("*.*")} == before
    assert wm("ledger", "checkpoint", "--json").json["size"] == size


def test_embed_replaces_only_by_force(here: Path) -> None:
    assert wm("embed", "photo.png", "-o", "signed-photo.png", "--force").code == 0
    refused = wm("embed", "letter.txt", "-o", "other.md")
    shutil.rmtree("home/credential")

    assert refused.code == Code.DONE
    gone = wm("embed", "photo.png", "-o", "third.png")
    assert gone.code == Code.CONFIGURATION
    assert not Path("third.png").exists()


def test_embed_can_demand_a_mark(here: Path) -> None:
    ran = wm("embed", "photo.png", "-o", "new.png", "--require-mark")

    assert ran.code == Code.UNREADABLE
    assert "error: photo.png: this image carries no mark" in ran.err
    assert not Path("new.png").exists()
