"""`load_records`: engines' own configurations and our TOML; what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from watermark.errors import ConfigError, KeyFileError, WatermarkError
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.schemes.foreign import engine_numbers
from watermark.schemes.foreign.config import MAX_FILE, is_configuration, load_records

SECRET = 0x6B43A9B5D1E5F2C7 >> 1
HF = {
    "greenlist_ratio": 0.25,
    "bias": 2.0,
    "hashing_key": SECRET,
    "seeding_scheme": "lefthash",
    "context_width": 1,
}
ROW = f'[[record]]\nscheme = "hf-kgw"\nkey = {SECRET}\nvocab_size = 1000\n'


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def tokenizer(size: int) -> Any:
    return Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, "w0"))


# --- an engine's configuration -------------------------------------------------------


def test_transformers_objects() -> None:
    from transformers import GenerationConfig, WatermarkingConfig

    own = WatermarkingConfig(hashing_key=SECRET)
    holder = GenerationConfig(watermarking_config=own)
    expected = load_records(HF, vocab_size=1000)

    assert load_records(own, vocab_size=1000) == expected
    assert load_records(holder, vocab_size=1000) == expected
    assert engine_numbers(expected[0]) == (SECRET,)
    with pytest.raises(ConfigError, match="watermarking_config"):
        load_records(GenerationConfig(), vocab_size=1000)


def test_a_generation_config_as_transformers_saves_it(tmp_path: Path) -> None:
    """With the model's own configuration beside it, which knows the vocabulary."""
    from transformers import GenerationConfig, LlamaConfig, WatermarkingConfig

    own = WatermarkingConfig(hashing_key=SECRET)
    GenerationConfig(watermarking_config=own).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="vocab_size"):
        load_records(tmp_path)
    LlamaConfig(vocab_size=1234).save_pretrained(tmp_path)
    expected = load_records(HF, vocab_size=1234)

    assert load_records(tmp_path) == expected
    assert load_records(tmp_path / "generation_config.json") == expected
    assert load_records(str(tmp_path)) == expected


def test_the_text_part_of_a_model_of_many_parts(tmp_path: Path) -> None:
    written(tmp_path / "generation_config.json", json.dumps(HF))
    parts = {"vocab_size": 7, "text_config": {"vocab_size": 1234}}
    written(tmp_path / "config.json", json.dumps(parts))

    assert load_records(tmp_path)[0].vocab_size == 1234


@dataclasses.dataclass
class Config:
    seeding_scheme: str = "selfhash"
    gamma: float = 0.25
    delta: float = 2.0
    select_green_tokens: bool = True
    vocab_size: int = 50257


def test_a_dataclass_and_what_it_is_held_by() -> None:
    [record] = load_records(Config())

    assert record.scheme == "kgw"
    assert load_records({"watermark-config": Config()}) == [record]
    held = json.dumps(dataclasses.asdict(Config()))
    assert load_records({"watermark_config": held}) == [record]


def test_a_configuration_that_nothing_tells_needs_a_scheme() -> None:
    config = {"seeding_scheme": "selfhash", "gamma": 0.25, "vocab_size": 50257}
    with pytest.raises(ConfigError, match="scheme"):
        load_records(config)
    with pytest.raises(ConfigError, match="scheme"):
        load_records(config, scheme="other")

    assert load_records(config, scheme="kgw")[0].scheme == "kgw"


def test_a_vocabulary_that_contradicts_the_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size") as caught:
        load_records(HF, vocab_size=999, tokenizer=tokenizer(1000))
    [record] = load_records(HF, vocab_size=1024, tokenizer=tokenizer(1000))

    assert caught.value.field == "vocab_size"
    assert record.tokenizer is not None
    with pytest.raises(ConfigError, match="vocab_size"):
        load_records({**HF, "vocab_size": 5000}, vocab_size=1000)


# --- our own file --------------------------------------------------------------------


def test_a_toml_file_holds_many_keys(tmp_path: Path) -> None:
    own = Key(bytes((*range(101, 132), 100)))
    own.save(tmp_path / "own.key")
    written(tmp_path / "engine.key", f"{SECRET:#x}\n")
    written(tmp_path / "generation_config.json", json.dumps(HF), 0o644)
    (tmp_path / "model").mkdir()
    tokenizer(900).save(str(tmp_path / "model" / "tokenizer.json"))
    path = written(
        tmp_path / "records.toml",
        f"""
        [[record]]
        scheme = "hf-kgw"
        engine = "transformers"
        key_file = "engine.key"
        vocab_size = 1000
        tokenizer = "{"0123456789abcdef" * 4}"
        parameters = {{ seeding = "selfhash", width = 3 }}

        [[record]]
        config = "generation_config.json"
        vocab_size = 1000
        tokenizer = "model"

        [[record]]
        scheme = "unigram"
        key_file = "own.key"
        vocab_size = 50257

        [[record]]
        scheme = "gumbel"
        key_file = "own.key"
        epoch = 2
        """,
        0o644,
    )
    first, second, third, fourth = load_records(path)

    assert engine_numbers(first) == engine_numbers(second) == (SECRET,)
    assert dict(first.parameters)["width"] == 3
    assert first.tokenizer == "0123456789abcdef" * 4
    assert second.tokenizer not in (None, first.tokenizer)
    assert third.kid == fourth.kid == own.kid
    assert (fourth.scheme, fourth.epoch) == ("gumbel", 2)


@pytest.mark.parametrize("number", [f'"{SECRET:#x}"', f'"{SECRET}"', f"{SECRET}"])
def test_a_number_may_stand_in_a_private_file(tmp_path: Path, number: str) -> None:
    text = ROW.replace(str(SECRET), number)
    [record] = load_records(written(tmp_path / "r.toml", text))

    assert engine_numbers(record) == (SECRET,)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_records(written(tmp_path / "r.toml", text, 0o644))


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "k", "12345", 0o640)
    path = written(tmp_path / "r.toml", ROW.replace(f"key = {SECRET}", 'key_file="k"'))
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_records(path)


WRONG = [
    ("scheme", ROW.replace("hf-kgw", "hf-other")),
    ("scheme", ROW.replace('scheme = "hf-kgw"\n', "")),
    ("engine", ROW + 'engine = "vLLM"\n'),
    ("key", ROW.replace(f"key = {SECRET}\n", "")),
    ("key", ROW + "keys = [1, 2]\n"),
    ("key", ROW.replace(str(SECRET), str(1 << 70))),
    ("key", ROW.replace(str(SECRET), '"0xzz"')),
    ("key", ROW.replace("hf-kgw", "gumbel")),
    ("vocab_size", ROW.replace("vocab_size = 1000\n", "")),
    ("vocab_size", ROW.replace("1000", "-5")),
    ("vocab_size", ROW.replace("1000", str(1 << 40))),
    ("vocab_size", ROW.replace("1000", '"1000"')),
    ("version", ROW + "version = 9\n"),
    ("colour", ROW + 'colour = "green"\n'),
    ("parameters", ROW + "parameters = 5\n"),
    ("parameters", ROW + "parameters = { shade = 5 }\n"),
    ("parameters", ROW + "parameters = { gamma = 5 }\n"),
    ("parameters", ROW + "parameters = { gamma = [0.25] }\n"),
    ("parameters", ROW + "parameters = { key = 5 }\n"),
    ("config", '[[record]]\nconfig = "r.toml"\n'),
    ("record", ""),
    ("record", "record = 5"),
    ("other", ROW + "[other]\n"),
    ("other", "other = 1\n" + ROW),
]


@pytest.mark.parametrize(("field", "text"), WRONG)
def test_what_is_wrong_in_a_file_is_named(
    tmp_path: Path, field: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=field) as caught:
        load_records(written(tmp_path / "r.toml", text))

    assert str(SECRET) not in str(caught.value)
    assert field in caught.value.field


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.toml", b"[[record"),
        ("r.toml", b"\xff\xfe"),
        ("r.toml", b"a = " + b"[" * 100_000),
        ("r.toml", b"#" * (MAX_FILE + 1)),
        ("r.json", b"{"),
        ("r.json", b"[1]"),
        ("r.json", b"\xff"),
        ("r.json", b"[" * 100_000),
        ("generation_config.json", b'{"watermarking_config": "{"}'),
        ("generation_config.json", b'{"watermarking_config": 5}'),
        ("generation_config.json", b'{"eos_token_id": 5}'),
    ],
)
def test_a_damaged_file_is_a_typed_error(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WatermarkError):
        load_records(tmp_path / name)


def test_a_missing_file_is_a_typed_error(tmp_path: Path) -> None:
    for name in ("a.toml", "a.json", "."):
        with pytest.raises(KeyFileError):
            load_records(tmp_path / name)
    for nothing in (5, None, object, [1]):
        with pytest.raises(ConfigError):
            load_records(nothing)


def test_what_is_a_configuration_and_what_a_key(tmp_path: Path) -> None:
    key = Key(bytes((*range(101, 132), 100)))
    key.save(tmp_path / "key.json")
    written(tmp_path / "config.json", "{}")
    record = KeyRecord(kid=key.kid, scheme="gumbel", key=key)

    assert is_configuration(tmp_path / "config.json")
    assert is_configuration(str(tmp_path / "records.toml"))
    assert is_configuration({})
    for other in (tmp_path / "key.json", tmp_path / "none", key, record, [record]):
        assert not is_configuration(other)
    assert not is_configuration(EngineKey((7,)))


# --- hostile files and values --------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "key"),
    [
        ("hf-kgw", "keys = [1234567890123, 2]"),
        ("hf-kgw", 'key = "0xfffffffffffffff1"\nparameters = { seeding = "selfhash" }'),
        ("kgw", 'key = "0xfffffffffffffff1"'),
        ("unigram", 'key = "0xfffffffffffffff1"'),
        ("vllm-gumbel", "key = -1234567890123"),
        ("vllm-gumbel", "keys = [1234567890123, 2]"),
        ("sglang-gumbel", "keys = [1234567890123, 2]"),  # dual is 0
        ("sglang-gumbel", "key = 1234567890123\nparameters = { dual = 1 }"),
        ("textseal", "keys = [1234567890123, 2]"),
    ],
)
def test_a_key_that_the_engine_cannot_have_is_refused(
    tmp_path: Path, scheme: str, key: str
) -> None:
    row = f'[[record]]\nscheme = "{scheme}"\nvocab_size = 1000\n{key}\n'
    with pytest.raises(ConfigError, match="record 1, key") as caught:
        load_records(written(tmp_path / "r.toml", row))
    assert "1234567890123" not in str(caught.value)


@pytest.mark.parametrize("field", ["greenlist_ratio", "bias", "context_width"])
@pytest.mark.parametrize(
    "value",
    [10**400, 1 << 20000, float("nan"), float("inf")],
    ids=["1e400", "2^20000", "nan", "inf"],
)
def test_huge_numbers_are_refused_by_field(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        load_records({**HF, field: value}, vocab_size=1000)


@pytest.mark.parametrize(
    "size", ["1000", 1000.0, True, 1 << 20000], ids=["text", "float", "bool", "huge"]
)
def test_a_vocabulary_that_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        load_records(HF, vocab_size=size)


def test_json_text_is_read_and_never_taken_for_a_name() -> None:
    text = json.dumps(HF)
    assert is_configuration(text)
    assert load_records(text, vocab_size=1000) == load_records(HF, vocab_size=1000)
    with pytest.raises(KeyFileError) as caught:
        load_records(text[:-1])
    assert str(SECRET) not in str(caught.value)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(HF)[:-1] + ', "hashing_key": 1}'
    with pytest.raises(ConfigError, match="hashing_key: stands twice"):
        load_records(written(tmp_path / "config.json", text))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["pipe", "pipe.toml"])
def test_a_pipe_is_refused_without_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert is_configuration(tmp_path / name)
    with pytest.raises(KeyFileError, match="no file"):
        load_records(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    ["a\0b", "a\0b.toml", "a\ud800b", "a" * 5000],
    ids=["zero", "zero.toml", "surrogate", "long"],
)
def test_a_name_of_no_file_is_a_typed_error(name: str) -> None:
    assert is_configuration(name) == name.endswith(".toml")
    with pytest.raises(KeyFileError):
        load_records(name)


@pytest.mark.parametrize(
    "line",
    ["a." * 20_000 + "a = 1", "vocab_size = " + "9" * 6000],
    ids=["dots", "digits"],
)
def test_toml_that_is_out_of_all_proportion(tmp_path: Path, line: str) -> None:
    with pytest.raises(KeyFileError):
        load_records(written(tmp_path / "r.toml", line))


def test_a_large_key_file_is_refused_unread(tmp_path: Path) -> None:
    with written(tmp_path / "chat.key", "").open("wb") as file:
        file.truncate(1 << 40)
    row = '[[record]]\nscheme = "vllm-gumbel"\nkey_file = "chat.key"\n'
    with pytest.raises(KeyFileError, match="larger"):
        load_records(written(tmp_path / "r.toml", row))
    assert is_configuration(tmp_path / "chat.key")


@pytest.mark.parametrize("field", ["tokenizer", "key_file", "config"])
def test_a_zero_byte_in_a_row_is_a_typed_error(tmp_path: Path, field: str) -> None:
    key = "" if field in ("key_file", "config") else "key = 1\n"
    row = f'[[record]]\nscheme = "vllm-gumbel"\n{key}{field} = "a\\u0000b"\n'
    with pytest.raises((ConfigError, KeyFileError)):
        load_records(written(tmp_path / "r.toml", row))


@pytest.mark.parametrize("more", [{"scheme": "unigram"}, {"vocab_size": 1000}])
def test_what_a_toml_file_says_itself_is_not_given_beside_it(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    """Else it would be ignored, and another test made than the caller named."""
    row = f'[[record]]\nscheme = "hf-kgw"\nkey = {SECRET}\nvocab_size = 512\n'
    path = written(tmp_path / "records.toml", row)
    with pytest.raises(ConfigError, match=r"records\.toml") as caught:
        load_records(path, **more)

    assert caught.value.field == next(iter(more))
    assert len(load_records(path)) == 1
