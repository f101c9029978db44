"""The benchmark of engines: the peers are theirs, thresholds are fair, rows complete.

A random model with one layer proves plumbing only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as runner
from benchmarks.engines import installed, unpacked
from benchmarks.engines.power import found
from benchmarks.engines.speed import WIDE, documents_of
from benchmarks.rates import Rate
from scipy.stats import norm, spearmanr

from tests import test_benchmarks

language = test_benchmarks.language  # the fixture: a random model with a tokenizer
VOCAB = 256
LENGTHS = (20, 60)  # of texts: a random model leaves a mark all its room
NAMES = ("transformers lefthash", "transformers selfhash", "transformers SynthID")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.engines.power.LENGTHS", LENGTHS)


def run(
    capsys: pytest.CaptureFixture[str], lm: Path, work: Path, *options: str
) -> dict[str, Any]:
    places = ("--lm", str(lm), "--work", str(work))
    runner.main(["engines", "--json", "--threads", "1", *places, *options])
    [result] = json.loads(capsys.readouterr().out)["results"]
    return dict(result)


def test_both_detectors_are_under_one_key() -> None:
    rng = np.random.default_rng(0)
    # No token comes twice, so that both count the same pairs.
    texts = [rng.permutation(VOCAB)[:120].astype(np.uint32) for _ in range(100)]
    for engine in installed.engines():
        theirs, ours, _ = engine.both(VOCAB, 0)
        other = engine.both(VOCAB, 1)[1]
        a, b, c = (
            np.asarray([detect(ids) for ids in texts])
            for detect in (theirs, ours, other)
        )
        told = b < 0  # below its mean a count of greens has p = 1 in ours
        assert told.sum() > 20
        assert spearmanr(a[told], b[told]).statistic > 0.9, engine.name
        assert abs(spearmanr(a[told], c[told]).statistic) < 0.5, engine.name


def test_a_threshold_finds_as_many_nulls_as_stated() -> None:
    null = np.random.default_rng(0).integers(0, 50, 1000).astype(float)  # with ties
    for alpha in (0.001, 0.01, 0.1):
        assert found(null, null, alpha).mean() == pytest.approx(alpha)
    assert (found(null - 1000, null, 0.001) == 1).all()
    some = found(np.asarray([1.0, 2.0, 3.0]), np.asarray([3.0, 2.0, 2.0]), 0.5)
    assert some.tolist() == [1.0, 0.75, 0.0]


def test_documents_repeat_contexts_and_are_the_same_each_time() -> None:
    documents = documents_of(20, 3)
    assert len(documents) == 20
    assert all(
        len(ids) == 200 and ids.min() > 0 and ids.max() < WIDE for ids in documents
    )
    assert len(np.unique(np.concatenate(documents))) < 2500
    assert all(map(np.array_equal, documents, documents_of(20, 3)))


# A package of one module, written here from the paper's definition: as many green
# tokens as chance gives have z = 0.
GPTWM = """
from transformers import LogitsWarper  # no longer there
import alternative_prf_schemes

class GPTWatermarkDetector:
    def __init__(self, vocab_size, watermark_key):
        self.half = vocab_size // 2

    def detect(self, ids):
        green = sum(i < self.half for i in ids)
        return (2 * green - len(ids)) / len(ids) ** 0.5

    def unidetect(self, ids):
        return self.detect(sorted(set(ids)))
"""


def test_a_package_is_read_from_the_folder_and_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/gptwm.py").write_text(GPTWM)
    (tmp_path / "some/alternative_prf_schemes.py").write_text("")
    modules, path = dict(sys.modules), list(sys.path)

    found, notes = unpacked.engines(tmp_path)
    assert [engine.name for engine in found] == ["Unigram", "Unigram, distinct tokens"]
    plain, distinct = (engine.both(VOCAB, 0)[0] for engine in found)
    ids = np.asarray([1, 1, 1, 200], np.uint32)
    assert plain(ids) == pytest.approx(norm.sf(1))
    assert distinct(ids) == pytest.approx(norm.sf(0))
    assert sys.path == path
    assert not {"gptwm", "alternative_prf_schemes"} & set(sys.modules)
    assert sys.modules["transformers"] is modules["transformers"]
    assert len(notes) == len(unpacked.PACKAGES)
    assert sum("was left out" in note for note in notes) == len(notes) - 1


@pytest.mark.parametrize(
    "text", ["import nothing_of_this_name", "1 / 0", "class X: pass\n)"]
)
def test_a_package_that_fails_is_left_out_and_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "gptwm.py").write_text(text)
    found, notes = unpacked.engines(tmp_path)

    assert not found
    [note] = [note for note in notes if "Unigram" in note]
    assert "Error" in note
    assert str(tmp_path) not in note
    assert "gptwm" not in sys.modules


def test_an_older_synthid_text_is_not_taken_for_a_newer(tmp_path: Path) -> None:
    (tmp_path / "synthid_text").mkdir()
    (tmp_path / "synthid_text/logits_processing.py").write_text("raise SystemError")
    notes = unpacked.engines(tmp_path)[1]

    assert "synthid-text was left out: it is not in the folder of wheels" in notes


def test_rates_and_power_have_a_row_for_every_engine(
    language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ("--only", "rates,power", "--samples", "6", "--wheels", str(tmp_path))
    result = run(capsys, language, tmp_path / "w", *parts)
    rates, power = result["tables"]

    assert [row[0] for row in rates["rows"]] == [n for n in NAMES for _ in range(3)]
    claims = {row[0]: row[1:3] for row in rates["rows"]}
    assert claims[NAMES[2]] == [None, "it gives no p-value"]
    assert claims[NAMES[0]][0] == 0.001
    assert [row[:3] for row in power["rows"]] == [
        [name, length, "claimed 1e-06"] for name in NAMES for length in LENGTHS
    ]
    # But selfhash marks only the forty likeliest tokens, a small part of what such a
    # model says.
    last = {row[0]: row for row in power["rows"] if row[1] == LENGTHS[-1]}
    assert [last[NAMES[i]][4] for i in (0, 2)] == [str(Rate(6, 6))] * 2
    assert sum("was left out" in note for note in result["notes"]) == len(
        unpacked.PACKAGES
    )
    reached = [t["reached"] for t in result["targets"] if "selfhash" not in t["name"]]
    assert reached == [True] * (6 + 2)
    assert len(result["targets"]) == 9 + 3


def test_power_is_compared_at_one_realised_rate(
    language: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.engines.power.ALPHAS", (0.5,))
    result = run(capsys, language, tmp_path / "w", "--only", "power", "--samples", "6")

    again = run(capsys, language, tmp_path / "w", "--only", "power", "--samples", "6")

    compared = [t for t in result["targets"] if "realised" in t["name"]]
    assert len(compared) == 3 * len(LENGTHS)
    for target in compared:
        if "selfhash" not in target["name"] and "60" in target["name"]:  # see above
            assert target["note"] == "+0.0 ± 0.0 points"
            assert target["measured"] == 1.0
    rows = [row for row in result["tables"][0]["rows"] if "realised" in row[2]]
    assert [row[5] == "yes" for row in rows] == [t["reached"] for t in compared]
    assert again["tables"] == result["tables"]  # from the journal
    assert (again["new"], again["reused"]) == (0, result["new"] + result["reused"])


def test_speed_is_of_new_texts_and_of_contexts_that_came_before(
    language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, language, tmp_path, "--only", "speed", "--samples", "2")
    [table] = result["tables"]

    assert [row[0] for row in table["rows"]] == [
        *NAMES[:1] * 2,
        *NAMES[1:2] * 2,
        NAMES[2],
    ]
    assert all(row[5] == pytest.approx(row[3] / row[4]) for row in table["rows"])
    assert [target["target"] for target in result["targets"]] == [">= 10", ">= 100"]


def test_a_part_that_is_not_there_is_refused(
    language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, language, tmp_path, "--only", "sped")
    assert "no part sped" in result["skipped"]
