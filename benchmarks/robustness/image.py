"""Pictures of the diffusion model: ours and each peer, the same draws of noise.

A mark in the noise is tested on the same inversion for every scheme; full runs test
ours as a `Verifier` does by default. What its effort "thorough" finds where a picture
was moved is a column of its own, of some of the samples: it takes seconds. Marks of
finished pictures are put on the unmarked one, enlarged where it is too small.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import Attack, forgery
from benchmarks.attacks import image as attacks
from benchmarks.diffusion import dwtdct, features, peers
from benchmarks.diffusion.pixel import psnr, ssim
from benchmarks.journal import code_version
from benchmarks.options import Options, Unavailable, weights_sha256
from benchmarks.robustness import fitted
from benchmarks.robustness.image_marks import (
    DWT,
    NOISE,
    OURS,
    RING,
    SEARCHED,
    SHADING,
    SUBJECTS,
    Subject,
)
from benchmarks.robustness.image_studio import FULL, PROMPTS, QUICK, Pixels, Studio
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, generator, kept
from watermark import invert, pipelines, verification

__all__ = ["FULL", "QUICK", "RING", "ImageSuite", "ImageWorker", "Pixels"]

EVERY = 4  # of samples one is searched, and forged: both take seconds
FAR = 1_000_000  # indices of pictures that nobody attacks
DISTANCE = "feature distance"


class ImageSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """The schemes and peers here."""
        sha256, folder = weights_sha256(options.pipeline), options.pipeline
        if not (folder / "model_index.json").is_file():
            raise Unavailable(f"no pipeline in {folder.name}/ (model_index.json)")
        steps, inversion = FULL if options.full else QUICK
        others = tuple(name for name in SUBJECTS if name not in (*OURS, DWT))
        missing = "the package invisible-watermark is not installed"
        table = _listed()
        looks = "as effort normal" if options.full else inversion
        return Spec(
            name="image",
            schemes=OURS,
            peers=(*others, DWT) if dwtdct.installed() else others,
            unavailable={} if dwtdct.installed() else {DWT: missing},
            attacks={a.name: (a.family, a.strength) for a in table.values()},
            forged=frozenset(a.name for a in table.values() if a.forges),
            identity={
                "code": code_version(
                    (*peers.MODULES, invert, pipelines, verification),
                    *(f"diffusion/{n}.py" for n in ("peers", "prc", "dwtdct")),
                    *(f"diffusion/{n}.py" for n in ("features", "found", "pixel")),
                    *(f"attacks/{n}.py" for n in ("image", "forgery")),
                    *(f"robustness/{n}.py" for n in ("image", "image_marks")),
                    *(f"robustness/{n}.py" for n in ("image_studio", "fitted")),
                    "diffusion/inversion.py",
                ),
                "model": sha256,
                "shown": {
                    "steps": steps,
                    "inversion steps": inversion,
                    "inversion steps of noise": looks,
                },
            },
            payloads=frozenset(OURS),
            apart=frozenset({SEARCHED}),
            notes=(
                "Pictures: the same draws of noise and prompts for every scheme; "
                "inversion knows no prompt and guidance 1. One key for each scheme.",
                f"{SEARCHED}: `noise` where the picture was moved, by the search of "
                f"effort thorough, on one sample of {EVERY}.",
                f"{SHADING}: with its nonce frozen, so that all pictures share one "
                "stream of signs, which anyone can learn from them. As published it "
                "has a nonce for each, and nothing finds that again.",
                f"{RING}: its distance has no p-value; p is by a normal fit to the "
                "other schemes' pictures after the same attack (Student's t), so that "
                "1e-6 is an extrapolation. Without the key: those pictures, each by "
                "the fit to the rest.",
                f"{DWT} has no key: without it, the unmarked pictures are read.",
                "PSNR and SSIM: of marks that change a picture, against the unmarked. "
                "Feature distance: the energy distance of the marked pictures and the "
                "unmarked ones of the same draws, by channel means and deviations of "
                "the last block of the generator's encoder.",
                "Forged: prompted anew and imprinted with the generator itself in "
                f"hand, {forgery.STEPS} steps of inversion and {forgery.ROUNDS} of "
                f"Adam; for marks in the noise, of one sample of {EVERY}. Whether it "
                "is then told from the picture on record is another question: "
                "`python -m benchmarks diffusion --only replay`.",
            ),
        )

    def worker(self, options: Options) -> ImageWorker:
        """With the pipeline loaded."""
        return ImageWorker(options)

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """Tree-Ring's distances to p-values, and the sets' feature distances."""
        good = [r for s in rows if s != RING for r in rows[s] if "failed" not in r]
        for i, row in enumerate(rows.get(RING, [])):
            attacked = row.get("attacks", {})
            for attack, found in list(attacked.items()):
                others = [r["attacks"].get(attack, {}).get("distance") for r in good]
                null = [-d for d in others if d is not None]  # near is marked
                if fitted.can_be_fitted(null):
                    (tail,) = fitted.log10_tails([-found["distance"]], null)
                    found["log10_p"] = tail
                    found["null"] = fitted.held_out(null, i % len(null))
                else:
                    del attacked[attack]
            if "failed" not in row and not attacked:
                rows[RING][i] = {"failed": f"{RING} alone: no pictures to fit to"}
        for found in rows.values():
            seen = [r for r in found if "failed" not in r and "features" in r]
            if len(seen) > 1:
                plain, marked = (
                    np.array([r["features"][k] for r in seen]) for k in (0, 1)
                )
                apart, _ = features.energy_test(plain, marked, 0)
                for row in seen:
                    row["quality"][DISTANCE] = apart


def _listed() -> dict[str, Attack[Pixels]]:
    """Every attack, for their names alone."""
    return {
        **attacks.table(pipe=object()),
        **forgery.averages(lambda: np.zeros(0), lambda: np.zeros(0, np.uint8)),
        **forgery.table(object(), PROMPTS, 1),
    }


class ImageWorker:
    """Generates, attacks, inverts and tests.

    Attributes:
        attacks: those that need one picture alone.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.studio = studio = Studio(options)
        self.attacks = kept(attacks.table(studio.pipe, studio.steps), options)
        self.forgeries = forgery.table(studio.pipe, PROMPTS, studio.steps)
        self._subject = functools.cache(lambda name: SUBJECTS[name](studio))
        self._common = functools.cache(self._averaged)

    def sample(self, subject: str, index: int) -> Row:
        """One picture and what becomes of it."""
        if subject == SEARCHED and index % EVERY:
            return {"attacks": {}, "quality": {}}
        scheme: Subject = self._subject(subject)
        ((picture, told),) = scheme.mark([index])
        plain = scheme.plain(index)
        table = self._table(subject, index)
        changed = {
            name: attack.change(picture, generator(self.options, subject, index, name))
            for name, attack in table.items()
        }
        quality = {}
        if subject not in (*NOISE, SEARCHED):  # otherwise it is another picture
            quality["PSNR, dB"] = psnr(plain, picture)
            quality["SSIM"] = ssim(plain, picture)
        return {
            "attacks": scheme.test(changed, told),
            "quality": quality,
            "features": [self.studio.features(one) for one in (plain, picture)],
        }

    def _table(self, subject: str, index: int) -> dict[str, Attack[Pixels]]:
        """What is done to a picture of a subject."""
        if subject == SEARCHED:
            return {n: a for n, a in self.attacks.items() if a.moves or n == "none"}
        table = {
            **self.attacks,
            **forgery.averages(
                lambda: self._common(subject),
                lambda: self._subject(subject).plain(FAR - 1),
            ),
            **(self.forgeries if subject in NOISE and not index % EVERY else {}),
        }
        return kept(table, self.options)

    def _averaged(self, subject: str) -> NDArray[np.float64]:
        made = self._subject(subject).mark(range(FAR, FAR + forgery.AVERAGED))
        return forgery.averaged(picture for picture, _ in made)
