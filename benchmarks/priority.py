"""Wall times on a busy machine: what waits for the disk would wait for others too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def before_others() -> Iterator[bool]:
    """Within, this thread and those it starts run before every other program.

    A program that slept until the disk was done gets a processor within microseconds,
    and not at the next tick of the scheduler. Gives False, and changes nothing, where
    the system does not allow it: Linux does to root, and with CAP_SYS_NICE.
    """
    try:
        policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, policy, param)
