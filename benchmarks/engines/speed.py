"""Processor seconds a document, at the width of a large model's vocabulary."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.engines.engine import LENGTH, Detect, Engine, Ids
from benchmarks.fpr_corpus import texts
from benchmarks.options import Options
from benchmarks.report import Cell, Part, Table, Target

WIDE = 151_936  # a large model's vocabulary
SEEN_FIRST, SEEN_BEFORE = "new texts", "contexts that came before"


def measure(engines: Sequence[Engine], options: Options) -> Part:
    """Both detectors on the same documents."""
    targets: list[Target] = []
    rows: list[tuple[Cell, ...]] = []
    some, many = options.count(5, 50), options.count(200, 1000)
    documents = documents_of(many, options.seed)
    for engine in options.track(engines, "speed"):
        theirs, ours, _ = engine.both(WIDE, options.seed)
        for detect in (theirs, ours):
            detect(documents[0][:20])  # tables that are made once
        slow = seconds(theirs, documents[:some])
        if engine.reset is not None:
            engine.reset()
        times = {SEEN_FIRST: (seconds(ours, documents), engine.ratio)}
        if engine.reset is not None:
            seconds(ours, documents)  # lists are kept from the second time on
            times[SEEN_BEFORE] = (seconds(ours, documents), engine.again)
        for what, (own, least) in times.items():
            rows.append((engine.name, what, slow * 1e3, own * 1e3, slow / own))
            name = f"{engine.name} detection, {what}: times the engine's own speed"
            if least is not None:
                targets.append(Target.at_least(name, slow / own, least))
    columns = ("engine", "contexts", "its own, ms", "ours, ms", "ratio")
    note = (
        f"One document of {LENGTH} tokens, V = {WIDE}; {some} documents by the engine, "
        f"{len(documents)} by ours, all under one key. "
        "Processor time of one thread."
    )
    table = Table("Speed of detection", columns, tuple(rows), note)
    return Part(targets=tuple(targets), tables=(table,))


def documents_of(count: int, seed: int) -> list[Ids]:
    """Real words, each an id of a wide vocabulary: documents of `LENGTH` tokens.

    They repeat contexts as texts do; the ids themselves decide no time.
    """
    words = re.findall(r"\w+|[^\w\s]", "\n".join(texts().values()))
    distinct = sorted(set(words))
    ids = 1 + np.random.default_rng(seed).permutation(WIDE - 1)[: len(distinct)]
    table = dict(zip(distinct, ids.tolist(), strict=False))
    stream = np.asarray([table[w] for w in words if w in table], np.uint32)
    count = min(count, len(stream) // LENGTH)
    order = np.random.default_rng(seed).permutation(len(stream) // LENGTH)[:count]
    return [stream[LENGTH * i : LENGTH * (i + 1)] for i in order.tolist()]


def seconds(detect: Detect, documents: Sequence[Ids]) -> float:
    """Mean processor time of this thread for one document."""
    start = time.thread_time()
    for ids in documents:
        detect(ids)
    return (time.thread_time() - start) / len(documents)
