"""Engines whose packages lie unpacked in a folder: wheels, or checkouts.

They ask for versions and machines that we do not have, but their detectors are plain
Python and torch. So a detector's module is imported without the packages around it:
their `__init__` does not run, and the few names that it takes from a heavy module are
stood in for. Nothing of it stays in `sys.modules`.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from benchmarks.engines.engine import Detect, Engine, Ids, Numbers, weighted_mean
from watermark.detectors.foreign import kgw


@dataclass(frozen=True, slots=True)
class Package:
    """One package that may lie in the folder.

    Attributes:
        name: in notes.
        file: of the detector, as the package lies unpacked.
        module: the same as a name to import.
        engines: the detector's module to the engines it detects.
        bare: packages on its way whose `__init__` would ask for too much.
        stubs: modules in whose place these names are enough.
        holds: what the file has to hold: tells versions apart.
    """

    name: str
    file: str
    module: str
    engines: Callable[[Any], Iterator[Engine]]
    bare: tuple[str, ...] = ()
    stubs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    holds: bytes = b""


def engines(folder: Path | None) -> tuple[list[Engine], list[str]]:
    """Engines of the packages in a folder, and notes: which files, and what is missing.

    Args:
        folder: whose members, or which itself, holds unpacked packages; or None.
    """
    found: list[Engine] = []
    notes = []
    for package in PACKAGES:
        path = _find(folder, package)
        if path is None:
            notes.append(
                f"{package.name} was left out: it is not in the folder of wheels"
            )
            continue
        try:
            found += package.engines(_imported(path, package, folder))
        except Exception as error:  # other people's code: it may fail in any way
            reason = f"{type(error).__name__}: {error}".replace(str(folder), "...")
            notes.append(f"{package.name} was left out: {reason}")
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        notes.append(f"{package.name}: {package.file}, SHA-256 {digest}...")
    return found, notes


def _find(folder: Path | None, package: Package) -> Path | None:
    """The first such file in the folder or its members."""
    for root in () if folder is None else (folder, *sorted(folder.glob("*/"))):
        path = root / package.file
        if path.is_file() and package.holds in path.read_bytes():
            return path
    return None


def _imported(path: Path, package: Package, folder: Path | None) -> ModuleType:
    """The detector's module, without the packages around it."""
    root = Path(str(path).removesuffix(package.file))
    others = [] if folder is None else [str(p) for p in sorted(folder.glob("*/"))]
    names = package.module.split(".")
    parents = [".".join(names[:i]) for i in range(1, len(names))]
    with _apart({names[0], *LOOSE}, package.stubs), _importable([str(root)], others):
        for name in (*parents, *package.bare):
            bare = ModuleType(name)
            bare.__path__ = [str(root.joinpath(*name.split(".")))]
            sys.modules[name] = bare
        for name, members in package.stubs.items():
            stub = ModuleType(name)
            stub.__dict__.update(members)
            sys.modules[name] = stub
        return importlib.import_module(package.module)


@contextmanager
def _apart(top: set[str], names: Collection[str]) -> Iterator[None]:
    """Within: such modules are imported anew; afterwards all is as before.

    Args:
        top: packages, with everything in them.
        names: single modules.
    """

    def those() -> dict[str, ModuleType]:
        return {
            name: module
            for name, module in sys.modules.items()
            if name.partition(".")[0] in top or name in names
        }

    before = those()
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in those():
            del sys.modules[name]
        sys.modules.update(before)


@contextmanager
def _importable(first: list[str], last: list[str]) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:] = [*first, *before, *last]  # what is installed comes before the others
    try:
        yield
    finally:
        sys.path[:] = before


# --- the packages --------------------------------------------------------------------

LENGTHS = (200, 2000, 20_000)  # these detectors' cost for each token falls with length


def _vllm(module: Any) -> Iterator[Engine]:
    def peer(numbers: Numbers, vocab: int) -> Detect:
        detector = module.GumbelWatermarkDetector(numbers[0])
        return lambda ids: float(detector.detect(ids.tolist()).p_value)

    def dual(numbers: Numbers, vocab: int) -> Detect:
        detector = module.DualKeyGumbelWatermarkDetector(numbers[0])
        return lambda ids: float(detector.detect(ids.tolist()).p_value)

    more: Any = {"ratio": 30.0, "lengths": LENGTHS}
    yield Engine("vLLM", "vllm-gumbel", peer, **more)
    yield Engine("vLLM dual-key", "vllm-gumbel", dual, {"dual": 1}, **more)


def _sglang(module: Any) -> Iterator[Engine]:
    def peer(numbers: Numbers, vocab: int) -> Detect:
        first, *more = (f"{number:x}" for number in numbers)
        detector = module.WatermarkDetector(first, key_b=more[0] if more else None)
        return lambda ids: float(detector.detect_tokens(ids.tolist()).combined.p_value)

    more: Any = {"ratio": 50.0, "lengths": LENGTHS}
    yield Engine("SGLang", "sglang-gumbel", peer, **more)
    yield Engine("SGLang dual-key", "sglang-gumbel", peer, {"dual": 1}, **more)


def _synthid(module: Any) -> Iterator[Engine]:
    def peer(numbers: Numbers, vocab: int) -> Detect:
        return weighted_mean(
            module.SynthIDLogitsProcessor(
                ngram_len=5,
                keys=list(numbers),
                context_history_size=1024,
                temperature=1.0,
                top_k=40,
                device=torch.device("cpu"),
            )
        )

    yield Engine("synthid-text", "synthid", peer, claims=False)


def _textseal(module: Any) -> Iterator[Engine]:
    def peer(numbers: Numbers, vocab: int) -> Detect:
        # It takes texts: here a text is its ids, and the tokenizer hands them on.
        tokenizer = SimpleNamespace(
            encode=lambda ids, add_special_tokens: ids, vocab_size=vocab
        )
        settings = module.WatermarkArgs(secret_key=numbers[0])
        detector = module.build_detector(tokenizer, settings)

        def p_value(ids: Ids) -> float:
            # As its own evaluation calls it: each pair of context and token once.
            [scores] = detector.get_scores_by_t(
                [ids.tolist()], settings.scoring_method, seen_windows=set()
            )
            return float(detector.get_pvalue(sum(scores), len(scores), eps=1e-200))

        return p_value

    yield Engine("TextSeal", "textseal", peer)


def _lm_watermarking(module: Any) -> Iterator[Engine]:
    def peer(prf: str, width: int, salt: int) -> Callable[[Numbers, int], Detect]:
        def made(numbers: Numbers, vocab: int) -> Detect:
            cached: Any = module.WatermarkDetector._get_ngram_score_cached
            cached.cache_clear()  # it is one for all detectors, and has no end
            detector = module.WatermarkDetector(
                vocab=range(vocab),
                gamma=0.25,
                seeding_scheme=f"ff-{prf}-{width}-{bool(salt)}-{numbers[0]}",
                device=torch.device("cpu"),
                tokenizer=SimpleNamespace(bos_token_id=None),
                normalizers=[],
            )

            def p_value(ids: Ids) -> float:
                rows = torch.from_numpy(ids.astype(np.int64))
                return float(detector.detect(tokenized_text=rows)["p_value"])

            return p_value

        return made

    for name, prf, width, salt in (
        ("selfhash", "anchored_minhash_prf", 4, 1),
        ("minhash", "minhash_prf", 4, 0),
        ("skipgram", "skipgram_prf", 5, 0),
    ):
        yield Engine(
            name=f"lm-watermarking {name}",
            scheme="kgw",
            peer=peer(prf, width, salt),
            parameters={"prf": prf, "width": width, "self_salt": salt},
            reset=kgw.forget,
        )


def _unigram(module: Any) -> Iterator[Engine]:
    def peer(numbers: Numbers, vocab: int) -> Detect:
        detector = module.GPTWatermarkDetector(
            vocab_size=vocab, watermark_key=numbers[0]
        )
        # It gives a z-score, to be read as a normal variable's.
        return lambda ids: float(norm.sf(detector.detect(ids.tolist())))

    def unique(numbers: Numbers, vocab: int) -> Detect:
        detector = module.GPTWatermarkDetector(
            vocab_size=vocab, watermark_key=numbers[0]
        )
        return lambda ids: float(norm.sf(detector.unidetect(ids.tolist())))

    yield Engine("Unigram", "unigram", peer)
    yield Engine("Unigram, distinct tokens", "unigram", unique)


# Modules that packages keep at the top, under names that are nobody's.
LOOSE = ("alternative_prf_schemes", "homoglyphs", "normalizers")

PACKAGES = (
    Package(
        "vLLM",
        "vllm/v1/watermarking/gumbel.py",
        "vllm.v1.watermarking.gumbel",
        _vllm,
        bare=("vllm.config",),
        stubs={
            "vllm.config.utils": {"config": lambda cls: cls},
            "vllm.logger": {"init_logger": lambda name: None},
            "vllm.v1.worker.gpu.sample.gumbel": {"gumbel_sample": None},
        },
    ),
    Package(
        "SGLang",
        "sglang/srt/sampling/watermarking/detector.py",
        "sglang.srt.sampling.watermarking.detector",
        _sglang,
    ),
    Package(
        "synthid-text",
        "synthid_text/logits_processing.py",
        "synthid_text.logits_processing",
        _synthid,
        holds=b"sha256",  # since June 2025; before, its bits were transformers'
    ),
    Package(
        "TextSeal",
        "textseal/posthoc/detector.py",
        "textseal.posthoc.detector",
        _textseal,
        bare=("textseal.common", "textseal.common.watermark"),
    ),
    Package(
        "lm-watermarking",
        "extended_watermark_processor.py",
        "extended_watermark_processor",
        _lm_watermarking,
    ),
    Package(
        "Unigram-Watermark",
        "gptwm.py",
        "gptwm",
        _unigram,
        # A base class of its generator that transformers has no longer.
        stubs={"transformers": {"LogitsWarper": object}},
    ),
)
