"""Stealing: learn from answers which words a key prefers, and forge a text with it.

After Jovanović, Staab and Vechev (ICML 2024): count which word followed which context
in the provider's answers, compare with what the unmarked model would say, and prefer
what is more frequent than that. A forgery is a text of the attacker's model with that
preference; it counts if the provider's own detector finds a mark in it.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import sources
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Clustered
from benchmarks.report import Cell, Part, Plot, Table
from benchmarks.security.bigrams import Bigrams, drawn, model
from watermark import detectors as detectors_package
from watermark import kernels, schemes
from watermark.keys import KeyRecord, Parameter
from watermark.schemes import SCHEMES
from watermark.verification.text import TEXT_DETECTORS

LENGTH = 200
QUERIES = (1_000, 10_000, 30_000)
FEW, KEYS = 2, 5  # robbed of each mark
FORGERIES = 20  # with what each of them gave
STRENGTH = 3.0  # nats that the attacker adds to a word it believes in, at most
FPRS = (1e-3, 1e-6)
VICTIMS: dict[str, tuple[str, dict[str, Parameter]]] = {
    "greenlist, width 1": ("greenlist", {"width": 1}),
    "greenlist (width 4)": ("greenlist", {}),
    "gumbel, width 2": ("gumbel", {"width": 2}),
    "gumbel (width 4)": ("gumbel", {}),
}

Counts = dict[tuple[int, ...], dict[int, int]]


def measure(options: Options) -> Part:
    """How many forgeries are found after so many answers."""
    queries = QUERIES if options.full else QUERIES[:1]
    if options.samples is not None:
        queries = (options.samples,)
    keys = KEYS if options.full else FEW
    identity = _identity(queries, options)
    with Journal(options.work, "security-stealing", identity) as journal:
        ids = [f"{name}/{i}" for name in VICTIMS for i in range(keys)]
        missing = journal.missing(ids)
        for place in options.track(missing, "stealing") if missing else ():
            journal.add(place, _victim(place, queries, options))
        rows = {
            name: [journal.rows[f"{name}/{i}"]["after"] for i in range(keys)]
            for name in VICTIMS
        }
        new = journal.added
    cells: list[tuple[Cell, ...]] = []
    curves = []
    for name, robbed in rows.items():
        points = []
        for i, seen in enumerate(queries):
            after = [one[i] for one in robbed]
            rates = [
                Clustered(tuple((one["found"][k], one["forgeries"]) for one in after))
                for k in range(len(FPRS))
            ]
            known, nats = (
                statistics.fmean(one[what] for one in after)
                for what in ("known", "nats")
            )
            cells.append((name, seen, known, *map(str, rates), nats))
            points.append((float(seen), rates[0].value, *rates[0].interval()))
        curves.append((name, tuple(points)))
    columns = (
        *("mark", "answers seen", "contexts known"),
        *(f"forgeries found at {fpr:g}" for fpr in FPRS),
        "nats a word lost",
    )
    note = (
        f"Answers and forgeries have {LENGTH} words; {keys} keys of each mark, and "
        "intervals that count what forgeries of one key share. Contexts known: share "
        "of the "
        "forgery's contexts that answers held. Nats lost: how much less likely the "
        "forgery is under the unmarked model than its own samples are."
    )
    return Part(
        tables=(Table("Stealing", columns, tuple(cells), note),),
        plots=(
            Plot(
                "Forgeries by a thief",
                "answers seen",
                f"share found at {FPRS[0]:g}",
                tuple(curves),
                log_x=True,
            ),
        ),
        new=new,
        reused=len(ids) - new,
    )


def _identity(queries: tuple[int, ...], options: Options) -> dict[str, Any]:
    """What decides the rows; the model is of texts that come with packages."""
    words = model()
    return {
        "code": code_version(
            (detectors_package, kernels, schemes),
            *("sources.py", "security/bigrams.py", "security/stealing.py"),
        ),
        "model": hashlib.sha256(
            words.ids.tobytes() + words.log_p.tobytes()
        ).hexdigest(),
        "seed": options.seed,
        "queries": list(queries),
    }


def _victim(place: str, queries: tuple[int, ...], options: Options) -> dict[str, Any]:
    scheme, parameters = VICTIMS[place.rpartition("/")[0]]
    more: dict[str, Any] = dict(parameters)
    record = SCHEMES[scheme].record(seeded_key("stealing", options.seed, place), **more)
    words, counts = model(), defaultdict[tuple[int, ...], dict[int, int]](dict)
    rng = _rng(options, place, "answers")
    width, made, after = int(record.parameters["width"]), 0, []
    for wanted in queries:
        for _ in range(wanted - made):
            mark = sources.marking(record, int(rng.integers(16)))
            _learn(counts, words.sample(LENGTH, rng, mark), width)
        made = wanted
        after.append(_forged(record, counts, wanted, _rng(options, place, wanted)))
    return {"after": after}


def _rng(options: Options, *parts: object) -> np.random.Generator:
    seed = seeded("security", options.seed, *parts)
    return np.random.default_rng(int.from_bytes(seed[:16], "little"))


def _learn(counts: Counts, tokens: list[int], width: int) -> None:
    for i in range(width, len(tokens)):
        row = counts[tuple(tokens[i - width : i])]
        row[tokens[i]] = row.get(tokens[i], 0) + 1


def _forged(
    record: KeyRecord, counts: Counts, queries: int, rng: np.random.Generator
) -> dict[str, Any]:
    words, detector = model(), TEXT_DETECTORS[record.scheme]
    found, known, cost = [0] * len(FPRS), [], []
    for _ in range(FORGERIES):
        text, share, lost = forge(words, counts, int(record.parameters["width"]), rng)
        p = detector.score(np.asarray(text, np.uint32), record).log10_p()
        found = [n + (p <= math.log10(a)) for n, a in zip(found, FPRS, strict=True)]
        known.append(share)
        cost.append(lost)
    return {
        "queries": queries,
        "forgeries": FORGERIES,
        "found": found,
        "known": float(np.mean(known)),
        "nats": float(np.mean(cost)),
    }


def forge(
    words: Bigrams, counts: Counts, width: int, rng: np.random.Generator
) -> tuple[list[int], float, float]:
    """A text that prefers what was seen; share of known contexts; nats a word lost."""
    tokens: list[int] = []
    last, hits, lost = int(rng.integers(256)), 0, 0.0
    for _ in range(LENGTH):
        ids, log_p = words.ids[last], words.log_p[last]
        row = log_p
        seen = counts.get(tuple(tokens[-width:])) if len(tokens) >= width else None
        if seen is not None:
            hits += 1
            row = log_p + _belief(ids, log_p, seen)
        at = drawn(row, rng)
        entropy = -float(np.exp(log_p) @ log_p)
        lost += -float(log_p[at]) - entropy
        last = int(ids[at])
        tokens.append(last)
    return tokens, hits / LENGTH, lost / LENGTH


def _belief(
    ids: NDArray[np.int64],
    log_p: NDArray[np.float64],
    seen: dict[int, int],
) -> NDArray[np.float64]:
    """Nats for each word: how much more often it came than the model says.

    Counts are smoothed by one answer of the model's own; what is not surprising, or was
    seen too seldom to tell, gets nothing.
    """
    total = sum(seen.values())
    came = np.array([seen.get(int(i), 0) for i in ids]) + np.exp(log_p)
    ratio = np.log(came / (total + 1)) - log_p
    belief: NDArray[np.float64] = np.clip(ratio, -STRENGTH, STRENGTH)
    return belief
