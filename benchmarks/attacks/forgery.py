"""Marked pictures against each other: what their mark is, taken out or put elsewhere.

Nobody who does this has the key. Re-prompting and imprinting are of Mueller et al. 2024
("Black-box forgery attacks on semantic watermarks"). There the forger has another model
as a surrogate; here the generator itself, which is the best surrogate there can be, and
once with another autoencoder in it. Averaging is of Yang et al. 2024 ("Can simple
averaging defeat modern watermarks?").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.attacks import Attack, named, swept
from benchmarks.attacks.image import Pixels, Rng

STEPS = 10  # of the forger's inversion
ROUNDS, RATE = 10, 0.05  # of gradient descent (Adam) through one step of inversion
AVERAGED = (4, 16, 64)  # marked pictures that an attacker collects
ADDED = 16  # of them for a forgery
SMOOTH = 3  # pixels: what is smoother than this is content


def averaged(pictures: Iterable[Pixels]) -> NDArray[np.float64]:
    """What many marked pictures have in common: their mean, without its smooth part.

    Who subtracts it from a picture removes a mark that is the same in all of them.
    """
    mean = np.mean([p.astype(np.float64) for p in pictures], axis=0)
    image = Image.fromarray(np.clip(np.rint(mean), 0, 255).astype(np.uint8))
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(SMOOTH)), np.float64)
    common: NDArray[np.float64] = mean - smooth
    return common


def subtracted(pixels: Pixels, rng: Rng, *, common: NDArray[np.float64]) -> Pixels:
    """Without what `averaged` found."""
    return np.clip(np.rint(pixels - common), 0, 255).astype(np.uint8)


def added(
    pixels: Pixels, rng: Rng, *, common: NDArray[np.float64], cover: Pixels
) -> Pixels:
    """An unmarked picture with what `averaged` found."""
    return np.clip(np.rint(cover + common), 0, 255).astype(np.uint8)


def reprompted(
    pixels: Pixels, rng: Rng, *, pipe: Any, prompts: Sequence[str], steps: int
) -> Pixels:
    """Another picture, generated from the noise that this one is inverted to."""
    found = torch.from_numpy(_inverted(pipe, pixels))[None]
    return _generated(pipe, _drawn(prompts, rng), steps, found)


def imprinted(
    pixels: Pixels, rng: Rng, *, pipe: Any, prompts: Sequence[str], steps: int
) -> Pixels:
    """An unmarked picture, bent until its inversion is this one's noise."""
    from watermark.invert.latents import Inverter

    target = torch.from_numpy(_inverted(pipe, pixels))[None]
    drawn = torch.from_numpy(rng.standard_normal(target.shape, np.float32))
    cover = _generated(pipe, _drawn(prompts, rng), steps, drawn)
    with torch.inference_mode():
        asked = pipe.encode_prompt("", torch.device("cpu"), 1, False)[0]
    scale = pipe.vae.config.scaling_factor
    start = torch.from_numpy(Inverter(pipe).latents(cover))[None] * scale
    latents = start.clone().requires_grad_()
    descent = torch.optim.Adam([latents], lr=RATE)
    pipe.unet.requires_grad_(False)
    for _ in range(ROUNDS):
        descent.zero_grad()
        loss = (_one_step(pipe, latents, asked.clone()) - target).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        descent.step()
    with torch.inference_mode():
        decoded = pipe.vae.decode(latents.detach() / scale).sample
    return np.asarray(pipe.image_processor.postprocess(decoded)[0], dtype=np.uint8)


def _one_step(pipe: Any, latents: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """The whole inversion in one step, with its gradient."""
    from watermark.invert.schedules import inverse_of

    scheduler = inverse_of(pipe.scheduler)
    scheduler.set_timesteps(1)
    (time,) = scheduler.timesteps
    said = pipe.unet(latents, time, encoder_hidden_states=asked).sample
    above: torch.Tensor = scheduler.step(said, time, latents, return_dict=False)[0]
    return above


def _inverted(pipe: Any, pixels: Pixels) -> NDArray[np.float32]:
    from watermark.invert.latents import Inverter

    return Inverter(pipe).noise(pixels, steps=STEPS)


def _generated(pipe: Any, prompt: str, steps: int, latents: torch.Tensor) -> Pixels:
    made = pipe(prompt, num_inference_steps=steps, latents=latents).images[0]
    return np.asarray(made, dtype=np.uint8)


def _drawn(prompts: Sequence[str], rng: Rng) -> str:
    return prompts[int(rng.integers(len(prompts)))]


def with_vae(pipe: Any, vae: Any) -> Any:
    """The pipeline with another autoencoder in it."""
    parts = {**pipe.components, "vae": vae}
    made: Any = type(pipe)(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def table(
    pipe: Any, prompts: Sequence[str], steps: int, surrogate: Any = None
) -> dict[str, Attack[Pixels]]:
    """Forgeries with a marked picture and its generator: of marks in the noise.

    Args:
        pipe: the generator, a pipeline with a UNet.
        prompts: of pictures to pass off.
        steps: of its denoising.
        surrogate: the generator with another autoencoder, or None.
    """
    with_it = {"pipe": pipe, "prompts": prompts, "steps": steps}
    forgeries: list[Attack[Pixels]] = [
        Attack("forged: prompted anew", partial(reprompted, **with_it), forges=True),
        Attack("forged: imprinted", partial(imprinted, **with_it), forges=True),
    ]
    if surrogate is not None:
        other = partial(imprinted, **with_it | {"pipe": surrogate})
        forgeries.append(Attack("forged: imprinted, surrogate VAE", other, forges=True))
    return named(forgeries)


def averages(
    common: Callable[[int], NDArray[np.float64]],
    cover: Callable[[], Pixels],
    counts: Sequence[int] = AVERAGED,
) -> dict[str, Attack[Pixels]]:
    """What to do with the mean of many pictures of one key.

    Args:
        common: what `averaged` gives of so many; asked for where it is needed.
        cover: an unmarked picture of the same size.
        counts: of pictures, for what subtracts their mean.
    """

    def without(pixels: Pixels, rng: Rng, count: float) -> Pixels:
        return subtracted(pixels, rng, common=common(round(count)))

    def put(pixels: Pixels, rng: Rng) -> Pixels:
        return added(pixels, rng, common=common(ADDED), cover=cover())

    return named(
        [
            *swept("average subtracted, of", without, counts),
            Attack(f"forged: average of {ADDED} added", put, forges=True),
        ]
    )
