"""Models from local folders: no network, no pickle, no code of theirs is run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from watermark.cli.terminal import Failure
from watermark.errors import MissingDependency


def model_at(folder: Path) -> Any:
    """A diffusers pipeline, or the likelihood of a language model.

    Raises:
        Failure: the folder holds neither, or cannot be read.
        MissingDependency: the library that reads it is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    if (folder / "model_index.json").is_file():
        return pipeline_at(folder)
    if (folder / "config.json").is_file():
        return _likelihood(folder)
    raise Failure(
        f"no model at {folder}: expected a folder with the model_index.json of a "
        "diffusers pipeline or the config.json of a language model, as save_pretrained "
        "writes them"
    )


def pipeline_at(folder: Path) -> Any:
    """A diffusers pipeline.

    Raises:
        Failure: the folder holds none, or it cannot be read.
        MissingDependency: diffusers is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import torch

        _quiet()
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging
    except ImportError as missing:
        raise MissingDependency("diffusers", "diffusion") from missing
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe = DiffusionPipeline.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as problem:  # diffusers raises a dozen types
        raise Failure(
            f"the pipeline in {folder} cannot be read: {problem}"
        ) from problem
    if torch.cuda.is_available():
        pipe.to("cuda")
    return pipe


def _likelihood(folder: Path) -> Any:
    """A language model, and how it says that it is sampled."""
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as missing:
        raise MissingDependency("transformers", "text") from missing
    from watermark.likelihood import Likelihood

    _quiet()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as problem:  # transformers raises a dozen types
        raise Failure(f"the model in {folder} cannot be read: {problem}") from problem
    return Likelihood(model.to("cuda" if torch.cuda.is_available() else "cpu").eval())


def _quiet() -> None:
    from transformers.utils import logging as words

    words.set_verbosity(words.CRITICAL)
    words.disable_progress_bar()
