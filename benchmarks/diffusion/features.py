"""Marked and unmarked pictures of the small model, by what a conv net sees in them.

The net is trained, not random: the encoder of the model's own autoencoder, channel
means and deviations after each of its blocks. The distance of the two sets is the
energy distance (Szekely and Rizzo 2013) of these features, each over its own
deviation; its p-value that of a permutation test, in which the two pictures of each
pair, of one prompt and draws of their own, change places at random.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.diffusion import attacks
from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, seeded_key, weights_sha256
from benchmarks.report import Part, Table, Target
from watermark import kernels, schemes
from watermark.schemes import SCHEMES, noise

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

QUICK, FULL = 20, 50  # steps of generation
PERMUTATIONS = 9_999
SETS = ("unmarked", "marked", "blurred")


def measure(options: Options) -> Part:
    """Generate pairs, take their features, test.

    Raises:
        Unavailable: there is no pipeline.
    """
    sha256 = weights_sha256(options.pipeline)
    count, steps = options.count(10, 250), FULL if options.full else QUICK
    identity = {
        "code": code_version((schemes, kernels), "diffusion/features.py"),
        "model": sha256,
        "seed": options.seed,
        "steps": steps,
    }
    ids = [f"pair/{i}" for i in range(count)]
    with Journal(options.work, "diffusion-features", identity) as journal:
        missing = journal.missing(ids)
        if missing:
            bench = Bench(options.pipeline, steps, options.seed)
            for name in options.track(missing, "features"):
                journal.add(name, bench.pair(int(name.partition("/")[2])))
        rows = [journal.rows[name] for name in ids]
        new = journal.added
    seen = {name: np.array([row[name] for row in rows]) for name in SETS}
    results = {
        name: energy_test(seen["unmarked"], seen[name], options.seed)
        for name in SETS[1:]
    }
    table = Table(
        "Features of marked and unmarked pictures",
        ("against unmarked pictures", "pairs", "energy distance", "p"),
        (
            ("marked, other draws", count, *results["marked"]),
            ("control: the same, blurred by 1 pixel", count, *results["blurred"]),
        ),
        f"{PERMUTATIONS:,} permutations; {seen['unmarked'].shape[1]} features of the "
        "autoencoder's encoder, a trained net.",
    )
    p = results["marked"][1]
    target = Target.at_least("distribution, features of pictures: p", p, 0.01)
    return Part(
        parameters={"pairs of pictures": count, "model": sha256[:12]},
        targets=(target,),
        tables=(table,),
        new=new,
        reused=count - new,
    )


class Bench:
    """The pipeline, and the features that its encoder gives."""

    def __init__(self, folder: Path, steps: int, seed: int) -> None:
        self.pipe = load_pipeline(folder)
        self.steps, self.seed = steps, seed
        side = int(self.pipe.unet.config.sample_size)
        self.shape = int(self.pipe.unet.config.in_channels), side, side
        record = SCHEMES["noise"].record(seeded_key("features", seed))
        self.code = noise.Code(record, self.shape)

    def pair(self, index: int) -> dict[str, list[float]]:
        """Features of an unmarked and a marked picture of one prompt, not one draw."""
        prompt = PROMPT.format(CLASSES[index % len(CLASSES)])
        plain = self.generate(prompt, self._draw("unmarked", index))
        marked, _, _ = noise.mark(self._draw("marked", index), self.code)
        pictures = plain, self.generate(prompt, marked), attacks.blur(plain, 0)
        return {
            name: self.features(picture)
            for name, picture in zip(SETS, pictures, strict=True)
        }

    def generate(self, prompt: str, drawn: NDArray[np.floating]) -> Pixels:
        """The picture of one noise, in 8 bits."""
        latents = torch.from_numpy(drawn.astype(np.float32))[None]
        made: Image.Image = self.pipe(
            prompt, num_inference_steps=self.steps, latents=latents
        ).images[0]
        return np.asarray(made, dtype=np.uint8)

    def features(self, pixels: Pixels) -> list[float]:
        """Means and deviations of every channel after each block of the encoder."""
        found: list[torch.Tensor] = []

        def keep(_: Any, __: Any, out: torch.Tensor) -> None:
            found.extend((out.mean((0, 2, 3)), out.std((0, 2, 3))))

        encoder = self.pipe.vae.encoder
        blocks = [*encoder.down_blocks, encoder.mid_block]
        hooks = [block.register_forward_hook(keep) for block in blocks]
        try:
            image = Image.fromarray(pixels)
            with torch.inference_mode():
                encoder(self.pipe.image_processor.preprocess(image))
        finally:
            for hook in hooks:
                hook.remove()
        return [float(value) for value in torch.cat(found)]

    def _draw(self, *name: object) -> NDArray[np.float32]:
        rng = np.random.default_rng(list(seeded("features", self.seed, *name)))
        return rng.standard_normal(self.shape, np.float32)


def energy_test(one: Floats, other: Floats, seed: int) -> tuple[float, float]:
    """(energy distance, p) of two sets of features in pairs.

    Args:
        one: (pairs, features).
        other: the same shape; row i belongs to row i of `one`.
        seed: of the permutations.

    Returns:
        The distance ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, and the share of
        permutations, the one that was found among them, with at least as large a one.
    """
    both = np.concatenate([one, other])
    deviation = both.std(0)
    both = both / np.where(deviation > 0, deviation, 1.0)
    squares = np.sum(both * both, axis=1)
    gram = squares[:, None] + squares[None, :] - 2 * both @ both.T
    apart = np.sqrt(np.maximum(gram, 0.0))
    pairs = len(one)
    rng = np.random.default_rng(seed)
    swaps = 1.0 - 2.0 * rng.integers(0, 2, (PERMUTATIONS + 1, pairs))
    swaps[0] = 1.0
    # With +-1 for the two sets the distance is -s' apart s / pairs^2.
    sides = np.concatenate([swaps, -swaps], axis=1)
    found = -np.einsum("ij,ij->i", sides @ apart, sides) / pairs**2
    return float(found[0]), float(np.mean(found >= found[0] - 1e-12))
