"""An instance of any pipeline class of diffusers, and arguments for it.

In this order: the components that diffusers' own tests use for the class; those that
they use for other classes with a component of the same type; None. What is neither is a
stand-in, and every stand-in is named.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import ConfigMixin, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from benchmarks.diffusion import small

FRAMES = 9
# Parts of the names of what encodes prompts and pictures into conditions.
_TEXT = (
    "text_encoder",
    "image_encoder",
    "language",
    "projection",
    "prompt",
    "tokenizer",
)


@dataclass
class Built:
    """A pipeline, and what in it is no small component of its own class."""

    pipe: Any
    stand_ins: list[str] = field(default_factory=list)


def build(kind: type, *, text: bool = True) -> Built:
    """An instance of a pipeline class, with a deterministic sampler.

    Args:
        kind: the class.
        text: with what encodes prompts; a prepare method alone needs none of that.

    Raises:
        Exception: whatever the class's own `__init__` raises.
    """
    entry = entry_of(kind)
    without = () if text else _TEXT
    found: dict[str, Any] = small.components(entry, without) if entry else {}
    stand_ins = [f"{p}: absent" for p in _absent(kind)]
    if "CosmosSafetyChecker" in inspect.getsource(
        importlib.import_module(kind.__module__)
    ):
        found["safety_checker"] = Permissive()
        stand_ins.append("safety_checker: passes everything")
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind not in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        ):
            continue
        wanted = not any(part in name for part in without)
        if name not in found and wanted:
            made = _by_type(name, parameter)
            if made is None and parameter.default is parameter.empty:
                made = _stand_in(name)
                stand_ins += (
                    [f"{name}: a configuration without a model"] if made else []
                )
            if made is not None:
                found[name] = made
        if name not in found and parameter.default is parameter.empty:
            found[name] = None
        if name.endswith("scheduler") and found.get(name) is not None:
            found[name] = _deterministic(found[name])
    _shifted(kind, found.get("vae"))
    pipe = kind(**found)
    scheduler: Any = getattr(pipe, "scheduler", None)
    if getattr(getattr(scheduler, "config", None), "clip_sample", False):
        # For models that know pixels; of random weights' nothing would be left.
        scheduler.register_to_config(clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    return Built(pipe, stand_ins)


def entry_of(kind: type) -> str | None:
    """The name under which the table has a class, or None.

    Diffusers' tests wrap some classes to leave out a safety checker.
    """
    names = (
        kind.__name__,
        f"{kind.__name__}Wrapper",
        kind.__name__.replace("Pipeline", "Wrapper"),
    )
    return next((n for n in names if n in small.table()["pipelines"]), None)


class Permissive(torch.nn.Module, ConfigMixin):  # type: ignore[misc]
    """In place of a guardrail of many gigabytes: it lets everything through."""

    config_name = "config.json"

    def __init__(self) -> None:
        super().__init__()
        self._dtype = torch.float32

    @property
    def dtype(self) -> torch.dtype:
        """As models have it."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """As models have it."""
        return torch.device("cpu")

    def check_text_safety(self, *_: Any, **__: Any) -> bool:
        """True."""
        return True

    def check_video_safety(self, video: Any, *_: Any, **__: Any) -> Any:
        """The video."""
        return video


class Sizes(torch.nn.Module):
    """In place of a model that is only asked for its sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self.config = types.SimpleNamespace(
            in_channels=16,
            sample_size=32,
            patch_size=1,
            patch_size_t=1,
            audio_patch_size=1,
            audio_patch_size_t=1,
            sigma_data=0.5,
        )
        self.rope = types.SimpleNamespace(base_num_frames=1)


class Processor:
    """In place of a preprocessor that needs files; nothing is asked of it here."""

    image_processor = None
    tokenizer = None

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        """No text."""
        return ""


def _stand_in(name: str) -> Any:
    if name in ("prior", "transformer", "unet", "decoder"):
        return Sizes()
    return Processor() if "processor" in name else None


def _absent(kind: type) -> list[str]:
    """Packages that the class's module uses and that are not installed: stood in."""
    module = importlib.import_module(kind.__module__)
    if "ftfy" in inspect.getsource(module) and not hasattr(module, "ftfy"):
        # Mends mis-encoded prompts; ours are not.
        module.ftfy = types.SimpleNamespace(fix_text=lambda text: text)  # type: ignore[attr-defined]
        return ["ftfy"]
    return []


def _shifted(kind: type, vae: Any) -> None:
    """A shift of the latents, 0, where the class asks an autoencoder without for it."""
    if getattr(getattr(vae, "config", None), "shift_factor", 0.0) is not None:
        return
    if "shift_factor" in inspect.getsource(importlib.import_module(kind.__module__)):
        vae.register_to_config(shift_factor=0.0)


def _deterministic(scheduler: Any) -> Any:
    """The scheduler, or one of its kind that draws no noise in its steps."""
    from watermark.pipelines.diffusion_scheduler import stochastic

    if stochastic(scheduler, {}) is None or "Prior" in type(scheduler).__name__:
        return scheduler
    if type(scheduler).__name__ == "UnCLIPScheduler":  # samples an embedding
        return scheduler
    if type(scheduler).__name__ == "SCMScheduler":
        made = FlowMatchEulerDiscreteScheduler()
        made.register_to_config(sigma_data=scheduler.config.sigma_data)
        return made
    if "Flow" in type(scheduler).__name__:
        return FlowMatchEulerDiscreteScheduler()
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def _by_type(name: str, parameter: inspect.Parameter) -> Any:
    """A component of the parameter's type that another class's test uses."""
    hint = str(parameter.annotation)
    if "okenizer" in name and "audio" not in name:
        return small.tokenizer()
    if name == "scheduler":
        return _scheduler(hint)
    for index, entry in enumerate(small.table()["components"]):
        if entry["class"] in hint.replace("'", "").replace("|", ".").split("."):
            return small.component(index)
        if f"{entry['class']}'" in hint or hint.endswith(entry["class"]):
            return small.component(index)
    return None


def _scheduler(hint: str) -> Any:
    for entry in small.table()["components"]:
        if entry["class"].endswith("Scheduler") and entry["class"] in hint:
            return small.model(**entry)
    return DDIMScheduler()


def call_arguments(kind: type, side: int) -> dict[str, Any]:
    """Arguments for `__call__`: those of diffusers' tests, else by their names."""
    entry = entry_of(kind)
    if entry is not None:
        found = small.inputs(entry)
    else:
        found = {
            name: _named(name, side)
            for name in inspect.signature(kind.__call__).parameters
            if name in _NAMED
        }
    found.pop("output_type", None)
    if "Flux2" in kind.__name__ and "Inpaint" not in kind.__name__:
        found.pop("image", None)  # optional, and encoded at a million pixels
    if "use_resolution_binning" in inspect.signature(kind.__call__).parameters:
        found["use_resolution_binning"] = False  # to sizes of a large model
    if "strength" in inspect.signature(kind.__call__).parameters:
        found["strength"] = 1.0  # of two steps; less leaves out the noisier one
    for name in ("audio_duration", "audio_end_in_s", "audio_length_in_s"):
        if isinstance(found.get(name), int | float):
            found[name] = found[name] * side / 4
    old = max((found.get(n) or 0 for n in ("height", "width")), default=0)
    old = old or min(_sides(found.values()), default=0)
    if not old:  # it would take its model's own size
        known = inspect.signature(kind.__call__).parameters
        found |= {name: side for name in ("height", "width") if name in known}
    for name in ("height", "width"):
        if isinstance(found.get(name), int):
            found[name] = max(found[name], side)
    if 0 < old < side:
        found = {k: _scaled(v, old, side) for k, v in found.items()}
    return found


def _sides(values: Iterable[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, list):
            yield from _sides(value)
        elif isinstance(value, Image.Image):
            yield value.width
        elif isinstance(value, torch.Tensor) and value.ndim >= 4:
            yield int(value.shape[-1])


def resize(pipe: Any, side: int) -> None:
    """Give a denoiser without height and width in its call a larger canvas."""
    for name in ("unet", "transformer"):
        model: Any = getattr(pipe, name, None)
        if not hasattr(model, "register_to_config"):
            continue
        own = getattr(model.config, "sample_size", None)
        if isinstance(own, int):
            model.register_to_config(sample_size=max(own, side))


def _scaled(value: Any, old: int, side: int) -> Any:
    """Pictures among the arguments, enlarged with height and width."""
    if isinstance(value, list):
        return [_scaled(one, old, side) for one in value]
    if isinstance(value, Image.Image):
        return value.resize((value.width * side // old, value.height * side // old))
    if isinstance(value, torch.Tensor) and value.ndim >= 4 and value.shape[-1] >= 8:
        if not value.is_floating_point():
            return value
        times = [1] * (value.ndim - 2) + [side // old] * 2
        return value.repeat(*times)
    return value


def _named(name: str, side: int) -> Any:
    made = _NAMED[name]
    return made(side) if callable(made) else made


def _picture(side: int) -> Image.Image:
    return Image.new("RGB", (side, side), "gray")


_NAMED: dict[str, Any] = {
    "prompt": "a photo of a dress",
    "image": _picture,
    "control_image": _picture,
    "mask_image": lambda side: Image.new("L", (side, side), 255),
    "video": lambda side: [_picture(side)] * FRAMES,
    "height": lambda side: side,
    "width": lambda side: side,
    "num_frames": FRAMES,
    "num_inference_steps": 2,
    "generator": lambda side: torch.Generator().manual_seed(0),
}


# --- a prepare method by itself ------------------------------------------------------


def prepare_arguments(
    pipe: Any, method: Any, side: int, variant: int
) -> dict[str, Any]:
    """Arguments for a prepare method, by their names.

    Args:
        pipe: the pipeline.
        method: its prepare method.
        side: pixels of a picture's height and width.
        variant: how pictures are given: 0 as (1, 3, h, w), 1 as (1, 3, frames, h, w),
            2 as (1, frames, 3, h, w), 3 as (1, 3, 1, h, w).
    """
    channels = _channels(pipe)
    pixels = torch.zeros(1, 3, side, side)
    if variant == 1:
        pixels = pixels[:, :, None].repeat(1, 1, FRAMES, 1, 1)
    elif variant == 3:
        pixels = pixels[:, :, None]
    elif variant == 2:
        pixels = pixels[:, None].repeat(1, FRAMES, 1, 1, 1)
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is not None:
        try:
            scheduler.set_timesteps(4)
        except (TypeError, ValueError):
            scheduler.set_timesteps(4, mu=1.0)
    times = getattr(scheduler, "timesteps", torch.tensor([999.0]))
    known = {
        "batch_size": 1,
        "batch": 1,
        "num_images_per_prompt": 1,
        "num_videos_per_prompt": 1,
        "num_channels_latents": channels,
        "num_channels": channels,
        "num_latent_channels": channels,
        "num_latents_channels": channels,
        "in_channels": channels,
        "channels": channels,
        "height": side,
        "width": side,
        "resolution": side,
        "num_frames": FRAMES,
        "num_latent_frames": 3,
        "video_length": FRAMES,
        "frames": FRAMES,
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "generator": torch.Generator().manual_seed(0),
        "image": pixels,
        "images": [pixels],
        "video": pixels if variant else pixels[:, :, None],
        "mask_image": torch.ones(1, 1, side, side),
        "mask": torch.ones(1, 1, side, side),
        "timestep": times[:1],
        "latent_timestep": times[:1],
        "timesteps": times[:1],
        "scheduler": scheduler,
        "shape": (1, channels, 32, 32),
        "latents_shape": (1, channels, 32, 32),
        "sample_size": 2048,
        "latent_length": 256,
        "audio_length": 256,
        "audio_latent_length": 256,
        "num_waveforms_per_prompt": 1,
        "ensemble_size": 1,
        "audio_duration": 120.0,
        "num_image_tokens": 64,
        "latent_dim": 64,
        "num_channels_vae": 64,
        "layers": 3,
        "image_latents": torch.zeros(1, channels, 3, 32, 32),
        "image_embeddings": torch.zeros(1, 16, 24, 24),
        "first_latent": torch.zeros(1, channels, 1, 16, 16),
        "prompt_embeds_length": 16,
        "strength": 1.0,
        "add_noise": True,
        "do_classifier_free_guidance": False,
        "video_latents": None,
        "audio_end_in_s": 1.0,
        "audio_latents_length": 256,
        "num_mel_bins": 64,
        "is_strength_max": True,
    }
    found = {}
    for name, parameter in list(inspect.signature(method).parameters.items()):
        if name == "self" or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        if name in known:
            found[name] = known[name]
        elif parameter.default is parameter.empty:
            found[name] = None
    return found


def _channels(pipe: Any) -> int:
    for name in ("vae", "movq", "vqvae", "transformer", "unet"):
        config = getattr(getattr(pipe, name, None), "config", None)
        for key in ("latent_channels", "z_dim", "in_channels"):
            value = getattr(config, key, None)
            if isinstance(value, int):
                return value
    return 4


@functools.cache
def classes() -> dict[str, list[str]]:
    """Names of the pipeline classes that diffusers has, by whether they can be loaded.

    Deprecated ones are left out, as diffusers sorts them: by folder.
    """
    import ast
    from pathlib import Path

    import diffusers

    root = Path(diffusers.__file__).parent / "pipelines"
    bases: dict[str, list[str]] = {}
    old: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                names = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                bases.setdefault(node.name, names)
                if "deprecated" in path.parts:
                    old.add(node.name)

    def pipeline(name: str, below: frozenset[str] = frozenset()) -> bool:
        below |= {name}  # older versions name a class as its base in another module
        return any(
            b == "DiffusionPipeline" or (b not in below and pipeline(b, below))
            for b in bases.get(name, ())
        )

    known = sorted(n for n in bases if pipeline(n) and n not in old)
    found = {"loads": [], "lacks": []}  # type: dict[str, list[str]]
    for name in known:
        kind = getattr(diffusers, name, None)
        loads = kind is not None and "dummy" not in kind.__module__
        found["loads" if loads else "lacks"].append(name)
    return found
