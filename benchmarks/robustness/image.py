"""Pictures of the diffusion model: ours and each peer, the same draws of noise.

A mark in the noise is tested on the same inversion for every scheme; full runs test
ours as a `Verifier` does by default. What its effort "thorough" finds where a picture
was moved is a column of its own, of some of the samples: it takes seconds. Marks of
finished pictures are put on the unmarked one, enlarged where it is too small.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import Attack, forgery
from benchmarks.attacks import image as attacks
from benchmarks.checkpoints import check_pipeline, named, variant
from benchmarks.diffusion import dwtdct, features, peers
from benchmarks.diffusion.pixel import psnr, ssim
from benchmarks.journal import code_version
from benchmarks.options import Options, weights_sha256
from benchmarks.report import Part
from benchmarks.robustness import fitted
from benchmarks.robustness.image_marks import (
    CARRIERS,
    DWT,
    NOISE,
    OURS,
    RING,
    SEARCHED,
    SHADING,
    SUBJECTS,
    Subject,
)
from benchmarks.robustness.image_marks import EVERY as UNDER
from benchmarks.robustness.image_studio import (
    FULL,
    PROMPTS,
    QUICK,
    Pixels,
    Studio,
    surrogate,
)
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, each, few, generator, kept, lost
from benchmarks.robustness.unmarked import UNMARKED, with_table
from watermark import invert, pipelines, verification

__all__ = ["FULL", "QUICK", "RING", "ImageSuite", "ImageWorker", "Pixels"]

EVERY = 4  # of samples one is searched, and forged: both take seconds
FAR = 1_000_000  # indices of pictures that nobody attacks
DISTANCE = "feature distance"
STAND_IN = "Surrogate: another autoencoder in the generator's place of its own."
NO_STAND_IN = "No other autoencoder was at hand: the forger's is the strongest one."
PARTS = ("unet", "vae", "scheduler")  # of a pipeline, that the suite works with


class ImageSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """The schemes and peers here."""
        sha256, folder = weights_sha256(options.pipeline), options.pipeline
        check_pipeline(folder, PARTS)
        steps, inversion = FULL if options.full else QUICK
        schemes = (*OURS, UNMARKED)
        others = tuple(name for name in SUBJECTS if name not in (*schemes, DWT))
        missing = "the package invisible-watermark is not installed"
        other = surrogate(folder)
        table = _listed(options, other)
        looks = "as effort normal" if options.full else inversion
        seldom = "" if options.full else f" One sample of {EVERY} is measured."
        return Spec(
            name="image",
            schemes=schemes,
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
                "surrogate": weights_sha256(other) if other else "",
                "shown": {
                    "model": named(folder, sha256),
                    "steps": steps,
                    "inversion steps": inversion,
                    "inversion steps of noise": looks,
                },
            },
            variant=variant(folder, "diffusion", sha256),
            payloads=CARRIERS,
            apart=frozenset({SEARCHED}),
            notes=(
                "Pictures: the same draws of noise and prompts for every scheme; "
                "inversion knows no prompt and guidance 1. One key for each scheme; "
                "without the key: another one for each picture.",
                f"{UNMARKED}: under keys of `noise`, of `latent` and of `pixel`, the "
                "last two in turn; a table has it under the keys of all. Its feature "
                "distance is that of two unmarked pictures of different draws."
                f"{seldom}",
                "Without the key: after one attack of "
                f"{UNDER}, in turn; of {UNMARKED} and of what is fitted after all.",
                f"{SEARCHED}: `noise` where the picture was moved, by the search of "
                f"effort thorough, on one sample of {EVERY}.",
                f"{SHADING}: with its nonce frozen, so that all pictures share one "
                "stream of signs, which anyone can learn from them. As published it "
                "has a nonce for each, and nothing finds that again.",
                f"{RING}: its distance has no p-value; p is by a normal fit to the "
                "unmarked pictures and the other peers' after the same attack "
                "(Student's t), so that 1e-6 is an extrapolation. Without the key: "
                "those pictures, each by the fit to the rest.",
                f"{DWT} has no key and no p-value: what stands here is the binomial "
                "tail of its 48 public bits as if those read elsewhere were fair and "
                "independent. Without the key: of the unmarked pictures after the "
                "same attacks, which show what that is worth.",
                f"Payloads of {SHADING} and PRC: the whole message.",
                "PSNR and SSIM: of marks that change a picture, against the unmarked. "
                "Feature distance: the energy distance of the marked pictures and the "
                "unmarked ones of the same draws, by channel means and deviations of "
                "the last block of the generator's encoder.",
                "Forged: prompted anew and imprinted with the generator itself in "
                f"hand, {forgery.STEPS} steps of inversion and {forgery.ROUNDS} of "
                f"Adam; for marks in the noise, of one sample of {EVERY}. "
                f"{STAND_IN if other else NO_STAND_IN} Whether it "
                "is then told from the picture on record is another question: "
                "`python -m benchmarks diffusion --only replay`.",
            ),
        )

    def worker(self, options: Options) -> ImageWorker:
        """With the pipeline loaded."""
        return ImageWorker(options)

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """Unmarked pictures beside the rest."""
        return with_table(super().part(spec, rows, count, new), spec, rows)

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """Tree-Ring's distances to p-values, and the sets' feature distances."""
        good = [[r for r in rows[s] if "failed" not in r] for s in rows if s != RING]
        for i, row in enumerate(rows.get(RING, [])):
            attacked = row.get("attacks", {})
            for attack, found in list(attacked.items()):
                if "distance" not in found:  # it failed
                    continue
                nulls = [_far(own, attack) for own in good]
                null = [score for own in nulls for score in own]
                if fitted.can_be_fitted(null):
                    (tail,) = fitted.log10_tails([-found["distance"]], null)
                    found["log10_p"] = tail
                    found["null"] = fitted.held_out(null, _place(nulls, i))
                else:
                    del attacked[attack]
            if "failed" not in row and not attacked:
                rows[RING][i] = {
                    "failed": f"{RING} alone: no pictures to fit to, as of {UNMARKED}"
                }
        for found in rows.values():
            seen = [r for r in found if "failed" not in r and "features" in r]
            if len(seen) > 1:
                plain, marked = (
                    np.array([r["features"][k] for r in seen]) for k in (0, 1)
                )
                apart, _ = features.energy_test(plain, marked, 0)
                for row in seen:
                    row["quality"][DISTANCE] = apart


def _far(rows: Sequence[Row], attack: str) -> list[float]:
    """Of one subject's pictures the scores by distance: near is marked."""
    every = (row["attacks"].get(attack, {}).get("distance") for row in rows)
    return [-distance for distance in every if distance is not None]


def _place(nulls: Sequence[Sequence[float]], index: int) -> int:
    """Of a score to hold out, in all of them: of one subject after the other."""
    places = [i for i, own in enumerate(nulls) if own]
    chosen = places[index % len(places)]
    return sum(map(len, nulls[:chosen])) + index % len(nulls[chosen])


def _tested(
    scheme: Subject, pictures: Mapping[str, Pixels], told: Any, exact: bool | None
) -> dict[str, Row]:
    """All together; where that raises, each beside the one that was not attacked."""
    try:
        return scheme.test(pictures, told)
    except Exception:  # it costs no other picture its row
        return each(
            pictures,
            lambda n: scheme.test({k: pictures[k] for k in ("none", n)}, told)[n],
            exact,
        )


def _listed(options: Options, other: object) -> dict[str, Attack[Pixels]]:
    """Every attack of such a run, for their names alone."""
    nothing = np.zeros(0)
    table = {
        **attacks.table(pipe=object(), surrogate=other),
        **forgery.averages(
            lambda count: nothing, lambda: nothing.astype(np.uint8), _counts(options)
        ),
        **forgery.table(object(), PROMPTS, 1, other),
    }
    return few(table, options)


def _counts(options: Options) -> tuple[int, ...]:
    """Of pictures that are averaged: many take minutes to make for every scheme."""
    cheap = tuple(n for n in forgery.AVERAGED if n <= forgery.ADDED)
    return forgery.AVERAGED if options.full else cheap


class ImageWorker:
    """Generates, attacks, inverts and tests.

    Attributes:
        attacks: those that need one picture alone.
        seldom: subjects of which one sample of `EVERY` is measured.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seldom = (SEARCHED,) if options.full else (SEARCHED, UNMARKED)
        self.studio = studio = Studio(options)
        vae = studio.surrogate
        table = attacks.table(studio.pipe, studio.steps, vae)
        self.attacks = kept(few(table, options), options)
        stand_in = forgery.with_vae(studio.pipe, vae) if vae is not None else None
        self.forgeries = forgery.table(studio.pipe, PROMPTS, studio.steps, stand_in)
        self._subject = functools.cache(lambda name: SUBJECTS[name](studio))
        self._common = functools.cache(self._averaged)

    def sample(self, subject: str, index: int) -> Row:
        """One picture and what becomes of it."""
        if index % EVERY and subject in self.seldom:
            return {"attacks": {}, "quality": {}}
        scheme: Subject = self._subject(subject)
        ((picture, told),) = scheme.mark([index])
        plain = scheme.plain(index)
        exact = False if subject in CARRIERS else None  # where an attack fails
        changed, failed = self._changed(picture, subject, index, exact)
        if subject == DWT:
            told, _ = self._changed(plain, subject, index, exact)
        quality = {}
        if subject not in (*NOISE, SEARCHED, UNMARKED):  # those are other pictures
            quality["PSNR, dB"] = psnr(plain, picture)
            quality["SSIM"] = ssim(plain, picture)
        return {
            "attacks": {**_tested(scheme, changed, told, exact), **failed},
            "quality": quality,
            "features": [self.studio.features(one) for one in (plain, picture)],
        }

    def _changed(
        self, picture: Pixels, subject: str, index: int, exact: bool | None
    ) -> tuple[dict[str, Pixels], dict[str, Row]]:
        """What attacks left of it, and rows of those that failed."""
        changed: dict[str, Pixels] = {}
        failed: dict[str, Row] = {}
        for name, attack in self._table(subject, index).items():
            rng = generator(self.options, subject, index, name)
            try:
                changed[name] = attack.change(picture, rng)
            except Exception as error:  # whatever it raises is its result
                failed[name] = lost(error, exact)
        return changed, failed

    def _table(self, subject: str, index: int) -> dict[str, Attack[Pixels]]:
        """What is done to a picture of a subject."""
        if subject == SEARCHED:
            return {n: a for n, a in self.attacks.items() if a.moves or n == "none"}
        table = {
            **self.attacks,
            **forgery.averages(
                lambda count: self._common(subject)[count],
                lambda: self._subject(subject).plain(FAR - 1),
                _counts(self.options),
            ),
            **(self.forgeries if subject in NOISE and not index % EVERY else {}),
        }
        return kept(few(table, self.options), self.options)

    def _averaged(self, subject: str) -> dict[int, NDArray[np.float64]]:
        counts = {*_counts(self.options), forgery.ADDED}
        made = self._subject(subject).mark(range(FAR, FAR + max(counts)))
        return {
            count: forgery.averaged(picture for picture, _ in made[:count])
            for count in counts
        }
