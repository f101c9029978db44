"""Signing a 512 x 512 PNG, beside the library alone, in turn and in one run."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import c2pa as native  # noqa: TID251  # the peer

from benchmarks import timing
from benchmarks.conformance.containers import picture
from benchmarks.timing import Timing
from watermark.record import Mark, Record
from watermark.sign import c2pa, chain, claims
from watermark.sign.credential import Credential

MARK = Mark(scheme="noise", version=1, key_id="k", mark_id=bytes(8))


def measured(rounds: int) -> dict[str, Timing]:
    """Processor seconds of one signature, ours and the library's ways of it."""
    png = picture("PNG", (512, 512))
    definition = claims.definition(Record(kind="image", provider="Acme", marks=(MARK,)))
    with tempfile.TemporaryDirectory() as folder:
        credential = Credential.create_dev(Path(folder) / "c", "Acme")

        def bare(*, verify: bool, thumbnail: bool, read: bool) -> Callable[[], None]:
            return lambda: _bare(
                *(png, definition, credential),
                verify=verify,
                thumbnail=thumbnail,
                read=read,
            )

        cases: dict[str, Callable[[], object]] = {
            "ours": lambda: c2pa.sign(png, "image/png", definition, credential),
            "same settings": bare(verify=False, thumbnail=False, read=True),
            "verified while signing": bare(verify=True, thumbnail=False, read=False),
            "not read back": bare(verify=False, thumbnail=False, read=False),
        }
        slow: dict[str, Callable[[], object]] = {
            "defaults": bare(verify=True, thumbnail=True, read=False)
        }
        few = timing.compare(slow, range(max(3, rounds // 10)))
        return timing.compare(cases, range(rounds)) | few


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
