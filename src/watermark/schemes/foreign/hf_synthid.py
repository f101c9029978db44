"""`hf-synthid`: SynthID-Text of transformers (`SynthIDTextWatermarkingConfig`).

Context, token and a layer's key go through a linear congruential hash modulo 2**64, and
a table of random bits is read at the hash modulo its size. The table is torch's, made
on the device that generated; here the CPU's. A GPU's is another, and refused
(`check_device`).

The size is a power of two, 65,536 by default, so only the low 16 bits of all of it
matter: of a layer's key too. Tokens x and x + 65,536 cannot be told apart, each layer
has 65,536 keys in all, and one layer alone is never evidence beyond 1.5e-5. Equal low
bits make two layers one (`layers`).

The bits of synthid-text before June 2025 are these too; `synthid` reads later ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watermark.errors import ConfigError
from watermark.kernels import synthid_states
from watermark.keys import PUBLISHED, SMALL_BITS, KeyRecord, Parameter
from watermark.schemes.base import within
from watermark.schemes.foreign.base import (
    INT64,
    UINT64,
    EngineConfig,
    Fields,
    Foreign,
    KeyShape,
    check_device,
    engine_numbers,
)

MOST_WIDTH = 64
MOST_LAYERS = 256
MOST_TABLE = 1 << 20
MULTIPLIER = 6364136223846793005  # of the hash; its increment is 1
START = 1  # the hash of nothing: no key enters it
# Fields that decide what is marked, and how strongly, but no bit.
SAMPLING = (
    *("context_history_size", "skip_first_ngram_calls"),
    *("temperature", "top_k", "apply_top_k", "num_leaves"),
)


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, MOST_WIDTH)
    within(parameters, "layers", 1, MOST_LAYERS)
    within(parameters, "table_size", 2, MOST_TABLE)
    within(parameters, "table_seed", *UINT64)
    size = int(parameters["table_size"])
    if size & (size - 1):
        raise ValueError(f"table_size is {size}, expected a power of two")
    check_device(parameters["device"])


def _read(config: Mapping[str, Any]) -> EngineConfig:
    """From `SynthIDTextWatermarkingConfig`, or from synthid-text before June 2025."""
    fields = Fields(config)
    keys = fields.integers("keys", *INT64, MOST_LAYERS, secret=True)
    size = fields.integer("sampling_table_size", 2, MOST_TABLE, 1 << 16)
    if size & (size - 1):
        raise ConfigError(
            "sampling_table_size", f"found {size}, expected a power of two"
        )
    parameters: dict[str, Parameter] = {
        "width": fields.integer("ngram_len", 2, MOST_WIDTH + 1) - 1,
        "layers": len(keys),
        "table_size": size,
        "table_seed": fields.integer("sampling_table_seed", *UINT64, 0),
        "device": fields.device(),
    }
    fields.done(*SAMPLING, "debug_mode")
    return EngineConfig(keys, parameters)


def shape(parameters: Mapping[str, Parameter]) -> KeyShape:
    """One integer for each layer."""
    return KeyShape(1, MOST_LAYERS, INT64[0], UINT64[1])


def _guessable(record: KeyRecord) -> bool:
    """Only a key's low bits matter: of few layers, or of a small table, all are tried.

    Under one layer there are 65,536 keys, under two 2**32.
    """
    size = int(record.parameters["table_size"])
    found = {number % size for number in engine_numbers(record)}
    bits = len(found) * (size.bit_length() - 1)
    return bits <= SMALL_BITS or found <= {number % size for number in PUBLISHED}


SCHEME = Foreign(
    "hf-synthid",
    1,
    "tokens",
    {
        "width": 4,
        "layers": 30,
        "table_size": 1 << 16,
        "table_seed": 0,
        "device": "cpu",
    },
    _check,
    engine="transformers",
    known_by=frozenset({"sampling_table_size", "sampling_table_seed", "debug_mode"}),
    reader=_read,
    shape=shape,
    guessable=_guessable,
)


class Layers(NamedTuple):
    """The layers of a key that can be told apart.

    Attributes:
        shifts: int64 [k], distinct: each layer's key modulo the table's size.
        members: for each of them the layers that it stands for, 0 the first.
    """

    shifts: NDArray[np.int64]
    members: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=8)
def table(size: int, seed: int) -> NDArray[np.uint8]:
    """The bit of each sum of state and key: uint8 [size].

    torch's CPU generator is MT19937 seeded with the low 32 bits of `seed`, and
    ``randint(0, 2)`` the lowest bit of its words; NumPy's frozen `RandomState` gives
    the same words. Entry s is the one that the hash ``s M + 1`` reads.
    """
    generator = np.random.RandomState(seed & 0xFFFFFFFF)
    drawn = generator.randint(0, 1 << 32, size, np.uint32) & 1
    sums = np.arange(size, dtype=np.uint64)
    read = (sums * np.uint64(MULTIPLIER) + np.uint64(1)) & np.uint64(size - 1)
    bits = drawn[read.astype(np.int64)].astype(np.uint8)
    bits.flags.writeable = False
    return bits


def layers(record: KeyRecord) -> Layers:
    """The distinct layers of a record's key."""
    size = int(record.parameters["table_size"])
    shifts = [number % size for number in engine_numbers(record)]
    return Layers(np.asarray(list(dict.fromkeys(shifts)), np.int64), equals(shifts))


def equals(numbers: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """For each distinct number where it stands, in order of first use."""
    places: dict[int, list[int]] = {}
    for i, number in enumerate(numbers):
        places.setdefault(number, []).append(i)
    return tuple(map(tuple, places.values()))


def states(
    ids: NDArray[np.uint32], record: KeyRecord, skip: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The hash of the first token after each context, modulo the table's size.

    Returns:
        (positions, states): indices into `ids`, rising, uint32 (n,); int64 (n,).
    """
    width = int(record.parameters["width"])
    positions, hashes = synthid_states(ids, START, width, skip)
    size = int(record.parameters["table_size"])
    return positions, (hashes & np.uint64(size - 1)).astype(np.int64)


def bits(
    states: NDArray[np.int64], shifts: NDArray[np.int64], bit: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The g values: uint8 (n, layers).

    Args:
        states: from `states`, n of them.
        shifts: the layers' keys modulo the table's size.
        bit: from `table`.
    """
    found: NDArray[np.uint8] = bit[(states[:, None] + shifts) & (len(bit) - 1)]
    return found
