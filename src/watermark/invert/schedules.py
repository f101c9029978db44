"""Schedulers that run a pipeline's own denoising loop backwards.

Each step computes the state at the next higher noise level from the lower one, with the
model evaluated at the higher level's time: the explicit inverse of the deterministic
step (DDIM, Song et al. 2021, eq. 12; Euler for rectified flow, Liu et al. 2022). With
`rounds` above 1 the same step is repeated with the model evaluated at its own last
result, a fixed-point iteration (Pan et al. 2023): more accurate, and more costly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from watermark.errors import UnsupportedPipeline


class _Rounds:
    """Repeats every step `rounds` times from the same lower state."""

    rounds = 1
    _below: torch.Tensor | None = None
    _round = 0

    def lower(self, sample: torch.Tensor) -> torch.Tensor:
        """The state below this step, whatever round it is in."""
        if self._round == 0 or self._below is None:
            self._below = sample
        self._round = (self._round + 1) % self.rounds
        return self._below


class InverseDDIM(_Rounds, DDIMScheduler):  # type: ignore[misc]  # untyped base
    """For models that predict noise, velocity or the sample on a beta schedule."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """The generator's own times, lowest first, each repeated `rounds` times."""
        DDIMScheduler.set_timesteps(self, num_inference_steps, device="cpu")
        descending: Any = self.__dict__["timesteps"]
        ascending = torch.as_tensor(descending.numpy()[::-1].copy())
        self.timesteps = ascending.repeat_interleave(self.rounds).to(device)
        self._round = 0

    def step(
        self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True
    ) -> Any:
        """From the state below `timestep` to the state at it."""
        stride = self.config.num_train_timesteps // self.num_inference_steps
        below, target = int(timestep) - stride, int(timestep)
        alpha_below = (
            self.alphas_cumprod[below] if below >= 0 else self.final_alpha_cumprod
        )
        alpha_target = self.alphas_cumprod[target]
        state = self.lower(sample)
        clean, noise = self._split(model_output, sample, alpha_target)
        if self._on_first_round():
            # The lower state stands in for the one at `timestep`: read it at its level.
            clean, noise = self._split(model_output, state, alpha_below, alpha_target)
        else:
            clean = (state - (1 - alpha_below) ** 0.5 * noise) / alpha_below**0.5
        above = alpha_target**0.5 * clean + (1 - alpha_target) ** 0.5 * noise
        return (above,) if not return_dict else type("Step", (), {"prev_sample": above})

    def _on_first_round(self) -> bool:
        return self.rounds == 1 or self._round == 1

    def _split(
        self, output: Any, state: Any, alpha: Any, alpha_model: Any = None
    ) -> tuple[Any, Any]:
        """(clean sample, noise) that the model's output means for a state."""
        kind = self.config.prediction_type
        seen = alpha if alpha_model is None else alpha_model
        if kind == "epsilon":
            noise = output
        elif kind == "v_prediction":
            noise = seen**0.5 * output + (1 - seen) ** 0.5 * state
        elif kind == "sample":
            noise = (state - seen**0.5 * output) / (1 - seen) ** 0.5
        else:
            raise UnsupportedPipeline(f"prediction type {kind!r} cannot be inverted")
        return (state - (1 - alpha) ** 0.5 * noise) / alpha**0.5, noise


class InverseFlow(_Rounds, FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """For rectified-flow models: x at sigma is (1 - sigma) clean + sigma noise."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """The generator's own sigmas, lowest first, each repeated `rounds` times."""
        FlowMatchEulerDiscreteScheduler.set_timesteps(
            self, num_inference_steps, "cpu", sigmas, mu, timesteps
        )
        descending: Any = self.__dict__["sigmas"]
        ascending = descending.numpy()[::-1].copy()  # 0, ..., sigma max
        self._levels = ascending
        times = ascending[1:] * self.config.num_train_timesteps
        self.timesteps = torch.as_tensor(np.repeat(times, self.rounds)).to(device)
        self.sigmas = torch.as_tensor(ascending).to(device)
        self._count = 0
        self._round = 0

    def step(
        self,
        model_output: Any,
        timestep: Any,
        sample: Any,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """From the state below this sigma to the state at it."""
        level = self._count // self.rounds
        self._count += 1
        rise = float(self._levels[level + 1] - self._levels[level])
        above = (self.lower(sample) + rise * model_output).to(model_output.dtype)
        return (above,) if not return_dict else type("Step", (), {"prev_sample": above})


def inverse_of(scheduler: Any, rounds: int) -> Any:
    """A scheduler that runs backwards what `scheduler` runs forwards.

    Raises:
        UnsupportedPipeline: neither a beta schedule nor a rectified flow.
    """
    config = dict(scheduler.config)
    if "FlowMatch" in type(scheduler).__name__:
        inverse: Any = InverseFlow.from_config(config)
    elif "beta_schedule" in config:
        config["clip_sample"] = config["thresholding"] = False
        inverse = InverseDDIM.from_config(config)
    else:
        raise UnsupportedPipeline(
            f"{type(scheduler).__name__} cannot be inverted: expected a scheduler with "
            "a beta schedule, or a flow-matching one"
        )
    inverse.rounds = rounds
    return inverse
