"""Texts that transformers itself marked are found, by `verify` and by `wm verify`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_cli import wm
from watermark.api import verify
from watermark.cli.terminal import Code
from watermark.detectors.foreign import DETECTORS
from watermark.errors import TokenizerMismatch, VocabularyMismatch
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.report import Report, Verdict
from watermark.schemes import DEFAULTS, default_records
from watermark.schemes.foreign import FOREIGN
from watermark.schemes.foreign.config import load_records
from watermark.tokenizer import TextTokenizer

LM = Path(__file__).parents[1] / "benchmarks" / "models" / "lm"
LICENSE = Path(__file__).parents[1] / "LICENSE"
SECRET = 0x6B43A9B5D1E5F2C7 >> 1
PUBLISHED = 42
KEYS = {"lefthash": SECRET, "selfhash": PUBLISHED}
TOKENS = 110


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATERMARK_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    """The committed language model, as transformers loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    if not (LM / "model.safetensors").exists():
        pytest.skip("benchmarks/models/lm is not there: run its training script")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield AutoModelForCausalLM.from_pretrained(LM).eval()
    torch.set_num_threads(threads)


def configuration(seeding: str) -> Any:
    from transformers import WatermarkingConfig

    return WatermarkingConfig(
        seeding_scheme=seeding,
        context_width=4 if seeding == "selfhash" else 1,
        hashing_key=KEYS[seeding],
        bias=5.0,
    )


@pytest.fixture(scope="module")
def texts(model: Any) -> dict[str, list[str]]:
    """Two texts under each key, as `generate` writes them."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(LM)
    start = tokenizer(["The evening was cold"] * 2, return_tensors="pt")
    found = {}
    for seeding in KEYS:
        torch.manual_seed(1)
        ids = model.generate(
            **start,
            do_sample=True,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
            watermarking_config=configuration(seeding),
        )
        new = ids[:, start["input_ids"].shape[1] :]
        found[seeding] = tokenizer.batch_decode(new, skip_special_tokens=True)
    return found


def record(seeding: str) -> KeyRecord:
    [found] = load_records(configuration(seeding), vocab_size=512)
    return found


def read(text: str, *keys: Any) -> Report:
    return verify(text, keys=list(keys), tokenizer=LM)


@pytest.mark.models
@pytest.mark.parametrize("seeding", ["lefthash", "selfhash"])
def test_a_generated_text_is_found(texts: dict[str, list[str]], seeding: str) -> None:
    for text in texts[seeding]:
        report = read(text, record(seeding))
        [evidence] = report.evidence[:1]

        assert report.verdict is Verdict.MARKED
        assert (evidence.detector, evidence.scheme) == ("transformers", "hf-kgw")
        assert (evidence.version, evidence.key_id) == (1, record(seeding).kid)
        assert evidence.codes == (() if seeding == "lefthash" else ("weak-key",))


@pytest.mark.models
def test_the_right_record_is_found_among_others(texts: dict[str, list[str]]) -> None:
    """Each record is a hypothesis, and all are counted."""
    ours = default_records(Key(bytes(range(100, 132))))
    ring = [
        FOREIGN["hf-kgw"].record(EngineKey((SECRET + i,)), vocab_size=512)
        for i in range(8)
    ]
    ring += [record("selfhash"), *ours]
    report = read(texts["selfhash"][0], *ring)
    alone = read(texts["selfhash"][0], record("selfhash"))
    [evidence] = [e for e in report.evidence if e.key_id == record("selfhash").kid][-1:]
    tests = len(ring) - 1  # a text has no mark of noise

    assert report.verdict is Verdict.MARKED
    assert evidence.hypotheses == tests * alone.evidence[0].hypotheses
    assert evidence.log10_p == pytest.approx(
        (alone.evidence[0].log10_p or 0.0) + math.log10(tests)
    )


def test_nothing_is_found_where_nothing_is() -> None:
    keys = [
        FOREIGN[name].record(EngineKey((SECRET - i,)), vocab_size=512)
        for name in ("hf-kgw", "kgw", "unigram")
        for i in range(4)
    ]
    report = read(LICENSE.read_text(), *keys)
    marks = [e for e in report.evidence if e.layer == "mark"]

    assert report.verdict in (Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)
    assert len(marks) == 12
    assert {e.detector for e in marks} == {
        "transformers",
        "lm-watermarking",
        "Unigram-Watermark",
    }


@pytest.mark.models
def test_a_published_key_is_told(texts: dict[str, list[str]]) -> None:
    report = read(texts["selfhash"][0], record("selfhash"))

    assert report.verdict is Verdict.MARKED
    assert [reason.code for reason in report.reasons] == ["weak-key"]


@pytest.mark.models
def test_wm_verify_reads_a_file_of_records(
    texts: dict[str, list[str]], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(texts["lefthash"][0])
    keys = tmp_path / "records.toml"
    keys.write_text(
        f'[[record]]\nscheme = "hf-kgw"\nkey = {SECRET}\nvocab_size = 512\n'
        '[[record]]\nscheme = "unigram"\nkey = 7\nvocab_size = 512\n'
    )
    keys.chmod(0o600)
    ran = wm(
        "verify", tmp_path / "text.txt", "--keys", keys, "--tokenizer", LM, "--json"
    )
    engine = tmp_path / "generation_config.json"
    engine.write_text(json.dumps(configuration("lefthash").to_dict()))
    (tmp_path / "config.json").write_text('{"vocab_size": 512}')
    short = wm("verify", tmp_path / "text.txt", "--keys", engine, "--tokenizer", LM)

    assert ran.json["verdict"] == "MARKED"
    assert ran.json["evidence"][0]["detector"] == "transformers"
    assert "MARKED" in short.out
    assert "hf-kgw" in short.out
    assert str(SECRET) not in ran.out + ran.err + short.out + short.err


def test_wm_verify_names_the_field_that_is_wrong(tmp_path: Path) -> None:
    keys = tmp_path / "records.toml"
    keys.write_text(f'[[record]]\nscheme = "hf-kgw"\nkey = {SECRET}\n')
    keys.chmod(0o600)
    (tmp_path / "text.txt").write_text("a text")
    ran = wm("verify", tmp_path / "text.txt", "--keys", keys, "--tokenizer", LM)
    keys.write_text(keys.read_text() + "vocab_size = 100\n")
    small = wm("verify", tmp_path / "text.txt", "--keys", keys, "--tokenizer", LM)

    assert ran.code == small.code == Code.CONFIGURATION
    assert "record 1, vocab_size: missing" in ran.err
    assert "vocab_size 100" in small.err
    assert str(SECRET) not in ran.err + small.err


# --- tokenizers ----------------------------------------------------------------------


def test_a_tokenizer_larger_than_the_vocabulary_is_refused() -> None:
    small = FOREIGN["hf-kgw"].record(EngineKey((SECRET,)), vocab_size=511)
    with pytest.raises(VocabularyMismatch, match="vocab_size 511"):
        read("a text", small)


def test_a_records_own_tokenizer_decides() -> None:
    """The records of other models stand in the same ring."""
    make = FOREIGN["hf-kgw"].record
    elsewhere = make(EngineKey((SECRET,)), vocab_size=100, tokenizer="0" * 64)
    here = make(
        EngineKey((SECRET,)), vocab_size=512, tokenizer=TextTokenizer.of(LM).digest
    )

    assert len([e for e in read("a text", elsewhere, here).evidence if e.scheme]) == 1
    with pytest.raises(TokenizerMismatch):
        read("a text", elsewhere)


def test_an_engines_key_alone_says_too_little() -> None:
    with pytest.raises(ValueError, match="EngineKey"):
        verify("a text", keys=EngineKey((SECRET,)))


def test_no_other_engine_is_suspected_by_default() -> None:
    assert not {scheme.name for scheme in DEFAULTS} & set(FOREIGN)


def test_one_key_under_two_names_is_no_conflict(tmp_path: Path) -> None:
    """What `pipelines.sglang.write` handed over is our key and the engine's."""
    from watermark.pipelines import sglang
    from watermark.schemes import SCHEMES

    key = Key(bytes(range(100, 132)))
    ours = sglang.write(SCHEMES["gumbel"].record(key), key, tmp_path / "sglang.json")
    [theirs] = load_records(tmp_path / "sglang.json")
    chosen: list[int] = [1, 2, 3, 4]
    while len(chosen) < 60:  # of 50 tokens the one with the largest term
        terms = [
            DETECTORS["sglang-gumbel"].score([*chosen[-4:], token], ours).statistic
            for token in range(50)
        ]
        chosen.append(max(range(50), key=terms.__getitem__))
    report = verify(np.asarray(chosen, np.uint32), keys=[ours, theirs])
    stranger = FOREIGN["sglang-gumbel"].record(EngineKey((SECRET,)))

    assert report.verdict is Verdict.MARKED
    assert {e.key_id for e in report.evidence if e.scheme} == {ours.kid, theirs.kid}
    assert {e.detector for e in report.evidence if e.scheme} == {"SGLang"}
    alone = verify(np.asarray(chosen, np.uint32), keys=[stranger])
    assert alone.verdict is Verdict.INCONCLUSIVE
