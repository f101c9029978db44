"""Other engines' marks: our detector beside each engine's own.

    python -m benchmarks engines

Three questions, on the same texts under the same keys: how fast, how often a text
without a mark is accused at a stated p-value, and how often a text that the engine
itself marked is found. Each engine is an `Engine`; one whose package is not installed
is left out, and the notes say so.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.fpr_corpus import Corpus, texts
from benchmarks.language import PROMPTS, Language, Sampling
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Result, Table, Target
from watermark.detectors.foreign import DETECTORS, kgw
from watermark.schemes.foreign import FOREIGN, engine_numbers

Ids = NDArray[np.uint32]
Numbers = tuple[int, ...]

WIDE = 151_936  # a large model's vocabulary, for speed
LENGTH = 200  # tokens of a document
ALPHAS = (1e-1, 1e-2, 1e-3)
BIAS = 2.0


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's mark.

    Attributes:
        name: in tables.
        scheme: ours of the same bits.
        parameters: of the key record.
        peer: (numbers, vocabulary) to the engine's own detector: ids to its p-value.
            The numbers are the key, as `engine_numbers` gives them.
        config: numbers to what `generate(watermarking_config=...)` takes, or None
            where the engine does not generate through transformers.
        ratio: the stated least ratio of speeds, without lists that were kept.
        again: the same where they were.
        reset: empties what our detector keeps between texts.
    """

    name: str
    scheme: str
    parameters: Mapping[str, Any]
    peer: Callable[[Numbers, int], Callable[[Ids], float]]
    config: Callable[[Numbers], Any] | None = None
    ratio: float = 1.0
    again: float = 1.0
    reset: Callable[[], object] = lambda: None

    def both(
        self, vocab: int, *parts: object
    ) -> tuple[Callable[[Ids], float], Callable[[Ids], float], Numbers]:
        """The engine's detector (p) and ours (ln p) under one key, and its numbers.

        Args:
            vocab: size of the vocabulary.
            parts: what the key depends on.
        """
        record = FOREIGN[self.scheme].record(
            seeded_key("engine", self.name, *parts), vocab_size=vocab, **self.parameters
        )
        numbers, detector = engine_numbers(record), DETECTORS[self.scheme]

        def ours(ids: Ids) -> float:
            return float(detector.score(ids, record).ln_p)

        return self.peer(numbers, vocab), ours, numbers


def run(options: Options) -> Result:
    """Speed, rates and power of every engine that can run here."""
    engines = list(_engines())
    targets: list[Target] = []
    tables: list[Table] = []
    with options.threading(1):
        for part in (speed, rates, power):
            if options.only and part.__name__ not in options.only:
                continue
            more, shown = part(engines, options)
            targets += more
            tables += shown
    return Result(
        name="engines",
        parameters={"seed": options.seed, "tokens": LENGTH, "bias": BIAS},
        targets=tuple(targets),
        tables=tuple(tables),
        notes=(
            "Texts and keys are the same for both detectors. The engine's detector "
            "runs with its defaults; its p-value is the one that it returns.",
        ),
    )


# --- speed ---------------------------------------------------------------------------


def speed(
    engines: Sequence[Engine], options: Options
) -> tuple[list[Target], list[Table]]:
    """Processor seconds a document, at the width of a large model's vocabulary."""
    targets: list[Target] = []
    rows: list[tuple[Cell, ...]] = []
    some, many = options.count(10, 200), options.count(200, 1000)
    documents = documents_of(many, options.seed)
    for engine in engines:
        theirs, ours, _ = engine.both(WIDE, options.seed)
        ours(documents[0][:20])  # tables that are made once
        engine.reset()
        cold = _seconds(ours, documents)
        _seconds(ours, documents)  # lists are kept from the second time on
        warm = _seconds(ours, documents)
        slow = _seconds(theirs, documents[:some])
        rows.append((engine.name, slow * 1e3, cold * 1e3, warm * 1e3))
        rows[-1] += (slow / cold, slow / warm)
        for ratio, least, what in (
            (slow / cold, engine.ratio, "texts seen for the first time"),
            (slow / warm, engine.again, "contexts that came before"),
        ):
            name = f"{engine.name} detection, {what}: times the engine's own speed"
            targets.append(Target.at_least(name, ratio, least))
    columns = ("engine", "its own, ms", "ours, ms", "ours again, ms", "ratio", "again")
    note = (
        f"One document of {LENGTH} tokens, V = {WIDE}; {some} documents by the engine, "
        f"{len(documents)} by ours, all of one key and then all of them again."
    )
    return targets, [Table("Speed of detection", columns, tuple(rows), note)]


def documents_of(count: int, seed: int) -> list[Ids]:
    """Real words, each an id of a wide vocabulary: documents of `LENGTH` tokens.

    They repeat contexts as texts do; the ids themselves decide no time.
    """
    words = re.findall(r"\w+|[^\w\s]", "\n".join(texts().values()))
    distinct = sorted(set(words))
    ids = 1 + np.random.default_rng(seed).permutation(WIDE - 1)[: len(distinct)]
    table = dict(zip(distinct, ids.tolist(), strict=True))
    stream = np.asarray([table[w] for w in words if w in table], np.uint32)
    count = min(count, len(stream) // LENGTH)
    order = np.random.default_rng(seed).permutation(len(stream) // LENGTH)[:count]
    return [stream[LENGTH * i : LENGTH * (i + 1)] for i in order.tolist()]


def _seconds(detect: Callable[[Ids], float], documents: Sequence[Ids]) -> float:
    start = time.thread_time()
    for ids in documents:
        detect(ids)
    return (time.thread_time() - start) / len(documents)


# --- rates ---------------------------------------------------------------------------


def rates(
    engines: Sequence[Engine], options: Options
) -> tuple[list[Target], list[Table]]:
    """How often what people wrote falls below a p-value, under random keys."""
    language = Language.load(options.lm)
    corpus = Corpus.read(language.reader, texts())
    count = options.count(400, 20_000)
    rows: list[tuple[Cell, ...]] = []
    targets = []
    for engine in engines:
        generator = np.random.default_rng(options.seed)
        segments = [ids for _, ids in corpus.draw((LENGTH,), generator, count)]
        theirs, ours = np.empty(count), np.empty(count)
        for i in options.track(range(count), engine.name):
            peer, own, _ = engine.both(language.vocab_size, options.seed, i)
            theirs[i], ours[i] = peer(segments[i]), own(segments[i])
        for alpha in ALPHAS:
            peers = Rate(int((theirs <= alpha).sum()), count)
            exact = Rate(int((ours <= math.log(alpha)).sum()), count)
            rows.append((engine.name, alpha, str(peers), alpha, str(exact)))
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
        "Segments of prose, code, licences, tables and boilerplate, each under a key "
        "of its own; rates with their exact 95 % intervals."
    )
    return targets, [
        Table("Rates without a mark: claimed and realised", columns, tuple(rows), note)
    ]


# --- power ---------------------------------------------------------------------------


def power(
    engines: Sequence[Engine], options: Options
) -> tuple[list[Target], list[Table]]:
    """How many texts that the engine marked are found, at one realised rate."""
    language = Language.load(options.lm)
    vocab = language.vocab_size
    count, nulls = options.count(32, 256), options.count(400, 20_000)
    plain = _generate(language, options, count, None, "plain")
    rows: list[tuple[Cell, ...]] = []
    targets = []
    for engine in engines:
        if engine.config is None:
            continue
        *both, numbers = engine.both(vocab, options.seed, "power")
        config = engine.config(numbers)
        marked = _generate(language, options, count, config, engine.name)
        found = [np.asarray([detect(ids) for ids in marked]) for detect in both]
        null = np.empty((2, nulls))
        for i in options.track(range(nulls), f"{engine.name}, unmarked"):
            peer, own, _ = engine.both(vocab, options.seed, "null", i)
            ids = plain[i % len(plain)]
            null[:, i] = peer(ids), own(ids)
        for alpha in (1e-2, 1e-3):
            if nulls * alpha < 3:
                continue
            cuts = [np.quantile(row, alpha, method="lower") for row in null]
            shares = [
                Rate(int((p < cut).sum()), count)
                for p, cut in zip(found, cuts, strict=True)
            ]
            rows.append((engine.name, f"realised {alpha:g}", *map(str, shares)))
        claimed = (
            Rate(int((found[0] <= 1e-6).sum()), count),
            Rate(int((found[1] <= math.log(1e-6)).sum()), count),
        )
        rows.append((engine.name, "claimed 1e-06", *map(str, claimed)))
        targets.append(
            Target.at_least(
                f"{engine.name}: found at our p = 1e-6", claimed[1].value, 0.9
            )
        )
    columns = ("engine", "rate", "found by its own", "found by ours")
    note = (
        f"{count} texts of {LENGTH} tokens by the small language model, temperature 1, "
        f"bias {BIAS:g}; thresholds from {nulls} unmarked texts under random keys."
    )
    return targets, [Table("Texts that the engine marked", columns, tuple(rows), note)]


def _generate(
    language: Language, options: Options, count: int, config: Any, name: str
) -> list[Ids]:
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(count)]
    more = {} if config is None else {"watermarking_config": config}
    drawn = []
    for start in range(0, count, 32):
        drawn += language.sample(
            prompts[start : start + 32],
            sampling=Sampling(),
            seed=seeded("engines", options.seed, name, start),
            length=LENGTH,
            **more,
        ).ids
    return [np.asarray(ids, np.uint32) for ids in drawn]


# --- the engines ---------------------------------------------------------------------


def _engines() -> Iterator[Engine]:
    yield _transformers("lefthash", 1, 10.0, 100.0)
    yield _transformers("selfhash", 4, 10.0, 10.0)


def _transformers(seeding: str, width: int, ratio: float, again: float) -> Engine:
    """transformers' green lists, and its `WatermarkDetector`."""
    from transformers import LlamaConfig, WatermarkDetector, WatermarkingConfig

    def config(numbers: Numbers) -> Any:
        return WatermarkingConfig(
            hashing_key=numbers[0],
            seeding_scheme=seeding,
            context_width=width,
            bias=BIAS,
        )

    def peer(numbers: Numbers, vocab: int) -> Callable[[Ids], float]:
        model = LlamaConfig(vocab_size=vocab, bos_token_id=0)
        detector: Any = WatermarkDetector(model, "cpu", config(numbers))

        def p_value(ids: Ids) -> float:
            rows = torch.from_numpy(ids.astype(np.int64))[None]
            return float(detector(rows, return_dict=True).p_value[0])

        return p_value

    return Engine(
        name=f"transformers {seeding}",
        scheme="hf-kgw",
        parameters={"seeding": seeding, "width": width},
        peer=peer,
        config=config,
        ratio=ratio,
        again=again,
        reset=kgw.forget,
    )
