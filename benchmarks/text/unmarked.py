"""Texts that nobody marked: what each rule's p-values are worth, ours and the peers'.

Every rule is tried with many keys, each on some texts of people and of the model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from benchmarks import fpr_corpus
from benchmarks.journal import Journal
from benchmarks.language import LENGTH
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.text import power
from benchmarks.text.foreign import Dispersion, Ids, Kgw, Peer, SynthId, Tail
from benchmarks.text.samples import Sampler
from watermark.schemes import SCHEMES

LENGTHS = (50, 100, 150, LENGTH)
ALPHAS = (1e-2, 1e-3)
KINDS = ("prose", "code", "licences")  # of human text
EACH = 20  # texts under each key

Counts = list[list[list[int]]]  # [key][text][length]
Tails = list[list[float]]  # [text][length], log10 p
Rule = Callable[[Ids, int], Tail]  # from a text and the tokens it was cut to


@dataclass(frozen=True, slots=True)
class Null:
    """p-values of one rule on unmarked texts.

    Attributes:
        how: what the rule takes the null to be.
        tails: for each key, log10 p of its texts.
        stated: the same by transformers' own p-value, where it has one.
        spread: variance of the statistic over the binomial's, at the full length.
        attained: of a peer: for each alpha, what its rule can attain of it.
    """

    how: str
    tails: list[Tails]
    stated: list[Tails] | None = None
    spread: float | None = None
    attained: tuple[float, ...] | None = None

    def realised(
        self, alpha: float, tails: list[Tails] | None = None
    ) -> tuple[float, float]:
        """Share of p-values at most `alpha`, and its standard error over keys."""
        least = math.log10(alpha) + 1e-12
        keys = self.tails if tails is None else tails
        shares = [float(np.mean(np.asarray(one) <= least)) for one in keys]
        return statistics.fmean(shares), statistics.stdev(shares) / len(shares) ** 0.5


def texts(sampler: Sampler, options: Options) -> list[Ids]:
    """Token ids that no key decided: by people and by the model, half and half."""
    half = options.count(30, 100)
    reader = sampler.language.reader
    human = {k: v for k, v in fpr_corpus.texts().items() if k in KINDS}
    corpus = fpr_corpus.Corpus.read(reader, human)
    written = corpus.documents(LENGTH, math.ceil(half / len(human)))
    sampled = sampler.texts(power.UNMARKED, half)
    said = [text.said(sampler.language) for text in sampled]
    return [ids for _, ids in written][:half] + [
        np.asarray(reader.encode(text), np.uint32) for text in said
    ]


def _picked(texts: Sequence[Ids], key: int, options: Options) -> list[Ids]:
    """The unmarked texts that one key is tried on."""
    generator = np.random.default_rng([options.seed, key])
    places = generator.permutation(len(texts))[:EACH]
    return [texts[i] for i in places.tolist()]


def _keys(options: Options) -> range:
    """Places of the keys that unmarked texts are tried with: two halves, at least."""
    return range(2 * max(2, options.count(50, 500)))


def ours(scheme: str, texts: Sequence[Ids], options: Options) -> Null:
    """Our own p-values: nothing is fitted."""
    tails = []
    for i in options.track(_keys(options), f"{scheme}: unmarked"):
        record = SCHEMES[scheme].record(seeded_key("peers", options.seed, scheme, i))
        picked = _picked(texts, i, options)
        tails.append(
            [[power.log10_p(ids[:n], record) for n in LENGTHS] for ids in picked]
        )
    return Null("exact" if scheme == "greenlist" else "exact, nonces counted", tails)


def theirs(
    peer: Kgw | SynthId,
    texts: Sequence[Ids],
    vocab: int,
    journal: Journal,
    options: Options,
) -> tuple[Null, Rule]:
    """A peer's rule, and its p-values on unmarked texts."""
    counts = _counts(peer, texts, vocab, journal, options)
    picked = [_picked(texts, i, options) for i in _keys(options)]
    if isinstance(peer, SynthId):
        exact = _exact(peer)
        tails, attained = _judged(counts, picked, exact), _attained(texts, exact)
        return Null("exact for each text", tails, attained=attained), exact
    # Fitted on every second key, held against the others.
    fit = _fit(peer, counts[::2], picked[::2], int(vocab * peer.gamma) / vocab)

    def fitted(ids: Ids, n: int) -> Tail:
        return fit.tail(peer.scored(ids), n)

    rest, others = counts[1::2], picked[1::2]
    null = Null(
        "beta-binomial, fitted",
        _judged(rest, others, fitted),
        _judged(rest, others, lambda ids, n: _normal(peer.scored(ids), peer.gamma)),
        fit.spread[LENGTH],
        _attained(texts, fitted),
    )
    return null, fitted


def _attained(texts: Sequence[Ids], rule: Rule) -> tuple[float, ...]:
    """What a rule with steps leaves of each alpha, on average over texts."""
    tails = [rule(ids[:n], n) for ids in texts for n in LENGTHS]
    return tuple(statistics.fmean(t.attains(a) for t in tails) for a in ALPHAS)


def _fit(
    peer: Kgw, counts: Counts, picked: list[list[Ids]], gamma: float
) -> Dispersion:
    """KGW's beta-binomial, with the spread that these counts have."""
    pairs = {
        n: [
            (peer.scored(ids[:n]), row[place])
            for table, some in zip(counts, picked, strict=True)
            for row, ids in zip(table, some, strict=True)
        ]
        for place, n in enumerate(LENGTHS)
    }
    return Dispersion.fit(gamma, pairs)


def _counts(
    peer: Peer, texts: Sequence[Ids], vocab: int, journal: Journal, options: Options
) -> Counts:
    """The peer's statistic on unmarked texts, for every key."""
    content = seeded(*(ids.tolist() for ids in texts)).hex()[:16]
    names = {f"unmarked/{peer}/{content}/{i}": i for i in _keys(options)}
    missing = journal.missing(names)
    for name in options.track(missing, f"{peer.name}: unmarked") if missing else ():
        key = int.from_bytes(seeded("unmarked", peer.name, options.seed, name)[:8])
        picked = _picked(texts, names[name], options)
        journal.add(name, {"counts": peer.under(picked, key, LENGTHS, vocab)})
    return [journal.rows[name]["counts"] for name in names]


def _exact(peer: SynthId) -> Rule:
    """SynthID's exact tail, kept for texts that come again under other keys."""
    known: dict[bytes, Tail] = {}

    def rule(ids: Ids, n: int) -> Tail:
        content = ids.tobytes()
        if content not in known:
            known[content] = peer.tail(ids)
        return known[content]

    return rule


def _normal(scored: int, gamma: float) -> Tail:
    """The p-value that WatermarkDetector states: the normal tail of its z."""
    green = np.arange(scored + 1)
    z = (green - gamma * scored) / math.sqrt(scored * gamma * (1 - gamma))
    return Tail(0, norm.sf(z))


def _judged(counts: Counts, picked: list[list[Ids]], rule: Rule) -> list[Tails]:
    """log10 p of every count."""
    return [
        [
            [
                math.log10(rule(ids[:n], n).at(value))
                for n, value in zip(LENGTHS, row, strict=True)
            ]
            for row, ids in zip(table, some, strict=True)
        ]
        for table, some in zip(counts, picked, strict=True)
    ]
