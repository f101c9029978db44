"""Schedulers that run a pipeline's own denoising loop backwards.

Every deterministic sampler follows one ODE, and a step of it is exact where the model's
reading of the state as signal and noise does not change along the step (DDIM, Song et
al. 2021, eq. 12; Euler for rectified flow, Liu et al. 2022). Backwards the same step is
taken from the lower noise level to the higher, so DPM-Solver++, UniPC and the others
invert as DDIM does, to first order.

Only the lower state is at hand. The model is asked about it as if it stood a little
above its own level (`EARLY`, a fraction of the step): asked at the upper level, as is
usual, it sees less noise than it expects; asked at its own, nearly none. On Gaussian
data with the spectrum of photographs, where the ODE is solved in closed form, one
evaluation then finds the noise as well as eight at the upper level. With `rounds` above
1 the step is repeated from the same lower state with the model asked at the upper level
about its own last result, a fixed-point iteration (Pan et al. 2023).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray

from watermark.errors import UnsupportedPipeline

EARLY_TIME = 0.2  # of a step of a beta schedule, in training time
EARLY_SIGMA = 0.35  # of a step of a rectified flow, in sigma


class _Inverse:
    """What both kinds of schedule share: the states of one loop, lowest first.

    Attributes:
        rounds: evaluations of the model per step.
        start: where the loop ends, as a share of the whole time: below 1 for pictures
            that were made from another picture.
        still: whether every step leaves the state as it is.
    """

    order = 1
    init_noise_sigma = 1.0
    rounds = 1
    start = 1.0
    still = False

    def begin(
        self,
        signal: NDArray[np.float64],
        noise: NDArray[np.float64],
        asked: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        """Take the levels: a state is ``signal * clean + noise * noise``.

        Args:
            signal: (steps + 1,), of the lowest level first.
            noise: (steps + 1,).
            asked: (signal, noise), each (steps,), where round one asks the model.
        """
        self._signal, self._noise, self._asked = signal, noise, asked
        self._count = 0
        self._below: Any = None

    def scale_model_input(self, sample: Any, timestep: Any = None) -> Any:
        """The state itself: its signal and noise have unit variance together."""
        return sample

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        """The noise alone: this loop starts from what stands in for it."""
        return noise

    def scale_noise(self, sample: Any, timestep: Any, noise: Any = None) -> Any:
        """As `add_noise`, under the name that rectified flows give it."""
        return noise

    def step(
        self,
        model_output: Any,
        timestep: Any,
        sample: Any,
        *_: Any,
        return_dict: bool = True,
        **__: Any,
    ) -> Any:
        """From the state below a level to the state at it."""
        above = sample if self.still else self._rise(model_output, sample)
        return (above,) if not return_dict else type("Step", (), {"prev_sample": above})

    def _rise(self, output: Any, sample: Any) -> Any:
        index, round_ = divmod(self._count, self.rounds)
        self._count += 1
        if round_ == 0:
            self._below = sample
            signal, noise = (float(level[index]) for level in self._asked)
        else:
            signal, noise = (
                float(self._signal[index + 1]),
                float(self._noise[index + 1]),
            )
        # The model may keep a wider or narrower type than the loop's state.
        guess = self.read(output.float(), sample.float(), signal, noise)
        below = self._below.float()
        clean = (below - float(self._noise[index]) * guess) / float(self._signal[index])
        above = (
            float(self._signal[index + 1]) * clean
            + float(self._noise[index + 1]) * guess
        )
        if self.start < 1 and self._count == len(self._asked[0]) * self.rounds:
            above = guess  # much of that state is still the picture
        return above.to(sample.dtype)

    def read(self, output: Any, state: Any, signal: float, noise: float) -> Any:
        """The noise that the model sees in a state at a level.

        Raises:
            UnsupportedPipeline: the model predicts something else.
        """
        raise NotImplementedError


class InverseDDIM(_Inverse, DDIMScheduler):  # type: ignore[misc]  # untyped base
    """For models that predict noise, velocity or the sample on a beta schedule."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Evenly spaced times, lowest first, the last one the noisiest."""
        self.num_inference_steps = num_inference_steps
        top = self.start * int(self.config.num_train_timesteps)
        upper = top * np.arange(1, num_inference_steps + 1) / num_inference_steps
        levels = np.concatenate([[0.0], np.maximum(np.rint(upper) - 1, 0)])
        asked = np.rint(levels[:-1] + EARLY_TIME * np.diff(levels))
        self.begin(*self._at(levels), self._at(asked))
        later = np.repeat(levels[1:, None], self.rounds - 1, axis=1)
        times = np.concatenate([asked[:, None], later], axis=1).reshape(-1)
        self.timesteps = torch.as_tensor(times.astype(np.int64)).to(device)

    def _at(
        self, times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cumulated = self.alphas_cumprod.double().cpu().numpy()
        alphas = np.clip(cumulated[times.astype(np.int64)], 1e-6, 1 - 1e-6)
        return np.sqrt(alphas), np.sqrt(1 - alphas)

    def read(self, output: Any, state: Any, signal: float, noise: float) -> Any:
        """As `_Inverse.read`."""
        kind = self.config.prediction_type
        if output.shape[1] == 2 * state.shape[1]:  # a variance, too
            output = output[:, : state.shape[1]]
        if kind == "epsilon":
            return output
        if kind == "v_prediction":
            return signal * output + noise * state
        if kind == "sample":
            return (state - signal * output) / noise
        raise UnsupportedPipeline(f"prediction type {kind!r} cannot be inverted")


class InverseFlow(_Inverse, FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """For rectified-flow models: x at sigma is (1 - sigma) clean + sigma noise."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """The pipeline's own sigmas, or even ones, shifted as its config says."""
        given = sigmas if timesteps is None else timesteps
        count = int(num_inference_steps or 1) if given is None else len(given)
        if self.start < 1 or (sigmas is None and timesteps is None):
            sigmas = list(self.start * np.linspace(1, 1 / count, count))
            timesteps = None
        FlowMatchEulerDiscreteScheduler.set_timesteps(
            self, count, "cpu", sigmas, mu, timesteps
        )
        descending: Any = self.__dict__["sigmas"]
        levels = np.sort(descending.double().numpy())
        levels[0] = 0.0  # a clean picture, whatever the schedule stops at
        asked = levels[:-1] + EARLY_SIGMA * np.diff(levels)
        self.begin(1 - levels, levels, (1 - asked, asked))
        later = np.repeat(levels[1:, None], self.rounds - 1, axis=1)
        times = np.concatenate([asked[:, None], later], axis=1).reshape(-1)
        times = times * self.config.num_train_timesteps
        self.timesteps = torch.as_tensor(times.astype(np.float32)).to(device)
        self.sigmas = torch.as_tensor(levels.astype(np.float32)).to(device)

    def read(self, output: Any, state: Any, signal: float, noise: float) -> Any:
        """As `_Inverse.read`: the output is the velocity, noise - clean."""
        return state + signal * output


def inverse_of(
    scheduler: Any, *, rounds: int = 1, start: float = 1.0, still: bool = False
) -> Any:
    """A scheduler that runs backwards what `scheduler` runs forwards.

    Args:
        scheduler: of the pipeline; it is not changed.
        rounds: evaluations of the model per step, at least 1.
        start: share of the whole time at which generation began, in (0, 1].
        still: whether steps shall leave the state as it is (to try a loop out).

    Raises:
        UnsupportedPipeline: neither a beta schedule nor a rectified flow.
    """
    config = dict(scheduler.config)
    flow = (
        "FlowMatch" in type(scheduler).__name__
        or config.get("prediction_type") == "flow_prediction"
    )
    if flow:
        config["stochastic_sampling"] = config["invert_sigmas"] = False
        config.setdefault("shift", config.get("flow_shift") or 1.0)
        inverse: Any = InverseFlow.from_config(_known(InverseFlow, config))
    elif "beta_schedule" in config:
        config["clip_sample"] = config["thresholding"] = False
        inverse = InverseDDIM.from_config(_known(InverseDDIM, config))
    else:
        raise UnsupportedPipeline(
            f"{type(scheduler).__name__} cannot be inverted: expected a scheduler with "
            "a beta schedule, or a flow-matching one"
        )
    inverse.rounds, inverse.start, inverse.still = rounds, start, still
    return inverse


def _known(kind: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Those settings that a scheduler of another class has as well."""
    return {
        name: value
        for name, value in config.items()
        if name in kind._get_init_keys(kind)
    }
