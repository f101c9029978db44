"""`wm verify`: verdicts, inputs, and what is printed of hostile names."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.cli.running import in_a_process, wm

from watermark.cli import maps
from watermark.cli.results import show
from watermark.cli.terminal import Code, Failure, plain
from watermark.keys import Key
from watermark.report import Evidence, Reason, Report, Verdict
from watermark.verifier import Verifier


def test_a_signed_picture_is_signed(here: Path) -> None:
    ran = wm("verify", "signed-photo.png", "--json")

    assert ran.code == Code.DONE
    assert list(ran.json)[:3] == ["schema", "path", "verdict"]
    assert ran.json["path"] == "signed-photo.png"
    assert ran.json["verdict"] == "SIGNED"
    states = {e["layer"]: e["state"] for e in ran.json["evidence"]}
    assert states == {"manifest": "trusted", "ledger": "logged"}


def test_a_tampered_picture_is_a_conflict(here: Path) -> None:
    data = bytearray(Path("signed-photo.png").read_bytes())
    data[-20] ^= 1  # in the last chunk of pixels, or its checksum
    Path("tampered.png").write_bytes(data)

    ran = wm("verify", "tampered.png")

    assert ran.code == Code.DONE
    assert "CONFLICT" in ran.out
    assert "because       broken-signature" in ran.out


def test_a_text_is_signed_by_the_manifest_beside_it(here: Path) -> None:
    beside = wm("verify", "signed-letter.txt", "--json").json
    Path("signed-letter.txt").write_text("Another letter.")
    changed = wm("verify", "signed-letter.txt", "--json").json

    assert beside["verdict"] == "SIGNED"
    assert changed["verdict"] == "CONFLICT"


def test_content_that_is_no_good_is_a_verdict(here: Path) -> None:
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:60])
    Path("what.bin").write_bytes(b"\0\1\2\3")
    Path("empty").write_bytes(b"")

    ran = wm("verify", "cut.png", "what.bin", "empty", "--json")

    assert (ran.code, ran.err) == (Code.DONE, "")
    assert [r["verdict"] for r in ran.json] == ["INCONCLUSIVE"] * 3
    assert {r["reasons"][0]["code"] for r in ran.json} == {"unreadable"}


def test_a_missing_file_is_3_and_the_others_are_verified(here: Path) -> None:
    ran = wm("verify", "none.png", "signed-photo.png")

    assert ran.code == Code.UNREADABLE
    assert ran.err.startswith("error: none.png: No such file or directory\n")
    assert "2 inputs: 1 SIGNED, 1 could not be read" in ran.err
    assert ran.out.startswith("signed-photo.png\n  SIGNED ")


def test_one_input_that_meets_a_bug_does_not_keep_the_others_from_a_verdict(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Verifier.__call__

    def broken(self: Verifier, asset: Any) -> Any:
        if asset.kind == "text":
            raise IndexError("unforeseen")
        return judged(self, asset)

    monkeypatch.setattr(Verifier, "__call__", broken)

    ran = wm("verify", "letter.txt", "signed-photo.png", "--json")

    assert ran.code == Code.UNREADABLE
    assert ran.json[0] == {
        "path": "letter.txt",
        "error": "a bug in wm: IndexError: unforeseen",
    }
    assert ran.json[1]["verdict"] == "SIGNED"


def test_without_a_home_it_names_wm_init(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", "nowhere")

    for argv in (["verify", "photo.png"], ["ledger", "list"], ["keys", "list"]):
        ran = wm(*argv)

        assert (ran.code, ran.out) == (Code.CONFIGURATION, "")
        assert "no home at nowhere: make one with `wm init" in ran.err


def test_a_key_file_needs_no_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Key.generate().save(Path("k.json"))
    monkeypatch.delenv("WATERMARK_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(here / "nothing"))

    ran = wm("verify", "signed-photo.png", "--keys", "k.json", "--json")
    wrong = wm("verify", "signed-photo.png", "--keys", "photo.png")

    assert ran.code == Code.DONE
    assert ran.json["verdict"] == "INCONCLUSIVE"
    assert "untrusted-signer" in {r["code"] for r in ran.json["reasons"]}
    assert wrong.code == Code.CONFIGURATION


def test_trust_takes_the_place_of_the_homes_own(here: Path) -> None:
    wm("init", "other", "--provider", "Other")
    root = ("--trust", "other/credential/root.pem")
    Path("bad.pem").write_text("no certificate")

    stranger = wm("verify", "signed-photo.png", "--json", *root)
    friend = wm("verify", "signed-photo.png", "--home", "other", "--json")
    told = wm(
        *("verify", "signed-photo.png", "--home", "other", "--json"),
        *("--trust", "home/credential/root.pem"),
    )
    bad = wm("verify", "photo.png", "--trust", "bad.pem")

    assert stranger.json["evidence"][0]["state"] == "valid"
    assert friend.json["evidence"][0]["state"] == "valid"
    assert told.json["evidence"][0]["state"] == "trusted"
    assert bad.code == Code.CONFIGURATION
    assert "expected PEM certificates" in bad.err


def test_folders_recurse_in_order_without_sidecars_and_hidden_files(
    here: Path,
) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", ".git/d.txt", "a.c2pa"):
        path = Path("tree", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    os.mkfifo("tree/pipe")
    Path("tree/broken.png").symlink_to("nowhere")

    ran = wm("verify", "tree", "photo.png", "--jsonl")

    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == Code.UNREADABLE
    assert [row["path"] for row in rows] == [
        "tree/a.txt",
        "tree/b.txt",
        "tree/broken.png",
        "tree/sub/c.txt",
        "photo.png",
    ]
    assert rows[2] == {"path": "tree/broken.png", "error": "No such file or directory"}


def test_a_folder_without_files_is_no_pass(here: Path) -> None:
    Path("bare").mkdir()

    ran = wm("verify", "bare", "--fail-on", "marked", "--json")

    assert (ran.code, ran.out) == (Code.UNREADABLE, "")


def test_json_is_an_object_for_a_file_and_a_list_for_a_folder(here: Path) -> None:
    Path("one").mkdir()
    shutil.copy("photo.png", "one")

    assert isinstance(wm("verify", "photo.png", "--json").json, dict)
    assert isinstance(wm("verify", "none.png", "--json").json, dict)
    assert isinstance(wm("verify", "one", "--json").json, list)
    assert isinstance(wm("verify", "photo.png", "none.png", "--json").json, list)


def test_nothing_but_json_is_on_stdout_of_a_process(here: Path) -> None:
    ran = in_a_process("verify", ".", "none.png", "--jsonl")

    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == Code.UNREADABLE
    assert [row["path"] for row in rows][-1] == "none.png"
    assert ran.stderr == "error: none.png: No such file or directory\n"


def test_stdin_and_text_are_inputs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO(Path("signed-photo.png").read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))

    stdin = wm("verify", "-", "--json").json
    text = wm("verify", "--text", "Some words.", "--json").json

    assert (stdin["path"], stdin["verdict"]) == ("-", "SIGNED")
    assert (text["kind"], text["verdict"]) == ("text", "INCONCLUSIVE")


def test_hostile_names_are_escaped_for_people_and_kept_in_json(here: Path) -> None:
    name = "evil\x1b[2J\n[bold]\u202e\x9b.txt"
    Path(name).write_text("text")
    undecodable = os.fsdecode(b"\xff.txt")
    Path(undecodable).write_text("text")

    people = wm("verify", name, undecodable, "none\x1b.png")
    programs = wm("verify", name, undecodable, "--json")

    told = people.out + people.err
    assert "evil\\x1b[2J\\n[bold]\\u202e\\x9b.txt\n" in people.out
    assert "error: none\\x1b.png: No such file" in people.err
    assert all(c.isprintable() or c == "\n" for c in told)
    assert programs.out.isascii()
    assert [r["path"] for r in programs.json] == [name, undecodable]


def test_a_hostile_signer_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    signer = "Evil\x1b[31m\nMARKED"
    evidence = Evidence(
        layer="manifest", detector="c2pa", key_id=signer, state="valid", codes=("a\r",)
    )
    reason = Reason("untrusted-signer", f"signed by {signer}")
    report = Report(
        verdict=Verdict.INCONCLUSIVE,
        kind="image",
        evidence=(evidence,),
        reasons=(reason,),
    )

    show("photo.png", report)

    out = capsys.readouterr().out
    assert "valid, signed by Evil\\x1b[31m\\nMARKED; a\\r\n" in out
    assert "because       untrusted-signer: signed by Evil\\x1b[31m\\nMARKED\n" in out
    assert len(out.splitlines()) == 4


def test_plain_leaves_readable_text_alone() -> None:
    assert plain("naïve 写真 [red].png") == "naïve 写真 [red].png"


def test_a_map_is_written_where_a_mark_was_read(
    here: Path,
) -> None:
    none = wm("verify", "photo.png", "--map", "map.png")
    several = wm("verify", "photo.png", "signed-photo.png", "--map", "map.png")

    assert none.code == Code.DONE
    assert "No map was written" in none.err
    assert several.code == Code.USAGE
    assert not Path("map.png").exists()

    cells = (((1.0, 0.0), (0.5, -1.0)),) * 3  # a film's
    found = Evidence(layer="mark", detector="noise", scheme="noise", map=cells)
    report = Report(verdict=Verdict.MARKED, kind="video", evidence=(found,))
    maps.write(report, Path("map.png"))
    drawn = np.asarray(Image.open("map.png"))

    assert drawn.shape == (5 * maps.SIDE, 5 * maps.SIDE)
    frame = [[255, 0], [170, 0]]  # of the median, 0.75
    assert drawn[:: maps.SIDE, :: maps.SIDE][:2, :2].tolist() == frame
    with pytest.raises(Failure, match="cannot be written"):
        maps.write(report, Path("none", "map.png"))
