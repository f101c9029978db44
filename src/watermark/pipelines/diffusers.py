"""Mark what diffusers pipelines generate: keyed signs on the initial noise.

`attach` gives the pipeline a subclass. Inside its `prepare_latents`, and nowhere else,
a thread-local torch function mode takes the draw of the noise, keeps the magnitudes and
sets the signs. The user's generators advance exactly as they would without it; other
threads are untouched.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from watermark.assets import image as image_asset
from watermark.errors import NotMarked, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.pipelines.base import Attachment, OnUnsupported, Sink
from watermark.record import Mark, Record
from watermark.schemes import noise

DEFAULT_SCHEME = noise.SCHEME.name
# Their step() is a deterministic function of the initial noise (no option below set).
_DETERMINISTIC = {
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "IPNDMScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
}
_PICTURE_INPUTS = ("image", "strength", "mask_image", "control_image")


def supports(obj: Any) -> bool:
    """Whether `obj` is a diffusers pipeline."""
    from diffusers import DiffusionPipeline

    return isinstance(obj, DiffusionPipeline)


def attach(
    pipeline: Any,
    record: KeyRecord,
    sink: Sink,
    *,
    provider: str,
    on_unsupported: OnUnsupported = "raise",
) -> Attachment:
    """Mark every output of the pipeline from now on.

    Args:
        pipeline: a text-to-image diffusers pipeline.
        record: key record of `noise`.
        sink: receives the records of each call before its output is handed over.
        provider: written into the records.
        on_unsupported: ``"raise"``, or ``"warn"`` to run unmarked and record that.

    Raises:
        AlreadyAttached: the pipeline is attached.
        UnsupportedPipeline: its class draws no initial noise from text alone.
    """
    base = type(pipeline)
    reason = _unsupported_class(base)
    if reason is not None:
        raise UnsupportedPipeline(f"{base.__name__} {reason}")
    if getattr(pipeline, "image_processor", None) is None:
        raise UnsupportedPipeline(
            f"{base.__name__} has no image_processor: it does not make pictures, and "
            "only those are marked yet"
        )
    attachment = Attachment(pipeline, record, sink, provider=provider)
    host = _Host(attachment, base, on_unsupported)

    @functools.wraps(base.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return host.call(self, args, kwargs)

    @functools.wraps(base.prepare_latents)
    def prepare_latents(self: Any, *args: Any, **kwargs: Any) -> Any:
        return host.prepare_latents(self, args, kwargs)

    attachment.swap({"__call__": call, "prepare_latents": prepare_latents})
    return attachment


def _unsupported_class(base: Any) -> str | None:
    if not hasattr(base, "prepare_latents"):
        return "has no prepare_latents: its initial noise cannot be reached"
    parameters = inspect.signature(base.__call__).parameters
    pictures = [name for name in _PICTURE_INPUTS if name in parameters]
    if pictures:
        return (
            f"starts from a picture ({', '.join(pictures)}=), so its initial noise "
            "does not carry a mark to the output; use a text-to-image pipeline"
        )
    return None


def _unsupported_call(pipe: Any, call: dict[str, Any]) -> str | None:
    """Why this call cannot be marked, or None."""
    own = call.get("latents")
    if own is not None and own.ndim != 4:
        return f"latents= of shape {tuple(own.shape)} are packed"
    if own is not None and bool(torch.isfinite(own).all()):
        rms = float(own.float().pow(2).mean().sqrt())
        zeros = float((own == 0).float().mean())
        if not 0.5 < rms < 2 or zeros > 0.01:
            return (
                f"latents= with an RMS of {rms:.3g} and {zeros:.1%} zeros are no draw "
                "from N(0, 1): their signs would carry nothing"
            )
    return _stochastic(pipe.scheduler, call)


def _stochastic(scheduler: Any, call: dict[str, Any]) -> str | None:
    """Why the sampler does not keep the initial noise, or None."""
    name, config = type(scheduler).__name__, scheduler.config
    if name not in _DETERMINISTIC:
        return (
            f"the scheduler {name} is not known to be deterministic; use one of "
            f"{', '.join(sorted(_DETERMINISTIC))}"
        )
    if config.get("stochastic_sampling"):
        return f"{name} draws new noise in every step (stochastic_sampling=True)"
    if "sde" in str(config.get("algorithm_type", "")):
        return f"{name} draws new noise in every step (algorithm_type is an SDE solver)"
    if call.get("eta"):
        return f"eta={call['eta']} draws new noise in every step"
    return None


_ACTIVE: ContextVar[_Call | None] = ContextVar("watermark_call", default=None)


@dataclass(slots=True)
class _Call:
    """One running `__call__`: the marks it has placed so far, one per sample."""

    marks: list[Mark] = field(default_factory=list)
    replaced: bool = False


def _watching(callback: Any, active: _Call) -> Any:
    """The caller's callback; what it does to the latents is noticed."""
    if not callable(callback) or hasattr(callback, "tensor_inputs"):
        return callback  # diffusers' own callback objects change guidance only

    def watched(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> Any:
        before = tensors.get("latents")
        after = callback(pipe, step, timestep, tensors)
        now = after.get("latents", before) if isinstance(after, dict) else before
        if now is not before:
            active.replaced |= (
                now is None or before is None or not torch.equal(now, before)
            )
        return after

    return watched


@dataclass
class _Host:
    attachment: Attachment
    base: Any
    on_unsupported: OnUnsupported
    _codes: dict[tuple[int, ...], noise.Code] = field(default_factory=dict, repr=False)

    def call(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = inspect.signature(self.base.__call__).bind(pipe, *args, **kwargs)
        reason = _unsupported_call(pipe, bound.arguments)
        if reason is not None:
            message = f"{reason}, so this call would not be marked by 'noise'"
            if self.on_unsupported == "raise":
                raise UnsupportedPipeline(message)
            warnings.warn(
                f"{message}: running WITHOUT a mark", UserWarning, stacklevel=3
            )
            output = self.base.__call__(pipe, *args, **kwargs)
            self._publish(pipe, output, [None] * len(_outputs(output)))
            return output
        active = _Call()
        watched = bound.arguments.get("callback_on_step_end")
        if watched is not None:
            bound.arguments["callback_on_step_end"] = _watching(watched, active)
        token = _ACTIVE.set(active)
        try:
            output = self.base.__call__(*bound.args, **bound.kwargs)
        finally:
            _ACTIVE.reset(token)
        if active.replaced:
            raise NotMarked(
                "callback_on_step_end returned other latents than it was given: the "
                "marked noise was replaced, and nothing is handed over"
            )
        if len(active.marks) != len(_outputs(output)) or not active.marks:
            raise NotMarked(
                f"{len(_outputs(output))} outputs were generated, but "
                f"{len(active.marks)} initial noises were marked: none is handed over"
            )
        self._publish(pipe, output, active.marks)
        return output

    def prepare_latents(
        self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        active = _ACTIVE.get()
        if active is None:  # called by hand, outside a marked call
            return self.base.prepare_latents(pipe, *args, **kwargs)
        bound = inspect.signature(self.base.prepare_latents).bind(pipe, *args, **kwargs)
        own = bound.arguments.get("latents")
        if own is not None:
            bound.arguments["latents"] = self._mark_batch(own, active)
            return self.base.prepare_latents(*bound.args, **bound.kwargs)
        with _SignMode(functools.partial(self._mark_batch, active=active)):
            return self.base.prepare_latents(pipe, *args, **kwargs)

    def _mark_batch(self, drawn: torch.Tensor, active: _Call) -> torch.Tensor:
        """`drawn` (batch, ...) with every sample's signs set by its code."""
        return torch.stack([self._mark_one(sample, active) for sample in drawn])

    def _mark_one(self, sample: torch.Tensor, active: _Call) -> torch.Tensor:
        shape = tuple(sample.shape)
        if shape not in self._codes:
            self._codes[shape] = noise.Code(self.attachment.key_record, shape)
        code = self._codes[shape]
        magnitudes = sample.abs()
        nonce, mark_id = code.identify(magnitudes.float().cpu().numpy())
        signs = torch.from_numpy(code.signs(nonce, mark_id)).to(sample)
        tiny = torch.finfo(sample.dtype).tiny
        active.marks.append(
            Mark(
                scheme=noise.SCHEME.name,
                version=noise.SCHEME.version,
                key_id=code.record.kid,
                epoch=code.record.epoch,
                mark_id=mark_id,
            )
        )
        return magnitudes.clamp(min=tiny) * signs

    def _publish(self, pipe: Any, output: Any, marks: Sequence[Mark | None]) -> None:
        # What the safety checker blacked out holds nothing that was sampled.
        flagged = getattr(output, "nsfw_content_detected", None) or []
        marks = [
            None if index < len(flagged) and flagged[index] else mark
            for index, mark in enumerate(marks)
        ]
        name = str(pipe.config.get("_name_or_path") or self.base.__name__)
        records = [
            Record(
                kind="image",
                provider=self.attachment.provider,
                system=f"diffusers/{self.base.__name__}",
                model=name.replace("\\", "/").rstrip("/").split("/")[-1],
                marks=() if mark is None else (mark,),
                content=_digest(picture),
            )
            for picture, mark in zip(_outputs(output), marks, strict=True)
        ]
        self.attachment.publish(records, list(_outputs(output)))


class _SignMode(TorchFunctionMode):
    """While active in this thread, passes every `torch.randn` through `mark`."""

    def __init__(self, mark: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._mark = mark

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        return self._mark(out) if func is torch.randn else out


def _outputs(output: Any) -> Any:
    """The samples of a pipeline's output: a list of pictures, an array or a tensor."""
    return output[0]


def _digest(picture: Any) -> tuple[str, ...]:
    """By which an output is recognised again; none for bare latents."""
    if isinstance(picture, torch.Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3:
            return ()
        picture = picture.permute(1, 2, 0).float().cpu().numpy()
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3:
            return ()
        # As diffusers' own numpy_to_pil rounds.
        picture = Image.fromarray((picture * 255).round().astype(np.uint8))
    return (image_asset.digest(picture),)
