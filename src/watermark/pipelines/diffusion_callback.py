"""The caller's callbacks: they see the latents, and may not change marked ones.

While one runs, the call marks nothing: a preview that it decodes, or another pipeline
that it runs, is no part of the call's output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from watermark.pipelines.diffusion_call import Call, disarmed

# Arguments whose callbacks see what samples the output; others (a prior's) do not.
_STEP_END = "callback_on_step_end"
_LEGACY = "callback"
# Latents that may carry the noise's mark, by their names in a callback.
_MARKED = ("latents", "audio_latents")


def watch(arguments: dict[str, Any], active: Call) -> None:
    """Wrap every callback among the arguments of a call, in place.

    Args:
        arguments: by name; those of a ``**kwargs`` parameter by their own.
        active: the call; `Call.replaced` is set when marked latents are changed.
    """
    for name, value in arguments.items():
        if "callback" not in name or not callable(value):
            continue
        if name == _STEP_END:
            arguments[name] = _step_end(value, active)
        elif name == _LEGACY:
            arguments[name] = _legacy(value, active)
        else:
            arguments[name] = _aside(value)


def _step_end(callback: Any, active: Call) -> Any:
    def watched(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> Any:
        given = {name: tensors.get(name) for name in _MARKED}
        kept = {name: _copy(value) for name, value in given.items()}
        with disarmed():
            after = callback(pipe, step, timestep, tensors)
        for name, value in given.items():
            # What is not returned goes on as the object that was given.
            now = after.get(name, value) if isinstance(after, dict) else value
            _check(active, now, kept[name])
        return after

    return _as_object(watched, callback)


def _legacy(callback: Any, active: Call) -> Any:
    def watched(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        kept = [_copy(value) for value in given]
        with disarmed():
            after = callback(*args, **kwargs)
        for now, before in zip(given, kept, strict=True):
            if isinstance(now, torch.Tensor):
                _check(active, now, before)
        return after

    return watched


def _aside(callback: Any) -> Any:
    def aside(*args: Any, **kwargs: Any) -> Any:
        with disarmed():
            return callback(*args, **kwargs)

    return _as_object(aside, callback)


def _as_object(wrapper: Callable[..., Any], callback: Any) -> Any:
    """The wrapper, as what diffusers takes `callback` for.

    It asks its own callback objects, and no others, which tensors they want to see.
    """
    if not hasattr(callback, "tensor_inputs"):
        return wrapper
    from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback

    wrapper.tensor_inputs = callback.tensor_inputs  # type: ignore[attr-defined]
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        return MultiPipelineCallbacks([wrapper])
    return wrapper


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _check(active: Call, now: Any, before: Any) -> None:
    """Note in the call whether latents are others than before."""
    if not active.noise or (now is None and before is None):
        return
    tensors = isinstance(now, torch.Tensor) and isinstance(before, torch.Tensor)
    same = (
        tensors
        and (now.shape, now.dtype, now.device)
        == (before.shape, before.dtype, before.device)
        and torch.equal(now, before)
    )
    active.replaced |= not same
