"""SGLang: its own watermark from our key record.

SGLang (0.5.23) marks by keyed Gumbel-max inside its sampler. `write` makes its
configuration from a `gumbel` key record: one file that only its owner can read, for
``--enable-watermark --watermark-config watermark.json``. The key never stands on a
command line. ``enforce_all`` is on: the server refuses a request that opts out.

The native mark is not ours bit for bit: SGLang hashes with MurmurHash3 x86-32 under a
64-bit key, its contexts begin in the prompt, and it has no nonce and no payload. So the
key that is handed over is a sub-key made for SGLang alone, and `engine_record` names
what is written: scheme ``sglang-gumbel``. `watermark.load_records` reads that file, or
a record of that scheme and the key, and `verify` finds the mark. There is no logits
processor of ours here: SGLang refuses custom ones beside its watermark.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from watermark.keys import Key, KeyRecord
from watermark.pipelines import native

PRF = "murmur3-x86-32"  # sglang/srt/sampling/watermarking/README.md at 0.5.23
PURPOSE, PURPOSE_B = "sglang", "sglang-b"  # of the sub-keys: 8 bytes, written as hex


def engine_record(record: KeyRecord) -> KeyRecord:
    """The key record of what SGLang writes under `record`: all a detector needs.

    Its sub-key is ``derive("sglang", length=8)``. Under dual 1 that is key A, and
    ``derive("sglang-b", length=8)`` is key B; a keyed coin gives each context to one.

    Raises:
        UnsupportedPipeline: another scheme than `gumbel`, or a payload.
    """
    return native.engine_record(record, "sglang", PRF)


def native_config(record: KeyRecord) -> dict[str, Any]:
    """SGLang's watermark configuration for a key record, without the keys.

    Every setting is named, so that another default in another SGLang changes nothing.

    Raises:
        UnsupportedPipeline: as `engine_record`.
    """
    parameters = engine_record(record).parameters
    settings: dict[str, Any] = {
        "context_window": parameters["width"],
        "max_probability": 1.0,
        "default_enabled": True,
        "enforce_all": True,
    }
    if parameters["dual"]:
        settings["mixing_probability"] = 1 - native.DUAL_ALPHA  # share of key A
    return settings


def write(record: KeyRecord, key: Key, path: Path) -> KeyRecord:
    """Write SGLang's configuration with its key to a file that only its owner can read.

    Args:
        record: key record of `gumbel`.
        key: the record's key.
        path: a new file, for ``--watermark-config``.

    Returns:
        What to keep for detection: `engine_record`.

    Raises:
        UnsupportedPipeline: as `engine_record`.
        WeakKey: another key than the record's.
        KeyFileError: the name is taken, or the file cannot be written.
    """
    written = engine_record(replace(record, key=key))
    keys = {"key": written.derive(PURPOSE, length=8).hex()}
    if written.parameters["dual"]:
        keys["key_b"] = written.derive(PURPOSE_B, length=8).hex()
    native.write_secret(path, {**keys, **native_config(record)})
    return written
