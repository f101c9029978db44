"""Marks and their inversion on pipelines whose denoiser is exact.

Trained models err, and tests on them cannot tell their error from inversion's. Here the
truth is a formula: what generation must make of its noise, what noise a picture still
holds, and how near inversion comes to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analytic import WORDS, Classes, Level, analytic_pipeline, levels
from PIL import Image

from watermark.api import Watermark
from watermark.invert.latents import Inverter
from watermark.keys import Key
from watermark.pipelines import diffusers as host
from watermark.record import Record
from watermark.report import Verdict
from watermark.schemes import SCHEMES

OBJECTIVES = pytest.mark.parametrize("objective", ["eps", "flow"])
LEVELS: tuple[Level, ...] = ((0.95, math.sqrt(1 - 0.95**2)), (0.6, 0.8), (0.3, 0.7))
STEPS = 50
CALL: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": 1.0}
KEY = Key(bytes((*range(1, 32), 0)))


def noise(count: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, 32, 32, generator=generator)


def rho(found: Any, true: torch.Tensor) -> float:
    pair = np.asarray(found).ravel(), true.numpy().ravel()
    return float(np.corrcoef(*pair)[0, 1])


def made(pipe: Any, start: torch.Tensor, **more: Any) -> Any:
    return pipe("", latents=start.clone(), **{**CALL, **more}).images


# --- the denoiser --------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_no_denoiser_of_a_class_errs_less(level: Level) -> None:
    """The error of the best guess is known, and what it leaves is not in the state."""
    law = Classes(1)
    signal, spread = level
    clean, true = law.sample(0, 200, seed=2), noise(200).double()
    states = signal * clean + spread * true
    _, guess = law.split(states, level, torch.ones(200, 1, dtype=torch.bool))
    left = law.amplitudes(true - guess)
    signals = signal**2 * law.variances
    least = signals / (signals + spread**2)
    white = law.amplitudes(states) - signal * law.means[0]
    white /= (signals + spread**2).sqrt()

    assert float(left.square().mean()) == pytest.approx(float(least.mean()), rel=0.01)
    # 819,200 products of mean 0 and variance `least`: four standard deviations.
    assert abs(float((left * white).mean())) < 4 * math.sqrt(
        float(least.mean()) / left.numel()
    )


def test_without_a_prompt_the_class_is_told_by_the_state() -> None:
    """By Bayes' rule, computed here class by class with the densities written out."""
    law = Classes(3)
    normal: Any = torch.distributions.Normal
    level = signal, spread = 0.02, 1.0
    states = signal * law.sample(1, 4, seed=3) + noise(4)
    answer, _ = law.split(states, level, torch.ones(4, 3, dtype=torch.bool))

    seen = law.amplitudes(states)
    total = signal**2 * law.variances + spread**2
    for state in range(4):
        logs = torch.stack(
            [
                normal(signal * mean, total.sqrt()).log_prob(seen[state]).sum()
                for mean in law.means
            ]
        )
        share = logs.softmax(0)
        each = [
            law.split(states[state : state + 1], level, torch.eye(3)[k : k + 1] > 0)[0]
            for k in range(3)
        ]
        weighed = torch.einsum("k,kchw->chw", share, torch.cat(each))
        assert torch.allclose(answer[state], weighed)
        assert float(share.max()) < 0.95, "one class alone proves nothing"


def test_a_prompt_names_its_class() -> None:
    pipe = analytic_pipeline("eps")
    law = pipe.unet.classes
    start = noise()
    for label, word in enumerate(WORDS):
        found = pipe(
            f"a photo of a {word}", latents=start.clone(), output_type="latent", **CALL
        ).images
        seen = law.amplitudes(found)
        distances = ((seen - law.means).square() / law.variances).mean((1, 2, 3))
        assert int(distances.argmin()) == label


# --- generation and inversion against the closed form --------------------------------


@OBJECTIVES
def test_more_steps_come_nearer_to_the_solution_of_the_ode(objective: Any) -> None:
    pipe = analytic_pipeline(objective, classes=1)
    law, start = pipe.unet.classes, noise(2)
    errors = []
    for steps in (10, 40, 160):
        first, last = levels(pipe, steps)
        exact = law.carry(start, first, last)
        found = made(
            pipe,
            start,
            num_inference_steps=steps,
            num_images_per_prompt=2,
            output_type="latent",
        )
        errors.append(float((found - exact).norm() / exact.norm()))

    # DDIM is of first order in the steps, UniPC of second.
    order = {"eps": 1, "flow": 2}[objective]
    assert errors[0] > 2**order * errors[1] > 4**order * errors[2]
    assert errors[2] < 0.015


@OBJECTIVES
def test_inversion_comes_near_to_the_exact_inverse(objective: Any) -> None:
    """The exact one is `carry` backwards from the picture's own latents."""
    pipe = analytic_pipeline(objective, classes=1)
    start = noise()
    [image] = made(pipe, start)
    pixels = np.asarray(image)
    inverter = Inverter(pipe)
    first, last = levels(pipe, STEPS)
    scale = pipe.vae.config.scaling_factor
    clean = torch.from_numpy(inverter.latents(pixels))[None] * scale
    ideal = pipe.unet.classes.carry(clean, last, first).numpy()
    best = rho(ideal, start)
    errors = []
    for steps in (4, 16, 64, 256):
        found = inverter.noise(pixels, steps=steps)
        errors.append(float(np.linalg.norm(found - ideal) / np.linalg.norm(ideal)))
        assert rho(found, start) < best + 0.001, "found more than there is"

    assert best > 0.985
    assert rho(clean, start) < 0.5, "the noise can be read without any inversion"
    for coarse, fine in pairwise(errors):
        assert coarse > 1.5 * fine
    assert errors[3] < 0.06
    assert rho(found, start) > best - 0.005


def test_guidance_costs_some_of_the_noise() -> None:
    """Inversion follows the ODE without it; for a flow, guidance bends all its steps.

    Stable Diffusion's betas leave so much signal in their first state that an exact
    denoiser knows the class at once, and guidance has nothing to do.
    """
    start = noise()
    found: dict[str, list[float]] = {}
    objectives: tuple[Any, ...] = ("eps", "flow")
    for objective in objectives:
        pipe: Any = analytic_pipeline(objective)
        inverter = Inverter(pipe)
        for guidance in (1.0, 3.0, 7.5):
            [image] = pipe(
                "a photo of a hat",
                latents=start.clone(),
                num_inference_steps=STEPS,
                guidance_scale=guidance,
            ).images
            rhos = found.setdefault(objective, [])
            rhos.append(rho(inverter.noise(np.asarray(image), steps=STEPS), start))

    assert found["eps"] == pytest.approx([found["eps"][0]] * 3, abs=0.002)
    assert found["eps"][0] > 0.98
    assert found["flow"][0] > 0.98
    assert found["flow"][0] > found["flow"][1] + 0.02 > found["flow"][2] + 0.1


# --- marks ---------------------------------------------------------------------------


@OBJECTIVES
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_mark_is_verified_in_the_picture(
    objective: Any, guidance: float, tmp_path: Path
) -> None:
    pipe: Any = analytic_pipeline(objective)
    record = SCHEMES["noise"].record(KEY, nonce_bits=8)
    records: list[Record] = []

    def sink(made: Sequence[Record], outputs: Sequence[Any]) -> None:
        records.extend(made)

    def image(seed: int) -> Image.Image:
        picture: Image.Image = pipe(
            "a photo of a dress",
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        return picture

    with host.attach(pipe, record, sink, provider="Acme"):
        marked = image(1)
    plain = image(1)
    [told] = records

    w = Watermark.create(tmp_path / "home", provider="Acme")
    reports = [w.verify(i, pipeline=pipe, keys=record) for i in (marked, plain)]
    w.home.ledger.close()
    found, other = (
        next(e for e in report.evidence if e.scheme == "noise") for report in reports
    )

    assert found.log10_p is not None
    assert other.log10_p is not None
    assert found.log10_p < -6
    assert found.payload == told.marks[0].mark_id
    assert reports[0].verdict == Verdict.MARKED
    assert other.log10_p > -3
    assert reports[1].verdict != Verdict.MARKED
