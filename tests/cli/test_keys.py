"""`wm keys`: rotated, revoked, exported; no output holds a secret."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from tests.cli.running import wm

from watermark.cli.terminal import Code
from watermark.home import Home
from watermark.keys import Key


def test_keys_rotate_and_revoke(here: Path) -> None:
    [first] = wm("keys", "list", "--json").json

    assert wm("keys", "rotate").code == Code.DONE
    assert wm("keys", "rotate", "--epoch").code == Code.DONE
    listed = wm("keys", "list", "--json").json
    assert [(k["state"], k["epoch"]) for k in listed] == [("retired", 0), ("active", 1)]
    assert wm("keys", "revoke", first["kid"]).err == ""
    assert "no key is active" in wm("keys", "revoke", listed[1]["kid"]).err
    told = wm("keys", "list").out
    assert told.splitlines()[0].split() == ["KID", "STATE", "EPOCH", "CREATED"]
    assert told.count("revoked") == 2


def test_export_warns_asks_and_never_overwrites(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Home.open().ring.newest.key
    monkeypatch.setattr("sys.stdin", io.StringIO())

    unasked = wm("keys", "export", key.kid, "--out", "k.json")
    written = wm("keys", "export", key.kid, "--out", "k.json", "--yes")
    again = wm("keys", "export", key.kid, "--out", "k.json", "--yes")
    unknown = wm("keys", "export", "k0", "--out", "other.json", "--yes")

    assert (unasked.code, unasked.out) == (Code.USAGE, "")
    assert written.code == Code.DONE
    assert "can also forge them on anything" in written.err
    assert Path("k.json").stat().st_mode & 0o777 == 0o600
    assert key == Key.load(Path("k.json"))
    assert again.code == unknown.code == Code.CONFIGURATION
    assert "a key file is never overwritten" in again.err
    assert not Path("other.json").exists()


def test_an_exported_key_is_encrypted_with_the_passphrase_given(here: Path) -> None:
    key = Home.open().ring.newest.key
    Path("pass").write_text("for the auditor\n")

    argv = ("keys", "export", key.kid, "--out", "k.json", "--yes")
    ran = wm(*argv, "--new-passphrase-file", "pass")

    assert ran.code == Code.DONE
    assert "secret" not in json.loads(Path("k.json").read_text())
    assert key == Key.load(Path("k.json"), passphrase="for the auditor")


def test_an_exported_key_names_the_epoch_it_has_marked_in(here: Path) -> None:
    kid = Home.open().ring.newest.key.kid
    wm("keys", "rotate", "--epoch")

    ran = wm("keys", "export", kid, "--out", "k.json", "--yes")

    assert ran.code == Code.DONE
    assert json.loads(Path("k.json").read_text())["epoch"] == 1


def test_no_output_holds_a_secret(here: Path) -> None:
    key = Home.open().ring.newest.key
    secret = key._secret
    pem = Path("home/credential/key.pem").read_text().splitlines()[1]
    log = Path("home/log.pem").read_text().splitlines()
    argvs = (
        ["keys", "list"],
        ["keys", "list", "--json"],
        ["keys", "export", key.kid, "--out", "k.json", "--yes"],
        ["keys", "export", key.kid, "--out", "k.json", "--yes"],
        ["verify", "k.json", "home", "letter.txt", "--json"],
        ["verify", "letter.txt", "--keys", "k.json"],
        ["--debug", "verify", "letter.txt", "--keys", "letter.txt"],
        ["embed", "k.json", "-o", "k2.txt"],
        ["ledger", "list", "--json"],
        ["ledger", "prove", "0", "--json"],
        ["ledger", "verify", "--json"],
        ["keys", "rotate"],
        ["keys", "revoke", key.kid],
    )

    told = ""
    for argv in argvs:
        ran = wm(*argv)
        told += ran.out + ran.err

    forms = [base64.b64encode(secret).decode(), secret.hex(), repr(secret), pem, *log]
    assert [form for form in forms if len(form) > 30 and form in told] == []
    assert [form for form in forms if "secret" in form] == []
