"""False positives of fixed keys: the rate of each of 100 keys on one corpus.

A p-value is exact over the draw of the key. A key that is drawn once has a rate of its
own on texts that share passages: the mean over keys is as stated, the worst key is not.
`watermark.calibration` measures it, here as for a deployed key.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.fpr_corpus import Corpus, reader, texts
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded_key
from benchmarks.rates import clopper_pearson
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.tails import LEVEL
from watermark import calibration, detectors, kernels, schemes
from watermark.schemes import SCHEMES

ALPHA = 1e-2
LENGTH = 200  # tokens of a document
# Name, scheme, parameters, and whether p is exact.
SETTINGS: tuple[tuple[str, str, Mapping[str, Any], bool], ...] = (
    ("gumbel, nonce fixed beforehand", "gumbel", {"nonce_bits": 0}, True),
    ("gumbel, 16 nonces searched", "gumbel", {}, False),
    ("gumbel, context of 1 token", "gumbel", {"width": 1}, False),
    ("greenlist", "greenlist", {}, False),  # discrete: it attains less than alpha
    ("tournament, 16 nonces searched", "tournament", {}, False),
)


def compare(options: Options) -> Part:
    """The spread of the rate over keys, and its mean.

    Raises:
        Unavailable: there is no tokenizer.
    """
    keys, each = max(2, options.count(20, 100)), options.count(20, 100)
    found, tokenizer = texts(), reader(options.lm)
    files = ("fpr_keys.py", "fpr_corpus.py")
    identity = {
        "code": code_version((detectors, schemes, kernels, calibration), *files),
        "tokenizer": tokenizer.digest,
        "texts": hashlib.sha256("\0".join(found.values()).encode()).hexdigest(),
        "seed": options.seed,
    }
    ids = [f"{name}/{keys}/{each}" for name, *_ in SETTINGS]
    with Journal(options.work, "fpr-keys", identity) as journal:
        missing = journal.missing(ids)
        corpus = Corpus.read(tokenizer, found) if missing else Corpus({})
        documents = [
            calibration.Document(name=name, tokens=tokens)
            for name, tokens in corpus.documents(LENGTH, each)
        ]
        for row, (_, scheme, parameters, _) in zip(ids, SETTINGS, strict=True):
            if row in missing:
                journal.add(row, _hits(scheme, parameters, documents, keys, options))
        measured = [
            _measured(name, exact, **journal.rows[row])
            for row, (name, _, _, exact) in zip(ids, SETTINGS, strict=True)
        ]
        new = journal.added
    columns = ("statistic", "documents", "mean rate", "99.9 % interval", "spread")
    note = (
        f"Share of p <= {ALPHA:g} among documents of {LENGTH} tokens, {keys} keys. "
        "Spread: standard deviation over keys, against independent documents. The "
        "worst key is what calibration is for."
    )
    return Part(
        parameters={"fixed keys": keys, "documents of each kind": each},
        targets=tuple(target for _, target in measured),
        tables=(
            Table(
                f"Fixed keys, rate at {ALPHA:g}",
                (*columns, "median key", "worst key", "holds"),
                tuple(row for row, _ in measured),
                note,
            ),
        ),
        new=new,
        reused=len(ids) - new,
    )


def _hits(
    scheme: str,
    parameters: Mapping[str, Any],
    documents: list[calibration.Document],
    keys: int,
    options: Options,
) -> dict[str, Any]:
    """Hits of each key: the first as the one to calibrate, the rest as the others."""
    first, *others = (seeded_key("fixed", options.seed, i) for i in range(keys))
    found = calibration.calibrate(
        SCHEMES[scheme].record(first, **parameters),
        documents,
        levels=[ALPHA],
        others=others,
        track=lambda records: options.track(records, f"fpr: fixed keys, {scheme}"),
    )
    [level] = found.levels
    return {"hits": [level.hits, *level.others], "documents": level.documents}


def _measured(
    name: str, exact: bool, hits: list[int], documents: int
) -> tuple[tuple[Cell, ...], Target]:
    rates = np.asarray(hits) / documents
    mean, worst = float(rates.mean()), float(rates.max())
    low, high = interval(hits, documents)
    holds = low <= ALPHA and (high >= ALPHA or not exact)
    independent = math.sqrt(mean * (1 - mean) / documents)
    spread = float(rates.std(ddof=1)) / independent if independent else None
    row = (name, documents, mean, f"{low:.3g} .. {high:.3g}", spread)
    target = Target(
        name=f"{name}: mean rate of fixed keys",
        target=f"{'=' if exact else '<='} {ALPHA:g}",
        measured=mean,
        reached=holds,
        note=f"{len(hits)} keys, worst {worst:.3g}",
    )
    return (*row, float(np.median(rates)), worst, holds), target


def interval(hits: list[int], documents: int) -> tuple[float, float]:
    """Student's interval of the mean rate over keys, at `LEVEL`.

    Widened to that of independent documents: no hit at all is no certainty.
    """
    rates = np.asarray(hits) / documents
    error = float(rates.std(ddof=1)) / math.sqrt(len(hits))
    half = float(student.isf((1 - LEVEL) / 2, len(hits) - 1)) * error
    low, high = clopper_pearson(sum(hits), len(hits) * documents, level=LEVEL)
    mean = float(rates.mean())
    return max(0.0, min(low, mean - half)), min(1.0, max(high, mean + half))
