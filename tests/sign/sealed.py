"""A script in a process that the kernel kills if it asks for a socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sign import tripwire

ROOT = Path(__file__).parents[2]


def without_sockets(script: str, *argv: object) -> subprocess.CompletedProcess[str]:
    """Run a script that calls `tripwire.forbid_sockets`; skips where it cannot."""
    done = subprocess.run(
        [sys.executable, script, *map(str, argv)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode == tripwire.UNSUPPORTED:
        pytest.skip("no seccomp here: sockets cannot be forbidden")
    return done
