"""What a diffusers pipeline returned: its samples, their medium and their digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from watermark.assets import fingerprint
from watermark.assets import image as image_asset
from watermark.errors import NotMarked
from watermark.record import Kind

_AUDIO_MODULES = ("audio", "ace_step", "music", "dance_diffusion")


def samples(output: Any) -> Sequence[Any]:
    """The samples of an output: a list of pictures or videos, an array or a tensor."""
    bare = isinstance(output, list | np.ndarray | torch.Tensor)
    first: Any = output if bare else output[0]
    found: Sequence[Any] = first if hasattr(first, "__len__") else [first]
    return found


def with_samples(output: Any, new: Any) -> Any:
    """`output` with other samples; the same object where it can be changed."""
    if isinstance(output, tuple):
        return (new, *output[1:])
    if isinstance(output, list | np.ndarray | torch.Tensor):
        return new
    output[next(iter(output.keys()))] = new
    return output


def kind(pipe: Any, base: type, output: Any) -> Kind:
    """The medium that a pipeline makes."""
    named = set(output.keys()) if hasattr(output, "keys") else set()
    if named & {"frames", "videos"}:
        return "video"
    if named & {"audios", "audio"}:
        return "audio"
    if "images" in named:
        return "image"
    if hasattr(pipe, "video_processor"):
        return "video"
    module = base.__module__.lower()
    return "audio" if any(part in module for part in _AUDIO_MODULES) else "image"


def blacked_out(output: Any, count: int, *, checked: bool = False) -> list[bool]:
    """Which samples the safety checker replaced: those hold nothing sampled.

    Args:
        output: of the pipeline. The second place of a bare tuple may hold the flags.
        count: of the samples.
        checked: whether the pipeline has a safety checker, so that it does hold them.

    Raises:
        NotMarked: there are flags, but not one for each sample.
    """
    flagged = getattr(output, "nsfw_content_detected", None)
    if flagged is None:
        flagged = getattr(output, "nsfw_detected", None)
    named = flagged is not None
    if not named and isinstance(output, tuple) and len(output) > 1:
        flagged = output[1]
    if flagged is None:
        return [False] * count
    # An array without axes has no list().
    several = isinstance(flagged, list | tuple) or getattr(flagged, "ndim", 0) > 0
    flags = list(map(_flag, flagged)) if several else [None]
    known = [flag for flag in flags if flag is not None]
    if len(known) == len(flags) == count:
        return known
    if named or checked or (known and len(known) == len(flags)):
        raise NotMarked(
            f"the safety checker flagged {count} outputs by a "
            f"{type(flagged).__name__} that holds no flag for each: which of them were "
            "blacked out is unknown, and none is handed over"
        )
    return [False] * count  # sound beside a video, or something else


def _flag(value: Any) -> bool | None:
    """A flag as a bool, or None: it is none."""
    if isinstance(value, np.ndarray | torch.Tensor):
        if value.shape not in ((), (1,)):
            return None
        value = value.item()
    return bool(value) if isinstance(value, bool | np.bool_) else None


def recognised(sample: Any, medium: Kind) -> tuple[tuple[str, ...], bytes]:
    """(digests, fingerprint) by which an output is recognised again.

    None for bare latents, and none for video and audio in memory: the file that is made
    of them is encoded by the caller, and no digest survives that.
    """
    picture = _picture(sample) if medium == "image" else None
    if picture is None:
        return (), b""
    seen = fingerprint.fingerprint(image_asset.to_rgb8(picture))
    return (image_asset.digest(picture),), seen


def _picture(sample: Any) -> Image.Image | None:
    if isinstance(sample, torch.Tensor):
        if sample.ndim != 3 or sample.shape[0] != 3:
            return None
        sample = sample.permute(1, 2, 0).float().cpu().numpy()
    if isinstance(sample, np.ndarray):
        if sample.ndim != 3 or sample.shape[2] != 3:
            return None
        # As diffusers' own numpy_to_pil rounds.
        sample = Image.fromarray((sample * 255).round().astype(np.uint8))
    return sample if isinstance(sample, Image.Image) else None
