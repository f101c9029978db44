"""Pipelines that take more than a prompt are inverted without it, and left as found."""

from __future__ import annotations

import hashlib
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from benchmarks.diffusion import coverage, instance
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from scipy import stats
from tests.invert import families
from tests.pipelines import tiny

from watermark.detectors import noise as detector
from watermark.errors import UnsupportedPipeline
from watermark.invert import taps
from watermark.invert.latents import Inverter
from watermark.keys import Key
from watermark.schemes import noise


def picture(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3)).astype(np.uint8)


def built(name: str) -> Any:
    """A small instance, for steps that are deterministic."""
    return instance.build(getattr(diffusers, name)).pipe


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers', on its schedulers
@pytest.mark.parametrize("several", [False, True])
def test_a_blank_control_picture_controls_nothing(several: bool) -> None:
    """What is found is what the pipeline without control finds."""
    plain = tiny.stable_diffusion()
    net = ControlNetModel.from_unet(  # the small autoencoder halves a picture's sides
        plain.unet, conditioning_embedding_out_channels=(16, 32)
    ).eval()
    with torch.no_grad():
        for each in net.controlnet_down_blocks:
            each.weight.normal_()
    pipe = StableDiffusionControlNetPipeline(
        **plain.components,
        controlnet=[net, net] if several else net,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    found = Inverter(pipe).noise(picture(64, 64), steps=2)

    assert np.allclose(found, Inverter(plain).noise(picture(64, 64), steps=2))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pipeline_that_swaps_its_attention_has_its_own_again() -> None:
    """It undoes perturbed attention after its decoder, where a run has left."""
    pipe = built("StableDiffusionPAGPipeline")
    before = dict(pipe.unet.attn_processors)
    Inverter(pipe).noise(picture(64, 64), steps=1)

    after = pipe.unet.attn_processors
    assert {n: type(p) for n, p in after.items()} == {
        n: type(p) for n, p in before.items()
    }


def test_an_idle_denoiser_answers_by_name_and_by_index() -> None:
    model = torch.nn.Identity()
    idle = taps._with(model, "forward", taps._nothing(model))
    z = torch.ones(1, 4, 8, 8)

    assert torch.equal(idle(z)[0], idle(z).sample)
    assert not idle(z, return_dict=False)[0].any()
    assert not idle([z[0]], return_dict=False)[0][0].any()


def test_a_combined_pipeline_is_inverted_by_its_decoder() -> None:
    pipe = built("KandinskyV22CombinedPipeline")

    assert Inverter(pipe).noise(picture(64, 64), steps=1).shape[0] == 4


# --- films ---------------------------------------------------------------------------


def test_frames_of_an_autoencoder_of_pictures_are_encoded_one_by_one() -> None:
    inverter = Inverter(built("AnimateDiffPipeline"))
    film = picture(4, 64, 64)
    latents = inverter.latents(film)
    found = inverter.noise(film, steps=1)

    assert latents.shape[:2] == (4, 4)  # frames, channels
    assert np.allclose(latents[2], inverter.latents(film[2]), atol=1e-4)
    assert found.shape == (4, 4, *latents.shape[2:])  # channels, frames
    assert found.dtype == np.float32
    assert inverter.native_frames == 16


def test_a_film_made_of_a_picture_is_inverted_with_its_first_frame() -> None:
    inverter = Inverter(built("LTXImageToVideoPipeline"))
    film = picture(9, 64, 64)
    other = film.copy()
    other[0] = 255 - film[0]

    found = inverter.noise(film, steps=2)
    assert found.ndim == 4
    assert not found[:, 0].any()  # in its place was the picture
    assert found[:, 1:].all()
    assert not np.allclose(found, inverter.noise(other, steps=2))


def test_what_is_not_known_of_a_film_makes_no_key_surer() -> None:
    """Keys that made no mark, on an estimate of which a third is 0."""
    film = picture(9, 128, 128)
    estimate = Inverter(built("LTXImageToVideoPipeline")).noise(film, steps=1)
    p = []
    for i in range(100):
        key = Key(hashlib.sha256(f"no mark {i}".encode()).digest())
        code = noise.Code(noise.SCHEME.record(key, nonce_bits=10), estimate.shape)
        p.append(10 ** detector.score(estimate, code).log10_p())

    assert np.mean(estimate == 0) > 0.3
    for level in (0.1, 0.3):
        assert np.sum(np.array(p) <= level) <= stats.binom.ppf(0.999, len(p), level)


def test_films_that_cannot_be_held_are_told() -> None:
    pictures = Inverter(tiny.stable_diffusion())
    films = Inverter(families.wan())

    with pytest.raises(UnsupportedPipeline, match="makes no films"):
        pictures.noise(picture(4, 64, 64), steps=1)
    for film in (picture(0, 64, 64), picture(4, 8, 8)):
        with pytest.raises(UnsupportedPipeline):
            films.noise(film, steps=1)
    assert films.noise(picture(10, 64, 64), steps=1).shape[1] == 3  # of nine frames
    assert films.noise(picture(64, 64), steps=1).shape[1] == 1  # a picture


def test_frames_that_the_autoencoder_and_the_pipeline_count_apart_are_told() -> None:
    pipe = families.wan()
    pipe.vae_scale_factor_temporal = 2
    with pytest.raises(UnsupportedPipeline, match="the autoencoder gives latents"):
        Inverter(pipe).noise(picture(9, 64, 64), steps=1)


# --- from a class's own call to its noise --------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "DDIMPipeline",  # in pixels
        "KandinskyV22InpaintPipeline",  # an embedding, a mask
        "LTXImageToVideoPipeline",  # a film's first frame given
        "QwenImageInpaintPipeline",  # a posterior as large as the noise
        "StableDiffusionXLAdapterPipeline",  # a control picture
        "ZImageInpaintPipeline",  # lists of latents
    ],
)
def test_the_draw_of_a_call_is_found_again(name: str) -> None:
    row = coverage.check(name, invert=True)

    assert row.called
    assert row.inverted, row.why
    assert row.inverted_log10_p < -6
