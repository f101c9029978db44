"""The looks at a picture, layer by layer: as it came, then as it may have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import geometry as template
from watermark.detectors import pixel as pixel_detector
from watermark.detectors import places
from watermark.detectors.base import Score
from watermark.detectors.signs import Registry
from watermark.errors import UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Reason
from watermark.schemes import latent, noise, pixel
from watermark.schemes.signs import SignCode
from watermark.verification.geometry import (
    ESTIMATES,
    MOST,
    PLACES,
    Candidate,
    Pixels,
    candidates,
    whole,
)
from watermark.verification.setting import (
    GEOMETRY,
    GEOMETRY_STEPS,
    LOOKS,
    Encoder,
    Setting,
    StartingInverter,
)
from watermark.verification.where import Place

KEPT = 1 << 23  # numbers of all codes together: 12 bytes for each


class Seen(NamedTuple):
    """What a look at one key record saw.

    Attributes:
        score: of the mark.
        frame: the picture as it lay when it was marked, if the mark is here; None where
            a mark tells nothing of that.
        told: what was looked at, where the look's name does not say all.
        where: the latents that it was seen in, if the mark is here; None where the
            scheme has none.
    """

    score: Score
    frame: Candidate | None = None
    told: str = ""
    where: Place | None = None


class Look(NamedTuple):
    """One look at a picture or a film.

    Attributes:
        name: what was looked at.
        share: of the error budget.
        score: of a key record.
        changed: whether the picture was turned, cut or resized before.
    """

    name: str
    share: float
    score: Callable[[KeyRecord], Seen]
    changed: bool = False


Content = TypeVar("Content")
# The nonces on file of each registry's key record, by its `test`.
Files = Mapping[tuple[Any, ...], Registry]
# The code of a key record for arrays of one shape.
Codes = Callable[[KeyRecord, tuple[int, ...]], SignCode]
# The looks of one layer, made one after the other until one decides; and why some of
# them could not be made.
Layer = Callable[[Content, Setting, Files], Iterator[Look | Reason]]


def _noise(pixels: Pixels, setting: Setting, files: Files) -> Iterator[Look | Reason]:
    """The initial noise, by inverting the pipeline: more and more steps."""
    inverter = setting.inverter
    assert inverter is not None
    codes = kept(noise.Code)
    for name, share, _, estimate in inverted(pixels, setting):
        score = _of(estimate, whole(name, pixels), codes, files)
        yield Look(name, share, score)

    def look(picture: Pixels) -> NDArray[np.float32]:
        return inverter.noise(picture, steps=GEOMETRY_STEPS)

    yield from _changed(pixels, setting, estimate.shape, look, codes, files)


def inverted(
    pixels: Pixels, setting: Setting
) -> Iterator[tuple[str, float, float, NDArray[np.float32]]]:
    """(name, share, start, estimate of the initial noise): more and more steps.

    Args:
        pixels: of a picture, or the frames of a film.
        setting: whose pipeline is inverted.
    """
    inverter = setting.inverter
    assert inverter is not None
    starts: Sequence[float] = (1.0,)
    if isinstance(inverter, StartingInverter):
        starts = inverter.starts
    for steps, share in LOOKS[setting.effort]:
        for start in starts:
            if start < 1 and isinstance(inverter, StartingInverter):
                estimate = inverter.noise(pixels, steps=steps, start=start)
            else:
                estimate = inverter.noise(pixels, steps=steps)
            name = f"{steps} steps" + f" from {start:g}" * (start < 1)
            yield name, share / len(starts), start, estimate


def kept(make: Codes) -> Codes:
    """Codes that are made once, of `KEPT` numbers: most looks are of one shape."""
    made: dict[tuple[Any, ...], SignCode] = {}

    def code(record: KeyRecord, shape: tuple[int, ...]) -> SignCode:
        found = made.get((record.test, shape))
        if found is None:
            found = make(record, shape)
            while made and sum(one.size for one in made.values()) + found.size > KEPT:
                made.pop(next(iter(made)))
            made[record.test, shape] = found
        return found

    return code


def _of(
    seen: NDArray[Any],
    candidate: Candidate,
    codes: Codes,
    files: Files,
) -> Callable[[KeyRecord], Seen]:
    """The test of what was seen in a candidate, at each of its places."""

    def score(record: KeyRecord) -> Seen:
        code = codes(record, seen.shape)
        best, place = places.score(
            lambda index: candidate.masked(seen, index),
            len(candidate.places),
            code,
            files.get(record.test),
        )
        where = Place(candidate.masked(seen, place), code, best.nonce)
        frame = candidate.at(place)
        return Seen(best, frame, frame.told(), where)

    return score


def _latent(pixels: Pixels, setting: Setting, files: Files) -> Iterator[Look | Reason]:
    """The final latents, by encoding the picture: no denoiser is run."""
    encoder = setting.inverter
    if not isinstance(encoder, Encoder):
        raise UnsupportedPipeline("this inverter encodes no pictures")
    codes = kept(latent.Code)
    share = 1 - GEOMETRY.get(setting.effort, 0.0)
    white = latent.whiten(encoder.latents(pixels))
    score = _of(white, whole("encoded", pixels), codes, files)
    yield Look("encoded", share, score)

    def look(picture: Pixels) -> NDArray[np.float64]:
        return latent.whiten(encoder.latents(picture))

    yield from _changed(pixels, setting, white.shape, look, codes, files)


def _pixel(pixels: Pixels, setting: Setting, files: Files) -> Iterator[Look]:
    """The picture itself: nothing but a key is needed."""
    share = GEOMETRY.get(setting.effort, 0.0)
    yield Look(
        *("as it is", 1 - share),
        lambda r: Seen(pixel_detector.score(pixels, pixel.Code(r))),
    )
    if share:
        yield Look(
            *("turned back", share),
            lambda r: Seen(pixel_detector.turned(pixels, pixel.Code(r))),
            changed=True,
        )


def _changed(
    pixels: Pixels,
    setting: Setting,
    shape: tuple[int, ...],
    look: Callable[[Pixels], NDArray[Any]],
    codes: Codes,
    files: Files,
) -> Iterator[Look | Reason]:
    """The picture as it may have been, where the effort is to be made.

    Args:
        pixels: as they came.
        setting: whose templates, those of `pixel`, may tell what happened.
        shape: of what was seen in `pixels`.
        look: what there is to see in a picture.
        codes: of what is seen.
        files: nonces on file.
    """
    if setting.effort not in GEOMETRY:
        return
    estimates: list[template.Geometry] = []
    if min(pixels.shape[:2]) >= template.LEAST_SIDE:
        owned = [r for r in setting.records if r.scheme == pixel.SCHEME.name]
        for record in owned[:ESTIMATES]:
            most = ESTIMATES // min(len(owned), ESTIMATES)
            estimates += template.estimate(pixels, record, most=most)
    native = getattr(setting.inverter, "native", None)
    # Whole cells alone are looked at: up to twice as many pixels may be left over.
    cell = 1 << max(1, pixels.shape[0] // max((1, *shape[-2:-1]))).bit_length() - 1
    refused, tried = "", [0, 0]
    for candidate in candidates(pixels, native, estimates, cell):
        tried[0] += 1
        if not candidate.places:
            tried[1] += 1
            refused = refused or f"{candidate.name} at more than {PLACES} places"
            continue
        try:
            seen = look(candidate.pixels)
        except UnsupportedPipeline as error:  # a size that it cannot have made
            tried[1], refused = tried[1] + 1, str(error)[:200]
            continue
        share = GEOMETRY[setting.effort] / MOST
        score = _of(seen, candidate, codes, files)
        yield Look(candidate.name, share, score, changed=True)
    if refused:
        yield Reason(
            "search-incomplete",
            f"{tried[1]} of {tried[0]} ways in which the picture may have been changed "
            f"were not tried: {refused}",
        )


# In the order in which they are looked at: what is cheap comes first.
LAYERS: dict[str, Layer[Pixels]] = {"pixel": _pixel, "latent": _latent, "noise": _noise}
NEEDS_PIPELINE = {
    "latent": "a mark in the latents is read with the pipeline's autoencoder: name the "
    "pipeline that could have made this",
    "noise": "a mark in the noise is read by inverting the pipeline: name the one that "
    "could have made this",
}
