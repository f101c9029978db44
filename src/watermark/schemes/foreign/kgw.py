"""`kgw`: the green lists of lm-watermarking, under each of its seeding functions.

Kirchenbauer et al., "A Watermark for Large Language Models" (ICML 2023) and "On the
Reliability of Watermarks for Large Language Models" (ICLR 2024), as their repository
computes them at commit fb602de, on a CPU. A function of the last `width` tokens e_0 ..
e_{h-1} and the key K gives a seed, and the list is the first ``int(gamma V)`` entries
of ``torch.randperm(V)``; with `legacy` 1 the last ones. H is one shuffled table of
1,000,003 values, the same for all keys, plus 1; products wrap around as int64.

========================  ============================================================
`additive_prf`            ``K sum(e)``; with width 1 ``simple_1`` or ``lefthash``
`multiplicative_prf`      ``K prod(e)``
`minfunc_prf`             ``K min(e)``
`simple_skip_prf`         ``prod H(K e_i)`` over every second token
`skipgram_prf`            ``H(K e_0)``; with width 5 ``skipgram``
`anchored_skipgram_prf`   ``H(K e_0) H(K e_{h-1})``
`minhash_prf`             ``min H(K e_i)``; with width 4 ``minhash``
`anchored_minhash_prf`    ``min K H(e_i) H(e_{h-1})``; with width 4 and self-salt
                          ``selfhash`` or ``algorithm-3``
`minskipgram_prf`         the least ``H(K e_i) H(K e_j)``, i < j
`noncomm_prf`             from K: ``k <- k H(k e_i) mod 2**32`` for each token
`position_prf`            ``K sum (i + 1) e_i``
========================  ============================================================

With self-salt the candidate is the last of the tokens. Contexts are not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import ConfigError
from watermark.keys import Parameter
from watermark.schemes.base import option, within
from watermark.schemes.foreign.base import (
    INT64,
    MAX_VOCABULARY,
    EngineConfig,
    Fields,
    Foreign,
)
from watermark.schemes.foreign.hf_kgw import (
    MAX_WIDTH,
    TABLE,
    check_lists,
    folded,
    products,
    table,
)

TABLE_SEED = 2971215073
FEWEST_BITS = 20  # of a key in a seed that counts: more than choose from the table
DEFAULT_KEY = 15485863  # published: what every named scheme uses
# Name to seeding function, width, self-salt.
NAMED = {
    "simple_1": ("additive_prf", 1, 0),
    "lefthash": ("additive_prf", 1, 0),
    "selfhash": ("anchored_minhash_prf", 4, 1),
    "algorithm-3": ("anchored_minhash_prf", 4, 1),
    "minhash": ("minhash_prf", 4, 0),
    "skipgram": ("skipgram_prf", 5, 0),
}

Windows = NDArray[np.int64]


def _check(parameters: Mapping[str, Parameter]) -> None:
    if parameters["prf"] not in PRFS:
        raise ValueError(f"prf is {parameters['prf']!r}, expected one of {[*PRFS]}")
    pairs = parameters["prf"] == "minskipgram_prf"
    within(parameters, "width", 2 if pairs else 1, MAX_WIDTH)
    within(parameters, "self_salt", 0, 1)
    if option(parameters, "legacy") not in (0, 1):
        raise ValueError(f"legacy is {parameters['legacy']!r}, expected 0 or 1")
    check_lists(parameters)


def _read(config: Mapping[str, Any]) -> EngineConfig:
    fields = Fields(config)
    name = fields.text("seeding_scheme", secret=True)  # a free form ends in the key
    free = name.startswith("ff-")
    prf, width, self_salt, key = _free_form(name) if free else _named(name)
    if fields.has("hash_key"):
        given = fields.integer("hash_key", *INT64, secret=True)
        if key is not None and given != key:
            raise ConfigError("hash_key", "another key than seeding_scheme's")
        key = given
    parameters: dict[str, Parameter] = {
        "prf": prf,
        "width": width,
        "self_salt": self_salt,
        "gamma": fields.number("gamma", 1e-9, 1 - 1e-9),
        "delta": fields.number("delta", 0.0, 100.0, 2.0),
        "legacy": int(not fields.flag("select_green_tokens", True)),
    }
    size = (
        fields.integer("vocab_size", 2, MAX_VOCABULARY)
        if fields.has("vocab_size")
        else None
    )
    fields.done()
    return EngineConfig((DEFAULT_KEY if key is None else key,), parameters, size)


def _named(name: str) -> tuple[str, int, int, int | None]:
    if name not in NAMED:
        raise ConfigError(
            "seeding_scheme",
            f"expected one of {', '.join(NAMED)}, or ff-PRF-WIDTH-SELFSALT-KEY",
        )
    return (*NAMED[name], None)


def _free_form(name: str) -> tuple[str, int, int, int | None]:
    parts = name.split("-")
    try:
        prf, width, salt = parts[1], int(parts[2]), ("False", "True").index(parts[3])
        key = int(parts[4]) if len(parts) == 5 else None
    except (IndexError, ValueError):
        key, prf = None, ""
    if len(parts) not in (4, 5) or prf not in PRFS:
        raise ConfigError(
            "seeding_scheme",
            "a free form that cannot be read, expected ff-PRF-WIDTH-True-KEY or "
            f"ff-PRF-WIDTH-False-KEY with PRF one of {', '.join(PRFS)}",
        )
    if key is not None and key > INT64[1]:
        raise ConfigError(
            "seeding_scheme",
            f"its key has {key.bit_length()} bits, expected at most 63",
        )
    return prf, width, salt, key


SCHEME = Foreign(
    "kgw",
    1,
    "tokens",
    {
        "prf": "anchored_minhash_prf",
        "width": 4,
        "self_salt": 1,
        "gamma": 0.25,
        "delta": 2.0,
        "legacy": 0,
    },
    _check,
    engine="lm-watermarking",
    known_by=frozenset({"select_green_tokens", "hash_key"}),
    reader=_read,
    fixed_vocabulary=True,
)


def window(parameters: Mapping[str, Parameter]) -> tuple[int, bool]:
    """How many tokens seed a list, and whether the candidate is the last of them."""
    return int(parameters["width"]), bool(parameters["self_salt"])


def seeds(
    windows: Windows, key: int, parameters: Mapping[str, Parameter]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """As `hf_kgw.seeds`: (seeds, keyed).

    A window is not keyed where its seed is that of key 0, since then (but for a chance
    of 1e-6) every key gives it: a context of zeros. Nor where it is K times a multiple
    of a large power of two, which leaves only the lowest bits of K: tokens can be
    chosen for that, since the table is known.
    """
    name = str(parameters["prf"])
    found = PRFS[name](windows, key)
    keyed = found != PRFS[name](windows, 0)
    if name in MULTIPLIERS:
        keyed &= (MULTIPLIERS[name](windows) % (1 << 32 - FEWEST_BITS + 1) != 0).all(1)
    return found, keyed


def states(parameters: Mapping[str, Parameter]) -> int:
    """How many lists a window that is keyed has at least, over all keys."""
    return 1 << 32 if PRFS[str(parameters["prf"])] in EXACT else TABLE


# --- the seeding functions -----------------------------------------------------------


def _hash(values: Windows) -> Windows:
    return table(TABLE_SEED)[values % TABLE].astype(np.int64) + 1


def _times(key: int, values: Windows) -> Windows:
    return np.asarray(values * np.int64(key), np.int64)  # wraps around


def _additive(e: Windows, key: int) -> NDArray[np.uint32]:
    return products(key, e.sum(axis=1).tolist())


def _multiplicative(e: Windows, key: int) -> NDArray[np.uint32]:
    return products(key, e.prod(axis=1).tolist())


def _minfunc(e: Windows, key: int) -> NDArray[np.uint32]:
    return products(key, e.min(axis=1).tolist())


def _simple_skip(e: Windows, key: int) -> NDArray[np.uint32]:
    return folded(_hash(_times(key, e[:, ::2])).prod(axis=1))


def _skipgram(e: Windows, key: int) -> NDArray[np.uint32]:
    return folded(_hash(_times(key, e[:, 0])))


def _anchored_skipgram(e: Windows, key: int) -> NDArray[np.uint32]:
    return folded(_hash(_times(key, e[:, 0])) * _hash(_times(key, e[:, -1])))


def _minhash(e: Windows, key: int) -> NDArray[np.uint32]:
    return folded(_hash(_times(key, e)).min(axis=1))


def _anchored_minhash(e: Windows, key: int) -> NDArray[np.uint32]:
    return folded((_times(key, _hash(e)) * _hash(e[:, -1:])).min(axis=1))


def _minskipgram(e: Windows, key: int) -> NDArray[np.uint32]:
    least = np.partition(_hash(_times(key, e)), 1, axis=1)[:, :2]
    return folded(least.prod(axis=1))


def _noncomm(e: Windows, key: int) -> NDArray[np.uint32]:
    k = np.full(len(e), key, np.int64)
    for i in range(e.shape[1]):
        k = k * _hash(k * e[:, i]) % (1 << 32)
    return folded(k)


def _position(e: Windows, key: int) -> NDArray[np.uint32]:
    return folded((_times(key, e) * np.arange(1, e.shape[1] + 1)).sum(axis=1))


PRFS: dict[str, Callable[[Windows, int], NDArray[np.uint32]]] = {
    "multiplicative_prf": _multiplicative,
    "additive_prf": _additive,
    "minfunc_prf": _minfunc,
    "simple_skip_prf": _simple_skip,
    "skipgram_prf": _skipgram,
    "anchored_skipgram_prf": _anchored_skipgram,
    "minhash_prf": _minhash,
    "anchored_minhash_prf": _anchored_minhash,
    "minskipgram_prf": _minskipgram,
    "noncomm_prf": _noncomm,
    "position_prf": _position,
}

# What the key is multiplied by, of those that wrap around: int64 [n, factors].
MULTIPLIERS: dict[str, Callable[[Windows], Windows]] = {
    "anchored_minhash_prf": lambda e: _hash(e) * _hash(e[:, -1:]),
    "position_prf": lambda e: (e * np.arange(1, e.shape[1] + 1)).sum(1, keepdims=True),
}
# Those that multiply modulo 2**64 - 1, where a power of two loses no bit.
EXACT = (_additive, _multiplicative, _minfunc)
