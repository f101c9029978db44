"""Jobs over processes: who dies is told from who was only near, and no run ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from benchmarks.options import Unavailable
from benchmarks.processes import spread

ROOT = Path(__file__).parents[1]


def marking(folder: Path) -> Callable[[str], str]:
    """Jobs that leave a mark in a folder when they begin, and may end their process."""
    return partial(marked, folder)


def marked(folder: Path, name: str) -> str:
    seen = folder / name
    again = seen.exists()
    seen.touch()
    if name == "always" or (name == "once" and not again):
        # The job beside it has begun.
        wait_for(lambda: len(list(folder.iterdir())) > 1)
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "beside":
        time.sleep(0 if again else 60)
    return f"{name} done"


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def refusing() -> Callable[[], None]:
    raise Unavailable("no weights")


def dying() -> Callable[[], None]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_only_the_job_that_dies_alone_is_given_up(tmp_path: Path) -> None:
    names = ("always", "beside", "after", "once", "last")
    found: dict[str, str] = {}
    jobs = {name: (name,) for name in names}
    lost = spread(partial(marking, tmp_path), jobs, 2, found.__setitem__)

    assert lost == {"always"}
    assert found == {name: f"{name} done" for name in names[1:]}


def threads() -> Callable[[], int]:
    """A job that counts the threads of numpy's linear algebra."""
    return counted


def counted() -> int:
    square = np.ones((400, 400))
    square @ square  # starts them
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2,
    reason="needs threads in /proc, and two cores",
)
def test_a_process_for_each_core_has_one_thread_for_linear_algebra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found: dict[str, int] = {}
    spread(threads, dict.fromkeys("abc", ()), 2, found.__setitem__)
    three = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as here; print(here.counted())"],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=True,
    )
    assert max(found.values()) < int(three.stdout), "as many as outside"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    ("make", "why"), [(refusing, "no weights"), (dying, "dies when it starts")]
)
def test_processes_that_cannot_start_are_told(
    make: Callable[[], Callable[[], None]], why: str
) -> None:
    with pytest.raises(Unavailable, match=why):
        spread(make, {"a": (), "b": ()}, 1, lambda name, result: None)

    assert not multiprocessing.active_children()


def test_an_interrupt_ends_all_at_once_and_only_one_speaks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import signal, sys, time
            from functools import partial
            from benchmarks.processes import spread

            # Who is started in the background by a shell ignores it.
            signal.signal(signal.SIGINT, signal.default_int_handler)

            def sleeping():
                return partial(sleep, 300)

            def sleep(seconds, name):
                print("began", flush=True)
                time.sleep(seconds)

            if __name__ == "__main__":
                try:
                    spread(sleeping, {n: (n,) for n in "abcd"}, 2, print)
                except KeyboardInterrupt:
                    sys.exit("stopped")
            """
        )
    )
    started = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stdout is not None
    assert [started.stdout.readline() for _ in "ab"] == ["began\n", "began\n"]
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = started.communicate(timeout=60)

    assert (started.returncode, errors) == (1, "stopped\n")
