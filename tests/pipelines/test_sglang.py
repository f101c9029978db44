"""SGLang's configuration: what it holds, who can read it, and that SGLang takes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
from pathlib import Path

import pytest

from watermark.errors import KeyFileError, UnsupportedPipeline, WeakKey
from watermark.keys import Key, KeyRecord
from watermark.pipelines import sglang
from watermark.schemes import SCHEMES

KEY = Key(hashlib.sha256(b"engines").digest())
PLAIN = SCHEMES["gumbel"].record(KEY, vocab_size=1000, tokenizer="ab" * 32)
DUAL = SCHEMES["gumbel"].record(KEY, width=3, dual=1)

# What SGLang 0.5.23's own parser (load_watermark_config) accepted.
ACCEPTED = {
    "plain": {
        "key": "KEY",
        "context_window": 4,
        "max_probability": 1.0,
        "default_enabled": True,
        "enforce_all": True,
    },
    "dual": {
        "key": "KEY",
        "key_b": "KEY_B",
        "context_window": 3,
        "max_probability": 1.0,
        "default_enabled": True,
        "enforce_all": True,
        "mixing_probability": 0.5,
    },
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_file_is_what_sglang_accepted(tmp_path: Path, name: str) -> None:
    record = {"plain": PLAIN, "dual": DUAL}[name]
    written = sglang.write(record, KEY, tmp_path / "wm.json")
    found = json.loads((tmp_path / "wm.json").read_text())
    keys = {
        "KEY": written.derive("sglang", length=8).hex(),
        "KEY_B": written.derive("sglang-b", length=8).hex(),
    }

    assert found == {k: keys.get(str(v), v) for k, v in ACCEPTED[name].items()}
    assert stat.S_IMODE((tmp_path / "wm.json").stat().st_mode) == 0o600


def test_the_sub_key_stays_what_it_is() -> None:
    """Golden: text that SGLang marked is found by this for ever."""
    written = sglang.engine_record(PLAIN)

    assert written.derive("sglang", length=8).hex() == "73b00aaa7983eb0c"
    assert written.derive("sglang-b", length=8).hex() == "07bbb145fd23ddc4"


def test_the_record_for_detection_names_everything_but_the_key(tmp_path: Path) -> None:
    written = sglang.write(PLAIN, KEY, tmp_path / "wm.json")
    found = KeyRecord.from_dict(json.loads(json.dumps(written.to_dict())), key=KEY)

    assert found == written
    assert found.scheme == "sglang-gumbel"
    assert dict(found.parameters) == {"width": 4, "dual": 0, "prf": "murmur3-x86-32"}
    assert (found.vocab_size, found.tokenizer) == (1000, "ab" * 32)
    assert found.derive("sglang") == written.derive("sglang")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    written = sglang.write(PLAIN, KEY, tmp_path / "wm.json")
    secret = json.loads((tmp_path / "wm.json").read_text())["key"]

    for shown in (
        repr(written),
        str(written.to_dict()),
        str(sglang.native_config(PLAIN)),
    ):
        assert secret not in shown
        assert KEY._secret.hex() not in shown


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    sglang.write(PLAIN, KEY, tmp_path / "wm.json")
    with pytest.raises(KeyFileError, match="never overwritten"):
        sglang.write(PLAIN, KEY, tmp_path / "wm.json")
    with pytest.raises(KeyFileError, match="cannot be written"):
        sglang.write(PLAIN, KEY, tmp_path / "no folder" / "wm.json")


def test_a_record_read_without_its_key_takes_it(tmp_path: Path) -> None:
    bare = dataclasses.replace(PLAIN, key=None)
    sglang.write(bare, KEY, tmp_path / "a.json")
    sglang.write(PLAIN, KEY, tmp_path / "b.json")

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(WeakKey, match="was given key"):
        sglang.write(bare, Key.generate(), tmp_path / "c.json")


def test_what_sglang_cannot_write_is_refused(tmp_path: Path) -> None:
    payload = SCHEMES["gumbel"].record(KEY, payload_bits=16, nonce_bits=0)
    for record in (payload, SCHEMES["greenlist"].record(KEY)):
        with pytest.raises(UnsupportedPipeline):
            sglang.write(record, KEY, tmp_path / "wm.json")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [PLAIN, DUAL], ids=["plain", "dual"])
def test_sglangs_own_parser_takes_the_file(tmp_path: Path, record: KeyRecord) -> None:
    config = pytest.importorskip(
        "sglang.srt.sampling.watermarking.config", reason="sglang is not installed"
    )
    sglang.write(record, KEY, tmp_path / "wm.json")
    parsed = config.load_watermark_config(str(tmp_path / "wm.json"))

    assert parsed.context_window == record.parameters["width"]
    assert parsed.enforce_all is True
    assert config.parse_watermark_key(parsed.key) != 0
    assert (parsed.key_b is None) == (record is PLAIN)
