"""The denoiser: a UNet and a small text encoder, trained together on cached latents.

It predicts the noise over Stable Diffusion's noise schedule, or the velocity of a
rectified flow (Liu et al. 2022). One caption in eight is left empty, so that
classifier-free guidance works and inversion has an empty prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, UniPCMultistepScheduler
from torch import Tensor, nn
from training import Stage
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

Objective = Literal["eps", "flow"]

WIDTH = 64  # of the text encoder, and of the UNet's cross attention
LENGTH = 16  # tokens in a prompt
BATCH = 8  # small, since steps are what a short budget lacks
RATE = 5e-4
EMPTY = 0.125  # of captions
# Weights of errors of the clean picture: min-SNR (Hang et al. 2023, section 3.4), and a
# floor: the first steps decide what the picture shows, and would weigh next to nothing.
SNR_LIMITS = (0.1, 5.0)
CAPTIONS = ("a photo of a {}", "a photo of {}", "a {}", "{}", "photo of a {}", "the {}")
CLASSES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)


class Denoiser(nn.Module):
    """UNet and text encoder as one module, so that one optimiser trains both."""

    def __init__(self, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
        """Hold the two networks."""
        super().__init__()
        self.unet = unet
        self.text = text


def build_denoiser(tokenizer: CLIPTokenizer) -> Denoiser:
    """An untrained UNet of 4.6 M parameters and a text encoder of 0.1 M."""
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Denoiser(unet, CLIPTextModel(config))


def build_scheduler(objective: Objective) -> DDIMScheduler | UniPCMultistepScheduler:
    """What samples deterministically, without clipping, what was trained.

    Stable Diffusion's schedule for "eps"; for "flow" even steps of a straight path, by
    a solver that `StableDiffusionPipeline` takes as it is.
    """
    if objective == "flow":
        return UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, steps_offset=1
        )
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows every byte and, as one token, each caption word."""
    captions = (caption.format(name) for caption in CAPTIONS for name in CLASSES)
    words = sorted({w for text in captions for w in text.replace("-", " ").split()})
    letters = list(_byte_letters())
    symbols = letters + [letter + "</w>" for letter in letters]
    merges = _merges(words)
    symbols += ["".join(pair) for pair in merges]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=LENGTH)


def train_denoiser(
    denoiser: Denoiser,
    tokenizer: CLIPTokenizer,
    latents: Mapping[str, Tensor],
    names: list[str],
    *,
    objective: Objective,
    scale: float,
    work: Path,
    minutes: float,
    seed: int,
    device: torch.device,
    every: Callable[[Stage], None],
    start: Path | None = None,
) -> Stage:
    """Train, or take up training, until ``minutes`` are spent.

    ``start`` is a pipeline's folder whose weights a new stage begins with.
    """
    if start:
        denoiser.unet = UNet2DConditionModel.from_pretrained(start, subfolder="unet")
        denoiser.text = CLIPTextModel.from_pretrained(start, subfolder="text_encoder")
    denoiser.to(device)
    name = "denoiser" if objective == "eps" else "flow"
    stage = Stage(name, denoiser, work, minutes, RATE, seed, decay=0.998)
    means, stds = (latents[key].float() * scale for key in ("mean", "std"))
    classes = torch.tensor([CLASSES.index(name) for name in names])
    tokens = _tokens(tokenizer)
    counts = Counter(names)
    rarity = torch.tensor([counts[name] ** -0.5 for name in names])
    put = _noisy if objective == "eps" else _on_the_way

    def losses(generator: torch.Generator, fraction: float) -> Mapping[str, Tensor]:
        index = torch.multinomial(rarity, BATCH, True, generator=generator)
        row = index + len(names) * torch.randint(2, (BATCH,), generator=generator)
        width, noise = torch.randn(2, BATCH, *means.shape[1:], generator=generator)
        clean = means[row] + stds[row] * width
        noisy, wanted, times, weight = put(clean, noise, generator)
        caption = torch.randint(1, len(CAPTIONS) + 1, (BATCH,), generator=generator)
        caption *= torch.rand(BATCH, generator=generator) >= EMPTY
        prompt = tokens[caption, classes[index]].to(device)
        hidden = denoiser.text(prompt).last_hidden_state
        guess = denoiser.unet(noisy.to(device), times.to(device), hidden).sample
        error = (guess.float() - wanted.to(device)).square().mean((1, 2, 3))
        return {"loss": (error * weight.to(device)).mean(), "mse": error.mean()}

    stage.fit(losses, device=device, every=lambda: every(stage))
    return stage


# (noisy latents, what to predict, times of the schedule, weights of the losses)
Draw = tuple[Tensor, Tensor, Tensor, Tensor]


def _noisy(clean: Tensor, noise: Tensor, generator: torch.Generator) -> Draw:
    kept = build_scheduler("eps").alphas_cumprod
    times = (_spread(len(clean), generator) * len(kept)).long()
    alpha = kept[times][:, None, None, None]
    snr = kept[times] / (1 - kept[times])
    weight = snr.clamp(*SNR_LIMITS) / snr
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, noise, times, weight


def _on_the_way(clean: Tensor, noise: Tensor, generator: torch.Generator) -> Draw:
    sigma = _spread(len(clean), generator)
    share = sigma[:, None, None, None]
    noisy = (1 - share) * clean + share * noise
    return noisy, noise - clean, 1000 * sigma, torch.ones_like(sigma)


def _spread(count: int, generator: torch.Generator) -> Tensor:
    """One time in [0, 1) in each of ``count`` equal parts: a steadier loss."""
    return (torch.arange(count) + torch.rand(count, generator=generator)) / count


def _tokens(tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids (1 + captions, classes, LENGTH); the first caption is empty."""
    texts = [c.format(name) for c in ("", *CAPTIONS) for name in CLASSES]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    tokens: Tensor = ids.input_ids.reshape(1 + len(CAPTIONS), len(CLASSES), LENGTH)
    return tokens


def _byte_letters() -> list[str]:
    """The printable letter for each byte, as GPT-2's byte-level coding assigns them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    codes = {byte: byte for byte in printable}
    codes |= {byte: 256 + rank for rank, byte in enumerate(others)}
    return [chr(codes[byte]) for byte in range(256)]


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until each word is one token."""
    parts = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(p for part in parts for p in pairwise(part))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        parts = [_merge(part, best) for part in parts]


def _merge(part: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in part:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
