"""Every kind of diffusers class, attached: some of `benchmarks diffusion-coverage`."""

from __future__ import annotations

import pytest
from benchmarks.diffusion import coverage, coverage_modular, instance
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from diffusers.utils import deprecate

ALONE = (
    "AudioLDM2Pipeline",  # sound
    "CogVideoXPipeline",  # frames before channels
    "LTX2Pipeline",  # video and sound, packed
    "QwenImageEditPipeline",  # packed, a picture beside the noise
    "StableVideoDiffusionPipeline",  # a picture's video
    "IFPipeline",  # pixels
)
CALLED = (
    "DDIMPipeline",  # draws in __call__
    "KandinskyV22CombinedPipeline",  # made of two
    "StableDiffusionXLInpaintPipeline",  # posterior noise of the same shape
    "WanPipeline",  # a video
)


@pytest.mark.parametrize("name", ALONE)
def test_a_prepare_method_is_marked(name: str) -> None:
    row = coverage.check(name, call=False)

    assert (row.status, row.called) == ("marked", False), row.reason


@pytest.mark.parametrize("name", CALLED)
def test_a_call_is_marked(name: str) -> None:
    row = coverage.check(name)

    assert (row.status, row.called) == ("marked", True), row.reason


@pytest.mark.parametrize("name", ["DiffusionGemmaPipeline", "FluxPriorReduxPipeline"])
def test_what_cannot_be_marked_is_refused_with_a_reason(name: str) -> None:
    row = coverage.check(name)

    assert row.status == "not applicable"
    assert row.reason


def test_the_samplers_of_later_stages_are_looked_at() -> None:
    row = coverage.check("UnCLIPPipeline")  # decoder_scheduler, super_res_scheduler

    assert row.status == "failed"
    assert "UnCLIPScheduler draws new noise in its steps" in row.reason


class Renamed(DDIMPipeline):  # type: ignore[misc]
    def __init__(self, unet: UNet2DModel, scheduler: DDIMScheduler) -> None:
        deprecate("Renamed", "0.1", "It has another name.")
        super().__init__(unet, scheduler)


def test_what_diffusers_refuses_is_not_applicable() -> None:
    row = coverage._attempt(Renamed, coverage._called, text=True)

    assert (row.status, row.stand_in) == ("not applicable", False)
    assert "diffusers refuses it" in row.reason


@pytest.mark.parametrize("family", ["flux", "wan", "z_image"])
def test_modular_blocks_are_marked(family: str) -> None:
    found = [coverage_modular.check(k, family) for k in coverage_modular.blocks(family)]

    assert "marked" in {row.status for row in found}, found


def test_classes_are_told_from_deprecated_ones() -> None:
    known = instance.classes()

    assert "StableDiffusionPipeline" in known["loads"]
    assert "WuerstchenPriorPipeline" not in known["loads"] + known["lacks"]
