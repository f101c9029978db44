"""How many texts that the engine marked are found, at one realised rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.engine import BIAS, LENGTH, Detect, Engine, Ids
from benchmarks.language import PROMPTS, Language, Sampling
from benchmarks.options import Options, Unavailable, seeded
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target

ALPHAS = (1e-2, 1e-3)  # realised
FEWEST = 3  # nulls that a threshold has to leave behind it
STRICT = 1e-6  # claimed
BATCH = 16
ATTEMPTS = 20

Values = NDArray[np.float64]


def measure(engines: Sequence[Engine], options: Options) -> Part:
    """Texts by transformers' own `generate`, at both detectors' thresholds."""
    language = Language.load(options.lm)
    count, nulls = options.count(24, 160), options.count(300, 2000)
    plain = _generate(language, options, count, None, "plain")
    rows: list[tuple[Cell, ...]] = []
    targets: list[Target] = []
    for engine in engines:
        if engine.config is None:
            continue
        *both, numbers = engine.both(language.vocab_size, options.seed, "power")
        config = engine.config(numbers)
        marked = _generate(language, options, count, config, engine.name)
        theirs, ours = (_values(detect, marked) for detect in both)
        null = np.empty((2, nulls))
        for i in options.track(range(nulls), f"{engine.name}, unmarked"):
            peer, own, _ = engine.both(language.vocab_size, options.seed, "null", i)
            ids = plain[i % len(plain)]
            null[:, i] = peer(ids), own(ids)
        for alpha in ALPHAS:
            if nulls * alpha < FEWEST:
                continue
            found = [
                below(v, n, alpha) for v, n in zip((theirs, ours), null, strict=True)
            ]
            shares = [Rate(int(hits.sum()), count) for hits in found]
            rows.append((engine.name, f"realised {alpha:g}", *map(str, shares)))
            targets.append(_no_lower(engine.name, alpha, *found))
        claimed = Rate(int((ours <= math.log(STRICT)).sum()), count)
        peers = "it gives no p-value"
        if engine.claims:
            peers = str(Rate(int((theirs <= STRICT).sum()), count))
        rows.append((engine.name, f"claimed {STRICT:g}", peers, str(claimed)))
        targets.append(
            Target.of_rate(f"{engine.name}: found at our p = {STRICT:g}", claimed, 0.9)
        )
    columns = ("engine", "rate", "found by its own", "found by ours")
    note = (
        f"{count} texts of {LENGTH} tokens by the small language model, temperature 1, "
        f"bias {BIAS:g}; thresholds from {nulls} unmarked texts under random keys. "
        "SynthID's own score is the weighted mean; its Bayesian detector, which has to "
        "be trained, was not run. Batches in which transformers' selfhash fails (no "
        "green token among the forty likeliest) are drawn anew."
    )
    table = Table("Texts that the engine marked", columns, tuple(rows), note)
    return Part(targets=tuple(targets), tables=(table,))


def below(values: Values, null: Values, alpha: float) -> NDArray[np.bool_]:
    """Which values lie below all but at most a share `alpha` of the null's."""
    hits: NDArray[np.bool_] = values < np.sort(null)[int(alpha * len(null))]
    return hits


def _no_lower(
    name: str, alpha: float, theirs: NDArray[np.bool_], ours: NDArray[np.bool_]
) -> Target:
    """Ours finds as many as the engine's own, at one realised rate."""
    alone, missed = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return Target.at_least(
        f"{name}: found at a realised rate of {alpha:g}, and by its own",
        float(ours.mean()),
        float(theirs.mean()),
        note=f"{alone} texts only by ours, {missed} only by its own",
    )


def _values(detect: Detect, marked: Sequence[Ids]) -> Values:
    return np.asarray([detect(ids) for ids in marked])


def _generate(
    language: Language, options: Options, count: int, config: Any, name: str
) -> list[Ids]:
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(count)]
    drawn: list[list[int]] = []
    for start in options.track(range(0, count, BATCH), f"{name}, generating"):
        drawn += _batch(
            language,
            prompts[start : start + BATCH],
            config,
            (options.seed, name, start),
        )
    return [np.asarray(ids, np.uint32) for ids in drawn]


def _batch(
    language: Language, prompts: Sequence[str], config: Any, parts: tuple[object, ...]
) -> list[list[int]]:
    """One batch, under a seed that depends on `parts`.

    transformers' selfhash fails where none of the forty likeliest tokens is green: once
    in 10^5 steps and more. Then the batch is drawn anew under another seed.
    """
    more = {} if config is None else {"watermarking_config": config}
    for attempt in range(ATTEMPTS):
        try:
            return language.sample(
                prompts,
                sampling=Sampling(),
                seed=seeded("engines", *parts, attempt),
                length=LENGTH,
                **more,
            ).ids
        except IndexError:
            continue
    raise Unavailable(f"generate() failed {ATTEMPTS} times: {parts[1]}")
