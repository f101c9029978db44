"""The training scripts of benchmarks/models: what they aim at, and taking up again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_denoiser
import train_diffusion
import training
from diffusers import DiffusionPipeline
from PIL import Image
from torch import nn

from watermark.invert.schedules import InverseDDIM, InverseFlow, inverse_of

MODELS = Path(__file__).parents[1] / "benchmarks" / "models"
OBJECTIVES = pytest.mark.parametrize("objective", ["eps", "flow"])
CPU = torch.device("cpu")


# --- what is trained is what is sampled ----------------------------------------------


@OBJECTIVES
def test_a_denoiser_that_meets_the_objective_samples_the_data(objective: Any) -> None:
    """With one picture as data there is one answer, and sampling must end there."""
    put = {"eps": train_denoiser._noisy, "flow": train_denoiser._on_the_way}[objective]
    generator = torch.Generator().manual_seed(0)
    clean, state = torch.randn(2, 8, 4, 4, 4, generator=generator)
    scheduler: Any = train_denoiser.build_scheduler(objective)
    scheduler.set_timesteps(50)
    for time in scheduler.timesteps:
        # The noise that was added, if `state` holds `clean`.
        if objective == "flow":
            sigma = float(scheduler.sigmas[scheduler.step_index or 0])
            noise = (state - (1 - sigma) * clean) / sigma
            answer = noise - clean
        else:
            kept = float(scheduler.alphas_cumprod[time])
            answer = (state - kept**0.5 * clean) / (1 - kept) ** 0.5
        state = scheduler.step(answer, time, state, return_dict=False)[0]
    noisy, wanted, times, weight = put(clean, torch.zeros_like(clean), generator)

    # DDIM stops just above the data, at the lowest level it was trained on.
    assert float((state - clean).square().mean()) < 0.001
    assert (wanted == (-clean if objective == "flow" else 0)).all()
    assert (times.diff() > 0).all()
    assert 0 <= float(times.min()) < float(times.max()) < 1000
    assert (weight > 0).all()
    signal = (noisy / clean).flatten(1)
    assert torch.allclose(signal, signal[:, :1].expand_as(signal), atol=1e-4)
    assert (signal[:, 0].diff() < 0).all(), "later times hold less of the picture"


@OBJECTIVES
def test_the_sampler_has_an_inverse(objective: Any) -> None:
    inverse = inverse_of(train_denoiser.build_scheduler(objective))

    assert type(inverse) is {"eps": InverseDDIM, "flow": InverseFlow}[objective]


# --- stages --------------------------------------------------------------------------


def stage(folder: Path, minutes: float) -> training.Stage:
    torch.manual_seed(0)
    return training.Stage(
        *("stage", nn.Linear(4, 4), folder, minutes), rate=1e-2, seed=3, decay=0.9
    )


def fit(made: training.Stage) -> list[float]:
    """What each step drew at random, until the budget is spent."""
    drawn = []

    def losses(generator: torch.Generator, fraction: float) -> Any:
        x = torch.randn(8, 4, generator=generator)
        drawn.append(float(x[0, 0]))
        return {"loss": (made.module(x) - x).square().mean()}

    made.fit(losses, device=CPU)
    return drawn


def test_a_stage_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    first = stage(tmp_path, minutes=0.003)
    one = fit(first)
    again = stage(tmp_path, minutes=0.006)
    restored = {k: v.clone() for k, v in again.module.state_dict().items()}
    averaged = {k: v.clone() for k, v in again.average.items()}
    moments = again.optimiser.state_dict()["state"]
    two = fit(again)
    unbroken = fit(stage(tmp_path / "none", minutes=0.0))

    assert again.step == len(one) + len(two) > len(one) == first.step > 0
    for key, value in first.module.state_dict().items():
        assert torch.equal(restored[key], value)
        assert torch.equal(averaged[key], first.average[key])
    assert float(moments[0]["step"]) == first.step or again.step > first.step
    assert not set(one) & set(two), "a step saw what an earlier one had seen"
    assert again.history[: len(first.history)] == first.history
    assert unbroken == []


def test_a_step_draws_the_same_in_every_run(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = fit(stage(tmp_path, minutes=0.002))
    two = fit(stage(tmp_path / "other", minutes=0.004))
    both = min(len(one), len(two))

    assert both > 1
    assert one[:both] == two[:both]


# --- the whole script ----------------------------------------------------------------


def train(monkeypatch: pytest.MonkeyPatch, *argv: object) -> None:
    minutes = ("--minutes-ae", "0.01", "--minutes-unet", "0.01")
    words = ["train_diffusion.py", *map(str, argv), *minutes]
    monkeypatch.setattr("sys.argv", words)
    train_diffusion.main()


def test_both_objectives_become_pipelines_over_one_autoencoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_diffusion, "STEPS", 1)
    monkeypatch.setattr(train_diffusion, "GUIDANCES", (3.0,))
    data, work, eps, flow = (tmp_path / n for n in ("data", "work", "eps", "flow"))
    data.mkdir()
    rng = np.random.default_rng(0)
    for index, name in enumerate(("dress", "hat", "t-shirt")):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{index:04}-{name}.jpg")
    common = ("--data", data, "--work", work)
    train(monkeypatch, *common, "--out", eps)
    train(monkeypatch, *common, "--out", flow, "--objective", "flow", "--start", eps)
    pipes = [DiffusionPipeline.from_pretrained(out) for out in (eps, flow)]
    facts = [json.loads((out / "training.json").read_text()) for out in (eps, flow)]

    kinds = [type(inverse_of(pipe.scheduler)) for pipe in pipes]
    assert kinds == [InverseDDIM, InverseFlow]
    first, second = (pipe.vae.state_dict() for pipe in pipes)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert [f["objective"] for f in facts] == ["eps", "flow"]
    assert facts[0]["stages"]["autoencoder"] == facts[1]["stages"]["autoencoder"]
    assert facts[0]["stages"].keys() == {"autoencoder", "denoiser"}
    assert facts[1]["stages"].keys() == {"autoencoder", "flow"}
    for out in (eps, flow):
        with Image.open(out / "samples.png") as sheet:
            assert sheet.size == (1280, 128)
        assert (out / "losses.png").is_file()
        sizes = [p.stat().st_size for p in out.rglob("*.safetensors")]
        assert max(sizes) < 12 << 20
    assert pipes[1]("a hat", num_inference_steps=2).images[0].size == (128, 128)


# --- the committed models ------------------------------------------------------------


@pytest.mark.models
@pytest.mark.parametrize("name", ["diffusion", "flow"])
def test_a_models_table_is_what_was_measured(name: str) -> None:
    card = MODELS / name / "MODEL.md"
    if not card.is_file():
        pytest.skip(f"benchmarks/models/{name} is not there: run its training script")
    rows = json.loads((MODELS / name / "measured.json").read_text())["inversion"]
    found = {
        (row["guidance"], row["inversion_steps"], row["route"]): (
            f"{row['rho']:.3f}, {100 * row['signs']:.1f} %"
        )
        for row in rows
    }
    told = re.findall(
        r"^\| ([\d.]+) \| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", card.read_text(), re.M
    )

    assert told
    for guidance, steps, *cells in told:
        for route, cell in zip(("latents", "png", "jpeg75"), cells, strict=True):
            assert cell == found[float(guidance), int(steps), route]
