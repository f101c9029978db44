"""What the log did not sign is not answered: an insider can write it, without a key."""

from __future__ import annotations

import io
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.serve.conftest import Provider, picture, stripped
from tests.serve.strangers import marks, signed

from watermark.api import Watermark
from watermark.assets.loading import load
from watermark.errors import LedgerCorrupt
from watermark.home import Home
from watermark.record import Mark, Record
from watermark.report import Report, Verdict
from watermark.resolution import receipt
from watermark.serve import repository
from watermark.serve.repository import Repository
from watermark.store import leaf
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger
from watermark.verification import content_digests

URI = "https://repository.example"
ALG = "org.watermark-sdk.pixel.1"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.create(tmp_path / "home", provider="Acme")
    made.ledger.append([entry(b"first   ", "urn:c2pa:first")])
    return made


def entry(mark_id: bytes, name: str = "", record_id: str = "a" * 32) -> Entry:
    mark = Mark(scheme="pixel", version=1, key_id="k", mark_id=mark_id)
    record = Record(record_id=record_id, kind="image", provider="Acme", marks=(mark,))
    store = f"the store of {name}".encode() if name else None
    return Entry(event="published", record=record, manifest_id=name, manifest=store)


def codes(report: Report) -> list[str]:
    return [reason.code for reason in report.reasons]


def behind(home: Home, *entries: Entry) -> None:
    """Put entries behind the newest checkpoint, as who has no log key can."""
    with Ledger.open(home.path / "ledger.db") as keyless:
        keyless.append(list(entries))


def test_a_manifest_behind_the_checkpoint_is_not_there(home: Home) -> None:
    served = Repository(home.ledger, home.path)
    behind(home, entry(b"second  ", "urn:c2pa:second", "b" * 32))

    assert home.ledger.size == home.ledger.signed_size + 1
    assert served.by_binding(ALG, b"second  ", 10) == []
    assert served.manifest("urn:c2pa:second") is None
    assert served.receipt("urn:c2pa:second", URI) is None
    home.ledger.sign()
    assert served.by_binding(ALG, b"second  ", 10) == ["urn:c2pa:second"]
    assert served.manifest("urn:c2pa:second") == b"the store of urn:c2pa:second"
    given = served.receipt("urn:c2pa:second", URI)
    assert given is not None
    store = served.manifest("urn:c2pa:second")
    row = receipt.verify(given, verifier=served.verifier, manifest=store)
    assert row.idx == 1


def test_a_binding_behind_the_checkpoint_leads_nowhere(home: Home) -> None:
    """It would let a mark lead to a manifest of ours that is not of its content."""
    served = Repository(home.ledger, home.path)
    moved = replace(entry(b"another "), manifest_id="urn:c2pa:first")
    behind(home, moved)

    assert served.by_binding(ALG, b"another ", 10) == []
    assert served.by_binding(ALG, b"first   ", 10) == ["urn:c2pa:first"]


def test_an_entry_that_was_rewritten_is_not_handed_out(home: Home) -> None:
    """With a leaf hash that fits it, and columns that do: the signed root tells."""
    served = Repository(home.ledger, home.path)
    store = b"the store of somebody else"
    forged = replace(entry(b"first   ", "urn:c2pa:first"), manifest=store)
    row, _ = leaf.make(forged, ts="2026-11-23T00:00:00Z")
    columns = {**replace(row, idx=0).columns()}
    names = ", ".join(f"{name} = :{name}" for name in columns)
    with closing(sqlite3.connect(home.path / "ledger.db")) as db, db:
        db.execute(f"UPDATE entry SET {names} WHERE idx = 0", columns)
        db.execute(
            "UPDATE manifest SET store = ?, sha256 = ?", [store, row.manifest_sha256]
        )

    for ask in (
        lambda: served.by_binding(ALG, b"first   ", 10),
        lambda: served.manifest("urn:c2pa:first"),
        lambda: served.receipt("urn:c2pa:first", URI),
    ):
        with pytest.raises(LedgerCorrupt, match="not the one that was signed"):
            ask()


def test_every_answer_has_a_receipt_that_verifies(home: Home) -> None:
    names = [f"urn:c2pa:{n}" for n in range(20)]
    for n, name in enumerate(names):
        home.ledger.append([entry(b"same    ", name, f"{n:032x}")])
    served = Repository(home.ledger, home.path)
    found = served.by_binding(ALG, b"same    ", 12)

    assert found == names[:12]
    for name in found:
        given = served.receipt(name, URI)
        assert given is not None
        store = served.manifest(name)
        row = receipt.verify(given, verifier=served.verifier, manifest=store)
        assert (ALG, b"same    ") in row.bindings


def test_of_very_many_the_newest_are_looked_at(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_ENTRIES", 3)
    entries = [entry(b"same    ", f"urn:c2pa:{n}", f"{n:032x}") for n in range(9)]
    home.ledger.append(entries)
    served = Repository(home.ledger, home.path)

    assert served.by_binding(ALG, b"same    ", 10) == [
        "urn:c2pa:6",
        "urn:c2pa:7",
        "urn:c2pa:8",
    ]


def test_an_entry_behind_the_checkpoint_decides_no_verdict(home: Home) -> None:
    """`SIGNED` can rest on the ledger alone, and so on whoever may write there."""
    data = io.BytesIO()
    picture(seed=41).save(data, "PNG")
    w = Watermark(home)
    before = w.verify(data.getvalue())
    digests = content_digests(load(data.getvalue()))
    record = Record(kind="image", provider="Acme").with_content(*digests)
    behind(home, Entry(event="generated", record=record))

    assert before.verdict == Verdict.INCONCLUSIVE  # there may be a pipeline
    meanwhile = w.verify(data.getvalue())
    assert (meanwhile.verdict, meanwhile.evidence) == (before.verdict, before.evidence)
    # Who appends without the key, and looks, is told why it is not found.
    assert set(codes(meanwhile)) - set(codes(before)) == {"entry-unsigned"}
    home.ledger.sign()
    after = w.verify(data.getvalue())
    assert (after.verdict, after.record_id) == (Verdict.SIGNED, record.record_id)


def test_a_manifest_behind_the_checkpoint_accuses_nobody(
    provider: Provider, tmp_path: Path
) -> None:
    """One of another output, put under a record, contradicts what its mark says."""
    shutil.copytree(provider.home.path, tmp_path / "home")
    home = Home.open(tmp_path / "home")
    file, record = stripped(provider.file), provider.marked.record
    before = Watermark(home).verify(file)
    name, store = signed(provider, marks=marks(("pixel", b"another!")))
    behind(
        home,
        Entry(event="published", record=record, manifest_id=name, manifest=store),
    )
    meanwhile = Watermark(home).verify(file)
    home.ledger.sign()
    after = Watermark(home).verify(file)

    assert meanwhile.verdict == before.verdict == Verdict.MARKED
    assert meanwhile.evidence == before.evidence
    assert "recovered" in [e.state for e in meanwhile.evidence]
    # Had it been signed, it would be a contradiction.
    assert (after.verdict, codes(after)[0]) == (Verdict.CONFLICT, "other-mark")


def test_a_rewritten_entry_decides_no_verdict(home: Home) -> None:
    """The newest entry of a record says where it is from; another was signed there."""
    text = "Somebody wrote these words."
    record = Record(kind="text", provider="Acme", origin="altered")
    known = record.with_content(*content_digests(load(text)))
    home.ledger.append([Entry(event="generated", record=known)])
    # So many that the path of the first does not lead by the one that is rewritten.
    others = [entry(b"unheard ", record_id=f"{n:032x}") for n in range(6)]
    home.ledger.append(others)
    w = Watermark(home)
    assert w.verify(text).verdict != Verdict.SIGNED
    forged = Entry(event="published", record=replace(known, origin="created"))
    row, _ = leaf.make(forged, ts="2026-11-23T00:00:00Z")
    columns = replace(row, idx=6).columns()
    names = ", ".join(f"{name} = :{name}" for name in columns)
    with closing(sqlite3.connect(home.path / "ledger.db")) as db, db:
        db.execute(f"UPDATE entry SET {names} WHERE idx = 6", columns)

    with pytest.raises(LedgerCorrupt, match="not the one that was signed"):
        w.verify(text)
