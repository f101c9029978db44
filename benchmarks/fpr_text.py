"""False positives of text: segments of what people wrote, a random key for each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fpr_cases import CASES, LENGTHS, LONG, Case, Found
from benchmarks.fpr_corpus import LANGUAGES, Corpus, reader, texts
from benchmarks.fpr_corpus import library as library
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.tails import ALPHAS, Tail, at_most, table
from watermark import detectors, kernels, schemes
from watermark.schemes import SCHEMES

ROWS = 40  # rows of the journal that a full run makes of a case; a quick one makes one
SHOWN = 1  # the alpha of the table by kind

Row = Mapping[str, Mapping[str, Any]]


def count(options: Options) -> Part:
    """Realised rates of the text schemes.

    Raises:
        Unavailable: there is no tokenizer.
    """
    found, tokenizer = texts(), reader(options.lm)
    files = ("fpr_text.py", "fpr_cases.py", "fpr_corpus.py", "tails.py")
    identity = {
        "code": code_version((detectors, schemes, kernels), *files),
        "tokenizer": tokenizer.digest,
        "texts": hashlib.sha256("\0".join(found.values()).encode()).hexdigest(),
        "seed": options.seed,
    }
    names = {case.name: _names(case, options) for case in CASES}
    cases = {case.name: case for case in CASES}
    ids = [name for some in names.values() for name in some]
    with Journal(options.work, "fpr-text", identity) as journal:
        missing = journal.missing(ids)
        corpus = Corpus.read(tokenizer, found) if missing else Corpus({})
        for name in options.track(missing, "fpr: text") if missing else ():
            case, start, size = name.split("/")
            row = tested(cases[case], corpus, int(start), int(size), options.seed)
            journal.add(name, row)
        rows = {case: [journal.rows[n] for n in some] for case, some in names.items()}
        new = journal.added
    tails = [tail(case, rows[case.name]) for case in CASES]
    note = (
        f"Segments of {', '.join(map(str, LENGTHS))} tokens, for passages of "
        f"{' and '.join(map(str, LONG))}, drawn at random from {len(found)} kinds of "
        "text. Expected of a discrete statistic: what it can attain of alpha."
    )
    return Part(
        parameters={
            "pairs of key and text": sum(t.n for t in tails),
            "kinds of text": len(found),
        },
        targets=(*(t.target() for t in tails), _reach(found)),
        tables=(table("Text", tails, note), _by_kind(rows, found)),
        new=new,
        reused=len(ids) - new,
    )


def _names(case: Case, options: Options) -> list[str]:
    """Ids of the rows of one case. The quick run's is the first of the full run."""
    size = case.tests // ROWS
    tests = options.count(size, case.tests)
    starts = range(0, tests, size)
    return [f"{case.name}/{start}/{min(size, tests - start)}" for start in starts]


def tested(case: Case, corpus: Corpus, start: int, size: int, seed: int) -> Row:
    """Tests `start` to ``start + size`` of a case: each a fresh key and a segment.

    Returns:
        By kind of text: tests, and for each alpha hits and what is expected of one.
    """
    generator = np.random.default_rng([*seeded("fpr", case.name, seed, start)])
    found: dict[str, list[Found]] = {kind: [] for kind in corpus.ids}
    segments = corpus.draw(case.lengths, generator, size)
    for index, (kind, ids) in enumerate(segments, start):
        key = seeded_key("fpr", case.name, seed, index)
        record = SCHEMES[case.scheme].record(key, **case.parameters)
        found[kind].append(case.test(ids, record, generator))
    return {
        kind: {
            "tests": len(some),
            "hits": at_most(np.asarray([one.ln_p for one in some])),
            "stated": np.sum([one.stated for one in some], axis=0).tolist(),
        }
        for kind, some in found.items()
        if some
    }


def tail(case: Case, rows: Sequence[Row], kind: str = "") -> Tail:
    """The sum of a case's rows, over all kinds of text or of one."""
    parts = [row[k] for row in rows for k in row if not kind or k == kind]
    n = sum(part["tests"] for part in parts)
    hits = np.sum([np.zeros(len(ALPHAS)), *(part["hits"] for part in parts)], axis=0)
    stated = np.sum(
        [np.zeros(len(ALPHAS)), *(part["stated"] for part in parts)], axis=0
    )
    return Tail(
        kind or case.name,
        case.exact,
        n,
        tuple(int(total) for total in hits),
        tuple((stated / max(n, 1)).tolist()),
        case.error,
    )


def _reach(found: Mapping[str, str]) -> Target:
    """Whether the languages were within reach."""
    there = [name for name in LANGUAGES if name in found]
    return Target(
        name="languages among the texts, beside English",
        target=str(len(LANGUAGES)),
        measured=float(len(there)),
        reached=len(there) == len(LANGUAGES) or None,
        note=", ".join(there) or "Django, whose messages they are, is not installed",
    )


def _by_kind(rows: Mapping[str, Sequence[Row]], found: Iterable[str]) -> Table:
    """Realised rates at one alpha, of the cases with most tests, by kind of text."""
    most = max(case.tests for case in CASES)
    cases = [case for case in CASES if case.tests == most]
    shown: list[tuple[Cell, ...]] = []
    for kind in found:
        tails = [tail(case, rows[case.name], kind) for case in cases]
        rates = [t.hits[SHOWN] / t.n if t.n else None for t in tails]
        shown.append((kind, *rates, all(t.holds()[SHOWN] for t in tails)))
    return Table(
        f"Text, rate at {ALPHAS[SHOWN]:g} by kind",
        ("kind", *(case.name for case in cases), "holds"),
        tuple(shown),
        "The same tests, apart. Of a hundred rates one in ten runs has one outside its "
        "99.9 % interval.",
    )
