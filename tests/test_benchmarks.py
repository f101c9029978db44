"""The benchmark runner: shape, purity, going on after a stop; BLEU and intervals."""

from __future__ import annotations

import gettext
import hashlib
import json
import math
import struct
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as runner
from benchmarks import fpr_cases, fpr_corpus, fpr_depth, fpr_keys, fpr_noise, report
from benchmarks.bleu import bleu, grams, self_bleu
from benchmarks.journal import Journal
from benchmarks.options import MODELS, Options, seeded_key
from benchmarks.rates import Rate, clopper_pearson
from benchmarks.tails import ALPHAS, Tail
from benchmarks.timing import compare
from scipy.stats import binom, binomtest, ttest_1samp

from watermark.detectors import noise as noise_detector
from watermark.detectors import signs
from watermark.schemes import SCHEMES, noise
from watermark.verification import LOOKS

ROOT = Path(__file__).parents[1]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """One benchmark's result, from a command line whose stdout is JSON alone."""
    runner.main([*arguments, "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "watermark.benchmark/1"
    (result,) = data["results"]
    return dict(result)


@pytest.fixture
def language(tmp_path: Path) -> Path:
    """A random one-layer model: it proves plumbing only."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    # What people write must not be one token again and again: that is never scored.
    words = ["<pad>", "<s>", "</s>", "<unk>", *("the", "of", "to", "and", "in", "is")]
    words += ["a", "or", "for", "if", "self", "def", "return", *".,:()=*-"]
    words += [f"w{i}" for i in range(256 - len(words))]
    backend = Tokenizer(
        WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", model_max_length=512, **names
    )
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    folder = tmp_path / "lm"
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = (folder / "model.safetensors").read_bytes()
    measured = {
        "model_sha256": hashlib.sha256(weights).hexdigest(),
        "at": {"1 nats": {"temperature": 0.5, "top_p": 0.9}},
    }
    (folder / "measured.json").write_text(json.dumps(measured))
    return folder


# --- intervals and BLEU --------------------------------------------------------------


@pytest.mark.parametrize("level", [0.95, 0.999])
@pytest.mark.parametrize(("hits", "n"), [(0, 7), (1, 200), (190, 200), (200, 200)])
def test_clopper_pearson_is_scipys_exact_interval(
    hits: int, n: int, level: float
) -> None:
    expected = binomtest(hits, n).proportion_ci(level, method="exact")

    assert clopper_pearson(hits, n, level=level) == pytest.approx(tuple(expected))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="8 hits in 7"):
        clopper_pearson(8, 7)


def test_no_trials_say_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert math.isnan(Rate(0, 0).value)


def test_bleu_of_a_copy_is_one() -> None:
    words = grams(["the", "cat", "sat", "on", "the", "mat"])

    assert bleu(words, [words]) == pytest.approx(1)


def test_bleu_of_nothing_in_common_is_zero() -> None:
    assert (
        bleu(grams(["a", "b", "c", "d", "e"]), [grams(["v", "w", "x", "y", "z"])]) == 0
    )


def test_bleu_clips_counts_as_papineni_does() -> None:
    candidate = grams(["the"] * 7)
    references = [
        grams(["the", "cat", "is", "on", "the", "mat"]),
        grams(["there", "is", "a", "cat", "on", "the", "mat"]),
    ]

    # 2/7 of the words; no longer gram, smoothed: 1/7, 1/6, 1/5; no brevity penalty.
    expected = (2 / 7 * 1 / 7 * 1 / 6 * 1 / 5) ** 0.25
    assert bleu(candidate, references) == pytest.approx(expected)


def test_bleu_punishes_brevity() -> None:
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]

    expected = math.exp(1 - 8 / 4)
    assert bleu(grams(words[:4]), [grams(words)]) == pytest.approx(expected)


def test_self_bleu_tells_copies_from_strangers() -> None:
    copies = [[1, 2, 3, 4, 5]] * 4
    strangers = [[10 * i + j for j in range(5)] for i in range(4)]

    assert self_bleu(copies) == pytest.approx([1] * 4)
    assert self_bleu(strangers) == [0] * 4


# --- journal, timing, tails ----------------------------------------------------------


def test_a_journal_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    with Journal(tmp_path, "x", {"seed": 1}) as journal:
        journal.add("a", {"p": 1})
        path = journal.path
    with path.open("a") as file:
        file.write('{"id": "b", "p"')  # killed while writing

    with Journal(tmp_path, "x", {"seed": 1}) as journal:
        assert journal.missing(["a", "b"]) == ["b"]
        journal.add("b", {"p": 2})
    with Journal(tmp_path, "x", {"seed": 1}) as journal:
        assert journal.rows == {"a": {"p": 1}, "b": {"p": 2}}
        assert journal.added == 0


def test_a_journal_never_mixes_runs(tmp_path: Path) -> None:
    with Journal(tmp_path, "x", {"seed": 1}) as journal:
        journal.add("a", {})
    with Journal(tmp_path, "x", {"seed": 2}) as journal:
        assert journal.missing(["a"]) == ["a"]


def test_every_case_is_timed_in_every_round() -> None:
    times = compare({"sum": lambda: sum(range(1000)), "none": lambda: None}, range(3))

    assert times["sum"].median > times["none"].median > 0
    assert times["sum"].rounds == 3


def test_an_exact_tail_fails_on_both_sides_and_a_bound_on_one() -> None:
    few = Tail("x", True, 10_000, (500, 100, 10, 1, 0, 0), ALPHAS)
    many = Tail("x", False, 10_000, (1500, 100, 10, 1, 0, 0), ALPHAS)

    assert few.holds() == [False, True, True, True, True, True]
    assert many.holds() == [False, True, True, True, True, True]
    assert Tail("x", False, 10_000, few.hits, ALPHAS).target().reached


def test_an_approximation_may_be_as_wrong_as_it_says() -> None:
    hits = (10_400, 1000, 100, 10, 1, 0)

    assert not Tail("x", True, 100_000, hits, ALPHAS).holds()[0]
    assert Tail("x", True, 100_000, hits, ALPHAS, error=0.03).holds()[0]
    assert not Tail("x", False, 100_000, (11_000, *hits[1:]), ALPHAS, 0.03).holds()[0]


def test_attainable_tails_are_the_binomials_own() -> None:
    found = fpr_cases.attainable(40, 0.25)

    for alpha, tail in zip(ALPHAS, found, strict=True):
        k = next(k for k in range(42) if binom.sf(k - 1, 40, 0.25) <= alpha)
        assert tail == pytest.approx(binom.sf(k - 1, 40, 0.25))


def test_a_catalogue_is_read_as_gettext_reads_it(tmp_path: Path) -> None:
    pairs = {
        "": "Content-Type: text/plain; charset=UTF-8\n",
        "a": "ä",
        "one\0many": "eins\0viele",
        "z": "日本",
    }
    data, offset, table = b"", 28 + 16 * len(pairs), b""
    for words in (pairs.keys(), pairs.values()):
        for text in words:
            raw = text.encode()
            table += struct.pack("<2I", len(raw), offset + len(data))
            data += raw + b"\0"
    tables = (28, 28 + 8 * len(pairs))
    header = struct.pack("<7I", 0x950412DE, 0, len(pairs), *tables, 0, 0)
    catalogue = header + table + data
    (tmp_path / "x.mo").write_bytes(catalogue)
    with (tmp_path / "x.mo").open("rb") as file:
        known = gettext.GNUTranslations(file)

    found = list(fpr_corpus.messages(catalogue))

    assert found == ["ä", "eins\nviele", "日本"]
    assert known.gettext("a") == found[0]


def test_segments_are_of_every_kind_and_place() -> None:
    kinds = {"a": np.arange(60, dtype=np.uint32), "b": np.arange(900, 990, dtype="u4")}
    corpus = fpr_corpus.Corpus(kinds)
    drawn = list(corpus.draw((50, 60), np.random.default_rng(0), 2_000))
    places = {(kind, len(ids), int(ids[0])) for kind, ids in drawn}

    assert all((np.diff(ids) == 1).all() for _, ids in drawn)
    assert places == {
        *(("a", 50, start) for start in range(11)),
        ("a", 60, 0),
        *(("b", 50, 900 + start) for start in range(41)),
        *(("b", 60, 900 + start) for start in range(31)),
    }
    assert [name for name, _ in corpus.documents(30, 2)] == [
        "a 0",
        "a 30",
        "b 0",
        "b 30",
    ]


def test_the_mean_over_keys_has_students_interval() -> None:
    hits = np.random.default_rng(0).binomial(1000, 0.05, size=100).tolist()
    known = ttest_1samp(np.asarray(hits) / 1000, 0.05).confidence_interval(0.999)
    found = fpr_keys.interval(hits, 1000)

    assert found[0] == pytest.approx(min(known.low, found[0]))
    assert found[1] == pytest.approx(max(known.high, found[1]))
    assert found[1] - found[0] < 1.3 * (known.high - known.low)
    assert fpr_keys.interval([0, 0], 10)[1] > 0.3


def test_p_values_are_right_down_to_ten_thousand_digits() -> None:
    part = fpr_depth.compare(Options())

    assert all(target.reached for target in part.targets), part.targets
    [table] = part.tables
    depths = [row[2] for row in table.rows if isinstance(row[2], float)]
    assert sum(depth < -9_999 for depth in depths) == 9


def test_the_vectorised_statistic_is_the_detectors() -> None:
    fixed = fpr_noise.latents(0)
    w = np.stack([signs.weights(z) for z in fixed.values()]).astype(float)
    code = noise.Code(SCHEMES["noise"].record(seeded_key(1)), fpr_noise.SHAPE)

    found = fpr_noise.statistics(w, code) >= fpr_noise.LIMITS[0]
    expected = [
        noise_detector.one_nonce(z, code, fpr_noise.NONCE) <= math.log(ALPHAS[0])
        for z in fixed.values()
    ]
    assert len(fixed) == 20
    assert found.tolist() == expected


# --- the runner ----------------------------------------------------------------------


def test_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        runner.main(["--help"])

    shown = capsys.readouterr().out
    assert all(name in shown for name in ("speed", "text", "diffusion", "fpr", "all"))


def test_a_missing_model_is_a_result_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert runner.main(["text", "--lm", str(tmp_path / "none"), *work, "--json"]) == 3
    (result,) = json.loads(capsys.readouterr().out)["results"]

    assert "no model in none/" in result["skipped"]
    assert not (tmp_path / "out").exists()  # what is there already stays


def test_text_goes_on_and_is_reported_without_paths(
    language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--lm", str(language), "--work", str(tmp_path / "w"), "--threads", "1"]
    options += ["--only", "diversity"]
    first = run(capsys, "text", *options, "--samples", "2", "--out", str(out))
    again = run(capsys, "text", *options, "--samples", "2")
    more = run(capsys, "text", *options, "--samples", "3")

    # The first run also looks for the nucleus of one nat.
    assert first["new"] >= 6
    # A batch is made as a whole: three samples of each of four sets.
    assert (again["new"], more["new"]) == (0, 12)
    assert first["tables"] == again["tables"]
    assert first["targets"] == again["targets"]
    columns = {"name", "target", "measured", "reached", "interval", "note"}
    assert all(columns == set(target) for target in first["targets"])
    for table in first["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    summary = (out / "summary.md").read_text()
    assert "one prompt, gumbel" in summary
    assert str(tmp_path) not in summary
    assert json.loads((out / "text.json").read_text())["machine"]["cpu"]


def test_an_unknown_part_is_refused_before_any_work(
    language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--lm", str(language), "--work", str(tmp_path / "w")]
    found = run(capsys, "text", *options, "--only", "power,nonsense")

    assert "no part nonsense" in found["skipped"]
    assert not (tmp_path / "w").exists()


def test_a_plot_is_drawn_and_named_in_the_summary(tmp_path: Path) -> None:
    curve = ("ours", ((10.0, 0.5, 0.4, 0.6), (20.0, 0.9, 0.8, 1.0)))
    plot = report.Plot("Found at 1e-6", "tokens", "share", (curve,))
    report.write(tmp_path, [report.Result(name="text", plots=(plot,)).to_dict()])

    assert (tmp_path / "text-found-at-1e-6.png").read_bytes()[:4] == b"\x89PNG"
    assert "(text-found-at-1e-6.png)" in (tmp_path / "summary.md").read_text()


def test_false_positives_are_counted_once(
    language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--lm", str(language), "--work", str(tmp_path / "w"), "--samples", "20"]
    options += ["--only", "text,keys,noise"]
    first = run(capsys, "fpr", *options)
    again = run(capsys, "fpr", *options)

    assert (again["new"], again["reused"]) == (0, first["new"])
    assert [table["title"] for table in again["tables"]] == [
        "Text",
        "Text, rate at 0.01 by kind",
        "Fixed keys, rate at 0.01",
        "Noise, one nonce",
        "Noise, whole search",
    ]


def test_diffusion_is_measured_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOOKS, "normal", ((4, 0.5),))
    spec = spec_from_file_location("tiny", ROOT / "tests" / "pipelines" / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    tiny = module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.stable_diffusion().save_pretrained(tmp_path / "sd")
    options = ["--pipeline", str(tmp_path / "sd"), "--samples", "1"]
    options += ["--work", str(tmp_path / "w"), "--threads", "1", "--only", "found"]
    first = run(capsys, "diffusion", *options)
    again = run(capsys, "diffusion", *options)

    assert (first["new"], again["new"]) == (1, 0)
    assert first["tables"] == again["tables"]
    assert [row[0] for row in first["tables"][0]["rows"]] == ["unattacked", "JPEG 75"]


@pytest.mark.models
def test_the_trained_model_is_found_in_its_own_texts(tmp_path: Path) -> None:
    if not (MODELS / "lm" / "model.safetensors").exists():
        pytest.skip("benchmarks/models/lm is not there: run its training script")
    from benchmarks.language import PROMPTS, Language, Sampling
    from benchmarks.text.power import log10_p

    language = Language.load(Options().lm)
    key = seeded_key("test")
    record = SCHEMES["gumbel"].record(key, vocab_size=language.vocab_size)
    with Options(threads=1).threading():
        drawn = language.sample(
            PROMPTS[:4],
            sampling=Sampling(),
            seed=b"12345678",
            record=record,
            length=100,
        )
    decoded = language.tokenizer.batch_decode(drawn.ids, skip_special_tokens=True)
    found = [log10_p(language.reader.encode(one), record) for one in decoded]
    assert sum(p <= -6 for p in found) >= 3


def test_a_summary_writes_numbers_to_four_digits() -> None:
    cells = [report.plain(v) for v in (1 / 3, 123_456.7, 1_234, True, None, "x")]

    assert cells == ["0.3333", "123,457", "1,234", "yes", "-", "x"]
