"""`attach` on real transformers models: nothing a caller passes can lose the mark."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pipelines import marking, tiny
from tests.pipelines.marking import SAMPLE, VOCAB, Case, prompt
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TextIteratorStreamer,
    WatermarkingConfig,
)

from watermark.detectors import gumbel as gumbel_detector
from watermark.errors import (
    AlreadyAttached,
    InvalidSignal,
    KeyFileError,
    NotMarked,
    UnsupportedPipeline,
    VocabularyMismatch,
    WeakKey,
)
from watermark.keys import Key
from watermark.pipelines import adapter_for
from watermark.pipelines import transformers as host
from watermark.pipelines.base import load_record
from watermark.schemes import SCHEMES, gumbel


@pytest.fixture
def case() -> Case:
    return marking.case()


@pytest.fixture
def green() -> Case:
    # One key for ever: a beam that runs in circles leaves some keys little to bias.
    return marking.case("greenlist", seed="greenlist", delta=4.0)


def test_sampled_rows_are_marked_and_recorded(case: Case) -> None:
    with case.attach() as attachment:
        output = case.model.generate(**prompt(3), **SAMPLE)

    assert [case.p(row) < -6 for row in output] == [True] * 3
    assert attachment.records == case.records
    assert len({record.record_id for record in case.records}) == 3
    assert all(record.marks[0].coverage > 0.8 for record in case.records)
    assert case.records[0].marks[0].key_id == case.record.kid


def test_another_key_finds_nothing(case: Case) -> None:
    with case.attach():
        output = case.model.generate(**prompt(1), **SAMPLE)
    other = SCHEMES["gumbel"].record(Key.generate())

    assert gumbel_detector.score(output[0].tolist(), other).log10_p() > -6


CALLS: dict[str, dict[str, Any]] = {
    "own temperature": {"temperature": 0.9, "top_k": 200, "top_p": 0.98},
    "own generation_config": {
        "generation_config": GenerationConfig(**SAMPLE, pad_token_id=0, eos_token_id=2)
    },
    "own logits_processor": {
        "logits_processor": LogitsProcessorList([LogitsProcessor()])
    },
    "several per prompt": {"num_return_sequences": 3},
    "dictionary output": {"return_dict_in_generate": True, "output_scores": True},
    "renormalised": {"renormalize_logits": True},
}


class Halve(LogitsProcessor):  # type: ignore[misc]  # untyped base
    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return scores / 2


@pytest.mark.parametrize("name", CALLS)
def test_what_a_caller_passes_cannot_lose_the_mark(case: Case, name: str) -> None:
    call = dict(CALLS[name])
    if "logits_processor" in call:
        call["logits_processor"] = LogitsProcessorList([Halve()])
    if "generation_config" not in call:
        call |= SAMPLE
    with case.attach():
        output = case.model.generate(**prompt(), **call)
    rows = output if isinstance(output, torch.Tensor) else output.sequences

    assert all(case.p(row) < -6 for row in rows)
    assert len(case.records) == len(rows)


def test_positional_arguments_are_marked_too(case: Case) -> None:
    config = GenerationConfig(**SAMPLE, pad_token_id=0)
    with case.attach():
        output = case.model.generate(prompt()["input_ids"], config)

    assert all(case.p(row) < -6 for row in output)
    assert config.watermarking_config is None


def test_streaming_gives_the_same_text(case: Case) -> None:
    tokens = tiny.tokenizer()
    streamer = TextIteratorStreamer(tokens)
    with case.attach():
        output = case.model.generate(**prompt(1), **SAMPLE, streamer=streamer)

    assert "".join(streamer) == tokens.decode(output[0])
    assert case.p(output[0]) < -6


REFUSED: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "default": {},
    "beam": {"num_beams": 2},
    "beam sampling": {"num_beams": 2, "do_sample": True},
    "custom loop": {"custom_generate": lambda model, **kwargs: None},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_cannot_be_marked_raises(case: Case, name: str) -> None:
    with case.attach(), pytest.raises(UnsupportedPipeline, match="not be marked"):
        case.model.generate(**prompt(), max_new_tokens=5, **REFUSED[name])

    assert case.records == []


def test_greedy_names_the_scheme_that_can(case: Case) -> None:
    with case.attach(), pytest.raises(UnsupportedPipeline, match="greenlist"):
        case.model.generate(**prompt(), do_sample=False, max_new_tokens=5)


@pytest.mark.parametrize("where", ["argument", "config", "model"])
def test_a_foreign_watermark_raises(case: Case, where: str) -> None:
    foreign = WatermarkingConfig()
    call: dict[str, Any] = dict(SAMPLE)
    if where == "argument":
        call["watermarking_config"] = foreign
    elif where == "config":
        call = {"generation_config": GenerationConfig(watermarking_config=foreign)}
    else:
        case.model.generation_config.watermarking_config = foreign
    with case.attach(), pytest.raises(UnsupportedPipeline, match="two marks"):
        case.model.generate(**prompt(), **call)


def test_warn_runs_without_a_mark_and_says_so(case: Case) -> None:
    with (
        case.attach(on_unsupported="warn"),
        pytest.warns(UserWarning, match="WITHOUT a mark"),
    ):
        case.model.generate(**prompt(), do_sample=False, max_new_tokens=5)

    assert [record.marks for record in case.records] == [(), ()]


def test_the_same_seed_and_key_give_the_same_text(case: Case) -> None:
    outputs = []
    with case.attach():
        for _ in range(2):
            torch.manual_seed(7)
            outputs.append(case.model.generate(**prompt(), **SAMPLE))

    assert torch.equal(outputs[0], outputs[1])


def test_generation_advances_the_generator_as_without_a_mark(case: Case) -> None:
    states = []
    for attached in (False, True):
        handle = case.attach() if attached else None
        torch.manual_seed(7)
        case.model.generate(
            **prompt(1), do_sample=True, min_new_tokens=30, max_length=36
        )
        states.append(torch.get_rng_state())
        if handle is not None:
            handle.detach()

    assert torch.equal(states[0], states[1])


def test_detach_restores_everything(case: Case) -> None:
    kind, before = type(case.model), dict(case.model.__dict__)
    torch.manual_seed(1)
    plain = case.model.generate(**prompt(), **SAMPLE)
    with case.attach():
        assert type(case.model) is not kind
        assert isinstance(case.model, kind)
        assert type(case.model).__name__ == kind.__name__
    torch.manual_seed(1)

    assert type(case.model) is kind
    assert case.model.__dict__ == before
    assert torch.equal(case.model.generate(**prompt(), **SAMPLE), plain)


def test_attaching_twice_raises(case: Case) -> None:
    with case.attach(), pytest.raises(AlreadyAttached):
        case.attach()


def test_a_broken_model_raises_and_records_nothing(case: Case) -> None:
    with torch.no_grad():
        case.model.lm_head.weight[5] = torch.nan
    with case.attach(), pytest.raises(InvalidSignal):
        case.model.generate(**prompt(), **SAMPLE)

    assert case.records == []


def test_logits_of_another_width_raise(case: Case) -> None:
    case.record = SCHEMES["gumbel"].record(Key.generate(), vocab_size=VOCAB + 1)
    with case.attach(), pytest.raises(VocabularyMismatch, match="1001"):
        case.model.generate(**prompt(), **SAMPLE)


def test_scores_changed_behind_the_mark_are_told(case: Case) -> None:
    """Another subclass that resamples would leave a record of a mark that is not."""

    class Resampling(type(case.model)):  # type: ignore[misc]
        def _get_logits_processor(self, *args: Any, **kwargs: Any) -> Any:
            processors = super()._get_logits_processor(*args, **kwargs)
            processors.append(Shift())
            return processors

    class Shift(LogitsProcessor):  # type: ignore[misc]  # untyped base
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return scores.roll(1, dims=1)

    case.model.__class__ = Resampling
    with case.attach(), pytest.raises(NotMarked, match="not the one the key chose"):
        case.model.generate(**prompt(), **SAMPLE)
    assert case.records == []


def test_rows_that_end_early_are_no_error(case: Case) -> None:
    """Rows that meet an end-of-sequence token of the call's own are padded."""
    enders = list(range(3, 60))
    with case.attach():
        output = case.model.generate(
            **prompt(8),
            do_sample=True,
            max_new_tokens=70,
            eos_token_id=enders,
            pad_token_id=0,
        )

    assert len(case.records) == 8
    assert (output[:, -1] == 0).any()


def test_no_secret_rides_in_the_configuration(case: Case) -> None:
    config = host.Config(case.record, b"seed")
    assert copy.deepcopy(config) is config
    assert "key" not in config.to_dict()
    assert case.record.secret._secret.hex() not in repr(config) + str(config.to_dict())
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(config)


@pytest.mark.parametrize(
    "decoding",
    [{"do_sample": False}, {"num_beams": 3}, {"do_sample": True}],
    ids=["greedy", "beam", "sampled"],
)
def test_greenlist_marks_every_decoding(green: Case, decoding: dict[str, Any]) -> None:
    torch.manual_seed(0)
    with green.attach():
        output = green.model.generate(**prompt(), max_new_tokens=120, **decoding)

    assert all(green.p(row) < -4 for row in output)
    assert all(record.marks[0].coverage > 0.9 for record in green.records)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UnsupportedPipeline, match="expected a transformers model"):
        adapter_for(object())
    with pytest.raises(UnsupportedPipeline, match="torch"):
        adapter_for(torch.nn.Linear(2, 2))


def test_nothing_is_printed_or_warned_by_a_marked_call(case: Case) -> None:
    with case.attach(), warnings.catch_warnings():
        warnings.simplefilter("error")
        case.model.generate(**prompt(), **SAMPLE)


def test_an_attribute_that_would_hide_the_mark_is_refused(case: Case) -> None:
    case.model.generate = case.model.generate
    with pytest.raises(UnsupportedPipeline, match="bypass the mark"):
        case.attach()


@pytest.mark.parametrize("name", host._BATCHED)
def test_continuous_batching_is_refused(case: Case, name: str) -> None:
    if not hasattr(case.model, name):
        pytest.skip(f"this transformers has no {name}")
    with case.attach(), pytest.raises(UnsupportedPipeline, match="continuous batching"):
        getattr(case.model, name)()


def test_a_bias_without_a_choice_is_no_coverage(green: Case) -> None:
    with green.attach(), pytest.warns(UserWarning, match="carry no mark"):
        green.model.generate(**prompt(), do_sample=True, max_new_tokens=80, top_p=1e-6)

    assert [record.marks[0].coverage for record in green.records] == [0.0, 0.0]


def test_sampling_without_randomness_warns(case: Case) -> None:
    with case.attach(), pytest.warns(UserWarning, match="carry no mark"):
        case.model.generate(**prompt(), do_sample=True, max_new_tokens=80, top_p=1e-6)


def test_a_short_output_is_not_vouched_for(case: Case) -> None:
    """Else the ledger would say "generated" of a prompt, or of every "Yes."."""
    with case.attach(decode=tiny.tokenizer()):
        case.model.generate(**prompt(), do_sample=True, max_new_tokens=3)

    assert [record.content for record in case.records] == [(), ()]


# --- what a mark says ----------------------------------------------------------------


def test_every_output_has_a_mark_id_of_its_own() -> None:
    case = marking.case(payload_bits=16, nonce_bits=0)
    with case.attach():
        for seed in (7, 7, 8):
            torch.manual_seed(seed)
            case.model.generate(**prompt(2), **SAMPLE)
    ids = [record.marks[0].mark_id for record in case.records]

    assert ids[:2] == ids[2:4]  # seeds reproduce
    assert len(set(ids)) == 4
    assert {len(mark_id) for mark_id in ids} == {2}


def test_a_payload_is_in_every_output() -> None:
    case = marking.case(seed="payload", payload_bits=16)
    with case.attach(payload=b"\x12\x34"):
        rows = case.model.generate(**prompt(2), do_sample=True, max_new_tokens=150)
    scores = [case.score(row) for row in rows]

    assert [record.marks[0].mark_id for record in case.records] == [b"\x12\x34"] * 2
    assert [score.payload for score in scores] == [b"\x12\x34"] * 2


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\0\0", "ab"])
def test_a_payload_of_another_length_raises(payload: Any) -> None:
    case = marking.case(payload_bits=16)
    with pytest.raises(UnsupportedPipeline, match="carries 2 bytes"):
        case.attach(payload=payload)


def test_a_scheme_without_room_refuses_a_payload(green: Case) -> None:
    with pytest.raises(UnsupportedPipeline, match="carries 0 bytes"):
        green.attach(payload=b"\0\0")


def test_either_half_of_a_dual_mark_is_found_by_its_key() -> None:
    case = marking.case(seed="dual", dual=1)
    public = Case(case.model, gumbel.public_record(case.record))
    with case.attach():
        rows = case.model.generate(**prompt(2), do_sample=True, max_new_tokens=150)

    assert all(case.p(row) < -6 for row in rows)
    assert all(public.p(row) < -6 for row in rows)


# --- beside a saved model ------------------------------------------------------------


def test_the_key_record_is_saved_beside_the_model(case: Case, tmp_path: Path) -> None:
    with case.attach() as attachment:
        case.model.save_pretrained(tmp_path)
        assert attachment.save(tmp_path).name == "watermark.json"
    loaded = type(case.model).from_pretrained(tmp_path)
    record = load_record(tmp_path, key=case.record.secret)
    again = Case(loaded, record)
    with again.attach():
        output = loaded.generate(**prompt(1), **SAMPLE)

    assert record == case.record
    assert case.p(output[0]) < -6
    secret = case.record.secret._secret
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        assert secret not in data
        assert secret.hex().encode() not in data
        assert file.name == "watermark.json" or case.record.kid.encode() not in data


def test_another_key_does_not_fit_a_saved_record(case: Case, tmp_path: Path) -> None:
    with case.attach() as attachment:
        attachment.save(tmp_path)
    with pytest.raises(WeakKey, match="names key"):
        load_record(tmp_path, key=Key.generate())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 50_000, b" " * 100_000, None],
    ids=["empty", "half", "list", "no schema", "bytes", "deep", "large", "absent"],
)
def test_a_broken_record_file_is_told(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "watermark.json").write_bytes(content)
    with pytest.raises(KeyFileError):
        load_record(tmp_path)
