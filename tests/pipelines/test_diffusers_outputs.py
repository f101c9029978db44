"""`attach` on diffusers pipelines: which output each mark belongs to, and whose not."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    MotionAdapter,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput
from tests.pipelines import tiny
from tests.pipelines.test_diffusers_layers import PROMPT, Case, decoded, layers

from watermark.detectors import latent as latent_detector
from watermark.errors import NotMarked, UnsupportedPipeline
from watermark.keys import Key
from watermark.pipelines import diffusion_output as output_of
from watermark.pipelines import diffusion_scheduler as scheduler_of
from watermark.pipelines.diffusion_call import Call, Codes
from watermark.record import Mark
from watermark.schemes import SCHEMES, latent

VIDEO: dict[str, Any] = {
    "num_frames": 4,
    "height": 64,
    "width": 64,
    "num_inference_steps": 2,
}


def animate() -> Case:
    """A pipeline whose videos are decoded frame by frame, in chunks."""
    parts = tiny.stable_diffusion().components
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=4,
    )
    adapter = MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
    )
    kept = ("vae", "text_encoder", "tokenizer", "scheduler")
    return Case(
        AnimateDiffPipeline(
            **{name: parts[name] for name in kept}, unet=unet, motion_adapter=adapter
        )
    )


def videos(case: Case, **more: Any) -> Any:
    call = VIDEO | {"generator": torch.Generator().manual_seed(1)} | more
    return case.pipe(call.pop("prompt", [PROMPT, "a lighthouse"]), **call)


@pytest.mark.parametrize("chunk", [2, 4])
def test_each_video_gets_the_marks_of_its_own_frames(chunk: int) -> None:
    """2 videos of 3 frames: chunks of 2 are as many as there are videos."""
    case = animate()
    seen = decoded(case)
    with case.attach(layers=("latent",)) as attachment:
        size = {"num_frames": 3, "height": 128, "width": 128}
        videos(case, **size, num_inference_steps=1, decode_chunk_size=chunk)
    code = latent.Code(attachment.key_records[1], (4, 64, 64))
    frames = [latent_detector.score(z.float().numpy(), code) for z in torch.cat(seen)]
    found = [frame.decoded for frame in frames]

    assert len(found) == 6
    assert all(frame.log10_p() < -20 for frame in frames)
    for record, own in zip(case.records, (found[:3], found[3:]), strict=True):
        assert [mark.mark_id for mark in record.marks] == own
    assert len(set(found)) == 6


def _mark(layer: str, index: int) -> Mark:
    return Mark(
        scheme=layer, version=1, key_id="0" * 16, epoch=0, mark_id=bytes([index])
    )


def marked(layer: str, shape: tuple[int, ...], sizes: list[int]) -> Call:
    """A call in which batches of these sizes were marked: one id for each sample."""
    record = SCHEMES["noise"].record(Key(hashlib.sha256(b"of outputs").digest()))
    call = Call(Codes(record), layer == "noise", layer == "latent")
    ids = iter(range(sum(sizes)))
    call.marks[layer, shape] = [
        [_mark(layer, next(ids)) for _ in range(size)] for size in sizes
    ]
    return call


def ids(call: Call, outputs: int, medium: Any) -> list[list[int]]:
    return [
        [mark.mark_id[0] for mark in marks]
        for marks in call.of_outputs(outputs, medium)
    ]


def test_several_batches_belong_in_equal_runs() -> None:
    picture, video = (4, 32, 32), (4, 5, 32, 32)

    assert ids(marked("latent", picture, [2, 2]), 4, "image") == [[0], [1], [2], [3]]
    assert ids(marked("latent", picture, [4]), 2, "image") == [[0, 1], [2, 3]]
    assert ids(marked("latent", picture, [2, 2]), 2, "video") == [[0, 1], [2, 3]]
    assert ids(marked("latent", picture, [3, 1]), 2, "video") == [[0, 1], [2, 3]]
    assert ids(marked("latent", video, [1, 1]), 1, "video") == [[0, 1]]
    assert ids(marked("noise", video, [2, 2]), 2, "video") == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("shape", "sizes", "outputs", "medium"),
    [
        ((4, 32, 32), [2, 2], 2, "image"),  # decoded twice, or an ensemble
        ((4, 5, 32, 32), [2, 2], 2, "video"),  # parts of each video in turn
        ((4, 32, 32), [2, 1], 2, "video"),  # does not divide
        ((4, 32, 32), [3], 2, "image"),
    ],
)
def test_samples_of_unknown_owners_are_not_claimed(
    shape: tuple[int, ...], sizes: list[int], outputs: int, medium: Any
) -> None:
    with pytest.raises(NotMarked, match="whose they are"):
        marked("latent", shape, sizes).of_outputs(outputs, medium)


@pytest.mark.parametrize("name", ["free_init", "free_noise"])
def test_noise_that_is_rearranged_counts_as_weak(name: str) -> None:
    case = animate()
    if name == "free_init":
        case.pipe.enable_free_init(num_iters=2)
    else:
        case.pipe.enable_free_noise(context_length=2, context_stride=2)
    with (
        case.attach(layers=("noise",)),
        pytest.raises(UnsupportedPipeline, match="Fre"),
    ):
        videos(case, prompt=PROMPT)
    with case.attach() as attachment:
        state = layers(attachment)
        videos(case, prompt=PROMPT)
    getattr(case.pipe, f"disable_{name}")()
    with case.attach() as attachment:
        after = layers(attachment)

    assert state["noise"].power == "low"
    assert state["latent"].on
    schemes = [{mark.scheme for mark in record.marks} for record in case.records]
    assert schemes == [{"noise", "latent"}]
    assert after["noise"].power == "high"
    assert not after["latent"].on


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("scheduling_dpmsolver_sde", "DPMSolverSDEScheduler"),
        ("scheduling_cosine_dpmsolver_multistep", "CosineDPMSolverMultistepScheduler"),
    ],
)
def test_samplers_with_a_brownian_tree_are_stochastic(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    """Their classes are diffusers' own; torchsde is needed for their steps alone."""
    for part in ("scheduling_dpmsolver_sde", module):
        monkeypatch.delitem(sys.modules, f"diffusers.schedulers.{part}", raising=False)
    if importlib.util.find_spec("torchsde") is None:
        monkeypatch.setitem(sys.modules, "torchsde", types.ModuleType("torchsde"))
    scheduler = getattr(importlib.import_module(f"diffusers.schedulers.{module}"), name)

    assert "Brownian" in str(scheduler_of.stochastic(scheduler(), {}))
    monkeypatch.setattr(scheduler_of, "_ALWAYS", frozenset())
    assert "Brownian" in str(scheduler_of.stochastic(scheduler(), {}))
    case = Case(tiny.stable_diffusion())
    case.pipe.scheduler = scheduler()
    with (
        case.attach(layers=("noise",)),
        pytest.raises(UnsupportedPipeline, match="Brownian"),
    ):
        case.images()


def test_a_step_that_asks_a_noise_sampler_is_stochastic() -> None:
    class Own(DDIMScheduler):  # type: ignore[misc]
        noise_sampler: Any = None

        def step(self, *args: Any, **kwargs: Any) -> Any:
            return self._covered(super().step(*args, **kwargs))

        def _covered(self, output: Any) -> Any:
            return output + self.noise_sampler(0, 1)

    assert "Brownian" in str(scheduler_of.stochastic(Own(), {}))
    assert scheduler_of.stochastic(DDIMScheduler(), {}) is None
    assert scheduler_of.stochastic(FlowMatchEulerDiscreteScheduler(), {}) is None


@pytest.mark.parametrize("strength", [0.3, 0.95])
def test_a_refiner_that_draws_no_noise_is_marked_by_its_latents(
    strength: float,
) -> None:
    parts = tiny.stable_diffusion_xl().components
    case = Case(StableDiffusionXLImg2ImgPipeline(**parts))
    given = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(2))
    call: dict[str, Any] = {"image": given, "num_inference_steps": 4}
    call |= {"denoising_start": 0.5, "strength": strength}
    with case.attach() as attachment:
        case.pipe(PROMPT, **call)
        state = layers(attachment)

    assert case.schemes() == [["latent"]]
    assert state["noise"].power == "low"
    assert state["latent"].on


def test_a_refiner_by_noise_alone_is_refused() -> None:
    case = Case(
        StableDiffusionXLImg2ImgPipeline(**tiny.stable_diffusion_xl().components)
    )
    with (
        case.attach(layers=("noise",)),
        pytest.raises(UnsupportedPipeline, match="denoising_start"),
    ):
        case.pipe(PROMPT, image=torch.randn(1, 4, 32, 32), denoising_start=0.5)


FLAGS = (
    [False, True],
    (False, True),
    [np.False_, np.True_],
    np.array([False, True]),
    torch.tensor([False, True]),
    np.array([[False], [True]]),
)


@pytest.mark.parametrize("flags", FLAGS, ids=repr)
@pytest.mark.parametrize("bare", [False, True])
def test_flags_of_any_kind_are_read(flags: Any, bare: bool) -> None:
    output = StableDiffusionPipelineOutput([None, None], flags)

    assert output_of.blacked_out(([0, 0], flags) if bare else output, 2) == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    "flags", [True, [True], np.array(True), "no", [0.2, 0.9], {0: True}, []], ids=repr
)
def test_flags_that_cannot_be_read_are_no_claim(flags: Any) -> None:
    named = StableDiffusionPipelineOutput([None, None], flags)
    with pytest.raises(NotMarked, match="safety checker"):
        output_of.blacked_out(named, 2)
    with pytest.raises(NotMarked, match="safety checker"):
        output_of.blacked_out(([0, 0], flags), 2, checked=True)


def test_the_second_of_a_tuple_may_be_no_flags() -> None:
    for other in (None, torch.zeros(2, 100), [0.5, 0.5], np.zeros((1, 2))):
        assert output_of.blacked_out(([0, 0], other), 2) == [False, False]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
@pytest.mark.parametrize("bare", [False, True])
def test_blacked_out_by_an_array_is_recorded_as_unmarked(kind: Any, bare: bool) -> None:
    case = Case(tiny.stable_diffusion())

    def run(self: Any, image: Any, device: Any, dtype: Any) -> Any:
        image[1] = 0
        return image, kind([False, True])

    base = type(case.pipe)
    case.pipe.__class__ = type(base.__name__, (base,), {"run_safety_checker": run})
    with case.attach():
        case.pipe(
            PROMPT,
            height=64,
            width=64,
            num_inference_steps=1,
            num_images_per_prompt=2,
            return_dict=not bare,
        )

    assert case.schemes() == [["noise"], []]


def test_returned_latents_of_unknown_packing_are_not_marked() -> None:
    """A subclass that does more than to fold its noise: nothing is handed over."""

    class Mixed(type(tiny.flux())):  # type: ignore[misc]
        def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
            latents, *rest = super().prepare_latents(*args, **kwargs)
            return (latents.cumsum(1), *rest)

    call: dict[str, Any] = {"height": 128, "width": 128, "num_inference_steps": 1}
    call |= {"max_sequence_length": 16, "output_type": "latent"}
    case = Case(tiny.flux())
    case.pipe.__class__ = Mixed
    with case.attach(layers=("latent",)), pytest.raises(NotMarked, match="packed"):
        case.pipe(PROMPT, **call)
    with case.attach(layers=("noise",)):
        case.pipe(PROMPT, **call)

    assert case.schemes() == [["noise"]]
