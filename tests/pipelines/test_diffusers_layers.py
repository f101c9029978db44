"""`attach` on diffusers pipelines: which layer marks which call, and what it costs."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
)
from PIL import Image
from tests.pipelines import tiny

from watermark.detectors import noise as noise_detector
from watermark.errors import NotMarked, UnsupportedPipeline
from watermark.keys import Key
from watermark.pipelines import diffusers as host
from watermark.pipelines import diffusion_scheduler as scheduler_of
from watermark.pipelines.diffusion_latents import no_draw
from watermark.record import Record
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code

CALL: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": 2}
PROMPT = "a photo of a dress"
KEY = Key(hashlib.sha256(b"layers").digest())


class Case:
    """A pipeline, its key record and what its attachment reported."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.record = SCHEMES["noise"].record(KEY, nonce_bits=10)
        self.records: list[Record] = []
        pipe.set_progress_bar_config(disable=True)

    def sink(self, records: Sequence[Record], outputs: Sequence[Any]) -> None:
        self.records.extend(records)

    def attach(self, **more: Any) -> Any:
        return host.attach(self.pipe, self.record, self.sink, provider="Acme", **more)

    def images(self, **more: Any) -> list[np.ndarray]:
        call = CALL | {"generator": torch.Generator().manual_seed(1)} | more
        return [np.asarray(image) for image in self.pipe(PROMPT, **call).images]

    def schemes(self) -> list[list[str]]:
        return [[mark.scheme for mark in record.marks] for record in self.records]


def ancestral() -> Case:
    case = Case(tiny.stable_diffusion())
    config = case.pipe.scheduler.config
    case.pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(config)
    return case


def picture_to_picture(kind: Any = StableDiffusionImg2ImgPipeline) -> Case:
    parts = tiny.stable_diffusion().components
    return Case(kind(**parts, requires_safety_checker=False))


def from_picture(case: Case, **more: Any) -> list[np.ndarray]:
    call: dict[str, Any] = {"num_inference_steps": 10, **more}
    call["generator"] = torch.Generator().manual_seed(1)
    picture = Image.new("RGB", (64, 64), "gray")
    return [np.asarray(i) for i in case.pipe(PROMPT, image=picture, **call).images]


def layers(attachment: Any) -> dict[str, Any]:
    return {layer.name: layer for layer in attachment.status().layers}


def decoded(case: Case) -> list[torch.Tensor]:
    """Keep what the autoencoder's own `decode` is given."""
    seen: list[torch.Tensor] = []
    vae = case.pipe.vae
    base = type(vae)

    class Spying(base):  # type: ignore[misc,valid-type]
        def decode(self, z: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            seen.append(z.detach().clone())
            return super().decode(z, *args, **kwargs)

    vae.__class__ = Spying
    return seen


def test_text_to_image_is_marked_by_noise_alone() -> None:
    case = Case(tiny.stable_diffusion())
    with case.attach() as attachment:
        before = layers(attachment)
        case.images()
        after = layers(attachment)

    assert before == after
    assert after["noise"].on
    assert after["noise"].power == "high"
    assert not after["latent"].on
    assert after["latent"].power == "none"
    assert case.schemes() == [["noise"]]


def test_a_stochastic_sampler_turns_the_latent_layer_on() -> None:
    from watermark.detectors import latent as latent_detector
    from watermark.schemes import latent

    case = ancestral()
    seen = decoded(case)
    with case.attach() as attachment:
        case.images(num_images_per_prompt=2, height=128, width=128)
        state = layers(attachment)
    record = attachment.key_records[1]
    [batch] = seen
    code = latent.Code(record, tuple(batch.shape[1:]))
    scores = [latent_detector.score(z.float().numpy(), code) for z in batch]

    assert case.schemes() == [["noise", "latent"]] * 2
    assert all(score.log10_p() < -6 for score in scores)
    assert state["noise"].power == "low"
    assert "EulerAncestral" in state["noise"].reason
    assert state["latent"].on
    assert len({r.marks[1].mark_id for r in case.records}) == 2
    assert "decode" not in vars(case.pipe.vae)  # nothing is left on the autoencoder


def test_without_the_latent_layer_a_weak_call_raises_or_warns() -> None:
    case = ancestral()
    with (
        case.attach(layers=("noise",)),
        pytest.raises(UnsupportedPipeline, match="EulerAncestral"),
    ):
        case.images()
    with (
        case.attach(layers=("noise",), on_unsupported="warn"),
        pytest.warns(UserWarning, match="WITHOUT a mark"),
    ):
        case.images()
    assert case.schemes() == [[]]


@pytest.mark.parametrize("strength", [0.9, 0.2])
def test_strength_decides_what_marks_a_picture_to_picture_call(strength: float) -> None:
    case = picture_to_picture()
    with case.attach() as attachment:
        from_picture(case, strength=strength)
        state = layers(attachment)

    weak = strength < 0.5
    assert case.schemes() == [["noise", "latent"] if weak else ["noise"]]
    assert state["noise"].power == ("low" if weak else "high")
    assert f"strength={strength:g}" in state["noise"].reason
    assert state["latent"].on == weak


@pytest.mark.parametrize("inpaint", [False, True])
def test_posterior_noise_of_the_same_shape_is_left_alone(inpaint: bool) -> None:
    """Both draws are (1, 4, 32, 32); only the second one is the initial noise."""
    kind = StableDiffusionInpaintPipeline if inpaint else StableDiffusionImg2ImgPipeline
    case = picture_to_picture(kind)
    more: dict[str, Any] = {"strength": 0.9}
    if inpaint:
        more |= {"mask_image": Image.new("L", (64, 64), 255), "height": 64, "width": 64}
    with case.attach() as attachment:
        from_picture(case, **more)
        state = layers(attachment)

    assert case.schemes() == [["noise"]]
    assert state["noise"].power == ("unknown" if inpaint else "high")


def test_detach_of_a_picture_pipeline_is_bit_identical() -> None:
    case = picture_to_picture()
    before = from_picture(case, strength=0.2)
    with case.attach():
        marked = from_picture(case, strength=0.2)
    after = from_picture(case, strength=0.2)

    assert np.array_equal(before, after)
    assert not np.array_equal(before, marked)


def test_returned_latents_carry_the_latent_layer() -> None:
    from watermark.detectors import latent as latent_detector
    from watermark.schemes import latent

    case = Case(tiny.flux())
    call: dict[str, Any] = {"height": 128, "width": 128, "num_inference_steps": 1}
    call |= {"max_sequence_length": 16, "output_type": "latent"}
    with case.attach(layers=("noise", "latent")) as attachment:
        packed = case.pipe(
            PROMPT, **call, generator=torch.Generator().manual_seed(1)
        ).images
    scale = case.pipe.vae_scale_factor
    [unpacked] = case.pipe._unpack_latents(packed, 128, 128, scale)
    code = latent.Code(attachment.key_records[1], (4, 64, 64))

    assert case.schemes() == [["noise", "latent"]]
    assert latent_detector.score(unpacked.float().numpy(), code).log10_p() < -6


def test_own_latents_by_policy() -> None:
    case = Case(tiny.stable_diffusion())
    own = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    with (
        case.attach(latents="error"),
        pytest.raises(UnsupportedPipeline, match="latents='error'"),
    ):
        case.images(latents=own)
    with case.attach(latents="respect") as attachment:
        case.images(latents=own)
        state = layers(attachment)
    with case.attach(latents="re-sign"):
        case.images(latents=own)

    assert case.schemes() == [["latent"], ["noise"]]
    assert "respect" in state["noise"].reason


def test_a_picture_is_no_draw() -> None:
    white = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    smooth = torch.nn.functional.avg_pool2d(white, 3, 1, 1)
    smooth = smooth / smooth.std()

    assert no_draw(white) is None
    assert no_draw(torch.randn(2, 256, 16)) is None
    assert "neighbours" in str(no_draw(smooth))


def test_threads_share_an_autoencoder_and_only_attached_ones_mark() -> None:
    plain = Case(tiny.stable_diffusion())
    config = plain.pipe.scheduler.config
    plain.pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(config)
    embeds, negative, *_ = plain.pipe.encode_prompt(PROMPT, "cpu", 1, True)
    marked = Case(copy.copy(plain.pipe))
    handle = marked.attach()

    def run(case: Case) -> np.ndarray:
        pipe = copy.copy(case.pipe)
        pipe.scheduler = copy.deepcopy(case.pipe.scheduler)
        image = pipe(
            prompt_embeds=embeds.clone(),
            negative_prompt_embeds=negative.clone(),
            **CALL,
            generator=torch.Generator().manual_seed(1),
        ).images[0]
        return np.asarray(image)

    expected = {id(case): run(case) for case in (plain, marked)}
    wrong: list[int] = []

    def work(index: int) -> None:
        case = marked if index % 2 else plain
        if not np.array_equal(run(case), expected[id(case)]):
            wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.detach()

    assert wrong == []
    assert not np.array_equal(expected[id(plain)], expected[id(marked)])
    assert "decode" not in vars(plain.pipe.vae)


def test_from_pipe_warns_that_the_new_pipeline_is_unmarked() -> None:
    case = Case(tiny.stable_diffusion())
    with case.attach(), pytest.warns(UserWarning, match="NOT marked"):
        other = StableDiffusionImg2ImgPipeline.from_pipe(case.pipe)

    assert type(other) is StableDiffusionImg2ImgPipeline


def test_a_compiled_denoiser_is_marked() -> None:
    case = Case(tiny.stable_diffusion())
    before = case.images(num_inference_steps=1)
    case.pipe.unet = torch.compile(case.pipe.unet, backend="eager")
    with case.attach():
        case.images(num_inference_steps=1)
    after = case.images(num_inference_steps=1)

    assert case.schemes() == [["noise"]]
    assert np.array_equal(before, after)


@pytest.mark.parametrize("sequential", [False, True])
def test_offloading_hooks_change_nothing(sequential: bool) -> None:
    """As enable_model_cpu_offload and enable_sequential_cpu_offload put them on."""
    accelerate = pytest.importorskip("accelerate")

    expected = Case(tiny.stable_diffusion())
    with expected.attach():
        [want] = expected.images()
    case = Case(tiny.stable_diffusion())
    hook = accelerate.hooks.AlignDevicesHook("cpu")
    for part in (case.pipe.text_encoder, case.pipe.unet, case.pipe.vae):
        if sequential:
            accelerate.hooks.add_hook_to_module(part, hook, append=True)
        else:
            accelerate.cpu_offload_with_hook(part, "cpu")
    with case.attach():
        [found] = case.images()

    assert np.array_equal(found, want)
    assert case.schemes() == [["noise"]]


def test_what_the_safety_checker_blacks_out_is_recorded_as_unmarked() -> None:
    case = Case(tiny.stable_diffusion())

    def run(self: Any, image: Any, device: Any, dtype: Any) -> Any:
        image[1] = 0
        return image, [False, True]

    base = type(case.pipe)
    case.pipe.__class__ = type(base.__name__, (base,), {"run_safety_checker": run})
    with case.attach():
        case.pipe(PROMPT, **CALL, num_images_per_prompt=2)
        case.pipe(PROMPT, **CALL, num_images_per_prompt=2, return_dict=False)

    assert case.schemes() == [["noise"], [], ["noise"], []]


def test_layers_and_record_are_checked() -> None:
    case = Case(tiny.stable_diffusion())
    latent = Case(case.pipe)
    latent.record = SCHEMES["latent"].record(KEY)
    with pytest.raises(UnsupportedPipeline, match="expected 'noise'"):
        latent.attach()
    with pytest.raises(ValueError, match="layers"):
        case.attach(layers=("pixel",))
    case.pipe.vae = None
    with pytest.raises(UnsupportedPipeline, match="no autoencoder"):
        case.attach(layers=("latent",))


def test_a_draw_too_small_for_a_code_raises() -> None:
    case = Case(tiny.stable_diffusion())
    with case.attach(), pytest.raises(NotMarked, match="too small"):
        case.images(height=16, width=16)


def test_the_share_of_noise_by_strength() -> None:
    diffusion = tiny.stable_diffusion().scheduler
    flow = FlowMatchEulerDiscreteScheduler()

    assert scheduler_of.share(flow, 0.5) == pytest.approx(0.5**0.5)
    assert scheduler_of.share(flow, 0.0) == scheduler_of.share(diffusion, 0.0) == 0
    assert scheduler_of.share(diffusion, 1.0) > 0.99
    shares = [scheduler_of.share(diffusion, s / 10) for s in range(11)]
    assert shares == sorted(shares)


def test_a_scheduler_from_elsewhere_is_not_trusted() -> None:
    class Own(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
        def step(self, *args: Any, **kwargs: Any) -> Any:
            return super().step(*args, **kwargs)

    class Foreign:
        config: ClassVar[dict[str, Any]] = {}

    assert scheduler_of.stochastic(Own(), {}) is None
    assert "not known" in str(scheduler_of.stochastic(Foreign(), {}))


def test_combined_pipelines_are_marked_where_they_draw() -> None:
    """A pipeline made of two: the noise is drawn in a part."""
    from diffusers import DiffusionPipeline

    class Combined(DiffusionPipeline):  # type: ignore[misc]
        def __init__(self, unet: Any) -> None:
            super().__init__()
            self.register_modules(unet=unet)
            self.decoder_pipe = tiny.stable_diffusion()

        def __call__(self, prompt: str, generator: Any = None) -> Any:
            return self.decoder_pipe(prompt, **CALL, generator=generator)

    case = Case(Combined(tiny.unet()))
    inner = case.pipe.decoder_pipe
    kind = type(inner)
    with case.attach():
        assert type(inner) is not kind
        case.pipe(PROMPT, generator=torch.Generator().manual_seed(1))
    plain = Case(tiny.stable_diffusion())
    with plain.attach():
        plain.images()

    assert type(inner) is kind
    assert case.records[0].marks == plain.records[0].marks


def test_the_drawn_noise_is_what_the_detector_finds() -> None:
    case = picture_to_picture()
    seen: list[torch.Tensor] = []
    base = type(case.pipe)

    class Spying(base):  # type: ignore[misc,valid-type]
        def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(super().prepare_latents(*args, **kwargs))
            return seen[-1]

    Spying.__module__ = base.__module__
    case.pipe.__class__ = Spying
    with case.attach():
        from_picture(case, strength=1.0)
    score = noise_detector.score(seen[0][0].numpy(), Code(case.record, (4, 32, 32)))

    assert score.payload == case.records[0].marks[0].mark_id
