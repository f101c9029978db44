"""What happens to pictures: functions of uint8 RGB pixels (height, width, 3).

All are deterministic, those that draw something by the seed they are given. Strengths
are usual ones of the field, scaled to pictures of 128 x 128 where they have a length.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Pixels = NDArray[np.uint8]
Attack = Callable[[Pixels, int], Pixels]  # (picture, seed)

NOISE = 0.05  # standard deviation, of the range of pixels
BLUR = 1.0  # radius in pixels
ENHANCE = 1.5  # factor of brightness, of contrast
CROP = 0.75  # of each side
DEGREES = 5.0
STRENGTHS = (0.2, 0.4)  # of img2img


def none(pixels: Pixels, seed: int) -> Pixels:
    """As it is."""
    return pixels


def compress(pixels: Pixels, seed: int, *, kind: str, quality: int) -> Pixels:
    """Through a JPEG or WebP file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, quality=quality)
    data.seek(0)
    return _array(Image.open(data).convert("RGB"))


def resize(pixels: Pixels, seed: int) -> Pixels:
    """Half the size, and back."""
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((width // 2, height // 2), BICUBIC)
    return _array(small.resize((width, height), BICUBIC))


def noise(pixels: Pixels, seed: int) -> Pixels:
    """White Gaussian noise."""
    drawn = np.random.default_rng(seed).normal(0, 255 * NOISE, pixels.shape)
    return np.clip(np.rint(pixels + drawn), 0, 255).astype(np.uint8)


def blur(pixels: Pixels, seed: int) -> Pixels:
    """A Gaussian blur."""
    return _array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR)))


def brightness(pixels: Pixels, seed: int) -> Pixels:
    """Brighter."""
    return _array(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(ENHANCE))


def contrast(pixels: Pixels, seed: int) -> Pixels:
    """More contrast."""
    return _array(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(ENHANCE))


def crop(pixels: Pixels, seed: int, *, centred: bool) -> Pixels:
    """A part of the picture, enlarged to the old size: not a frame painted black."""
    height, width = pixels.shape[:2]
    rows, columns = round(height * CROP), round(width * CROP)
    top, left = (height - rows) // 2, (width - columns) // 2
    if not centred:
        rng = np.random.default_rng(seed)
        top = int(rng.integers(height - rows + 1))
        left = int(rng.integers(width - columns + 1))
    part = pixels[top : top + rows, left : left + columns]
    return _array(Image.fromarray(part).resize((width, height), BICUBIC))


def flip(pixels: Pixels, seed: int) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(pixels[:, ::-1])


def turn(pixels: Pixels, seed: int) -> Pixels:
    """A quarter turn."""
    return np.ascontiguousarray(np.rot90(pixels))


def rotate(pixels: Pixels, seed: int) -> Pixels:
    """A small rotation; the corners turn black."""
    return _array(Image.fromarray(pixels).rotate(DEGREES, BICUBIC))


def through_vae(pixels: Pixels, seed: int, *, pipe: Any) -> Pixels:
    """Encoded and decoded by the generator's own autoencoder."""
    with torch.inference_mode():
        latents = pipe.vae.encode(pipe.image_processor.preprocess(_image(pixels)))
        decoded = pipe.vae.decode(latents.latent_dist.mode()).sample
    return _array(pipe.image_processor.postprocess(decoded)[0])


def img2img(
    pixels: Pixels, seed: int, *, pipe: Any, strength: float, steps: int
) -> Pixels:
    """Noised and generated again by the same model, with an empty prompt."""
    from diffusers import StableDiffusionImg2ImgPipeline

    again: Any = StableDiffusionImg2ImgPipeline(
        **pipe.components, requires_safety_checker=False
    )
    again.set_progress_bar_config(disable=True)
    made = again(
        "",
        image=_image(pixels),
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(seed),
    )
    return _array(made.images[0])


def listed(pipe: Any, steps: int) -> dict[str, Attack]:
    """Every attack, by the name of its row.

    Args:
        pipe: the generator, for what is done with a model.
        steps: of its denoising.
    """
    jpegs = {
        f"JPEG {q}": functools.partial(compress, kind="JPEG", quality=q)
        for q in (90, 75, 50, 25)
    }
    again = {
        f"img2img {s:g}": functools.partial(img2img, pipe=pipe, strength=s, steps=steps)
        for s in STRENGTHS
    }
    return {
        "none": none,
        **jpegs,
        "WebP 50": functools.partial(compress, kind="WEBP", quality=50),
        "resize 0.5": resize,
        f"Gaussian noise {NOISE:g}": noise,
        f"blur {BLUR:g} px": blur,
        f"brightness {ENHANCE:g}": brightness,
        f"contrast {ENHANCE:g}": contrast,
        f"crop {CROP:.0%}, centre": functools.partial(crop, centred=True),
        f"crop {CROP:.0%}, anywhere": functools.partial(crop, centred=False),
        "flip": flip,
        "quarter turn": turn,
        f"rotation {DEGREES:g} degrees": rotate,
        "VAE round trip": functools.partial(through_vae, pipe=pipe),
        **again,
    }


BICUBIC = Image.Resampling.BICUBIC


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def _array(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.uint8)
