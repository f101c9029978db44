"""`wm ledger` and `wm find`: what was published, its proof, a rollback."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from tests.cli.running import wm

from watermark.cli.terminal import Code
from watermark.store.proof import InclusionProof


def test_what_was_published_is_found_again(here: Path) -> None:
    rows = wm("ledger", "list", "--json").json
    published = rows[0]
    record_id = published["record"]["record_id"]

    by_file = wm("ledger", "find", "--sha256", published["asset_sha256"], "--json")
    got = wm("ledger", "get", record_id, "--json").json
    told = wm("ledger", "get", record_id)

    assert by_file.json == [published]
    assert got == {"record": published["record"], "entries": [published]}
    assert f"Record {record_id}" in told.out
    assert wm("ledger", "list", "--limit", "1", "--json").json == rows[-1:]
    assert record_id in wm("ledger", "list").out


def test_what_is_not_in_the_ledger_is_said(here: Path) -> None:
    assert wm("ledger", "find", "--mark-id", "00" * 8, "--json").json == []
    assert wm("ledger", "find", "--sha256", "00" * 32).err == "Nothing found.\n"
    assert wm("ledger", "get", "0" * 32).code == Code.UNREADABLE
    assert wm("ledger", "prove", "99").code == Code.UNREADABLE


def test_a_proof_verifies_with_nothing_but_itself(here: Path) -> None:
    ran = wm("ledger", "prove", "1", "--json").json

    proof = InclusionProof.from_dict(ran["proof"])
    head = proof.verify(base64.b64decode(ran["body"]), verifier=ran["verifier"])

    assert head.size == 2
    assert ran["leaf"]["idx"] == 1
    assert ran["leaf"] == wm("ledger", "list", "--json").json[1]
    assert "is among the first 2" in wm("ledger", "prove", "1").out


def test_a_checkpoint_kept_elsewhere_shows_a_rollback(here: Path) -> None:
    shutil.copytree("home", "old")
    wm("embed", "photo.png", "-o", "more.png")
    printed = wm("ledger", "checkpoint")
    Path("note").write_text(printed.out)
    described = wm("ledger", "checkpoint", "--json").json

    sound = wm("ledger", "verify", "--checkpoint", "note", "--json")
    hinted = wm("ledger", "verify")
    rolled = wm("ledger", "verify", "--checkpoint", "note", "--home", "old")
    unread = wm("ledger", "verify", "--checkpoint", "none")
    elsewhere = wm("ledger", "verify", "--verifier", "nonsense")

    assert (described["note"], described["size"]) == (printed.out, 3)
    assert (sound.code, sound.json["size"]) == (Code.DONE, 3)
    assert "keep checkpoints elsewhere" in hinted.err
    assert (rolled.code, rolled.out) == (Code.CONFIGURATION, "")
    assert unread.code == elsewhere.code == Code.CONFIGURATION


def test_a_corrupt_ledger_is_20(here: Path) -> None:
    Path("home/ledger.db").write_bytes(b"no database at all" * 99)

    for argv in (["ledger", "verify"], ["verify", "photo.png", "--json"]):
        ran = wm(*argv)

        assert (ran.code, ran.out) == (Code.CONFIGURATION, "")
        assert ran.err.count("\n") == 1
