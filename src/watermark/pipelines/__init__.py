"""Where a mark goes in: one module per host framework.

`adapter_for` picks by the type of the object and imports only the module that fits.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from watermark.errors import UnsupportedPipeline


def adapter_for(obj: Any) -> ModuleType:
    """The adapter module for a host object.

    Raises:
        UnsupportedPipeline: no adapter knows it.
    """
    families = {base.__module__.split(".")[0] for base in type(obj).__mro__}
    if "diffusers" in families:
        from watermark.pipelines import diffusers

        if diffusers.supports(obj):
            return diffusers
    if "transformers" in families:
        from watermark.pipelines import transformers

        if transformers.supports(obj):
            return transformers
    if "llama_cpp" in families:
        from watermark.pipelines import llama_cpp

        if llama_cpp.supports(obj):
            return llama_cpp
    inner = getattr(obj, "_orig_mod", None)  # of what torch.compile returns
    if inner is not None:
        raise UnsupportedPipeline(
            f"a compiled wrapper of {type(inner).__name__} was given: attach the model "
            "inside, model._orig_mod; the wrapper's generate() is then marked too"
        )
    raise UnsupportedPipeline(
        f"a {type(obj).__module__}.{type(obj).__name__} was given, expected a "
        "transformers model that can generate, a diffusers pipeline or a Llama of "
        "llama_cpp"
    )
