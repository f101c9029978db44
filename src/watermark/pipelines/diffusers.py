"""Mark what diffusers pipelines generate: images, videos and sound.

`attach` gives the pipeline a subclass. While a call runs, the draw of the initial noise
gets the key's signs and keeps the user's magnitudes (`diffusion_draw`); where that
cannot carry a mark, the final latents do (`diffusion_decode`). The user's generators
advance exactly as they would without it; other threads are untouched.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from watermark.errors import UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.pipelines import (
    diffusion_decode,
    diffusion_draw,
    diffusion_modular,
    diffusion_power,
)
from watermark.pipelines.base import Attachment, OnUnsupported, Sink
from watermark.pipelines.diffusion_call import Call, Codes
from watermark.pipelines.diffusion_callback import watch
from watermark.pipelines.diffusion_host import LAYERS, Host, parts_of
from watermark.pipelines.diffusion_latents import Policy
from watermark.schemes import noise

DEFAULT_SCHEME = noise.SCHEME.name
# By module: they make neither pictures, videos nor sound.
_NO_MEDIA = ("rfd4_proteina", "llada2", "diffusion_gemma")


def supports(obj: Any) -> bool:
    """Whether `obj` is a diffusers pipeline, modular or not."""
    from diffusers import DiffusionPipeline

    return isinstance(obj, DiffusionPipeline) or diffusion_modular.supports(obj)


def attach(
    pipeline: Any,
    record: KeyRecord,
    sink: Sink,
    *,
    provider: str,
    on_unsupported: OnUnsupported = "raise",
    layers: Sequence[str] | None = None,
    latents: Policy | None = None,
    home: Path | None = None,
) -> Attachment:
    """Mark every output of the pipeline from now on.

    Args:
        pipeline: a diffusers pipeline that makes pictures, videos or sound.
        record: key record of `noise`.
        sink: receives the records of each call before its output is handed over.
        provider: written into the records.
        on_unsupported: ``"raise"``, or ``"warn"`` to run unmarked and record that.
        layers: some of ``"noise"`` and ``"latent"``; None is `noise`, and `latent`
            beside it where `noise` cannot carry a mark (`Attachment.status` says why).
        latents: what to do with the caller's own ``latents=``: ``"re-sign"`` (as None),
            ``"respect"`` them, which marks by `latent` alone, or ``"error"``.
        home: folder of the home. If the power of this pipeline was measured there
            (`watermark.power`), the status tells it, and `latent` is as strong as was
            chosen then.

    Raises:
        AlreadyAttached: the pipeline, or one it is combined from, is attached.
        UnsupportedPipeline: it has neither noise nor latents that could carry a mark;
            or the record is of another scheme.
        HomeError: what was measured is damaged.
        ValueError: an unknown layer.
    """
    if record.scheme != DEFAULT_SCHEME:
        raise UnsupportedPipeline(
            f"a key record of {record.scheme!r} was given, expected 'noise': layers= "
            "says what else marks"
        )
    chosen = None if layers is None else tuple(layers)
    if chosen is not None and (not chosen or set(chosen) - set(LAYERS)):
        raise ValueError(f"layers is {layers!r}, expected some of {LAYERS}")
    base = type(pipeline)
    modular = diffusion_modular.supports(pipeline)
    parts = [pipeline] if modular else parts_of(pipeline)
    no_noise = (
        diffusion_modular.no_noise(pipeline) if modular else _no_noise(base, parts)
    )
    lacking = diffusion_decode.unavailable(parts)
    if chosen is not None and "latent" in chosen and lacking is not None:
        raise UnsupportedPipeline(f"{base.__name__} cannot carry 'latent': {lacking}")
    only_noise = chosen is not None and "latent" not in chosen
    if no_noise is not None and (only_noise or lacking is not None):
        raise UnsupportedPipeline(f"{base.__name__} {no_noise}")
    measured = None if home is None else diffusion_power.load(home, pipeline)
    attachment = Attachment(pipeline, record, sink, provider=provider)
    codes = Codes(record)
    if lacking is None and not only_noise:
        scheme: Any = import_module("watermark.schemes.latent")
        strength = {"delta": measured.delta} if measured and measured.delta else {}
        codes.latent = scheme.SCHEME.record(record.key, epoch=record.epoch, **strength)
        attachment.key_records = (record, codes.latent)
    kind = diffusion_modular.ModularHost if modular else Host
    host = kind(
        *(attachment, base, codes, chosen, latents, no_noise, on_unsupported),
        measured=measured,
    )
    attachment.layers = lambda: host.status(pipeline)
    if modular:
        diffusion_modular.swap(attachment, host, pipeline)
        return attachment
    attachment.swap(
        {
            "__call__": _call(host, base),
            "components": _components(base),
            **_prepares(host, base),
        }
    )
    for part in parts[1:]:
        attachment.swap(_prepares(host, type(part)), part)
    return attachment


def _no_noise(base: type, parts: Sequence[Any]) -> str | None:
    """Why a class draws no noise that could be marked, or None."""
    module = base.__module__
    if any(name in module for name in _NO_MEDIA):
        return "makes neither pictures, videos nor sound"
    if "onnx" in module:
        return "draws its noise with numpy, which cannot be reached"
    if "Prior" in base.__name__ and "kandinsky" in module:
        return "draws no latents but an embedding: attach the combined pipeline"
    if diffusion_draw.methods(base) or diffusion_draw.inline(base):
        return None
    if any(diffusion_draw.methods(type(part)) for part in parts[1:]):
        return None
    return "draws no initial noise that could be marked"


def _call(host: Host, base: Any) -> Callable[..., Any]:
    signature = inspect.signature(base.__call__)
    inline = diffusion_draw.inline(base)
    # The name of `**kwargs`, where legacy arguments come in.
    extra = next(
        (p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), ""
    )

    @functools.wraps(base.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        full = signature.bind(self, *args, **kwargs)
        full.apply_defaults()
        arguments = bound.arguments

        def invoke(active: Call | None) -> Any:
            if active is None:
                return base.__call__(self, *args, **kwargs)
            for own in (arguments, arguments.get(extra)):
                if own:
                    watch(own, active)
            if not inline or not active.noise:
                return base.__call__(*bound.args, **bound.kwargs)
            latents = arguments.get("latents")
            if isinstance(latents, torch.Tensor):
                arguments["latents"] = active.mark_noise(latents)
                return base.__call__(*bound.args, **bound.kwargs)
            with active.drawing():
                return base.__call__(*bound.args, **bound.kwargs)

        return host.run(self, full.arguments, invoke)

    return call


def _prepares(host: Host, base: Any) -> dict[str, Callable[..., Any]]:
    """Overrides of the methods in which a class draws its initial noise."""

    def override(name: str) -> Callable[..., Any]:
        @functools.wraps(getattr(base, name))
        def prepare(self: Any, *args: Any, **kwargs: Any) -> Any:
            return host.prepare(self, base, name, args, kwargs)

        return prepare

    return {name: override(name) for name in diffusion_draw.methods(base)}


def _components(base: Any) -> property:
    """`components` as it was; who makes another pipeline of them is told."""

    @functools.wraps(base.components.fget)
    def components(self: Any) -> Any:
        if sys._getframe(1).f_code.co_name == "from_pipe":
            warnings.warn(
                f"from_pipe() makes a new pipeline of an attached {base.__name__}, and "
                "the new one is NOT marked: attach it as well",
                UserWarning,
                stacklevel=3,
            )
        return base.components.fget(self)

    return property(components)
