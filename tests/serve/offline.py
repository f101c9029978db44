"""Verify one file while the kernel kills this process if it asks for a socket.

python offline.py HOME FILE               with the home
python offline.py HOME FILE --keys        with its keys and no ledger
python offline.py HOME FILE --keys URL    asking the repository at URL
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sign.tripwire import UNSUPPORTED, forbid_sockets

from watermark.home import Home
from watermark.verifier import Verifier


def main(home: Home, file: Path, *urls: str) -> int:
    """Print the verdict, and the states of manifests other than ``none``."""
    if not forbid_sockets():
        return UNSUPPORTED
    verify = Verifier(home)
    if urls:
        verify = Verifier(None, keys=home.ring, trust=home.anchors, resolve=urls)
    report = verify(file.read_bytes())
    print(report.verdict)
    for evidence in report.evidence:
        if evidence.layer == "manifest" and evidence.state != "none":
            print(evidence.state)
    return 0


if __name__ == "__main__":
    sys.exit(main(Home.open(Path(sys.argv[1])), Path(sys.argv[2]), *sys.argv[3:]))
