"""False positives of text: windows of real prose and code, a random key for each."""

from __future__ import annotations

import math
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded_key, weights_sha256
from benchmarks.report import Part
from benchmarks.tails import ALPHAS, Tail, at_most, summed, table
from watermark import detectors, kernels, schemes
from watermark.detectors import greenlist, gumbel
from watermark.schemes import SCHEMES
from watermark.tokenizer import TextTokenizer

CHUNK = 5_000  # pairs of key and window in one journal row
LENGTHS = (50, 200, 400)
WINDOWS = 600  # of each length
CHARACTERS = 200_000  # read of each file at most
FILES = (
    *("pydoc_data/topics.py", "argparse.py", "typing.py", "statistics.py", "ssl.py"),
    *("asyncio/base_events.py", "turtle.py", "tarfile.py", "email/message.py"),
    *("unittest/mock.py", "this.py", "codecs.py", "decimal.py", "LICENSE.txt"),
)
# (name, scheme, parameters, whether its tail is exact, whether it is adjusted)
CASES: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    ("gumbel, nonce fixed beforehand", "gumbel", {"nonce_bits": 0}, True),
    ("gumbel, 16 nonces searched", "gumbel", {}, False),
    ("greenlist", "greenlist", {}, True),
)
DETECTORS = {"gumbel": gumbel, "greenlist": greenlist}


def count(options: Options) -> Part:
    """Realised rates of the text schemes.

    Raises:
        Unavailable: there is no tokenizer.
    """
    pairs = options.count(20_000, 200_000)
    sha256 = weights_sha256(options.lm)
    identity = {
        "code": code_version((detectors, schemes, kernels), "fpr_text.py", "tails.py"),
        "model": sha256,
        "seed": options.seed,
    }
    sizes = [min(CHUNK, pairs - i) for i in range(0, pairs, CHUNK)]
    ids = [f"pairs/{i}/{size}" for i, size in enumerate(sizes)]
    with Journal(options.work, "fpr-text", identity) as journal:
        missing = journal.missing(ids)
        texts = windows(options.lm, options.seed) if missing else []
        for name in options.track(missing, "fpr: text") if missing else ():
            _, index, size = name.split("/")
            journal.add(name, _chunk(int(index), int(size), texts, options.seed))
        tails = [_tail(journal, ids, pairs, *case) for case in CASES]
        new = journal.added
    note = (
        "Windows of the standard library's prose and code, "
        f"{', '.join(map(str, LENGTHS))} tokens. Expected of a discrete statistic: "
        "what it can attain of alpha."
    )
    return Part(
        parameters={"pairs of key and text": pairs, "windows": len(LENGTHS) * WINDOWS},
        targets=tuple(tail.target() for tail in tails),
        tables=(table("Text", tails, note),),
        new=new,
        reused=len(ids) - new,
    )


def library(folder: Path) -> list[NDArray[np.uint32]]:
    """Token ids of files of the standard library: text that people wrote."""
    tokenizer = TextTokenizer.of(folder)
    root = Path(sysconfig.get_path("stdlib"))
    paths = [root / name for name in FILES if (root / name).exists()]
    read = [path.read_text("utf-8", "replace")[:CHARACTERS] for path in paths]
    return [np.asarray(tokenizer.encode(text), dtype=np.uint32) for text in read]


def windows(folder: Path, seed: int) -> list[NDArray[np.uint32]]:
    """Token ids of windows of the standard library, drawn from `seed`."""
    ids = library(folder)
    generator = np.random.default_rng(seed)
    found = []
    for length in LENGTHS:
        enough = [text for text in ids if len(text) > length]
        for _ in range(WINDOWS):
            text = enough[generator.integers(len(enough))]
            start = int(generator.integers(len(text) - length))
            found.append(text[start : start + length])
    return found


def _chunk(
    index: int, size: int, texts: Sequence[NDArray[np.uint32]], seed: int
) -> dict[str, Any]:
    """Counts over `size` pairs: each a fresh key and a window."""
    generator = np.random.default_rng([seed, index])
    found: dict[str, list[float]] = {name: [] for name, *_ in CASES}
    stated = np.zeros(len(ALPHAS))
    for pair in range(size):
        key = seeded_key("fpr", seed, index, pair)
        ids = texts[int(generator.integers(len(texts)))]
        for name, scheme, parameters, _ in CASES:
            record = SCHEMES[scheme].record(key, **parameters)
            score = DETECTORS[scheme].score(ids, record)
            found[name].append(score.ln_p + math.log(score.hypotheses))
            if scheme == "greenlist":
                gamma = int(record.parameters["gamma16"]) / 16
                stated += attainable(score.n, gamma)
    row: dict[str, Any] = {
        name: at_most(np.asarray(values)) for name, values in found.items()
    }
    return {**row, "greenlist expected": (stated).tolist()}


_ATTAINABLE: dict[tuple[int, float], NDArray[np.float64]] = {}


def attainable(n: int, gamma: float) -> NDArray[np.float64]:
    """The largest tails of Bin(n, gamma) that are at most each alpha."""
    if (n, gamma) not in _ATTAINABLE:
        tails = binom.sf(np.arange(n + 1) - 1, n, gamma)
        _ATTAINABLE[n, gamma] = np.array(
            [max((t for t in tails if t <= alpha), default=0.0) for alpha in ALPHAS]
        )
    return _ATTAINABLE[n, gamma]


def _tail(
    journal: Journal,
    ids: Sequence[str],
    pairs: int,
    name: str,
    scheme: str,
    parameters: dict[str, Any],
    exact: bool,
) -> Tail:
    hits = tuple(int(total) for total in summed(journal, ids, name))
    stated: tuple[float, ...] = ALPHAS
    if scheme == "greenlist":
        stated = tuple(t / pairs for t in summed(journal, ids, "greenlist expected"))
    return Tail(name, exact, pairs, hits, stated)
