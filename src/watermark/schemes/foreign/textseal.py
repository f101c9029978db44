"""`textseal`: the Gumbel-max watermark of TextSeal (Meta), with one key or two.

A context is the last `width` tokens of prompt and output together. Context, token and
key enter one sum, each with a prime of its own, that two multiplications, a shift and a
remainder turn into a word of 13 bits: u is one of 0 to 8190 over 8191. Every token is
keyed, so only distinct sums are evidence.

Under dual 1 ("textseal"; without it "gumbelmax") a coin that nobody can toss again
chooses key B with the probability `alpha` for each token. Key B is by default key A
plus 12,345.

The key enters linearly: from some words of known texts it can be computed. Whoever
marks with it can be imitated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import textseal_sums
from watermark.keys import KeyRecord, Parameter
from watermark.schemes.base import option, within
from watermark.schemes.foreign.base import (
    INT64,
    EngineConfig,
    Fields,
    Foreign,
    KeyShape,
    engine_numbers,
)

Ids = NDArray[np.uint32]

# One prime for each place of the context, the oldest token first.
PRIMES = (
    *(10000019, 10000247, 10000439, 10000643, 10000747),
    *(10000867, 10000993, 10001213, 10001357, 10001501),
)
TOKEN_PRIME, KEY_PRIME = 100000007, 500001713
MULTIPLIER = 15485863 * 40499
SHIFT = 13
WORDS = 2**13 - 1
KEY_B = 12345  # added to key A where key B is not given
MASK64 = (1 << 64) - 1
OTHER_KEYS = 1000
TERMS = -np.log(1.0 - np.arange(WORDS) / WORDS)  # of each word


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, len(PRIMES))
    within(parameters, "dual", 0, 1)
    alpha = parameters["alpha"]
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}, expected 0 to 1")


def _read(config: Mapping[str, Any]) -> EngineConfig:
    """From TextSeal's `WatermarkConfig`."""
    fields = Fields(config)
    numbers = [fields.integer("secret_key", *INT64, secret=True)]
    kind = fields.choice("watermark_type", ("gumbelmax", "textseal"), "gumbelmax")
    fields.choice("method", ("uniform",), "uniform")
    second = fields.integer("secret_key_b", *INT64, -1, secret=True)
    if kind == "textseal":
        numbers.append(second if second >= 0 else _second(numbers[0]))
    parameters: dict[str, Parameter] = {
        "width": fields.integer("ngram", 1, len(PRIMES), 1),
        "dual": int(kind == "textseal"),
        "alpha": 1 - fields.number("mixing_alpha", 0.0, 1.0, 0.5),
    }
    fields.done(
        *("gamma", "delta", "depth", "after_topp", "k_morphmark", "p_0", "chunk_size"),
        *("num_drafts", "base_watermark", "attenuation", "attenuation_weight"),
        *("backprop_on_nonzero", "scoring_method", "key_routing", "alpha"),
    )
    return EngineConfig(tuple(numbers), parameters)


def _shape(parameters: Mapping[str, Parameter]) -> KeyShape:
    return KeyShape(1, 1 + option(parameters, "dual"))


SCHEME = Foreign(
    "textseal",
    1,
    "tokens",
    {"width": 1, "dual": 0, "alpha": 0.5},
    _check,
    engine="TextSeal",
    known_by=frozenset({"secret_key", "watermark_type", "mixing_alpha"}),
    reader=_read,
    shape=_shape,
    single=lambda record: keys(record),
)


def share(record: KeyRecord) -> float:
    """The share of tokens that key B chooses."""
    if not option(record.parameters, "dual"):
        return 0.0
    return float(record.parameters["alpha"])


def _second(key: int) -> int:
    """Key B by default; beyond int64 it wraps, as the sum that it enters does."""
    return (key + KEY_B + (1 << 63)) % (1 << 64) - (1 << 63)


def keys(record: KeyRecord) -> tuple[int, ...]:
    """Key A, and key B under dual 1."""
    numbers = engine_numbers(record)
    if not option(record.parameters, "dual"):
        return numbers[:1]
    return (*numbers, _second(numbers[0]))[:2]


def sums(ids: Ids, width: int, skip: int = 0) -> tuple[Ids, NDArray[np.uint64]]:
    """What context and token enter the hash as, where that is new to the text.

    Args:
        ids: tokens, uint32 (length,).
        width: tokens of context.
        skip: tokens of prompt at the start: not scored, but contexts begin in them.

    Returns:
        (positions, sums): indices into `ids`, rising, uint32 (n,); uint64 (n,), all
        different.

    Raises:
        ValueError: skip is not in 0 to ``len(ids)``.
    """
    if not 0 <= skip <= len(ids):
        raise ValueError(f"skip is {skip}, expected 0 to {len(ids)}")
    if len(ids) <= width:
        return np.empty(0, np.uint32), np.empty(0, np.uint64)
    places = np.lib.stride_tricks.sliding_window_view(ids.astype(np.uint64), width + 1)
    found = places @ np.asarray([*PRIMES[:width], TOKEN_PRIME], np.uint64)
    at = np.unique(found, return_index=True)[1]  # first uses: those of the prompt too
    at = np.sort(at[at + width >= skip])
    return (at + width).astype(np.uint32), found[at]


def words(sums: NDArray[np.uint64], keys: Sequence[int]) -> NDArray[np.int64]:
    """The word of each sum under each key: int64 (n, keys), 0 to 8190."""
    h = sums[:, None] + offsets(keys)
    signed = (h * np.uint64(MULTIPLIER)).view(np.int64)
    drawn: NDArray[np.int64] = (signed ^ signed >> SHIFT) % WORDS
    return drawn


def offsets(keys: Sequence[int]) -> NDArray[np.uint64]:
    """What keys add to every sum: uint64 (keys,)."""
    return np.asarray([KEY_PRIME * key & MASK64 for key in keys], np.uint64)


def totals(ids: Ids, record: KeyRecord, skip: int) -> tuple[int, NDArray[np.float64]]:
    """The terms of each token whose sum is new, added up under every key.

    Under a uniformly random key u is uniform on 0 to 8190 over 8191, so each
    ``-log(1 - u)`` is at most an exponential variable. They are not independent: see
    `dispersion`.

    Returns:
        (n, sums): tokens; float64 (keys,), key A first.
    """
    found = sums(ids, int(record.parameters["width"]), skip)[1]
    return len(found), textseal_sums(found, offsets(keys(record)), TERMS)


def others(
    ids: Ids, record: KeyRecord, skip: int
) -> Callable[[NDArray[np.uint64]], NDArray[np.float64]]:
    """From other keys, uint64 (m, 2), to the weighed sums of `totals` under them: (m,).

    Where key B follows from key A it does so there.
    """
    found = sums(ids, int(record.parameters["width"]), skip)[1]
    return functools.partial(_weighed, found, share(record), _follows(record))


def dispersion(ids: Ids, record: KeyRecord, skip: int) -> float:
    """How many times as much the sum of terms varies over keys as independent terms do.

    Sums in arithmetic progression, as of a text that counts, give words that depend on
    one another, whatever the key. So the sum is taken under `OTHER_KEYS` other keys on
    this very text. Not below 1. Where key B follows from key A, even a table of words
    varies some per cent more.
    """
    found = sums(ids, int(record.parameters["width"]), skip)[1]
    if len(found) < 2:
        return 1.0
    return _dispersion(found.tobytes(), share(record), _follows(record))


@functools.lru_cache(maxsize=8)  # one text is tried under many keys
def _dispersion(data: bytes, b: float, follows: bool) -> float:
    found = np.frombuffer(data, np.uint64)
    drawn = np.random.Philox(key=0).random_raw(2 * OTHER_KEYS).reshape(OTHER_KEYS, 2)
    expected = len(found) * ((1 - b) ** 2 + b**2)
    totals = _weighed(found, b, follows, drawn)
    return max(1.0, float(totals.var(ddof=1)) / expected)


def _follows(record: KeyRecord) -> bool:
    """Whether key B is the one that is made from key A by default."""
    return keys(record)[-1] == _second(keys(record)[0])


def _weighed(
    sums: NDArray[np.uint64], b: float, follows: bool, keys: NDArray[np.uint64]
) -> NDArray[np.float64]:
    first = keys[:, 0] * np.uint64(KEY_PRIME)  # wraps around
    totals: NDArray[np.float64] = (1 - b) * textseal_sums(sums, first, TERMS)
    if b:
        second = keys[:, 1] * np.uint64(KEY_PRIME)
        if follows:
            second = first + np.uint64(KEY_PRIME * KEY_B)
        totals += b * textseal_sums(sums, second, TERMS)
    return totals
