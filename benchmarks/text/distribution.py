"""Is the mark free of distortion? Tokens over many keys against the model's chances.

For fixed contexts of the language model a token is chosen under each of many keys; the
counts are held against the model's own probabilities by chi-square. Over whole texts,
repetition and length of marked samples are held against unmarked ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2

from benchmarks.language import PROMPTS, Language, Sampling, nucleus
from benchmarks.options import Options, seeded_key
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.text.samples import Sampler, Set, Text
from watermark.schemes import SCHEMES, gumbel, tournament

LEAST = 5.0  # expected count of a cell; rarer tokens share one
LEVEL = 0.001  # of the chi-square test, over all contexts together
CONTEXT = 4
MARKED = Set("whole texts, gumbel", "gumbel", None)
PLAIN = Set("whole texts, unmarked", None, None)
SCHEMES_TESTED = ("gumbel", "tournament")


def measure(sampler: Sampler, options: Options) -> Part:
    """Chi-square of single tokens; repetition of whole texts."""
    keys = options.count(2_000, 20_000)
    rows: list[tuple[Cell, ...]] = []
    targets: list[Target] = []
    chances = _chances(sampler.language)
    for name in SCHEMES_TESTED:
        statistic, freedom = 0.0, 0
        for i, p in enumerate(options.track(chances, f"distribution: {name}")):
            counts = _counts(name, p, i, keys, options.seed)
            value, cells = chi_square(counts, p)
            statistic, freedom = statistic + value, freedom + cells - 1
        tail = float(chi2.sf(statistic, freedom))
        rows.append((name, len(chances), keys, statistic, freedom, tail))
        targets.append(
            Target(
                name=f"{name}: tokens follow the model, chi-square over keys",
                target=f"p > {LEVEL:g}",
                measured=tail,
                reached=tail > LEVEL,
                note=f"{statistic:.0f} at {freedom} degrees of freedom",
            )
        )
    columns = ("scheme", "contexts", "keys", "chi-square", "degrees of freedom", "p")
    tested = Table("Tokens over keys against the model", columns, tuple(rows))
    repeated, same = _repetition(sampler, options)
    return Part(
        parameters={"keys of the chi-square": keys},
        targets=(*targets, *same),
        tables=(tested, repeated),
    )


def chi_square(counts: NDArray[np.int64], p: NDArray[np.float64]) -> tuple[float, int]:
    """Pearson's statistic and its cells; tokens expected rarely share a cell."""
    expected = p * counts.sum()
    common = expected >= LEAST
    observed = np.append(counts[common], counts[~common].sum()).astype(float)
    wanted = np.append(expected[common], expected[~common].sum())
    if wanted[-1] < LEAST:  # too little to stand alone
        observed = np.append(observed[:-2], observed[-2:].sum())
        wanted = np.append(wanted[:-2], wanted[-2:].sum())
    return float(((observed - wanted) ** 2 / wanted).sum()), len(wanted)


def _chances(language: Language) -> list[NDArray[np.float64]]:
    """The model's next-token distributions after every prompt, at temperature 1."""
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([language.reader.encode(prompt)])
        with torch.inference_mode():
            logits = language.model(input_ids=ids).logits[0, -1].double()
        found.append(nucleus(logits.softmax(-1), Sampling()).numpy())
    return found


def _counts(
    scheme: str, p: NDArray[np.float64], place: int, keys: int, seed: int
) -> NDArray[np.int64]:
    """How often each token is chosen after one context, over many keys."""
    generator = np.random.default_rng([seed, place])
    logits = np.log(np.maximum(p, 1e-300)).astype(np.float32)
    context = generator.integers(0, len(p), CONTEXT).tolist()
    counts = np.zeros(len(p), dtype=np.int64)
    for i in range(keys):
        record = SCHEMES[scheme].record(seeded_key("chi", seed, scheme, place, i))
        choice = gumbel.Sequencer(record, 0).choose(context, math.inf)
        if choice is None:
            raise RuntimeError("a first context was not marked")
        if scheme == "gumbel":
            counts[gumbel.select(logits, *choice)] += 1
        else:
            row = tournament.reweigh(logits, choice.state, choice.nonce, record)
            left = np.exp(row.astype(np.float64))
            counts[generator.choice(len(p), p=left / left.sum())] += 1
    return counts


def _repetition(sampler: Sampler, options: Options) -> tuple[Table, tuple[Target, ...]]:
    """Distinct 4-grams and characters of marked and unmarked texts of temperature 1."""
    count = options.count(80, 1000)
    drawn = {part.name: sampler.texts(part, count) for part in (MARKED, PLAIN)}
    rows: list[tuple[Cell, ...]] = []
    found: dict[str, tuple[float, float, float, float]] = {}
    for name, texts in drawn.items():
        new = [_distinct(text) for text in texts]
        long = [float(len(text.said(sampler.language))) for text in texts]
        found[name] = (*_mean(new), *_mean(long))
        rows.append((name, count, *found[name]))
    columns = (
        *("samples of", "n", "distinct 4-grams", "standard error"),
        *("characters", "standard error of characters"),
    )
    targets = tuple(
        _within(name, found[MARKED.name][i : i + 2], found[PLAIN.name][i : i + 2])
        for i, name in ((0, "distinct 4-grams"), (2, "length in characters"))
    )
    return Table("Repetition at temperature 1", columns, tuple(rows)), targets


def _distinct(text: Text) -> float:
    runs = [tuple(text.ids[i : i + 4]) for i in range(len(text.ids) - 3)]
    return len(set(runs)) / len(runs)


def _mean(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def _within(name: str, one: Sequence[float], other: Sequence[float]) -> Target:
    ratio = one[0] / other[0]
    error = ratio * math.hypot(one[1] / one[0], other[1] / other[0])
    return Target(
        name=f"{name}, of unmarked",
        target="1 +- 0.01",
        measured=ratio,
        reached=abs(ratio - 1) <= 0.01,
        note=f"standard error about {error:.4f}",
    )
