"""The llama.cpp host: its processors on arrays, and a real `Llama` if there is one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from watermark.assets.text import digest, tokens_digest
from watermark.detectors import greenlist as greenlist_detector
from watermark.detectors import gumbel as gumbel_detector
from watermark.errors import (
    AlreadyAttached,
    InvalidSignal,
    NotMarked,
    UnsupportedPipeline,
    VocabularyMismatch,
)
from watermark.keys import Key, KeyRecord
from watermark.pipelines import llama_cpp as host
from watermark.pipelines import llama_cpp_processors as processors
from watermark.record import Record
from watermark.schemes import SCHEMES

VOCAB = 300
KEY = Key(hashlib.sha256(b"llama.cpp").digest())
GUMBEL = SCHEMES["gumbel"].record(KEY, vocab_size=VOCAB)
GREEN = SCHEMES["greenlist"].record(KEY, vocab_size=VOCAB, delta=4.0)
PROMPT = [5, 6, 7, 8, 9, 10]

# --- processors: numpy in, numpy out -------------------------------------------------


def decode(
    processor: Any, sampling: processors.Sampling, tokens: int, seed: int = 1
) -> list[int]:
    """A decoding loop as llama.cpp runs it: our processor first, then the chain."""
    rng = np.random.default_rng(seed)
    ids = np.array(PROMPT, dtype=np.intc)
    for _ in range(tokens):
        logits = 2 * rng.standard_normal(VOCAB, dtype=np.float32)
        row = sampling.apply(np.asarray(processor(ids, logits))).astype(np.float64)
        p = np.exp(row - row.max())
        token = rng.choice(VOCAB, p=p / p.sum())
        processor.check(int(token))
        ids = np.append(ids, np.intc(token))
    return [int(token) for token in ids[len(PROMPT) :]]


def test_gumbel_on_arrays_is_found() -> None:
    sampling = processors.Sampling(temperature=0.9)
    processor = processors.GumbelProcessor(GUMBEL, sampling, seed=b"1")
    output = decode(processor, sampling, 120)

    assert gumbel_detector.score(output, GUMBEL).log10_p() < -6
    assert processor.coverage > 0.8
    other = SCHEMES["gumbel"].record(Key.generate())
    assert gumbel_detector.score(output, other).log10_p() > -6


def test_greenlist_on_arrays_is_found() -> None:
    processor = processors.GreenlistProcessor(GREEN)
    output = decode(processor, processors.Sampling(), 150)

    assert greenlist_detector.score(output, GREEN).log10_p() < -6
    assert processor.coverage == pytest.approx(146 / 150)


def test_the_seed_reproduces_and_another_differs() -> None:
    sampling = processors.Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    outputs = [
        decode(processors.GumbelProcessor(GUMBEL, sampling, seed=seed), sampling, 40)
        for seed in (b"1", b"1", b"3")
    ]

    assert outputs[0] == outputs[1] != outputs[2]


def test_a_payload_rides_in_the_choice() -> None:
    record = SCHEMES["gumbel"].record(KEY, payload_bits=16, nonce_bits=0)
    sampling = processors.Sampling(temperature=1.0)
    outputs = [
        decode(
            processors.GumbelProcessor(record, sampling, seed=b"1", payload=payload),
            sampling,
            60,
        )
        for payload in (b"\x01\x02", b"\x01\x02", b"\x01\x03")
    ]

    assert outputs[0] == outputs[1] != outputs[2]


def test_what_is_sampled_keeps_the_models_distribution() -> None:
    """Over random keys, the chosen token is distributed as the truncated softmax."""
    sampling = processors.Sampling(temperature=0.7, top_k=6, top_p=0.97, min_p=0.02)
    logits = np.zeros(VOCAB, dtype=np.float32)
    logits[:9] = np.linspace(4, 0, 9, dtype=np.float32)
    row = sampling.apply(logits)
    expected = np.exp(row.astype(np.float64))
    expected /= expected.sum()
    ids = np.array(PROMPT, dtype=np.intc)
    context = np.append(ids, np.arange(4, dtype=np.intc))
    counts, draws = np.zeros(VOCAB), 3000
    for draw in range(draws):
        key = Key(hashlib.sha256(b"draw %d" % draw).digest())
        record = SCHEMES["gumbel"].record(key)
        processor = processors.GumbelProcessor(record, sampling, seed=b"")
        processor._spent = 100.0  # past the fresh prefix
        processor(ids, logits)
        counts[int(np.argmax(processor(context, logits)))] += 1
    kept = expected > 0
    deviation = (counts[kept] - draws * expected[kept]) ** 2 / (draws * expected[kept])

    assert counts[~kept].sum() == 0
    assert kept.sum() == 6
    assert deviation.sum() < 25.7  # chi-square with 5 degrees of freedom at 1e-4


def test_truncation_is_llama_cpps_worked_example() -> None:
    p = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    logits = np.log(p).astype(np.float32)

    def kept(**settings: float) -> list[int]:
        off: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0}
        out = processors.Sampling(**{**off, **settings}).apply(logits)
        return [int(token) for token in np.flatnonzero(out > -np.inf)]

    assert kept() == [0, 1, 2, 3, 4]
    assert kept(top_k=2) == [0, 1]
    assert kept(top_p=0.7) == [0, 1]
    assert kept(top_p=0.76) == [0, 1, 2]
    assert kept(top_p=0.0) == [0]
    assert kept(min_p=0.2) == [0, 1, 2]
    assert kept(min_p=0.2, temperature=9.0) == [0, 1, 2]  # temperature comes last
    assert kept(top_k=3, top_p=0.8) == [0, 1]  # 0.75 / 0.9 of what top-k left


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_a_nucleus_of_a_large_vocabulary_is_the_sorted_one(scale: float) -> None:
    """Flat: the nucleus is most of the vocabulary; peaked: a small part of it."""
    rng = np.random.default_rng(3)
    logits = (scale * rng.standard_normal(5000)).astype(np.float32)
    out = processors.Sampling(temperature=1.0, top_k=0, top_p=0.8, min_p=0).apply(
        logits
    )
    order = np.argsort(-logits)
    mass = np.cumsum(np.exp(logits[order].astype(np.float64)))
    size = int(np.sum(mass < 0.8 * mass[-1])) + 1

    assert {*np.flatnonzero(out > -np.inf)} == {*order[:size]}
    assert (size > processors.FEW) == (scale < 1)


BROKEN: dict[str, float] = {"NaN": np.nan, "+inf": np.inf}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_logits_raise_and_are_remembered(name: str) -> None:
    processor = processors.GumbelProcessor(GUMBEL, processors.Sampling(), seed=b"1")
    logits = np.zeros(VOCAB, dtype=np.float32)
    logits[3] = BROKEN[name]
    with pytest.raises(InvalidSignal):
        processor(np.array(PROMPT, dtype=np.intc), logits)
    with pytest.raises(InvalidSignal):
        processor.check()


def test_logits_of_another_width_raise() -> None:
    processor = processors.GreenlistProcessor(GREEN)
    with pytest.raises(VocabularyMismatch, match="300"):
        processor(np.array(PROMPT, dtype=np.intc), np.zeros(299, dtype=np.float32))


def test_a_processor_is_for_one_sequence() -> None:
    processor = processors.GreenlistProcessor(GREEN)
    ids = np.array(PROMPT, dtype=np.intc)
    processor(ids, np.zeros(VOCAB, dtype=np.float32))
    with pytest.raises(NotMarked, match="one sequence"):
        processor(ids, np.zeros(VOCAB, dtype=np.float32))


def test_a_step_that_was_skipped_is_told() -> None:
    processor = processors.GreenlistProcessor(GREEN)
    with pytest.raises(NotMarked, match="without calling"):
        processor.check()
    processor(np.array(PROMPT, dtype=np.intc), np.zeros(VOCAB, dtype=np.float32))
    processor.check(3)
    with pytest.raises(NotMarked, match="without calling"):
        processor.check(4)


def test_a_token_the_key_did_not_choose_is_told() -> None:
    processor = processors.GumbelProcessor(GUMBEL, processors.Sampling(), seed=b"1")
    processor._spent = 100.0  # past the fresh prefix
    ids, logits = np.arange(6, dtype=np.intc), np.zeros(VOCAB, dtype=np.float32)
    processor(ids[:1], logits)  # the prompt
    chosen = int(np.argmax(processor(ids, logits)))
    with pytest.raises(NotMarked, match="the key chose"):
        processor.check(chosen + 1)


def test_the_nonce_follows_the_generators_seed() -> None:
    seeded, unseeded = SimpleNamespace(_seed=11), SimpleNamespace(_seed=0xFFFFFFFF)

    assert host._seed(seeded) == host._seed(seeded)
    assert host._seed(unseeded) != host._seed(unseeded)


def test_no_temperature_is_no_choice() -> None:
    with pytest.raises(UnsupportedPipeline, match="greenlist"):
        processors.Sampling(temperature=0.0)


def test_no_secret_is_shown() -> None:
    processor = processors.GumbelProcessor(GUMBEL, processors.Sampling(), seed=b"1")

    assert KEY._secret.hex() not in repr(processor)


REFUSED_RECORDS: dict[str, tuple[KeyRecord, bytes | None]] = {
    "another scheme": (SCHEMES["tournament"].record(KEY), None),
    "payload": (GUMBEL, b"12"),
}


@pytest.mark.parametrize("name", REFUSED_RECORDS)
def test_what_this_host_cannot_write_is_refused(name: str) -> None:
    record, payload = REFUSED_RECORDS[name]
    with pytest.raises(UnsupportedPipeline):
        host.attach(object(), record, print, provider="Acme", payload=payload)


# --- a real Llama --------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of one layer with random weights and 256 byte tokens, as GGUF."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    rng = np.random.default_rng(0)
    width, hidden = 32, 64
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_vocab_size(VOCAB)
    special = [b"<unk>", b"<s>", b"</s>"]
    bytes_ = [b"<0x%02X>" % byte for byte in range(256)]
    rest = [b"w%d" % word for word in range(VOCAB - 259)]
    kinds = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_token_list(special + bytes_ + rest)
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types(
        [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
        + [kinds.BYTE] * 256
        + [kinds.NORMAL] * len(rest)
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd": (VOCAB, width),
        "output_norm": (width,),
        "output": (VOCAB, width),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (hidden, width),
        "blk.0.ffn_up": (hidden, width),
        "blk.0.ffn_down": (width, hidden),
    }
    for name, shape in shapes.items():
        weight = 0.4 * rng.standard_normal(shape)
        if len(shape) == 1:
            weight = np.ones(shape)
        if name == "output":
            weight[2] = 0.0  # the end comes rarely
        writer.add_tensor(f"{name}.weight", weight.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass
class Case:
    model: Any
    record: KeyRecord
    records: list[Record] = field(default_factory=list)
    on_sink: Callable[[], None] = lambda: None

    def sink(self, records: Sequence[Record], outputs: Sequence[Any]) -> None:
        self.on_sink()
        self.records.extend(records)

    def attach(self, **more: Any) -> Any:
        return host.attach(self.model, self.record, self.sink, provider="Acme", **more)

    def generate(self, tokens: int = 120, **call: Any) -> list[int]:
        """`tokens` tokens of the marked generator, which is then closed."""
        stream = self.model.generate(PROMPT, **{"temp": 1.0, **call})
        output = [token for token, _ in zip(stream, range(tokens), strict=False)]
        stream.close()
        return output

    def p(self, ids: Sequence[int]) -> float:
        gumbel = self.record.scheme == "gumbel"
        detector = gumbel_detector if gumbel else greenlist_detector
        return float(detector.score(ids, self.record).log10_p())


@pytest.fixture
def case(model_path: Path) -> Iterator[Case]:
    from llama_cpp import Llama

    model = Llama(str(model_path), n_ctx=512, n_threads=1, seed=11, verbose=False)
    yield Case(model, GUMBEL)
    model.close()


@pytest.fixture
def green(case: Case) -> Case:
    case.record = GREEN
    return case


def test_a_real_model_is_marked_and_recorded(case: Case) -> None:
    with case.attach() as attachment:
        output = case.generate()

    assert case.p(output) < -6
    (record,) = case.records
    assert attachment.records == [record]
    assert record.marks[0].coverage > 0.8
    assert record.marks[0].key_id == KEY.kid
    assert record.model == "tiny.gguf"
    assert tokens_digest(output) in record.content


CALLS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "hot": {"temp": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    "nucleus": {"temp": 0.9, "top_k": 100, "top_p": 0.9, "min_p": 0.01},
    "own processor": {"logits_processor": [lambda ids, scores: scores * 0.9]},
}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_caller_passes_cannot_lose_the_mark(case: Case, name: str) -> None:
    with case.attach():
        output = case.generate(**CALLS[name])

    assert case.p(output) < -6
    assert len(case.records) == 1


@pytest.mark.parametrize("temp", [0.0, 0.8])
def test_greenlist_marks_greedy_and_sampled(green: Case, temp: float) -> None:
    with green.attach():
        output = green.generate(150, temp=temp, repeat_penalty=1.3)

    assert green.p(output) < -4
    assert green.records[0].marks[0].coverage > 0.9


def test_completion_chat_and_stream_are_marked(case: Case) -> None:
    settings: dict[str, Any] = {"max_tokens": 100, "temperature": 1.2, "top_k": 0}
    message = {"role": "user", "content": "Say something."}
    with case.attach() as attachment:
        plain = case.model("Once upon a time", **settings)
        chat = case.model.create_chat_completion([message], **settings)
        pieces = list(case.model("Once upon a time", stream=True, **settings))
    said = [
        plain["choices"][0]["text"],
        chat["choices"][0]["message"]["content"],
        "".join(piece["choices"][0]["text"] for piece in pieces),
    ]

    assert attachment.records == case.records
    assert [record.marks[0].coverage > 0.8 for record in case.records] == [True] * 3
    for text, record in zip(said, case.records, strict=True):
        assert digest(text) in record.content


def test_the_row_is_durable_before_a_completion_returns(case: Case) -> None:
    """Also where a stop string ends the loop, and closes our generator, early."""

    def fail() -> None:
        raise OSError("the disk is full")

    case.on_sink = fail
    with case.attach(), pytest.raises(OSError, match="disk is full"):
        case.model("Once upon", max_tokens=20, temperature=1.0)


def test_a_stream_that_is_left_early_is_recorded(case: Case) -> None:
    with case.attach():
        stream = case.model("Once", max_tokens=60, temperature=1.0, stream=True)
        for _ in range(20):
            next(stream)
        stream.close()

    assert len(case.records) == 1


def test_logit_bias_cannot_drop_the_mark(case: Case) -> None:
    """llama-cpp-python loses its own list of processors where both are given."""
    from llama_cpp import LogitsProcessorList

    with case.attach():
        case.model(
            "Once",
            max_tokens=100,
            temperature=1.2,
            logit_bias={2: -100.0},
            logits_processor=LogitsProcessorList([lambda ids, scores: scores]),
        )

    assert case.records[0].marks[0].coverage > 0.8


REFUSED: dict[str, dict[str, Any]] = {
    "greedy": {"temp": 0.0},
    "negative temperature": {"temp": -1.0},
    "one candidate": {"top_k": 1},
    "repeat penalty": {"repeat_penalty": 1.1},
    "presence penalty": {"presence_penalty": 0.5},
    "typical": {"typical_p": 0.9},
    "mirostat": {"mirostat_mode": 2},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_cannot_be_marked_raises(case: Case, name: str) -> None:
    with case.attach(), pytest.raises(UnsupportedPipeline, match="not be marked"):
        case.generate(5, **REFUSED[name])

    assert case.records == []


def test_a_grammar_is_refused_and_greenlist_takes_it(case: Case) -> None:
    from llama_cpp import LlamaGrammar

    grammar = LlamaGrammar.from_string('root ::= ("a" | "b")+')
    with case.attach(), pytest.raises(UnsupportedPipeline, match="grammar"):
        case.model("Once", max_tokens=5, grammar=grammar)
    case.record = GREEN
    with case.attach():
        said = case.model("Once", max_tokens=30, grammar=grammar)["choices"][0]["text"]

    assert set(said) <= {"a", "b"}
    assert len(case.records) == 1


def test_a_draft_model_is_refused(green: Case) -> None:
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    green.model.draft_model = LlamaPromptLookupDecoding()
    with green.attach(), pytest.raises(UnsupportedPipeline, match="draft"):
        green.generate(5)


def test_sample_by_itself_is_refused(case: Case) -> None:
    with case.attach():
        case.model.eval(PROMPT)
        with pytest.raises(UnsupportedPipeline, match="by itself"):
            case.model.sample()


def test_warn_runs_without_a_mark_and_says_so(case: Case) -> None:
    with case.attach(on_unsupported="warn"), pytest.warns(UserWarning, match="WITHOUT"):
        case.generate(12, temp=0.0)

    assert [record.marks for record in case.records] == [()]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_processor_that_fails_before_ours_is_told(case: Case) -> None:
    """ctypes prints the error and llama.cpp samples on, without a mark."""

    def fails(ids: Any, scores: Any) -> Any:
        if len(ids) == len(PROMPT) + 30:
            raise RuntimeError("a bug of the caller's own")
        return scores

    with case.attach(), pytest.raises(NotMarked, match="without calling"):
        case.generate(60, logits_processor=[fails])

    assert case.records == []


def test_broken_logits_stop_the_generation(case: Case) -> None:
    def breaks(ids: Any, scores: Any) -> Any:
        return np.full_like(scores, np.nan) if len(ids) > 60 else scores

    with case.attach(), pytest.raises(InvalidSignal):
        case.generate(120, logits_processor=[breaks])

    assert case.records == []


def test_seeds_reproduce_and_detach_restores(case: Case) -> None:
    kind, before = type(case.model), set(vars(case.model))
    settings: dict[str, Any] = {"max_tokens": 60, "temperature": 1.0, "seed": 4}

    def said() -> str:
        return str(case.model("Once upon", **settings)["choices"][0]["text"])

    plain = said()
    with case.attach():
        assert isinstance(case.model, kind)
        marked = [said(), said()]
        with pytest.raises(AlreadyAttached):
            case.attach()

    assert marked[0] == marked[1] != plain
    assert type(case.model) is kind
    assert set(vars(case.model)) == before
    assert said() == plain


def test_truncation_is_llama_cpps_own(case: Case) -> None:
    """The support that `Sampling` leaves equals that of llama.cpp's samplers."""
    import llama_cpp

    rng = np.random.default_rng(2)
    cases: list[dict[str, Any]] = [{}, {"top_p": 0.8}, {"min_p": 0.2}]
    for settings in cases:
        top_k = 0 if settings else 40
        sampling = processors.Sampling(temperature=0.7, top_k=top_k, **settings)
        chain = case.model._init_sampler(
            temp=0.7, top_k=sampling.top_k, top_p=sampling.top_p, min_p=sampling.min_p
        )
        for _ in range(20):
            logits = 2 * rng.standard_normal(VOCAB).astype(np.float32)
            data = (llama_cpp.llama_token_data * VOCAB)(
                *(
                    llama_cpp.llama_token_data(id=i, logit=logit, p=0.0)
                    for i, logit in enumerate(logits.tolist())
                )
            )
            array = llama_cpp.llama_token_data_array(
                data=data, size=VOCAB, selected=-1, sorted=False
            )
            llama_cpp.llama_sampler_apply(chain.sampler, array)
            theirs = {data[i].id: data[i].logit for i in range(array.size)}
            ours = sampling.apply(logits)
            tokens = {int(token) for token in np.flatnonzero(ours > -np.inf)}
            assert tokens == set(theirs)
            for token, logit in theirs.items():
                assert ours[token] == pytest.approx(logit, rel=1e-6)
