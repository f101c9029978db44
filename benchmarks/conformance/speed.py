"""Signing a 512 x 512 PNG, beside the library alone, in one run.

``python -m benchmarks.conformance.speed``; times are CPU time of this process, so that
a busy machine changes them little.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import c2pa as native  # noqa: TID251  # the peer

from benchmarks.conformance.containers import picture
from watermark.record import Mark, Record
from watermark.sign import c2pa, chain, claims
from watermark.sign.credential import Credential

ROUNDS, FEW = 40, 5
MARK = Mark(scheme="noise", version=1, key_id="k", mark_id=bytes(8))


def main() -> int:
    """Print milliseconds, and ours as a multiple of the library's."""
    png = picture("PNG", (512, 512))
    definition = claims.definition(Record(kind="image", provider="Acme", marks=(MARK,)))
    with tempfile.TemporaryDirectory() as folder:
        credential = Credential.create_dev(Path(folder) / "c", "Acme")

    def ours() -> None:
        c2pa.sign(png, "image/png", definition, credential)

    def bare(*, verify: bool, thumbnail: bool, read: bool) -> Callable[[], None]:
        return lambda: _bare(
            png, definition, credential, verify=verify, thumbnail=thumbnail, read=read
        )

    peers = {
        "signed, and the finished file read": bare(
            verify=False, thumbnail=False, read=True
        ),
        "signed and verified while signing": bare(
            verify=True, thumbnail=False, read=False
        ),
        "with the library's defaults": bare(verify=True, thumbnail=True, read=False),
    }
    mine = _median(ours, ROUNDS)
    print(f"ours, the finished file read: {mine:.2f} ms")
    for name, peer in peers.items():
        other = _median(peer, FEW if "defaults" in name else ROUNDS)
        print(f"c2pa-python, {name}: {other:.2f} ms; ours {mine / other:.2f} of it")
    return 0


def _bare(
    png: bytes,
    definition: claims.Json,
    credential: Credential,
    *,
    verify: bool,
    thumbnail: bool,
    read: bool,
) -> None:
    settings = {
        "verify": {"verify_after_sign": verify, "remote_manifest_fetch": False},
        "builder": {"thumbnail": {"enabled": thumbnail}},
        "trust": {
            "trust_anchors": (credential.root_pem or b"").decode(),
            "trust_config": "".join(f"{p.dotted_string}\n" for p in chain.PURPOSES),
        },
    }
    info = native.C2paSignerInfo(
        "es256", credential.chain_pem, credential.signer.pem, None
    )
    output = io.BytesIO()
    with (
        native.Context(
            native.Settings.from_dict(settings), native.Signer.from_info(info)
        ) as context,
        native.Builder(definition, context=context) as builder,
    ):
        builder.sign("image/png", io.BytesIO(png), output)
        if read:
            stream = io.BytesIO(output.getvalue())
            with native.Reader("image/png", stream, context=context) as reader:
                reader.json()


def _median(work: Callable[[], None], rounds: int) -> float:
    times = []
    for _ in range(rounds + 2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times[2:])


if __name__ == "__main__":
    sys.exit(main())
