"""Attacks without the key: where they should work they do, so that a zero says much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import security, sources
from benchmarks.options import Options, Unavailable, seeded_key
from benchmarks.security import oracle, stealing
from benchmarks.security.bigrams import Bigrams, model

from watermark.detectors import greenlist
from watermark.schemes import SCHEMES


def test_the_model_gives_chances_and_its_marked_texts_are_found() -> None:
    words, rng = model(), np.random.default_rng(0)
    record = SCHEMES["greenlist"].record(seeded_key("bigrams"))
    marked = words.sample(200, rng, sources.marking(record))
    plain = words.sample(200, rng)

    assert np.allclose(np.exp(words.log_p).sum(1), 1)
    assert all(len(set(row)) == words.ids.shape[1] for row in words.ids[:50].tolist())
    assert greenlist.score(np.asarray(marked, np.uint32), record).log10_p() < -6
    assert greenlist.score(np.asarray(plain, np.uint32), record).log10_p() > -3


def test_a_thief_of_short_contexts_forges_and_an_empty_handed_one_does_not(
    tmp_path: Path,
) -> None:
    part = stealing.measure(Options(samples=120, work=tmp_path))
    [table] = part.tables
    found = {str(row[0]): row for row in table.rows}
    again = stealing.measure(Options(samples=120, work=tmp_path))
    record = SCHEMES["greenlist"].record(seeded_key("empty"), width=1)
    rng, found_anyway = np.random.default_rng(1), 0
    for _ in range(30):
        text, known, _ = stealing.forge(model(), {}, 1, rng)
        p = greenlist.score(np.asarray(text, np.uint32), record).log10_p()
        found_anyway += p <= -3
        assert known == 0

    assert str(found["greenlist, width 1"][3]).endswith("(40/40 of 2)")
    assert float(str(found["gumbel (width 4)"][2])) < 0.5
    assert found_anyway <= 1
    assert (again.new, again.reused, again.tables) == (0, 8, part.tables)


def test_another_model_has_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    words, before = model(), stealing._identity((1,), Options())
    assert stealing._identity((1,), Options()) == before
    other = Bigrams(words.ids, words.log_p[::-1].copy())
    monkeypatch.setattr(stealing, "model", lambda: other)

    assert stealing._identity((1,), Options()) != before


@pytest.mark.parametrize("goal", ["remove", "forge"])
def test_p_values_are_climbed_and_verdicts_alone_forge_nothing(goal: str) -> None:
    runs = {
        said: oracle._run("greenlist", goal, said, 0, Options())
        for said in ("log10 p", "verdict")
    }
    reached, questions, changed = runs["log10 p"]

    assert reached
    assert 1 < questions < 500
    assert 0 < changed <= questions
    assert runs["verdict"][0] == (goal == "remove")


def test_messages_name_colluders_or_nobody_and_weak_keys_are_refused() -> None:
    result = security.run(Options(samples=3, only=("collusion", "keys")))
    targets = {target.name: target for target in result.targets}
    tables = {table.title: table for table in result.tables}

    assert targets["keys: guessable keys refused"].reached
    named = targets["collusion: messages told that name somebody else"]
    assert named.measured == 0
    assert not named.reached  # three texts show nothing
    assert all(row[1] for row in tables["Keys that can be guessed"].rows)
    whole = [row for row in tables["Collusion"].rows if row[1] == 1]
    assert all(str(row[3]).startswith("1 ") for row in whole)
    assert all(row[4] == 0 for row in tables["Collusion"].rows)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(Unavailable, match="no part luck"):
        security.run(Options(only=("luck",)))
