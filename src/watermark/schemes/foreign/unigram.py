"""`unigram`: one green list for every step (Unigram-Watermark, ``gptwm.py``).

Zhao et al., "Provable Robust Watermarking for AI-Generated Text" (ICLR 2024), as their
repository computes it at commit b96cdb4: ``int(gamma V)`` trues and the falses behind
them, shuffled by ``numpy.random.default_rng`` under 32 bits of the SHA-256 of the key.
There is no context, so a key colours each word once and for all.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.keys import KeyRecord
from watermark.schemes.foreign.base import (
    INT64,
    MAX_VOCABULARY,
    EngineConfig,
    Fields,
    Foreign,
    engine_numbers,
)
from watermark.schemes.foreign.hf_kgw import check_lists


def _read(config: Mapping[str, Any]) -> EngineConfig:
    fields = Fields(config)
    read = EngineConfig(
        (fields.integer("watermark_key", *INT64, secret=True),),
        {
            "gamma": fields.number("fraction", 1e-9, 1 - 1e-9),
            "delta": fields.number("strength", 0.0, 100.0, 2.0),
        },
        fields.integer("vocab_size", 2, MAX_VOCABULARY),
    )
    fields.done()
    return read


SCHEME = Foreign(
    "unigram",
    1,
    "tokens",
    {"gamma": 0.5, "delta": 2.0},
    check_lists,
    engine="Unigram-Watermark",
    known_by=frozenset({"watermark_key"}),
    reader=_read,
    fixed_vocabulary=True,
)


def green(record: KeyRecord) -> NDArray[np.bool_]:
    """Which tokens are green: bool [vocab_size], not to be written."""
    [key] = engine_numbers(record)
    return _green(key, int(record.vocab_size or 0), float(record.parameters["gamma"]))


@functools.lru_cache(maxsize=16)
def _green(key: int, size: int, gamma: float) -> NDArray[np.bool_]:
    digest = hashlib.sha256(struct.pack("<q", key)).digest()
    mask = np.arange(size) < int(gamma * size)
    np.random.default_rng(int.from_bytes(digest[:4], "little")).shuffle(mask)
    mask.flags.writeable = False
    return mask
