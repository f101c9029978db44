"""Which families of diffusers' modular pipelines can be attached.

For each family, the blocks whose code draws initial noise are each put into a modular
pipeline of their own, which is attached and run; the detector must find the draw. The
models that such a block asks for its sizes are stand-ins or left out: the families'
own defaults then hold.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import types
from typing import Any

import torch

from benchmarks.diffusion import coverage, small
from watermark.pipelines import diffusers as host
from watermark.pipelines import diffusion_modular


def rows() -> list[coverage.Row]:
    """One row for each block that draws, by family and name."""
    import diffusers.modular_pipelines as modular

    found = []
    for package in pkgutil.iter_modules(modular.__path__):
        if package.ispkg:
            found += [check(kind, package.name) for kind in blocks(package.name)]
    return sorted(found, key=lambda row: (row.family, row.name))


def blocks(family: str) -> list[Any]:
    """The classes of a family's blocks that draw initial noise."""
    from diffusers import ModularPipelineBlocks

    package = importlib.import_module(f"diffusers.modular_pipelines.{family}")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        try:
            module = importlib.import_module(f"{package.__name__}.{info.name}")
        except ImportError:
            continue
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if not own or not issubclass(kind, ModularPipelineBlocks):
                continue
            if getattr(kind, "block_classes", None):
                continue
            block = object.__new__(kind)
            if any(True for _ in diffusion_modular.drawing_blocks(block)):
                found[name] = kind
    return list(found.values())


def check(kind: Any, family: str) -> coverage.Row:
    """Attach a pipeline of one block, run it, and look for the mark in its noise."""
    from diffusers.modular_pipelines import SequentialPipelineBlocks

    seen = coverage._Seen()
    module = importlib.import_module(kind.__module__)
    try:
        tree = SequentialPipelineBlocks.from_blocks_dict({"prepare": kind()})
        pipe = tree.init_pipeline()
        for spec in tree.expected_components:
            if getattr(pipe, spec.name, None) is None:
                setattr(pipe, spec.name, _component(spec))
        arguments = {
            each.name: _named(each.name, each.default)
            for each in tree.inputs
            if each.name is not None
        }
        with (
            coverage._drawing(module, seen),
            host.attach(
                pipe,
                coverage.key_record(),
                seen.sink,
                provider="benchmark",
                layers=("noise",),
            ),
        ):
            pipe(**arguments)
    except Exception as error:
        return coverage.Row(kind.__name__, family, "failed", coverage._said(error))
    p, *_ = coverage._found(seen)
    status = "marked" if p < -6 and seen.records else "failed"
    reason = "models left out" if status == "marked" else "the draw was not found"
    return coverage.Row(kind.__name__, family, status, reason, True, True, log10_p=p)


def _component(spec: Any) -> Any:
    """A small component of the type that a block expects, from other classes' tests."""
    named = getattr(spec.type_hint, "__name__", "")
    if named.endswith("Scheduler"):
        scheduler = spec.type_hint()
        with contextlib.suppress(TypeError, ValueError):
            scheduler.set_timesteps(4)
        return scheduler
    for index, entry in enumerate(small.table()["components"]):
        if entry["class"] == named:
            return small.component(index)
    return types.SimpleNamespace(
        dtype=torch.float32,
        config=types.SimpleNamespace(
            in_channels=16,
            latent_channels=16,
            z_dim=16,
            num_channels_latents=16,
            patch_size=1,
            patch_size_t=1,
        ),
    )


def _named(name: str, default: Any) -> Any:
    sides = {"height": 256, "width": 256, "image_height": 256, "image_width": 256}
    counts = {"batch_size": 1, "num_images_per_prompt": 1, "num_videos_per_prompt": 1}
    frames = {"num_frames": 9, "frame_rate": 24.0, "duration": 1.0}
    known: dict[str, Any] = {**sides, **counts, **frames}
    known |= {
        "dtype": torch.float32,
        "generator": torch.Generator().manual_seed(0),
        "image_latents": torch.zeros(1, 16, 32, 32),
        "prompt_embeds": torch.zeros(1, 16, 32),
        "latents": None,
        "strength": 1.0 if default is not None else None,
        "text_bth": torch.zeros(1, 16, 32),
        "timesteps": torch.tensor([999.0]),
        "latent_timestep": torch.tensor([999]),
        "num_latent_frames": 3,
        "condition_latents": [],
    }
    return known.get(name, default)
