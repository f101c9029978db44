"""Video: `pixel` in the frames of a film, and `noise` in a film's latents.

A film is frames in memory: the package decodes no video file, and marks none. Here each
frame is marked as a picture; what was encoded again is decoded by ffmpeg and given to a
`Verifier`. `watermark.detectors.frames` tests an estimate of a film's initial noise.
Here that is the marked noise itself, seen at a stated correlation: a model of the
inversion, on which the attacks that only move frames are measured.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.attacks import video as attacks
from benchmarks.diffusion.pixel import psnr
from benchmarks.journal import code_version
from benchmarks.options import Options, seeded_key
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, each, generator, kept
from watermark import kernels, verification
from watermark.detectors import frames, signs
from watermark.schemes import SCHEMES, noise, pixel
from watermark.verifier import Verifier

SHAPE = (4, 12, 16, 16)  # channels, frames, height, width
AXIS = 1  # of the frames
RHO = 0.5  # correlation of the noise found with the noise used
SIDE, FRAMES = 256, 12  # of the film in whose frames `pixel` is
DRIFT = (2, 3)  # rows and columns by which each frame shows more of a scene


class VideoSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """Two schemes, and what cannot be measured."""
        return Spec(
            name="video",
            schemes=("noise", "pixel"),
            unavailable={
                "finished video": "no file of it is decoded or marked by the package: "
                "`pixel` is put in each frame here, and decoded frames are given",
            },
            attacks={a.name: (a.family, a.strength) for a in attacks.table().values()},
            identity={
                "code": code_version(
                    (frames, signs, noise, pixel, kernels, verification),
                    *("attacks/video.py", "robustness/video.py"),
                    "diffusion/pixel.py",
                ),
                "shown": {
                    "latents": "x".join(map(str, SHAPE)),
                    "rho": RHO,
                    "film": f"{FRAMES}x{SIDE}x{SIDE}",
                },
            },
            payloads=frozenset({"noise", "pixel"}),
            notes=(
                f"`pixel`: in {FRAMES} frames of a scene made on the spot that drifts "
                "by, with one mark id; a new key for each.",
                f"`noise`: latents of films of {SHAPE[AXIS]} frames, not films: the "
                f"marked noise seen at correlation {RHO:g}, which stands for an "
                "inversion.",
            ),
        )

    def worker(self, options: Options) -> VideoWorker:
        """Ready at once."""
        return VideoWorker(options)


class VideoWorker:
    """Marks frames or noise, attacks the film, and looks."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.attacks = kept(attacks.moves(), options)
        self.films = kept(attacks.table(), options)

    def sample(self, subject: str, index: int) -> Row:
        """One film and what becomes of it."""
        return self._pixel(index) if subject == "pixel" else self._noise(index)

    def _pixel(self, index: int) -> Row:
        ours, other = (
            pixel.SCHEME.record(
                seeded_key("robustness", self.options.seed, "film", index, what)
            )
            for what in ("marked", "other")
        )
        code, scene = pixel.Code(ours), _scene(generator(self.options, "film", index))
        mark_id = pixel.mark(scene[0], code)[2]
        film = np.stack([pixel.mark(frame, code, mark_id)[0] for frame in scene])
        verifiers = [Verifier(None, keys=record) for record in (ours, other)]

        def measure(name: str) -> Row:
            rng = generator(self.options, "pixel", index, name)
            seen = self.films[name].change(film, rng)
            found, null = (
                [e for e in verifier(seen).evidence if e.layer == "mark"]
                for verifier in verifiers
            )
            return {
                "log10_p": min((e.log10_p or 0.0 for e in found), default=0.0),
                "exact": any(e.payload == mark_id for e in found),
                "told": any(e.payload for e in found),
                "null": min((e.log10_p or 0.0 for e in null), default=0.0),
            }

        changes = [psnr(*both) for both in zip(scene, film, strict=True)]
        quality = {"PSNR, dB": float(np.mean(changes))}
        return {"attacks": each(self.films, measure, False), "quality": quality}

    def _noise(self, index: int) -> Row:
        subject = "noise"
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
        places = {name: place for place, name in enumerate(self.attacks)}

        def measure(name: str) -> Row:
            rng = generator(self.options, subject, index, name)
            latents = np.moveaxis(self.attacks[name].change(film, rng), 0, AXIS)
            score = frames.score(latents, code, AXIS).score
            row = {"log10_p": score.log10_p(), "exact": score.payload == mark_id}
            row["told"] = bool(score.payload)
            if (index + places[name]) % len(places) == 0:  # in turn: it takes a second
                row["null"] = frames.score(latents, other, AXIS).score.log10_p()
            return row

        return {"attacks": each(self.attacks, measure, False), "quality": {}}


def _scene(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames of blobs of colour and texture that drift by."""
    room = SIDE + FRAMES * max(DRIFT)
    blobs = gaussian_filter(rng.standard_normal((room, room, 3)), (16, 16, 0))
    values = 128 + 50 * blobs / blobs.std() + 8 * rng.standard_normal(blobs.shape)
    scene = np.clip(values, 0, 255).astype(np.uint8)
    corners = [(i * DRIFT[0], i * DRIFT[1]) for i in range(FRAMES)]
    return np.stack([scene[y : y + SIDE, x : x + SIDE] for y, x in corners])
