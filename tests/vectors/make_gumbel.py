"""Make vllm.json, sglang.json and textseal.json with the engines' own code.

    python tests/vectors/make_gumbel.py ENGINE FOLDER VERSION

FOLDER is an unpacked wheel (vllm, sglang) or the root of the package (textseal); torch
and msgspec have to be installed. Only numbers are kept. Each case is a key, a context
width and the tokens of one text; what is kept of it are the positions that the engine's
detector scores and what it makes u from there.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARIES = (1000, 32000, 50257, 128256, 151936, 262144)
HERE = Path(__file__).parent


def cases(count: int, widths: tuple[int, ...], length: int) -> list[dict[str, Any]]:
    """Texts that repeat some of their contexts, over every vocabulary and width."""
    rng = np.random.default_rng(20261123)
    out = []
    for i in range(count):
        vocab = VOCABULARIES[i % len(VOCABULARIES)]
        tokens = rng.integers(0, vocab, length).tolist()
        tokens[0] = vocab - 1
        skip = (0, 0, 3, 9)[i % 4]
        if i % 3 == 0:  # the text loops, the prompt does not return in it
            tokens[skip:] = (tokens[skip : skip + length // 3] * 3)[: length - skip]
        bits = (64, 63, 32, 8)[i // 2 % 4]
        out.append(
            {
                "key": int(rng.integers(0, 1 << bits, dtype=np.uint64)) | 1 << bits - 1,
                "width": widths[i % len(widths)],
                "skip": skip,
                "tokens": tokens,
            }
        )
    return out


def stub(name: str, **members: Any) -> None:
    """A module that an import finds, with what the imported code takes from it."""
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module


def vllm() -> list[dict[str, Any]]:
    """By the detectors' own preparation, and the PRF's words before they are floats."""
    stub("vllm.config.utils", config=lambda cls: cls)
    logger = types.SimpleNamespace(warning_once=lambda *a, **k: None)
    stub("vllm.logger", init_logger=lambda name: logger)
    stub("vllm.v1.worker.gpu.sample.gumbel", gumbel_sample=None)
    gumbel = importlib.import_module("vllm.v1.watermarking.gumbel")
    philox: Any = importlib.import_module("vllm.v1.watermarking.prfs.philox")
    uniform = philox.uint32_to_uniform
    out = cases(60, (4, 1, 2, 3, 5, 8, 13, 16), 24)
    for case in out:
        key, width, text = case["key"], case["width"], case["tokens"][case["skip"] :]
        single = gumbel.GumbelWatermarkDetector(key, width)
        case["alpha"] = float(np.round(0.05 + 0.9 * len(str(key)) / 20, 2))
        dual = gumbel.DualKeyGumbelWatermarkDetector(key, width, alpha=case["alpha"])
        case["n"] = single.detect(text).num_scored_tokens
        case["statistics"] = [single.detect(text).score, dual.detect(text).score]
        contexts, targets = single._prepare_inputs(text)
        philox.uint32_to_uniform = lambda words: words
        case["words"] = {}
        for name, prf in (("key", single.prf), ("a", dual.prf), ("b", dual.key_b_prf)):
            words = prf.uniform(contexts, targets.unsqueeze(-1)).squeeze(-1)
            case["words"][name] = (words >> 8).tolist()
        philox.uint32_to_uniform = uniform
    return out


def sglang() -> list[dict[str, Any]]:
    """By `WatermarkDetector`: its hashes are noted as it scores."""
    detector: Any = importlib.import_module("sglang.srt.sampling.watermarking.detector")
    out = cases(60, (4, 1, 2, 3, 5, 8, 16, 64), 24)
    rng = np.random.default_rng(5)
    drawn: list[int] = []
    plain = detector.watermark_hash

    def noted(*arguments: Any) -> int:
        drawn.append(plain(*arguments))
        return drawn[-1]

    detector.watermark_hash = noted
    for i, case in enumerate(out):
        skip, tokens = case["skip"], case["tokens"]
        case["key_b"] = int(rng.integers(1, 1 << 63))
        case["mixing"] = (0.5, 0.25, 0.9)[i % 3]
        case["words"] = {}
        for name, second in (("key", None), ("dual", case["key_b"])):
            drawn.clear()
            found = detector.detect(
                tokens[skip:],
                key=f"{case['key']:x}",
                key_b=None if second is None else f"{second:x}",
                prompt_token_ids=tokens[:skip],
                mixing_probability=case["mixing"],
                context_window=case["width"],
            )
            case["words"][name] = list(drawn)  # under A, or under A and B in turn
            case[f"{name}_statistic"] = found.combined.score
            case[f"{name}_n"] = found.combined.num_contexts
        if case["words"]["dual"]:
            case["owned_by_a"] = found.key_a_partition.num_contexts
    return out


def textseal() -> list[dict[str, Any]]:
    """By `prf_uniform`, for every window; the second key is 12,345 higher."""
    import torch

    # The package imports its models; this module of it imports torch alone.
    path = Path(sys.path[0], "textseal/common/watermark/pseudorandom.py")
    spec = importlib.util.spec_from_file_location("pseudorandom", path)
    assert spec is not None
    assert spec.loader is not None
    prf: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prf)
    out = cases(60, (1, 2, 3, 4, 7, 10), 24)
    for case in out:
        case["key"] %= 1 << 63
        ids = torch.tensor(case["tokens"])
        windows = ids.unfold(0, case["width"] + 1, 1)
        case["words"] = {}
        for name, key in (("a", case["key"]), ("b", case["key"] + 12345)):
            key = (key + (1 << 63)) % (1 << 64) - (1 << 63)
            u = prf.prf_uniform(windows[:, :-1], windows[:, -1], key)
            case["words"][name] = (
                np.rint(u.double().numpy() * 8191).astype(int).tolist()
            )
    return out


def main() -> None:
    engine, folder, version = sys.argv[1:]
    sys.path.insert(0, folder)
    makers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "vllm": vllm,
        "sglang": sglang,
        "textseal": textseal,
    }
    made = {"engine": engine, "version": version, "cases": makers[engine]()}
    data = json.dumps(made, separators=(",", ":"))
    (HERE / f"{engine}.json").write_text(data + "\n")


if __name__ == "__main__":
    main()
