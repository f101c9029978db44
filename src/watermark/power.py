"""What power the marks have on a user's own diffusion pipeline, measured.

The pipeline generates a few pictures under throw-away keys; nothing of them is recorded
or shown. `noise` is looked for as `verify` does, by inversion with more and more steps,
in the 8-bit picture. `latent` is added to the same final latents at several strengths:
what it costs in PSNR and SSIM is told beside what is found, and the largest strength
whose PSNR is above a floor is chosen.

Found means p <= 1e-6 with one key, nonces and the look's share counted. Attacks are not
part of it: `python -m benchmarks diffusion` has those, on a small model.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import latent as latent_detector
from watermark.detectors import noise as noise_detector
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal, NotMarked, UnsupportedPipeline
from watermark.keys import Key
from watermark.schemes import latent, noise
from watermark.verification import LOOKS

if TYPE_CHECKING:
    from watermark.invert.latents import Inverter
    from watermark.pipelines.diffusion_heard import Decoding
    from watermark.pipelines.diffusion_power import LatentPower, NoisePower, Power

PICTURES = 8
PROMPTS = ("a photograph",)
FLOOR = 36.0  # decibels: the least PSNR of `latent` that is asked for
MOST = 300  # of delta: beyond it `latent` is plain to see
FOUND = -6.0  # log10 p
TRIES = 6  # at a strength whose PSNR is above the floor

Pixels = NDArray[np.uint8]
Track = Callable[[range], Iterable[int]]


def calibrate(
    pipeline: Any,
    *,
    pictures: int = PICTURES,
    prompts: Sequence[str] = PROMPTS,
    floor: float = FLOOR,
    seed: int = 0,
    call: Mapping[str, Any] | None = None,
    track: Track = iter,
) -> Power:
    """Measure what `noise` and `latent` come to on a pipeline.

    Args:
        pipeline: a diffusers pipeline that makes pictures or videos, not attached.
        pictures: how many to generate; a video counts as one.
        prompts: taken in turn.
        floor: PSNR in decibels that no picture with a `latent` mark may be below.
        seed: of the generators; picture i has `seed` + i.
        call: further arguments of the pipeline's call, such as num_inference_steps.
        track: is given the numbers of the pictures, for a progress bar.

    Returns:
        What was measured; `Power.save` keeps it in a home.

    Raises:
        AlreadyAttached: the pipeline is attached: detach it first.
        UnsupportedPipeline: neither layer can be measured, or a prompt is not enough.
        ValueError: no pictures, no prompts, or a floor that is no positive number.
    """
    if pictures < 1 or not prompts or not floor > 0:
        raise ValueError(
            f"found pictures={pictures}, {len(prompts)} prompts and floor={floor}: "
            "expected at least one of each, and a PSNR above 0 dB"
        )
    from watermark.invert.latents import Inverter
    from watermark.pipelines import diffusion_power

    subject = _Subject(pipeline, Inverter(pipeline), call or {})
    made = []
    for index in track(range(pictures)):
        made.append(subject.picture(prompts[index % len(prompts)], seed + index))
    reasons = dict(subject.reasons)
    noise_rows = [] if "noise" in reasons else _noise_rows([m.noise for m in made])
    latent_rows: list[LatentPower] = []
    delta = None
    shots = [m.shot for m in made if m.shot is not None]
    try:
        if len(shots) == len(made):
            latent_rows, delta = _latent_rows(shots, subject.inverter, floor)
    except InvalidSignal as error:
        reasons["latent"] = str(error)
    if not noise_rows and not latent_rows:
        raise UnsupportedPipeline("; ".join(reasons.values()))
    pipeline_name, model, scheduler = diffusion_power.identity(pipeline)
    return diffusion_power.Power(
        pipeline=pipeline_name,
        model=model,
        scheduler=scheduler,
        pictures=pictures,
        noise=tuple(noise_rows),
        latent=tuple(latent_rows),
        delta=delta,
        floor=floor,
        reasons=reasons,
    )


# --- generating ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shot:
    """What the autoencoder was given for one output, and how to do it again."""

    decode: Callable[[Any], Pixels]
    latents: Any  # a tensor, without the batch axis
    key: Key


@dataclass(frozen=True, slots=True)
class _Looked:
    """One look at one picture's noise."""

    steps: int
    log10_p: float
    exact: bool
    signs: float
    statistic: float


@dataclass(frozen=True, slots=True)
class _Made:
    noise: list[_Looked]
    shot: _Shot | None


class _Subject:
    """The pipeline that is measured, and why a layer of it cannot be."""

    def __init__(
        self, pipeline: Any, inverter: Inverter, call: Mapping[str, Any]
    ) -> None:
        self.pipeline, self.inverter, self.call = pipeline, inverter, call
        self.reasons: dict[str, str] = {}

    def picture(self, prompt: str, seed: int) -> _Made:
        from watermark.pipelines import diffusers as host
        from watermark.pipelines import diffusion_heard

        digest = hashlib.sha256(f"watermark power {seed}".encode()).digest()
        record = noise.SCHEME.record(Key(digest), nonce_bits=0)
        marks: list[bytes] = []

        def sink(records: Sequence[Any], _: Sequence[Any]) -> None:
            marks.extend(m.mark_id for r in records for m in r.marks)

        with diffusion_heard.heard(self.pipeline) as calls:
            sample = None
            if "noise" not in self.reasons:
                try:
                    with host.attach(
                        self.pipeline,
                        record,
                        sink,
                        provider="calibration",
                        layers=("noise",),
                    ):
                        sample = self._run(prompt, seed)
                except (UnsupportedPipeline, NotMarked, InvalidSignal) as error:
                    self.reasons["noise"] = str(error)
            if sample is None:
                calls.clear()
                sample = self._run(prompt, seed)
        pixels = diffusion_heard.pixels_of(sample)
        looked = []
        if "noise" not in self.reasons:
            looked = self._looks(pixels, record, marks[0])
        return _Made(looked, self._shot(calls, Key(digest)))

    def _run(self, prompt: str, seed: int) -> Any:
        import torch

        from watermark.pipelines import diffusion_output

        parameters = inspect.signature(type(self.pipeline).__call__).parameters
        wanted = {
            "prompt": prompt,
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "np",
            **self.call,
        }
        if "prompt" not in parameters:
            del wanted["prompt"]
        try:
            return diffusion_output.samples(self.pipeline(**wanted))[0]
        except (TypeError, ValueError) as error:
            raise UnsupportedPipeline(
                f"{type(self.pipeline).__name__} cannot be run from a prompt alone "
                f"({error}): pass call= with what else it needs"
            ) from error

    def _looks(self, pixels: Pixels, record: Any, mark_id: bytes) -> list[_Looked]:
        found = []
        try:
            for steps, share in LOOKS["normal"]:
                estimate = self.inverter.noise(pixels, steps=steps)
                code = noise.Code(record, estimate.shape)
                score = noise_detector.score(estimate, code)
                right = np.signbit(estimate) == (code.signs(0, mark_id) < 0)
                found.append(
                    _Looked(
                        steps,
                        _log10_p(score, noise.SCHEME) - math.log10(share),
                        score.payload == mark_id,
                        float(right.mean()),
                        score.statistic,
                    )
                )
        except (UnsupportedPipeline, InvalidSignal) as error:
            self.reasons["noise"] = str(error)
            return []
        return found

    def _shot(self, calls: list[Decoding], key: Key) -> _Shot | None:
        if len(calls) == 1 and len(calls[0].latents) == 1:
            return _Shot(calls[0].again, calls[0].latents[0], key)
        self.reasons["latent"] = (
            f"the autoencoder was called {len(calls)} times for one output"
            if len(calls) != 1
            else f"one output is decoded from {len(calls[0].latents)} latents"
        )
        return None


# --- measuring -----------------------------------------------------------------------


def _log10_p(score: Score, scheme: Any) -> float:
    """As with the scheme's own nonces: the code that was measured has one."""
    return score.log10_p(1 << int(scheme.defaults["nonce_bits"]))


def _noise_rows(pictures: list[list[_Looked]]) -> list[NoisePower]:
    from watermark.pipelines.diffusion_power import NoisePower

    return [
        NoisePower(
            steps=looks[0].steps,
            found=sum(look.log10_p <= FOUND for look in looks),
            exact=sum(look.log10_p <= FOUND and look.exact for look in looks),
            signs=statistics.fmean(look.signs for look in looks),
            least_signs=min(look.signs for look in looks),
            statistic=statistics.fmean(look.statistic for look in looks),
        )
        for looks in zip(*pictures, strict=True)
    ]


def _latent_rows(
    shots: list[_Shot], inverter: Inverter, floor: float
) -> tuple[list[LatentPower], int | None]:
    """(rows, the delta chosen): at the default, and at the largest above the floor.

    The PSNR falls by 20 log10 of the strength, except where large latents need less
    than they are allowed.
    """
    plain = [shot.decode(shot.latents) for shot in shots]
    first = _latent_row(shots, plain, inverter, int(latent.SCHEME.defaults["delta"]))
    row = first
    chosen: LatentPower | None = None
    for _ in range(TRIES):
        if row.least_psnr >= floor:
            chosen = row
        room = 10 ** ((row.least_psnr - floor) / 20)
        if chosen is row and (room < 1.02 or row.delta == MOST):
            break
        delta = min(MOST, math.floor(row.delta * room * 0.995))
        if delta < 1 or (chosen and delta <= chosen.delta):
            break
        row = _latent_row(shots, plain, inverter, delta)
    if chosen is None:
        return [first], None
    return [first] if chosen is first else [first, chosen], chosen.delta


def _latent_row(
    shots: list[_Shot], plain: list[Pixels], inverter: Inverter, delta: int
) -> LatentPower:
    from watermark.pipelines.diffusion_power import LatentPower

    scores, exact, costs = [], [], []
    for shot, before in zip(shots, plain, strict=True):
        record = latent.SCHEME.record(shot.key, delta=delta, nonce_bits=0)
        code = latent.Code(record, tuple(shot.latents.shape))
        marked, _, mark_id = latent.mark(shot.latents, code)
        after = shot.decode(marked)
        score = latent_detector.score(inverter.latents(after), code)
        scores.append(score)
        exact.append(score.payload == mark_id)
        costs.append((psnr(before, after), ssim(before, after)))
    decibels, alike = zip(*costs, strict=True)
    return LatentPower(
        delta=delta,
        found=sum(_log10_p(score, latent.SCHEME) <= FOUND for score in scores),
        exact=sum(exact),
        psnr=statistics.fmean(decibels),
        least_psnr=min(decibels),
        ssim=statistics.fmean(alike),
        least_ssim=min(alike),
        statistic=statistics.fmean(score.statistic for score in scores),
    )


def psnr(before: Pixels, after: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels, of all channels; 99 where equal."""
    error = float(np.mean((before.astype(np.float64) - after) ** 2))
    return 10 * math.log10(255**2 / error) if error else 99.0


def ssim(before: Pixels, after: Pixels) -> float:
    """Structural similarity (Wang et al., IEEE Trans. Image Process. 13, 2004).

    Of the mean of the channels, with a Gaussian window of 1.5 pixels; of a video the
    mean of its frames.
    """
    from scipy.ndimage import gaussian_filter

    def blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
        blurred = gaussian_filter(values, 1.5, truncate=3.5, axes=(-2, -1))
        return np.asarray(blurred)

    x, y = before.astype(np.float64).mean(-1), after.astype(np.float64).mean(-1)
    mx, my = blur(x), blur(y)
    sx, sy = blur(x * x) - mx * mx, blur(y * y) - my * my
    sxy = blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mx * my + c1) * (2 * sxy + c2)
    return float((ratio / ((mx * mx + my * my + c1) * (sx + sy + c2))).mean())
