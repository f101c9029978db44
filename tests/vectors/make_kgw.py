"""Make hf_kgw.json, kgw.json and unigram.json with the engines' own code.

    python tests/vectors/make_kgw.py hf_kgw
    python tests/vectors/make_kgw.py kgw FOLDER       (a checkout of lm-watermarking)
    python tests/vectors/make_kgw.py unigram FOLDER   (one of Unigram-Watermark)

torch and transformers have to be installed; lm-watermarking also wants scipy. Only
numbers are kept: for each list the first 16 hexadecimal digits of the SHA-256 of its
ids, as little-endian uint32 in the order of the permutation (for unigram: of the mask
of bytes).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

VOCABULARIES = (1000, 32000, 50257, 128256, 151936, 262144)
GAMMAS = (0.25, 0.5, 0.1, 0.333, 0.75)
KEYS = (15485863, 42, 1, (1 << 62) + 12345, 2971215073)
HERE = Path(__file__).parent


def digest(values: Any, dtype: Any) -> str:
    return hashlib.sha256(np.asarray(values, dtype).tobytes()).hexdigest()[:16]


def window(rng: random.Random, vocab: int, width: int) -> list[int]:
    """Tokens from the ends of the vocabulary too, and some that repeat."""
    special = (0, 1, vocab - 1)
    tokens = [
        rng.choice(special) if rng.random() < 0.1 else rng.randrange(vocab)
        for _ in range(width)
    ]
    if width > 1 and rng.random() < 0.2:
        tokens[0] = tokens[-1]
    return tokens


def hf_kgw() -> list[list[Any]]:
    """[key, seeding, width, gamma, vocabulary, window, digest] for each list."""
    from transformers import WatermarkLogitsProcessor

    rng = random.Random(1)
    rows: list[list[Any]] = []
    for key in (*KEYS, (1 << 64) - 1, -7):
        for seeding in ("lefthash", "selfhash"):
            if seeding == "selfhash" and key >= 1 << 63:
                continue  # more than int64: transformers cannot multiply by it
            for vocab in VOCABULARIES:
                width = rng.choice((1, 2, 4, 7))
                gamma = rng.choice(GAMMAS)
                processor = WatermarkLogitsProcessor(
                    vocab, "cpu", gamma, 2.0, key, seeding, width
                )
                for _ in range(14):
                    tokens = window(rng, vocab, width)
                    ids = processor._get_greenlist_ids(torch.tensor(tokens))
                    found = digest(ids, "<u4")
                    rows.append([key, seeding, width, gamma, vocab, tokens, found])
    return rows


def kgw(folder: str) -> list[list[Any]]:
    """[key, prf, width, gamma, vocabulary, legacy, window, digest] for each list."""
    sys.path.insert(0, folder)
    engine_module = importlib.import_module("extended_watermark_processor")
    prf_lookup, base = engine_module.prf_lookup, engine_module.WatermarkBase

    rng = random.Random(2)
    rows: list[list[Any]] = []
    for key in KEYS:
        for prf in prf_lookup:
            for vocab in VOCABULARIES:
                width = rng.choice((2, 3, 4, 5, 8))
                if prf != "minskipgram_prf" and rng.random() < 0.2:
                    width = 1
                gamma, legacy = rng.choice(GAMMAS), int(rng.random() < 0.2)
                engine = base(
                    range(vocab),
                    gamma,
                    2.0,
                    f"ff-{prf}-{width}-False-{key}",
                    select_green_tokens=not legacy,
                )
                engine.rng = torch.Generator()
                for _ in range(4):
                    tokens = window(rng, vocab, width)
                    ids = engine._get_greenlist_ids(torch.tensor(tokens))
                    found = digest(ids, "<u4")
                    rows.append([key, prf, width, gamma, vocab, legacy, tokens, found])
    return rows


def unigram(folder: str) -> list[list[Any]]:
    """[key, gamma, vocabulary, digest of the mask] for each list."""
    if not hasattr(transformers, "LogitsWarper"):  # gone since 5.0; unused here
        transformers.LogitsWarper = transformers.LogitsProcessor
    sys.path.insert(0, folder)
    base = importlib.import_module("gptwm").GPTWatermarkBase

    rng = random.Random(3)
    rows: list[list[Any]] = []
    for i in range(1008):
        key = (0, 1, -1, KEYS[i % 5], rng.randrange(1 << 63))[i % 5]
        vocab, gamma = VOCABULARIES[i % 6], GAMMAS[i // 6 % 5]
        mask = base(gamma, 2.0, vocab, key).green_list_mask
        rows.append([key, gamma, vocab, digest(mask, np.uint8)])
    return rows


def main(name: str, folder: str = "") -> None:
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    if folder:
        head = ["git", "-C", folder, "rev-parse", "HEAD"]
        versions["commit"] = subprocess.check_output(head, text=True).strip()
        rows = {"kgw": kgw, "unigram": unigram}[name](folder)
    else:
        versions["transformers"] = transformers.__version__
        rows = hf_kgw()
    data = {"versions": versions, "lists": rows}
    text = json.dumps(data, separators=(",", ":")).replace("],[", "],\n[")
    (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
