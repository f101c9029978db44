"""``wm ledger``: what it adds, hands out and lets go of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli import running
from tests.cli.running import Ran
from tests.sign.servers import PlainTsa, serving

from watermark.cli.terminal import Code
from watermark.home import Home
from watermark.record import Record
from watermark.sign.authority import Authority
from watermark.sign.stamps import Stamps
from watermark.store import check_export, checkpoint
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import Entry


def wm(*argv: object) -> Ran:
    return running.wm("ledger", *argv)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATERMARK_HOME", "home")
    Home.create(tmp_path / "home", provider="Acme").ledger.close()
    (tmp_path / "file.bin").write_bytes(b"finished")
    (tmp_path / "m.c2pa").write_bytes(b"a manifest")
    lines = [
        {"event": "generated", "record": {"kind": "text"}, "personal": {"user": "u-1"}},
        {
            "event": "published",
            "record": {"kind": "image", "model": "large"},
            "asset": "file.bin",
            "manifest": "m.c2pa",
            "manifest_id": "urn:1",
        },
    ]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "entries.jsonl").write_text(text + "\n\n")
    return tmp_path


def test_entries_are_appended_and_found(folder: Path) -> None:
    [first, second] = wm("append", "entries.jsonl", "--json").json

    assert [first["idx"], second["idx"]] == [0, 1]
    got = wm("get", second["record_id"], "--json").json
    assert got["record"]["provider"] == "Acme"
    assert got["entries"][0]["manifest_id"] == "urn:1"
    with Home.open(folder / "home").ledger as ledger:
        assert ledger.manifest("urn:1") == b"a manifest"
        assert ledger.personal(0) == {"user": "u-1"}


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "{}",
        '{"event": "generated"}',
        '{"event": "eaten", "record": {"kind": "text"}}',
        '{"event": "generated", "record": {"kind": "smell"}}',
        '{"event": "generated", "record": {"kind": "text"}, "other": 1}',
        '{"event": "published", "record": {"kind": "text"}, "asset": "none"}',
        '{"event": "generated", "record": {"kind": "text"}, "personal": {"U": 1}}',
    ],
)
def test_what_is_no_entry_stops_all_of_them(line: str, folder: Path) -> None:
    good = (folder / "entries.jsonl").read_text().splitlines()[0]
    (folder / "bad.jsonl").write_text(f"{good}\n{line}\n")
    ran = wm("append", "bad.jsonl")

    assert ran.code == Code.UNREADABLE
    assert "line 2 is no entry" in ran.err
    assert wm("list", "--json").json == []


def test_an_export_checks_itself(folder: Path) -> None:
    wm("append", "entries.jsonl")
    ran = wm("export", "out", "--json", "--personal")
    key = ran.json["verifier"]

    assert ran.json["entries"] == 2
    assert check_export.check(folder / "out", key) == (2, 2)
    assert "u-1" in (folder / "out" / "entries.jsonl").read_text()
    assert wm("export", "large", "--model", "large", "--json").json["entries"] == 1
    assert wm("export", "out").code == Code.CONFIGURATION
    assert wm("export", "new", "--payload", "xyz").code == Code.USAGE
    assert "check_export.py" in wm("export", "told").out


def test_holds_are_made_listed_and_ended(folder: Path) -> None:
    [first, _] = wm("append", "entries.jsonl", "--json").json
    record_id = first["record_id"]
    held = wm("hold", "case 7", "--record", record_id, "--reason", "court", "--json")

    assert held.json["event"] == "held"
    assert wm("hold", "--json").json == {"case 7": [record_id]}
    assert wm("erase", record_id).code == Code.CONFIGURATION
    assert record_id in wm("hold").out
    assert wm("hold", "case 7").code == Code.USAGE
    assert wm("hold", "case 7", "--release", "--json").json["event"] == "released"
    assert wm("hold", "--json").json == {}
    assert wm("erase", record_id, "--json").json["entries"] == [[0, 1]]
    assert wm("erase", record_id, "--json").json is None
    assert wm("verify").code == Code.DONE


def test_nothing_is_pruned_before_its_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wm("append", "entries.jsonl")
    assert "Nothing is due" in wm("prune").err
    monkeypatch.setattr(
        "watermark.store.ledger.utc_now", lambda: "2099-01-01T00:00:00Z"
    )
    assert wm("prune", "--reason", "old", "--json").json["entries"] == [[0, 2]]
    assert wm("list", "--json").json == []
    assert wm("verify").code == Code.DONE


def test_a_checkpoint_is_stamped_and_the_stamp_is_checked(folder: Path) -> None:
    authority = Authority.create("Clock Ltd")
    with serving(PlainTsa(authority)) as url:
        Stamps.save(folder / "home" / "credential", [url], authority.root_pem)
        wm("append", "entries.jsonl")
        stamped = wm("checkpoint", "--stamp", "--json").json
    assert len(stamped["timestamp"]) > 500
    assert list(wm("verify", "--json").json["timestamps"]) == ["2"]
    assert "2 entries were there at 20" in wm("verify").out

    with Home.open(folder / "home").ledger as ledger:
        ledger.append([entry()])
        ledger.add_timestamp(3, ledger.timestamp(2) or b"")  # over another checkpoint
    moved = wm("verify")
    assert moved.code == Code.CONFIGURATION
    assert "the digests differ" in moved.err


def entry() -> Entry:
    return Entry(event="generated", record=Record(kind="text", provider="Acme"))


def test_cosignatures_are_kept(folder: Path) -> None:
    wm("append", "entries.jsonl")
    note = wm("checkpoint").out
    witness = LogKey.create(folder / "w.pem", name="witness.example")
    cosigned = checkpoint.sign(checkpoint.parse(note), witness).note
    (folder / "note").write_text(cosigned)

    assert wm("checkpoint", "--cosigned", "note").out == cosigned
    assert wm("checkpoint").out == cosigned
    assert wm("checkpoint", "--stamp").code == Code.CONFIGURATION
    assert wm("checkpoint", "--json").json["timestamp"] is None
