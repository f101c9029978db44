"""How often a mark is found: at stated entropies, against the number of tokens.

Every text is decoded and tokenised again. The targets count what `watermark.verify`
counts (its schemes, readings and looks); the curves count what one detector tries by
itself, since a peer's detector tries nothing else either.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.language import LENGTH, PROMPTS, Language
from benchmarks.options import Options, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.text.samples import NO_REPEAT, NOTE, Sampler, Set, Text
from watermark import verification
from watermark.assets.loading import load
from watermark.detectors import weighted
from watermark.keys import KeyRecord
from watermark.likelihood import Likelihood
from watermark.schemes import default_records
from watermark.verification.text import TEXT_DETECTORS

FPR = 1e-6
LENGTHS = (25, 50, 75, 100, 150, 200, 300, 400)
LONG = LENGTHS[-1]


def _set(name: str, scheme: str | None, nats: float | None, length: int = LONG) -> Set:
    # At temperature 1 the model's own distribution is left as it is.
    no_repeat = 0 if nats is None else NO_REPEAT
    return Set(name, scheme, nats, length, no_repeat=no_repeat)


GUMBEL = _set("gumbel, 1 nat", "gumbel", 1.0)
CIRCLES = Set("gumbel, 1 nat, free to run in circles", "gumbel", 1.0, LONG)
MARKED = (
    _set("gumbel, 0.5 nat", "gumbel", 0.5),
    GUMBEL,
    CIRCLES,
    _set("gumbel, 1.5 nats", "gumbel", 1.5),
    _set("gumbel, T = 1", "gumbel", None),
    _set("greenlist, 1 nat", "greenlist", 1.0),
    _set("greenlist, T = 1", "greenlist", None),
    _set("tournament, 1 nat", "tournament", 1.0),
)
UNMARKED = _set("unmarked, 1 nat", None, 1.0, LENGTH)
WEIGHED_NAME = f"{GUMBEL.name}, weighed by the model"  # the prompt known
# (set, tokens, least rate of texts found)
WANTED = (
    (GUMBEL.name, 200, 0.985),
    (GUMBEL.name, 100, 0.75),
    (CIRCLES.name, 200, 0.985),
    (CIRCLES.name, 100, 0.75),
    ("gumbel, 1.5 nats", 100, 0.99),
    ("gumbel, T = 1", 200, 0.99),
    (WEIGHED_NAME, 100, 0.9),
)


def measure(sampler: Sampler, options: Options) -> Part:
    """Rates at 1e-6 of every set and length."""
    language, count = sampler.language, options.count(40, 200)
    drawn = {part.name: sampler.texts(part, count) for part in MARKED}
    plain = sampler.texts(UNMARKED, count)
    found = {
        name: [
            _tails(text, language) for text in options.track(texts, f"{name}: score")
        ]
        for name, texts in drawn.items()
    }
    found[WEIGHED_NAME] = _weighed(drawn[GUMBEL.name], sampler, options)
    hits = sum(least(text.said(language), language, options) <= FPR for text in plain)
    unmarked = Rate(hits, count)
    targets = [
        *(_entropy(part.name, drawn[part.name]) for part in (GUMBEL, CIRCLES)),
        *(
            Target.of_rate(
                f"{name}: {tokens} tokens", _rate(found[name], tokens), least
            )
            for name, tokens, least in WANTED
        ),
        *(_through_verify(p.name, drawn[p.name], language) for p in (GUMBEL, CIRCLES)),
        Target(
            name="unmarked texts found",
            target="0",
            measured=float(unmarked.hits),
            reached=unmarked.hits == 0,
            interval=unmarked.interval(),
            note=f"{unmarked.hits} of {unmarked.n}; the interval is of the rate",
        ),
    ]
    settings = {
        f"sampling of {part.name}": str(sampler.sampling(part)) for part in MARKED[:5]
    }
    return Part(
        parameters={"samples": count, "prompts": len(PROMPTS), **settings},
        targets=tuple(targets),
        tables=(_table(drawn, found), _lengths(found)),
        plots=(_plot(found),),
        notes=(
            "Found: the p-value is at most 1e-6, all nonces counted; intervals are "
            "Clopper-Pearson at 95 %. Nats: mean entropy of the distribution before "
            "the mark.",
            NOTE,
        ),
    )


def _entropy(name: str, texts: Sequence[Text]) -> Target:
    nats = statistics.fmean(text.nats for text in texts)
    return Target(
        name=f"{name}: nats a token of the samples",
        target="1.0 +- 0.1",
        measured=nats,
        reached=abs(nats - 1.0) <= 0.1,
    )


def _through_verify(name: str, texts: Sequence[Text], language: Language) -> Target:
    found = [verified(text, language) <= math.log10(FPR) for text in texts]
    return Target.of_rate(
        f"{name}: {LENGTH} tokens, through verify", Rate(sum(found), len(found)), 0.95
    )


def _tails(text: Text, language: Language) -> dict[int, float]:
    """log10 p of the first 25, 50 ... tokens, each decoded and tokenised again."""
    if text.record is None:
        raise ValueError("an unmarked text has no record to be tested with")
    return {n: retokenised(text, language, n) for n in LENGTHS if n <= len(text.ids)}


def _weighed(
    texts: Sequence[Text], sampler: Sampler, options: Options
) -> list[dict[int, float]]:
    """The same with the model's probabilities, after the prompt each was given."""
    language, sampling = sampler.language, sampler.sampling(GUMBEL)
    likelihood = Likelihood(
        language.model, temperature=sampling.temperature, top_p=sampling.top_p
    )
    prompts = [language.tokenizer(p)["input_ids"] for p in GUMBEL.prompts]
    rows = []
    for i, text in enumerate(options.track(texts, f"{WEIGHED_NAME}: score")):
        if text.record is None:
            raise ValueError("an unmarked text has no record to be tested with")
        row = {}
        for n in LENGTHS:
            ids = np.asarray(language.reader.encode(text.said(language, n)), np.uint32)
            chances = likelihood.probabilities(ids, prompts[i % len(prompts)])
            row[n] = float(weighted.score(ids, text.record, chances).log10_p())
        rows.append(row)
    return rows


def retokenised(text: Text, language: Language, tokens: int | None = None) -> float:
    """log10 p of a sample's detector on its first `tokens` tokens as text."""
    ids = np.asarray(language.reader.encode(text.said(language, tokens)), np.uint32)
    return log10_p(ids, text.record)


def log10_p(ids: Any, record: KeyRecord | None) -> float:
    """The detector's own adjusted log10 p."""
    if record is None:
        raise ValueError("an unmarked text has no record to be tested with")
    return float(TEXT_DETECTORS[record.scheme].score(ids, record).log10_p())


def verified(text: Text, language: Language, tokens: int = LENGTH) -> float:
    """log10 p that `verify` gives a text: default records of its key, one tokenizer."""
    if text.record is None:
        raise ValueError("an unmarked text has no record to be tested with")
    records = default_records(text.record.secret)
    setting = verification.Setting(records=records, tokenizers=[language.reader])
    report = verification.verify(load(text.said(language, tokens)), setting)
    return min(e.log10_p for e in report.evidence if e.log10_p is not None)


def least(said: str, language: Language, options: Options) -> float:
    """The least adjusted p over the default schemes under a key that marked nothing."""
    ids = np.asarray(language.reader.encode(said), np.uint32)
    key = seeded_key("unmarked", options.seed, said)
    records = [r for r in default_records(key) if r.scheme in TEXT_DETECTORS]
    found = [log10_p(ids, r) + math.log10(len(records)) for r in records]
    return float(10 ** min(found))


def _rate(tails: list[dict[int, float]], tokens: int) -> Rate:
    return Rate(sum(row[tokens] <= math.log10(FPR) for row in tails), len(tails))


def _table(
    drawn: dict[str, list[Text]], found: dict[str, list[dict[int, float]]]
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, texts in drawn.items():
        nats = [text.nats for text in texts]
        rows.append(
            (
                name,
                len(texts),
                statistics.fmean(nats),
                statistics.stdev(nats),
                statistics.fmean(text.coverage for text in texts),
                str(_rate(found[name], LENGTH)),
                statistics.median(row[LENGTH] for row in found[name]),
            )
        )
    columns = (
        "samples of",
        "n",
        "nats a token",
        "deviation of rows",
        "share marked",
        f"found at {LENGTH} tokens",
        "median log10 p",
    )
    return Table("Found at 1e-6", columns, tuple(rows))


def _lengths(found: dict[str, list[dict[int, float]]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, *(_rate(tails, n).value for n in LENGTHS))
        for name, tails in found.items()
    ]
    columns = ("samples of", *(f"{n} tokens" for n in LENGTHS))
    return Table("Found at 1e-6 against tokens", columns, tuple(rows))


def _plot(found: dict[str, list[dict[int, float]]]) -> Plot:
    curves = []
    for name, tails in found.items():
        rates = [(n, _rate(tails, n)) for n in LENGTHS]
        points = tuple((float(n), r.value, *r.interval()) for n, r in rates)
        curves.append((name, points))
    return Plot("Found at 1e-6", "tokens", "share of texts found", tuple(curves))
