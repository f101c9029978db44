"""What the serving engines' own watermarks share: their key record, and a secret file.

An engine that marks by itself does so with its own PRF under a 64-bit key. It gets a
sub-key, so that what leaks there is that engine's mark alone; the record of it has a
scheme name of its own (``vllm-gumbel``), under which the sub-key is derived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from watermark.errors import KeyFileError, UnsupportedPipeline
from watermark.files import write_atomically
from watermark.keys import KeyRecord
from watermark.schemes import gumbel
from watermark.schemes.base import option

VERSION = 1
DUAL_ALPHA = 0.5  # share of key B's tokens, as in our own dual records


def engine_record(record: KeyRecord, engine: str, prf: str) -> KeyRecord:
    """The key record ``<engine>-gumbel`` of what an engine writes under `record`.

    Args:
        record: key record of `gumbel`. Width and dual are kept; nonce bits have no
            counterpart in an engine.
        engine: the engine's name.
        prf: name and version of its PRF.

    Raises:
        UnsupportedPipeline: another scheme than `gumbel`, or a payload.
    """
    if record.scheme != gumbel.SCHEME.name:
        raise UnsupportedPipeline(
            f"scheme {record.scheme!r} has no counterpart in {engine}'s own watermark: "
            "expected a record of 'gumbel'"
        )
    if bits := option(record.parameters, "payload_bits"):
        raise UnsupportedPipeline(
            f"{engine}'s own watermark carries no payload: found payload_bits {bits}, "
            "expected 0"
        )
    dual = option(record.parameters, "dual")
    return KeyRecord(
        kid=record.kid,
        scheme=f"{engine}-gumbel",
        version=VERSION,
        epoch=record.epoch,
        parameters={
            "width": record.parameters["width"],
            "dual": dual,
            **({"alpha": DUAL_ALPHA} if dual else {}),
            "prf": prf,
        },
        vocab_size=record.vocab_size,
        tokenizer=record.tokenizer,
        key=record.key,
    )


def write_secret(path: Path, settings: Mapping[str, Any]) -> None:
    """Write settings that hold a key as JSON that only its owner can read (mode 0600).

    Raises:
        KeyFileError: the name is taken, or the file cannot be written.
    """
    data = (json.dumps(settings, indent=1) + "\n").encode()
    try:
        write_atomically(path, data, mode=0o600)
    except FileExistsError as error:
        raise KeyFileError(
            f"{path} exists: a file with a key is never overwritten; choose another"
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error
