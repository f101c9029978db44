"""Text watermarks of other engines, by name: how each is keyed and what it marks.

None is a default: whoever suspects an engine has its key, and names both.
"""

from __future__ import annotations

from watermark.schemes.foreign import (
    hf_kgw,
    hf_synthid,
    kgw,
    sglang,
    synthid,
    textseal,
    unigram,
    vllm,
)
from watermark.schemes.foreign.base import EngineConfig as EngineConfig
from watermark.schemes.foreign.base import Foreign as Foreign
from watermark.schemes.foreign.base import engine_numbers as engine_numbers

FOREIGN: dict[str, Foreign] = {
    scheme.name: scheme
    for scheme in (
        hf_kgw.SCHEME,
        hf_synthid.SCHEME,
        kgw.SCHEME,
        sglang.SCHEME,
        synthid.SCHEME,
        textseal.SCHEME,
        unigram.SCHEME,
        vllm.SCHEME,
    )
}
