"""What a detection costs: evaluations of the model until the mark is found.

Pictures are made from marked noise by the pipeline's own scheduler, half of them with
low guidance, and inverted from 8-bit pixels with an empty prompt. One row a picture and
route: the correlation rho with the true noise for each number of steps, and what the
looks of `watermark.verification` say when they are made one after the other. A second
table marks the final latents (`latent`) and reads them with one encode.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, seeded_key, weights_sha256
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from watermark import detectors, invert, kernels, schemes, verification
from watermark.detectors import latent as latent_detector
from watermark.detectors import noise as noise_detector
from watermark.detectors.base import Score
from watermark.invert.latents import Inverter
from watermark.schemes import latent, noise

Pixels = NDArray[np.uint8]
LOG10_FPR = -6.0
BUDGET = 6  # evaluations, the stated median
GUIDANCE = (3.0, 7.5)
GENERATION_STEPS = 50
STEPS = (1, 2, 3, 4, 6, 8, 12, 25)
ROUNDS = ((1, 2), (2, 2), (4, 2))  # (steps, rounds): fixed-point refinement
DELTAS = (100, 130, 160, 200)  # of `latent`, in thousandths


def _half(pixels: Pixels) -> Pixels:
    picture = Image.fromarray(pixels)
    small = picture.resize(
        (picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS
    )
    return np.asarray(small.resize(picture.size, Image.Resampling.LANCZOS))


def _jpeg(quality: int) -> Callable[[Pixels], Pixels]:
    def attack(pixels: Pixels) -> Pixels:
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "JPEG", quality=quality)
        data.seek(0)
        return np.asarray(Image.open(data).convert("RGB"))

    return attack


ROUTES: dict[str, Callable[[Pixels], Pixels]] = {
    "unattacked": lambda pixels: pixels,
    "JPEG 75": _jpeg(75),
    "JPEG 25": _jpeg(25),
    "resize 0.5": _half,
}


def measure(options: Options) -> Part:
    """Generate, attack, invert, count.

    Raises:
        Unavailable: there is no pipeline.
    """
    sha256 = weights_sha256(options.pipeline)
    count = options.count(6, 100)
    identity = {
        "code": code_version(
            (detectors, schemes, invert, kernels), "diffusion/cost.py"
        ),
        "looks": [list(look) for look in verification.LOOKS["normal"]],
        "model": sha256,
        "seed": options.seed,
    }
    ids = [f"cost/{i}" for i in range(count)]
    with Journal(options.work, "cost", identity) as journal, options.threading():
        missing = journal.missing(ids)
        if missing:
            pipe = load_pipeline(options.pipeline)
            inverter = Inverter(pipe)
            for name in options.track(missing, "cost"):
                index = int(name.partition("/")[2])
                journal.add(name, _one(pipe, inverter, index, options.seed))
        rows = [journal.rows[name] for name in ids]
        new = journal.added
    return Part(
        parameters={"pictures of cost": count, "cost model": sha256[:12]},
        targets=tuple(_targets(rows)),
        tables=(_decisions(rows), _correlations(rows), _latents(rows)),
        plots=(_plot(rows),),
        notes=(
            "Evaluations: forward passes of the denoiser in one detection, guidance 1, "
            "empty prompt. Encoding and the nonce search are not among them.",
        ),
        new=new,
        reused=count - new,
    )


def _one(pipe: Any, inverter: Inverter, index: int, seed: int) -> dict[str, Any]:
    """One picture, along every route."""
    rng = np.random.default_rng(
        int.from_bytes(seeded("cost", seed, index)[:8], "little")
    )
    key = seeded_key("cost", seed, index)
    shape = (pipe.unet.config.in_channels,) + (pipe.unet.config.sample_size,) * 2
    code = noise.Code(noise.SCHEME.record(key), shape)
    drawn = rng.standard_normal(shape).astype(np.float32)
    marked, _, mark_id = noise.mark(drawn, code)
    z = np.asarray(marked, dtype=np.float32)
    final = pipe(
        PROMPT.format(CLASSES[index % len(CLASSES)]),
        num_inference_steps=GENERATION_STEPS,
        guidance_scale=GUIDANCE[index % len(GUIDANCE)],
        latents=torch.from_numpy(z)[None],
        output_type="latent",
    ).images
    latents = final / pipe.vae.config.scaling_factor
    picture = _decode(pipe, latents)
    row: dict[str, Any] = {"noise": {}, "latent": {}}
    for route, attack in ROUTES.items():
        row["noise"][route] = _noise(inverter, attack(picture), code, z, mark_id)
    for delta in DELTAS:
        row["latent"][str(delta)] = _latent(
            pipe, inverter, latents, picture, latent.SCHEME.record(key, delta=delta)
        )
    return row


def _decode(pipe: Any, latents: torch.Tensor) -> Pixels:
    with torch.inference_mode():
        decoded = pipe.vae.decode(latents).sample
    [picture] = pipe.image_processor.postprocess(decoded)
    return np.asarray(picture)


def _noise(
    inverter: Inverter,
    pixels: Pixels,
    code: noise.Code,
    z: NDArray[np.float32],
    mark_id: bytes,
) -> dict[str, Any]:
    estimates = {
        **{(n, 1): inverter.noise(pixels, steps=n) for n in STEPS},
        **{(n, r): inverter.noise(pixels, steps=n, rounds=r) for n, r in ROUNDS},
    }
    rho = {
        f"{n}x{r}": float(np.corrcoef(found.reshape(-1), z.reshape(-1))[0, 1])
        for (n, r), found in estimates.items()
    }
    spent, found, exact = 0, None, False
    for steps, share in verification.LOOKS["normal"]:
        spent += steps
        score = noise_detector.score(estimates[steps, 1], code)
        if score.log10_p() - np.log10(share) <= LOG10_FPR:
            found, exact = spent, score.payload == mark_id
            break
    return {"rho": rho, "evaluations": found, "spent": spent, "id": exact}


def _latent(
    pipe: Any, inverter: Inverter, latents: torch.Tensor, plain: Pixels, record: Any
) -> dict[str, Any]:
    code = latent.Code(record, tuple(latents.shape[1:]))
    marked, _, mark_id = latent.mark(latents[0], code)
    _, expected = latent.strength(latents[0], code)
    picture = _decode(pipe, marked[None])
    found: dict[str, Any] = {
        "psnr": _psnr(plain, picture),
        "ssim": _ssim(plain, picture),
        "expected": expected,
    }
    for route, attack in ROUTES.items():
        score = latent_detector.score(inverter.latents(attack(picture)), code)
        found[route] = [_found(score), score.payload == mark_id]
    return found


def _found(score: Score) -> bool:
    return score.log10_p() <= LOG10_FPR


def _psnr(a: Pixels, b: Pixels) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else 99.0


def _ssim(a: Pixels, b: Pixels) -> float:
    """Wang et al. 2004, on the mean of the channels, Gaussian window of 1.5 pixels."""
    from scipy.ndimage import gaussian_filter

    def blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(values, 1.5, truncate=3.5))

    x, y = a.astype(np.float64).mean(-1), b.astype(np.float64).mean(-1)
    mx, my = blur(x), blur(y)
    sx, sy = blur(x * x) - mx * mx, blur(y * y) - my * my
    sxy = blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mx * my + c1) * (2 * sxy + c2)
    return float((ratio / ((mx * mx + my * my + c1) * (sx + sy + c2))).mean())


def _of(rows: list[dict[str, Any]], route: str) -> list[dict[str, Any]]:
    return [row["noise"][route] for row in rows]


def _targets(rows: list[dict[str, Any]]) -> Iterable[Target]:
    seen = _of(rows, "unattacked")
    median = statistics.median(each["spent"] for each in seen)
    rate = Rate(sum(each["evaluations"] is not None for each in seen), len(seen))
    yield Target.at_most("evaluations to decision, median", median, BUDGET)
    yield Target.of_rate("noise found at 1e-6 with at most 15 evaluations", rate, 0.99)


def _decisions(rows: list[dict[str, Any]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    budgets = np.cumsum([steps for steps, _ in verification.LOOKS["normal"]])
    for route in ROUTES:
        seen = _of(rows, route)
        rates = [
            Rate(sum((e["evaluations"] or 99) <= most for e in seen), len(seen))
            for most in budgets
        ]
        ids = Rate(sum(each["id"] for each in seen), len(seen))
        median = statistics.median(each["spent"] for each in seen)
        shown.append((route, median, *(str(r) for r in rates), str(ids)))
    columns = tuple(f"found within {most}" for most in budgets)
    return Table(
        "Evaluations to decision",
        ("route", "median evaluations", *columns, "mark id exact"),
        tuple(shown),
        "Looks of 1, 2, 4 and 8 steps, each paid for by its share; what is not found "
        "spends all of them. Peers take 50 evaluations.",
    )


def _correlations(rows: list[dict[str, Any]]) -> Table:
    names = [f"{n}x1" for n in STEPS] + [f"{n}x{r}" for n, r in ROUNDS]
    shown: list[tuple[Cell, ...]] = []
    for name in names:
        steps, rounds = (int(part) for part in name.split("x"))
        cells: list[Cell] = [steps, rounds, steps * rounds]
        for route in ROUTES:
            values = [each["rho"][name] for each in _of(rows, route)]
            cells += [statistics.fmean(values), min(values)]
        shown.append(tuple(cells))
    columns = [c for route in ROUTES for c in (f"rho, {route}", "least")]
    return Table(
        "Correlation with the true noise by steps",
        ("steps", "rounds", "evaluations", *columns),
        tuple(shown),
    )


def _latents(rows: list[dict[str, Any]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for delta in DELTAS:
        seen = [row["latent"][str(delta)] for row in rows]
        cells: list[Cell] = [delta]
        for name in ("psnr", "ssim"):
            values = [each[name] for each in seen]
            cells += [statistics.fmean(values), min(values)]
        cells.append(statistics.fmean(each["expected"] for each in seen))
        for route in ROUTES:
            cells.append(str(Rate(sum(each[route][0] for each in seen), len(seen))))
            cells.append(str(Rate(sum(each[route][1] for each in seen), len(seen))))
        shown.append(tuple(cells))
    routes = [c for route in ROUTES for c in (f"found, {route}", "id exact")]
    return Table(
        "latent: one encode, no evaluation",
        ("delta", "PSNR", "least", "SSIM", "least", "expected T", *routes),
        tuple(shown),
        "Of latents of 4,096 numbers, the smallest there are: the statistic grows with "
        "the square root of their number.",
    )


def _plot(rows: list[dict[str, Any]]) -> Plot:
    curves = []
    for route in ROUTES:
        points = []
        for steps in STEPS:
            values = [each["rho"][f"{steps}x1"] for each in _of(rows, route)]
            mean, spread = statistics.fmean(values), float(np.std(values))
            points.append((float(steps), mean, mean - spread, mean + spread))
        curves.append((route, tuple(points)))
    return Plot(
        "Noise found by evaluations",
        "evaluations of the model",
        "correlation with the true noise (mean, standard deviation)",
        tuple(curves),
        log_x=True,
    )
