"""`wm init`: a home, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.running import wm

from watermark.cli.terminal import Code
from watermark.home import Home
from watermark.keys import KeyRing


def test_init_makes_a_home_and_says_that_its_certificate_is_for_development(
    here: Path,
) -> None:
    ran = wm("init", "other", "--provider", "Acme")

    assert (ran.code, ran.err) == (Code.DONE, "")
    home = Home.open(Path("other"))
    assert home.ring.newest.key.kid in ran.out
    assert "strangers will see `valid`, not `trusted`" in ran.out
    assert f"export WATERMARK_HOME={here / 'other'}" in ran.out


def test_init_uses_the_default_path_and_never_overwrites(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", "fresh")

    first, second = (wm("init", "--provider", "Acme") for _ in range(2))

    assert first.code == Code.DONE
    assert Home.open(Path("fresh")).provider == "Acme"
    assert (second.code, second.out) == (Code.CONFIGURATION, "")
    assert "a home is never overwritten" in second.err


def test_a_passphrase_comes_from_a_file_or_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pass").write_text("correct horse\n")
    wrong = wm("init", "locked", "--provider", "Acme", "--passphrase-file", "none")
    made = wm("init", "locked", "--provider", "Acme", "--passphrase-file", "pass")

    without = wm("keys", "list", "--home", "locked")
    monkeypatch.setenv("WATERMARK_PASSPHRASE", "correct horse")
    rotated = wm("keys", "rotate", "--home", "locked")

    assert wrong.code == without.code == Code.CONFIGURATION
    assert "a passphrase is needed" in without.err
    assert made.code == rotated.code == Code.DONE
    assert "keys are encrypted" in made.out
    assert len(KeyRing.load(Path("locked/keys"), passphrase="correct horse")) == 2
    assert "correct horse" not in "".join([made.out, made.err, rotated.out])
