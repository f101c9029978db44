"""`wm embed --regime`: refused with the clause, or every layer is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.labelling.outputs import labels_in, picture
from tests.pictures import png

from watermark.api import Watermark
from watermark.cli import main


def test_the_command_embeds_under_a_law(
    w: Watermark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png(picture(9)))

    def run(*arguments: str) -> int:
        files = ["embed", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png")]
        here = ["--home", str(w.home.path), "--force"]
        with pytest.raises(SystemExit) as stopped:
            main([*files, *here, *arguments])
        return int(stopped.value.code or 0)

    laws = ["--regime", "cn", "--regime", "eu"]
    assert run("--regime", "xx") == 2
    assert run("--explicit", "yes") == 2
    assert run(*laws) == 3
    assert "nothing says that a model made this" in capsys.readouterr().err
    assert run(*laws, "--source", "trained") == 3
    assert "wm stamp use" in capsys.readouterr().err
    assert run(*laws, "--source", "trained", "--timestamp", "deferred") == 0
    told = capsys.readouterr().out
    assert "GB 45438-2025, 6.1" in told
    assert "AI生成 · Acme" in told
    assert labels_in((tmp_path / "b.png").read_bytes())


def test_the_command_tells_of_such_a_name_before_anything_is_published(
    w: Watermark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("Hello")
    size = w.home.ledger.size
    files = ["embed", str(tmp_path / "a.txt"), "-o", str(tmp_path / "b.md")]
    with pytest.raises(SystemExit) as stopped:
        main([*files, "--home", str(w.home.path), "--regime", "cn"])

    assert stopped.value.code == 3
    assert "same suffix" in capsys.readouterr().err
    assert w.home.ledger.size == size
