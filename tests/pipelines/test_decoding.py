"""Every way that transformers decodes, on its real loops: marked, or refused."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from tests.pipelines import tiny
from tests.pipelines.marking import PROMPT, SAMPLE, VOCAB, Case, assistant, case, prompt
from transformers import (
    CompileConfig,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TextIteratorStreamer,
    TextStreamer,
    pipeline,
)

from watermark.errors import InvalidSignal, UnsupportedPipeline, VocabularyMismatch
from watermark.pipelines import adapter_for

SCHEMES = pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])


def strong(scheme: str) -> Case:
    """A mark that 70 tokens show beyond doubt."""
    more = {"delta": 4.0} if scheme == "greenlist" else {}
    return case(scheme, seed=scheme, **more)


def generated(marked: Case, **call: Any) -> torch.Tensor:
    """New tokens of one call under one seed, (rows, length)."""
    torch.manual_seed(7)
    rows: torch.Tensor = marked.model.generate(**({"pad_token_id": 0} | call))
    return rows[:, PROMPT:]


# --- assisted decoding ---------------------------------------------------------------

DRAFTS: dict[str, Any] = {
    "assistant": lambda model: {"assistant_model": assistant(model)},
    "prompt lookup": lambda model: {"prompt_lookup_num_tokens": 4},
}


@pytest.mark.parametrize("drafts", DRAFTS)
@SCHEMES
def test_drafts_are_marked_as_plain_sampling_is(scheme: str, drafts: str) -> None:
    marked = strong(scheme)
    more = DRAFTS[drafts](marked.model)
    with marked.attach():
        [row] = generated(marked, **prompt(1), **SAMPLE, **more)

    assert marked.p(row) < -5
    assert marked.records[0].marks[0].coverage > 0.85


@pytest.mark.parametrize("drafts", DRAFTS)
def test_greedy_drafts_change_nothing(drafts: str) -> None:
    marked = strong("greenlist")
    greedy = {"do_sample": False, "max_new_tokens": 70}
    more = DRAFTS[drafts](marked.model)
    with marked.attach():
        plain = generated(marked, **prompt(1), **greedy)
        drafted = generated(marked, **prompt(1), **greedy, **more)

    assert torch.equal(drafted, plain)
    assert marked.records[0].marks == marked.records[1].marks


def test_keyed_drafts_are_accepted_more_often() -> None:
    """Draft and model take the same keyed noise, so they mostly choose alike."""
    marked = strong("gumbel")
    draft, forwards = assistant(marked.model), []
    marked.model.register_forward_hook(lambda *_: forwards.append(1))
    call = {**SAMPLE, "max_new_tokens": 100, "assistant_model": draft}
    generated(marked, **prompt(1), **call)
    unmarked = len(forwards)
    with marked.attach():
        generated(marked, **prompt(1), **call)

    assert len(forwards) - unmarked < unmarked


def test_prompt_lookup_proposes_drafts() -> None:
    """Our processor must not be asked, with made-up scores, what it forbids."""
    marked = strong("gumbel")
    widths: list[int] = []
    marked.model.register_forward_pre_hook(
        lambda _, __, call: widths.append(call["input_ids"].shape[1]), with_kwargs=True
    )
    few = list(range(3, 13))  # so that what is said was nearly always said before
    with marked.attach():
        [row] = generated(
            marked,
            **prompt(1),
            **SAMPLE,
            prompt_lookup_num_tokens=5,
            prefix_allowed_tokens_fn=lambda *_: few,
        )

    assert sum(width > 1 for width in widths) > 30
    assert marked.p(row) < -3


REFUSED: dict[str, Any] = {
    "ensemble": lambda model: {
        "assistant_model": assistant(model),
        "assistant_ensemble_weight": 0.5,
    },
    "early exit": lambda model: {"assistant_early_exit": 1},
    "another tokenizer": lambda model: {
        "assistant_model": assistant(model),
        "tokenizer": tiny.tokenizer(),
        "assistant_tokenizer": tiny.tokenizer(),
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_drafts_that_would_cost_the_mark_raise(name: str) -> None:
    marked = strong("greenlist")
    call = REFUSED[name](marked.model)
    with marked.attach(), pytest.raises(UnsupportedPipeline, match="not be marked"):
        marked.model.generate(**prompt(1), **SAMPLE, **call)

    assert marked.records == []


def test_an_attached_assistant_is_refused() -> None:
    marked, other = strong("greenlist"), strong("gumbel")
    with (
        marked.attach(),
        other.attach(),
        pytest.raises(UnsupportedPipeline, match="assistant model is attached"),
    ):
        marked.model.generate(**prompt(1), **SAMPLE, assistant_model=other.model)


# --- caches, compilers, number formats -----------------------------------------------


@SCHEMES
def test_a_static_cache_gives_the_same_text(scheme: str) -> None:
    marked = strong(scheme)
    with marked.attach():
        dynamic = generated(marked, **prompt(), **SAMPLE)
        marked.model.generation_config.cache_implementation = "static"
        static = generated(marked, **prompt(), **SAMPLE)

    assert torch.equal(dynamic, static)
    assert all(marked.p(row) < -5 for row in static)


def test_a_compiled_model_is_marked() -> None:
    """Traced by dynamo and run as it is: what the compiler makes is not our subject."""
    marked = strong("gumbel")
    call = {"do_sample": True, "max_new_tokens": 30, "cache_implementation": "static"}
    config = CompileConfig(backend="eager", fullgraph=False, mode=None)
    config._compile_all_devices = True  # else transformers compiles on a GPU only
    with marked.attach():
        plain = generated(marked, **prompt(), **call)
        compiled = generated(marked, **prompt(), **call, compile_config=config)
    torch.compiler.reset()

    assert torch.equal(compiled, plain)
    assert all(record.marks[0].coverage > 0.8 for record in marked.records)


def test_a_wrapper_of_the_compiler_names_the_model_inside() -> None:
    with pytest.raises(UnsupportedPipeline, match="_orig_mod"):
        adapter_for(torch.compile(strong("gumbel").model, backend="eager"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@SCHEMES
def test_half_precision_is_marked(scheme: str, dtype: torch.dtype) -> None:
    marked = strong(scheme)
    marked.model.to(dtype)
    with marked.attach():
        rows = generated(marked, **prompt(), **SAMPLE)

    assert all(marked.p(row) < -5 for row in rows)


# --- streamers and pipelines ---------------------------------------------------------


def test_a_text_streamer_prints_the_marked_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    marked, tokens = strong("gumbel"), tiny.tokenizer()
    with marked.attach():
        [row] = generated(
            marked,
            **prompt(1),
            **SAMPLE,
            streamer=TextStreamer(tokens, skip_prompt=True),
        )

    assert capsys.readouterr().out.split() == tokens.decode(row).split()
    assert marked.p(row) < -6


def test_a_streamer_is_read_while_another_thread_generates() -> None:
    marked, tokens = strong("gumbel"), tiny.tokenizer()
    streamer = TextIteratorStreamer(tokens, timeout=60)
    rows: list[torch.Tensor] = []
    with marked.attach():
        call = {**prompt(1), **SAMPLE, "streamer": streamer}
        thread = threading.Thread(target=lambda: rows.extend(generated(marked, **call)))
        thread.start()
        text = "".join(streamer)
        thread.join()

    assert text.endswith(tokens.decode(rows[0]))
    assert marked.p(rows[0]) < -6


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_text_generation_pipeline_is_marked(made: str) -> None:
    """It keeps a generation config of its own, and hands that to the model."""
    marked = strong("gumbel")

    def build() -> Any:
        return pipeline(
            "text-generation", model=marked.model, tokenizer=tiny.tokenizer(100)
        )

    generate = build() if made == "before" else None
    with marked.attach():
        generate = generate or build()
        [[found]] = generate(["a photo of a lighthouse"], **SAMPLE, return_tensors=True)

    assert marked.p(found["generated_token_ids"]) < -6
    assert len(marked.records) == 1


# --- rows ----------------------------------------------------------------------------


@SCHEMES
def test_rows_that_end_at_different_steps_are_marked(scheme: str) -> None:
    marked = strong(scheme)
    call = SAMPLE | {"max_new_tokens": 200, "min_new_tokens": 40}
    with marked.attach():
        rows = generated(marked, **prompt(8), **call, eos_token_id=list(range(3, 30)))
    lengths = [len(row[: int((row != 0).nonzero().max()) + 1]) for row in rows]

    assert len(set(lengths)) > 3
    assert min(lengths) >= 40
    for row, length, record in zip(rows, lengths, marked.records, strict=True):
        assert marked.p(row[:length]) < -3
        assert record.marks[0].coverage == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("returned", [1, 3])
def test_every_beam_that_is_returned_is_marked(returned: int) -> None:
    marked = strong("greenlist")
    with marked.attach():
        rows = generated(
            marked,
            **prompt(2),
            max_new_tokens=90,
            num_beams=3,
            num_return_sequences=returned,
        )

    assert rows.shape[0] == 2 * returned
    assert all(marked.p(row) < -4 for row in rows)
    assert all(record.marks[0].coverage > 0.9 for record in marked.records)


def test_raw_logits_stay_the_models() -> None:
    """The processor writes over its scores, but not over what the caller asked for."""
    marked = strong("gumbel")
    config = GenerationConfig(
        **SAMPLE,
        pad_token_id=0,
        top_k=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    with marked.attach():
        output = marked.model.generate(**prompt(1), generation_config=config)

    assert torch.isfinite(torch.stack(output.logits)).all()


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-1, VOCAB, 2**40])
def test_ids_outside_the_vocabulary_raise(wrong: int) -> None:
    marked = strong("gumbel")
    ids = prompt(1)["input_ids"]
    ids[0, 2] = wrong
    with marked.attach(), pytest.raises(VocabularyMismatch, match="holds ids"):
        marked.model.generate(ids, **SAMPLE)

    assert marked.records == []


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@SCHEMES
def test_scores_that_cannot_be_sampled_raise(scheme: str, value: float) -> None:
    class Broken(LogitsProcessor):  # type: ignore[misc]  # untyped base
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return scores if input_ids.shape[1] < 20 else scores + value

    marked = strong(scheme)
    call = SAMPLE | {"logits_processor": LogitsProcessorList([Broken()])}
    with marked.attach(), pytest.raises(InvalidSignal):
        marked.model.generate(**prompt(2), **call)

    assert marked.records == []
