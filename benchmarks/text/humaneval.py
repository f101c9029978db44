"""False positives on code that people wrote: HumanEval's problems, solved.

The data set (MIT licence, github.com/openai/human-eval) is not part of the project:
``--data DIR`` names the folder that holds it, or ``humaneval/`` with it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.language import Language, Sampling
from benchmarks.options import Options, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Table, Target
from benchmarks.text import kgw
from watermark.detectors import greenlist, gumbel, weighted
from watermark.keys import KeyRecord
from watermark.likelihood import Likelihood
from watermark.schemes import SCHEMES

FILE = "humaneval.jsonl"
ALPHAS = (0.05, 1e-3)
LEVEL = 0.998  # two-sided: its lower end is a one-sided 99.9 % bound
DETECTORS = ("gumbel", "gumbel, with the model", "greenlist", "greenlist, gate 0.3")
KGW = "HF KGW, by its own p-value"


@dataclass(frozen=True, slots=True)
class Solution:
    """Token ids of one solved problem, and what the model makes of them."""

    ids: NDArray[np.uint32]
    probabilities: NDArray[np.float64]
    entropies: NDArray[np.float64]


def false_positives(
    language: Language, sampling: Sampling, options: Options
) -> tuple[Table, tuple[Target, ...]]:
    """Realised rates at the stated levels; one row that says so without the data."""
    columns = ("HumanEval solutions tested by", "tests", *(f"{a:g}" for a in ALPHAS))
    title = "False positives on HumanEval"
    path = find(options.data)
    if path is None:
        row = (f"not measured: no {FILE}, name its folder with --data", 0, None, None)
        return Table(title, columns, (row,)), ()
    solved = read(path, language, sampling)
    keys = options.count(4, 60)
    tails = {name: _tails(name, solved, keys, options) for name in DETECTORS}
    tails[KGW] = _kgw(solved, keys, language.vocab_size, options.seed)
    rates = {
        name: [Rate(sum(t <= math.log10(a) for t in found), len(found)) for a in ALPHAS]
        for name, found in tails.items()
    }
    rows: list[tuple[Cell, ...]] = [
        (name, found[0].n, *(str(rate) for rate in found))
        for name, found in rates.items()
    ]
    targets = tuple(
        Target(
            name=f"HumanEval, {name}: false positives at {alpha:g}",
            target=f"<= {alpha:g} (one-sided 99.9 %)",
            measured=rate.value,
            reached=rate.interval(LEVEL)[0] <= alpha,
            interval=rate.interval(),
            note=f"{rate.hits} of {rate.n}",
        )
        for name in DETECTORS
        for alpha, rate in zip(ALPHAS, rates[name], strict=True)
    )
    note = (
        f"{len(solved)} solutions with their prompts, {keys} keys each; ours a key of "
        "its own for every test, KGW's keys shared by all solutions."
    )
    return Table(title, columns, tuple(rows), note), targets


def find(data: Path | None) -> Path | None:
    """The data set's file in a folder, or None."""
    if data is None:
        return None
    paths = (data / FILE, data / "humaneval" / FILE)
    return next((path for path in paths if path.is_file()), None)


def read(path: Path, language: Language, sampling: Sampling) -> list[Solution]:
    """Every solution after its prompt, as the language model reads it."""
    model = Likelihood(
        language.model, temperature=sampling.temperature, top_p=sampling.top_p
    )
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        said = problem["prompt"] + problem["canonical_solution"]
        ids = np.asarray(language.reader.encode(said), np.uint32)
        found.append(Solution(ids, model.probabilities(ids), model.entropies(ids)))
    return found


def _tails(
    name: str, solved: list[Solution], keys: int, options: Options
) -> list[float]:
    """log10 p of every solution under keys of its own."""
    scheme, gate = name.partition(",")[0], "gate" in name
    more: dict[str, Any] = {"gate100": 30} if gate else {}
    found = []
    for i, solution in enumerate(solved):
        for k in range(keys):
            key = seeded_key("humaneval", options.seed, name, i, k)
            record = SCHEMES[scheme].record(key, **more)
            found.append(_log10_p(name, solution, record))
    return found


def _log10_p(name: str, solution: Solution, record: KeyRecord) -> float:
    if record.scheme == "greenlist":
        known = solution.entropies if "gate" in name else None
        return greenlist.score(solution.ids, record, known).log10_p()
    if "model" in name:
        given = solution.probabilities
        return weighted.score(solution.ids, record, given).log10_p()
    return gumbel.score(solution.ids, record).log10_p()


def _kgw(solved: list[Solution], keys: int, vocab: int, seed: int) -> list[float]:
    """log10 of the normal tail that WatermarkDetector states."""
    texts = [solution.ids for solution in solved]
    whole = max(map(len, texts))
    found = [
        kgw.scores(texts, kgw.key("humaneval", seed, k), [whole], vocab)
        for k in range(keys)
    ]
    return [float(p) / math.log(10) for p in norm.logsf(np.concatenate(found)[:, 0])]
