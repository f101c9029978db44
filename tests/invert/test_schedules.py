"""Inverse schedulers against the one case where the ODE has a closed form.

For Gaussian data every frequency goes its own way: a clean amplitude with variance c is
the noise times sqrt(c), whatever the schedule, and the ideal denoiser is a gain. The
spectrum is that of photographs; some noise stands for encoder and eight bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    IPNDMScheduler,
    UniPCMultistepScheduler,
)
from numpy.typing import NDArray

from watermark.errors import UnsupportedPipeline
from watermark.invert.schedules import InverseAngle, InverseFlow, inverse_of

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SIZE = 32
OBSERVED = 0.05


def spectrum(power: float = 2.0) -> NDArray[np.float64]:
    axis = np.fft.fftfreq(SIZE)
    across, down = np.meshgrid(axis, axis, indexing="ij")
    frequency = np.hypot(across, down)
    frequency[0, 0] = 1 / SIZE
    variance = frequency**-power
    return np.asarray(variance / variance.mean(), dtype=np.float64)


def gain(scheduler: Any, steps: int, power: float = 2.0, **more: Any) -> Any:
    """What the inversion makes of a clean amplitude 1 of each frequency."""
    inverse = inverse_of(scheduler, **more)
    inverse.set_timesteps(steps)
    c = torch.as_tensor(spectrum(power))
    state = torch.ones_like(c) * getattr(inverse, "spread", 1.0)
    for time in inverse.timesteps:
        kind, signal, noise = told(inverse, float(time))
        given = inverse.scale_model_input(state, time)
        total = signal**2 * c + noise**2
        epsilon = noise / total * given
        clean = signal * c / total * given
        output = {
            "flow": epsilon - clean,
            "epsilon": epsilon,
            "v_prediction": signal * epsilon - noise * clean,
            "opposite": noise * clean - signal * epsilon,
            "sample": clean,
        }[kind]
        state = inverse.step(output, time, state, return_dict=False)[0]
    return state.numpy()


def told(inverse: Any, time: float) -> tuple[str, float, float]:
    """What a model says of a state, and the state's (signal, noise), at a time.

    The data of EDM have a spread of their own; `c` is in units of it.
    """
    if isinstance(inverse, InverseFlow):
        return "flow", 1 - time / 1000, time / 1000
    if isinstance(inverse, InverseAngle):
        sigma = math.exp(4 * time) / inverse.spread
        angle = time * math.pi / 2 if inverse.turns else math.atan(sigma)
        opposite = not inverse.turns and inverse.config.prediction_type == "epsilon"
        kind = "opposite" if opposite else "v_prediction"
        return kind, math.cos(angle), math.sin(angle)
    alpha = float(inverse.alphas_cumprod[int(time)])
    return inverse.config.prediction_type, alpha**0.5, (1 - alpha) ** 0.5


def rho(gains: NDArray[np.float64], power: float = 2.0) -> float:
    """Correlation of the noise found with the noise used."""
    c = spectrum(power)
    spread = np.sqrt((gains**2 * (c + OBSERVED**2)).sum() * gains.size)
    return float((gains * np.sqrt(c)).sum() / spread)


def ddim(kind: str = "epsilon") -> Any:
    return DDIMScheduler(**BETAS, prediction_type=kind, clip_sample=False)


SCHEDULERS: dict[str, Callable[[], Any]] = {
    "ddim": ddim,
    "velocity": lambda: ddim("v_prediction"),
    "sample": lambda: ddim("sample"),
    "dpm-solver++": lambda: DPMSolverMultistepScheduler(**BETAS),
    "euler": lambda: EulerDiscreteScheduler(**BETAS),
    "flow": lambda: FlowMatchEulerDiscreteScheduler(),
    "shifted flow": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "edm": lambda: EDMEulerScheduler(),
    "edm solver": lambda: EDMDPMSolverMultistepScheduler(sigma_max=500.0),
    "edm velocity": lambda: EDMEulerScheduler(
        prediction_type="v_prediction", sigma_schedule="exponential", sigma_data=1.0
    ),
    "continuous": lambda: EulerDiscreteScheduler(
        **BETAS,
        prediction_type="v_prediction",
        timestep_type="continuous",
        sigma_min=0.002,
        sigma_max=700.0,
    ),
    "ipndm": lambda: IPNDMScheduler(),
    "unipc flow": lambda: UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    ("steps", "least"), [(1, 0.97), (2, 0.985), (4, 0.985), (8, 0.985)]
)
def test_few_steps_find_the_noise(name: str, steps: int, least: float) -> None:
    """The unchanged clean state correlates 0.74; an exact inverse 0.9955."""
    found = rho(gain(SCHEDULERS[name](), steps))
    print(f"{name}: {steps} steps: rho {found:.4f}")

    assert rho(np.ones((SIZE, SIZE))) < 0.75
    assert found > least


@pytest.mark.parametrize("name", ["ddim", "flow", "edm"])
def test_many_steps_are_the_exact_inverse(name: str) -> None:
    """Gains become 1 / sqrt(c), up to what is left of the signal at the last level."""
    exact = spectrum() ** -0.5
    error = [
        np.abs(gain(SCHEDULERS[name](), steps) / exact - 1)[exact > 0.2].max()
        for steps in (10, 100, 500)
    ]

    assert error[0] > 2 * error[2]
    assert error[1] < 0.06
    assert error[2] < 0.06


@pytest.mark.parametrize("name", ["ddim", "flow", "edm"])
def test_a_second_round_brings_the_steps_nearer_to_the_inverse(name: str) -> None:
    once, twice = (rho(gain(SCHEDULERS[name](), 8, rounds=rounds)) for rounds in (1, 2))

    assert twice > once


@pytest.mark.parametrize("name", ["ddim", "flow", "edm"])
@pytest.mark.parametrize("start", [0.8, 0.5, 0.3])
def test_a_lower_start_ends_at_its_own_level(name: str, start: float) -> None:
    inverse = inverse_of(SCHEDULERS[name](), start=start)
    inverse.set_timesteps(4)

    assert len(inverse.timesteps) == 4
    assert float(inverse.timesteps.max()) < (1000 * start if name != "edm" else 1)
    assert rho(gain(SCHEDULERS[name](), 4, start=start)) > 0.85


@pytest.mark.parametrize("name", ["edm", "edm velocity", "continuous", "ipndm"])
def test_what_the_sampler_itself_makes_goes_back(name: str) -> None:
    """Its own levels, preconditioning and times, with the data's ideal denoiser."""
    scheduler = SCHEDULERS[name]()
    inverse = inverse_of(scheduler)
    c = torch.as_tensor(spectrum()) * inverse.spread**2
    noise = torch.randn(c.shape, generator=torch.Generator().manual_seed(1)).double()
    scheduler.set_timesteps(50)
    state = noise * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        given = scheduler.scale_model_input(state, time)
        kind, signal, spread = told(inverse, float(time))
        # Of unit data, `given` is signal * clean + spread * noise.
        total = signal**2 * c / inverse.spread**2 + spread**2
        velocity = (signal * spread - spread * signal * c / inverse.spread**2) / total
        output = velocity * given * (-1 if kind == "opposite" else 1)
        state = scheduler.step(output, time, state).prev_sample
    clean = np.asarray(state)
    found = clean / inverse.spread * gain(scheduler, 8)

    assert np.corrcoef(clean.ravel(), np.asarray(noise).ravel())[0, 1] < 0.8
    assert np.corrcoef(found.ravel(), np.asarray(noise).ravel())[0, 1] > 0.97


def test_the_pipelines_own_sigmas_are_followed() -> None:
    """Dynamic shifting takes its shift from the call, a terminal shift from config."""
    levels = []
    for mu in (0.5, 1.15):
        inverse = inverse_of(
            FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, stochastic_sampling=True
            )
        )
        inverse.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=mu)
        levels.append(inverse.sigmas.numpy())
        assert not inverse.config.stochastic_sampling

    assert (levels[0][:1], len(levels[0])) == (0, 5)
    assert (levels[1][1:4] > levels[0][1:4] + 0.05).all()
    assert levels[0][4] == levels[1][4] == 1


def test_the_pipelines_scheduler_is_left_alone() -> None:
    scheduler = DDIMScheduler(**BETAS, clip_sample=True)
    before = dict(scheduler.config)
    inverse_of(scheduler, rounds=2, start=0.5).set_timesteps(3)

    assert dict(scheduler.config) == before
    assert scheduler.num_inference_steps is None


def test_what_has_no_inverse_is_told() -> None:
    with pytest.raises(UnsupportedPipeline, match="CMStochasticIterative"):
        inverse_of(CMStochasticIterativeScheduler())
    for score in (EDMEulerScheduler(), ddim()):
        score.register_to_config(prediction_type="score")
        with pytest.raises(UnsupportedPipeline, match="score"):
            inverse_of(score)
    inverse = inverse_of(ddim())
    inverse.set_timesteps(1)
    inverse.register_to_config(prediction_type="score")
    with pytest.raises(UnsupportedPipeline, match="score"):
        inverse.step(torch.ones(1, 1), 100, torch.ones(1, 1))


def test_a_loop_that_asks_twice_for_one_step_goes_back_as_well() -> None:
    """As Cosmos does: for the clean sample, to guide it, and with that again."""
    once, twice = (inverse_of(SCHEDULERS["edm"](), rounds=2) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(1, 4, 8, 8, generator=generator)] * 2
    once.set_timesteps(3)
    twice.set_timesteps(3)
    for time in once.timesteps:
        output = torch.randn(1, 4, 8, 8, generator=generator)
        clean = twice.step(output, time, states[1], return_dict=False)[1]
        twice._step_index -= 1
        states = [
            once.step(output, time, states[0], return_dict=False)[0],
            twice.step(clean, time, states[1], pred_original_sample=clean).prev_sample,
        ]

    assert torch.equal(*states)
