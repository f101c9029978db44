"""The process that looks at strangers' bytes: ``python -m watermark.serve.child``.

Its first line on stdin is JSON: the home, its passphrase, and limits. A job is a line
of JSON and so many bytes; an answer four bytes of length and JSON. Nothing is pickled.
It has the keys, for it is the detector; it has no socket. When a job hangs, grows or
crashes, this process ends and another is started: `watermark.serve.workers`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from watermark.assets import loading
from watermark.assets.loading import Asset
from watermark.errors import StoreError, WatermarkError
from watermark.home import Home
from watermark.report import Report
from watermark.serve import tree
from watermark.serve.repository import Repository
from watermark.sign import c2pa
from watermark.sign.manifest import CONTENT_HASH_CODES, SIGNER_UNKNOWN
from watermark.verifier import Verifier

LENGTH = struct.Struct(">I")
MAX_TREES = 4  # a mark of 16 bits can lead to many manifests
SHOWN_TEXT = 50_000  # characters of a text that are shown with its passages
MEMORY_ERROR, STORE_ERROR, BUG = "memory", "store", "bug"

# What a manifest without its content must fail with, and nothing else.
_ABSENT = CONTENT_HASH_CODES | {SIGNER_UNKNOWN}


class Examiner:
    """Does the jobs, with keys and tokenizers that were read once."""

    def __init__(self, home: Home, effort: str) -> None:
        self._home = home
        self._verify = Verifier(home, effort=effort)
        self._repository = Repository(home.ledger, home.path)  # none that is withdrawn

    def verify(self, body: bytes, *, text: bool) -> dict[str, Any]:
        """The report on a content, and what is shown with it.

        Args:
            body: its bytes.
            text: it is a text in UTF-8, whatever it looks like.
        """
        asset = loading.load(body.decode() if text else body)
        report = self._verify(asset)
        spans = any(e.spans for e in report.evidence)
        short = asset.text is not None and len(asset.text) <= SHOWN_TEXT
        return {
            "report": report.to_dict(),
            "media_type": asset.media_type or ("text/plain" if text else ""),
            "max_fpr": self._home.max_fpr,
            "text": asset.text if spans and short else None,
            "trees": self._trees(asset, report),
        }

    def _trees(self, asset: Asset, report: Report) -> list[tree.Node]:
        """Of the manifest that the file has, and of those that its mark led to."""
        said = [e for e in report.evidence if e.layer == "manifest"]
        lost = [e.detail for e in said if e.state == "recovered"][:MAX_TREES]
        stores = [self._repository.manifest(name) for name in lost]
        if {e.state for e in said} & {"trusted", "valid", "invalid"}:
            stores.insert(0, self._embedded(asset))
        found = [tree.read(store) for store in stores if store]
        return [node for node in found if node is not None]

    @staticmethod
    def _embedded(asset: Asset) -> bytes | None:
        if asset.problem:
            return None
        if asset.kind == "text":
            from watermark.sign import text

            data = asset.data or (asset.text or "").encode()
            return text.read(data, anchors=b"").manifest
        return c2pa.read(asset.data or b"", asset.media_type).manifest

    def manifest(self, body: bytes) -> dict[str, Any]:
        """What a manifest store is that somebody wants to be kept.

        ``sound``: its boxes fit, its signature holds, and nothing is wrong but that the
        content is not here and perhaps that nobody trusts the signer. ``own``: the
        signer is this home's own organisation, and trusted here.
        """
        anchors = self._home.anchors
        found = c2pa.read(b"-", "text/plain", anchors=anchors, manifest=body)
        codes = set(found.codes)
        named = tree.read(body)
        return {
            "sound": bool(codes & CONTENT_HASH_CODES)
            and codes <= _ABSENT
            and named is not None
            and named["label"] == found.manifest_id,
            "manifest_id": found.manifest_id,
            "signer": found.signer,
            "own": SIGNER_UNKNOWN not in codes and found.signer == self._own_name(),
            "codes": sorted(codes),
            "record_id": found.record_id,
            "bindings": [[alg, value.hex()] for alg, value in found.soft_bindings],
        }

    def _own_name(self) -> str | None:
        try:
            return self._home.credential.organisation
        except WatermarkError:  # expired, or damaged: then nothing is our own
            return None


def _answer(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return job()
    except MemoryError:
        return {"error": MEMORY_ERROR}
    except StoreError as error:
        return {"error": STORE_ERROR, "detail": type(error).__name__}
    except (WatermarkError, ValueError) as error:
        return {"error": BUG, "detail": f"{type(error).__name__}: {error}"[:300]}
    except Exception as error:  # the parent tells of it; this process goes on
        return {"error": BUG, "detail": type(error).__name__}


def _limit_memory(room: int) -> None:
    """What a job may take beyond what this process has already."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: float) -> None:
    """End this process if the parent is gone and cannot."""
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(usage.ru_utime + usage.ru_stime + 2 * seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def _peak() -> int:
    """Bytes that this process held at most, or 0."""
    if sys.platform == "win32":
        return 0
    # Linux counts what the parent held when it forked into ru_maxrss, but not here.
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _write(out: BinaryIO, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    out.write(LENGTH.pack(len(data)) + data)
    out.flush()


def main() -> int:
    """Do the jobs on stdin until it ends."""
    # Whatever a library prints must not get between the answers.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    jobs = sys.stdin.buffer
    setup = json.loads(jobs.readline())
    home = Home.open(Path(setup["home"]), passphrase=setup["passphrase"])
    examiner = Examiner(home, setup["effort"])
    examiner.verify(b"a first look, so that everything is read", text=True)
    _limit_memory(setup["memory"])
    _write(out, {"ready": True})
    while line := jobs.readline():
        job = json.loads(line)
        body = jobs.read(job["length"])
        if len(body) < job["length"]:
            break
        _limit_time(setup["seconds"])
        if job["job"] == "manifest":
            answer = _answer(partial(examiner.manifest, body))
        else:
            answer = _answer(partial(examiner.verify, body, text=bool(job["text"])))
        del body
        _write(out, answer | {"peak": _peak()})
        if answer.get("error") == MEMORY_ERROR:
            break
    home.ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
