"""Processes: jobs spread over the cores, any of which may end its process.

A segmentation fault, or the kernel when memory is short, takes a process along, and
with it what else was under way. All of that is done again, one job at a time: then it
is known whose process dies, and only that job is given up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from benchmarks.options import Unavailable

Job = Callable[..., Any]
Jobs = Mapping[str, tuple[Any, ...]]  # arguments, by name
Keep = Callable[[str, Any], None]
# Of the libraries below numpy and torch, which take all cores for themselves.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def spread(make: Callable[[], Job], jobs: Jobs, cores: int, keep: Keep) -> set[str]:
    """Do all jobs.

    Args:
        make: makes what does a job, once in each process; it goes there by its name.
        jobs: what is done, in this order.
        cores: how many processes.
        keep: is given each result as it comes.

    Returns:
        Jobs whose process died twice, the second time when they were alone.

    Raises:
        Unavailable: `make` raised it, or a process dies when it starts.
    """
    left, suspects, lost = dict(jobs), set[str](), set[str]()

    def done(name: str, result: Any) -> None:
        del left[name]
        keep(name, result)

    while left:
        alone = {name: job for name, job in left.items() if name in suspects}
        few = 1 if alone else min(cores, len(left))
        with _one_thread():
            died = _pooled(make, alone or left, few, done)
        for name in suspects & died:
            del left[name]
        lost |= suspects & died
        suspects = (suspects | died) & set(left)
    return lost


def _pooled(make: Callable[[], Job], jobs: Jobs, cores: int, keep: Keep) -> set[str]:
    """Until all are done, or a process dies: returns what was under way then."""
    others = multiprocessing.active_children()
    # Forked processes would share the locks of this one's threads.
    pool = ProcessPoolExecutor(
        cores,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(make,),
    )
    waiting, under_way = [*jobs.items()][::-1], set[str]()
    running: dict[Future[Any], str] = {}
    try:
        with _deaf():
            ready = pool.submit(_check)
        try:
            ready.result()
        except BrokenProcessPool:
            raise Unavailable("a process that measures dies when it starts") from None
        while waiting or running:
            while waiting and len(running) < cores:  # more would be more suspects
                name, arguments = waiting.pop()
                under_way.add(name)
                running[pool.submit(_do, *arguments)] = name
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(one)
                keep(name, one.result())
                under_way.remove(name)
    except BrokenProcessPool:
        # The pool ends its own, but one that it began to start meanwhile, and then it
        # waits for that for ever.
        _end(others)
        return under_way
    except BaseException:  # what is under way may take minutes
        _end(others)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return under_way  # nothing


def _end(others: Iterable[BaseProcess]) -> None:
    """End all processes of this one but those."""
    for process in set(multiprocessing.active_children()).difference(others):
        process.terminate()


@contextmanager
def _deaf() -> Iterator[None]:
    """Within: who is started hears no interrupt. It is for this process to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within: who is started has one thread, as there is a process for each core.

    With more, those of one process wait for cores that the other ones have: what takes
    14 seconds took 36.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_job: Job | None = None
_unmade = "a process was not started by `spread`"


def _start(make: Callable[[], Job]) -> None:
    global _job, _unmade
    try:
        _job = make()
    except Unavailable as reason:
        _unmade = str(reason)


def _check() -> None:
    if _job is None:
        raise Unavailable(_unmade)


def _do(*arguments: Any) -> Any:
    _check()
    assert _job is not None
    return _job(*arguments)
