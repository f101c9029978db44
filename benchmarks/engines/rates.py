"""How often what people wrote falls below a p-value, under random keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.engines.engine import LENGTH, Engine
from benchmarks.fpr_corpus import Corpus, reader, texts
from benchmarks.language import Language
from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target

ALPHAS = (1e-1, 1e-2, 1e-3)


def measure(engines: Sequence[Engine], options: Options) -> Part:
    """Claimed and realised rates of both detectors on the same texts and keys."""
    vocab = Language.load(options.lm).vocab_size
    corpus = Corpus.read(reader(options.lm), texts())
    count = options.count(150, 2000)
    rows: list[tuple[Cell, ...]] = []
    targets = []
    for engine in engines:
        generator = np.random.default_rng(options.seed)
        segments = [ids for _, ids in corpus.draw((LENGTH,), generator, count)]
        theirs, ours = np.empty(count), np.empty(count)
        for i in options.track(range(count), f"{engine.name}, unmarked"):
            peer, own, _ = engine.both(vocab, options.seed, i)
            theirs[i], ours[i] = peer(segments[i]), own(segments[i])
        for alpha in ALPHAS:
            exact = Rate(int((ours <= math.log(alpha)).sum()), count)
            claimed: tuple[Cell, Cell] = (None, "it gives no p-value")
            if engine.claims:
                claimed = alpha, str(Rate(int((theirs <= alpha).sum()), count))
            rows.append((engine.name, *claimed, alpha, str(exact)))
            targets.append(
                Target(
                    name=f"{engine.name}: our realised rate at {alpha:g}",
                    target=f"interval reaches down to {alpha:g}",
                    measured=exact.value,
                    reached=exact.interval()[0] <= alpha,
                    interval=exact.interval(),
                )
            )
    columns = (
        "engine",
        "its p claimed",
        "its rate realised",
        "our p claimed",
        "our rate realised",
    )
    note = (
        f"{count} segments of {LENGTH} tokens: prose, code, licences, tables and "
        "boilerplate in twelve languages, each under a key of its own; rates with "
        "their exact 95 % intervals."
    )
    title = "Rates without a mark: claimed and realised"
    return Part(
        targets=tuple(targets), tables=(Table(title, columns, tuple(rows), note),)
    )
