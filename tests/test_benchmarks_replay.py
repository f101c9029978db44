"""The forger of the replay benchmark, on tiny random models: plumbing and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.diffusion import features, replay
from benchmarks.diffusion.replay import KINDS, Bench
from benchmarks.options import Options

from tests.pipelines import tiny
from watermark.assets import fingerprint


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    folder = tmp_path_factory.mktemp("sd")
    tiny.stable_diffusion().save_pretrained(folder)
    return Options(samples=1, pipeline=folder, work=folder / "work")


@pytest.fixture(scope="module")
def bench(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(options, 2, tmp_path_factory.mktemp("bench"))


def test_the_gradient_goes_through_the_inversion_itself(bench: Bench) -> None:
    picture, record = bench.marked(0)
    scale = bench.pipe.vae.config.scaling_factor
    latents = torch.from_numpy(bench.inverter.latents(picture))[None] * scale
    expected = bench.inverter.noise(picture, steps=replay.IMPRINT_STEPS)

    found = bench._inverted(latents)[0].numpy()

    # The pipeline's scheduler rounds the time at which the model is asked.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    assert record.fingerprint == fingerprint.fingerprint(picture)


def test_an_imprinted_picture_is_nearer_to_the_noise(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "IMPRINT_ROUNDS", 8)
    monkeypatch.setattr(replay, "ATTACKER_STEPS", 4)
    picture, _ = bench.marked(1)
    steps = replay.IMPRINT_STEPS
    target = bench.inverter.noise(picture, steps=replay.ATTACKER_STEPS)
    cover = bench.generate("hat", generator=bench._draw("cover", 1))
    forged = bench.imprinted(picture, 1)
    away = [
        float(np.mean((bench.inverter.noise(p, steps=steps) - target) ** 2))
        for p in (cover, forged)
    ]

    assert away[1] < away[0]


def test_every_forgery_is_of_another_class() -> None:
    assert all(replay._other(i) != replay._class(i) for i in range(200))
    assert len({replay._other(i) for i in range(0, 100, 10)}) == 9


def test_a_run_goes_on(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: replay.CHANGES[name] for name in replay.DECISIVE}
    quick = {name: (change, "quick") for name, (change, _) in kept.items()}
    monkeypatch.setattr(replay, "CHANGES", quick)
    monkeypatch.setattr(replay, "SAME_FRAME", replay.DECISIVE)
    monkeypatch.setattr(replay, "QUICK", 2)
    monkeypatch.setattr(replay, "IMPRINT_ROUNDS", 2)
    first, again = replay.measure(options), replay.measure(options)

    assert (first.new, again.new) == (len(KINDS), 0)
    assert first.tables == again.tables
    assert len(first.targets) == 3 * len(replay.DECISIVE)


def test_features_are_compared_pair_by_pair(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "QUICK", 2)
    monkeypatch.setattr(features, "PERMUTATIONS", 99)
    first, again = features.measure(options), features.measure(options)
    rows = first.tables[0].rows

    assert (first.new, again.new) == (1, 0)
    assert first.tables == again.tables
    # One pair has two orders, and both have the same distance.
    assert [row[3] for row in rows] == [1.0, 1.0]
