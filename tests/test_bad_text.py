"""Text that is no text, ids that are no ids, rows that are no logits.

Each is a verdict or a typed error: through `Watermark.verify`, ``wm verify`` and
`generate`, in bounded time and memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.pipelines.tiny import language_model
from tests.toys import VOCABULARY, text_of, words
from watermark.api import Watermark
from watermark.assets import TEXT_BYTES
from watermark.assets.loading import Tokens
from watermark.errors import InvalidSignal, UnsupportedFormat, VocabularyMismatch
from watermark.keys import Key
from watermark.report import Report, Verdict
from watermark.schemes import SCHEMES, default_records

NOTHING = (Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)
EFFORTS = ("quick", "normal", "thorough")
SECONDS, BYTES = 60, 4 << 30  # that a line of ten megabytes may take
LINE = 10_000_000
IDS = [5, 6, 7, 8, 9, 10, 11, 12]


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watermark]:
    made = Watermark.create(tmp_path_factory.mktemp("w") / "home", provider="Acme")
    yield made
    made.home.ledger.close()


@pytest.fixture(scope="module")
def byte_pairs() -> Any:
    """A tokenizer as language models have them: any text at all is tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["aaaaaaaa the other one"], trainer)
    return tokenizer


def judged(report: Report) -> None:
    """Nothing was found, and something is said of why."""
    assert report.verdict in NOTHING
    assert report.reasons
    assert all(e.log10_p is None or e.log10_p > -6 for e in report.evidence)
    json.loads(report.to_json())


# --- text ----------------------------------------------------------------------------

TEXTS = {
    "empty": "",
    "nothing but spaces": " " * 1000,
    "NUL": "\0",
    "NULs": "w1 \0 w2" * 300,
    "lone surrogate": "\ud800",
    "surrogates in text": "w1 w2 \udcff\ud800 w3 " * 300,
    "pair in the wrong order": "\udc00\ud800",
    "last code point": "\U0010ffff" * 300,
    "marks without a base": "\u0301" * 100_000,
    "look-alikes without end": "раssword" * 10_000,  # noqa: RUF001
    "invisible": "a\u200b" * 50_000,
    "bidi": "\u202e\u2066" * 50_000,
    "no line ends": "w1" * 100_000,
    "only line ends": "\r\n\u2028" * 50_000,
}


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", TEXTS)
def test_any_text_is_a_verdict(
    w: Watermark, byte_pairs: Any, name: str, effort: str
) -> None:
    judged(w.verify(TEXTS[name], tokenizer=byte_pairs, effort=effort))


def test_a_surrogate_says_where_it_is(w: Watermark) -> None:
    report = w.verify("w1 \ud800", tokenizer=words())

    [reason] = [r for r in report.reasons if r.code == "unreadable"]
    assert "character 3" in reason.detail


@pytest.mark.parametrize("form", [str, str.encode], ids=["text", "bytes"])
def test_a_text_over_the_limit_is_not_read(
    w: Watermark, byte_pairs: Any, form: Callable[[str], Any]
) -> None:
    """However it is handed over; what is as large as the limit is read."""
    start = time.process_time()
    report = w.verify(form("é" * (TEXT_BYTES // 2 + 1)), tokenizer=byte_pairs)

    assert time.process_time() - start < 10
    assert "unreadable" in {r.code for r in report.reasons}
    assert report.verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("prompt", ["\0", "\ud800", "", "w1 " * 50_000])
def test_any_prompt_is_a_verdict_or_told(w: Watermark, prompt: str) -> None:
    text = text_of(IDS * 20)
    if "\ud800" in prompt:
        with pytest.raises(InvalidSignal, match="surrogate"):
            w.verify(text, tokenizer=words(), prompt=prompt)
        return
    judged(w.verify(text, tokenizer=words(), prompt=prompt))


# --- the command, on a line of ten megabytes ------------------------------------------


@pytest.fixture(scope="module")
def folder(
    w: Watermark, byte_pairs: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tokenizer, and the files that the command is given."""
    made = tmp_path_factory.mktemp("files")
    byte_pairs.save(str(made / "tokenizer.json"))
    (made / "line.txt").write_bytes(b"a" * LINE)
    (made / "surrogate.txt").write_bytes(b"w1 \xed\xa0\x80 w2")
    (made / "nul.txt").write_bytes(b"w1 \0 w2")
    (made / "empty.txt").write_bytes(b"")
    (made / "token.txt").write_text("a" * 100_000)
    return made


def test_the_command_judges_every_bad_file_within_bounds(
    w: Watermark, folder: Path
) -> None:
    """All of them in one call: none keeps the others from a verdict."""
    names = sorted(str(file) for file in folder.glob("*.txt"))
    start = time.monotonic()
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "watermark", "verify", *names, "--json"),
            *("--home", str(w.home.path), "--tokenizer", str(folder)),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES)),
    )

    assert ran.returncode == 0, ran.stderr
    assert time.monotonic() - start < SECONDS
    found = json.loads(ran.stdout)
    assert len(found) == len(names)
    assert {row["verdict"] for row in found} <= {str(v) for v in NOTHING}
    assert "Traceback" not in ran.stderr


# --- ids -----------------------------------------------------------------------------


def nested(depth: int) -> list[Any]:
    found: list[Any] = [1]
    for _ in range(depth):
        found = [found]
    return found


def endless() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


class Hostile:
    """An array that raises what no array should."""

    def __array__(self, *args: Any, **more: Any) -> Any:
        raise LookupError("no array")


NO_IDS: dict[str, Callable[[], Any]] = {
    "negative": lambda: [1, -2],
    "33 bits": lambda: [1 << 32],
    "65 bits": lambda: [1 << 64],
    "below 64 bits": lambda: [-(1 << 70)],
    "of both signs of 64 bits": lambda: [1 << 63, -1],
    "floats": lambda: [1.5, 2.0],
    "whole floats": lambda: np.asarray([1.0, 2.0]),
    "NaN": lambda: [float("nan")] * 9,
    "infinite": lambda: np.asarray([np.inf]),
    "bools": lambda: [True, False],
    "array of bools": lambda: np.ones(9, dtype=bool),
    "strings": lambda: ["5", "6"],
    "numbers and strings": lambda: [5, "6"],
    "none": lambda: [None],
    "objects": lambda: np.asarray([5, 6], dtype=object),
    "complex": lambda: np.asarray([1j]),
    "dates": lambda: np.asarray(["2026-01-01"], dtype="M8[D]"),
    "lists of two lengths": lambda: [[1], [2, 3]],
    "two rows": lambda: [[1, 2], [3, 4]],
    "deep": lambda: nested(100_000),
    "endless": endless,
    "one number": lambda: Tokens(5),  # type: ignore[arg-type]
    "text": lambda: Tokens("w1 w2"),  # type: ignore[arg-type]
    "nothing": lambda: Tokens(None),  # type: ignore[arg-type]
    "hostile": lambda: Tokens(Hostile()),  # type: ignore[arg-type]
    "tensor of floats": lambda: torch.ones(9),
    "tensor of bfloat16": lambda: torch.ones(9, dtype=torch.bfloat16),
    "tensor with a gradient": lambda: torch.ones(9, requires_grad=True),
    "sparse tensor": lambda: torch.ones(9).to_sparse(),
    "tensor without data": lambda: torch.ones(9, dtype=torch.int64, device="meta"),
    "list of tensors without data": lambda: [
        torch.ones(1, dtype=torch.int64, device="meta")
    ],
}


@pytest.mark.parametrize("name", NO_IDS)
def test_what_is_no_id_is_told(w: Watermark, name: str) -> None:
    with pytest.raises(UnsupportedFormat):
        w.verify(NO_IDS[name](), tokenizer=words())


@pytest.mark.parametrize("name", NO_IDS)
def test_what_is_no_prompt_is_told(w: Watermark, name: str) -> None:
    prompt: Any = NO_IDS[name]()
    prompt = prompt.ids if isinstance(prompt, Tokens) else prompt
    if isinstance(prompt, str):
        pytest.skip("a prompt may be text")
    with pytest.raises(UnsupportedFormat):
        w.verify([1, 2, 3], tokenizer=words(), prompt=prompt)


@pytest.mark.parametrize("effort", EFFORTS)
def test_ids_outside_the_vocabulary_are_a_verdict(w: Watermark, effort: str) -> None:
    """No record of these texts can have made them, and none of the bounds is passed."""
    records = [
        SCHEMES[name].record(_key(0), vocab_size=VOCABULARY)
        for name in ("gumbel", "greenlist", "tournament")
    ]
    far = list(range(1 << 31, (1 << 31) + 300))
    for ids in ([VOCABULARY] * 300, [2**32 - 1] * 300, far):
        judged(w.verify(Tokens(ids), keys=records, effort=effort))


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("form", ["ids", "text"])
def test_one_token_a_hundred_thousand_times_is_no_evidence(
    w: Watermark, form: str, effort: str
) -> None:
    """Under twenty keys: a count that did not forget repeats would find some."""
    ids = [7] * 100_000
    asset = ids if form == "ids" else text_of(ids)
    records = [
        record
        for i in range(20)
        for record in default_records(_key(i))
        if SCHEMES[record.scheme].carrier == "tokens"
    ]
    start = time.process_time()
    report = w.verify(asset, keys=records, tokenizer=words(), effort=effort)

    assert time.process_time() - start < SECONDS
    assert report.verdict == Verdict.INCONCLUSIVE
    marks = [e for e in report.evidence if e.layer == "mark"]
    assert len(marks) == len(records)
    assert max(e.n for e in marks) <= 10


def _key(place: int) -> Key:
    return Key(np.random.default_rng(place).bytes(32))


# --- generate ------------------------------------------------------------------------


def _filled(value: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda ids, scores: torch.full_like(scores, value)


def _one(value: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_fill(1, torch.tensor([3]), value)

    return process


ROWS = {
    "NaN": _filled(torch.nan),
    "minus infinity": _filled(-torch.inf),
    "plus infinity": _filled(torch.inf),
    "one NaN": _one(torch.nan),
    "one plus infinity": _one(torch.inf),
}
CALLS = {
    "outside the vocabulary": [[5, 5000]],
    "negative": [[5, -1]],
    "62 bits": [[1 << 62]],
}
SAMPLED = {"do_sample": True, "top_k": 0, "max_new_tokens": 8}


@pytest.fixture(scope="module", params=["gumbel", "greenlist", "tournament"])
def marked(w: Watermark, request: pytest.FixtureRequest) -> Iterator[Any]:
    model = language_model()
    with w.attach(model, scheme=request.param):
        yield model


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_cannot_be_sampled_are_told(
    w: Watermark, marked: Any, name: str
) -> None:
    size = w.home.ledger.size
    ids = torch.tensor([IDS, IDS])
    with pytest.raises(InvalidSignal):
        marked.generate(ids, logits_processor=[ROWS[name]], **SAMPLED)

    assert w.home.ledger.size == size  # what was not handed over is not recorded


@pytest.mark.parametrize("name", CALLS)
def test_prompts_of_another_vocabulary_are_told(
    w: Watermark, marked: Any, name: str
) -> None:
    size = w.home.ledger.size
    with pytest.raises(VocabularyMismatch):
        marked.generate(torch.tensor(CALLS[name]), **SAMPLED)

    assert w.home.ledger.size == size


@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_tensors_without_values_are_told(w: Watermark, marked: Any, name: str) -> None:
    size = w.home.ledger.size
    call = {"input_ids": torch.tensor([IDS]), "attention_mask": torch.ones(1, len(IDS))}
    with pytest.raises(InvalidSignal):
        marked.generate(**call | {name: call[name].to("meta")}, **SAMPLED)

    assert w.home.ledger.size == size


def test_scores_on_another_device_are_told(w: Watermark, marked: Any) -> None:
    def moved(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.to("meta")

    with pytest.raises(InvalidSignal):
        marked.generate(torch.tensor([IDS]), logits_processor=[moved], **SAMPLED)
