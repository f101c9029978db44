"""Pictures go back to their noise on every family; nothing of the user's changes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CMStochasticIterativeScheduler, StableDiffusionInpaintPipeline
from numpy.typing import NDArray
from tests.invert import families
from tests.pipelines import tiny

from watermark.errors import InvalidSignal, UnsupportedPipeline
from watermark.invert import latents, taps
from watermark.invert.latents import STARTS, Inverter
from watermark.invert.schedules import inverse_of

Pixels = NDArray[np.uint8]
FILMS = ("wan", "ltx")
PIPELINES: dict[str, Callable[[], Any]] = {
    **tiny.PIPELINES,
    "dpm-solver++": families.solver,
    "image to image": families.img2img,
    "qwen-image": families.qwen_image,
    "wan": families.wan,
    "ltx": families.ltx,
}
ALL = pytest.mark.parametrize("name", PIPELINES)


@functools.cache
def made(name: str) -> Any:
    """One pipeline for all tests that leave it as it is."""
    return PIPELINES[name]()


def pixels(name: str = "", seed: int = 0) -> Pixels:
    frames = (9,) if name in FILMS else ()
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*frames, 64, 64, 3)).astype(np.uint8)


@contextmanager
def encoding(inverter: Inverter, latents: torch.Tensor) -> Iterator[None]:
    """Within: every picture is encoded as `latents`."""
    inverter._encode = lambda *_, **__: latents  # type: ignore[method-assign]
    yield


def generated(pipe: Any, name: str, z: NDArray[np.float32], steps: int) -> torch.Tensor:
    """What the pipeline decodes when it starts from `z`, by its own scheduler."""
    scheduler = copy.deepcopy(pipe.scheduler)
    own = taps.shallow(pipe, type(pipe), scheduler, idle=False)
    size = {"height": 64, "width": 64, "num_frames": 9 if name in FILMS else 1}
    return taps.run(own, size, steps, torch.from_numpy(z)[None])[0]


@ALL
def test_the_noise_of_every_family_is_found_again(name: str) -> None:
    """From the generator's own latents, without the autoencoder in between."""
    pipe = made(name)
    inverter = Inverter(pipe)
    shape = inverter.noise(pixels(name), steps=1).shape
    z = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with encoding(inverter, generated(pipe, name, z, 10)):
        found = inverter.noise(pixels(name), steps=10)
    agreement = float((np.signbit(found) == np.signbit(z)).mean())

    assert agreement > 0.8


@ALL
def test_nothing_of_the_users_changes(name: str) -> None:
    pipe = made(name)
    scheduler, config = pipe.scheduler, dict(pipe.config)
    settings, before = dict(scheduler.config), dict(pipe.__dict__)
    state = torch.get_rng_state()
    inverter = Inverter(pipe)
    inverter.noise(pixels(name), steps=2)
    inverter.latents(pixels(name))

    assert pipe.scheduler is scheduler
    assert dict(pipe.config) == config
    assert dict(scheduler.config) == settings
    assert pipe.__dict__ == before
    assert torch.equal(torch.get_rng_state(), state)
    for part in pipe.components.values():
        assert not {"decode", "forward"} & set(getattr(part, "__dict__", ()))


@pytest.mark.filterwarnings("ignore")
def test_an_autoencoder_in_half_precision_stays_so() -> None:
    """SDXL's call casts it just before it decodes, and back afterwards."""
    pipe = tiny.stable_diffusion_xl()
    pipe.vae.half()
    assert pipe.vae.config.force_upcast
    before = {n: (p, p.data_ptr()) for n, p in pipe.vae.named_parameters()}
    found = Inverter(pipe).noise(pixels(), steps=1)

    assert np.isfinite(found).all()
    for name, parameter in pipe.vae.named_parameters():
        assert parameter.dtype == torch.float16
        assert parameter is before[name][0]
        assert parameter.data_ptr() == before[name][1]


@pytest.mark.parametrize("name", ["stable_diffusion_3", "flux", "qwen-image", "wan"])
def test_the_scale_of_latents_is_learned_from_the_pipeline(name: str) -> None:
    """And is what the family's own configuration says."""
    pipe = made(name)
    inverter = Inverter(pipe)
    inverter.noise(pixels(name), steps=1)
    [(layout, _)] = inverter._layouts.values()
    config = pipe.vae.config
    slope = layout.slope.reshape(layout.decoded)[0].flatten(1)
    offset = layout.offset.reshape(layout.decoded)[0].flatten(1)
    if name in ("qwen-image", "wan"):
        std, mean = families.SPREADS, families.MEANS
    else:
        std = [1 / config.scaling_factor] * 4
        mean = [config.shift_factor] * 4

    for channel in range(4):
        assert torch.allclose(slope[channel], torch.tensor(std[channel]), rtol=1e-4)
        assert torch.allclose(offset[channel], torch.tensor(mean[channel]), atol=1e-4)


@pytest.mark.parametrize(("steps", "rounds"), [(1, 1), (3, 1), (2, 2)])
def test_evaluations_are_counted(steps: int, rounds: int) -> None:
    pipe = tiny.stable_diffusion()
    inverter = Inverter(pipe)
    inverter.noise(pixels(), steps=1)  # with its dry runs
    ran: list[int] = []
    pipe.unet.register_forward_hook(lambda *_: ran.append(1))
    before = inverter.evaluations
    inverter.noise(pixels(seed=1), steps=steps, rounds=rounds)

    assert len(ran) == inverter.evaluations - before == steps * rounds


def test_latents_are_what_the_autoencoder_says() -> None:
    pipe = tiny.stable_diffusion()
    image = torch.from_numpy(pixels()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = pipe.vae.encode(image).latent_dist.mode()[0].numpy()

    assert np.allclose(Inverter(pipe).latents(pixels()), expected, atol=1e-5)


def test_pictures_made_from_pictures_have_several_starts() -> None:
    inverter = Inverter(made("image to image"))
    found = [inverter.noise(pixels(), steps=1, start=start) for start in STARTS]

    assert tuple(inverter.starts) == STARTS
    assert all(not np.array_equal(found[0], other) for other in found[1:])
    assert tuple(Inverter(made("stable_diffusion")).starts) == (1.0,)


def test_the_native_size_is_told() -> None:
    assert Inverter(made("stable_diffusion")).native == (64, 64)
    assert Inverter(made("wan")).native is None


def test_odd_sizes_are_cut_to_what_the_pipeline_can_make() -> None:
    wide = np.zeros((67, 91, 3), np.uint8)

    assert Inverter(made("stable_diffusion")).noise(wide, steps=1).shape == (4, 32, 44)
    assert Inverter(made("flux")).noise(wide, steps=1).shape == (4, 32, 44)


def test_dry_runs_are_made_once_for_each_size() -> None:
    inverter = Inverter(made("stable_diffusion"))
    for side in (64, 64, 32):
        inverter.noise(np.zeros((side, side, 3), np.uint8), steps=1)

    assert len(inverter._layouts) == 2


def test_layouts_of_few_sizes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends pictures chooses their sizes, and how many there are."""
    monkeypatch.setattr(latents, "KEPT", 2)
    inverter = Inverter(made("stable_diffusion"))
    for side in (32, 48, 64):
        inverter.noise(np.zeros((side, side, 3), np.uint8), steps=1)

    assert [shape[0] for shape in inverter._layouts] == [48, 64]


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["noise", "latents"])
@pytest.mark.parametrize("shape", [(1, 1), (65_500, 1), (1, 65_500), (2049, 2048)])
def test_a_picture_that_cannot_be_inverted_is_told(
    call: str, shape: tuple[int, int]
) -> None:
    inverter = Inverter(made("stable_diffusion"))
    picture = np.zeros((*shape, 3), np.uint8)
    with pytest.raises(UnsupportedPipeline, match="picture of"):
        inverter.latents(picture) if call == "latents" else inverter.noise(
            picture, steps=1
        )


def test_latents_that_are_not_finite_are_told() -> None:
    pipe = tiny.stable_diffusion()
    inverter = Inverter(pipe)
    with torch.no_grad():
        pipe.unet.conv_out.bias.fill_(torch.nan)
        with pytest.raises(InvalidSignal, match="NaN"):
            inverter.noise(pixels(), steps=1)
        pipe.vae.quant_conv.bias.fill_(torch.nan)
        with pytest.raises(InvalidSignal, match="NaN"):
            inverter.latents(pixels())


def test_an_autoencoder_of_an_unknown_kind_is_told() -> None:
    pipe = tiny.stable_diffusion()
    pipe.vae.encode = lambda image: {"codes": image}
    with pytest.raises(UnsupportedPipeline, match="no known kind"):
        Inverter(pipe).latents(pixels())


def test_latents_that_are_bent_on_their_way_are_told() -> None:
    """An autoencoder whose normalisation is no scaling: nothing is guessed."""

    class Bent(type(tiny.stable_diffusion())):  # type: ignore[misc]
        @functools.wraps(type(tiny.stable_diffusion()).__call__)
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            plain = self.vae.decode
            self.vae.decode = lambda z, *a, **k: plain(torch.sinh(z), *a, **k)
            return super().__call__(*args, **kwargs)

    pipe = tiny.stable_diffusion()
    pipe.__class__ = Bent
    with pytest.raises(UnsupportedPipeline, match=r"permutation|scaling"):
        Inverter(pipe).noise(pixels(), steps=1)


def test_a_pipeline_without_autoencoder_or_inverse_is_told() -> None:
    pipe = tiny.stable_diffusion()
    pipe.scheduler = CMStochasticIterativeScheduler()
    inverter = Inverter(pipe)
    with pytest.raises(UnsupportedPipeline, match="CMStochasticIterative"):
        inverter.noise(pixels(), steps=1)
    assert inverter.latents(pixels()).shape == (4, 32, 32)
    pipe = tiny.stable_diffusion()
    pipe.vae = None
    with pytest.raises(UnsupportedPipeline, match="no autoencoder"):
        Inverter(pipe)


def test_a_pipeline_that_fails_is_told_by_its_own_error() -> None:
    pipe = tiny.stable_diffusion()
    pipe.tokenizer = None
    with pytest.raises(UnsupportedPipeline, match="cannot be run from a prompt alone"):
        Inverter(pipe).noise(pixels(), steps=1)


def test_a_pipeline_that_fills_in_keeps_nothing_of_its_blank_picture() -> None:
    parts = tiny.stable_diffusion().components
    pipe = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    plain = Inverter(made("stable_diffusion")).noise(pixels(), steps=2)

    assert np.allclose(Inverter(pipe).noise(pixels(), steps=2), plain, atol=1e-5)


def test_the_decoder_is_never_run() -> None:
    """A dry run leaves at the decoder's door, whatever class of error is caught."""
    pipe = tiny.stable_diffusion()
    pipe.vae.decoder.register_forward_hook(lambda *_: pytest.fail("decoded"))
    scheduler = inverse_of(pipe.scheduler, still=True)
    own = taps.shallow(pipe, type(pipe), scheduler, idle=True)
    z = torch.randn(1, 4, 32, 32)
    seen, shapes = taps.run(own, {"height": 64, "width": 64}, 1, z)

    assert shapes == [(1, 4, 32, 32)]
    assert torch.allclose(seen * pipe.vae.config.scaling_factor, z, atol=1e-5)
