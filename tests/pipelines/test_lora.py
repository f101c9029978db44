"""LoRA weights: loaded before `attach`, after it, and taken out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from tests.pipelines import tiny
from tests.pipelines.test_diffusers import Case, spy

from watermark.detectors import noise as noise_detector
from watermark.invert.latents import Inverter
from watermark.schemes.noise import Code


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A file of LoRA weights that change what the tiny pipeline draws."""
    unet = tiny.stable_diffusion().unet
    torch.manual_seed(3)
    unet.add_adapter(
        LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=get_peft_model_state_dict(unet)
    )
    return tmp_path


def found(case: Case) -> float:
    """log10 p of the last draw that the loop started from."""
    (drawn,) = case.drawn[-1]
    code = Code(case.record, tuple(drawn.shape))
    return noise_detector.score(drawn.numpy(), code).log10_p()


@pytest.mark.parametrize("first", ["attached", "loaded"])
def test_the_mark_is_there_with_lora_weights_and_without(
    first: str, lora: Path
) -> None:
    case = Case(tiny.stable_diffusion())
    spy(case)
    plain: Any = case.images()
    if first == "loaded":
        case.pipe.load_lora_weights(lora)
    with case.attach():
        if first == "attached":
            case.pipe.load_lora_weights(lora)
        changed, loaded = case.images(), found(case)
        back = Inverter(case.pipe).noise(changed[0], steps=1)
        case.pipe.unload_lora_weights()
        unloaded, without = case.images(), found(case)
    after = case.images()

    assert not np.array_equal(changed[0], unloaded[0])  # the weights were in use
    assert max(loaded, without) < -20 < found(case)
    assert back.shape == tuple(case.drawn[0].shape[1:])
    assert np.array_equal(after[0], plain[0])
    assert len(case.records) == 2
