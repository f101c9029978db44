"""Texts that transformers itself marked are found, by `verify` and by `wm verify`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.running import wm
from watermark.api import verify
from watermark.cli.terminal import Code
from watermark.detectors.foreign.gumbel import ENGINES
from watermark.errors import TokenizerMismatch, VocabularyMismatch
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.report import Report, Verdict
from watermark.schemes import DEFAULTS, default_records
from watermark.schemes.foreign import FOREIGN, vllm
from watermark.schemes.foreign.config import load_records
from watermark.tokenizer import TextTokenizer
from watermark.verification.text import TEXT_DETECTORS

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
        weak = ("weak-key",) if seeding == "selfhash" else ()
        # A list follows from 32 bits of its seed: see docs/engines.md.
        least = math.log10(evidence.n * math.log(512) / 2**32)
        small = ("small-state",) * ((evidence.log10_p_raw or 0) < least)
        assert evidence.codes == (*weak, *small)


@pytest.mark.models
def test_the_right_record_is_found_among_others(texts: dict[str, list[str]]) -> None:
    """Each record is a hypothesis, and all are counted."""
    ours = default_records(Key(bytes((*range(101, 132), 100))))
    ring = [
        FOREIGN["hf-kgw"].record(EngineKey((SECRET + i,)), vocab_size=512)
        for i in range(8)
    ]
    ring += [record("selfhash"), *ours]
    report = read(texts["selfhash"][0], *ring)
    alone = read(texts["selfhash"][0], record("selfhash"))
    [evidence] = [e for e in report.evidence if e.key_id == record("selfhash").kid][-1:]
    tests = sum(r.scheme in TEXT_DETECTORS for r in ring)  # not those of pictures

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


def best_of(*records: KeyRecord, tokens: int = 60) -> Any:
    """Of 50 tokens each time the one with the largest terms under all records."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 5000, 4).astype(np.uint32)
    engine = ENGINES[records[0].scheme]
    while len(chosen) < tokens:
        more = rng.integers(0, 5000, 50).astype(np.uint32)
        texts = [np.append(chosen[-4:], token) for token in more]
        terms = [
            sum(engine.totals(text, r, 0)[1].sum() for r in records) for text in texts
        ]
        chosen = np.append(chosen, more[int(np.argmax(terms))])
    return chosen


def test_one_key_under_two_names_is_no_conflict(tmp_path: Path) -> None:
    """What `pipelines.sglang.write` handed over is our key and the engine's."""
    from watermark.pipelines import sglang
    from watermark.schemes import SCHEMES

    key = Key(bytes((*range(101, 132), 100)))
    ours = sglang.write(SCHEMES["gumbel"].record(key), key, tmp_path / "sglang.json")
    [theirs] = load_records(tmp_path / "sglang.json")
    chosen = best_of(ours)
    report = verify(chosen, keys=[ours, theirs])
    stranger = FOREIGN["sglang-gumbel"].record(EngineKey((SECRET,)))

    assert report.verdict is Verdict.MARKED
    assert {e.key_id for e in report.evidence if e.scheme} == {ours.kid, theirs.kid}
    assert {e.detector for e in report.evidence if e.scheme} == {"SGLang"}
    alone = verify(chosen, keys=[stranger])
    assert alone.verdict is Verdict.INCONCLUSIVE


B = 0x2F8D10C4B7A96E35


@pytest.mark.parametrize(
    ("scheme", "single", "both"),
    [
        ("sglang-gumbel", (SECRET,), (SECRET, B)),
        ("sglang-gumbel", (B,), (SECRET, B)),
        ("textseal", (SECRET,), (SECRET, B)),
        ("textseal", (SECRET + 12345,), (SECRET,)),
        ("vllm-gumbel", (vllm.subkey(SECRET, "a"),), (SECRET,)),
        ("vllm-gumbel", (SECRET,), (SECRET,)),
    ],
)
def test_records_with_a_key_in_common_are_no_conflict(
    scheme: str, single: tuple[int, ...], both: tuple[int, ...]
) -> None:
    """Whoever has both keys of a dual key has each; both records fire on one text."""
    one = FOREIGN[scheme].record(EngineKey(single))
    two = FOREIGN[scheme].record(EngineKey(both), dual=1)
    chosen = best_of(one, two, tokens=110)
    report = verify(chosen, keys=[one, two])

    assert all((e.log10_p or 0.0) < -6 for e in report.evidence if e.scheme)
    assert report.verdict is Verdict.MARKED


def test_records_without_a_key_in_common_are_a_conflict() -> None:
    one, two = (FOREIGN["sglang-gumbel"].record(EngineKey((k,))) for k in (SECRET, B))
    chosen = best_of(one, two, tokens=110)
    report = verify(chosen, keys=[one, two])
    # A third record that has both says that they are one holder's.
    dual = FOREIGN["sglang-gumbel"].record(EngineKey((SECRET, B)), dual=1)

    assert report.verdict is Verdict.CONFLICT
    assert [reason.code for reason in report.reasons] == ["two-keys"]
    assert verify(chosen, keys=[one, two, dual]).verdict is Verdict.MARKED


@pytest.mark.parametrize(
    ("layers", "table", "weak"),
    [(1, 1 << 16, True), (2, 1 << 16, True), (3, 1 << 16, False), (30, 2, True)],
)
def test_few_layers_or_a_small_table_of_synthid_are_weak(
    layers: int, table: int, weak: bool
) -> None:
    """However long its numbers, a layer has no more keys than its table has entries."""
    rng = np.random.default_rng(0)
    keys: list[Key | EngineKey] = [
        Key(rng.bytes(32)),
        EngineKey(rng.integers(1 << 40, 1 << 62, layers).tolist()),
    ]
    for key in keys:
        made = FOREIGN["hf-synthid"].record(key, layers=layers, table_size=table)
        [evidence] = verify(np.arange(50, dtype=np.uint32), keys=[made]).evidence
        assert ("weak-key" in evidence.codes) is weak


def test_published_keys_of_synthid_are_known_by_their_low_bits() -> None:
    published = (654, 400, 836, 123, 340)
    lifted = EngineKey([number + (1 << 40) for number in published])
    made = FOREIGN["hf-synthid"].record(lifted, layers=5)

    assert not lifted.weak
    assert FOREIGN["hf-synthid"].weak(made)


def test_a_p_that_rests_on_the_hash_says_so() -> None:
    record = FOREIGN["sglang-gumbel"].record(EngineKey((SECRET,)))
    [marked] = verify(best_of(record), keys=[record]).evidence
    [plain] = verify(np.arange(60, dtype=np.uint32), keys=[record]).evidence

    assert marked.codes == ("small-state",)
    assert plain.codes == ()
