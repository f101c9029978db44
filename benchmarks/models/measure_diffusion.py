"""Measure how well inversion finds the initial noise of a trained model.

    python benchmarks/models/measure_diffusion.py --model benchmarks/models/flow

An image is made from known noise, then taken back: straight from its latents, through
decoder, 8-bit pixels and encoder, and through JPEG quality 75 as well. Inversion knows
neither prompt nor guidance: empty prompt, guidance 1, and the inverse schedulers that
verification uses, asked once a step. Reported for each route are rho, the correlation
of the noise found with the true noise, and the share of equal signs.
"""

from __future__ import annotations

import argparse
import io
import platform
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from rich.progress import track
from torch import Tensor
from train_denoiser import CLASSES
from training import write_json

from watermark.invert.schedules import inverse_of

ROUTES = ("latents", "png", "jpeg75")
GUIDANCES = (3.0, 7.5)
STEPS = ((50, 50), (50, 20), (50, 10), (50, 0))  # of generation, of inversion
BATCH = 10


def main() -> None:
    """Measure every setting and write ``measured.json`` beside the weights."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(args.model)
    pipeline.to(args.device).set_progress_bar_config(disable=True)
    report = {
        "images": args.images,
        "scheduler": type(pipeline.scheduler).__name__,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": args.threads,
        "device": args.device,
        "seconds_per_image": round(time_one(pipeline), 2),
        "round_trip": round_trip(pipeline, args.images, seed=args.seed),
        "inversion": measure(pipeline, args.images, seed=args.seed),
    }
    write_json(report, args.model / "measured.json")


@torch.no_grad()
def measure(
    pipeline: StableDiffusionPipeline, count: int, *, seed: int
) -> list[dict[str, object]]:
    """Mean rho and sign agreement over ``count`` images, for each setting and route."""
    found: dict[tuple[float, int, int, str], list[tuple[float, float]]] = {}
    jobs = [(g, at) for g in GUIDANCES for at in range(0, count, BATCH)]
    for guidance, at in track(jobs, "inversion"):
        noise = _noise(seed + at, min(BATCH, count - at)).to(pipeline.device)
        for made in sorted({made for made, _ in STEPS}):
            clean = generate(pipeline, noise, at, guidance=guidance, steps=made)
            for route in ROUTES:
                start = travel(pipeline, clean, route)
                for steps in (back for forth, back in STEPS if forth == made):
                    guess = invert(pipeline, start, steps=steps)
                    key = (guidance, made, steps, route)
                    found.setdefault(key, []).extend(compare(noise, guess))
    return [_row(key, pairs) for key, pairs in found.items()]


def generate(
    pipeline: StableDiffusionPipeline,
    noise: Tensor,
    first: int,
    *,
    guidance: float,
    steps: int,
) -> Tensor:
    """Latents of one image per noise, the prompts going through the classes."""
    names = [CLASSES[(first + i) % len(CLASSES)] for i in range(len(noise))]
    latents: Tensor = pipeline(
        [f"a photo of a {name}" for name in names],
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=noise.clone(),
        output_type="latent",
    ).images
    return latents


def travel(pipeline: StableDiffusionPipeline, latents: Tensor, route: str) -> Tensor:
    """The latents that a verifier has after ``route``."""
    if route == "latents":
        return latents
    images = decode(pipeline, latents)
    if route == "jpeg75":
        images = [_jpeg(image, 75) for image in images]
    return encode(pipeline, images)


def decode(pipeline: StableDiffusionPipeline, latents: Tensor) -> list[Image.Image]:
    """Images of 8 bits."""
    pixels = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    images: list[Image.Image] = pipeline.image_processor.postprocess(pixels)
    return images


def encode(pipeline: StableDiffusionPipeline, images: list[Image.Image]) -> Tensor:
    """The posterior mean of each image, scaled as the denoiser expects."""
    pixels = pipeline.image_processor.preprocess(images).to(pipeline.device)
    mean: Tensor = pipeline.vae.encode(pixels).latent_dist.mean
    return mean * float(pipeline.vae.config.scaling_factor)


def invert(pipeline: StableDiffusionPipeline, latents: Tensor, *, steps: int) -> Tensor:
    """The noise that sampling, run backwards with an empty prompt, ends at.

    In no steps it gets nowhere, which shows what is left of the noise without it.
    """
    if not steps:
        return latents
    scheduler = inverse_of(pipeline.scheduler)
    scheduler.set_timesteps(steps)
    hidden, _ = pipeline.encode_prompt([""] * len(latents), latents.device, 1, False)
    for time_step in scheduler.timesteps:
        guess = pipeline.unet(latents, time_step, hidden).sample
        latents = scheduler.step(guess, time_step, latents).prev_sample
    return latents


def compare(noise: Tensor, guess: Tensor) -> list[tuple[float, float]]:
    """Correlation and share of equal signs, for each image."""
    rows = zip(noise.flatten(1).cpu(), guess.flatten(1).cpu(), strict=True)
    return [
        (
            float(torch.corrcoef(torch.stack((true, seen)))[0, 1]),
            float((true.sign() == seen.sign()).float().mean()),
        )
        for true, seen in rows
    ]


@torch.no_grad()
def round_trip(
    pipeline: StableDiffusionPipeline, count: int, *, seed: int
) -> dict[str, float]:
    """Correlation of generated latents with what the encoder finds of them."""
    noise = _noise(seed, count).to(pipeline.device)
    clean = generate(pipeline, noise, 0, guidance=3.0, steps=20)
    found = {}
    for route in ROUTES[1:]:
        pairs = compare(clean, travel(pipeline, clean, route))
        found[route] = round(float(np.mean([rho for rho, _ in pairs])), 4)
    return found


def time_one(pipeline: StableDiffusionPipeline) -> float:
    """Seconds for one image of fifty steps, the better of two: of the processor,
    or of the clock where a GPU does the work.
    """
    cpu = pipeline.device.type == "cpu"
    clock = time.process_time if cpu else time.perf_counter
    seconds = []
    for _ in range(2):
        start = clock()
        pipeline("a photo of a dress", num_inference_steps=50)
        seconds.append(clock() - start)
    return min(seconds)


def _row(
    key: tuple[float, int, int, str], pairs: list[tuple[float, float]]
) -> dict[str, object]:
    rho, signs = np.array(pairs).T
    return {
        "guidance": key[0],
        "steps": key[1],
        "inversion_steps": key[2],
        "route": key[3],
        "rho": round(float(rho.mean()), 4),
        "rho_std": round(float(rho.std()), 4),
        "rho_min": round(float(rho.min()), 4),
        "signs": round(float(signs.mean()), 4),
    }


def _noise(seed: int, count: int) -> Tensor:
    generators = (torch.Generator().manual_seed(seed + i) for i in range(count))
    return torch.stack([torch.randn(4, 32, 32, generator=g) for g in generators])


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _arguments() -> argparse.Namespace:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=here / "diffusion")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
