"""`vllm-gumbel`: the watermark of vLLM (0.33), keyed Gumbel-max inside its sampler.

A context is the last `width` tokens of the output alone, padded before there are
enough, so the mark begins with the first token. A context that the request's output
held before is sampled freely. The PRF is Philox4x32-10 under a 64-bit key
("philox4x32-10-v1").

Under dual 1 there are two keys, made from the one by SHA-256, and for each token a coin
that nobody can toss again chooses: key B with the probability `alpha`. Speculative
decoding takes key A for draft tokens and key B for the others instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import vllm_words, word_sums
from watermark.keys import KeyRecord, Parameter
from watermark.schemes.base import option, within
from watermark.schemes.foreign.base import (
    UINT64,
    EngineConfig,
    Fields,
    Foreign,
    KeyShape,
    engine_numbers,
)

PRF = "philox4x32-10-v1"
MOST_WIDTH = 64
ALPHA = 0.1  # vLLM's default share of key B


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, MOST_WIDTH)
    within(parameters, "dual", 0, 1)
    alpha = parameters["alpha"]
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}, expected 0 to 1")
    if parameters["prf"] != PRF:
        raise ValueError(f"prf is {parameters['prf']!r}, expected {PRF!r}")


def _read(config: Mapping[str, Any]) -> EngineConfig:
    """From `WatermarkConfig`, as ``--watermark-config`` takes it."""
    fields = Fields(config)
    key = fields.integer("key", *UINT64, secret=True)
    algorithm = fields.choice("algorithm", ("gumbel", "dual_key_gumbel"), "gumbel")
    fields.choice("prf", ("philox",), "philox")
    parameters: dict[str, Parameter] = {
        "width": fields.integer("context_width", 1, MOST_WIDTH, 4),
        "dual": int(algorithm == "dual_key_gumbel"),
        "alpha": fields.number("alpha", 0.0, 1.0, ALPHA),
    }
    # They decide which contexts stay unmarked: the detector's rule is the strictest.
    fields.choice("deduplicate_contexts", ("none", "single_turn", "all"), "single_turn")
    fields.done("deduplicate_contexts_max_history", "allow_target_only_watermarking")
    return EngineConfig((key,), parameters)


def _shape(parameters: Mapping[str, Parameter]) -> KeyShape:
    return KeyShape(1, 1, *UINT64)


SCHEME = Foreign(
    "vllm-gumbel",
    1,
    "tokens",
    {"width": 4, "dual": 0, "alpha": ALPHA, "prf": PRF},
    _check,
    engine="vLLM",
    known_by=frozenset(
        {"algorithm", "deduplicate_contexts", "deduplicate_contexts_max_history"}
    ),
    reader=_read,
    shape=_shape,
    single=lambda record: keys(record).tolist(),
)


def subkey(key: int, name: str) -> int:
    """Key A or B of a dual key: the head of ``SHA-256("key_a" || key)``.

    Args:
        key: 0 to 2**64 - 1.
        name: "a" or "b".
    """
    digest = hashlib.sha256(f"key_{name}".encode() + key.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:8], "big")


def share(record: KeyRecord) -> float:
    """The share of tokens that key B chooses."""
    if not option(record.parameters, "dual"):
        return 0.0
    return float(record.parameters["alpha"])


def keys(record: KeyRecord) -> NDArray[np.uint64]:
    """The key, or under dual 1 the two that are made from it: uint64 (1,) or (2,)."""
    [key] = engine_numbers(record)
    if not option(record.parameters, "dual"):
        return np.asarray([key], np.uint64)
    return np.asarray([subkey(key, "a"), subkey(key, "b")], np.uint64)


def totals(
    ids: NDArray[np.uint32], record: KeyRecord, skip: int
) -> tuple[int, NDArray[np.float64]]:
    """The terms of the first token after each context, added up under every key.

    u is rounded down to a multiple of 2**-24, so that under a random key each
    ``-log(1 - u)`` is at most an exponential variable.

    Returns:
        (n, sums): distinct contexts; float64 (keys,), key A first.
    """
    width = int(record.parameters["width"])
    _, words = vllm_words(ids, keys(record), width, skip)
    return len(words), word_sums(words)
