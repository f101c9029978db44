"""What power a pipeline's marks have, as `watermark.power.calibrate` measured it.

It is kept in a folder of the home, a file for each pipeline, model, scheduler and size.
Keys are not in it: the power of a mark does not depend on which key made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from watermark.errors import HomeError
from watermark.files import write_atomically
from watermark.schemes import latent

SCHEMA = "watermark.power/1"
FOLDER = "power"  # in a home
HIGH = 0.9  # share of the pictures whose mark was found
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisePower:
    """`noise` after decoding, eight bits and an inversion of so many steps.

    Attributes:
        steps: of the inversion, one evaluation of the model each.
        found: pictures whose mark was found at p <= 1e-6 by this look alone, with its
            share of the error budget.
        exact: of these, with the mark id.
        signs: share of the signs that were right, in the mean.
        least_signs: of the worst picture.
        statistic: of the joint test, in standard deviations, in the mean.
    """

    steps: int
    found: int
    exact: int
    signs: float
    least_signs: float
    statistic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentPower:
    """`latent` at one strength, after decoding, eight bits and encoding.

    Attributes:
        delta: the strength, a parameter of the key record.
        found: pictures whose mark was found at p <= 1e-6.
        exact: of these, with the mark id.
        psnr: in decibels, against the same picture without the mark, in the mean.
        least_psnr: of the worst picture.
        ssim: likewise, in the mean.
        least_ssim: of the worst picture.
        statistic: of the joint test, in standard deviations, in the mean.
    """

    delta: int
    found: int
    exact: int
    psnr: float
    least_psnr: float
    ssim: float
    least_ssim: float
    statistic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What was measured on one pipeline.

    Attributes:
        pipeline: name of its class.
        model: last part of the folder or repository it was loaded from.
        scheduler: name of its class.
        pictures: how many were generated.
        noise: one for each number of steps; empty where `noise` cannot mark.
        latent: one for each strength, the default's first; empty likewise.
        delta: the strength of `latent` that was chosen, or None.
        floor: PSNR in decibels that no picture was to be below.
        reasons: why a layer was not measured, by its name.
    """

    pipeline: str
    model: str
    scheduler: str
    pictures: int
    noise: tuple[NoisePower, ...] = ()
    latent: tuple[LatentPower, ...] = ()
    delta: int | None = None
    floor: float = 0.0
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> tuple[str, str, str]:
        """What was measured, as `identity` tells it."""
        return self.pipeline, self.model, self.scheduler

    def expected(self, layer: str) -> tuple[Literal["high", "low"], str] | None:
        """(power, what was measured) of a layer, or None: it was not measured."""
        told = f"of {self.pictures} outputs"
        if layer == "noise" and self.noise:
            best = max(self.noise, key=lambda each: each.found)
            found = f"measured: {best.found} {told} found by {best.steps} evaluations"
            signs = f"{best.signs:.0%} of the signs right"
            return self._level(best.found), f"{found}, {signs}"
        chosen = [each for each in self.latent if each.delta == self.delta]
        if layer == "latent" and chosen:
            [own] = chosen
            found = f"measured: {own.found} {told} found at delta {own.delta}"
            return self._level(own.found), f"{found}, PSNR {own.psnr:.1f} dB"
        return None

    def _level(self, found: int) -> Literal["high", "low"]:
        return "high" if found >= HIGH * self.pictures else "low"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            HomeError: another schema, or a field is missing or of another type.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data)
            raise HomeError(f"found schema {found!r}, expected {SCHEMA!r}")
        try:
            fields = {k: data[k] for k in data if k != "schema"}
            fields["noise"] = tuple(NoisePower(**row) for row in data["noise"])
            fields["latent"] = tuple(LatentPower(**row) for row in data["latent"])
            made = cls(**fields)
            _check(made)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HomeError(f"a measured power cannot be read: {error}") from None
        return made

    def save(self, home: Path) -> Path:
        """Write it into a home's folder, in place of an earlier one of this pipeline.

        Raises:
            OSError: the folder cannot be written.
        """
        path = _path(home, self.subject)
        path.parent.mkdir(exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        write_atomically(path, text.encode(), replace=True)
        return path


def _check(power: Power) -> None:
    """Raise TypeError or ValueError where a field is not what it should be."""
    numbers: list[Any] = [power.pictures, power.floor]
    rows: Sequence[Any] = (*power.noise, *power.latent)
    numbers += [value for row in rows for value in asdict(row).values()]
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError("found a field that is no number")
    if not all(isinstance(name, str) for name in (*power.subject, *power.reasons)):
        raise TypeError("found a name that is no text")
    if power.delta is not None and power.delta not in [r.delta for r in power.latent]:
        raise ValueError(f"found delta {power.delta!r}, which was not measured")
    for row in power.latent:
        latent.SCHEME.check({**latent.SCHEME.defaults, "delta": row.delta})


def identity(pipeline: Any) -> tuple[str, str, str]:
    """(class, model, scheduler) of a pipeline, by which its power is kept."""
    attachment = getattr(type(pipeline), "_watermark_attachment", None)
    kind = attachment.original if attachment else type(pipeline)
    config = getattr(pipeline, "config", {})
    name = str(config.get("_name_or_path") or kind.__name__)
    model = name.replace("\\", "/").rstrip("/").split("/")[-1]
    return kind.__name__, model, type(getattr(pipeline, "scheduler", None)).__name__


def load(home: Path, pipeline: Any) -> Power | None:
    """What was measured on a pipeline, or None.

    Raises:
        HomeError: the file is damaged.
    """
    path = _path(home, identity(pipeline))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if len(data) > MAX_BYTES:
            raise HomeError(f"it is larger than {MAX_BYTES} bytes")
        return Power.from_dict(json.loads(data))
    except (ValueError, RecursionError, HomeError) as error:
        raise HomeError(
            f"{path} is damaged ({error}): calibrate again, or delete it"
        ) from None


def _path(home: Path, identity: tuple[str, str, str]) -> Path:
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return home / FOLDER / f"{name}.json"
