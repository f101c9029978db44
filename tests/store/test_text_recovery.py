"""Words of texts of unlike lengths: what is quoted, and what is of no record."""

from __future__ import annotations

import random

import pytest

from watermark.assets import text as text_asset
from watermark.assets import text_fingerprint
from watermark.assets.loading import load
from watermark.record import Mark, Record
from watermark.report import Evidence
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger
from watermark.verification import ledger as ledger_layer
from watermark.verification.recovery import (
    RELATED,
    SAME_WORDS,
    UNLIKE,
    Candidate,
    _worth_reading,
    ranked,
)
from watermark.verification.setting import Findings, Setting

WORDS = [f"word{n}" for n in range(500)]


def prose(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(count))


@pytest.mark.parametrize("lengths", [(50, 2500), (50, 10_000), (10_000, 50), (3, 900)])
def test_other_words_are_not_alike_however_long(lengths: tuple[int, int]) -> None:
    short, long = lengths
    kept = [text_fingerprint.fingerprint(prose(n, short)) for n in range(20)]
    seen = [text_fingerprint.fingerprint(prose(n, long)) for n in range(100, 106)]
    found = [text_fingerprint.similarity(a, b) for a in kept for b in seen]

    assert max(found) < RELATED  # by chance alone it was 1.0 for one pair of four


def test_a_text_that_quotes_a_record_is_not_all_its_words() -> None:
    said = prose(1, 300)
    kept = text_fingerprint.fingerprint(said)
    record = Record(kind="text", provider="Acme", fingerprint=kept)
    [quoting] = ranked(load(f"{said} {prose(2, 3000)}"), [record])
    [excerpt] = ranked(load(" ".join(said.split()[:150])), [record])

    assert quoting.alike is not None
    assert quoting.share is not None
    assert quoting.alike > SAME_WORDS  # so it is found
    assert quoting.share < 0.2  # 300 of 3300 words
    assert excerpt.share is not None
    assert excerpt.share > SAME_WORDS


def test_a_payload_of_every_output_does_not_stop_verification(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`attach(payload=...)` puts the same into each: it then names all records."""
    monkeypatch.setattr(ledger_layer, "MOST_ENTRIES", 20)
    mark = Mark(scheme="gumbel", version=1, key_id="k1", mark_id=b"\x12\x34")
    texts = [prose(n, 120) for n in range(60)]
    records = [
        Record(
            kind="text",
            provider="Acme",
            marks=(mark,),
            content=(text_asset.digest(said),),
            fingerprint=text_fingerprint.fingerprint(said),
        )
        for said in texts
    ]
    ledger.append([Entry(event="generated", record=record) for record in records])

    def looked(said: str) -> tuple[list[str], set[str]]:
        found = Findings()
        found.evidence.append(
            Evidence(
                layer="mark",
                detector="gumbel",
                scheme="gumbel",
                version=1,
                key_id="k1",
                log10_p=-20.0,
                payload=mark.mark_id,
            )
        )
        ledger_layer.look_up(load(said), Setting(ledger=ledger), found, None)
        logged = [e.record_ids[0] for e in found.evidence if e.state == "logged"]
        assert found.conflicts == []
        return logged, {note.code for note in found.notes}

    newest, codes = looked(texts[50] + " and more")
    assert newest[0] == records[50].record_id
    assert (len(newest), codes) == (20, {"many-records"})
    old, _ = looked(texts[3])  # by its digest, however old
    assert old[0] == records[3].record_id
    assert len(old) == 21
    monkeypatch.setattr(ledger_layer, "MOST_ENTRIES", 60)
    every, codes = looked(texts[3] + " and more")
    assert every[0] == records[3].record_id
    assert (len(every), codes) == (60, set())


def test_only_so_many_manifests_of_unlike_texts_are_read() -> None:
    record = Record(kind="text", provider="Acme")
    candidates = [Candidate(record, alike) for alike in [0.9] * 30 + [0.1, None] * 30]
    read = list(_worth_reading(candidates))

    assert read[:30] == candidates[:30]
    assert len(read) == 30 + UNLIKE


def test_what_is_not_told_stands_between_alike_and_unlike() -> None:
    said = prose(1, 200)
    kept = ["", prose(2, 200), said]
    prints = [text_fingerprint.fingerprint(text) for text in kept]
    records = [Record(kind="text", provider="A", fingerprint=p) for p in prints]

    assert [c.record for c in ranked(load(said), records)] == [
        *(records[2], records[0], records[1])
    ]
