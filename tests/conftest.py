"""What every test runs under: files in memory, and one thread a process.

Durable writes wait for the disk; in memory the same calls wait for nothing.
No test cuts the power. The models are tiny: more threads only wait for each other.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 1 << 30  # bytes free there: the files of a whole run are some 20 MiB


def pytest_configure() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and roomy:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
