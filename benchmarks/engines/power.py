"""How many texts that the engine marked are found, at one realised rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.engine import BIAS, Detect, Engine, Ids
from benchmarks.journal import Journal, code_version
from benchmarks.language import PROMPTS, Language, Sampling
from benchmarks.options import Options, Unavailable, seeded, weights_sha256
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from watermark import kernels, schemes
from watermark.detectors import foreign as detectors
from watermark.schemes import foreign

LENGTHS = (25, 50, 100, 200)  # of the same texts, from their beginning
ALPHAS = (1e-2, 1e-3)  # realised
FEWEST = 3  # nulls that a threshold has to leave behind it
STRICT = 1e-6  # claimed
BATCH = 32
CHUNK = 100  # nulls of one row on file
PLAIN = 256  # unmarked texts
ATTEMPTS = 20
COLUMNS = ("engine", "tokens", "rate", "found by its own", "found by ours", "no fewer")

Floats = NDArray[np.float64]


def measure(engines: Sequence[Engine], options: Options) -> Part:
    """Texts by transformers' own `generate`, at both detectors' thresholds."""
    language = Language.load(options.lm)
    count, nulls = options.count(24, 256), options.count(300, 4000)
    identity = {
        "code": code_version(
            (detectors, foreign, schemes, kernels),
            *(f"engines/{name}.py" for name in ("engine", "installed", "power")),
        ),
        "model": weights_sha256(options.lm),
        "seed": options.seed,
    }
    rows: list[tuple[Cell, ...]] = []
    targets: list[Target] = []
    with Journal(options.work, "engines-power", identity) as journal:
        source = _Source(language, options, journal)
        for engine in engines:
            if engine.config is None:
                continue
            marked, plain = source.marked(engine, count), source.plain(engine, nulls)
            for i, length in enumerate(LENGTHS):
                found = _compare(engine, length, marked[:, :, i], plain[:, :, i])
                for row, target in found:
                    rows.append(row)
                    targets += [target] if target else []
        new, reused = journal.added, len(journal.rows) - journal.added
    note = (
        f"The first tokens of {count} texts by the small language model, temperature "
        f"1, bias {BIAS:g}; thresholds from {nulls} unmarked texts under random keys, "
        "and where values are equal to one as many of them as make the rate exact. "
        "SynthID's own score is the weighted mean; its Bayesian detector, which has to "
        "be trained, was not run. At a claimed rate the engine's p-value may be too "
        "small, and is then no measure of power. Batches in which transformers' "
        "selfhash fails (no green token among the forty likeliest) are drawn anew."
    )
    table = Table("Texts that the engine marked", COLUMNS, tuple(rows), note)
    return Part(targets=tuple(targets), tables=(table,), new=new, reused=reused)


def found(values: Floats, null: Floats, alpha: float) -> Floats:
    """How far each value counts as found if a share `alpha` of the null's shall.

    1 below the threshold; where it is equal to it, the share of such that makes the
    rate exact, as a coin would: counts of few tokens have few values.
    """
    threshold = np.sort(null)[int(alpha * len(null))]
    below, equal = float((null < threshold).mean()), float((null == threshold).mean())
    share = (alpha - below) / equal
    counted: Floats = (values < threshold) + (values == threshold) * share
    return counted


def _compare(
    engine: Engine, length: int, marked: Floats, plain: Floats
) -> Iterator[tuple[tuple[Cell, ...], Target | None]]:
    """Rows and targets of one engine at one length.

    Args:
        engine: whose texts they are.
        length: in tokens.
        marked: p of its own detector and ln p of ours, float64 [2, texts].
        plain: the same of unmarked texts, float64 [2, nulls].
    """
    name, texts = f"{engine.name}, {length} tokens", marked.shape[1]
    for alpha in ALPHAS:
        if plain.shape[1] * alpha < FEWEST:
            continue
        theirs, ours = (found(v, n, alpha) for v, n in zip(marked, plain, strict=True))
        more = ours - theirs
        target = Target.at_least(
            f"{name}: found at a realised rate of {alpha:g}, and by its own",
            float(ours.mean()),
            float(theirs.mean()),
            note=f"{_points(more)} points",
        )
        verdict = "yes" if target.reached else f"no: {_points(more)} points"
        shares = (str(Rate(round(float(v.sum())), texts)) for v in (theirs, ours))
        yield (engine.name, length, f"realised {alpha:g}", *shares, verdict), target
    claimed = Rate(int((marked[1] <= math.log(STRICT)).sum()), texts)
    peers: Cell = "it gives no p-value"
    if engine.claims:
        peers = str(Rate(int((marked[0] <= STRICT).sum()), texts))
    last = None
    if length == LENGTHS[-1]:
        last = Target.of_rate(f"{name}: found at our p = {STRICT:g}", claimed, 0.9)
    yield (engine.name, length, f"claimed {STRICT:g}", peers, str(claimed), None), last


def _points(more: Floats) -> str:
    """A mean difference in points, with its standard error."""
    error = float(more.std(ddof=1)) / math.sqrt(len(more)) if len(more) > 1 else 0.0
    return f"{100 * float(more.mean()):+.1f} ± {100 * error:.1f}"


class _Source:
    """Values of both detectors, from the journal where they are on file."""

    def __init__(self, language: Language, options: Options, journal: Journal) -> None:
        self._language, self._options, self._journal = language, options, journal
        self._texts: list[Ids] = []  # unmarked

    def marked(self, engine: Engine, count: int) -> Floats:
        """Of texts that the engine marked: float64 [2, count, lengths]."""
        values = []
        vocab, seed = self._language.vocab_size, self._options.seed
        *both, numbers = engine.both(vocab, seed, "power")
        for start, rows in self._parts(count, BATCH, f"{engine.name}, marked"):
            name = f"{engine.name}/marked/{start}/{rows}"
            if self._journal.missing([name]):
                config = engine.config(numbers) if engine.config else None
                texts = self._generate(config, engine.name, start, rows)
                self._journal.add(name, {"values": [_values(both, t) for t in texts]})
            values += self._journal.rows[name]["values"]
        return np.asarray(values, np.float64).transpose(1, 0, 2)

    def plain(self, engine: Engine, count: int) -> Floats:
        """Of unmarked texts, each under a key of its own: float64 [2, count, lengths].

        The texts themselves come again, every `PLAIN` keys.
        """
        values = []
        texts = min(PLAIN, count)
        vocab, seed = self._language.vocab_size, self._options.seed
        for start, rows in self._parts(count, CHUNK, f"{engine.name}, unmarked"):
            name = f"{engine.name}/plain/{start}/{rows}"
            if self._journal.missing([name]):
                made = []
                for i in range(start, start + rows):
                    *both, _ = engine.both(vocab, seed, "null", i)
                    made.append(_values(both, self._unmarked(i % texts, texts)))
                self._journal.add(name, {"values": made})
            values += self._journal.rows[name]["values"]
        return np.asarray(values, np.float64).transpose(1, 0, 2)

    def _unmarked(self, i: int, count: int) -> Ids:
        while len(self._texts) <= i:
            start = len(self._texts)
            rows = min(BATCH, count - start)
            name = f"texts/{start}/{rows}"
            if self._journal.missing([name]):
                texts = self._generate(None, "plain", start, rows)
                self._journal.add(name, {"ids": [t.tolist() for t in texts]})
            ids = self._journal.rows[name]["ids"]
            self._texts += [np.asarray(row, np.uint32) for row in ids]
        return self._texts[i]

    def _parts(self, count: int, size: int, what: str) -> Iterator[tuple[int, int]]:
        for start in self._options.track(range(0, count, size), what):
            yield start, min(size, count - start)

    def _generate(self, config: Any, name: str, start: int, rows: int) -> list[Ids]:
        """One batch, under a seed that depends on `name` and `start`.

        transformers' selfhash fails where none of the forty likeliest tokens is green:
        once in 10^5 steps and more. Then the batch is drawn anew under another seed.
        """
        prompts = [PROMPTS[i % len(PROMPTS)] for i in range(start, start + rows)]
        more = {} if config is None else {"watermarking_config": config}
        for attempt in range(ATTEMPTS):
            seed = seeded("engines", self._options.seed, name, start, attempt)
            try:
                drawn = self._language.sample(
                    prompts,
                    sampling=Sampling(),
                    seed=seed,
                    length=LENGTHS[-1],
                    **more,
                ).ids
            except IndexError:
                continue
            return [np.asarray(ids, np.uint32) for ids in drawn]
        raise Unavailable(f"generate() failed {ATTEMPTS} times: {name}")


def _values(both: Sequence[Detect], ids: Ids) -> list[list[float]]:
    """Of its own detector and of ours, at each length."""
    return [[float(detect(ids[:length])) for length in LENGTHS] for detect in both]
