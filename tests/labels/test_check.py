"""`labels.check` and `wm check`: any file, clause by clause."""

from __future__ import annotations

import io
import json
import os
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.pictures import photograph

from watermark.assets.loading import Audio
from watermark.cli import main
from watermark.errors import LabelError
from watermark.labels import (
    containers,
    explicit_audio,
    explicit_image,
    explicit_text,
    sarif,
    security,
    sm2,
    xmp,
)
from watermark.labels.aigc import Label
from watermark.labels.check import Finding, check
from watermark.labels.regimes import LAYERS, Level
from watermark.record import Record
from watermark.sign import c2pa, claims
from watermark.sign.credential import Credential

CODE = "001191110102MAD55U9H0F10002"
LABEL = Label("1", CODE, "0123456789abcdef" * 2)
TODAY = date(2026, 11, 23)


def png(size: int = 200, *, explicit: bool = False) -> bytes:
    picture = Image.fromarray(photograph(1, size, size))
    if explicit:
        picture, _ = explicit_image.draw(picture)
    output = io.BytesIO()
    picture.save(output, "PNG")
    return output.getvalue()


def labelled(data: bytes, label: bytes, media_type: str = "image/png") -> bytes:
    output = io.BytesIO()
    containers.write(io.BytesIO(data), output, media_type, label)
    return output.getvalue()


def looked(
    folder: Path, data: bytes, regime: str = "cn", name: str = "a.png", **more: Any
) -> dict[str, Finding]:
    """What is found, by layer."""
    (folder / name).write_bytes(data)
    found = check(folder / name, regime, as_of=TODAY, **more)
    assert {f.layer for f in found} <= {*LAYERS, "file"}
    return {f.layer: f for f in found}


def state(found: dict[str, Finding], layer: str) -> str:
    return found[layer].state


def test_a_file_with_all_of_it_misses_nothing(tmp_path: Path) -> None:
    key = sm2.PrivateKey.generate()
    label = security.signed(LABEL, security.Sm2Signer(key)).encode()
    data = labelled(png(explicit=True), label)
    found = looked(tmp_path, data, trusted=[key.public])

    assert state(found, "label") == "met"
    assert state(found, "explicit") == "met"
    assert state(found, "provider-code") == "met"
    assert found["security"].detail.startswith("authentic")
    assert not [f for f in found.values() if f.severity in ("error", "warning")]


def test_a_file_without_anything_misses_what_is_required(tmp_path: Path) -> None:
    found = looked(tmp_path, png())

    assert state(found, "label") == "missed"
    assert found["label"].severity == "error"
    assert "6.1" in found["label"].clause
    assert state(found, "explicit") == "outside"  # another's may be there


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (LABEL.encode().replace(b'"Label":"1"', b'"Label":"AIGC"'), "level"),
        (LABEL.encode().replace(b'"Label":"1"', b'"Label":1'), "type of Label"),
        (LABEL.encode().replace(b"ProduceID", b"produceId"), "case of ProduceID"),
        (LABEL.encode().replace(CODE.encode(), "某公司".encode()), "charset"),
        (b'{"Label":"1"}', "missing ContentProducer"),
        (b"[]", "not an object"),
    ],
)
def test_a_label_that_is_not_as_annex_e_has_it(
    tmp_path: Path, raw: bytes, problem: str
) -> None:
    data = labelled(png(), LABEL.encode())
    packet = xmp.put(None, {xmp.AIGC: raw.decode()})
    output = io.BytesIO()
    containers.write_xmp(io.BytesIO(data), output, "image/png", packet)
    found = looked(tmp_path, output.getvalue())

    assert state(found, "label") == "missed"
    assert problem in found["label"].detail


def test_what_readers_put_up_with_is_told_and_no_error(tmp_path: Path) -> None:
    wrapped = b'{"AIGC":' + LABEL.encode() + b"}"
    packet = xmp.put(None, {xmp.AIGC: wrapped.decode()})
    output = io.BytesIO()
    containers.write_xmp(io.BytesIO(png()), output, "image/png", packet)
    found = looked(tmp_path, output.getvalue())

    assert state(found, "label") == "met"
    assert "wrapped" in found["label"].detail


@pytest.mark.parametrize(
    ("producer", "state_of_it"),
    [(CODE, "met"), ("acme", "met"), (CODE.replace("H0F", "H1F"), "missed")],
)
def test_the_provider_code_is_checked(
    tmp_path: Path, producer: str, state_of_it: str
) -> None:
    label = Label("1", producer, "1").encode()
    found = looked(tmp_path, labelled(png(), label))

    assert state(found, "provider-code") == state_of_it


def test_a_broken_signature_in_the_label_is_missed(tmp_path: Path) -> None:
    signed = security.signed(LABEL, security.Sm2Signer(sm2.PrivateKey.generate()))
    changed = signed.encode().replace(b'"ProduceID":"0', b'"ProduceID":"1')
    found = looked(tmp_path, labelled(png(), changed))

    assert state(found, "security") == "missed"
    assert "signature fails" in found["security"].detail


def test_cn_15_what_cannot_be_read_is_unclear_and_never_without_a_label(
    tmp_path: Path,
) -> None:
    whole = labelled(png(64), LABEL.encode())
    rng = random.Random(1)
    seen = set()
    for _ in range(60):
        data = bytearray(whole[: rng.randrange(30, len(whole))])
        for _ in range(rng.randrange(3)):
            data[rng.randrange(8, len(data))] ^= 1 << rng.randrange(8)
        found = looked(tmp_path, bytes(data))
        there = "label" in found
        seen.add(state(found, "label") if there else state(found, "file"))
        if there and state(found, "label") == "missed":
            assert "0 labels" not in found["label"].detail

    assert "unclear" in seen


@pytest.mark.parametrize("regime", ["cn", "eu"])
def test_a_picture_that_is_cut_off_is_unclear_in_every_layer(
    tmp_path: Path, regime: str
) -> None:
    whole = labelled(png(explicit=True), LABEL.encode())
    found = looked(tmp_path, whole[: len(whole) // 2], regime)

    assert "missed" not in {f.state for f in found.values()}
    assert state(found, "label" if regime == "cn" else "manifest") == "unclear"
    if regime == "cn":
        assert "cannot be decoded" in found["explicit"].detail


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.docx", b"PK\x03\x04" + b"\0" * 40),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ],
)
def test_where_no_label_can_lie_none_is_said_to_be_missing(
    tmp_path: Path, name: str, data: bytes
) -> None:
    found = looked(tmp_path, data, name=name)

    assert state(found, "label") == "unclear"
    assert "nothing says where a label lies" in found["label"].detail


def test_a_page_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><body>Hello</body></html>"

    assert state(looked(tmp_path, page, name="a.txt"), "label") == "missed"


def test_the_icon_of_the_eu_is_a_word_of_its_own(tmp_path: Path) -> None:
    assert "explicit" not in looked(tmp_path, b"MAIL and CHAIR\n", "eu", "a.txt")
    found = looked(tmp_path, b"AI\n\nHello\n", "eu", "a.txt")
    assert state(found, "explicit") == "met"


def test_the_day_on_the_market_decides(tmp_path: Path) -> None:
    levels = {
        day: looked(tmp_path, png(), "eu", on_market=day)["manifest"].level
        for day in (None, date(2026, 3, 1))
    }

    assert levels == {None: Level.REQUIRED, date(2026, 3, 1): Level.ON}


def test_a_type_that_nobody_knows_is_unclear(tmp_path: Path) -> None:
    found = looked(tmp_path, bytes(range(256)), name="a.bin")

    assert [f.state for f in found.values()] == ["unclear"]


def test_texts_and_sounds_say_so_or_miss_it(tmp_path: Path) -> None:
    text = explicit_text.mark("Hello\n").encode()
    sound = Audio(photograph(1, 100, 160).ravel() / 1000, 16_000).to_wav()
    rhythm = explicit_audio.place(sound, after=explicit_audio.morse(16_000))

    assert state(looked(tmp_path, text, name="a.txt"), "explicit") == "met"
    assert state(looked(tmp_path, b"Hello\n", name="a.txt"), "explicit") == "missed"
    assert state(looked(tmp_path, rhythm, name="a.wav"), "explicit") == "met"
    assert state(looked(tmp_path, sound, name="a.wav"), "explicit") == "outside"


def test_a_manifest_is_judged_by_the_roots_that_are_given(tmp_path: Path) -> None:
    credential = Credential.create_dev(tmp_path / "c", "Acme")
    record = Record(kind="image", provider="Acme", system="acme-image/1.2")
    definition = claims.definition(record)
    signed = c2pa.sign(png(), "image/png", definition, credential)
    root = credential.root_pem or b""
    known = looked(tmp_path, signed.data, "eu", anchors=root)
    unknown = looked(tmp_path, signed.data, "eu")
    flipped = bytearray(signed.data)
    flipped[-30] ^= 1

    assert known["manifest"].detail.startswith("trusted")
    assert unknown["manifest"].detail.startswith("valid")
    assert state(looked(tmp_path, bytes(flipped), "eu"), "manifest") == "missed"
    assert state(known, "timestamp") == "missed"
    assert state(known, "watermark") == "outside"
    assert state(looked(tmp_path, signed.data, "us-ca"), "facts") == "met"


def test_california_wants_a_version(tmp_path: Path) -> None:
    credential = Credential.create_dev(tmp_path / "c", "Acme")
    definition = claims.definition(Record(kind="image", provider="Acme", system="x"))
    signed = c2pa.sign(png(), "image/png", definition, credential)
    found = looked(tmp_path, signed.data, "us-ca")

    assert state(found, "facts") == "missed"
    assert "version" in found["facts"].detail


def test_a_time_that_no_clock_has_is_unclear(tmp_path: Path) -> None:
    credential = Credential.create_dev(tmp_path / "c", "Acme")
    definition = claims.definition(Record(kind="image", provider="Acme", system="x/1"))
    for assertion in definition["assertions"]:
        if assertion["label"].startswith("c2pa.actions"):
            assertion["data"]["actions"][0]["when"] = "0001-01-01T00:00:00+14:00"
    signed = c2pa.sign(png(), "image/png", definition, credential)

    assert state(looked(tmp_path, signed.data, "us-ca"), "facts") == "unclear"


def test_an_unknown_regime_is_an_error_of_the_callers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(32))
    with pytest.raises(LabelError, match="expected one of"):
        check(tmp_path / "a.png", "xx")


def test_sarif_names_file_rule_and_clause(tmp_path: Path) -> None:
    found = list(looked(tmp_path, png()).values())
    log = sarif.log([(Path("a b.png"), "cn", found)], version="1")
    [run] = log["runs"]
    by_rule = {each["ruleId"]: each for each in run["results"]}
    label = by_rule["cn/label"]

    assert log["version"] == "2.1.0"
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(by_rule)
    assert (label["kind"], label["level"]) == ("fail", "error")
    assert "6.1" in label["message"]["text"]
    where = label["locations"][0]["physicalLocation"]["artifactLocation"]
    assert where == {"uri": "a%20b.png"}
    assert by_rule["cn/ledger"]["kind"] == "review"
    assert by_rule["cn/ledger"]["level"] == "none"


def test_sarif_of_a_name_that_is_no_text(tmp_path: Path) -> None:
    found = list(looked(tmp_path, png(32)).values())
    log = sarif.log([(Path(os.fsdecode(b"\xff.png")), "cn", found)], version="1")
    where = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]

    assert where["artifactLocation"] == {"uri": "%FF.png"}


def test_severities() -> None:
    def severity(state: Any, level: Level) -> str:
        return Finding("label", state, level, "", "").severity

    assert severity("missed", Level.REQUIRED) == "error"
    assert severity("unclear", Level.REQUIRED) == "error"
    assert severity("missed", Level.ON) == "warning"
    assert severity("outside", Level.REQUIRED) == "note"
    assert severity("met", Level.REQUIRED) == "none"


# --- the command ----------------------------------------------------------------------


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["check", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bare, cut = (tmp_path / f"{name}.png" for name in ("good", "bare", "cut"))
    whole = labelled(png(explicit=True), LABEL.encode())
    good.write_bytes(whole)
    bare.write_bytes(png())
    cut.write_bytes(whole[:500])

    assert run(good, "--regime", "cn") == 0
    assert run(bare, "--regime", "cn") == 12
    assert run(cut, "--regime", "cn") == 3
    assert run(good, bare, cut, "--regime", "cn") == 12
    assert run(tmp_path / "none.png", "--regime", "cn") == 3
    assert run(good, "--regime", "xx") == 2
    assert run(good, "--regime", "cn", "--json", "--sarif") == 2
    told = capsys.readouterr()
    assert "6.1" in told.out


def test_json_and_sarif_are_alone_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    assert run(tmp_path / "a.png", "-r", "cn", "-r", "eu", "--json") == 12
    [said] = json.loads(capsys.readouterr().out)
    assert run(tmp_path / "a.png", "-r", "cn", "--sarif") == 12
    log = json.loads(capsys.readouterr().out)

    assert (said["schema"], said["regime"]) == ("watermark.check/1", "cn+eu")
    assert {f["layer"] for f in said["findings"]} >= {"label", "manifest"}
    assert log["runs"][0]["results"]


def test_a_file_that_is_not_there_stands_in_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--json", "--sarif"):
        assert run(tmp_path / "none.png", "-r", "cn", option) == 3
        said = json.loads(capsys.readouterr().out)
        if option == "--json":
            assert [f["state"] for f in said[0]["findings"]] == ["unclear"]
        else:
            assert [r["kind"] for r in said["runs"][0]["results"]] == ["open"]


def test_the_day_decides(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())

    assert run(tmp_path / "a.png", "-r", "us-ca", "--as-of", "2026-08-01") == 0
    assert run(tmp_path / "a.png", "-r", "us-ca", "--as-of", "2026-08-02") == 12
