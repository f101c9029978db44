"""Child: a script run by another Python, asked and answered in lines of JSON.

Toolkits that pin old versions of other packages live in environments of their own.
Nothing is unpickled: what comes back is JSON, or a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

SECONDS = 600.0  # that one answer may take
LIMIT = 1 << 26  # characters of one answer
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}


class Failed(Exception):
    """The child did not answer, or answered that it cannot."""


class Child:
    """Started with the first question, and again after it died.

    Args:
        python: the other interpreter.
        scripts: what it runs, and that one's arguments; isolated from the packages and
            folders of this environment.
        first: the question that every start begins with.
        seconds: that one answer may take.
    """

    def __init__(
        self,
        python: Path,
        scripts: Sequence[Path],
        first: Mapping[str, Any],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self.command = [str(python), "-I", "-u", *map(str, scripts)]
        self.first, self.seconds = first, seconds
        self.opened: dict[str, Any] = {}  # the answer to the first question
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> dict[str, Any]:
        """The answer to the first question.

        Raises:
            Failed: it cannot be started, or answers that it cannot.
        """
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env={**os.environ, **QUIET},
                    encoding="utf-8",
                )
            except OSError as error:
                self._errors.close()
                raise Failed(f"cannot start {self.command[0]}: {error}") from None
            self._lines: queue.Queue[str] = queue.Queue()
            reader = threading.Thread(
                target=_read, args=(self._process.stdout, self._lines), daemon=True
            )
            reader.start()
            self._kill = weakref.finalize(self, _end, self._process, self._errors)
            self.opened = self._asked(self.first)
        return self.opened

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer.

        Raises:
            Failed: it died, took too long, or says that it cannot.
        """
        self.start()
        return self._asked(question)

    def stop(self) -> None:
        """End it; the next question starts another."""
        if self._process is not None:
            self._kill()
            self._process = None

    def _asked(self, question: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None:
            raise Failed("was not started")
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=self.seconds)
        except queue.Empty:
            self.stop()
            raise Failed(f"took longer than {self.seconds:g} s") from None
        except OSError:
            line = ""
        if not line:
            words = self._last_words()
            self.stop()
            raise Failed(f"died: {words}")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            self.stop()
            raise Failed(f"answered what is no JSON object: {line[:80]!r}")
        if "error" in answer:
            raise Failed(str(answer["error"]))
        return answer

    def _last_words(self) -> str:
        """The last line that it wrote to stderr."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else "it said nothing"


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Every line, and "" at the end."""
    with stream:
        while True:
            try:
                line = stream.readline(LIMIT)
            except (OSError, ValueError):  # no UTF-8
                line = ""
            lines.put(line)
            if not line:
                return


def _end(process: subprocess.Popen[str], errors: IO[str]) -> None:
    process.kill()
    process.wait()
    errors.close()
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # what was still to be written
            process.stdin.close()
