"""How often a key fires on texts that were never marked, measured on your own.

A p-value is exact over the draw of the key. A deployed key is drawn once, and then its
rate on one corpus is a number of its own: the mean over keys is as stated, but a key
whose luck is bad on a licence text fires on every file that holds it. `calibrate`
measures that rate, compares it with other keys on the same corpus, and says whether to
keep the key; `screen` takes the first key of several that is kept.

A key is kept if at no level its rate is surely above the level: if the lower end of its
exact interval is not above. Being choosy has a price, and it is told: if a share a of
all keys is kept, P(p <= x) of a kept key is at most x / a on any text chosen without
it, since P(p <= x and kept) <= x.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import greenlist, gumbel, tournament
from watermark.keys import Key, KeyRecord
from watermark.rates import CONFIDENCE, clopper_pearson, mean_interval

SCHEMA = "watermark.calibration/1"
LEVELS = (1e-2, 1e-3, 1e-4)
OTHERS = 100  # keys to compare with
WORST = 10  # documents that are named
SUSPECT = 1e-6  # family-wise: a document below it is hardly unmarked
DETECTORS = {"gumbel": gumbel, "greenlist": greenlist, "tournament": tournament}

LUCK = (
    "p is the chance over the draw of our key; files that share text share their luck; "
    "p says nothing about text chosen with access to the key, the detector or marked "
    "text"
)

Track = Callable[[Sequence[KeyRecord]], Iterable[KeyRecord]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An unmarked text, as token ids (uint32), and what to call it."""

    name: str
    tokens: NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One document under the key: `log10_p` counts the nonces that were tried."""

    name: str
    log10_p: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one stated level comes to.

    Attributes:
        level: the stated rate, 0 < level < 1.
        hits: documents with p <= level under the key.
        documents: how many were tested.
        interval: of the key's rate, exact (Clopper-Pearson): where its rate lies on all
            the texts that these are a random sample of.
        others: hits of each of the other keys on the same documents.
        mean_interval: of the mean rate over keys, by the spread between keys.
    """

    level: float
    hits: int
    documents: int
    interval: tuple[float, float]
    others: tuple[int, ...]
    mean_interval: tuple[float, float]

    @property
    def rate(self) -> float:
        """The key's realised rate."""
        return self.hits / self.documents

    @property
    def kept(self) -> bool:
        """Whether the key's rate may be at or below the level."""
        return self.interval[0] <= self.level

    @property
    def mean(self) -> float:
        """The mean rate of the other keys, or NaN without any."""
        return float(np.mean(self.others)) / self.documents if self.others else math.nan

    @property
    def as_bad(self) -> float:
        """P(a random key has at least as many hits), exact: at least 1 / (keys + 1).

        The key and the others are exchangeable, so its rank among them is uniform.
        """
        worse = sum(hits >= self.hits for hits in self.others)
        return (1 + worse) / (1 + len(self.others))

    @property
    def spread(self) -> float:
        """Standard deviation over keys, against independent documents (1).

        Above 1 documents share text, and with it their luck. NaN where it says nothing.
        """
        rate = self.mean
        if len(self.others) < 2 or not 0 < rate < 1:
            return math.nan
        independent = math.sqrt(self.documents * rate * (1 - rate))
        return float(np.std(self.others, ddof=1)) / independent

    @property
    def needed(self) -> int:
        """Documents without a hit that would show a rate at or below the level."""
        tail = (1 - CONFIDENCE) / 2
        return math.ceil(math.log(tail) / math.log1p(-self.level))

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; what cannot be said is None."""
        return {
            "level": self.level,
            "hits": self.hits,
            "documents": self.documents,
            "rate": self.rate,
            "interval": list(self.interval),
            "kept": self.kept,
            "documents_needed": self.needed,
            "others": list(self.others),
            "others_mean": _or_none(self.mean),
            "others_mean_interval": list(self.mean_interval) if self.others else None,
            "others_spread": _or_none(self.spread),
            "as_bad": self.as_bad if self.others else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One key on one corpus.

    Attributes:
        record: the key record that was tested.
        levels: one for each stated level, largest first.
        tokens: tokens of all documents that were tested.
        copies: documents left out because another has the same tokens.
        untestable: documents left out because they hold nothing that is scored.
        worst: the documents with the smallest p-values, smallest first.
        others: how many other keys were tested.
        others_kept: how many of them would have been kept.
    """

    record: KeyRecord
    levels: tuple[Level, ...]
    tokens: int
    copies: int
    untestable: int
    worst: tuple[Found, ...]
    others: int
    others_kept: int

    @property
    def kept(self) -> bool:
        """Whether the key is to be kept: at no level its rate is surely above."""
        return all(level.kept for level in self.levels)

    @property
    def suspects(self) -> tuple[Found, ...]:
        """Documents that are hardly unmarked: take them out and calibrate again."""
        most = math.log10(SUSPECT / self.levels[0].documents)
        return tuple(found for found in self.worst if found.log10_p <= most)

    @property
    def factor(self) -> float | None:
        """What choosing the key by this rule inflates p by at most, or None: unknown.

        One over the share of keys that the rule keeps; for that share stands the lower
        end of its interval among the other keys.
        """
        low, _ = clopper_pearson(self.others_kept, self.others)
        return 1 / low if low > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the secret."""
        return {
            "schema": SCHEMA,
            "record": self.record.to_dict(),
            "kept": self.kept,
            "documents": self.levels[0].documents,
            "tokens": self.tokens,
            "copies": self.copies,
            "untestable": self.untestable,
            "confidence": CONFIDENCE,
            "levels": [level.to_dict() for level in self.levels],
            "worst": [asdict(found) for found in self.worst],
            "suspects": [found.name for found in self.suspects],
            "others": self.others,
            "others_kept": self.others_kept,
            "inflation_at_most": self.factor,
            "meaning": LUCK,
        }

    def to_json(self) -> str:
        """`to_dict` as a text."""
        return json.dumps(self.to_dict(), indent=2)


def calibrate(
    record: KeyRecord,
    documents: Sequence[Document],
    *,
    levels: Sequence[float] = LEVELS,
    others: Sequence[Key] | None = None,
    track: Track = iter,
) -> Calibration:
    """Measure `record`'s key on unmarked texts, and other keys on the same.

    Args:
        record: the key record as it is deployed; its key must be at hand.
        documents: texts that nobody marked, chosen without access to the key.
        levels: stated rates, each in (0, 1).
        others: keys to compare with; by default `OTHERS` new ones. Without any, the
            price of being choosy (`Calibration.factor`) stays unknown.
        track: is given the records in turn, for a progress bar.

    Raises:
        ValueError: no document to test, a level outside (0, 1), or no text scheme.
        KeyFileError: the record was read without its key.
    """
    [found] = screen([record], documents, levels=levels, others=others, track=track)
    return found


def screen(
    candidates: Sequence[KeyRecord],
    documents: Sequence[Document],
    *,
    levels: Sequence[float] = LEVELS,
    others: Sequence[Key] | None = None,
    track: Track = iter,
) -> list[Calibration]:
    """Measure candidates in their order, up to the first that is kept.

    Take that one, and not the one with the lowest rates: the best of m inflates p by up
    to m, the first that is kept by `Calibration.factor`. If none is kept, none of the
    list is `kept`. The candidates are of one scheme and have the same parameters.
    Arguments and errors are those of `calibrate`.
    """
    _check(candidates, levels)
    levels = sorted(levels, reverse=True)
    distinct = _distinct(documents)
    drawn = [Key.generate() for _ in range(OTHERS)] if others is None else others
    compared = [replace(candidates[0], kid=key.kid, key=key) for key in drawn]
    results: list[Calibration] = []
    hits: list[tuple[int, ...]] = []  # of each other key, at each level
    for number, record in enumerate(track([*compared, *candidates])):
        found = [f for f in map(partial(_test, record), distinct) if f.n]
        if not found:
            raise ValueError(
                f"none of {len(distinct)} documents holds anything that "
                f"{record.scheme} scores: expected texts of a hundred tokens and more"
            )
        if number < len(compared):
            hits.append(_hits(found, levels))
            continue
        results.append(
            Calibration(
                record=record,
                levels=_levels(found, levels, hits),
                tokens=sum(d.tokens.size for d in distinct),
                copies=len(documents) - len(distinct),
                untestable=len(distinct) - len(found),
                worst=tuple(sorted(found, key=lambda f: f.log10_p)[:WORST]),
                others=len(hits),
                others_kept=sum(_keeps(row, len(found), levels) for row in hits),
            )
        )
        if results[-1].kept:
            break
    return results


# --- measuring -----------------------------------------------------------------------


def _check(candidates: Sequence[KeyRecord], levels: Sequence[float]) -> None:
    if not candidates:
        raise ValueError("found no key record, expected at least one to measure")
    for record in candidates:
        if record.scheme not in DETECTORS:
            raise ValueError(
                f"found a record of {record.scheme!r}, expected a scheme of text: "
                f"{', '.join(DETECTORS)}"
            )
        if (record.scheme, record.parameters) != (
            candidates[0].scheme,
            candidates[0].parameters,
        ):
            raise ValueError("the candidates differ in scheme or parameters")
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"found levels {list(levels)}, expected rates in (0, 1)")


def _distinct(documents: Sequence[Document]) -> list[Document]:
    """Without documents that have the same tokens: a copy is no further evidence."""
    found: dict[bytes, Document] = {}
    for document in documents:
        ids = np.ascontiguousarray(document.tokens, dtype=np.uint32)
        found.setdefault(hashlib.sha256(ids.tobytes()).digest(), document)
    return list(found.values())


def _test(record: KeyRecord, document: Document) -> Found:
    score = DETECTORS[record.scheme].score(document.tokens, record)
    return Found(name=document.name, log10_p=score.log10_p(), n=score.n)


def _hits(found: Sequence[Found], levels: Sequence[float]) -> tuple[int, ...]:
    p = np.asarray([f.log10_p for f in found])
    return tuple(int((p <= math.log10(level)).sum()) for level in levels)


def _levels(
    found: Sequence[Found], levels: Sequence[float], hits: Sequence[tuple[int, ...]]
) -> tuple[Level, ...]:
    columns = list(zip(*hits, strict=True)) or [()] * len(levels)
    return tuple(
        Level(
            level=level,
            hits=own,
            documents=len(found),
            interval=clopper_pearson(own, len(found)),
            others=others,
            mean_interval=mean_interval(others, len(found)),
        )
        for level, own, others in zip(
            levels, _hits(found, levels), columns, strict=True
        )
    )


def _keeps(hits: Sequence[int], n: int, levels: Sequence[float]) -> bool:
    """The rule of `Level.kept`, at every level."""
    return all(
        clopper_pearson(count, n)[0] <= level
        for count, level in zip(hits, levels, strict=True)
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
