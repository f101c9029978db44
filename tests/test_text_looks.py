"""How a text is looked at: readings, looks and prices, spans, prompts, messages."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.toys import VOCABULARY, generate, text_of, words
from watermark.api import Watermark
from watermark.assets.loading import Tokens
from watermark.detectors.base import Score
from watermark.detectors.payload import PAYLOAD_LN_ERROR
from watermark.errors import TokenizerMismatch
from watermark.home import Home
from watermark.keys import KeyRecord
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import SCHEMES
from watermark.tokenizer import TextTokenizer
from watermark.verification.text import _sure


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    folder = tmp_path_factory.mktemp("acme") / "home"
    return Watermark(Home.create(folder, provider="Acme"))


@pytest.fixture(scope="module")
def record(w: Watermark) -> KeyRecord:
    return SCHEMES["gumbel"].record(w.home.ring.newest.key)


@pytest.fixture(scope="module")
def ids(record: KeyRecord) -> list[int]:
    return generate(record)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return words()


def mark(report: Report, scheme: str = "gumbel") -> Evidence:
    (found,) = [e for e in report.evidence if e.scheme == scheme]
    return found


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


class Sure:
    """Probabilities that say nothing: every token one in a hundred."""

    def probabilities(
        self, ids: NDArray[np.uint32], prompt: Any = ()
    ) -> NDArray[np.float64]:
        return np.full(len(ids), 0.01)


# --- readings ------------------------------------------------------------------------


def test_hidden_characters_are_read_through_and_told(
    w: Watermark, ids: list[int], tokenizer: Tokenizer
) -> None:
    clean = text_of(ids)
    hidden = clean.replace("w1", "w\u200b1").replace("w2", "w\u2060\u00ad2")
    report = w.verify(hidden, tokenizer=tokenizer)
    evidence = mark(report)

    assert report.verdict == Verdict.MARKED
    assert "normalised" in evidence.detail
    assert "altered-characters" in codes(report)
    assert "zero-width" in next(
        r.detail for r in report.reasons if r.code == "altered-characters"
    )
    # Two readings of two schemes, and the share of the look.
    share = 0.875 if evidence.detail.startswith("whole") else 0.125
    nonces = 16 if share == 0.875 else 1
    assert evidence.hypotheses == math.ceil(nonces * 4 / share)


def test_quick_effort_takes_the_text_as_it_is(
    w: Watermark, ids: list[int], tokenizer: Tokenizer
) -> None:
    quick = mark(w.verify(text_of(ids), tokenizer=tokenizer, effort="quick"))
    hidden = text_of(ids).replace("w", "w\u200b")

    assert quick.hypotheses == 16 * 2
    assert quick.spans == ()
    report = w.verify(hidden, tokenizer=tokenizer, effort="quick")
    assert report.verdict != Verdict.MARKED
    assert "altered-characters" not in codes(report)


def test_thorough_effort_counts_what_it_tries(
    w: Watermark, ids: list[int], tokenizer: Tokenizer
) -> None:
    evidence = mark(w.verify(text_of(ids), tokenizer=tokenizer, effort="thorough"))
    share = 0.875 if evidence.detail.startswith("whole") else 0.125
    nonces = 16 if share == 0.875 else 1

    assert evidence.hypotheses == math.ceil(nonces * 6 / share)
    assert evidence.log10_p is not None
    assert evidence.log10_p < -6


@pytest.mark.parametrize("effort", ["normal", "thorough"])
@pytest.mark.parametrize("text", ["", " ", "\n", "\u200b", "w1", "\0", " w1 w2 "])
def test_texts_of_next_to_nothing_have_a_verdict(
    w: Watermark, tokenizer: Tokenizer, text: str, effort: str
) -> None:
    report = w.verify(text, tokenizer=tokenizer, effort=effort)

    assert report.verdict == Verdict.INCONCLUSIVE


# --- spans ---------------------------------------------------------------------------


def test_a_marked_passage_is_found_and_its_characters_told(
    w: Watermark, record: KeyRecord, tokenizer: Tokenizer
) -> None:
    before, after = generate(None, 1500, seed=1), generate(None, 1500, seed=2)
    passage = generate(record, 300, seed=3)
    text = text_of(before + passage + after)
    evidence = mark(w.verify(text, tokenizer=tokenizer))
    (span,) = evidence.spans
    start = len(text_of(before)) + 1
    end = start + len(text_of(passage))
    common = min(end, span[1]) - max(start, span[0])

    assert evidence.detail.startswith("a passage")
    assert common / (max(end, span[1]) - min(start, span[0])) > 0.8
    assert text[span[0]] == "w"
    assert not text[span[1] - 1].isspace()


def test_a_long_text_is_not_short_because_a_passage_says_most(
    w: Watermark, record: KeyRecord, tokenizer: Any
) -> None:
    plain, marked = generate(None, 500, seed=8), generate(record, 80, seed=9)
    weak = 0
    for length in range(24, 80, 4):
        report = w.verify(text_of([*plain, *marked[:length]]), tokenizer=tokenizer)
        found = mark(report)

        assert "too-short" not in codes(report)
        weak += "passage" in found.detail and -6 < (found.log10_p or 0) < 0
    assert weak


def test_spans_lead_back_through_the_normaliser(
    w: Watermark, record: KeyRecord, tokenizer: Tokenizer
) -> None:
    passage = text_of(generate(record, 300, seed=3)).replace("w1", "w\u200b1")
    before = text_of(generate(None, 800, seed=1))
    text = f"{before} {passage}"
    (span,) = mark(w.verify(text, tokenizer=tokenizer)).spans

    assert len(text) - 0.1 * len(passage) < span[1] <= len(text)
    assert abs(span[0] - len(before)) < 0.2 * len(passage)


def test_spans_of_ids_are_indices(w: Watermark, record: KeyRecord) -> None:
    every = generate(None, 800, seed=1) + generate(record, 300, seed=3)
    (span,) = mark(w.verify(Tokens(every))).spans

    assert 1070 < span[1] <= 1100
    assert abs(span[0] - 800) < 60


# --- prompts and models --------------------------------------------------------------


def test_what_repeats_the_prompt_is_no_evidence(
    w: Watermark, ids: list[int], tokenizer: Tokenizer
) -> None:
    text = text_of(ids)

    assert w.verify(text, tokenizer=tokenizer).verdict == Verdict.MARKED
    told = w.verify(text, tokenizer=tokenizer, prompt=text)
    assert mark(told).n == 0
    assert told.verdict != Verdict.MARKED
    given = w.verify(Tokens(ids), prompt=ids)
    assert mark(given).n == 0
    mixed = w.verify(Tokens(ids), tokenizer=tokenizer, prompt=text)
    assert mark(mixed).n == 0


def test_a_prompt_that_cannot_be_read_is_refused(w: Watermark, ids: list[int]) -> None:
    with pytest.raises(TokenizerMismatch, match="pass tokenizer="):
        w.verify(Tokens(ids), prompt=text_of(ids), keys=w.home.ring.newest.key)


def test_a_message_is_told_if_it_is_sure_among_all_readings() -> None:
    barely = Score(ln_p=-99.0, hypotheses=1, n=9, statistic=1.0, payload=b"ab")
    barely = replace(barely, ln_error=PAYLOAD_LN_ERROR - math.log(2))

    assert _sure(barely, 2).payload == b"ab"
    assert _sure(barely, 3).payload is None
    assert _sure(barely, 3).ln_p == barely.ln_p


def test_a_prompt_that_is_not_repeated_changes_nothing(
    w: Watermark, ids: list[int], tokenizer: Tokenizer
) -> None:
    bare = mark(w.verify(text_of(ids), tokenizer=tokenizer))
    prompt = text_of(generate(None, 50, seed=9))
    told = mark(w.verify(text_of(ids), tokenizer=tokenizer, prompt=prompt))

    assert (told.n, told.log10_p) == (bare.n, bare.log10_p)
    assert told.spans == bare.spans


def test_a_model_is_one_look_more(
    w: Watermark, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from watermark import verifier

    monkeypatch.setattr(verifier, "_likelihood", lambda pipeline: pipeline)
    report = w.verify(Tokens(ids), pipeline=Sure())
    evidence = mark(report)

    assert report.verdict == Verdict.MARKED
    shares = {"whole text": 0.25, "a passage": 0.125, "weighed by the model": 0.625}
    share = shares[evidence.detail.partition(":")[0]]
    nonces = 1 if share == 0.125 else 16
    assert evidence.hypotheses == math.ceil(nonces * 2 / share)


# --- messages ------------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"\x12\x34", b"\x12\x34\x56\x78"])
def test_a_message_is_read(w: Watermark, message: bytes) -> None:
    bits = 8 * len(message)
    key = w.home.ring.newest.key
    record = SCHEMES["gumbel"].record(key, payload_bits=bits, nonce_bits=0)
    said = generate(record, 400, nonce=0, payload=message)
    report = w.verify(Tokens(said), keys=record)

    assert report.verdict == Verdict.MARKED
    assert mark(report).payload == message


def test_a_dual_mark_is_one_mark_and_its_public_half_is_found(w: Watermark) -> None:
    from watermark.schemes.gumbel import public_record

    record = SCHEMES["gumbel"].record(w.home.ring.newest.key, dual=1)
    said = generate(record, 400)

    assert w.verify(Tokens(said), keys=record).verdict == Verdict.MARKED
    assert w.verify(Tokens(said), keys=public_record(record)).verdict == Verdict.MARKED


# --- many ----------------------------------------------------------------------------


def test_many_texts_give_the_reports_of_each_in_order(
    w: Watermark, record: KeyRecord, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    texts = [
        text_of(generate(record if i % 3 else None, 120, seed=i)) for i in range(9)
    ]
    (tmp_path / "a.txt").write_text(texts[1])
    assets: list[Any] = [*texts, tmp_path / "a.txt", b"\xff\xfe", Tokens([1, 2, 3])]
    single = [w.verify(asset, tokenizer=tokenizer) for asset in assets]

    for workers in (1, 3):
        many = w.verify_many(iter(assets), tokenizer=tokenizer, workers=workers)
        assert [r.to_dict() for r in many] == [r.to_dict() for r in single]


def test_no_workers_are_refused(w: Watermark) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(w.verify_many(["w1"], workers=0))


def test_the_tokenizer_tells_which_characters_a_token_covers() -> None:
    text = text_of([5, 17, 399])
    reader = TextTokenizer.of(words())
    ids, places = reader.encode(text), reader.places(text)

    assert ids == [5, 17, 399]
    assert [text[a:b] for a, b in places] == ["w5", "w17", "w399"]
    assert max(ids) < VOCABULARY
