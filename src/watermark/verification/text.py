"""Marks in a text: every key record on every reading.

One record and one reading get several looks, each with its share of the error budget,
fixed beforehand: p is the least p_j / share_j, times the records and readings tried.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from watermark.assets.loading import Asset
from watermark.detectors import (
    greenlist,
    gumbel,
    payload,
    spans,
    tournament,
    weighted,
)
from watermark.detectors.base import Score
from watermark.detectors.foreign import DETECTORS as FOREIGN_DETECTORS
from watermark.errors import InvalidSignal, TokenizerMismatch, VocabularyMismatch
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason
from watermark.schemes.base import option
from watermark.verification.reading import Reading, readings
from watermark.verification.setting import Findings, Setting, mark_evidence

TEXT_DETECTORS = {
    "gumbel": gumbel,
    "greenlist": greenlist,
    "tournament": tournament,
    **FOREIGN_DETECTORS,
}
# Shares of the looks at one text: the whole of it; its best passage; the whole weighed
# by a model. What is not looked at costs nothing only if it was so beforehand: the
# effort and the model are the caller's choice, not the text's.
WHOLE = {"whole": 1.0}
PASSAGE = {"whole": 0.875, "passage": 0.125}
MODEL = {"whole": 0.25, "passage": 0.125, "model": 0.625}
GATED = {"whole": 0.25, "model": 0.75}
LOCALISED = 1e-3  # family-wise error of the spans that are shown


@dataclass(frozen=True, slots=True)
class _Look:
    name: str
    share: float
    score: Score
    passages: Sequence[spans.Span] = ()


def text_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test every key record on every reading of a text."""
    records = [r for r in setting.records if r.scheme in TEXT_DETECTORS]
    if not records:
        found.open.append(Reason("no-key", "no key record of a text scheme is at hand"))
        return
    pairs = _pairs(records, readings(asset, setting, found), setting)
    read = {record.test for record, _ in pairs}
    unread = [r for r in records if r.test not in read]
    if unread and not setting.given_tokenizer:
        found.open.append(
            Reason(
                "no-tokenizer",
                f"{len(unread)} key records could not be tested: a text mark lives in "
                "token ids. Name the tokenizer of the model that could have written "
                "this, or give the ids themselves",
            )
        )
    best: dict[tuple[object, ...], Evidence] = {}
    longest: dict[str, int] = {}
    times = Counter(record.test for record, _ in pairs)
    for record, reading in pairs:
        tried = len(pairs), times[record.test]
        evidence, n = _test(record, reading, tried, setting, found)
        longest[record.scheme] = max(longest.get(record.scheme, 0), n)
        before = best.get(record.test)
        if before is None or _log10_p(evidence) < _log10_p(before):
            best[record.test] = evidence
    found.evidence += best.values()
    _power(records, longest, found)


def _pairs(
    records: Sequence[KeyRecord], read: Sequence[Reading], setting: Setting
) -> list[tuple[KeyRecord, Reading]]:
    """Each distinct test with the readings it applies to."""
    wanted = {r.tokenizer for r in records if r.tokenizer is not None}
    given = {r.tokenizer for r in read if r.tokenizer}
    fits = given & wanted or any(
        r.tokenizer is None and r.vocab_size is not None for r in records
    )
    if setting.given_tokenizer and given and wanted and not fits:
        names = ", ".join(sorted(digest[:12] for digest in wanted))
        raise TokenizerMismatch(
            f"the tokenizer given has digest {min(given)[:12]}, the key records name "
            f"{names}: its ids would mean nothing. Pass the tokenizer of the model "
            "that marked"
        )
    sizes = {t.digest: t.size for t in setting.tokenizers}
    pairs: dict[tuple[object, ...], tuple[KeyRecord, Reading]] = {}
    for reading in read:
        for record in records:
            if _readable(record, reading.tokenizer, sizes, setting.given_tokenizer):
                name = (record.test, reading.tokenizer, reading.view)
                pairs.setdefault(name, (record, reading))
    return list(pairs.values())


def _readable(
    record: KeyRecord, tokenizer: str, sizes: Mapping[str, int], given: bool
) -> bool:
    """Whether ids of this tokenizer can be those of the record's model.

    Raises:
        VocabularyMismatch: the caller named a tokenizer and an engine's record for any
            tokenizer, and the one has more tokens than the other.
    """
    if not tokenizer:
        return True
    if record.tokenizer not in (None, tokenizer):
        return False
    size = record.vocab_size
    if record.scheme not in FOREIGN_DETECTORS or size is None:
        return True
    if sizes[tokenizer] <= size:
        return True
    if given:
        raise VocabularyMismatch(
            f"the record {record.kid} of {record.scheme} has vocab_size {size}, the "
            f"tokenizer given has {sizes[tokenizer]} tokens: one of them is another "
            "model's. Correct the one, or name the record's tokenizer in it"
        )
    return False


def _test(
    record: KeyRecord,
    reading: Reading,
    tried: tuple[int, int],
    setting: Setting,
    found: Findings,
) -> tuple[Evidence, int]:
    """The best look at one reading under one record, and what the whole reading holds.

    The second is the number of distinct contexts, whichever look was the best: a long
    text is not short because a passage of it says most.

    Args:
        record: what is tested.
        reading: what it is tested on.
        tried: pairs of both in this call, and those of them with this record: each may
            have told a wrong message.
        setting: what verification works with.
        found: takes what cannot be looked at.
    """
    pairs, readings_tried = tried
    looks = list(_looks(record, reading, pairs, setting, found))
    passages = next((look.passages for look in looks if look.passages), ())
    evidence = [
        mark_evidence(
            record,
            _sure(look.score, readings_tried),
            pairs / look.share,
            setting,
            spans=tuple(reading.span(s.start, s.end) for s in passages),
            detail=", ".join(filter(None, (look.name, reading.view))),
        )
        for look in looks
    ]
    return min(evidence, key=_log10_p), looks[0].score.n


def _sure(score: Score, times: int) -> Score:
    """The score without its message, unless that is sure among `times` readings."""
    if score.ln_error + math.log(times) > payload.PAYLOAD_LN_ERROR:
        return replace(score, payload=None)
    return score


def _looks(
    record: KeyRecord,
    reading: Reading,
    pairs: int,
    setting: Setting,
    found: Findings,
) -> Iterator[_Look]:
    shares = _shares(record, setting)
    skip = reading.skip
    whole = TEXT_DETECTORS[record.scheme].score(reading.ids, record, skip=skip)
    yield _Look("whole text", shares["whole"], whole)
    if "passage" in shares:
        passages = spans.find(reading.ids, record, LOCALISED / pairs, skip=skip)
        if passages:
            yield _Look("a passage", shares["passage"], _best(passages), passages)
    if "model" in shares and setting.likelihood is not None:
        text, prompt = reading.ids[skip:], reading.ids[:skip].tolist()
        try:
            if record.scheme == "greenlist":
                nats = setting.likelihood.entropies(text, prompt)
                score = greenlist.score(reading.ids, record, nats, skip=skip)
            else:
                chances = setting.likelihood.probabilities(text, prompt)
                score = weighted.score(reading.ids, record, chances, skip=skip)
        except InvalidSignal as error:
            found.open.append(Reason("other-model", str(error)))
            return
        yield _Look("weighed by the model", shares["model"], score)


def _shares(record: KeyRecord, setting: Setting) -> Mapping[str, float]:
    """Which looks a record gets: decided before the text is seen."""
    model = setting.likelihood is not None
    if record.scheme == "greenlist":
        gated = option(record.parameters, "gate100") > 0
        return GATED if gated and model else WHOLE
    if record.scheme != "gumbel" or option(record.parameters, "payload_bits"):
        return WHOLE
    if model:
        return MODEL
    return WHOLE if setting.effort == "quick" else PASSAGE


def _best(passages: Sequence[spans.Span]) -> Score:
    """The clearest passage; what it tried is in its p-value already."""
    best = min(passages, key=lambda span: span.ln_p)
    n = best.end - best.start
    return Score(
        ln_p=best.ln_p, hypotheses=1, n=n, statistic=-best.ln_p, nonce=best.nonce
    )


def _log10_p(evidence: Evidence) -> float:
    return 0.0 if evidence.log10_p is None else evidence.log10_p


def _power(
    records: Sequence[KeyRecord], longest: Mapping[str, int], found: Findings
) -> None:
    """Say what these texts are long enough for, by scheme.

    A scheme that is only there by default tells its power; one that is known to be in
    use, as another engine's always is, or the default scheme itself, has to have it.
    """
    in_use = {
        r.scheme
        for r in records
        if r.vocab_size is not None or r.scheme in FOREIGN_DETECTORS
    }
    in_use.add("gumbel")
    for scheme, n in longest.items():
        enough = max(_enough(r) for r in records if r.scheme == scheme)
        detail = (
            f"{n} distinct contexts for {scheme}; about {enough} decide in 90 % of "
            "cases at 1 nat a token"
        )
        if n < enough and scheme in in_use:
            found.open.append(Reason("too-short", detail))
        else:
            found.power.append(Reason("power", detail))


def _enough(record: KeyRecord) -> int:
    """Distinct contexts that decide in 90 % of cases at 1 nat a token."""
    bits = option(record.parameters, "payload_bits")
    if record.scheme == "gumbel" and bits:
        return payload.ENOUGH[bits]
    enough: int = TEXT_DETECTORS[record.scheme].ENOUGH
    return enough
