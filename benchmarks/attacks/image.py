"""Pictures: functions of uint8 RGB pixels (height, width, 3).

Strengths are usual ones of the field. What changes the size gives it back, except
where the name says otherwise: a picture that was cut is enlarged to the old size, as
platforms do, and no frame is painted black.
"""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, features

from benchmarks.attacks import Attack, named, swept, untouched

Pixels = NDArray[np.uint8]
Rng = np.random.Generator
BICUBIC = Image.Resampling.BICUBIC


def compressed(pixels: Pixels, rng: Rng, quality: float, *, kind: str) -> Pixels:
    """Through a file of the kind ``JPEG``, ``WEBP`` or ``AVIF``; quality 1 to 100."""
    data = io.BytesIO()
    _image(pixels).save(data, kind, quality=round(quality))
    data.seek(0)
    return _array(Image.open(data).convert("RGB"))


def resized(pixels: Pixels, rng: Rng, factor: float) -> Pixels:
    """To `factor` of each side, and back."""
    return brought(_scaled(_image(pixels), factor), pixels)


def rescaled(pixels: Pixels, rng: Rng, factor: float) -> Pixels:
    """To `factor` of each side; it stays so."""
    return _array(_scaled(_image(pixels), factor))


def noise(pixels: Pixels, rng: Rng, deviation: float) -> Pixels:
    """White Gaussian noise; its standard deviation as a share of the range."""
    drawn = rng.normal(0, 255 * deviation, pixels.shape)
    return np.clip(np.rint(pixels + drawn), 0, 255).astype(np.uint8)


def blurred(pixels: Pixels, rng: Rng, radius: float) -> Pixels:
    """A Gaussian blur; standard deviation in pixels."""
    return _array(_image(pixels).filter(ImageFilter.GaussianBlur(radius)))


def sharpened(pixels: Pixels, rng: Rng, percent: float) -> Pixels:
    """An unsharp mask of 2 pixels."""
    return _array(_image(pixels).filter(ImageFilter.UnsharpMask(2, round(percent))))


def enhanced(pixels: Pixels, rng: Rng, factor: float, *, what: str) -> Pixels:
    """More (above 1) or less ``Brightness``, ``Contrast`` or ``Color``."""
    return _array(getattr(ImageEnhance, what)(_image(pixels)).enhance(factor))


def gamma(pixels: Pixels, rng: Rng, exponent: float) -> Pixels:
    """Every value to a power."""
    return np.rint(255 * (pixels / 255.0) ** exponent).astype(np.uint8)


def cropped(pixels: Pixels, rng: Rng, share: float, *, centred: bool = False) -> Pixels:
    """The part that has `share` of each side, enlarged to the old size."""
    height, width = pixels.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    if not centred:
        top = int(rng.integers(height - rows + 1))
        left = int(rng.integers(width - columns + 1))
    return brought(_image(pixels[top : top + rows, left : left + columns]), pixels)


def rotated(pixels: Pixels, rng: Rng, degrees: float) -> Pixels:
    """Turned about its middle; the corners are black."""
    return _array(_image(pixels).rotate(degrees, BICUBIC))


def flipped(pixels: Pixels, rng: Rng) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(pixels[:, ::-1])


def quarter(pixels: Pixels, rng: Rng) -> Pixels:
    """A quarter turn: height and width change places."""
    return np.ascontiguousarray(np.rot90(pixels))


def overlaid(pixels: Pixels, rng: Rng, share: float) -> Pixels:
    """A grey sticker somewhere, over `share` of the area."""
    height, width = pixels.shape[:2]
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    image = _image(pixels.copy())
    corner = left + columns - 1, top + rows - 1
    ImageDraw.Draw(image).rectangle((left, top, *corner), fill=(128, 128, 128))
    return _array(image)


def screenshot(pixels: Pixels, rng: Rng) -> Pixels:
    """Shown at 90 %, dimmed a little, cut by a few pixels, saved and sent twice."""
    height, width = pixels.shape[:2]
    image = _scaled(_image(pixels), 0.9)
    shown = _array(ImageEnhance.Brightness(image).enhance(0.95))
    edge = max(1, min(height, width) // 100)
    cut = np.ascontiguousarray(shown[edge:-edge, edge:-edge])
    for quality in (85, 75):
        cut = compressed(cut, rng, quality, kind="JPEG")
    return brought(_image(cut), pixels)


def quantised(pixels: Pixels, rng: Rng, colours: float) -> Pixels:
    """To a palette of so many colours, as in a GIF."""
    return _array(_image(pixels).quantize(round(colours)).convert("RGB"))


def through_vae(pixels: Pixels, rng: Rng, *, pipe: Any, vae: Any = None) -> Pixels:
    """Encoded and decoded by an autoencoder, by default the generator's own."""
    vae = vae or pipe.vae
    with torch.inference_mode():
        latents = vae.encode(pipe.image_processor.preprocess(_image(pixels)))
        decoded = vae.decode(latents.latent_dist.mode()).sample
    return _array(pipe.image_processor.postprocess(decoded)[0])


def regenerated(
    pixels: Pixels, rng: Rng, strength: float, *, pipe: Any, steps: int
) -> Pixels:
    """Noised and generated again by the same model, with an empty prompt (img2img)."""
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
        generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
    )
    return _array(made.images[0])


def table(
    pipe: Any = None, steps: int = 20, surrogate: Any = None
) -> dict[str, Attack[Pixels]]:
    """Every attack by its name.

    Args:
        pipe: the generator, for what is done with a model; None leaves that out.
        steps: of its denoising.
        surrogate: another autoencoder, or None: what is done with it is left out.
    """
    through = functools.partial
    attacks: list[Attack[Pixels]] = [
        Attack("none", untouched),
        *swept("JPEG", through(compressed, kind="JPEG"), (90, 75, 50, 25)),
        *swept("WebP", through(compressed, kind="WEBP"), (75, 50)),
        *swept("resize and back", resized, (0.75, 0.5)),
        *swept("resize", rescaled, (0.75, 1.5), moves=True),
        *swept("crop, centre", through(cropped, centred=True), (0.75,), moves=True),
        *swept("crop", cropped, (0.9, 0.75, 0.6, 0.5), moves=True),
        *swept("rotation", rotated, (1, 5), moves=True),
        Attack("flip", flipped, moves=True),
        Attack("quarter turn", quarter, moves=True),
        *swept("brightness", through(enhanced, what="Brightness"), (1.2, 1.5)),
        *swept("contrast", through(enhanced, what="Contrast"), (1.5,)),
        *swept("saturation", through(enhanced, what="Color"), (0.5,)),
        *swept("gamma", gamma, (1.4,)),
        *swept("Gaussian noise", noise, (0.01, 0.02, 0.05, 0.1)),
        *swept("blur", blurred, (1, 2)),
        *swept("sharpen", sharpened, (150,)),
        *swept("palette", quantised, (64,)),
        *swept("overlay", overlaid, (0.1, 0.25)),
        Attack("screenshot", screenshot, moves=True),
    ]
    if features.check("avif"):
        attacks += swept("AVIF", through(compressed, kind="AVIF"), (50,))
    if pipe is not None:
        again = through(regenerated, pipe=pipe, steps=steps)
        attacks += [
            Attack("VAE round trip", through(through_vae, pipe=pipe)),
            *swept("img2img", again, (0.1, 0.2, 0.4, 0.6)),
        ]
    if surrogate is not None:
        other = through(through_vae, pipe=pipe, vae=surrogate)
        attacks.append(Attack("surrogate VAE round trip", other))
    return named(attacks)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def _array(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.uint8)


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, BICUBIC)


def brought(picture: Image.Image | Pixels, like: Pixels) -> Pixels:
    """At the size of another picture."""
    image = picture if isinstance(picture, Image.Image) else _image(picture)
    return _array(image.resize((like.shape[1], like.shape[0]), BICUBIC))
