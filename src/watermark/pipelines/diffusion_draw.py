"""The draw of the initial noise: where a class makes it, and how it is taken.

Inside a chosen scope, and nowhere else, a thread-local torch function mode takes every
Gaussian draw that a pipeline's own code asks for. Draws that an autoencoder asks for
(its posterior) or a scheduler (fresh noise of a step) pass: who asks is read from the
call stack, for their shapes are often the same.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DRAWING = frozenset({"randn", "randn_like", "randn_tensor"})
_DRAWN = (torch.randn, torch.randn_like)
# By file: these ask for other noise than a pipeline's initial one.
_OTHERS = ("/diffusers/models/", "/diffusers/schedulers/", "/transformers/")
# By file: helpers on the way from who asks to torch.
_HELPERS = ("/diffusers/utils/", "/torch/")


class DrawMode(TorchFunctionMode):
    """While active in this thread, passes a pipeline's draws through `take`."""

    def __init__(self, take: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._take = take

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        return self._take(out) if func in _DRAWN and asked_by_pipeline() else out


def asked_by_pipeline() -> bool:
    """Whether the nearest frame that is no helper is a pipeline's code.

    Where a Python has no frames to inspect, every draw is taken: other signs on an
    autoencoder's posterior noise are as good a draw as it was, and the record then
    names a mark too many, never too few.
    """
    if not hasattr(sys, "_getframe"):
        return True
    frame = sys._getframe(2)  # past this function and the mode
    while frame is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if not any(part in name for part in _HELPERS):
            return not any(part in name for part in _OTHERS)
        frame = frame.f_back  # type: ignore[assignment]
    return True


def draws(function: Any, owner: type | None = None) -> bool:
    """Whether a function's code draws Gaussian noise.

    Args:
        function: a function or method, decorated or not.
        owner: the class whose methods it may call; functions of its own module are
            followed as well.
    """
    return uses(function, DRAWING.__contains__, owner)


def uses(function: Any, wanted: Callable[[str], bool], owner: type | None) -> bool:
    """Whether a function's code names something `wanted`, followed as in `draws`."""
    return callable(function) and _uses(inspect.unwrap(function), wanted, owner, set())


def _uses(
    function: Any,
    wanted: Callable[[str], bool],
    owner: type | None,
    seen: set[CodeType],
) -> bool:
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return False
    seen.add(code)
    names = set(_names(code))
    if any(map(wanted, names)):
        return True
    for name in names:
        called = inspect.getattr_static(owner, name, None) if owner else None
        if isinstance(called, staticmethod | classmethod):
            called = called.__func__
        if called is None:
            called = function.__globals__.get(name)
            if getattr(called, "__module__", None) != function.__module__:
                continue
        called = inspect.unwrap(called) if callable(called) else None
        if isinstance(called, FunctionType) and _uses(called, wanted, owner, seen):
            return True
    return False


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def methods(base: type) -> tuple[str, ...]:
    """Names of the methods in which a pipeline class draws its initial noise.

    They are its own `prepare_...` methods: ``prepare_latents`` in nearly all, and
    beside it ``prepare_audio_latents`` or ``prepare_intermediate_images``. What is
    drawn to disturb a masked picture is no initial noise.
    """
    return tuple(
        name
        for name in dir(base)
        if name.startswith("prepare_")
        and "mask" not in name
        and any(
            draws(vars(kind)[name], base)
            for kind in base.__mro__  # an override may call the one it hides
            if callable(vars(kind).get(name))
        )
    )


def inline(base: type) -> bool:
    """Whether a class draws its initial noise in `__call__` itself.

    Only what runs a scheduler samples from noise; an upsampler may draw other noise.
    """
    scheduled = "scheduler" in inspect.signature(base.__init__).parameters  # type: ignore[misc]
    return scheduled and not methods(base) and draws(base.__call__)
