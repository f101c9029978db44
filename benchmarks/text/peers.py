"""transformers' own watermarks beside ours: same model, prompts, sampling and lengths.

Every curve is taken at the same rate of false positives, 1e-6. Our p-values and that of
SynthID's weighted mean are exact; that of KGW's green count is fitted here, since its
own is not a rate. All rules are held to what they say at 1e-2 and 1e-3 on texts that
nobody marked, under many keys.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.journal import Journal, code_version
from benchmarks.language import LENGTH, PROMPTS, Language
from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.text import power, unmarked
from benchmarks.text.foreign import Kgw, Peer, SynthId, marked
from benchmarks.text.samples import NOTE, Sampler, Set
from benchmarks.text.unmarked import ALPHAS, EACH, LENGTHS, Null, Rule, Tails

FPR = 1e-6
OURS: dict[str, Set] = {
    part.scheme: part
    for part in power.MARKED
    if part.scheme is not None and part.nats == 1.0 and part.no_repeat
}
PEERS: tuple[Kgw | SynthId, ...] = (
    Kgw("transformers KGW, lefthash"),
    Kgw("transformers KGW, selfhash", "selfhash", 4),
    SynthId("transformers SynthID"),
)
ROUNDS = 2  # texts of each prompt under one key
ERRORS = 3.0  # standard errors over keys that a realised rate may exceed its alpha by


def measure(sampler: Sampler, options: Options) -> Part:
    """Rates at 1e-6 of ours and the peers', and the worth of each rule's p-values."""
    language, count = sampler.language, options.count(40, 200)
    texts = unmarked.texts(sampler, options)
    found: dict[str, Tails] = {}
    nats: dict[str, list[float]] = {}
    nulls: dict[str, Null] = {}
    failures: dict[str, str] = {}
    for scheme, part in OURS.items():
        drawn = sampler.texts(part, count)
        nats[part.name] = [text.nats for text in drawn]
        found[part.name] = [
            [power.retokenised(text, language, n) for n in LENGTHS] for text in drawn
        ]
        nulls[part.name] = unmarked.ours(scheme, texts, options)
    identity = {
        "code": code_version((), "language.py", "text/foreign.py", "text/unmarked.py"),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "model": language.sha256,
        "seed": options.seed,
    }
    with Journal(options.work, "text-peers", identity) as journal:
        for peer in PEERS:
            name = peer.name
            rows, failures[name] = _rows(peer, count, sampler, journal, options)
            nats[name] = [one for row in rows for one in row["nats"]][:count]
            nulls[name], rule = unmarked.theirs(
                peer, texts, language.vocab_size, journal, options
            )
            read = [
                _tails(peer, ids, row["key"], language, rule)
                for row in options.track(rows, f"{name}: score")
                for ids in row["ids"]
            ]
            found[name] = read[:count]
        new = journal.added
    return Part(
        parameters={
            "samples of each peer": count,
            "sampling of the peers": str(sampler.sampling(power.UNMARKED)),
        },
        targets=(
            *(_target(name, null) for name, null in nulls.items()),
            *(_fair(name, n.attained[0], n) for name, n in nulls.items() if n.attained),
        ),
        tables=(_table(found, nats, failures), _null_table(nulls)),
        plots=(_plot(found),),
        notes=(
            "Peers: transformers' defaults (KGW gamma 0.25, delta 2; SynthID 30 layers,"
            " 5-grams), a new key for every twenty texts. KGW and greenlist change"
            " the model's distribution. Ours alone leave a fresh prefix unmarked and"
            " search sixteen nonces, so that one prompt gives many texts.",
            NOTE,
        ),
        new=new,
    )


def _rows(
    peer: Peer, count: int, sampler: Sampler, journal: Journal, options: Options
) -> tuple[list[dict[str, Any]], str]:
    """Batches of marked texts; what failed, in words."""
    sampling = sampler.sampling(power.UNMARKED)
    batches = range(math.ceil(count / (ROUNDS * len(PROMPTS))))
    names = {f"{peer}/{sampling}/{ROUNDS}/{i}": i for i in batches}
    missing = journal.missing(names)
    for name in options.track(missing, peer.name) if missing else ():
        place = options.seed, names[name]
        prompts = PROMPTS * ROUNDS
        journal.add(name, marked(peer, sampler.language, sampling, prompts, *place))
    rows = [journal.rows[name] for name in names]
    errors = [row["failed"] for row in rows if "failed" in row]
    told = f"{len(errors)} of {len(rows)} batches: {errors[0]}" if errors else ""
    return [row for row in rows if "failed" not in row], told


def _tails(
    peer: Peer, drawn: list[int], key: int, language: Language, rule: Rule
) -> list[float]:
    """log10 p of the first 50, 100 ... tokens, decoded and tokenised again."""
    tails = []
    for n in LENGTHS:
        said = language.tokenizer.decode(drawn[:n], skip_special_tokens=True)
        ids = np.asarray(language.reader.encode(said), np.uint32)
        statistic = peer.count(ids, key, language.model.config)
        tails.append(math.log10(rule(ids, n).at(statistic)))
    return tails


def _target(name: str, null: Null) -> Target:
    """A rule that finds more than it says makes its curve worthless."""
    rates = {alpha: null.realised(alpha) for alpha in ALPHAS}
    worst = max(rate / alpha for alpha, (rate, _) in rates.items())
    return Target(
        name=f"{name}: realised rate over the stated one, 1e-2 and 1e-3",
        target=f"<= 1 within {ERRORS:g} standard errors over keys",
        measured=worst,
        reached=all(r <= a + ERRORS * error for a, (r, error) in rates.items()),
        note=f"{len(null.tails)} keys, {EACH} texts each",
    )


def _fair(name: str, attained: float, null: Null) -> Target:
    """A peer's rule that finds less than it may would make its curve too low."""
    rate, error = null.realised(ALPHAS[0])
    return Target(
        name=f"{name}: realised rate over what it can attain of {ALPHAS[0]:g}",
        target=f">= 1 within {ERRORS:g} standard errors over keys",
        measured=rate / attained,
        reached=rate >= attained - ERRORS * error,
        note=f"{rate:.3g} +- {error:.2g} of {attained:.3g}",
    )


def _rates(tails: Tails) -> list[Rate]:
    least = math.log10(FPR)
    return [
        Rate(sum(row[i] <= least for row in tails), len(tails))
        for i in range(len(LENGTHS))
    ]


def _table(
    found: dict[str, Tails], nats: dict[str, list[float]], failures: dict[str, str]
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, tails in found.items():
        mean = statistics.fmean(nats[name]) if tails else None
        rates = [str(r) if tails else None for r in _rates(tails)]
        rows.append((name, len(tails), mean, *rates, failures.get(name, "")))
    columns = ("samples of", "n", "nats a token", *(f"{n} tokens" for n in LENGTHS))
    note = "Decoded and tokenised again; intervals are Clopper-Pearson at 95 %."
    title = "Ours and transformers' at 1e-6"
    return Table(title, (*columns, "failed"), tuple(rows), note)


def _null_table(nulls: dict[str, Null]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, null in nulls.items():
        rates = [value for alpha in ALPHAS for value in null.realised(alpha)]
        stated = [
            null.realised(a, null.stated)[0] if null.stated else None for a in ALPHAS
        ]
        rows.append(
            (name, null.how, len(null.tails), *rates, *stated, null.spread),
        )
    columns = [
        *("rule", "its null", "keys"),
        *(f"{w} {a:g}" for a in ALPHAS for w in ("realised at", "standard error at")),
        *(f"by transformers' p at {a:g}" for a in ALPHAS),
        f"variance over binomial, {LENGTH} tokens",
    ]
    note = (
        f"{EACH} unmarked texts under each key, cut to {', '.join(map(str, LENGTHS))} "
        "tokens: the standard library's prose, code and licences, and unmarked samples."
        " KGW's spread is fitted on as many other keys; its tail at 1e-6 is the fitted "
        "distribution's, not counted."
    )
    return Table("The rules without a mark", tuple(columns), tuple(rows), note)


def _plot(found: dict[str, Tails]) -> Plot:
    curves = tuple(
        (
            name,
            tuple(
                (float(n), rate.value, *rate.interval())
                for n, rate in zip(LENGTHS, _rates(tails), strict=True)
            ),
        )
        for name, tails in found.items()
        if tails
    )
    title = "Ours and transformers' at 1e-6"
    return Plot(title, "tokens", "share of texts found", curves)
