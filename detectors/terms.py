"""The scored tokens of a text under a `gumbel` record, each under the key that owns it.

What the detectors that look at single tokens share: `weighted`, `stream`, `spans` and
`tamper`. Under a random key the terms are independent and each at most an exponential
variable, for any text chosen without the key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import gumbel_terms, role_words
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes.base import option
from watermark.schemes.gumbel import public_record
from watermark.schemes.payload import PRESENCE16


def terms(
    tokens: Any, record: KeyRecord, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """The terms ``-log(1 - u)`` of the tokens that are scored (`fresh_contexts`).

    Of a dual record each context under the key that owns it; of a record with a payload
    the contexts that carry no symbol only.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `gumbel`.
        skip: tokens of prompt at the start, not scored.

    Returns:
        (positions, terms): indices of the scored tokens, rising, uint32 (n,); and
        float64 (n, nonces), nats.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    positions, found = under(ids, record, skip)
    payload = option(record.parameters, "payload_bits")
    if not payload and not option(record.parameters, "dual"):
        return positions, found
    words = roles(ids, record, skip)
    kept = words[:, 0] >> 28 < PRESENCE16 if payload else np.full(len(words), True)
    if option(record.parameters, "dual"):  # the public key carries no payload
        public = owned_by_public(words)
        ours = under(ids, public_record(record), skip)[1]
        found, kept = np.where(public[:, None], ours, found), kept | public
    return positions[kept], found[kept]


def under(
    ids: NDArray[np.uint32], record: KeyRecord, skip: int
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """`terms` of every context under this record's key, whoever owns it."""
    return gumbel_terms(
        ids,
        context_key(record),
        int(record.parameters["width"]),
        int(record.parameters["nonce_bits"]),
        skip,
    )


def roles(ids: NDArray[np.uint32], record: KeyRecord, skip: int) -> NDArray[np.uint32]:
    """The words that say what each scored context is for: uint32 (n, 4)."""
    width = int(record.parameters["width"])
    return role_words(ids, context_key(record), width, skip)[1]


def owned_by_public(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether the public key of a dual record owns each context: bool (n,)."""
    public: NDArray[np.bool_] = words[:, 2] >> 31 == 0
    return public
