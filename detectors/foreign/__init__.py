"""Detectors of other engines' text watermarks, by the name of the scheme.

Each has `score(tokens, record, skip=0) -> Score` and `ENOUGH`, as our own have, and
says in `proven` how far down its p-values hold for texts that were built against the
engine's hash. The p-values are ours: exact tails, deduplicated so that they hold for
any text that was not.
"""

from __future__ import annotations

import math
from types import ModuleType

from watermark.detectors.foreign import (
    gumbel,
    kgw,
    synthid,
    unigram,
)
from watermark.keys import KeyRecord

DETECTORS: dict[str, ModuleType] = {
    "hf-kgw": kgw,
    "hf-synthid": synthid,
    "kgw": kgw,
    "sglang-gumbel": gumbel,
    "synthid": synthid,
    "textseal": gumbel,
    "unigram": unigram,
    "vllm-gumbel": gumbel,
}


def proven(record: KeyRecord, n: int) -> float:
    """Ln of the least p on n observations that holds whatever the text.

    Below it p rests on the text not having been built against the engine's hash, whose
    key-dependent state is small (``docs/engines.md``). -inf for marks of pictures.
    """
    detector = DETECTORS.get(record.scheme)
    return -math.inf if detector is None else float(detector.proven(record, n))
