"""`hf-kgw`: the green lists of transformers' ``WatermarkingConfig`` (5.23, CPU).

After Kirchenbauer et al. (ICML 2023, ICLR 2024). The list of a step is the first
``int(gamma V)`` entries of ``torch.randperm(V)``, seeded by the key K and the context:

* ``lefthash``: ``K last``; `context_width` changes nothing but the first steps.
* ``selfhash``: with a the shuffled table's values of the last `width` tokens, of which
  the candidate is one, and b its own: the least ``K a b``, as int64 that wraps around.

Only the low 32 bits of a seed, taken modulo 2**64 - 1, reach the generator. V counts
padding; another V is another list. The lists of a CUDA generator are others, and
refused (`check_device`). transformers does not remember contexts: one that comes
again has the same list again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import mt_permutation
from watermark.keys import Parameter
from watermark.schemes.base import within
from watermark.schemes.foreign.base import (
    INT64,
    MAX_VOCABULARY,
    UINT64,
    EngineConfig,
    Fields,
    Foreign,
    KeyShape,
    check_device,
)

SEEDINGS = ("lefthash", "selfhash")
TABLE = 1_000_003
MODULUS = (1 << 64) - 1
MAX_WIDTH = 64


def _check(parameters: Mapping[str, Parameter]) -> None:
    if parameters["seeding"] not in SEEDINGS:
        raise ValueError(
            f"seeding is {parameters['seeding']!r}, expected one of {SEEDINGS}"
        )
    check_device(parameters["device"])
    within(parameters, "width", 1, MAX_WIDTH)
    check_lists(parameters)


def check_lists(parameters: Mapping[str, Parameter]) -> None:
    """Raise `ValueError` unless gamma lies within (0, 1) and delta is some nats."""
    gamma, delta = parameters["gamma"], parameters["delta"]
    if not isinstance(gamma, float | int) or not 0 < gamma < 1:
        raise ValueError(f"gamma is {gamma!r}, expected a share in (0, 1)")
    if not isinstance(delta, float | int) or not 0 <= delta <= 100:
        raise ValueError(f"delta is {delta!r}, expected nats in 0..100")


def _read(config: Mapping[str, Any]) -> EngineConfig:
    fields = Fields(config)
    seeding = fields.choice("seeding_scheme", SEEDINGS)
    width = fields.integer("context_width", 1, MAX_WIDTH)
    low, high = INT64[0], (UINT64 if seeding == "lefthash" else INT64)[1]
    key = fields.integer("hashing_key", low, high, secret=True)
    gamma = fields.number("greenlist_ratio", 1e-9, 1 - 1e-9)
    delta = fields.number("bias", 0.0, 100.0, 2.0)
    device = fields.device()
    size = None
    if fields.has("vocab_size"):
        size = fields.integer("vocab_size", 2, MAX_VOCABULARY)
    fields.done()
    parameters: dict[str, Parameter] = {
        "seeding": seeding,
        # Under lefthash the list follows from one token, whatever the configuration.
        "width": 1 if seeding == "lefthash" else width,
        "gamma": gamma,
        "delta": delta,
        "device": device,
    }
    return EngineConfig((key,), parameters, size)


def _shape(parameters: Mapping[str, Parameter]) -> KeyShape:
    # Only under selfhash does the key itself enter int64.
    high = (INT64 if parameters["seeding"] == "selfhash" else UINT64)[1]
    return KeyShape(high=high)


SCHEME = Foreign(
    "hf-kgw",
    1,
    "tokens",
    {"seeding": "lefthash", "width": 1, "gamma": 0.25, "delta": 2.0, "device": "cpu"},
    _check,
    engine="transformers",
    known_by=frozenset({"hashing_key", "greenlist_ratio"}),
    reader=_read,
    fixed_vocabulary=True,
    shape=_shape,
)


def window(parameters: Mapping[str, Parameter]) -> tuple[int, bool]:
    """How many tokens seed a list, and whether the candidate is the last of them."""
    self_hash = parameters["seeding"] == "selfhash"
    return (int(parameters["width"]), True) if self_hash else (1, False)


def seeds(
    windows: NDArray[np.int64], key: int, parameters: Mapping[str, Parameter]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """The seed of each window, and whether the key has a say in it.

    Args:
        windows: int64 [n, width], tokens in their order.
        key: the integer K.
        parameters: of the key record.

    Returns:
        (seeds, keyed): uint32 [n], and bool [n]: False where every key gives this seed,
        as ``K 0`` under lefthash.
    """
    if parameters["seeding"] == "lefthash":
        last = windows[:, -1]
        return products(key, last.tolist()), last != 0
    h = table(key & 0xFFFFFFFF)[windows % TABLE].astype(np.int64) + 1
    found = (np.int64(key) * h * h[:, -1:]).min(axis=1)
    return folded(found), np.full(len(windows), True)


def products(key: int, values: list[int]) -> NDArray[np.uint32]:
    """``key * value mod 2**64 - 1``, exactly, in its low 32 bits: uint32."""
    return np.asarray(
        [key * value % MODULUS & 0xFFFFFFFF for value in values], dtype=np.uint32
    )


def folded(values: NDArray[np.int64]) -> NDArray[np.uint32]:
    """int64 values modulo 2**64 - 1, in their low 32 bits: uint32."""
    return (values.view(np.uint64) - (values < 0)).astype(np.uint32)


@functools.lru_cache(maxsize=8)  # 4 MB each
def table(seed: int) -> NDArray[np.uint32]:
    """The permutation of 0..1,000,002 that a seed shuffles: uint32, not to be written.

    Here the key is the seed; lm-watermarking has one table for all keys.
    """
    shuffled = mt_permutation(seed, TABLE, TABLE)
    shuffled.flags.writeable = False
    return shuffled
