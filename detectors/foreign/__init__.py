"""Detectors of other engines' text watermarks, by the name of the scheme.

Each has `score(tokens, record, skip=0) -> Score` and `ENOUGH`, as our own have. The
p-values are ours: exact tails, deduplicated so that they hold for any text.
"""

from __future__ import annotations

from types import ModuleType

from watermark.detectors.foreign import (
    gumbel,
    kgw,
    synthid,
    unigram,
)

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
