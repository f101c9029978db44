"""One digest on both sides: it follows what decides ids, and nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.normalizers import NFC, Lowercase
from transformers import PreTrainedTokenizerFast

from watermark.errors import TokenizerMismatch, WatermarkError
from watermark.tokenizer import MAX_FILE, TextTokenizer

CORPUS = (json.__doc__ or "") + (Path.__doc__ or "") + "é ß 漢字 naïve 😀"


def train(size: int = 400) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return tokenizer


@pytest.fixture
def backend() -> Any:
    return train()


def digest(source: Any) -> str:
    return TextTokenizer.of(source).digest


# --- the same tokenizer, however it is given -----------------------------------------


def test_a_folder_a_file_and_objects_have_one_digest(
    backend: Any, tmp_path: Path
) -> None:
    backend.save(str(tmp_path / "tokenizer.json"))
    fast = PreTrainedTokenizerFast(tokenizer_object=backend)
    fast.save_pretrained(tmp_path / "saved")
    sources = [
        backend,
        tmp_path,
        str(tmp_path),
        tmp_path / "tokenizer.json",
        fast,
        tmp_path / "saved",
        PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved"),
        TextTokenizer.of(backend),
    ]

    assert len({digest(source) for source in sources}) == 1


def test_layout_of_the_file_does_not_enter(backend: Any, tmp_path: Path) -> None:
    expected = digest(backend)
    backend.save(str(tmp_path / "tokenizer.json"), pretty=False)

    assert digest(tmp_path) == expected

    data = json.loads(backend.to_str())
    turned = dict(reversed(data.items()))
    (tmp_path / "tokenizer.json").write_text(json.dumps(turned, indent=7))

    assert digest(tmp_path) == expected


def _merges_as_text(data: dict[str, Any]) -> None:
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]


def _without_newer_fields(data: dict[str, Any]) -> None:
    for name in ("ignore_merges", "byte_fallback", "dropout"):
        data["model"].pop(name, None)


@pytest.mark.parametrize("change", [_merges_as_text, _without_newer_fields])
def test_a_file_of_an_older_release_is_the_same_tokenizer(
    backend: Any, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """GPT-2's and Llama-2's files have merges as text: loaded, they are lists."""
    data = json.loads(backend.to_str())
    change(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    loaded = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    assert digest(loaded) == digest(backend)
    assert digest(tmp_path) == digest(loaded)


def test_padding_and_truncation_do_not_enter(backend: Any) -> None:
    expected = TextTokenizer.of(backend)
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    found = TextTokenizer.of(backend)

    assert found.digest == expected.digest
    assert found.encode(CORPUS) == expected.encode(CORPUS)
    assert len(found.encode(CORPUS)) > 64


def test_the_callers_tokenizer_keeps_its_settings(backend: Any) -> None:
    backend.enable_truncation(4)
    TextTokenizer.of(backend)

    assert len(backend.encode(CORPUS).ids) == 4


# --- another tokenizer ---------------------------------------------------------------


def _merge(data: dict[str, Any]) -> None:
    merges = data["model"]["merges"]
    merges[3], merges[4] = merges[4], merges[3]


def _vocabulary(data: dict[str, Any]) -> None:
    vocab = data["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def _normalizer(data: dict[str, Any]) -> None:
    data["normalizer"] = {"type": "Lowercase"}


def _pre_tokenizer(data: dict[str, Any]) -> None:
    data["pre_tokenizer"]["add_prefix_space"] = True


@pytest.mark.parametrize("change", [_merge, _vocabulary, _normalizer, _pre_tokenizer])
def test_what_decides_ids_decides_the_digest(
    backend: Any, change: Callable[[dict[str, Any]], None]
) -> None:
    data = json.loads(backend.to_str())
    change(data)

    assert TextTokenizer(json.dumps(data)).digest != digest(backend)


def test_an_added_token_changes_the_digest(backend: Any) -> None:
    before = digest(backend)
    backend.add_tokens([AddedToken("<tool>")])

    assert digest(backend) != before


def test_normalizers_are_told_apart(backend: Any) -> None:
    found = {digest(backend)}
    for normalizer in (NFC(), Lowercase()):
        backend.normalizer = normalizer
        found.add(digest(backend))

    assert len(found) == 3


# --- encoding ------------------------------------------------------------------------


def test_encoding_is_that_of_the_host_without_special_tokens(backend: Any) -> None:
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    ids = TextTokenizer.of(fast).encode(CORPUS)

    assert ids == fast(CORPUS, add_special_tokens=False)["input_ids"]
    assert fast.decode(ids) == CORPUS


def test_size_counts_added_tokens(backend: Any) -> None:
    before = TextTokenizer.of(backend).size
    backend.add_tokens(["<tool>", "<call>"])

    assert TextTokenizer.of(backend).size == before + 2


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udcff" * 3])
def test_text_that_is_no_unicode_gives_ids_or_a_typed_error(
    backend: Any, text: str
) -> None:
    with contextlib.suppress(WatermarkError):
        assert isinstance(TextTokenizer.of(backend).encode(text), list)


def test_a_repr_is_short(backend: Any) -> None:
    assert len(repr(TextTokenizer.of(backend))) < 60


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param("", id="empty"),
        pytest.param("{}", id="object"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("{", id="cut"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_what_is_no_tokenizer_is_refused(definition: str) -> None:
    with pytest.raises(TokenizerMismatch):
        TextTokenizer(definition)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(None, id="none"),
        pytest.param(3, id="int"),
        pytest.param(object(), id="object"),
        pytest.param("no/such/folder", id="missing"),
        pytest.param(lambda text: [1], id="function"),
    ],
)
def test_an_object_that_is_no_tokenizer_is_refused(source: Any) -> None:
    with pytest.raises(TokenizerMismatch, match="expected"):
        TextTokenizer.of(source)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerMismatch, match=r"tokenizer\.json"):
        TextTokenizer.of(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TokenizerMismatch):
        TextTokenizer.of(tmp_path)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with open(path, "wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(TokenizerMismatch, match="larger"):
        TextTokenizer.of(path)
