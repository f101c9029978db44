"""``wm keys calibrate``: what power the marks have on your own diffusion pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watermark.cli.keys import app
from watermark.cli.options import HomeOption, JsonOption
from watermark.cli.terminal import (
    Code,
    Failure,
    hint,
    row,
    say,
    title,
    watched,
    write_json,
)

if TYPE_CHECKING:
    from watermark.pipelines.diffusion_power import Power


@app.command("calibrate")
def calibrate(
    pipeline: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The diffusers pipeline that is marked."),
    ],
    pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many to generate.")
    ] = 8,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What to generate; can be repeated."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Sampling steps; by default the pipeline's own."
        ),
    ] = None,
    floor: Annotated[
        float,
        typer.Option(
            metavar="DECIBELS",
            min=1.0,
            help="No picture that `latent` marks shall have a lower PSNR.",
        ),
    ] = 36.0,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Measure how well marks are found in what a pipeline generates, and keep it.

    Generates pictures under throw-away keys and looks for their marks as wm verify
    does: `noise` by inversion in 1, 2, 4 and 8 steps, `latent` by encoding. The
    strength of `latent` is then chosen so that its PSNR stays above --floor. From the
    next attach on, that strength is used, and status() tells the measured power.
    """
    from watermark.cli.models import pipeline_at
    from watermark.errors import UnsupportedPipeline
    from watermark.home import Home
    from watermark.power import PROMPTS
    from watermark.power import calibrate as measure

    opened = Home.open(home)
    if not (pipeline / "model_index.json").is_file():
        raise Failure(f"no diffusers pipeline at {pipeline}", Code.USAGE)
    pipe = pipeline_at(pipeline)
    pipe.set_progress_bar_config(disable=True)
    try:
        found = measure(
            pipe,
            pictures=pictures,
            prompts=prompt or PROMPTS,
            floor=floor,
            call={} if steps is None else {"num_inference_steps": steps},
            track=_tracked,
        )
    except UnsupportedPipeline as problem:
        raise Failure(f"{pipeline}: {problem}") from problem
    path = found.save(opened.path)
    if as_json:
        write_json(found.to_dict())
    else:
        _show(found, path)


def _tracked(numbers: range) -> Iterable[int]:
    if not watched():
        return numbers
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(numbers, "generating", console=console, transient=True)


def _show(found: Power, path: Path) -> None:
    title(f"{found.pipeline} ({found.model}), {found.scheduler}")
    say("pictures", f"{found.pictures}, under throw-away keys")
    if found.noise:
        row("noise    STEPS  FOUND  WITH ID  SIGNS  LEAST   STATISTIC")
        for each in found.noise:
            _row(
                *(each.steps, each.found, each.exact),
                f"{each.signs:>5.1%}  {each.least_signs:>5.1%}  {each.statistic:>9.1f}",
            )
    if found.latent:
        row("latent   DELTA  FOUND  WITH ID  PSNR   LEAST   SSIM   LEAST   STATISTIC")
        for one in found.latent:
            _row(
                *(one.delta, one.found, one.exact),
                f"{one.psnr:>5.1f}  {one.least_psnr:>5.1f}  {one.ssim:>5.3f}  "
                f"{one.least_ssim:>5.3f}  {one.statistic:>9.1f}",
            )
        say("strength", _strength(found))
    for layer, reason in found.reasons.items():
        say(layer, f"not measured: {reason}")
    hint(f"Kept in {path}")


def _row(step: int, found: int, exact: int, rest: Any) -> None:
    row(f"{'':<7}  {step:>5}  {found:>5}  {exact:>7}  {rest}")


def _strength(found: Power) -> str:
    if found.delta is None:
        return (
            f"none keeps every picture at {found.floor:g} dB: the default stays. Give "
            "a lower --floor, or leave `latent` out with layers="
        )
    return f"delta {found.delta}: no picture below {found.floor:g} dB"
