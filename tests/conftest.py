"""What every test runs under: files in memory, one thread a process, keys by name.

Durable writes wait for the disk; in memory the same calls wait for nothing.
No test cuts the power. The models are tiny: more threads only wait for each other.

Whether a short mark is found is chance, and the key draws the lot. So that a test which
passed once passes always, each draws its own row of keys, made from the test's name.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from watermark.keys import key

MEMORY = Path("/dev/shm")
ROOM = 1 << 30  # bytes free there: the files of a whole run are some 20 MiB


def pytest_configure() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and roomy:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    draws = itertools.count()

    def token_bytes(count: int) -> bytes:
        if count != key.KEY_BYTES:  # salts and nonces
            return secrets.token_bytes(count)
        return hashlib.sha256(f"{item.nodeid} {next(draws)}".encode()).digest()

    vars(key)["secrets"] = SimpleNamespace(token_bytes=token_bytes)
