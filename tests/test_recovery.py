"""From a mark alone back to the manifest; and what does not belong together is told."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import photograph
from watermark.api import Watermark
from watermark.assets import text_fingerprint
from watermark.assets.loading import load
from watermark.record import Mark, Record
from watermark.report import Evidence, Report, Verdict
from watermark.store.leaf import Entry
from watermark.verification import ledger as ledger_layer
from watermark.verification.recovery import ranked
from watermark.verification.setting import Findings, Setting


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("b") / "home", provider="Bystander")


def saved(picture: Any, format: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data.getvalue()


def photo(seed: int) -> Image.Image:
    return Image.fromarray(photograph(seed, 320, 384))


def stripped(data: bytes, format: str = "PNG", **options: Any) -> bytes:
    return saved(Image.open(io.BytesIO(data)).convert("RGB"), format, **options)


def states(report: Report) -> list[str]:
    return [e.state for e in report.evidence if e.layer == "manifest"]


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


# --- pictures -------------------------------------------------------------------------


def test_a_stripped_photograph_gets_its_manifest_back(w: Watermark) -> None:
    marked = w.embed(saved(photo(1)))
    for again in (
        stripped(marked.data),
        stripped(marked.data, "JPEG", quality=75),
    ):
        report = w.verify(again)

        assert report.verdict == Verdict.MARKED
        assert report.record_ids == (marked.record.record_id,)
        assert "recovered" in states(report)


def test_a_manifest_of_somebody_else_is_a_conflict_that_names_both(
    w: Watermark, other: Watermark
) -> None:
    marked = w.embed(saved(photo(2)))
    with pytest.warns(UserWarning, match="no mark"):
        claimed = other.embed(stripped(marked.data), mark=False)
    report = w.verify(claimed.data)

    assert report.verdict == Verdict.CONFLICT
    [reason] = [r for r in report.reasons if r.code == "two-manifests"]
    assert "'Acme'" in reason.detail
    assert "'Bystander'" in reason.detail


def test_an_editor_who_names_our_manifest_as_parent_is_no_conflict(
    w: Watermark, other: Watermark
) -> None:
    first = w.embed(saved(photo(2)))
    with pytest.warns(UserWarning, match="no mark"):
        edited = other.embed(first.data, mark=False)
    with pytest.warns(UserWarning, match="no mark"):
        again = other.embed(edited.data, mark=False)

    for claimed in (edited, again):
        report = w.verify(claimed.data)
        assert report.verdict == Verdict.MARKED
        assert "two-manifests" not in codes(report)


def test_signing_again_under_the_mark_is_no_conflict(
    w: Watermark, other: Watermark
) -> None:
    marked = w.embed(saved(photo(3)))
    named = replace(marked.record, provider="Bystander", origin="altered")
    again = other.embed(stripped(marked.data), record=named)

    assert w.verify(marked.data).verdict == Verdict.MARKED
    assert w.verify(again.data).verdict == Verdict.MARKED


def entry(record: Record, manifest: bytes, name: str) -> Entry:
    return Entry(event="published", record=record, manifest=manifest, manifest_id=name)


def test_a_manifest_that_is_not_what_its_id_says_is_refused(w: Watermark) -> None:
    marked = w.embed(saved(photo(4)))
    mark = replace(marked.record.marks[0], mark_id=bytes(range(8)))
    w.home.ledger.append([entry(marked.record, marked.manifest, "urn:c2pa:other")])
    report = w.verify(stripped(marked.data))

    assert "manifest-refused" in codes(report)
    assert states(report).count("recovered") == 1  # under its own name
    assert mark.mark_id != marked.record.marks[0].mark_id


def test_a_manifest_that_names_another_mark_is_a_conflict(
    w: Watermark, other: Watermark
) -> None:
    marked, foreign = w.embed(saved(photo(5))), w.embed(saved(photo(6)))
    bound = w.home.ledger.manifests_of(foreign.record.record_id)
    [(name, manifest)] = bound
    record = Record(kind="image", provider="Acme", marks=marked.record.marks)
    fresh = Watermark.create(w.home.path.with_name("fresh"), provider="Acme")
    fresh.home.ledger.append([entry(record, manifest, name)])
    setting = Setting(ledger=fresh.home.ledger, anchors=w.home.anchors)
    found = look(load(stripped(marked.data)), setting, record.marks[0])

    assert [r.code for r in found.conflicts] == ["other-mark"]


def test_what_could_not_be_read_is_told_beside_a_conflict(w: Watermark) -> None:
    """Its mark was not looked for, and a reader has to know."""
    data = bytearray(w.embed(saved(photo(7))).data)
    data[-3000] ^= 1  # of the compressed pixels
    report = w.verify(bytes(data))

    assert report.verdict == Verdict.CONFLICT
    assert {"broken-signature", "unreadable"} <= codes(report)


# --- texts ----------------------------------------------------------------------------

WORDS = [f"word{n}" for n in range(500)]


def prose(seed: int, count: int = 300) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(count))


def text_record(text: str, name: str = "0", payload: bytes = b"\x12\x34") -> Record:
    mark = Mark(scheme="gumbel", version=1, key_id="k1", mark_id=payload)
    return Record(
        record_id=name * 32,
        kind="text",
        provider="Acme",
        marks=(mark,),
        fingerprint=text_fingerprint.fingerprint(text),
    )


def look(asset: Any, setting: Setting, mark: Mark) -> Findings:
    """The ledger layer, for an asset whose mark was found."""
    found = Findings()
    found.evidence.append(
        Evidence(
            layer="mark",
            detector=mark.scheme,
            scheme=mark.scheme,
            version=mark.version,
            key_id=mark.key_id,
            log10_p=-20.0,
            payload=mark.mark_id,
        )
    )
    ledger_layer.look_up(asset, setting, found, None)
    return found


def published(w: Watermark, texts: Sequence[str]) -> list[Record]:
    """A record of each text, all with one payload of 16 bits; each text is signed."""
    records = []
    for n, text in enumerate(texts):
        record = text_record(text, f"{n:x}")
        w.home.ledger.append([Entry(event="generated", record=record)])
        w.embed(text, record=record)
        records.append(record)
    return records


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watermark, list[Record]]:
    w = Watermark.create(tmp_path_factory.mktemp("t") / "home", provider="Acme")
    return w, published(w, [prose(seed) for seed in range(5)])


def test_sixteen_bits_name_a_set_and_words_rank_it(
    texts: tuple[Watermark, list[Record]],
) -> None:
    w, records = texts
    setting = Setting(ledger=w.home.ledger, anchors=w.home.anchors)
    for n in (3, 0):
        said = prose(n).replace("word7", "changed", 1)
        found = look(load(said), setting, records[0].marks[0])
        logged = [e for e in found.evidence if e.state == "logged"]

        assert len(logged) == 5
        assert {e.record_ids[0] for e in logged} == {r.record_id for r in records}
        assert logged[0].record_ids == (records[n].record_id,)
        assert "alike" in logged[0].detail
        recovered = [e for e in found.evidence if e.state == "recovered"]
        assert [e.record_ids for e in recovered] == [(records[n].record_id,)]
        assert {note.code for note in found.notes} == {"same-words"}
        assert found.conflicts == []


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        (prose(1), {"same-words"}),
        (prose(1).split(" ", 150)[-1], {"same-words"}),  # an excerpt
        (prose(1, 200) + " " + prose(77, 200), {"other-words"}),
    ],
)
def test_a_recovered_manifest_says_whether_the_words_are_those_of_its_record(
    said: str, codes: set[str], texts: tuple[Watermark, list[Record]]
) -> None:
    w, records = texts
    setting = Setting(ledger=w.home.ledger, anchors=w.home.anchors)
    found = look(load(said), setting, records[0].marks[0])
    recovered = [e for e in found.evidence if e.state == "recovered"]

    assert [e.record_ids for e in recovered] == [(records[1].record_id,)]
    assert {note.code for note in found.notes} == codes


def test_words_of_no_record_recover_nothing(
    texts: tuple[Watermark, list[Record]],
) -> None:
    w, records = texts
    setting = Setting(ledger=w.home.ledger, anchors=w.home.anchors)
    found = look(load(prose(99)), setting, records[0].marks[0])

    assert len([e for e in found.evidence if e.state == "logged"]) == 5
    assert [e for e in found.evidence if e.state == "recovered"] == []


def test_records_without_fingerprints_keep_their_order() -> None:
    records = [replace(text_record("", str(n)), fingerprint=b"") for n in range(3)]
    odd = replace(records[1], fingerprint=b"of another version")
    asset = load(prose(1))

    assert [c.record for c in ranked(asset, records)] == records
    assert {c.alike for c in ranked(asset, [records[0], odd])} == {None}


# --- fingerprints of texts ------------------------------------------------------------


def alike(a: str, b: str) -> float:
    return text_fingerprint.similarity(
        text_fingerprint.fingerprint(a), text_fingerprint.fingerprint(b)
    )


def test_case_signs_and_spaces_do_not_count() -> None:
    said = prose(1)
    assert alike(said, said.upper().replace(" ", ",\n ")) == 1.0


def test_what_two_texts_share_is_estimated() -> None:
    whole = prose(1, 600)
    half = " ".join(whole.split()[:300])
    mixed = half + " " + prose(2, 300)

    assert alike(whole, half) > 0.9
    assert 0.35 < alike(whole, mixed) < 0.65
    assert max(alike(prose(n), prose(n + 100)) for n in range(50)) < 0.1


def test_writing_without_spaces_has_words_too() -> None:
    rng = random.Random(5)
    characters = [chr(0x4E00 + rng.randrange(2000)) for _ in range(400)]
    whole, half = "".join(characters), "".join(characters[:200])

    assert alike(whole, half) > 0.9
    assert alike(whole, "".join(characters[::-1])) < 0.1


@given(st.text(max_size=200))
def test_every_text_has_a_fingerprint_or_no_words(text: str) -> None:
    made = text_fingerprint.fingerprint(text)
    assert len(made) in (0, text_fingerprint.BYTES)
    if made:
        assert text_fingerprint.similarity(made, made) == 1.0


def test_other_versions_are_refused() -> None:
    made = text_fingerprint.fingerprint("some words of a text")
    for bad in (b"", b"\x02" + made[1:], made[:-1]):
        with pytest.raises(ValueError, match="expected 261"):
            text_fingerprint.similarity(made, bad)


def test_a_fingerprint_stays_what_it_is() -> None:
    made = text_fingerprint.fingerprint("the quick brown fox jumps over the lazy dog")
    # Made by this code, and never to change: records on file have such sketches.
    assert made.hex()[:42] == "01000000077196ed52e3f1f91ac4ddd8e0fe27612b"
