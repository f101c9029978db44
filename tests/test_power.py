"""The power of a pipeline's marks: measured, kept in the home, told by the status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
)
from PIL import Image
from skimage import metrics

from tests.cli.running import wm
from tests.pipelines import tiny
from watermark.api import Watermark
from watermark.cli.terminal import Code
from watermark.errors import AlreadyAttached, HomeError, UnsupportedPipeline
from watermark.keys import Key
from watermark.pipelines import diffusers as host
from watermark.pipelines import diffusion_power
from watermark.pipelines.diffusion_power import NoisePower, Power
from watermark.power import calibrate, psnr, ssim
from watermark.record import Record
from watermark.schemes import SCHEMES

TRAINED = Path(__file__).parents[1] / "benchmarks" / "models" / "diffusion"
FLOOR = 46.0
CALL = {"num_inference_steps": 2, "guidance_scale": 1.0}
KEY = Key(bytes((*range(1, 32), 0)))


def trained() -> Any:
    if not (TRAINED / "model_index.json").is_file():
        pytest.skip("benchmarks/models/diffusion is not there: run its training script")
    pipe = StableDiffusionPipeline.from_pretrained(TRAINED, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe() -> Any:
    return trained()


@pytest.fixture(scope="module")
def power(pipe: Any) -> Power:
    state = torch.get_rng_state()
    found = calibrate(pipe, pictures=2, floor=FLOOR, call=CALL)
    assert torch.equal(torch.get_rng_state(), state)
    return found


def attached(pipe: Any, home: Path | None, **more: Any) -> Any:
    def sink(records: Sequence[Record], outputs: Sequence[Any]) -> None:
        pass

    record = SCHEMES["noise"].record(KEY)
    return host.attach(pipe, record, sink, provider="Acme", home=home, **more)


# --- measuring -----------------------------------------------------------------------


def test_noise_is_found_with_every_number_of_steps(power: Power) -> None:
    assert [row.steps for row in power.noise] == [1, 2, 4, 8]
    for row in power.noise:
        assert (row.found, row.exact) == (2, 2)
        assert 0.6 < row.least_signs <= row.signs < 0.95
        # T is about 2 rho sqrt(n) / sqrt(2 pi) of the signs alone, and more with |z|.
        assert row.statistic > 2 * (row.signs - 0.5) * 4096**0.5 * 0.9


def test_the_strength_of_latent_is_the_largest_above_the_floor(power: Power) -> None:
    first, chosen = power.latent

    assert first.delta == SCHEMES["latent"].defaults["delta"]
    assert first.least_psnr < FLOOR <= chosen.least_psnr < FLOOR + 0.3
    assert power.delta == chosen.delta < first.delta
    assert first.statistic > chosen.statistic > 0
    assert first.ssim < chosen.ssim < 1


def test_a_floor_out_of_reach_chooses_nothing(pipe: Any) -> None:
    found = calibrate(pipe, pictures=1, floor=90.0, call=CALL)

    assert found.delta is None
    assert found.expected("latent") is None
    assert found.expected("noise") is not None


def test_a_pipeline_is_left_as_it_was(pipe: Any, power: Power) -> None:
    assert type(pipe) is StableDiffusionPipeline
    assert "decode" not in vars(pipe.vae)
    assert isinstance(pipe.scheduler, DDIMScheduler)


def test_a_sampler_that_draws_new_noise_is_measured_by_latent_alone(pipe: Any) -> None:
    ancestral = StableDiffusionPipeline(
        **{
            **pipe.components,
            "scheduler": EulerAncestralDiscreteScheduler.from_config(
                pipe.scheduler.config
            ),
        },
        requires_safety_checker=False,
    )
    ancestral.set_progress_bar_config(disable=True)
    found = calibrate(ancestral, pictures=1, call=CALL)

    assert found.noise == ()
    assert "EulerAncestral" in found.reasons["noise"]
    assert found.latent
    assert found.scheduler == "EulerAncestralDiscreteScheduler"


def test_an_untrained_model_has_low_power() -> None:
    found = calibrate(tiny.stable_diffusion(), pictures=1, call=CALL)
    expected = found.expected("noise")

    assert expected is not None
    assert expected[0] == "low"


def test_what_cannot_be_measured_is_refused(pipe: Any) -> None:
    with attached(pipe, None), pytest.raises(AlreadyAttached):
        calibrate(pipe, pictures=1)
    with pytest.raises(UnsupportedPipeline, match="from a prompt alone"):
        calibrate(pipe, pictures=1, call={"prompt": None})
    for bad in ({"pictures": 0}, {"prompts": ()}, {"floor": 0.0}):
        with pytest.raises(ValueError, match="expected at least one"):
            calibrate(pipe, **bad)


def test_quality_is_as_scikit_image_measures_it() -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    before = np.asarray(smooth.resize((96, 80)))
    after = np.clip(before + rng.normal(0, 6, before.shape), 0, 255).astype(np.uint8)
    grey = [a.astype(np.float64).mean(-1) for a in (before, after)]
    witness: Any = metrics
    expected = witness.structural_similarity(
        *grey, data_range=255, gaussian_weights=True, use_sample_covariance=False
    )

    decibels = witness.peak_signal_noise_ratio(before, after)

    assert psnr(before, after) == pytest.approx(decibels)
    assert ssim(before, after) == pytest.approx(expected, abs=0.002)
    assert (psnr(before, before), ssim(before, before)) == (99.0, 1.0)


# --- keeping it ----------------------------------------------------------------------


def test_it_is_kept_by_pipeline_model_and_scheduler(
    pipe: Any, power: Power, tmp_path: Path
) -> None:
    path = power.save(tmp_path)
    told = json.loads(path.read_text())
    other = replace(power, scheduler="PNDMScheduler", pictures=9)
    other.save(tmp_path)
    power.save(tmp_path)

    assert diffusion_power.load(tmp_path, pipe) == power
    assert len(list(path.parent.iterdir())) == 2
    assert Power.from_dict(told) == power
    assert diffusion_power.load(tmp_path / "other", pipe) is None


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{", '{"schema": "watermark.power/2"}', "[" * 100_000, "NaN", "{}"],
)
def test_a_damaged_file_is_told(
    pipe: Any, power: Power, tmp_path: Path, damage: str
) -> None:
    power.save(tmp_path).write_text(damage)
    with pytest.raises(HomeError, match="calibrate again"):
        attached(pipe, tmp_path)
    assert type(pipe) is StableDiffusionPipeline


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pictures", "many"),
        ("noise", 3),
        ("noise", [{"steps": 1}]),
        ("delta", 0),
        ("delta", "160"),
        ("delta", 4000),
        ("reasons", None),
        ("more", 1),
    ],
)
def test_a_field_of_another_type_is_told(power: Power, name: str, value: Any) -> None:
    with pytest.raises(HomeError, match="cannot be read"):
        Power.from_dict({**power.to_dict(), name: value})


def test_the_status_tells_it_and_the_strength_is_used(
    pipe: Any, power: Power, tmp_path: Path
) -> None:
    power.save(tmp_path)
    with attached(pipe, tmp_path, layers=("noise", "latent")) as attachment:
        noise, latent = attachment.status().layers
        [_, used] = attachment.key_records
    with attached(pipe, None, layers=("noise", "latent")) as plain:
        unknown = plain.status().layers[1]

    assert noise.power == "high"
    assert "measured: 2 of 2 outputs found by 1 evaluations" in noise.reason
    assert f"at delta {power.delta}" in latent.reason
    assert latent.power in ("high", "low")
    assert used.parameters["delta"] == power.delta
    assert (unknown.power, "measured" in unknown.reason) == ("unknown", False)


def test_another_scheduler_is_another_pipeline(
    pipe: Any, power: Power, tmp_path: Path
) -> None:
    power.save(tmp_path)
    scheduler = pipe.scheduler
    with attached(pipe, tmp_path, layers=("noise", "latent")) as attachment:
        pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(scheduler.config)
        told = attachment.status().layers
        pipe.scheduler = scheduler

    assert not any("measured" in layer.reason for layer in told)


def test_expected_is_that_of_the_best_look() -> None:
    rows = [
        NoisePower(
            steps=steps, found=found, exact=0, signs=0.6, least_signs=0.5, statistic=9.0
        )
        for steps, found in ((1, 3), (2, 9), (4, 10))
    ]
    made = Power(pipeline="P", model="m", scheduler="S", pictures=10, noise=tuple(rows))
    few = replace(made, noise=tuple(rows[:1]))

    assert made.expected("noise") == (
        "high",
        "measured: 10 of 10 outputs found by 4 evaluations, 60% of the signs right",
    )
    assert (few.expected("noise") or ("", ""))[0] == "low"
    assert made.expected("latent") is None


# --- the command ---------------------------------------------------------------------


def test_the_command_measures_shows_and_keeps(tmp_path: Path, pipe: Any) -> None:
    Watermark.create(tmp_path / "home", provider="Acme").home.ledger.close()
    common = ("keys", "calibrate", "--pipeline", TRAINED, "--home", tmp_path / "home")
    small = ("--pictures", 1, "--steps", 2)
    code, out, err = wm(*common, *small)
    kept = diffusion_power.load(tmp_path / "home", pipe)

    assert code == Code.DONE, err
    assert kept is not None
    assert kept.pictures == 1
    assert out.startswith("StableDiffusionPipeline (diffusion), DDIMScheduler")
    assert "noise    STEPS" in out
    assert "no picture below 36 dB" in out
    assert "Kept in" in err

    code, out, err = wm(*common, *small, "--floor", 90, "--json")
    told = json.loads(out)

    assert (code, err) == (Code.DONE, "")
    assert told["schema"] == "watermark.power/1"
    assert told["delta"] is None


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    Watermark.create(tmp_path / "home", provider="Acme").home.ledger.close()
    code, _, err = wm(
        *("keys", "calibrate", "--pipeline", tmp_path, "--home", tmp_path / "home")
    )

    assert code == Code.USAGE
    assert "no diffusers pipeline" in err


def test_an_autoencoder_that_others_wrapped_keeps_its_wrapper(pipe: Any) -> None:
    asked = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        return AutoencoderKL.decode(pipe.vae, *args, **kwargs)

    pipe.vae.decode = wrapped
    calibrate(pipe, pictures=1, call=CALL)
    kept = vars(pipe.vae).pop("decode")

    assert kept is wrapped
    assert asked
