"""A synthetic source of 0.3 to 2.5 nats: how many tokens decide, without a model.

The source (`benchmarks.sources`) has its entropy exactly, so that schemes are compared
where no language model has a say. Tokens are counted from the first one, which no key
chose: fresh prefixes are paid for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import sources
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.text.samples import Parameters, Sampler
from watermark import detectors, kernels, schemes
from watermark.detectors import gumbel, weighted
from watermark.keys import KeyRecord
from watermark.schemes import SCHEMES
from watermark.verification.text import TEXT_DETECTORS

FPR = 1e-6
NATS = (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5)
LENGTHS = (
    *(12, 18, 25, 35, 50, 70, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400),
    3200,
)
SHOWN = (25, 50, 100, 200, 400, 800, 1600)
SHARE = 0.9  # of texts: the power whose price in tokens is given
# Tokens needed fall with the entropy to at most this power below 1 nat, and above it.
STEEP, FLAT = 1.7, 0.8
CHUNK = 10  # texts in one journal row

Found = Callable[[sources.Text, KeyRecord, int, bytes], bool]


def _alone(text: sources.Text, record: KeyRecord, n: int, message: bytes) -> bool:
    score = TEXT_DETECTORS[record.scheme].score(text.tokens[:n], record)
    return bool(score.log10_p() <= math.log10(FPR))


def _weighed(text: sources.Text, record: KeyRecord, n: int, message: bytes) -> bool:
    score = weighted.score(text.tokens[:n], record, text.probabilities[:n])
    return score.log10_p() <= math.log10(FPR)


def _exact(text: sources.Text, record: KeyRecord, n: int, message: bytes) -> bool:
    return gumbel.score(text.tokens[:n], record).decoded == message


def _message(bits: int) -> Parameters:
    return (("payload_bits", bits), ("nonce_bits", 0))


@dataclass(frozen=True, slots=True)
class Case:
    """A scheme and what counts as found.

    Attributes:
        name: in tables; part of every seed.
        scheme: its name.
        reach: tokens that are enough at 1 nat; other entropies are scaled from it.
        found: of a text, its record, its first tokens and its message.
        parameters: of the scheme, where they are not its defaults.
    """

    name: str
    scheme: str
    reach: int
    found: Found = _alone
    parameters: Parameters = ()

    def lengths(self, nats: float) -> tuple[int, ...]:
        """The lengths that are looked at: up to what is enough at this entropy."""
        enough = self.reach * nats ** -(STEEP if nats < 1 else FLAT)
        return tuple(n for n in LENGTHS if n <= enough)


CASES = (
    Case("gumbel", "gumbel", 220),
    Case("gumbel, weighed by the model", "gumbel", 110, _weighed),
    Case("tournament", "tournament", 320),
    Case("greenlist, delta 2", "greenlist", 420),
    Case("16 bits present", "gumbel", 300, _alone, _message(16)),
    Case("32 bits present", "gumbel", 430, _alone, _message(32)),
    Case("64 bits present", "gumbel", 700, _alone, _message(64)),
    Case("16 bits exact", "gumbel", 210, _exact, _message(16)),
    Case("32 bits exact", "gumbel", 320, _exact, _message(32)),
    Case("64 bits exact", "gumbel", 450, _exact, _message(64)),
)
# (case, nats, tokens, least share of texts)
WANTED = (
    ("gumbel", 1.0, 200, 0.985),
    ("gumbel", 1.0, 100, 0.75),
    ("gumbel", 1.5, 100, 0.99),
    ("gumbel, weighed by the model", 1.0, 100, 0.9),
    ("16 bits exact", 1.0, 150, 0.98),
    ("32 bits exact", 1.0, 200, 0.97),
    ("64 bits exact", 1.0, 400, 0.97),
    ("16 bits present", 1.0, 200, 0.98),
)

Curve = dict[int, Rate]  # by tokens


def measure(sampler: Sampler, options: Options) -> Part:
    """Every case at every entropy; the language model is not used."""
    count = options.count(20, 200)
    modules = (detectors, schemes, kernels)
    identity = {
        "code": code_version(modules, "sources.py", "text/synthetic.py"),
        "seed": options.seed,
    }
    jobs = {
        f"{case.name}/{nats}/{start}/{min(CHUNK, count - start)}": (case, nats)
        for case in CASES
        for nats in NATS
        for start in range(0, count, CHUNK)
    }
    with Journal(options.work, "text-synthetic", identity) as journal:
        missing = journal.missing(jobs)
        for name in options.track(missing, "synthetic") if missing else ():
            start, size = map(int, name.split("/")[-2:])
            hits = _hits(*jobs[name], range(start, start + size), options.seed)
            journal.add(name, {"hits": hits})
        curves = {
            (case.name, nats): _curve(journal, jobs, case, nats, count)
            for case in CASES
            for nats in NATS
        }
    return Part(
        parameters={"synthetic texts": count},
        targets=tuple(
            Target.of_rate(
                f"synthetic, {name}: {tokens} tokens of {nats:g} nats",
                curves[name, nats][tokens],
                least,
            )
            for name, nats, tokens, least in WANTED
        ),
        tables=(_needed(curves), _shares(curves)),
        plots=(_plot_needed(curves), _plot_shares(curves)),
        new=len(missing),
        reused=len(jobs) - len(missing),
    )


def _curve(
    journal: Journal,
    jobs: dict[str, tuple[Case, float]],
    case: Case,
    nats: float,
    count: int,
) -> Curve:
    rows = [journal.rows[k]["hits"] for k, job in jobs.items() if job == (case, nats)]
    hits = [sum(several) for several in zip(*rows, strict=True)]
    return {n: Rate(k, count) for n, k in zip(case.lengths(nats), hits, strict=True)}


def _hits(case: Case, nats: float, places: range, seed: int) -> list[int]:
    """Texts found at each length, of those at `places`; a key for each."""
    lengths = case.lengths(nats)
    hits = [0] * len(lengths)
    for i in places:
        name = ("synthetic", seed, case.name, nats, i)
        rng = np.random.default_rng(list(seeded(*name)))
        more: dict[str, Any] = dict(case.parameters)
        record = SCHEMES[case.scheme].record(seeded_key(*name), **more)
        options = record.parameters
        nonce = int(rng.integers(1 << int(options.get("nonce_bits", 0))))
        message = rng.bytes(int(options.get("payload_bits", 0)) // 8)
        text = sources.text(lengths[-1], nats, rng, record, nonce, message)
        for k, n in enumerate(lengths):
            hits[k] += case.found(text, record, n, message)
    return hits


def needed(curve: Curve, share: float = SHARE) -> tuple[float, float, float]:
    """Tokens at which `share` of the texts are found, and a 95 % interval.

    By interpolation in the logarithm of the tokens; the interval is where the ends of
    each rate's own interval cross. Infinite where no length was enough, and at most the
    least length where that was enough.
    """
    return (
        _crossing({n: rate.value for n, rate in curve.items()}, share),
        _crossing({n: rate.interval()[1] for n, rate in curve.items()}, share),
        _crossing({n: rate.interval()[0] for n, rate in curve.items()}, share),
    )


def _crossing(values: dict[int, float], share: float) -> float:
    before: tuple[int, float] | None = None
    for n, value in sorted(values.items()):
        if value >= share:
            if before is None:
                return float(n)
            part = (share - before[1]) / (value - before[1])
            return float(before[0] * (n / before[0]) ** part)
        before = n, value
    return math.inf


def _needed(curves: dict[tuple[str, float], Curve]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for case in CASES:
        cells: list[Cell] = []
        for nats in NATS:
            middle, low, high = needed(curves[case.name, nats])
            cells.append(f"{middle:.0f} [{low:.0f}, {high:.0f}]")
        rows.append((case.name, *cells))
    return Table(
        f"Synthetic source: tokens for {SHARE:.0%} of texts",
        ("found at 1e-6, or read exactly", *(f"{nats:g} nats" for nats in NATS)),
        tuple(rows),
        "Fresh prefix and searched nonces included; inf: more tokens than were tried.",
    )


def _shares(curves: dict[tuple[str, float], Curve]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            nats,
            *(curve[n].value if n in curve else None for n in SHOWN),
        )
        for (name, nats), curve in curves.items()
    ]
    columns = ("found at 1e-6, or read exactly", "nats", *(f"{n}" for n in SHOWN))
    note = "Share of texts, by tokens; -: not looked at, since fewer are enough."
    return Table("Synthetic source: against tokens", columns, tuple(rows), note)


def _plot_needed(curves: dict[tuple[str, float], Curve]) -> Plot:
    drawn = []
    for case in CASES:
        points = []
        for nats in NATS:
            curve = curves[case.name, nats]
            middle, low, high = needed(curve)
            if math.isfinite(middle):  # else it lies above the plot, as its end may
                points.append((nats, middle, low, min(high, float(max(curve)))))
        drawn.append((case.name, tuple(points)))
    title = f"Synthetic source: tokens for {SHARE:.0%} of texts"
    return Plot(title, "nats a token", "tokens", tuple(d for d in drawn if d[1]))


def _plot_shares(curves: dict[tuple[str, float], Curve]) -> Plot:
    drawn = tuple(
        (
            case.name,
            tuple(
                (float(n), rate.value, *rate.interval())
                for n, rate in curves[case.name, 1.0].items()
            ),
        )
        for case in CASES
    )
    return Plot(
        "Synthetic source of 1 nat", "tokens", "share of texts", drawn, log_x=True
    )
