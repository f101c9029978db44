"""`sglang-gumbel`: the watermark of SGLang (0.5.23), keyed Gumbel-max in its sampler.

A context is the last `width` tokens of prompt and output together, so the first tokens
after a prompt that is not at hand cannot be tested. It is hashed without a key
(MurmurHash3 x86-32), and two contexts with one hash count as one. A context that the
request's output held before is sampled freely, and so is everything after 4,096
contexts.

A key enters the hash of context and token as a state of 32 bits, to which the context
is added by an exclusive or. Two contexts that differ rightly have equal words under
every key; the words of a text are independent only if nobody built it so.

Under dual 1 a keyed coin gives each context to key A or to key B (with the probability
`alpha`): whoever has both keys knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import ConfigError
from watermark.kernels import sglang_sums, sglang_words, word_sums
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

PRF = "murmur3-x86-32"
MOST_WIDTH = 64
HEX = frozenset("0123456789abcdefABCDEF")


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, MOST_WIDTH)
    within(parameters, "dual", 0, 1)
    alpha = parameters["alpha"]
    if not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha!r}, expected more than 0 and less than 1")
    if parameters["prf"] != PRF:
        raise ValueError(f"prf is {parameters['prf']!r}, expected {PRF!r}")


def _key(fields: Fields, name: str) -> int:
    """A key of 1 to 16 hexadecimal digits."""
    text = fields.text(name, secret=True)
    digits = text[2:] if text[:2].lower() == "0x" else text
    if not 1 <= len(digits) <= 16 or not set(digits) <= HEX:
        raise ConfigError(name, "expected 1 to 16 hexadecimal digits")
    return int(digits, 16)


def _read(config: Mapping[str, Any]) -> EngineConfig:
    """From the file that ``--watermark-config`` takes."""
    fields = Fields(config)
    numbers = [_key(fields, "key")]
    if fields.has("key_b"):
        numbers.append(_key(fields, "key_b"))
    mixing = fields.number("mixing_probability", 0.0, 1.0, 0.5)
    if not 0 < mixing < 1:
        raise ConfigError("mixing_probability", "expected more than 0 and less than 1")
    parameters: dict[str, Parameter] = {
        "width": fields.integer("context_window", 1, MOST_WIDTH, 4),
        "dual": len(numbers) - 1,
        "alpha": 1 - mixing,
    }
    fields.done("key_b", "max_probability", "default_enabled", "enforce_all")
    return EngineConfig(tuple(numbers), parameters)


def _shape(parameters: Mapping[str, Parameter]) -> KeyShape:
    count = 1 + option(parameters, "dual")
    return KeyShape(count, count, *UINT64)


SCHEME = Foreign(
    "sglang-gumbel",
    1,
    "tokens",
    {"width": 4, "dual": 0, "alpha": 0.5, "prf": PRF},
    _check,
    engine="SGLang",
    known_by=frozenset(
        {"context_window", "mixing_probability", "max_probability", "enforce_all"}
    ),
    reader=_read,
    shape=_shape,
    single=engine_numbers,
)


def share(record: KeyRecord) -> float:
    """0: the key that chose each token is known."""
    return 0.0


def keys(record: KeyRecord) -> NDArray[np.uint64]:
    """The key, or key A and key B: uint64 (1,) or (2,)."""
    return np.asarray(engine_numbers(record), np.uint64)


def totals(
    ids: NDArray[np.uint32], record: KeyRecord, skip: int
) -> tuple[int, NDArray[np.float64]]:
    """The terms of the first token after each context, added up.

    u is the word over 2**32, rounded down, so that under a random key each
    ``-log(1 - u)`` is at most an exponential variable.

    Returns:
        (n, sums): distinct contexts; float64 (1,), under the keys that own them.
    """
    _, words = sglang_words(ids, keys(record), *_drawing(record), skip)
    return len(words), word_sums(words[:, None])


def others(
    ids: NDArray[np.uint32], record: KeyRecord, skip: int
) -> Callable[[NDArray[np.uint64]], NDArray[np.float64]]:
    """From other keys, uint64 (m, 2), to the sums of `totals` under them: (m,)."""
    count = 1 + option(record.parameters, "dual")

    def sums(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        own = np.ascontiguousarray(keys[:, :count])
        return sglang_sums(ids, own, *_drawing(record), skip)

    return sums


def _drawing(record: KeyRecord) -> tuple[int, int]:
    """Tokens of context, and below which coin a context is key A's."""
    width = int(record.parameters["width"])
    if not option(record.parameters, "dual"):
        return width, 0
    return width, int((1 - float(record.parameters["alpha"])) * (1 << 32))
