"""Texts that were edited, and passages inside texts of somebody else.

Edits are of words, as people and tools make them; the edited text is tokenised again.
"""

from __future__ import annotations

import math
import random
import re
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.fpr_text import library
from benchmarks.language import Language
from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.text.power import log10_p
from benchmarks.text.samples import NO_REPEAT, NOTE, Sampler, Set, Text
from watermark.detectors import spans

LENGTH = 400
FPR = 1e-3
PROFILES = (
    Set("default, width 4", "gumbel", 1.0, LENGTH, no_repeat=NO_REPEAT),
    *(
        Set(
            *(f"robust, width {width}", "gumbel", 1.0, LENGTH, (("width", width),)),
            no_repeat=NO_REPEAT,
        )
        for width in (2, 1)
    ),
)
ROBUST = PROFILES[1].name
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)
# (edit, share, least rate of texts found)
WANTED = (("substituted", 0.2, 0.9), ("deleted", 0.3, 0.9))
# (marked tokens, tokens in all): passages inside a text of somebody else
PASSAGES = ((400, 1600), (150, 5000))
FAMILY_WISE, OVERLAP = 1e-3, 0.8

WORD = re.compile(r"\s*\S+")  # a word and the space before it

Edit = Callable[[Sequence[str], float, random.Random], list[str]]


def substituted(words: Sequence[str], share: float, rng: random.Random) -> list[str]:
    """Some words replaced by others of the same text: as frequent, out of place."""
    return [rng.choice(words) if rng.random() < share else word for word in words]


def deleted(words: Sequence[str], share: float, rng: random.Random) -> list[str]:
    """Some words left out."""
    return [word for word in words if rng.random() >= share]


def inserted(words: Sequence[str], share: float, rng: random.Random) -> list[str]:
    """Words of the same text put in at random places."""
    out: list[str] = []
    for word in words:
        if rng.random() < share:
            out.append(rng.choice(words))
        out.append(word)
    return out


EDITS: dict[str, Edit] = {
    "substituted": substituted,
    "deleted": deleted,
    "inserted": inserted,
}


def measure(sampler: Sampler, options: Options) -> Part:
    """Edited texts under three widths; passages found and how well."""
    count = options.count(40, 200)
    drawn = {part.name: sampler.texts(part, count) for part in PROFILES}
    rates = {
        (name, edit, share): _edited(texts, edit, share, sampler.language, options)
        for name, texts in drawn.items()
        for edit in EDITS
        for share in SHARES
    }
    targets = [
        Target.of_rate(
            f"{ROBUST}: {share:.0%} of words {edit}, {LENGTH} tokens, at {FPR:g}",
            rates[ROBUST, edit, share],
            least,
        )
        for edit, share, least in WANTED
    ]
    rows: list[tuple[Cell, ...]] = [
        (name, edit, *(rates[name, edit, share].value for share in SHARES))
        for name in drawn
        for edit in EDITS
    ]
    columns = ("profile", "words", *(f"{share:.0%}" for share in SHARES))
    note = f"Share of {LENGTH}-token texts found at {FPR:g}, all nonces counted."
    table = Table("After edits", columns, tuple(rows), note)
    curves = tuple(
        (
            f"{name}, {edit}",
            tuple(
                (share, r.value, *r.interval())
                for share in SHARES
                for r in [rates[name, edit, share]]
            ),
        )
        for name in drawn
        for edit in ("substituted", "deleted")
    )
    plot = Plot("Found after edits", "share of words edited", "share found", curves)
    found, wanted = _passages(drawn[PROFILES[0].name], sampler.language, options)
    return Part(
        parameters={"edited texts": count},
        targets=(*targets, *wanted),
        tables=(table, found),
        plots=(plot,),
        notes=(NOTE,),
    )


def _edited(
    texts: list[Text], edit: str, share: float, language: Language, options: Options
) -> Rate:
    hits = 0
    for i, text in enumerate(texts):
        rng = random.Random(f"{options.seed}/{edit}/{share}/{i}")
        words = EDITS[edit](WORD.findall(text.said(language)), share, rng)
        read = np.asarray(language.reader.encode("".join(words)), np.uint32)
        hits += log10_p(read, text.record) <= math.log10(FPR)
    return Rate(hits, len(texts))


def _passages(
    texts: list[Text], language: Language, options: Options
) -> tuple[Table, list[Target]]:
    """Marked passages inside the standard library's prose."""
    around = library(language.folder)
    rows: list[tuple[Cell, ...]] = []
    targets = []
    for marked, whole in PASSAGES:
        overlaps = [
            _overlap(text, marked, whole, around, language, f"{options.seed}/{i}")
            for i, text in enumerate(options.track(texts, f"{marked} in {whole}"))
        ]
        found = Rate(sum(o > 0 for o in overlaps), len(overlaps))
        well = Rate(sum(o >= OVERLAP for o in overlaps), len(overlaps))
        middle = statistics.median(overlaps)
        rows.append((marked, whole, str(found), str(well), middle))
        targets.append(
            Target(
                name=f"{marked} marked tokens in {whole:,}: median overlap (IoU)",
                target=f">= {OVERLAP:g}",
                measured=middle,
                reached=middle >= OVERLAP,
                note=f"found {found.hits}, well {well.hits} of {well.n}",
            )
        )
    columns = (
        *("marked tokens", "in", "found", f"overlap >= {OVERLAP:g}", "median overlap"),
    )
    note = (
        f"Family-wise error {FAMILY_WISE:g}. Overlap: characters in common over "
        "characters in either; the passage includes its unmarked fresh prefix."
    )
    return Table("Passages", columns, tuple(rows), note), targets


def _overlap(
    text: Text,
    marked: int,
    whole: int,
    around: Sequence[NDArray[np.uint32]],
    language: Language,
    seed: str,
) -> float:
    """Intersection over union, in characters, of the passage and the spans found."""
    if text.record is None:
        raise ValueError("an unmarked text has no passage")
    rng = random.Random(seed)
    host = rng.choice([ids for ids in around if len(ids) > whole])
    start = rng.randrange(len(host) - whole)
    cut = start + rng.randrange(whole - marked)
    before = language.tokenizer.decode(host[start:cut])
    after = language.tokenizer.decode(host[cut : start + whole - marked])
    passage = text.said(language, marked)
    whole_text = before + passage + after
    ids = language.reader.encode(whole_text)
    places = language.reader.places(whole_text).tolist()
    truth = set(range(len(before), len(before) + len(passage)))
    found: set[int] = set()
    for span in spans.find(np.asarray(ids, np.uint32), text.record, FAMILY_WISE):
        found |= set(range(places[span.start][0], places[span.end - 1][1]))
    return len(truth & found) / len(truth | found)
