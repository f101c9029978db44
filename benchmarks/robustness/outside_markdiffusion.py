"""MarkDiffusion: run by the Python of its own environment, by `outside_answers`.

Pictures travel as PNG in base 64. Keys and draws are set; every other setting is the
package's own, but for Tree-Ring's pattern: its default, zeros, has no key.
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import tempfile
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module, resources
from typing import Any

SCHEMES = ("TR", "GS", "PRC")
PACKAGES = ("markdiffusion", "torch", "diffusers", "transformers")
# Which detector, by its name for it, and what that calls its score.
DETECTORS = {
    "TR": ("p_value", "p_value"),
    "GS": ("bit_acc", "bit_acc"),
    "PRC": ("is_watermarked", "score"),
}
KEPT = 16  # schemes with their keys


class Toolkit:
    """One pipeline, and a scheme of every key asked for."""

    def __init__(self, folder: str, steps: int, inversion: int) -> None:
        config: Any = import_module("markdiffusion.utils.diffusion_config")
        diffusers: Any = import_module("diffusers")
        self.torch: Any = import_module("torch")
        self.inversion = inversion
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        encode = pipe.vae.encode
        pipe.vae.encode = lambda images: self._kept(images, lambda: encode(images))
        size = pipe.unet.config.sample_size * pipe.vae_scale_factor
        self.config = config.DiffusionConfig(
            pipe.scheduler,
            pipe,
            "cpu",
            num_inference_steps=steps,
            image_size=(size, size),
            dtype=self.torch.float32,
        )
        self.seen: dict[bytes, Any] = {}  # of the picture being scored
        self.scheme = lru_cache(KEPT)(self._scheme)

    def _scheme(self, name: str, key: int) -> Any:
        loader: Any = import_module("markdiffusion.watermark.auto_watermark")
        path = resources.files("markdiffusion") / "config" / f"{name}.json"
        settings = json.loads(path.read_text(encoding="utf-8")) | _keyed(name, key)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(settings, file)
            file.flush()
            made = loader.AutoWatermark.load(name, file.name, self.config)
        if name == "PRC":  # only the score is asked for; decoding takes seconds
            made.detector._decode_message = lambda posteriors: None
        self.torch.set_num_threads(1)  # what PRC imports starts others
        inversion = made.config.inversion
        own = inversion.forward_diffusion
        inversion.forward_diffusion = lambda *, latents, **how: self._kept(
            latents, lambda: own(latents=latents, **how)
        )
        return made

    def _kept(self, tensor: Any, made: Callable[[], Any]) -> Any:
        """What is made of a tensor, kept for the other keys."""
        place = tensor.detach().numpy().tobytes()
        if place not in self.seen:
            self.seen[place] = made()
        return self.seen[place]

    def mark(self, scheme: str, key: int, seed: int, prompt: str) -> dict[str, Any]:
        """A marked picture."""
        made = self.scheme(scheme, key)
        config, drawn = made.config, random.Random(seed)
        generator = self.torch.Generator().manual_seed(seed)
        config.init_latents = self.torch.randn(
            config.init_latents.shape, generator=generator
        )
        for name in ("gen_seed", "payload_seed", "error_seed", "pseudogaussian_seed"):
            setattr(config, name, drawn.randrange(1 << 31))  # what it draws by
        data = io.BytesIO()
        made.generate_watermarked_media(prompt).save(data, "PNG")
        return {"thing": base64.b64encode(data.getvalue()).decode("ascii")}

    def score(self, scheme: str, keys: list[int], things: list[str]) -> dict[str, Any]:
        """The detector's score of every picture under every key, and its verdict."""
        images: Any = import_module("PIL.Image")
        found: list[list[float | None]] = [[] for _ in keys]
        said: list[list[bool | None]] = [[] for _ in keys]
        for thing in things:
            self.seen.clear()
            data = io.BytesIO(base64.b64decode(thing))
            picture = images.open(data).convert("RGB")
            for scores, verdicts, key in zip(found, said, keys, strict=True):
                score, accepted = self._score(scheme, key, picture)
                scores.append(score)
                verdicts.append(accepted)
        return {"scores": found, "accepted": said}

    def _score(
        self, scheme: str, key: int, picture: Any
    ) -> tuple[float | None, bool | None]:
        """Nulls where the detector cannot say."""
        kind, name = DETECTORS[scheme]
        found = self.scheme(scheme, key).detect_watermark_in_media(
            picture,
            guidance_scale=1.0,
            num_inference_steps=self.inversion,
            detector_type=kind,
        )
        score, accepted = float(found[name]), None
        if scheme != "PRC":  # whose verdict takes the decoding that is left out
            accepted = bool(found["is_watermarked"])
        return (score, accepted) if math.isfinite(score) else (None, None)


def _keyed(scheme: str, key: int) -> dict[str, Any]:
    """The settings that a key decides."""
    drawn = random.Random(key)
    names = {
        "TR": ("w_seed",),
        "GS": ("wm_key", "chacha_key_seed", "chacha_nonce_seed"),
        "PRC": (
            *("gen_matrix_seed", "indice_seed", "one_time_pad_seed"),
            *("test_bits_seed", "permute_bits_seed"),
        ),
    }[scheme]
    seeds = {name: drawn.randrange(1 << 31) for name in names}
    if scheme == "TR":
        return seeds | {"w_pattern": "ring"}
    return {"keygen": seeds} if scheme == "PRC" else seeds
