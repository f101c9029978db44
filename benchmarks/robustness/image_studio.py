"""Where the image suite's pictures are made: the pipeline, its draws, its inversion."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.diffusion import features
from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.diffusion.inversion import AT_ONCE, Inversion
from benchmarks.options import MODELS, Options, seeded

Pixels = NDArray[np.uint8]
QUICK, FULL = (20, 10), (50, 50)  # steps of generation, of the peers' inversion
PROMPTS = tuple(map(PROMPT.format, CLASSES))
SURROGATE = MODELS / "surrogate"  # an autoencoder that the generator does not have
KEPT = 4  # unmarked pictures that the next subjects ask for again


def surrogate(pipeline: Path) -> Path | None:
    """Where another autoencoder lies, if it is there and has latents of that shape."""
    folders = SURROGATE, pipeline / "vae"
    if not all((folder / "config.json").is_file() for folder in folders):
        return None
    read = [json.loads((folder / "config.json").read_text()) for folder in folders]
    shapes = [(one["latent_channels"], len(one["block_out_channels"])) for one in read]
    return SURROGATE if shapes[0] == shapes[1] else None


def _loaded(folder: Path | None) -> Any:
    if folder is None:
        return None
    from diffusers import AutoencoderKL

    loaded: Any = AutoencoderKL.from_pretrained(
        folder, torch_dtype=torch.float32, local_files_only=True
    )
    return loaded.eval()


class Studio:
    """One pipeline and everything made with it.

    Attributes:
        pipe: the diffusers pipeline.
        surrogate: another autoencoder of latents of that shape, or None.
        seed: of everything that is drawn.
        full: whether each scheme is inverted as it would be by default.
        steps: of generation.
        steps_back: of inversion.
        shape: of a draw.
        inversion: back from pictures to their noise.
    """

    def __init__(self, options: Options) -> None:
        """Load the pipeline."""
        self.pipe = load_pipeline(options.pipeline)
        self.surrogate = _loaded(surrogate(options.pipeline))
        self.seed, self.full = options.seed, options.full
        self.steps, self.steps_back = FULL if options.full else QUICK
        self.inversion = Inversion(self.pipe)
        size = int(self.pipe.unet.config.sample_size)
        self.shape = (int(self.pipe.unet.config.in_channels), size, size)
        self.plain = functools.lru_cache(KEPT)(self._plain)
        self._bench = features.Bench(options.pipeline, self.steps, options.seed)
        self._width = 2 * int(self.pipe.vae.config.block_out_channels[-1])

    def draw(self, index: int) -> NDArray[np.float32]:
        """The noise that every scheme marks."""
        seed = seeded("robustness", self.seed, index)[:8]
        chosen = torch.Generator().manual_seed(int.from_bytes(seed, "little") >> 1)
        drawn: NDArray[np.float32] = torch.randn(self.shape, generator=chosen).numpy()
        return drawn

    def generated(
        self, noises: Sequence[NDArray[np.floating]], indices: Sequence[int]
    ) -> list[Pixels]:
        """The pictures of some noises, in 8 bits."""
        made: list[Pixels] = []
        for start in range(0, len(noises), AT_ONCE):
            few = slice(start, start + AT_ONCE)
            images = self.pipe(
                [PROMPTS[i % len(PROMPTS)] for i in indices[few]],
                num_inference_steps=self.steps,
                latents=torch.from_numpy(np.stack(noises[few]).astype(np.float32)),
            ).images
            made += [np.asarray(image, dtype=np.uint8) for image in images]
        return made

    def _plain(self, index: int) -> Pixels:
        """The unmarked picture of a draw."""
        return self.generated([self.draw(index)], [index])[0]

    def features(self, pixels: Pixels) -> list[float]:
        """Of the last block of the encoder, to four digits."""
        found = self._bench.features(pixels)[-self._width :]
        return [float(f"{value:.4g}") for value in found]
