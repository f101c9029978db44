"""`synthid`: SynthID-Text as synthid-text writes it since June 2025.

The hash of context and token begins with SHA-256 of all keys; each layer adds its key
and mixes twelve times, and one bit of the result is its g value. Nothing of it is read
from a table, and all 64 bits matter. The bits of the package before that change are
those of `hf-synthid`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import synthid_bits, synthid_states
from watermark.keys import KeyRecord, Parameter
from watermark.schemes.base import within
from watermark.schemes.foreign.base import (
    INT64,
    EngineConfig,
    Fields,
    Foreign,
    engine_numbers,
)
from watermark.schemes.foreign.hf_synthid import (
    MOST_LAYERS,
    MOST_WIDTH,
    SAMPLING,
    shape,
)

MASK64 = (1 << 64) - 1


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, MOST_WIDTH)
    within(parameters, "layers", 1, MOST_LAYERS)


def _read(config: Mapping[str, Any]) -> EngineConfig:
    """From the arguments of `SynthIDLogitsProcessor`."""
    fields = Fields(config)
    keys = fields.integers("keys", *INT64, MOST_LAYERS, secret=True)
    parameters: dict[str, Parameter] = {
        "width": fields.integer("ngram_len", 2, MOST_WIDTH + 1) - 1,
        "layers": len(keys),
    }
    fields.done(*SAMPLING, "device")  # its bits are the same on every device
    return EngineConfig(keys, parameters)


SCHEME = Foreign(
    "synthid",
    1,
    "tokens",
    {"width": 4, "layers": 30},
    _check,
    engine="synthid-text",
    known_by=frozenset({"num_leaves", "apply_top_k"}),
    reader=_read,
    shape=shape,
)


def start(keys: Sequence[int]) -> int:
    """The hash of nothing: SHA-256 of the keys as int64, modulo 2**63 - 1."""
    data = b"".join((key & MASK64).to_bytes(8, "little") for key in keys)
    digest = hashlib.sha256(data).digest()
    return int.from_bytes(digest, "big") % ((1 << 63) - 1)


def bits(
    ids: NDArray[np.uint32], record: KeyRecord, skip: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The g values of the first token after each context, of each state the first.

    The state is linear in the tokens, so that tokens with one state, and so with the
    same bits under every key, are easily found: they are one observation.

    Returns:
        (positions, bits): indices into `ids`, rising, uint32 (n,); uint8 (n, layers), 0
        or 1, the layers in the order of the key.
    """
    keys = engine_numbers(record)
    width = int(record.parameters["width"])
    positions, states = synthid_states(ids, start(keys), width, skip)
    at = np.sort(np.unique(states, return_index=True)[1])
    positions, states = positions[at], states[at]
    numbers = np.asarray([key & MASK64 for key in keys], np.uint64)
    return positions, synthid_bits(states, numbers)
