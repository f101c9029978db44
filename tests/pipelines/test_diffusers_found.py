"""What `status` promises of a mark is what `verify` can do."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import math
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from benchmarks.diffusion import instance
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EDMEulerScheduler,
    PiflowScheduler,
)
from PIL import Image
from scipy import stats
from tests.pictures import photograph
from tests.pipelines import gaussian, tiny

from watermark.api import Watermark
from watermark.detectors import noise as detector
from watermark.detectors import signs
from watermark.errors import UnsupportedPipeline
from watermark.invert.latents import Inverter
from watermark.invert.schedules import inverse_of
from watermark.keys import Key
from watermark.pipelines import diffusers as host
from watermark.pipelines import diffusion_scheduler as scheduler_of
from watermark.record import Record
from watermark.report import Verdict
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code

CALL: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": 2}
SIDE = 64


def keys(count: int, name: str = "found") -> list[Key]:
    return [Key(hashlib.sha256(f"{name} {i}".encode()).digest()) for i in range(count)]


def attach(pipe: Any, records: list[Record] | None = None, **more: Any) -> Any:
    found: list[Record] = [] if records is None else records

    def sink(new: Sequence[Record], outputs: Sequence[Any]) -> None:
        found.extend(new)

    record = SCHEMES["noise"].record(keys(1)[0], nonce_bits=4)
    return host.attach(pipe, record, sink, provider="Acme", **more)


def layers(pipe: Any, **more: Any) -> dict[str, Any]:
    with attach(pipe, **more) as attachment:
        return {layer.name: layer for layer in attachment.status().layers}


def schedulers() -> dict[str, Any]:
    """Every scheduler class of diffusers that is made without arguments."""
    found = {}
    package = diffusers.schedulers
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "flax" in module.name:
            continue
        try:
            members = vars(importlib.import_module(module.name))
        except ImportError:  # a package of another maker
            continue
        for name, kind in members.items():
            own = inspect.isclass(kind) and kind.__module__ == module.name
            if own and name.endswith("Scheduler") and not asks(kind):
                found[name] = kind
    return found


def asks(kind: type) -> bool:
    """Whether a class cannot be made without arguments."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    return any(
        p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters
    )


SCHEDULERS = schedulers()


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny.stable_diffusion()


@pytest.mark.filterwarnings("ignore")  # diffusers' own, of NumPy 2
@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_no_scheduler_is_promised_and_not_inverted(name: str, pipe: Any) -> None:
    scheduler, before = SCHEDULERS[name](), pipe.scheduler
    pipe.scheduler = scheduler
    try:
        told = layers(pipe)
        if told["noise"].power == "high":
            inverse_of(scheduler)
        else:
            assert told["latent"].on  # the autoencoder reads that
            assert told["noise"].power in ("low", "unknown")
    finally:
        pipe.scheduler = before


def test_there_are_schedulers_of_each_kind() -> None:
    assert len(SCHEDULERS) > 40
    assert {"PiflowScheduler", "EDMEulerScheduler", "KarrasVeScheduler"} < {*SCHEDULERS}


def test_a_sampler_without_an_inverse_turns_the_latent_layer_on(pipe: Any) -> None:
    before, pipe.scheduler = pipe.scheduler, PiflowScheduler()
    try:
        told, alone = layers(pipe), layers(pipe, layers=("noise",))
    finally:
        pipe.scheduler = before

    assert told["noise"].power == alone["noise"].power == "unknown"
    assert "PiflowScheduler cannot be inverted" in told["noise"].reason
    assert (told["latent"].on, alone["latent"].on) == (True, False)


@pytest.mark.parametrize(
    ("settings", "power"), [({}, "low"), ({"s_churn": 0.0}, "unknown")]
)
def test_churn_is_fresh_noise(settings: dict[str, float], power: str) -> None:
    """KarrasVe draws it beside its steps, as often as `s_churn` says."""
    scheduler = SCHEDULERS["KarrasVeScheduler"](**settings)
    reason = scheduler_of.stochastic(scheduler, {})

    assert (reason is not None) == (power == "low")
    assert "s_churn=80" in str(reason) or power == "unknown"


@pytest.mark.filterwarnings("ignore")  # torch's own, of weight_norm
@pytest.mark.parametrize(
    ("name", "power", "told"),
    [
        ("AudioLDM2Pipeline", "unknown", "sound"),
        ("StableAudioPipeline", "unknown", "sound"),
        ("StableCascadePriorPipeline", "unknown", "no autoencoder"),
        ("IFSuperResolutionPipeline", "unknown", "no autoencoder"),
        ("IFPipeline", "high", "deterministic"),
        ("PRXPixelPipeline", "high", "deterministic"),
        ("LDMTextToImagePipeline", "high", "deterministic"),
        ("ConsistencyModelPipeline", "high", "deterministic"),
        ("AnyFlowPipeline", "unknown", "FlowMapEuler"),
        ("CosmosTextToWorldPipeline", "high", "EDMEuler"),
    ],
)
def test_what_cannot_be_inverted_is_told(name: str, power: str, told: str) -> None:
    made = instance.build(getattr(diffusers, name), text=False).pipe
    found = layers(made)["noise"]

    assert (found.power, told in found.reason) == (power, True), found.reason
    if power == "high":
        inverse_of(made.scheduler)
        Inverter(made)


def test_modular_pipelines_are_told() -> None:
    from diffusers.modular_pipelines.flux import FluxAutoBlocks

    made = FluxAutoBlocks().init_pipeline()

    assert "modular" in layers(made)["noise"].reason
    assert layers(made)["noise"].power == "unknown"


def test_covered_noise_is_not_claimed() -> None:
    """An ancestral sampler leaves the noise mark nothing of the output's numbers."""
    made = tiny.stable_diffusion()
    config = made.scheduler.config
    made.scheduler = DDPMScheduler.from_config(config)
    records: list[Record] = []
    with attach(made, records) as attachment:
        made("a photo", **CALL)
        unmarked = attachment.status().unmarked
    [record] = records

    assert [(mark.scheme, mark.coverage) for mark in record.marks] == [
        ("noise", 0.0),
        ("latent", 1.0),
    ]
    assert unmarked == 0


# --- pipelines of pixels -------------------------------------------------------------


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made_by(pipe: Any, seed: int = 1) -> Image.Image:
    made: Image.Image = pipe(num_inference_steps=20, generator=draw(seed)).images[0]
    return made


@pytest.fixture
def w(tmp_path: Path) -> Watermark:
    return Watermark.create(tmp_path / "home", provider="Acme")


@pytest.mark.parametrize("kind", [DDIMPipeline, DDPMPipeline])
def test_a_picture_sampled_in_pixels_is_found(kind: Any, w: Watermark) -> None:
    pipe = gaussian.pipeline(kind)
    with w.attach(pipe) as attachment:
        assert attachment.status().layers[0].power == "high"
        picture = made_by(pipe)
    plain = made_by(pipe)
    data = io.BytesIO()
    picture.save(data, "PNG")
    report = w.verify(data.getvalue(), pipeline=pipe)
    [evidence] = [e for e in report.evidence if e.detector == "noise"]

    assert report.verdict == Verdict.MARKED
    assert evidence.payload == attachment.records[0].marks[0].mark_id
    assert w.verify(plain, pipeline=pipe).verdict != Verdict.MARKED
    assert "step" not in vars(pipe.scheduler)


def test_another_size_than_its_own_is_refused() -> None:
    inverter = Inverter(gaussian.pipeline(DDIMPipeline))

    assert inverter.native == (SIDE, SIDE)
    with pytest.raises(UnsupportedPipeline, match="at this size"):
        inverter.noise(np.zeros((SIDE, 2 * SIDE, 3), np.uint8), steps=1)


def test_other_keys_find_chance_in_inverted_noise() -> None:
    """Of a marked picture; 400 keys, one nonce each. The p-value is an upper bound."""
    pipe = gaussian.pipeline(DDIMPipeline)
    with attach(pipe):
        picture = np.asarray(made_by(pipe))
    estimate = Inverter(pipe).noise(picture, steps=2)
    weights = signs.weights(estimate)
    sums, bounds = [], []
    for key in keys(400, "wrong"):
        code = Code(SCHEMES["noise"].record(key, nonce_bits=0), estimate.shape)
        pilot = weights[code.pilot].astype(np.float64)
        sums.append(float(pilot @ code.pilot_signs(0)) / np.linalg.norm(pilot))
        bounds.append(math.exp(detector.one_nonce(estimate, code, 0)))

    assert stats.kstest(sums, "norm").pvalue > 1e-3
    for level in (0.1, 0.02):  # three standard deviations of a binomial
        hits = sum(bound <= level for bound in bounds)
        assert hits <= 400 * level + 3 * (400 * level * (1 - level)) ** 0.5


# --- what cannot be inverted hides no other layer ------------------------------------


def uninvertible(name: str) -> Any:
    if name == "scheduler":
        pipe = tiny.stable_diffusion()
        pipe.scheduler = PiflowScheduler()
        return pipe
    return DDIMPipeline(tiny.unet(), DDIMScheduler())  # four channels, to decode none


@pytest.mark.parametrize("name", ["scheduler", "autoencoder"])
def test_every_other_layer_is_still_looked_at(name: str, w: Watermark) -> None:
    data, pipe = io.BytesIO(), uninvertible(name)
    Image.fromarray(photograph(3, 256, 256)).save(data, "PNG")
    report = w.verify(w.embed(data.getvalue()).data, pipeline=pipe)
    plain = w.verify(data.getvalue(), pipeline=pipe)

    assert {"mark", "manifest", "ledger"} <= {e.layer for e in report.evidence}
    assert "pixel" in {e.detector for e in report.evidence}
    told = [r.detail for r in plain.reasons if r.code == "not-invertible"]
    lost = {"noise"} if name == "scheduler" else {"latent", "noise"}
    assert {text.split(":")[0] for text in told} == lost
    assert plain.verdict not in (Verdict.MARKED, Verdict.SIGNED)


@pytest.mark.parametrize("path", ["/models/one", Path("/models/one")])
def test_a_path_is_no_pipeline(path: Any, w: Watermark) -> None:
    with pytest.raises(UnsupportedPipeline, match="from_pretrained"):
        w.verify(b"", pipeline=path)


def test_a_scheme_of_text_is_refused_by_name(w: Watermark) -> None:
    for scheme in ("gumbel", "latent"):
        with pytest.raises(UnsupportedPipeline, match=r"expected one of \['noise'\]"):
            w.attach(tiny.stable_diffusion(), scheme=scheme)


def test_the_latents_of_an_edm_model_go_back() -> None:
    """Through a real call, from the picture's latents: scales, loop and decoder."""
    pipe = tiny.stable_diffusion()
    pipe.scheduler = EDMEulerScheduler()
    found = Inverter(pipe).noise(photograph(5, 64, 64), steps=3)

    assert found.shape == (4, 32, 32)
    assert np.isfinite(found).all()
