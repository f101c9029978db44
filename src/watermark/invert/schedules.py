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
from diffusers import (
    DDIMScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    IPNDMScheduler,
)
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from numpy.typing import NDArray

from watermark.errors import UnsupportedPipeline

EARLY_TIME = 0.2  # of a step of a beta schedule, in training time
EARLY_SIGMA = 0.35  # of a step of a rectified flow, in sigma
EARLY_ANGLE = 0.35  # of a step of a schedule in sigma alone, in its angle
HIGHEST = 0.999 * np.pi / 2  # where no signal is left
PREDICTIONS = ("epsilon", "v_prediction", "sample")  # on a beta schedule


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
        return SchedulerOutput(prev_sample=above) if return_dict else (above,)

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


class InverseAngle(_Inverse, EDMEulerScheduler):  # type: ignore[misc]
    """For models of x = clean + sigma noise, as EDM (Karras et al. 2022, table 1).

    With clean in units of `sigma_data` and sigma = tan(angle), x cos(angle) is
    ``cos clean + sin noise``, which is the input that the preconditioning makes, and
    the model's output is ``cos noise - sin clean``: a velocity (Lu and Song 2024). The
    loop keeps that state, so a step is DDIM's.

    Attributes:
        spread: of the clean state at which the loop begins, in its own units.
        highest: the angle at which generation began.
        sign: of the velocity in what the model says.
        turns: whether the model is told the angle, as a share of a right one; else a
            quarter of the logarithm of sigma.
    """

    spread, highest, sign, turns = 1.0, HIGHEST, 1.0, True

    def describe(self, scheduler: Any) -> None:
        """Take the settings of the scheduler whose inverse this is."""
        config = scheduler.config
        self.turns = isinstance(scheduler, IPNDMScheduler)
        if self.turns:
            return
        self.spread = float(config.get("sigma_data", 1.0))
        top = float(config["sigma_max"] or scheduler.sigmas.max())
        self.highest = float(np.arctan(top / self.spread))
        self.sign = 1.0 if config["prediction_type"] == "v_prediction" else -1.0

    @property
    def _step_index(self) -> int:
        """The steps so far: a pipeline that asks twice for one takes one back."""
        return self._count

    @_step_index.setter
    def _step_index(self, count: int | None) -> None:
        self._count = count or 0

    def step(self, model_output: Any, *args: Any, **more: Any) -> Any:
        """As `_Inverse.step`; with what the model said, where tuples are wanted."""
        found = super().step(model_output, *args, **more)
        return (*found, model_output) if isinstance(found, tuple) else found

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Evenly spaced angles, lowest first, the last one the noisiest."""
        self.num_inference_steps = num_inference_steps
        levels = np.linspace(0, self.start * self.highest, num_inference_steps + 1)
        asked = levels[:-1] + EARLY_ANGLE * np.diff(levels)
        self.begin(np.cos(levels), np.sin(levels), (np.cos(asked), np.sin(asked)))
        later = np.repeat(levels[1:, None], self.rounds - 1, axis=1)
        angles = np.concatenate([asked[:, None], later], axis=1).reshape(-1)
        sigmas = self.spread * np.tan(angles)
        times = angles / (np.pi / 2) if self.turns else 0.25 * np.log(sigmas)
        self.timesteps = torch.as_tensor(times.astype(np.float32)).to(device)

    def scale_model_input(self, sample: Any, timestep: Any = None) -> Any:
        """The state; at first in units of the data's own spread."""
        return sample if self._count else sample / self.spread

    def _rise(self, output: Any, sample: Any) -> Any:
        return super()._rise(output, self.scale_model_input(sample))

    def read(self, output: Any, state: Any, signal: float, noise: float) -> Any:
        """As `_Inverse.read`."""
        return signal * self.sign * output + noise * state


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
        UnsupportedPipeline: as `inverse_class`.
    """
    kind = inverse_class(scheduler)
    config = dict(scheduler.config)
    if kind is InverseFlow:
        config["stochastic_sampling"] = config["invert_sigmas"] = False
        config.setdefault("shift", config.get("flow_shift") or 1.0)
    config["clip_sample"] = config["thresholding"] = False
    inverse = kind.from_config(_known(kind, config))
    # Pipelines ask their scheduler's config for more than its class takes.
    more = {n: v for n, v in config.items() if n[0] != "_" and n not in inverse.config}
    inverse.register_to_config(**more)
    if kind is InverseAngle:
        inverse.describe(scheduler)
    inverse.rounds, inverse.start, inverse.still = rounds, start, still
    return inverse


def inverse_class(scheduler: Any) -> Any:
    """The class of the scheduler that runs backwards what `scheduler` runs forwards.

    Raises:
        UnsupportedPipeline: its steps are of no ODE that is known here, or the model
            predicts something else.
    """
    if scheduler is None:
        raise UnsupportedPipeline("the pipeline shows no scheduler to invert")
    config: Any = getattr(scheduler, "config", {})
    name, predicted = type(scheduler).__name__, config.get("prediction_type", "epsilon")
    if "FlowMatch" in name or predicted == "flow_prediction":
        return InverseFlow
    if isinstance(scheduler, IPNDMScheduler):
        return InverseAngle
    if isinstance(scheduler, EDMEulerScheduler | EDMDPMSolverMultistepScheduler):
        return _expected(InverseAngle, predicted, PREDICTIONS[:2])
    if config.get("timestep_type") == "continuous" and predicted == "v_prediction":
        return InverseAngle
    if "beta_schedule" in config:
        return _expected(InverseDDIM, predicted, PREDICTIONS)
    raise UnsupportedPipeline(
        f"{name} cannot be inverted: expected a scheduler with a beta schedule, one of "
        "EDM, or a flow-matching one"
    )


def _expected(kind: Any, predicted: Any, known: tuple[str, ...]) -> Any:
    if predicted not in known:
        raise UnsupportedPipeline(f"prediction type {predicted!r} cannot be inverted")
    return kind


def _known(kind: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Those settings that a scheduler of another class has as well."""
    return {
        name: value
        for name, value in config.items()
        if name in kind._get_init_keys(kind)
    }
