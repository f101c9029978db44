"""Processor seconds a document, at the width of a large model's vocabulary."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

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
    for engine in options.track(engines, "speed"):
        for length in engine.lengths:
            documents = documents_of(many, options.seed, length)
            few = documents[: max(3, some * LENGTH // length)]
            found = _measured(engine, documents, few, options.seed)
            for what, slow, own, least in found:
                ratio = slow / own
                rows.append((engine.name, length, what, slow * 1e3, own * 1e3, ratio))
                name = (
                    f"{engine.name} detection, {length} tokens, {what}: times its own"
                )
                if least is not None:
                    targets.append(Target.at_least(name, ratio, least))
    columns = ("engine", "tokens", "contexts", "its own, ms", "ours, ms", "ratio")
    note = (
        f"One document, V = {WIDE}; {some} documents of {LENGTH} tokens by the engine, "
        f"at most {many} by ours, fewer of longer ones, all under one key. Processor "
        "time of one thread."
    )
    table = Table("Speed of detection", columns, tuple(rows), note)
    return Part(targets=tuple(targets), tables=(table,))


def _measured(
    engine: Engine, documents: Sequence[Ids], few: Sequence[Ids], seed: int
) -> Iterator[tuple[str, float, float, float | None]]:
    """Contexts, seconds of its own detector and of ours, and the stated ratio."""
    theirs, ours, _ = engine.both(WIDE, seed)
    for detect in (theirs, ours):
        detect(documents[0][:20])  # tables that are made once
    slow = seconds(theirs, few)
    if engine.reset is not None:
        engine.reset()
    yield SEEN_FIRST, slow, seconds(ours, documents), engine.ratio
    if engine.reset is not None:
        seconds(ours, documents)  # lists are kept from the second time on
        yield SEEN_BEFORE, slow, seconds(ours, documents), engine.again


def documents_of(count: int, seed: int, length: int = LENGTH) -> list[Ids]:
    """Real words, each an id of a wide vocabulary: documents of `length` tokens.

    They repeat contexts as texts do; the ids themselves decide no time.
    """
    words = re.findall(r"\w+|[^\w\s]", "\n".join(texts().values()))
    distinct = sorted(set(words))
    ids = 1 + np.random.default_rng(seed).permutation(WIDE - 1)[: len(distinct)]
    table = dict(zip(distinct, ids.tolist(), strict=False))
    stream = np.asarray([table[w] for w in words if w in table], np.uint32)
    count = min(count, len(stream) // length)
    order = np.random.default_rng(seed).permutation(len(stream) // length)[:count]
    return [stream[length * i : length * (i + 1)] for i in order.tolist()]


def seconds(detect: Detect, documents: Sequence[Ids]) -> float:
    """Mean processor time of this thread for one document."""
    start = time.thread_time()
    for ids in documents:
        detect(ids)
    return (time.thread_time() - start) / len(documents)
