"""The benchmark's cost of a bias, KGW's realised rates, and the synthetic source."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import sources
from benchmarks.language import Language, Sampling
from benchmarks.options import Options, seeded_key
from benchmarks.rates import Rate
from benchmarks.text import code, code_texts, cost, humaneval, kgw, synthetic
from benchmarks.text.samples import Sampler
from rich.console import Console
from scipy.stats import binomtest
from transformers import LlamaConfig, WatermarkDetector

from tests import toys
from watermark.detectors import greenlist, tournament
from watermark.schemes import SCHEMES

VOCAB = toys.VOCABULARY


def quiet(folder: Path, **more: Any) -> Options:
    """Options without a progress bar, and one text of each kind."""
    return Options(samples=1, work=folder, console=Console(file=io.StringIO()), **more)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Language:
    """A random one-layer model of whole words: it proves plumbing only."""
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=toys.words(), pad_token="w0", eos_token="w1"
    )
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    folder = tmp_path_factory.mktemp("lm")
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Language.load(folder)


# --- cost ----------------------------------------------------------------------------


def test_the_rise_is_what_the_formula_says() -> None:
    log_p = np.log([[0.9, 0.1], [0.5, 0.5]])
    green = np.array([[False, True], [True, False]])
    q = np.array([[0.9, 0.1 * math.e], [0.5 * math.e, 0.5]])
    q /= q.sum(axis=1, keepdims=True)
    each = ((q - np.exp(log_p)) * -log_p).sum(axis=1)

    assert cost.rise(log_p, green, 1.0) == pytest.approx(each.mean())
    assert cost.rise(log_p, green, 0.0) == 0.0
    # 0.325 and 0.693 nats: the gate lets the second step through alone, which has none.
    assert cost.rise(log_p, green, 1.0, gate=0.5) == pytest.approx(each[1] / 2)
    assert each[0] > 0.1


def test_candidates_that_were_cut_off_cost_nothing() -> None:
    whole = np.log([[0.7, 0.3]])
    cut = np.array([[*whole[0], -np.inf]])

    wide = cost.rise(cut, np.array([[True, False, True]]), 2.0)
    assert wide == pytest.approx(cost.rise(whole, np.array([[True, False]]), 2.0))


@pytest.mark.parametrize("gate", [0.0, 0.3])
def test_marked_texts_cost_what_delta_was_chosen_for(gate: float) -> None:
    rng = np.random.default_rng(1)
    rows = sources.rows(0.6, rng)
    log_p = np.stack([row for row, _ in zip(rows, range(4000), strict=False)])
    delta = cost.delta_for(0.1, log_p, 0.25, gate)
    parameters: dict[str, Any] = {"delta": delta, "gate100": round(100 * gate)}

    texts = []
    for i in range(60):
        record = SCHEMES["greenlist"].record(seeded_key("cost", i), **parameters)
        text = sources.text(200, 0.6, rng, record)
        texts.append((text.probabilities, text.entropies))
    found, error = cost.measured(texts)

    assert error < 0.015
    assert abs(found - 0.1) < 4 * error


def test_keyed_gumbel_costs_nothing() -> None:
    rng = np.random.default_rng(2)
    texts = []
    for i in range(40):
        record = SCHEMES["gumbel"].record(seeded_key("free", i))
        text = sources.text(200, 0.6, rng, record, i % 16)
        texts.append((text.probabilities, text.entropies))
    found, error = cost.measured(texts)

    assert error < 0.02
    assert abs(found) < 4 * error


# --- KGW -----------------------------------------------------------------------------


def test_scores_are_those_of_the_detector() -> None:
    rng = np.random.default_rng(3)
    texts = [rng.integers(0, 40, 120).astype(np.uint32) for _ in range(3)]
    model = LlamaConfig(vocab_size=VOCAB, bos_token_id=VOCAB - 1)
    found = kgw.scores(texts, 12345, [50, 120], VOCAB)
    detector: Any = WatermarkDetector(
        model, "cpu", kgw.KGW.config(12345), ignore_repeated_ngrams=True
    )

    for i, ids in enumerate(texts):
        for k, n in enumerate([50, 120]):
            row = torch.from_numpy(ids[:n].astype(np.int64))[None]
            expected = detector(row, return_dict=True).z_score[0]
            assert found[i, k] == pytest.approx(expected)


def test_the_null_keeps_its_rate_and_finds_the_mark() -> None:
    rng = np.random.default_rng(4)

    def unmarked() -> Any:
        return rng.integers(0, VOCAB, 100).astype(np.uint32)

    keys = [kgw.key("null", i) for i in range(40)]
    null = kgw.Null.of([unmarked() for _ in range(50)], keys, (100,), VOCAB)
    tails = [null.log10_p(unmarked(), kgw.key("fresh", i))[0] for i in range(400)]
    hits = sum(tail <= math.log10(0.05) for tail in tails)
    assert binomtest(hits, 400, 0.05, alternative="greater").pvalue > 1e-3
    assert hits >= 5

    wide = kgw.Null(null.lengths, sources.VOCAB, null.known)
    mark = kgw.mark(7, 6.0, sources.VOCAB)
    text = sources.text(100, 2.0, rng, mark=mark)
    least = -math.log10(50 * 40 + 1)
    assert wide.log10_p(text.tokens, 7) == pytest.approx([least])
    assert wide.log10_p(text.tokens, 8)[0] > -3


# --- the synthetic source ------------------------------------------------------------


def test_greenlist_and_tournament_are_found_in_what_the_source_writes() -> None:
    rng = np.random.default_rng(5)
    for detector, scheme in ((greenlist, "greenlist"), (tournament, "tournament")):
        record, other = (SCHEMES[scheme].record(seeded_key(scheme, i)) for i in (0, 1))
        text = sources.text(400, 1.5, rng, record, 3 if scheme == "tournament" else 0)

        assert detector.score(text.tokens, record).log10_p() < -6
        assert detector.score(text.tokens, other).log10_p() > -4
        assert 4 <= text.first < 40


def test_entropies_are_the_sources_own() -> None:
    text = sources.text(3000, 0.7, np.random.default_rng(6))

    assert abs(text.entropies.mean() - 0.7) < 0.08
    # -ln p of what was drawn has the entropy as its mean.
    assert abs(float((-np.log(text.probabilities) - text.entropies).mean())) < 0.06


def test_tokens_needed_are_interpolated() -> None:
    curve = {50: Rate(0, 100), 100: Rate(80, 100), 200: Rate(100, 100)}
    middle, low, high = synthetic.needed(curve)

    assert middle == pytest.approx(100 * 2**0.5)
    assert low < middle < high < 200
    assert synthetic.needed({50: Rate(10, 100)})[0] == math.inf
    assert synthetic.needed({50: Rate(95, 100)})[0] == 50


def test_the_synthetic_part_goes_on_where_it_was(
    tmp_path: Path, language: Language
) -> None:
    options = quiet(tmp_path)
    with Sampler(language, options) as sampler:
        first = synthetic.measure(sampler, options)
        again = synthetic.measure(sampler, options)

    assert (first.new, again.new) == (len(synthetic.CASES) * len(synthetic.NATS), 0)
    assert first.tables == again.tables
    assert first.targets == again.targets
    for table in first.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


# --- code ----------------------------------------------------------------------------


def test_code_is_marked_in_every_way_and_told(
    tmp_path: Path, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_texts, "KEYS", 5)
    for module in (code, code_texts):
        monkeypatch.setattr(module, "LENGTHS", (40, 80))
    options = quiet(tmp_path, lm=language.folder)
    with Sampler(language, options) as sampler:
        stated = Sampling(0.5, 0.9)
        monkeypatch.setattr(Sampler, "sampling", lambda self, part: stated)
        source = code_texts.sampled(sampler, options, 2)
        made = sampler.journal.added
        again = code_texts.sampled(sampler, options, 2)

    assert made == sampler.journal.added == 2 * 5
    assert source.deltas == again.deltas
    assert set(source.costs) == set(source.readings)
    assert {*source.deltas, code_texts.GUMBEL, code_texts.UNMARKED} == set(source.costs)
    # The random model has 5 nats a token; what is chosen by a key is found at once.
    for test in code.TESTS:
        rates = code._rates(source, test, options)
        assert rates == code._rates(again, test, options)
        assert rates[80, 0.05].n == 2
    assert code._rates(source, code_texts.GUMBEL, options)[80, 1e-3].hits == 2


def test_a_bias_that_costs_something_else_is_told() -> None:
    def source(of_kgw: float) -> code_texts.Source:
        costs = dict.fromkeys(code_texts.BIASED, (0.1, 0.004))
        costs[code_texts.KGW] = of_kgw, 0.004
        null = kgw.Null((40,), VOCAB, np.zeros((1, 1)))
        return code_texts.Source("x", 0.3, {}, costs, {}, null)

    for other, reached in ((0.12, True), (0.08, True), (0.13, False), (0.0, False)):
        target = code._equal("x", 0.1, [source(0.1), source(other)])
        assert target.reached == reached
        assert reached or code_texts.KGW in target.note


def test_humaneval_is_a_row_that_says_so_where_it_is_missing(
    tmp_path: Path, language: Language
) -> None:
    table, targets = humaneval.false_positives(language, Sampling(), quiet(tmp_path))

    assert targets == ()
    [row] = table.rows
    assert "--data" in str(row[0])
    assert len(row) == len(table.columns)


def test_solutions_are_tested_under_every_key(
    tmp_path: Path, language: Language
) -> None:
    problems = [
        {"prompt": f"def f{i}(x):\n", "canonical_solution": f"    return x + {i}\n"}
        for i in range(5)
    ]
    folder = tmp_path / "humaneval"
    folder.mkdir()
    text = "\n".join(map(json.dumps, problems))
    (folder / humaneval.FILE).write_text(text)
    options = quiet(tmp_path, data=tmp_path)

    table, targets = humaneval.false_positives(language, Sampling(), options)

    assert [row[0] for row in table.rows] == [*humaneval.DETECTORS, humaneval.KGW]
    assert all(row[1] == 5 for row in table.rows)  # one key each
    assert len(targets) == 8
