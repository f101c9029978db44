"""Read files while the kernel kills this process if it asks for a socket.

    python tripwire.py FOLDER          every parser of watermark.sign, over its files
    python tripwire.py FOLDER --fetch  the native library where it may fetch

Python's own audit hook sees only Python's sockets; the native library has its own. So
the system call `socket` itself is forbidden (seccomp, Linux), in all threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import platform
import struct
import sys
import warnings
from pathlib import Path

import c2pa as native  # noqa: TID251  # to show that the wire is live
from cryptography import x509

from watermark.errors import WatermarkError
from watermark.sign import (
    c2pa,
    chain,
    der,
    linter,
    manifest,
    ocsp,
    text,
    timestamp,
    trust,
)

UNSUPPORTED = 77  # the exit code where there is no seccomp
DONE = "every parser has run"

# <linux/seccomp.h>, <linux/audit.h>: architecture, number of socket(2), of seccomp(2)
MACHINES = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_sockets() -> bool:
    """Whether socket(2) kills this process from now on."""
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return False
    architecture, socket, seccomp = machine
    steps = [
        (LOAD, 0, 0, 4),  # seccomp_data.arch
        (EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, 0),  # seccomp_data.nr
        (EQUAL, 0, 1, socket),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        return False
    program = Program(len(steps), code)
    # SECCOMP_SET_MODE_FILTER, with SECCOMP_FILTER_FLAG_TSYNC: all threads that run
    done: int = libc.syscall(seccomp, 1, 1, ctypes.byref(program))
    return done == 0


def parse(data: bytes, anchors: bytes, other: bytes) -> None:
    """Every parser of untrusted bytes, whatever it makes of them."""
    certificates = x509.load_pem_x509_certificates(anchors)
    leaf, issuer = chain.load(other)[:2]
    for media_type in ("image/png", "video/mp4", "text/plain"):  # put right if wrong
        c2pa.read(data, media_type, anchors=anchors)
    c2pa.read(b"text", "text/plain", anchors=anchors, manifest=data)
    text.read(data, anchors=anchors)
    text.read(b"a text", anchors=anchors, sidecar=data)
    manifest.parse(data.decode("latin-1"))
    linter.lint(data, anchors=anchors)
    linter.lint(anchors, key_pem=data)
    chain.path(leaf, [issuer], certificates)
    for reader in (
        chain.load,
        chain.load_many,
        timestamp.answer,
        lambda d: timestamp.verify(d, bytes(32), certificates),
        lambda d: ocsp.read(d, leaf, issuer),
        der.element,
    ):
        with contextlib.suppress(WatermarkError, der.Malformed):
            reader(data)


def main(folder: Path, fetch: bool) -> int:
    warnings.simplefilter("ignore")
    anchors = (folder / "root.pem").read_bytes()
    other = (folder / "chain.pem").read_bytes()
    if not forbid_sockets():
        return UNSUPPORTED
    sys.addaudithook(_no_python_sockets)
    if not fetch:
        for path in sorted((folder / "files").iterdir()):
            parse(path.read_bytes(), anchors, other)
        trust.anchors(folder / "trust", "manifest")
    else:  # the library's own settings
        with native.Context() as context:
            remote = io.BytesIO((folder / "files" / "remote").read_bytes())
            native.Reader("image/jpeg", remote, context=context)
    print(DONE)
    return 0


def _no_python_sockets(event: str, _: object) -> None:
    if event.startswith("socket."):
        print(f"python asked for {event}", file=sys.stderr)
        sys.stderr.flush()
        raise AssertionError(event)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--fetch" in sys.argv))
