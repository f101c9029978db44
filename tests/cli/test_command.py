"""`wm` itself: what it prints where, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import SOURCES, wm

from watermark.cli.terminal import Code
from watermark.home import Home


def test_help_is_light_and_lists_the_exit_codes() -> None:
    script = (
        "import sys, watermark.cli\n"
        "try: watermark.cli.main(['verify', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sqlalchemy', 'numpy', 'c2pa', 'PIL', 'cryptography'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    for code in Code:
        assert f"\n{code:>6}  " in ran.stdout


def test_version_says_which_this_is() -> None:
    ran = wm("--version")

    assert ran.code == 0
    assert ran.out.startswith("wm 0.")


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["verify"],
        ["verify", "a", "--text", "b"],
        ["verify", "-", "-"],
        ["verify", "a", "--json", "--jsonl"],
        ["verify", "a", "--fail-on", "human"],
        ["embed", "a"],
        ["ledger", "find"],
        ["ledger", "find", "--sha256", "zz"],
        ["ledger", "find", "--mark-id", "0"],
        ["ledger", "list", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(argv: list[str], here: Path) -> None:
    ran = wm(*argv)

    assert (ran.code, ran.out) == (Code.USAGE, "") or argv == ["verify"]
    assert ran.code == Code.USAGE


def test_a_traceback_is_shown_only_for_debug(here: Path) -> None:
    quiet, loud = wm("keys", "revoke", "k0"), wm("--debug", "keys", "revoke", "k0")

    assert quiet.code == loud.code == Code.CONFIGURATION
    assert quiet.err.startswith("error: no key 'k0' in this ring")
    assert quiet.err.count("\n") == 1
    assert "Traceback" in loud.err


def test_what_nobody_foresaw_is_one_line_and_1(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(Home, "open", broken)

    ran = wm("keys", "list")

    assert ran.code == Code.BUG
    assert ran.err.startswith("error: ZeroDivisionError: unforeseen\n")
    assert "Traceback" not in ran.err


def test_the_demo_says_which_models_it_lacks(here: Path) -> None:
    ran = wm("demo", "--models", "none")

    assert ran.code == Code.CONFIGURATION
    assert "no model at none" in ran.err
