"""The benchmark of labels reports what it did, and finds what is wrong."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks import label_corruption, labels
from benchmarks.label_samples import LABEL, Sample, pictures, samples
from benchmarks.options import Options

from watermark.labels import containers

PNG = next(sample for sample in pictures() if sample.name == "photo.png")


def test_spoilt_files_of_every_container_are_counted(tmp_path: Path) -> None:
    options = Options(samples=20, only=("corruption",), work=tmp_path)
    result = labels.run(options)
    (target,) = result.targets
    assert target.measured == 0, target.note
    each = math.ceil(20 / len(samples()))
    assert result.new == each * len(samples())
    *rows, last = result.tables[0].rows
    assert [row[0] for row in rows] == [sample.name for sample in samples()]
    assert sum(last[1:4]) == result.new  # type: ignore[arg-type]


def test_large_files_are_labelled_in_little_memory(tmp_path: Path) -> None:
    result = labels.run(Options(only=("stream",), work=tmp_path))
    assert [target.reached for target in result.targets] == [True, True]
    assert list(tmp_path.iterdir()) == []


def test_offsets_of_the_large_film_move(tmp_path: Path) -> None:
    """Else its time would be that of a copy."""
    labels.large_mp4(tmp_path / "a.mp4", 1 << 20)
    data = (tmp_path / "a.mp4").read_bytes()
    target = io.BytesIO()
    containers.write(io.BytesIO(data), target, "video/mp4", LABEL)
    new = target.getvalue()
    tables = [
        np.frombuffer(each, ">u4", 100_000, each.index(b"stco") + 12)
        for each in (data, new)
    ]
    assert set((tables[1] - tables[0]).tolist()) == {len(new) - len(data)}
    assert tables[0][0] == data.index(b"mdat") + 4


def test_a_reader_that_misses_a_label_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that calls damaged files unlabelled, and one that crashes."""
    monkeypatch.setattr(label_corruption, "_read", lambda data, media_type: "none")
    outcome = label_corruption.attack(PNG, range(20))
    assert len(outcome.wrong) > 10
    monkeypatch.setattr(label_corruption, "_read", lambda data, media_type: 1 / 0)
    outcome = label_corruption.attack(PNG, range(20))
    assert len(outcome.wrong) == 20
    assert "ZeroDivisionError" in outcome.wrong[0]


def test_trials_are_the_same_again() -> None:
    sample = Sample("x", "image/png", PNG.data)
    whole = label_corruption.labelled(sample)
    kinds = set()
    for seed in range(60):
        one, two = (
            label_corruption.spoilt(whole, np.random.default_rng(seed)) for _ in "ab"
        )
        assert one == two
        kinds.add(one[0])
    assert len(kinds) == 9
