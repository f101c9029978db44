"""The table of verdicts: marks in texts."""

from __future__ import annotations

import argparse
import collections
import datetime
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.toys import generate, text_of, words
from tests.verification.reports import codes, layer, met
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from watermark import policy, verification
from watermark.api import Watermark
from watermark.assets.loading import Tokens, load
from watermark.errors import TokenizerMismatch
from watermark.keys import Key, KeyRecord
from watermark.report import Verdict
from watermark.schemes import SCHEMES, default_records
from watermark.tokenizer import TextTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")


def docstrings() -> str:
    modules = (argparse, collections, datetime, statistics)
    values = [value for module in modules for value in vars(module).values()]
    return "\n".join(v.__doc__ for v in values if isinstance(v.__doc__, str))[:30_000]


def test_an_unmarked_text_that_is_too_short_is_inconclusive(w: Watermark) -> None:
    report = w.verify("w1 w2 w3 w4 w5 w6", tokenizer=words())

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"too-short"}


def test_a_long_unmarked_text_is_no_evidence_with_its_power(w: Watermark) -> None:
    text = docstrings()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    report = w.verify(text, tokenizer=tokenizer)

    assert report.verdict == Verdict.NO_EVIDENCE
    assert codes(report) == {"power"}
    assert {e.state for e in layer(report, "ledger")} == {"none"}
    assert all((e.log10_p or 0.0) > -3 for e in layer(report, "mark"))


def test_a_marked_text_is_marked(w: Watermark, marked_ids: list[int]) -> None:
    report = w.verify(text_of(marked_ids), tokenizer=words())
    best = min(layer(report, "mark"), key=lambda e: e.log10_p or 0.0)

    assert report.verdict == Verdict.MARKED
    assert (best.scheme, best.key_id) == ("gumbel", w.home.ring.newest.key.kid)
    assert met(report, policy.Marked(max_fpr=1e-6))


def test_ids_text_bytes_and_file_give_the_same_p_values(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    text = text_of(marked_ids)
    (tmp_path / "a.txt").write_text(text)
    reports = [
        w.verify(Tokens(marked_ids)),
        w.verify(np.asarray(marked_ids)),
        w.verify(text, tokenizer=words()),
        w.verify(text.encode(), tokenizer=words()),
        w.verify(tmp_path / "a.txt", tokenizer=words()),
    ]

    # Spans are places in what was given: token indices, or characters.
    found = {
        tuple(replace(e, spans=()) for e in layer(report, "mark")) for report in reports
    }
    assert len(found) == 1
    assert {r.evidence[0].spans for r in reports[:2]} != {
        r.evidence[0].spans for r in reports[2:]
    }


def test_a_key_file_alone_gives_the_same_evidence(
    w: Watermark, stranger: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    """A mark's evidence is a function of asset and key records, and of nothing else."""
    key = w.home.ring.newest.key
    key.save(tmp_path / "a.key")
    text = text_of(marked_ids)
    expected = layer(w.verify(text, tokenizer=words()), "mark")

    for keys in (key, tmp_path / "a.key", w.home.ring, default_records(key)):
        found = layer(stranger.verify(text, tokenizer=words(), keys=keys), "mark")

        assert found == expected


def test_a_wrong_key_finds_nothing(stranger: Watermark, marked_ids: list[int]) -> None:
    report = stranger.verify(marked_ids)

    # One key in a thousand is lucky enough to be told as "below-threshold".
    assert report.verdict in (Verdict.NO_EVIDENCE, Verdict.INCONCLUSIVE)
    assert not met(report, policy.Marked(max_fpr=1e-5))


def test_every_test_is_paid_for(w: Watermark, marked_ids: list[int]) -> None:
    """Adjusted p = raw p x nonces x keys x schemes x tokenizers / share of the look."""
    others = [Key.generate() for _ in range(4)]
    records = [r for k in (w.home.ring.newest.key, *others) for r in default_records(k)]
    report = w.verify(marked_ids, keys=records)
    marks = layer(report, "mark")

    assert len(marks) == 10  # five keys, two schemes for text
    for e in marks:
        share = {"whole text": 0.875, "a passage": 0.125}[e.detail.partition(":")[0]]
        nonces = 16 if share == 0.875 else 1  # a passage's p has paid for them
        tried = nonces * 10 / share if e.scheme == "gumbel" else 10
        assert e.hypotheses == math.ceil(tried)
        assert e.log10_p is not None
        assert e.log10_p_raw is not None
        expected = min(0.0, e.log10_p_raw + math.log10(e.hypotheses))
        assert math.isclose(e.log10_p, expected, abs_tol=1e-9)


def test_one_hypothesis_given_twice_is_paid_for_once(
    w: Watermark, marked_ids: list[int]
) -> None:
    key = w.home.ring.newest.key
    once, twice = (w.verify(marked_ids, keys=keys) for keys in (key, [key, key]))

    assert twice.evidence == once.evidence


def test_each_tokenizer_is_a_hypothesis(
    gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    other = words()
    other.add_tokens(["<tool>"])
    both = [TextTokenizer.of(words()), TextTokenizer.of(other)]
    setting = verification.Setting(records=[gumbel_record], tokenizers=both)
    found = verification.verify(load(text_of(marked_ids)), setting)

    (evidence,) = layer(found, "mark")
    assert evidence.hypotheses == math.ceil(16 * 2 / 0.875)


def test_text_without_a_tokenizer_is_inconclusive(w: Watermark) -> None:
    report = w.verify(text_of(list(range(300))))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"no-tokenizer"}


def test_text_without_a_key_is_inconclusive(marked_ids: list[int]) -> None:
    report = verification.verify(load(Tokens(marked_ids)), verification.Setting())

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"no-key"}


def test_a_wrong_tokenizer_is_an_error_of_the_callers(w: Watermark) -> None:
    record = SCHEMES["gumbel"].record(Key.generate(), tokenizer="ab" * 32)
    with pytest.raises(TokenizerMismatch, match="abababababab"):
        w.verify("some text", tokenizer=words(), keys=record)


def test_the_tokenizer_that_a_record_names_is_taken(
    w: Watermark, gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    digest = TextTokenizer.of(words()).digest
    record = replace(gumbel_record, tokenizer=digest)
    report = w.verify(text_of(marked_ids), tokenizer=words(), keys=record)

    assert report.verdict == Verdict.MARKED


def test_a_mark_below_the_threshold_is_inconclusive(
    gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    setting = verification.Setting(records=[gumbel_record], max_fpr=1e-200)
    report = verification.verify(load(Tokens(marked_ids)), setting)

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "below-threshold" in codes(report)


def test_a_revoked_key_says_so(gumbel_record: KeyRecord, marked_ids: list[int]) -> None:
    setting = verification.Setting(
        records=[gumbel_record], revoked=frozenset({gumbel_record.kid})
    )
    report = verification.verify(load(Tokens(marked_ids)), setting)

    assert report.verdict == Verdict.MARKED
    assert layer(report, "mark")[0].codes == ("key-revoked",)


def test_two_keys_on_one_text_are_a_conflict_and_still_marked(
    w: Watermark, gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    """Otherwise adding a second mark would be a way to hide the first."""
    other = SCHEMES["gumbel"].record(Key.generate())
    ids = marked_ids + generate(other, seed=1)
    report = w.verify(ids, keys=[gumbel_record, other])

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"two-keys"}
    assert met(report, policy.Marked())


def test_two_schemes_of_one_key_are_no_conflict(
    w: Watermark, gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    other = SCHEMES["gumbel"].record(gumbel_record.secret, epoch=1)
    ids = marked_ids + generate(other, seed=1)
    report = w.verify(ids, keys=[gumbel_record, other])

    assert report.verdict == Verdict.MARKED


def test_two_keys_of_one_ring_are_one_provider(
    w: Watermark, marked_ids: list[int], gumbel_record: KeyRecord
) -> None:
    other = SCHEMES["gumbel"].record(Key.generate())
    ids = [*marked_ids, *generate(other)]
    setting = verification.Setting(
        records=[gumbel_record, other],
        own=frozenset({gumbel_record.kid, other.kid}),
    )

    assert verification.verify(load(ids), setting).verdict == Verdict.MARKED
    strangers = replace(setting, own=frozenset({other.kid}))
    assert verification.verify(load(ids), strangers).verdict == Verdict.CONFLICT
