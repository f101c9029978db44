"""transformers' watermarks in the benchmark: counted as it counts, nulls that hold.

A random model with one layer proves plumbing only.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import __main__ as runner
from benchmarks.language import PROMPTS, Language, Sampling
from benchmarks.rates import Rate
from benchmarks.text import peers
from benchmarks.text.foreign import (
    WEIGHTS,
    Dispersion,
    Ids,
    Kgw,
    Peer,
    SynthId,
    layer_keys,
    marked,
)
from benchmarks.text.unmarked import Null
from scipy.stats import binom
from transformers import LlamaConfig

from tests import test_benchmarks

VOCAB = 256
LENGTHS = (50, 120)
CONFIG = LlamaConfig(vocab_size=VOCAB, bos_token_id=1)
LEVEL = 0.999  # of intervals around realised rates

language = test_benchmarks.language  # the fixture: a random model with a tokenizer


def texts(count: int, seed: int = 0) -> list[Ids]:
    """Uneven words; the last third of each text says its first again."""
    ranks = np.random.default_rng(seed).zipf(1.3, (count, LENGTHS[-1]))
    ranks[:, 80:] = ranks[:, :40]
    return list((3 + ranks % (VOCAB - 3)).astype(np.uint32))


@pytest.mark.parametrize("key", [1, 77, (1 << 63) + 12345])
@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_quick_counts_are_transformers_own(peer: Peer, key: int) -> None:
    drawn = texts(3)

    found = peer.under(drawn, key, LENGTHS, VOCAB)
    expected = [[peer.count(ids[:n], key, CONFIG) for n in LENGTHS] for ids in drawn]
    assert found == expected


@pytest.mark.parametrize("peer", peers.PEERS[:2], ids=lambda peer: peer.name)
def test_what_kgw_scores_is_what_its_detector_scores(peer: Kgw) -> None:
    from transformers import WatermarkDetector

    (ids,) = texts(1)
    detector = WatermarkDetector(
        CONFIG, "cpu", peer.config(5), ignore_repeated_ngrams=True
    )
    found = detector(torch.from_numpy(ids.astype(np.int64))[None], return_dict=True)

    assert peer.scored(ids) == found.num_tokens_scored[0] < len(ids) - 4


def test_the_null_of_synthid_is_a_convolution_of_its_layers() -> None:
    peer = SynthId("x")
    (ids,) = texts(1)
    ids = ids[:6]  # two tokens with their contexts
    state, fresh = peer.states(ids)
    moved = (state[fresh][:, None] + np.arange(1 << 16)) % (1 << 16)
    layer = np.bincount(peer.table[moved].sum(axis=0)) / (1 << 16)
    mass = np.ones(1)
    for weight in WEIGHTS.tolist():
        spread = np.zeros(weight * (len(layer) - 1) + 1)
        spread[::weight] = layer
        mass = np.convolve(mass, spread)
    expected = mass[::-1].cumsum()[::-1]

    tail = peer.tail(ids)
    for statistic in range(0, len(mass), 97):
        assert tail.at(statistic) == pytest.approx(
            min(1.0, max(expected[statistic], 1e-12)), rel=1e-6, abs=1e-11
        )


def test_the_null_of_synthid_holds_over_keys() -> None:
    peer = SynthId("x")
    (ids,) = texts(1)
    tail = peer.tail(ids)
    state, fresh = peer.states(ids)
    assert fresh.sum() < len(fresh)  # a context that came again is not scored
    p = []
    for key in range(6_000):
        values = peer.table[(state[fresh][:, None] + layer_keys(key)) % (1 << 16)]
        p.append(tail.at(int((values @ WEIGHTS).sum())))

    for alpha in (0.5, 0.1, 0.01):
        low, high = Rate(int(np.sum(np.asarray(p) <= alpha)), len(p)).interval(LEVEL)
        assert low <= alpha <= high


def test_a_beta_binomial_has_the_spread_it_was_fitted_to() -> None:
    rng = np.random.default_rng(3)
    shares = rng.beta(2.5, 7.5, 50_000)  # correlation 1 / 11: spread 1 + 99 / 11
    pairs = [(100, int(g)) for g in rng.binomial(100, shares)]
    fit = Dispersion.fit(0.25, {100: pairs})
    tail = fit.tail(100, 100)
    mass = -np.diff(tail.chances, append=0.0)
    k = np.arange(101)

    assert fit.spread[100] == pytest.approx(10, rel=0.03)
    assert mass @ k == pytest.approx(25)
    assert mass @ (k - 25.0) ** 2 / 18.75 == pytest.approx(fit.spread[100], rel=1e-6)


def test_a_narrower_null_is_judged_by_the_binomial() -> None:
    fit = Dispersion.fit(0.25, {100: [(100, 25), (100, 26)]})

    assert fit.tail(80, 100).at(40) == pytest.approx(binom.sf(39, 80, 0.25))


@pytest.mark.parametrize(
    ("peer", "least", "most"),
    [(peers.PEERS[0], 0.7, 1.1), (peers.PEERS[1], 1.3, 3.0)],
    ids=["lefthash is no wider than the binomial", "selfhash is"],
)
def test_the_fitted_null_of_kgw_holds_on_other_keys_and_texts(
    peer: Kgw, least: float, most: float
) -> None:
    def pairs(seed: int, keys: range) -> list[tuple[int, int]]:
        drawn = texts(20, seed)
        scored = [peer.scored(ids) for ids in drawn]
        rows = (peer.under(drawn, key, LENGTHS[-1:], VOCAB) for key in keys)
        return [(n, g) for row in rows for n, (g,) in zip(scored, row, strict=True)]

    n = LENGTHS[-1]
    fit = Dispersion.fit(64 / VOCAB, {n: pairs(1, range(0, 50, 2))})
    p = [fit.tail(scored, n).at(g) for scored, g in pairs(2, range(50, 100, 2))]

    assert least < fit.spread[n] < most
    # Texts of one key are alike: the error of the rate at 5e-2 is taken over keys.
    by_key = (np.asarray(p).reshape(25, -1) <= 0.05).mean(axis=1)
    assert 0 < by_key.mean() <= 0.05 + 4 * by_key.std() / np.sqrt(25)


def test_a_rule_that_finds_too_little_or_too_much_is_told() -> None:
    tail = Dispersion.fit(0.25, {100: [(100, 25), (100, 26)]}).tail(100, 100)
    attained = tail.attains(0.01)
    assert attained == max(c for c in binom.sf(range(100), 100, 0.25) if c <= 0.01)
    assert tail.attains(tail.chances[-1] / 2) == 0

    def null(rate: float) -> Null:
        """Forty keys, a hundred texts each, found at `rate`."""
        found = np.random.default_rng(0).binomial(100, rate, 40).tolist()
        return Null("x", [[[-2.5]] * k + [[0.0]] * (100 - k) for k in found])

    for rate, fair, sound in (
        (0.002, False, True),
        (0.009, True, True),
        (0.03, True, False),
    ):
        assert peers._fair("x", attained, null(rate)).reached == fair
        assert peers._target("x", null(rate)).reached == sound


def test_a_peer_marks_what_it_then_finds(language: Path) -> None:
    model = Language.load(language)
    for peer in (peers.PEERS[0], peers.PEERS[2]):
        row = marked(peer, model, Sampling(), PROMPTS[:2], 0)
        other = row["key"] + 2
        for ids in np.asarray(row["ids"], dtype=np.uint32):
            right = peer.count(ids, row["key"], model.model.config)
            assert right > 1.2 * peer.count(ids, other, model.model.config)


def test_every_rule_is_a_row_and_a_failing_peer_says_so(
    language: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Kgw("broken", "nonsense")  # transformers refuses the seeding scheme
    monkeypatch.setattr(peers, "PEERS", (peers.PEERS[0], broken, peers.PEERS[2]))
    monkeypatch.setattr(peers, "OURS", {"gumbel": peers.OURS["gumbel"]})
    monkeypatch.setattr(peers, "ROUNDS", 1)
    options = ["--lm", str(language), "--work", str(tmp_path / "w"), "--threads", "1"]
    options += ["--only", "peers", "--samples", "2", "--json"]
    results = []
    for _ in range(2):
        runner.main(["text", *options])
        results += json.loads(capsys.readouterr().out)["results"]
    first, again = results

    marked_rows = {row[0]: row for row in first["tables"][0]["rows"]}
    assert [row[1] for row in marked_rows.values()] == [2, 2, 0, 2]
    assert "nonsense" in marked_rows["broken"][-1]
    assert marked_rows["transformers SynthID"][-1] == ""
    assert len(first["tables"][1]["rows"]) == 4
    assert len(first["targets"]) == 4 + 3  # a peer's rule may not be too strict either
    assert "broken" not in [name for name, _ in first["plots"][0]["curves"]]
    assert first["new"] > again["new"] == 0
    assert first["tables"] == again["tables"]
