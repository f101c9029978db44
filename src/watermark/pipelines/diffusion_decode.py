"""The hook of the `latent` layer: final latents, just before the autoencoder decodes.

An autoencoder may be shared between pipelines and threads, and may carry other people's
wrappers (torch.compile, accelerate). So `decode` is wrapped on the object itself while
at least one marked call runs, and acts only for the call of its own thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from watermark.invert.taps import AUTOENCODERS
from watermark.pipelines.diffusion_call import ACTIVE

_LOCK = threading.Lock()


@dataclass
class _Hook:
    vae: Any  # held, so that its id stays its own
    own: Any  # what `decode` the object itself had, or None
    users: int = 0


_HOOKS: dict[int, _Hook] = {}


def autoencoders(parts: list[Any]) -> list[Any]:
    """The autoencoders that turn final latents into the output."""
    found = [getattr(part, name, None) for part in parts for name in AUTOENCODERS]
    unique = {id(vae): vae for vae in found if callable(getattr(vae, "decode", None))}
    return list(unique.values())


def unavailable(parts: list[Any]) -> str | None:
    """Why `latent` cannot be used on a pipeline of these parts, or None."""
    if find_spec("watermark.schemes.latent") is None:
        return "this version has no scheme 'latent'"
    if not autoencoders(parts):
        return "it has no autoencoder whose final latents could carry 'latent'"
    return None


@contextmanager
def hooked(parts: list[Any]) -> Iterator[None]:
    """Within: what reaches an autoencoder is marked by the call that is active."""
    with ExitStack() as stack:
        for vae in autoencoders(parts):
            _enter(vae)
            stack.callback(_leave, vae)
        yield


def _enter(vae: Any) -> None:
    with _LOCK:
        hook = _HOOKS.get(id(vae))
        if hook is None:
            hook = _HOOKS[id(vae)] = _Hook(vae, vars(vae).get("decode"))
            vars(vae)["decode"] = _marking(vae.decode)
        hook.users += 1


def _leave(vae: Any) -> None:
    with _LOCK:
        hook = _HOOKS[id(vae)]
        hook.users -= 1
        if hook.users:
            return
        del _HOOKS[id(vae)]
        if hook.own is None:
            del vars(vae)["decode"]
        else:
            vars(vae)["decode"] = hook.own


def _marking(decode: Any) -> Any:
    @functools.wraps(decode)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = ACTIVE.get()
        if call is None or not call.latent:
            return decode(*args, **kwargs)
        if args:
            return decode(_marked(call, args[0]), *args[1:], **kwargs)
        name = next(iter(kwargs))  # the latents come first in every signature
        return decode(**{**kwargs, name: _marked(call, kwargs[name])})

    return wrapper


def _marked(call: Any, latents: Any) -> Any:
    return call.mark_latents(latents) if isinstance(latents, torch.Tensor) else latents
