"""Small random pipelines of diffusers' own classes, built without a network.

Sizes and arguments are those of diffusers' own tests (Apache-2.0), as data in
`small.json`: a pool of component configurations, and for each pipeline class its
components and the arguments of one call. Tokenizers are ours: nine words.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

TABLE = Path(__file__).with_name("small.json")
WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "a", "photo", "of", "dress", "lighthouse")
# Any chat's text: what a prompt says does not matter here.
TEMPLATE = "{{ 'a photo of a dress' }}"


@functools.cache
def table() -> dict[str, Any]:
    """`small.json`."""
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def tokenizer(length: int = 77) -> Any:
    """A tokenizer of nine words."""
    backend = Tokenizer(
        WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = Whitespace()
    # As most do: a text that is masked from end to end is NaN to some encoders.
    backend.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", WORDS.index("<eos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=TEMPLATE,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=length,
    )


def components(name: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """The components of a pipeline class of the table.

    Args:
        name: of the class.
        without: leave out components with one of these in their names.

    Raises:
        KeyError: it is not in the table.
    """
    torch.manual_seed(0)
    return {
        key: _component(value)
        for key, value in table()["pipelines"][name]["components"].items()
        if not any(part in key for part in without)
    }


def component(index: int) -> Any:
    """One of the pool of components."""
    return model(**table()["components"][index])


def _component(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_component(one) for one in entry]
    if "at" in entry:
        return component(entry["at"])
    if "tokenizer" in entry:
        return tokenizer()
    if "other" in entry:
        return (
            other(entry["other"]) if not entry["other"].startswith("tests.") else None
        )
    return entry.get("value")


def model(
    module: str, config: dict[str, Any], hf: str | None = None, **names: str
) -> Any:
    """A component of a class, from its configuration, in evaluation mode."""
    kind = getattr(importlib.import_module(module), names["class"])
    if hf is not None:
        return kind(kind.config_class.from_dict(config)).eval()
    known = inspect.signature(kind).parameters  # an older version lacks some
    made = kind(**{key: value for key, value in config.items() if key in known})
    return made.eval() if isinstance(made, torch.nn.Module) else made


def other(name: str) -> Any:
    """Preprocessors: those that need no files."""
    module, _, kind = name.rpartition(".")
    if importlib.util.find_spec(module) is None:  # its name in older transformers
        module, kind = module.replace("_pil_", "_"), kind.removesuffix("Pil")
    return getattr(importlib.import_module(module), kind)()


def inputs(name: str) -> dict[str, Any]:
    """The arguments of one call of a pipeline class of the table."""
    return {
        key: _input(value)
        for key, value in table()["pipelines"][name]["inputs"].items()
    }


def _input(value: Any) -> Any:
    if isinstance(value, list):
        return [_input(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "generator" in value:
        return torch.Generator().manual_seed(0)
    if "image" in value:
        return Image.new(
            value["mode"],
            tuple(value["image"]),
            "gray" if value["mode"] != "RGBA" else None,
        )
    if "tensor" in value:
        return torch.full(value["tensor"], 0.5).to(getattr(torch, value["dtype"]))
    if "array" in value:
        return np.full(value["array"], 0.5, np.float32)
    if "dict" in value:
        return {key: _input(one) for key, one in value["dict"].items()}
    if "dtype" in value:
        return getattr(torch, value["dtype"])
    raise ValueError(f"an input of {value} cannot be made")
