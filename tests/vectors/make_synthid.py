"""Make hf_synthid.json and synthid.json with transformers' and synthid-text's own code.

    python tests/vectors/make_synthid.py hf-synthid
    python tests/vectors/make_synthid.py synthid SOURCE COMMIT

torch and transformers have to be installed; SOURCE is the folder that holds
synthid_text. Only numbers are kept: each case is a list of keys, an n-gram length and
the tokens of one text, and of every position the g values, layer 0 the highest bit of a
number, and whether its context repeats.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

VOCABULARIES = (1000, 32000, 50257, 128256, 151936, 262144)
LAYERS = (9, 30, 1, 4)
NGRAMS = (5, 2, 3, 6, 9)
LENGTH = 30
HERE = Path(__file__).parent


def cases(count: int) -> list[dict[str, Any]]:
    """Texts that repeat some of their contexts, over every parameter."""
    rng = np.random.default_rng(20261124)
    out = []
    for i in range(count):
        vocab = VOCABULARIES[i % len(VOCABULARIES)]
        tokens = rng.integers(0, vocab, LENGTH).tolist()
        if i % 5 < 2:
            tokens = (tokens[: LENGTH // 2] * 2)[:LENGTH]
        high = (1 << 63, 1000)[i % 3 == 0]
        keys = rng.integers(0, high, LAYERS[i % len(LAYERS)]).tolist()
        if i % 7 == 0:
            keys[0] = -keys[0]
        out.append(
            {"keys": keys, "ngram_len": NGRAMS[i % len(NGRAMS)], "tokens": tokens}
        )
    return out


def packed(bits: Any) -> list[int]:
    """Each row of g values as one number."""
    return [int("".join(map(str, row)), 2) for row in bits.tolist()]


def fill(case: dict[str, Any], processor: Any) -> None:
    ids = torch.tensor([case["tokens"]])
    case["g"] = packed(processor.compute_g_values(ids)[0])
    case["fresh"] = processor.compute_context_repetition_mask(ids)[0].int().tolist()


def hf_synthid() -> list[dict[str, Any]]:
    """By `SynthIDTextWatermarkLogitsProcessor` on the CPU."""
    out = cases(60)
    for i, case in enumerate(out):
        case["sampling_table_size"] = (65536, 65536, 1024, 4)[i % 4]
        case["sampling_table_seed"] = (0, 0, 1, 2**32 + 5, 2**40)[i % 5]
        processor = transformers.SynthIDTextWatermarkLogitsProcessor(
            **{name: case[name] for name in case if name != "tokens"},
            context_history_size=1024,
            device=torch.device("cpu"),
        )
        fill(case, processor)
    return out


def synthid(source: str) -> list[dict[str, Any]]:
    """By `SynthIDLogitsProcessor` after June 2025."""
    sys.path.insert(0, source)
    module = importlib.import_module("synthid_text.logits_processing")
    out = cases(60)
    for case in out:
        processor = module.SynthIDLogitsProcessor(
            keys=case["keys"],
            ngram_len=case["ngram_len"],
            context_history_size=1024,
            temperature=1.0,
            top_k=40,
            device=torch.device("cpu"),
        )
        fill(case, processor)
    return out


def main() -> None:
    engine = sys.argv[1]
    if engine == "hf-synthid":
        made, version = hf_synthid(), transformers.__version__
    else:
        made, version = synthid(sys.argv[2]), sys.argv[3]
    data = {"engine": engine, "version": version, "torch": torch.__version__}
    text = json.dumps({**data, "cases": made}, separators=(",", ":"))
    (HERE / f"{engine.replace('-', '_')}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
