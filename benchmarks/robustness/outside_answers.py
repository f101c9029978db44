"""Answers questions in lines of JSON: run by another Python, with a toolkit's file.

    python -I outside_answers.py outside_markllm.py

It imports nothing of this project, and its folder is not on the path. The toolkit's
file has ``PACKAGES``, ``SCHEMES`` and a class ``Toolkit`` with ``scheme``, ``mark`` and
``score``.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def opened(names: dict[str, Any], toolkit: Any) -> dict[str, Any]:
    """Versions, and of each scheme why it cannot be used, or null."""
    schemes: dict[str, str | None] = {}
    for name in names["SCHEMES"]:
        try:
            toolkit.scheme(name, 1)
            schemes[name] = None
        except Exception as error:  # whatever a package raises is why it is not there
            schemes[name] = said(error)
    return {"versions": {n: version(n) for n in names["PACKAGES"]}, "schemes": schemes}


def said(error: Exception) -> str:
    """One line of it."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def answering(names: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """What answers a question; the first one opens the toolkit."""
    toolkit: Any = None

    def answer(do: str, **question: Any) -> dict[str, Any]:
        nonlocal toolkit
        if do == "open":
            toolkit = names["Toolkit"](**question)
            return opened(names, toolkit)
        if toolkit is None or do not in ("mark", "score"):
            raise ValueError(f"found {do!r}, expected open, then mark or score")
        result: dict[str, Any] = getattr(toolkit, do)(**question)
        return result

    return answer


def main() -> None:
    """Answer every line of stdin by one of stdout."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print belongs with the errors
    answer = answering(runpy.run_path(sys.argv[1]))
    for line in sys.stdin:
        try:
            reply = answer(**json.loads(line))
        except Exception as error:  # whatever it is, the other side is told
            reply = {"error": said(error)}
        print(json.dumps(reply, allow_nan=False), file=out, flush=True)


if __name__ == "__main__":
    main()
