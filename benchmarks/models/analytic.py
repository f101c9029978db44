"""Diffusion pipelines whose denoiser is exact, to check inversion against the truth.

Latents follow a known law: each class is a Gaussian with a mean of its own, and with
the spectrum of photographs. What an ideal denoiser answers is then a formula, with
nothing trained and nothing left to chance, and within one class the denoising ODE is
solved in closed form (`Classes.carry`). The autoencoder is a linear transform, exact
but for 8 bits and clipping. Everything else is diffusers: a `StableDiffusionPipeline`
with prompts, guidance and its own loop, for noise prediction or for a rectified flow.
Nothing is saved and no file is read.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    ModelMixin,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional
from train_denoiser import Objective, build_scheduler, build_tokenizer

SIDE = 32
CHANNELS = 4  # brightness, two colours, vertical edges of the brightness
WORDS = ("dress", "hat", "pants", "shoes")
# Of 384 photographs of clothing under `LinearAutoencoder`: mean variance, and the
# power of the radial frequency that the variances fall with.
SPECTRUM = ((8.6, 2.9), (1.27, 3.5), (0.45, 3.25), (0.28, 0.7))
CONTRAST = 0.5  # of photographs, so that few pixels are clipped
BROAD = 4.0  # classes differ below this radial frequency, in half periods a side
# Times are whole numbers to diffusers' solvers. With these many, levels are exact.
FLOW_TIMES = 1_000_000

Level = tuple[float, float]  # of a state: signal * clean + noise * noise


class Classes:
    """Gaussian latents with a mean for each class and one covariance for all.

    Attributes:
        variances: float64 (CHANNELS, SIDE, SIDE), of cosine amplitudes; mean 1.
        means: float64 (classes, CHANNELS, SIDE, SIDE), in cosine amplitudes.
    """

    def __init__(self, count: int = len(WORDS), *, seed: int = 0) -> None:
        """Draw the means of ``count`` classes."""
        place = torch.arange(SIDE, dtype=torch.float64)
        angles = math.pi / SIDE * torch.outer(place, place + 0.5)
        self._cosines = angles.cos() * math.sqrt(2 / SIDE)
        self._cosines[0] /= math.sqrt(2)
        radius = torch.hypot(place[:, None], place[None])
        rows = []
        for variance, power in SPECTRUM:
            row = (1 + radius) ** -power
            rows.append(row * variance / row.mean())
        spectrum = torch.stack(rows)
        self.variances = spectrum / spectrum.mean()
        generator = torch.Generator().manual_seed(seed)
        shape = (count, CHANNELS, SIDE, SIDE)
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.means = drawn * self.variances.sqrt() * (radius < BROAD)

    def amplitudes(self, latents: Tensor) -> Tensor:
        """The two-dimensional cosine transform, orthonormal, in float64."""
        return self._cosines @ latents.double() @ self._cosines.T

    def latents(self, amplitudes: Tensor) -> Tensor:
        """The inverse of `amplitudes`."""
        return self._cosines.T @ amplitudes.double() @ self._cosines

    def sample(self, label: int, count: int, *, seed: int) -> Tensor:
        """Latents of a class, float64 (count, CHANNELS, SIDE, SIDE)."""
        generator = torch.Generator().manual_seed(seed)
        shape = (count, *self.variances.shape)
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return self.latents(self.means[label] + self.variances.sqrt() * drawn)

    def split(
        self, states: Tensor, level: Level, possible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What an ideal denoiser sees in noisy latents: (clean, noise), expected.

        By Bayes' rule: within a class linear in the state, as for any Gaussian, and
        over the classes weighted by the posterior of each.

        Args:
            states: (batch, CHANNELS, SIDE, SIDE).
            level: of the states.
            possible: bool (batch, classes), those that the prompt leaves.

        Returns:
            Two float64 tensors of the shape of `states`.
        """
        signal, noise = level
        seen = self.amplitudes(states)
        total = signal**2 * self.variances + noise**2
        apart = seen[:, None] - signal * self.means
        odds = -0.5 * (apart.square() / total).sum((2, 3, 4))
        share = odds.masked_fill(~possible, -math.inf).softmax(1)
        mean = torch.einsum("bk,kchw->bchw", share, self.means)
        rest = (seen - signal * mean) / total
        clean = mean + signal * self.variances * rest
        return self.latents(clean), self.latents(noise * rest)

    def carry(
        self, states: Tensor, before: Level, after: Level, label: int = 0
    ) -> Tensor:
        """Where the denoising ODE of one class takes states, in closed form.

        Each amplitude keeps its distance from the mean in units of its own spread,
        which is ``sqrt(signal^2 variance + noise^2)`` (Song et al. 2021, eq. 13, for
        a Gaussian).

        Args:
            states: (batch, CHANNELS, SIDE, SIDE) at the level `before`.
            before: where they are.
            after: where they go, in either direction.
            label: of the class.
        """
        (first, start), (last, end) = before, after
        spread = (last**2 * self.variances + end**2) / (
            first**2 * self.variances + start**2
        )
        mean = self.means[label]
        offset = self.amplitudes(states) - first * mean
        return self.latents(last * mean + spread.sqrt() * offset)


class ExactDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]  # untyped bases
    """Stands for a UNet; the prompt arrives as rows of `WordReader`."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        objective: Objective = "eps",
        classes: int = len(WORDS),
        sample_size: int = SIDE,
        in_channels: int = CHANNELS,
        time_cond_proj_dim: int | None = None,
    ) -> None:
        """Take what to answer, and for how many classes; the rest is for diffusers."""
        super().__init__()
        self.classes = Classes(classes)
        self.register_buffer("kept", build_scheduler("eps").alphas_cumprod.double())

    def level(self, time: float) -> Level:
        """The level of a time of the schedule."""
        if self.config.objective == "flow":
            return 1 - time / FLOW_TIMES, time / FLOW_TIMES
        kept = float(self.kept[int(time)])
        return math.sqrt(kept), math.sqrt(1 - kept)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *_: Any,
        return_dict: bool = True,
        **__: Any,
    ) -> Any:
        """As `UNet2DConditionModel.forward`: noise, or velocity (noise - clean)."""
        named = encoder_hidden_states.amax(1)[:, : self.config.classes] > 0
        possible = named | ~named.any(1, keepdim=True)
        level = self.level(float(timestep))
        clean, noise = self.classes.split(sample, level, possible)
        flow = self.config.objective == "flow"
        answer = (noise - clean if flow else noise).to(sample.dtype)
        return SimpleNamespace(sample=answer) if return_dict else (answer,)


class WordReader(ModelMixin, ConfigMixin):  # type: ignore[misc]  # untyped bases
    """Stands for a text encoder: says which word of `WORDS` stands at each place."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, words: list[int] | None = None) -> None:
        """Take the token of each word."""
        super().__init__()
        self.register_buffer("tokens", torch.tensor(words or [], dtype=torch.int64))
        self.register_buffer("scale", torch.ones(()))  # gives the module a dtype

    def forward(self, ids: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
        """(batch, places) to (batch, places, words), 1 where the word stands."""
        return ((ids[..., None] == self.tokens).to(self.scale.dtype),)


class LinearAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Four orthonormal patterns of each 4 x 4 block; encoding is exact to 8 bits."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (1, 1, 1),
        latent_channels: int = CHANNELS,
        force_upcast: bool = False,
    ) -> None:
        """Take the scale of the latents that the denoiser sees."""
        super().__init__()
        colours = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1], [1, 1, 1]])
        colours = functional.normalize(colours.float())
        flat, edge = torch.ones(4, 4) / 4, torch.ones(4, 4) / 4
        edge[:, 2:] *= -1
        patterns = torch.stack([flat, flat, flat, edge])
        self.register_buffer("weight", torch.einsum("kc,khw->kchw", colours, patterns))

    def encode(self, pixels: Tensor) -> Any:
        """(batch, 3, 4 h, 4 w) in [-1, 1] to latents without any spread."""
        found = functional.conv2d(pixels, self.weight, stride=4)
        return SimpleNamespace(
            latent_dist=SimpleNamespace(
                mean=found, mode=lambda: found, sample=lambda *_: found
            )
        )

    def decode(
        self, latents: Tensor, *_: Any, return_dict: bool = True, **__: Any
    ) -> Any:
        """The picture of these latents and of no other pattern."""
        pixels = functional.conv_transpose2d(latents, self.weight, stride=4)
        return SimpleNamespace(sample=pixels) if return_dict else (pixels,)


def analytic_pipeline(
    objective: Objective = "eps", *, classes: int = len(WORDS)
) -> StableDiffusionPipeline:
    """A pipeline for 128 x 128 pictures of 4 x 32 x 32 latents that never errs.

    A prompt that names one of WORDS gets that class, others any class.

    Args:
        objective: "eps" (DDIM over Stable Diffusion's betas) or "flow" (UniPC over
            even steps of a rectified flow).
        classes: how many, from 1 to 4. With one the ODE has a closed form for every
            prompt.
    """
    tokenizer = build_tokenizer()
    words = [tokenizer(word).input_ids[1] for word in WORDS[:classes]]
    spread = math.sqrt(sum(variance for variance, _ in SPECTRUM) / CHANNELS)
    pipeline = StableDiffusionPipeline(
        vae=LinearAutoencoder(scaling_factor=1 / (CONTRAST * spread)),
        text_encoder=WordReader(words),
        tokenizer=tokenizer,
        unet=ExactDenoiser(objective, classes),
        scheduler=_scheduler(objective),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def levels(pipeline: StableDiffusionPipeline, steps: int) -> tuple[Level, Level]:
    """Where a loop of so many steps takes its noise to stand, and where it ends."""
    pipeline.scheduler.set_timesteps(steps)
    first = pipeline.unet.level(float(pipeline.scheduler.timesteps[0]))
    flow = pipeline.unet.config.objective == "flow"
    return first, (1.0, 0.0) if flow else pipeline.unet.level(0)


def _scheduler(objective: Objective) -> DDIMScheduler | UniPCMultistepScheduler:
    scheduler = build_scheduler(objective)
    if objective == "eps":
        return scheduler
    return UniPCMultistepScheduler.from_config(
        scheduler.config, num_train_timesteps=FLOW_TIMES
    )
