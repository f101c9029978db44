"""Workers: the processes that look at content, and what becomes of those that fail.

A worker that does not answer in time, dies, or answers what cannot be read is killed
and replaced: no content can stop the service, and none is looked at twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watermark.serve.child import LENGTH, MEMORY_ERROR, STORE_ERROR
from watermark.serve.settings import MIB, Settings

START_SECONDS = 60.0  # reading keys and tokenizers on a slow machine
WAIT_SECONDS = 30.0  # for a worker
RETRY_SECONDS = 2.0  # after a worker could not be started
MAX_ANSWER = 16 * MIB
JOBS = 1000  # of one worker: keys that were made since are known by the next one
PEAK = 1024 * MIB  # a worker that held so much is replaced
KILL_SECONDS = 10.0  # of work, that a killed worker is billed as: another has to start

Bill = Callable[[float], None]  # is told how many seconds of a worker a job took

log = logging.getLogger("watermark.serve")


class Busy(Exception):
    """Every worker has something to do, and so many wait already."""


class Failed(Exception):
    """A look did not end well.

    Attributes:
        reason: ``too-slow``, ``too-large`` (memory), ``crashed``, ``store`` or ``bug``.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} {detail}".strip())
        self.reason = reason


class Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.jobs = 0
        self.peak = 0

    @classmethod
    async def start(
        cls, home: Path, passphrase: str | None, settings: Settings
    ) -> Worker:
        """Start a process and wait until it has read the home.

        Raises:
            Failed: it did not come up.
        """
        # One thread each: there are several. The passphrase goes through the pipe.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name != "WATERMARK_PASSPHRASE"
        }
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = "1"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "watermark.serve.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is the parent's
        )
        worker = cls(process)
        setup = {
            "home": str(home.absolute()),
            "passphrase": passphrase,
            "effort": settings.effort,
            "memory": settings.memory,
            "seconds": settings.seconds,
        }
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._send(json.dumps(setup).encode() + b"\n")
                if not (await worker._answer()).get("ready"):
                    raise Failed("crashed")
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            await worker.kill()
            raise Failed("crashed", repr(error)) from error
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.returncode is None

    async def ask(self, job: dict[str, Any], body: bytes) -> dict[str, Any]:
        """Have one job done.

        Raises:
            OSError, EOFError: the process is gone.
            ValueError: its answer cannot be read.
        """
        line = json.dumps({**job, "length": len(body)}).encode() + b"\n"
        await self._send(line, body)
        answer = await self._answer()
        self.jobs += 1
        self.peak = max(self.peak, int(answer.pop("peak", 0)))
        return answer

    async def kill(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        # Without this its pipes stay open until the garbage is collected.
        self.process._transport.close()  # type: ignore[attr-defined]

    async def _send(self, *parts: bytes) -> None:
        stream = self.process.stdin
        assert stream is not None
        for part in parts:
            stream.write(part)
        await stream.drain()

    async def _answer(self) -> dict[str, Any]:
        stream = self.process.stdout
        assert stream is not None
        (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
        if length > MAX_ANSWER:
            raise ValueError(f"an answer of {length} bytes")
        answer = json.loads(await stream.readexactly(length))
        if not isinstance(answer, dict):
            raise ValueError("an answer that is no object")
        return answer


class Workers:
    """All workers, and who waits for one."""

    def __init__(self, home: Path, passphrase: str | None, settings: Settings) -> None:
        self._home, self._passphrase, self._settings = home, passphrase, settings
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._all: set[Worker] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False
        self.waiting = 0
        self.killed = 0

    @property
    def alive(self) -> int:
        """How many processes are up."""
        return sum(worker.alive for worker in self._all)

    async def start(self) -> None:
        """Start every worker.

        Raises:
            Failed: the first did not come up.
        """
        self._add(await self._new())
        for _ in range(self._settings.workers - 1):
            self._replace()

    async def close(self) -> None:
        """End every worker."""
        self._closed = True
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(worker.kill() for worker in self._all))
        self._all.clear()

    async def ask(self, body: bytes, bill: Bill, **job: Any) -> dict[str, Any]:
        """Have one job done by the next free worker.

        Args:
            body: its bytes.
            bill: is called once if a worker did anything; waiting costs nothing.
            job: for `child`.

        Raises:
            Busy: too many wait.
            Failed: the content took too long or too much, or crashed the worker.
        """
        if self.waiting >= self._settings.queue:
            raise Busy
        worker = await self._take()
        clean, start = False, time.monotonic()
        try:
            async with asyncio.timeout(self._settings.seconds):
                answer = await worker.ask(job, body)
            error = answer.get("error")
            clean = error != MEMORY_ERROR
        except TimeoutError:
            raise Failed("too-slow") from None
        except (OSError, EOFError, ValueError) as problem:
            raise Failed("crashed", type(problem).__name__) from None
        finally:  # also where the caller went away
            bill(time.monotonic() - start + (0 if clean else KILL_SECONDS))
            fresh = worker.jobs < JOBS and worker.peak < PEAK
            if clean and fresh:
                self._idle.put_nowait(worker)
            else:
                self.killed += not clean
                self._all.discard(worker)
                self._replace(worker)
        if error == MEMORY_ERROR:
            raise Failed("too-large")
        if error is not None:
            # What it says may be a stranger's words, with line breaks in them.
            log.error("a look failed: %s %.400r", error, answer.get("detail", ""))
            raise Failed("store" if error == STORE_ERROR else "bug")
        return answer

    async def _take(self) -> Worker:
        """The next free worker that is alive."""
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    worker = await self._idle.get()
                    if worker.alive:
                        return worker
                    self._all.discard(worker)
                    self._replace(worker)
        except TimeoutError:
            raise Busy from None
        finally:
            self.waiting -= 1

    def _add(self, worker: Worker) -> None:
        self._all.add(worker)
        self._idle.put_nowait(worker)

    async def _new(self) -> Worker:
        return await Worker.start(self._home, self._passphrase, self._settings)

    def _replace(self, old: Worker | None = None) -> None:
        if self._closed and old is None:
            return
        task = asyncio.create_task(self._start(old))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, old: Worker | None) -> None:
        if old is not None:
            await old.kill()
        while not self._closed:
            try:
                self._add(await self._new())
                return
            except Failed as error:
                log.error("a worker did not start: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
