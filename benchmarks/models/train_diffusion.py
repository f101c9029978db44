"""Train a small latent diffusion model from photographs, to measure watermarks on.

    python benchmarks/models/train_diffusion.py --data DIR

Random weights let the initial noise pass straight through, so that a mark in it
survives far too well. This model is small but really trained: its images have lost the
noise, and finding it again takes the inversion that a large model needs too.

Three stages, each taken up where it stopped when the command is run again: the
autoencoder, its latents of every photograph, the denoiser. The model is written beside
this file every twenty minutes, as a pipeline that diffusers loads without a network.

`--objective flow` trains a denoiser that predicts a velocity, over the same
autoencoder. Give it the same `--work`, and the first model as `--start`.
"""

from __future__ import annotations

import argparse
import copy
import os
import shutil
from pathlib import Path

import matplotlib as mpl
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from train_autoencoder import (
    KL_WEIGHT,
    cache_latents,
    restoration,
    train_autoencoder,
)
from train_denoiser import (
    CLASSES,
    Denoiser,
    Objective,
    build_denoiser,
    build_scheduler,
    build_tokenizer,
    train_denoiser,
)
from training import SIZE, Stage, load_photos, write_json

mpl.use("Agg")

STEPS = 50  # of DDIM, for the sample grid
GUIDANCES = (3.0, 7.5)  # the recommended one; the one diffusers takes by default


def main() -> None:
    """Run the stages that are not done yet."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    args.work.mkdir(parents=True, exist_ok=True)
    photos = load_photos(args.data, args.work)
    vae, first = train_autoencoder(
        photos,
        work=args.work,
        minutes=args.minutes_ae,
        seed=args.seed,
        device=device,
        start=args.start,
    )
    psnr = round(restoration(vae, photos, device=device), 2)
    latents = cache_latents(vae, photos, work=args.work, device=device)
    tokenizer = build_tokenizer()
    torch.manual_seed(args.seed + 1)
    denoiser = build_denoiser(tokenizer)

    def publish(second: Stage) -> None:
        trained = copy.deepcopy(denoiser)
        trained.load_state_dict(second.averaged())
        pipeline = assemble(vae, trained.eval(), args.objective)
        save_samples(pipeline, args.work / "samples.png", seed=args.seed)
        save_curves((first, second), args.work / "losses.png")
        facts = {
            "objective": args.objective,
            "start": str(args.start) if args.start else None,
            "seed": args.seed,
            "photographs": len(photos.names),
            "kl_weight": KL_WEIGHT,
            "psnr_of_restored": psnr,
            "scaling_factor": vae.config.scaling_factor,
            "torch": torch.__version__,
            "stages": {s.name: _facts(s) for s in (first, second)},
        }
        write_json(facts, args.work / "training.json")
        export(pipeline, args.out, work=args.work)
        for name in ("samples.png", "losses.png", "training.json"):
            shutil.copyfile(args.work / name, args.out / name)

    train_denoiser(
        denoiser,
        tokenizer,
        latents,
        photos.names,
        objective=args.objective,
        scale=vae.config.scaling_factor,
        work=args.work,
        minutes=args.minutes_unet,
        seed=args.seed + 1,
        device=device,
        every=publish,
        start=args.start,
    )


def assemble(
    vae: AutoencoderKL, denoiser: Denoiser, objective: Objective
) -> StableDiffusionPipeline:
    """The trained parts as one pipeline, without safety checker."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.text,
        tokenizer=build_tokenizer(),
        unet=denoiser.unet,
        scheduler=build_scheduler(objective),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(pipeline: StableDiffusionPipeline, out: Path, *, work: Path) -> None:
    """Write the large parts in half precision, then move each file into place."""
    new = work / "export"
    shutil.rmtree(new, ignore_errors=True)
    # diffusers reads its own halves back as float32; transformers would keep them.
    halved = StableDiffusionPipeline(
        **pipeline.components
        | {
            "vae": copy.deepcopy(pipeline.vae).half(),
            "unet": copy.deepcopy(pipeline.unet).half(),
        },
        requires_safety_checker=False,
    )
    halved.save_pretrained(new)
    for source in sorted(path for path in new.rglob("*") if path.is_file()):
        target = out / source.relative_to(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        shutil.copyfile(source, part)
        os.replace(part, target)


@torch.no_grad()
def save_samples(pipeline: StableDiffusionPipeline, path: Path, *, seed: int) -> None:
    """One image per class, in a row for each of GUIDANCES, all from the same noise."""
    pipeline.set_progress_bar_config(disable=True)
    sheet = Image.new("RGB", (SIZE * len(CLASSES), SIZE * len(GUIDANCES)))
    for row, guidance in enumerate(GUIDANCES):
        seeds = range(seed, seed + len(CLASSES))
        images = pipeline(
            [f"a photo of a {name}" for name in CLASSES],
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(s) for s in seeds],
        ).images
        for column, image in enumerate(images):
            sheet.paste(image, (SIZE * column, SIZE * row))
    sheet.save(path, optimize=True)


def save_curves(stages: tuple[Stage, ...], path: Path) -> None:
    """The losses of each stage over its minutes."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(stages), figsize=(9, 3), layout="tight")
    for panel, stage in zip(panels, stages, strict=True):
        minutes = [entry["seconds"] / 60 for entry in stage.history]
        keys = [k for k in stage.history[0] if k not in {"step", "seconds"}]
        for key in keys:
            panel.plot(minutes, [entry[key] for entry in stage.history], label=key)
        panel.set(title=stage.name, xlabel="minutes", yscale="log")
        panel.legend()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _facts(stage: Stage) -> dict[str, object]:
    return {
        "parameters": sum(p.numel() for p in stage.module.parameters()),
        "steps": stage.step,
        "minutes": round(stage.seconds / 60, 1),
        "last": stage.history[-1] if stage.history else None,
    }


def _arguments() -> argparse.Namespace:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="NNNN-class.jpg files")
    parser.add_argument("--objective", choices=("eps", "flow"), default="eps")
    parser.add_argument("--out", type=Path, help="diffusion or flow, beside this file")
    parser.add_argument("--work", type=Path, default=Path("build/train-diffusion"))
    parser.add_argument("--start", type=Path, help="a pipeline whose weights to use")
    parser.add_argument("--minutes-ae", type=float, default=27)
    parser.add_argument("--minutes-unet", type=float, default=75)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.out is None:
        args.out = here / {"eps": "diffusion", "flow": "flow"}[args.objective]
    return args


if __name__ == "__main__":
    main()
