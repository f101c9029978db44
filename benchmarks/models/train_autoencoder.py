"""The autoencoder: photographs of 128 x 128 to latents of 4 x 32 x 32 and back.

The loss is L1 on pixels and on their differences at three scales, plus a KL term
weighty enough that the posterior has a width: neighbouring latents must decode alike.
Some steps halve the latents and ask for the halved picture (Kouzelis et al. 2025,
"EQ-VAE"): latents then keep a picture's own spectrum, which a denoiser learns far
sooner than the nearly white one that reconstruction alone ends at.
There is no adversary and no borrowed perceptual network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from training import SIZE, Photos, Stage, write_tensors

KL_WEIGHT = 0.003  # per latent number, against L1 per pixel number in [-1, 1]
KL_FROM = 0.5  # of the budget, rising from nothing: at once, channels collapse
CROP_UNTIL = 0.6  # of the budget: small crops first, since they give more steps
CROP, CROP_BATCH, FULL_BATCH = 64, 8, 4
RATE = 1e-3
HALVED = 0.4  # of the steps


def build_autoencoder() -> AutoencoderKL:
    """An untrained AutoencoderKL with a factor of four and 0.9 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def train_autoencoder(
    photos: Photos,
    *,
    work: Path,
    minutes: float,
    seed: int,
    device: torch.device,
    start: Path | None = None,
) -> tuple[AutoencoderKL, Stage]:
    """Train, or take up training, until ``minutes`` are spent.

    ``start`` is a pipeline's folder whose weights a new stage begins with.
    """
    torch.manual_seed(seed)
    vae = build_autoencoder()
    if start:
        trained = AutoencoderKL.from_pretrained(start, subfolder="vae")
        vae.load_state_dict(trained.state_dict())
    vae.to(device)
    stage = Stage("autoencoder", vae, work, minutes, RATE, seed, decay=0.995)

    def losses(generator: torch.Generator, fraction: float) -> Mapping[str, Tensor]:
        images = _crops(photos, generator, fraction < CROP_UNTIL, device)
        posterior = vae.encode(images).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator).to(device)
        std = (logvar / 2).exp()
        latents = mean + std * noise
        if float(torch.rand((), generator=generator)) < HALVED:
            latents, images = (functional.avg_pool2d(x, 2) for x in (latents, images))
        restored = vae.decode(latents).sample.float()
        detail = reconstruction_loss(restored, images)
        rise = 1.0 if start else min(1.0, fraction / KL_FROM)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return {
            "loss": detail + KL_WEIGHT * rise * kl,
            "l1": (restored - images).abs().mean(),
            "kl": kl,
            "width": std.mean(),
        }

    stage.fit(losses, device=device)
    vae.load_state_dict(stage.averaged())
    return vae.eval(), stage


def reconstruction_loss(restored: Tensor, images: Tensor) -> Tensor:
    """L1 of the error and of its horizontal and vertical differences, three scales."""
    error = restored - images
    loss = error.abs().mean()
    for _ in range(3):
        across = error[..., :, 1:] - error[..., :, :-1]
        down = error[..., 1:, :] - error[..., :-1, :]
        loss = loss + 0.25 * (across.abs().mean() + down.abs().mean())
        error = functional.avg_pool2d(error, 2)
    return loss


@torch.no_grad()
def cache_latents(
    vae: AutoencoderKL, photos: Photos, *, work: Path, device: torch.device
) -> dict[str, Tensor]:
    """Posterior mean and std of every photograph and of its mirror image.

    Sets the VAE's ``scaling_factor`` to one over the std of a posterior sample.
    """
    path = work / "latents.safetensors"
    if not path.exists():
        means, stds = [], []
        for mirrored in (False, True):
            for at in range(0, len(photos.names), 8):
                images = photos.batch(slice(at, at + 8), device)
                images = images.flip(-1) if mirrored else images
                posterior = vae.encode(images).latent_dist
                means.append(posterior.mean.half().cpu())
                stds.append(posterior.std.half().cpu())
        write_tensors({"mean": torch.cat(means), "std": torch.cat(stds)}, path)
    latents: dict[str, Tensor] = load_file(path)
    variance = latents["mean"].float().var() + latents["std"].float().square().mean()
    vae.register_to_config(scaling_factor=round(float(variance.rsqrt()), 5))
    return latents


@torch.no_grad()
def restoration(vae: AutoencoderKL, photos: Photos, *, device: torch.device) -> float:
    """Mean PSNR in decibels of 100 photographs, or of all if fewer, restored."""
    step = max(1, len(photos.names) // 100)
    found = []
    for at in range(0, min(100 * step, len(photos.names)), step):
        image = photos.batch(slice(at, at + 1), device)
        restored = vae.decode(vae.encode(image).latent_dist.mean).sample.clamp(-1, 1)
        found.append(-10 * float((restored / 2 - image / 2).square().mean().log10()))
    return sum(found) / len(found)


def _crops(
    photos: Photos, generator: torch.Generator, crop: bool, device: torch.device
) -> Tensor:
    size, count = (CROP, CROP_BATCH) if crop else (SIZE, FULL_BATCH)
    index = torch.randint(len(photos.names), (count,), generator=generator)
    images = photos.batch(index, device)
    top, left, mirror = torch.randint(1 << 16, (3, count), generator=generator)
    free = SIZE - size + 1
    out = torch.empty(count, 3, size, size, device=device)
    for i in range(count):
        y, x = int(top[i]) % free, int(left[i]) % free
        patch = images[i, :, y : y + size, x : x + size]
        out[i] = patch.flip(-1) if int(mirror[i]) % 2 else patch
    return out
