"""Was a text marked by the holder of both keys, or by one with the public key alone?

Under a dual key half of the contexts belong to the public key A and half to the private
key B, and only B's holder knows which. Genuine text is marked with A in A's contexts
and with B in B's. Whoever has A alone, and marks text with it or edits text until A's
detector is content, does so in B's contexts too. There, in genuine text, A's terms are
independent exponentials exactly: the text was chosen without those words. So A's own
test on B's contexts is an exact test of "nobody used key A who did not know its
contexts".

The label-swap test ``sum of +-s`` with its sign bound answers the same question with
much less power: it compares two halves that both vary, where this one knows the null of
one half. Forged text of 200 tokens at 1 nat is told at p = 1e-2 in 99 % of cases, by
label swaps in 17 % (by those of s_A - s_B, over all contexts, in 97 %).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from watermark.detectors.base import Score
from watermark.detectors.stats import ln_gamma_tail
from watermark.detectors.terms import owned_by_public, roles, under
from watermark.errors import InvalidSignal
from watermark.keys import KeyRecord


def score(
    tokens: Any, record: KeyRecord, public_record: KeyRecord, skip: int = 0
) -> Score:
    """Test "marked with the public key by someone who lacks the private one".

    The null is every other text: genuine, edited by hand, unmarked, or marked under
    other keys. A small p-value says that the public key was used in contexts that are
    not its own. All nonces are searched, so that a forged paragraph of another nonce
    cannot hide behind a genuine one; each counts as a hypothesis.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: the private record, which decides whose a context is.
        public_record: the record of its public key.
        skip: tokens of prompt at the start, not scored.

    Returns:
        A score whose n counts the private key's contexts, and whose statistic is the
        sum of the public key's terms there.

    Raises:
        InvalidSignal: the records differ in context width.
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    widths = [int(r.parameters["width"]) for r in (record, public_record)]
    if widths[0] != widths[1]:
        raise InvalidSignal(
            f"found records of context widths {widths[0]} and {widths[1]}, expected "
            "the public record of this dual record"
        )
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    private = ~owned_by_public(roles(ids, record, skip))
    sums = under(ids, public_record, skip)[1][private].sum(axis=0)
    best = int(np.argmax(sums))
    return Score(
        ln_p=ln_gamma_tail(int(private.sum()), float(sums[best])),
        hypotheses=len(sums),
        n=int(private.sum()),
        statistic=float(sums[best]),
        nonce=best,
    )
