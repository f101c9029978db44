"""`attach` and the caller's callbacks: what they change, and what they make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from tests.pipelines import tiny
from tests.pipelines.test_diffusers_layers import CALL, PROMPT, Case, ancestral

from watermark.errors import NotMarked
from watermark.pipelines.diffusion_call import ACTIVE, Call, Codes, disarmed

REPLACED = pytest.raises(NotMarked, match="other latents")


class Look(PipelineCallback):  # type: ignore[misc]
    """A callback object, as diffusers defines them."""

    tensor_inputs = ("latents",)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def callback_fn(
        self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> Any:
        self.seen.append(tuple(tensors["latents"].shape))
        return tensors


class Overwrite(Look):
    def callback_fn(
        self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> Any:
        tensors["latents"].normal_()
        return tensors


def test_latents_overwritten_in_place_are_noticed() -> None:
    case = Case(tiny.stable_diffusion())

    def overwrite(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> Any:
        tensors["latents"].normal_()
        return tensors

    def quietly(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> Any:
        tensors.pop("latents").normal_()
        return tensors

    with case.attach():
        for callback in (overwrite, quietly):
            with REPLACED:
                case.images(callback_on_step_end=callback)

    assert case.records == []


def test_an_equal_copy_is_no_replacement() -> None:
    case = Case(tiny.stable_diffusion())

    def copied(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> Any:
        return {"latents": tensors["latents"].clone()}

    with case.attach():
        case.images(callback_on_step_end=copied)

    assert case.schemes() == [["noise"]]


@pytest.mark.parametrize("several", [False, True])
def test_callback_objects_are_watched_and_get_their_tensors(several: bool) -> None:
    case = Case(tiny.stable_diffusion())
    look, overwrite = Look(), Overwrite()
    with case.attach():
        case.images(
            callback_on_step_end=MultiPipelineCallbacks([look]) if several else look,
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
        )
        with REPLACED:
            case.images(
                callback_on_step_end=MultiPipelineCallbacks([look, overwrite])
                if several
                else overwrite
            )

    assert look.seen[:2] == [(1, 4, 32, 32)] * 2
    assert case.schemes() == [["noise"]]


@pytest.mark.filterwarnings("ignore:.*callback.*:FutureWarning")
def test_the_legacy_callback_is_watched() -> None:
    case = Case(tiny.stable_diffusion())
    seen = []

    def look(step: int, timestep: Any, latents: torch.Tensor) -> None:
        seen.append(step)

    def overwrite(step: int, timestep: Any, latents: torch.Tensor) -> None:
        latents.normal_()

    with case.attach():
        case.images(callback=look, callback_steps=1)
        with REPLACED:
            case.images(callback=overwrite, callback_steps=1)

    assert seen == [0, 1]
    assert case.schemes() == [["noise"]]


def test_previews_are_no_part_of_the_output() -> None:
    """What a callback decodes is neither marked nor recorded."""
    case = ancestral()
    previews: list[torch.Tensor] = []

    def preview(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> Any:
        previews.append(pipe.vae.decode(tensors["latents"], return_dict=False)[0])
        previews.append(tensors["latents"].clone())
        return tensors

    with case.attach():
        plain = case.images(num_images_per_prompt=2)
        seen = case.images(num_images_per_prompt=2, callback_on_step_end=preview)
    unmarked = case.pipe.vae.decode(previews[1], return_dict=False)[0]

    assert case.schemes() == [["noise", "latent"]] * 4
    assert [r.marks for r in case.records[:2]] == [r.marks for r in case.records[2:]]
    assert np.array_equal(plain, seen)
    assert torch.equal(previews[0], unmarked)


def test_another_pipeline_in_a_callback_is_not_marked() -> None:
    """It shares the autoencoder, and was never attached."""
    case = ancestral()
    other = type(case.pipe)(**case.pipe.components, requires_safety_checker=False)
    other.scheduler = EulerAncestralDiscreteScheduler.from_config(
        other.scheduler.config
    )
    other.set_progress_bar_config(disable=True)
    made: list[np.ndarray] = []

    def run() -> np.ndarray:
        generator = torch.Generator().manual_seed(5)
        return np.asarray(other(PROMPT, **CALL, generator=generator).images[0])

    def inside(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> Any:
        made.append(run())
        return tensors

    want = run()
    with case.attach():
        case.images(callback_on_step_end=inside)

    assert [np.array_equal(image, want) for image in made] == [True, True]
    assert case.schemes() == [["noise", "latent"]]


def test_a_draw_of_a_callback_is_not_the_initial_noise() -> None:
    """Where a class draws in `__call__`, its callbacks run inside that scope."""
    call = Call(Codes(Case(tiny.stable_diffusion()).record), noise=True, latent=False)
    generator = torch.Generator().manual_seed(1)
    expected = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    token = ACTIVE.set(call)
    with call.drawing():
        with disarmed():
            inside = torch.randn(1, 4, 32, 32, generator=generator)
        outside = torch.randn(1, 4, 32, 32, generator=generator)
    ACTIVE.reset(token)

    assert torch.equal(inside, expected)
    assert call.draws == 1
    assert call.marks
    assert outside.shape == inside.shape


def test_a_prior_callback_may_change_the_priors_latents() -> None:
    """They are an embedding that carries no mark."""

    class Combined(type(tiny.stable_diffusion())):  # type: ignore[misc]
        def __call__(self, *args: Any, prior_callback_on_step_end: Any, **more: Any):  # type: ignore[no-untyped-def]
            prior_callback_on_step_end(self, 0, 0, {"latents": torch.zeros(1, 8)})
            return super().__call__(*args, **more)

    case = Case(tiny.stable_diffusion())
    case.pipe.__class__ = Combined
    active = []

    def zero(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> Any:
        active.append(ACTIVE.get())
        tensors["latents"].normal_()
        return tensors

    with case.attach():
        case.images(prior_callback_on_step_end=zero)

    assert active == [None]
    assert case.schemes() == [["noise"]]
