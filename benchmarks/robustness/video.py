"""Video: `noise` in a film's latents whose frames were moved. No film is made here.

Nothing in the package looks for a mark in finished video, and a row says so. What there
is, `watermark.detectors.frames`, tests an estimate of a film's initial noise. Here that
is the marked noise itself, seen at a stated correlation: a model of the inversion, on
which the attacks that only move frames are measured.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import video as attacks
from benchmarks.journal import code_version
from benchmarks.options import Options, seeded_key
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, generator, kept
from watermark import kernels
from watermark.detectors import frames, signs
from watermark.schemes import SCHEMES, noise

SHAPE = (4, 12, 16, 16)  # channels, frames, height, width
AXIS = 1  # of the frames
RHO = 0.5  # correlation of the noise found with the noise used


class VideoSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """One scheme, and what cannot be measured."""
        return Spec(
            name="video",
            schemes=("noise",),
            unavailable={
                "finished video": "nothing in the package finds a mark in it: frames "
                "that were decoded, and encoded again, are not looked at",
            },
            attacks={a.name: (a.family, a.strength) for a in attacks.moves().values()},
            identity={
                "code": code_version(
                    (frames, signs, noise, kernels),
                    *("attacks/video.py", "robustness/video.py"),
                ),
                "shown": {"latents": "x".join(map(str, SHAPE)), "rho": RHO},
            },
            payloads=frozenset({"noise"}),
            notes=(
                f"Latents of films of {SHAPE[AXIS]} frames, not films: the marked "
                f"noise seen at correlation {RHO:g}, which stands for an inversion.",
            ),
        )

    def worker(self, options: Options) -> VideoWorker:
        """Ready at once."""
        return VideoWorker(options)


class VideoWorker:
    """Marks noise, moves its frames, and looks."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.attacks = kept(attacks.moves(), options)

    def sample(self, subject: str, index: int) -> Row:
        """The latents of one film and what becomes of them."""
        code, other = (
            noise.Code(
                SCHEMES["noise"].record(
                    seeded_key("robustness", self.options.seed, "video", index, what)
                ),
                SHAPE,
            )
            for what in ("marked", "other")
        )
        rng = generator(self.options, "video", index)
        marked, _, mark_id = noise.mark(rng.standard_normal(SHAPE), code)
        seen = RHO * marked + math.sqrt(1 - RHO**2) * rng.standard_normal(SHAPE)
        film: NDArray[np.float64] = np.moveaxis(seen, AXIS, 0)
        found: dict[str, Row] = {}
        for place, (name, attack) in enumerate(self.attacks.items()):
            changed = attack.change(film, generator(self.options, subject, index, name))
            latents = np.moveaxis(changed, 0, AXIS)
            score = frames.score(latents, code, AXIS).score
            found[name] = {
                "log10_p": score.log10_p(),
                "exact": score.payload == mark_id,
            }
            if (index + place) % len(self.attacks) == 0:  # in turn: it takes a second
                null = frames.score(latents, other, AXIS).score
                found[name]["null"] = null.log10_p()
        return {"attacks": found, "quality": {}}
