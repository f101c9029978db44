"""Pictures of the diffusion model: ours and each peer, the same draws of noise.

A mark in the noise is tested on the same inversion for every scheme, ours with the
search that ``effort="thorough"`` makes where that finds nothing. Marks of finished
pictures are put on the unmarked picture, enlarged where it is too small to take one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.attacks import image as attacks
from benchmarks.diffusion import dwtdct, peers
from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.diffusion.pixel import psnr, ssim
from benchmarks.journal import code_version
from benchmarks.options import Options, seeded, seeded_key, weights_sha256
from benchmarks.robustness.spec import FPR, Row, Spec
from benchmarks.robustness.suite import Marks, generator
from watermark import invert
from watermark.detectors import pixel as pixel_detector
from watermark.detectors.foreign import tree_ring
from watermark.detectors.foreign.tree_ring import Fitted
from watermark.invert.latents import Inverter
from watermark.pipelines import diffusers as adapter
from watermark.schemes import SCHEMES, default_records, pixel
from watermark.verification import geometry
from watermark.verification.geometry import MOST, candidates
from watermark.verification.setting import GEOMETRY_STEPS
from watermark.verifier import Verifier

Pixels = NDArray[np.uint8]
QUICK, FULL = (20, 10), (50, 50)  # steps of generation, of inversion
RING = "Tree-Ring"
DWT = "DWT-DCT"
SHADING = "Gaussian-Shading"
# A peer of `benchmarks.diffusion.peers`, and the test that the key alone suffices for.
NOISE: Mapping[str, tuple[peers.Peer, str | None]] = {
    "noise": (peers.OURS, "ours"),
    SHADING: (peers.SHADING, "Gaussian Shading, frozen nonce"),
    "PRC": (peers.PRC, "PRC"),
    "Tree-Ring-rand": (peers.RAND, "Tree-Ring rand, exact"),
    RING: (peers.RING, None),
}
OURS = ("noise", "latent", "pixel")


class ImageSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """The schemes and peers here."""
        sha256 = weights_sha256(options.pipeline)
        steps, inversion = FULL if options.full else QUICK
        others = tuple(name for name in NOISE if name not in OURS)
        missing = "the package invisible-watermark is not installed"
        table = attacks.table(pipe=object())
        return Spec(
            name="image",
            schemes=OURS,
            peers=(*others, DWT) if dwtdct.installed() else others,
            unavailable={} if dwtdct.installed() else {DWT: missing},
            attacks={a.name: (a.family, a.strength) for a in table.values()},
            identity={
                "code": code_version(
                    (*peers.MODULES, invert, geometry),
                    *(f"diffusion/{n}.py" for n in ("peers", "prc", "dwtdct")),
                    *("attacks/image.py", "robustness/image.py"),
                ),
                "model": sha256,
                "shown": {"steps": steps, "inversion steps": inversion},
            },
            payloads=frozenset(OURS),
            notes=(
                "Pictures: the same draws of noise and prompts for every scheme; "
                "inversion knows no prompt and guidance 1. One key for each scheme.",
                f"{SHADING}: with its nonce frozen, so that all pictures share one "
                "stream of signs, which anyone can learn from them. As published it "
                "has a nonce for each, and nothing finds that again.",
                f"{RING}: its distance has no p-value; the threshold is a normal fit "
                "to the other schemes' pictures after the same attack, so that 1e-6 "
                "is an extrapolation.",
                "PSNR and SSIM: of marks that change a picture, against the unmarked.",
            ),
        )

    def worker(self, options: Options) -> ImageWorker:
        """With the pipeline loaded."""
        return ImageWorker(options)

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """Tree-Ring's distances to p-values, from the other schemes' pictures."""
        good = [r for s in rows if s != RING for r in rows[s] if "failed" not in r]
        for row in rows.get(RING, []):
            for attack, found in row.get("attacks", {}).items():
                if found["distance"] is None:
                    continue
                others = [r["attacks"][attack].get("distance") for r in good]
                null = [d for d in others if d is not None]
                found["log10_p"] = (
                    Fitted.of(null).log10_tail(found["distance"])
                    if len(null) > 1
                    else 0.0
                )


@dataclass(frozen=True)
class _Marked:
    """A marked picture and how it is tested.

    Attributes:
        picture: with the mark.
        plain: without it, where it is otherwise the same picture.
        test: of an attacked picture: log10 p, whether the mark id is right, and more
            that goes into the row.
    """

    picture: Pixels
    plain: Pixels | None
    test: Callable[[Pixels], Row]


class ImageWorker:
    """Generates, attacks, inverts and tests."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.steps, self.inversion = FULL if options.full else QUICK
        self.pipe = load_pipeline(options.pipeline)
        self.attacks = attacks.table(self.pipe, self.steps)
        self.inverter = Inverter(self.pipe)
        size = int(self.pipe.unet.config.sample_size)
        self.shape = (int(self.pipe.unet.config.in_channels), size, size)
        self._keys: dict[tuple[str, str], Any] = {}

    def sample(self, subject: str, index: int) -> Row:
        """One picture and what becomes of it."""
        made = self._marked(subject, index)
        found = {}
        for name, attack in self.attacks.items():
            rng = generator(self.options, subject, index, name)
            found[name] = made.test(attack.change(made.picture, rng))
        quality = {}
        if made.plain is not None:
            quality["PSNR, dB"] = psnr(made.plain, made.picture)
            quality["SSIM"] = ssim(made.plain, made.picture)
        return {"attacks": found, "quality": quality}

    def _marked(self, subject: str, index: int) -> _Marked:
        if subject in NOISE:
            return self._in_noise(*NOISE[subject], index)
        if subject == "latent":
            return self._in_latents(index)
        plain = dwtdct.enlarged(self._generated(self._draw(index), index))
        if subject == DWT:
            test = lambda p: {"log10_p": dwtdct.log10_p(p), "exact": None}  # noqa: E731
            return _Marked(dwtdct.mark(plain), plain, test)
        return self._in_pixels(plain)

    def _key(self, peer: peers.Peer, what: str = "marked") -> Any:
        """Of a scheme, made once: a key of PRC takes seconds."""
        place = peer.name, what
        if place not in self._keys:
            seed = f"robustness/{self.options.seed}/{what}"
            self._keys[place] = peer.key(seed, self.shape)
        return self._keys[place]

    def _draw(self, index: int) -> NDArray[np.float32]:
        seed = seeded("robustness", self.options.seed, index)[:8]
        chosen = torch.Generator().manual_seed(int.from_bytes(seed, "little") >> 1)
        drawn: NDArray[np.float32] = torch.randn(self.shape, generator=chosen).numpy()
        return drawn

    def _generated(self, noise: NDArray[np.floating], index: int) -> Pixels:
        image = self.pipe(
            PROMPT.format(CLASSES[index % len(CLASSES)]),
            num_inference_steps=self.steps,
            latents=torch.from_numpy(noise.astype(np.float32))[None],
        ).images[0]
        return np.asarray(image, dtype=np.uint8)

    def _in_noise(self, peer: peers.Peer, blind: str | None, index: int) -> _Marked:
        key, other = self._key(peer), self._key(peer, "other")
        marked, told = peer.mark(self._draw(index), key, index)
        picture = self._generated(marked, index)

        def test(pixels: Pixels) -> Row:
            fits = pixels.shape == picture.shape
            if peer is peers.OURS and not fits:  # its search tries sizes
                p = self._searched(pixels, 0.0, key)
                return {"log10_p": p, "exact": False, "distance": None}
            # The peers' own detectors resize whatever comes to the generator's size.
            same = pixels if fits else attacks.brought(pixels, picture)
            seen = self.inverter.noise(same, steps=self.inversion)
            ring = tree_ring.distance(seen, self._key(peers.RING))
            row: Row = {"distance": ring, "exact": None, "log10_p": 0.0}
            if blind is None:
                return row
            row["log10_p"] = peer.blind[blind](seen, key, told)
            row["null"] = peer.blind[blind](seen, other, None)
            if peer is peers.OURS:
                row["exact"] = bool(peer.read and peer.read(seen, key, told))
                row["log10_p"] = self._searched(pixels, row["log10_p"], key)
            return row

        return _Marked(picture, None, test)

    def _searched(self, pixels: Pixels, first: float, key: Any) -> float:
        """log10 p of ours with the search of effort "thorough", counted.

        Half of the error budget is for the picture as it came, with log10 p `first`.
        """
        best = first + math.log10(2)
        for candidate in candidates(pixels):
            if best <= math.log10(FPR):
                break
            seen = self.inverter.noise(candidate.pixels, steps=GEOMETRY_STEPS)
            if seen.shape == self.shape:
                p = peers.our_score(candidate.masked(seen), key).log10_p()
                best = min(best, p + math.log10(2 * MOST))
        return min(0.0, best)

    def _in_latents(self, index: int) -> _Marked:
        keys = [
            seeded_key("robustness", self.options.seed, "latent", index, what)
            for what in ("marked", "other")
        ]
        plain = self._generated(self._draw(index), index)
        record = SCHEMES[adapter.DEFAULT_SCHEME].record(keys[0])
        with adapter.attach(
            *(self.pipe, record, lambda records, outputs: None),
            provider="benchmark",
            layers=("latent",),
        ) as attachment:
            picture = self._generated(self._draw(index), index)
        mark_id = attachment.records[0].marks[0].mark_id
        ours, others = (
            Verifier(
                None,
                keys=[r for r in default_records(key) if r.scheme == "latent"],
                pipeline=self.inverter,
            )
            for key in keys
        )

        def test(pixels: Pixels) -> Row:
            from PIL import Image

            row: Row = {}
            for name, verifier in (("log10_p", ours), ("null", others)):
                report = verifier(Image.fromarray(pixels))
                marks = [e for e in report.evidence if e.log10_p is not None]
                row[name] = min((e.log10_p or 0.0 for e in marks), default=0.0)
                if verifier is ours:
                    row["exact"] = any(e.payload == mark_id for e in marks)
            return row

        return _Marked(picture, plain, test)

    def _in_pixels(self, plain: Pixels) -> _Marked:
        seed = self.options.seed
        code, other = (
            pixel.Code(pixel.SCHEME.record(seeded_key("robustness", seed, "pixel", w)))
            for w in ("marked", "other")
        )
        marked, _, mark_id = pixel.mark(plain, code)

        def test(pixels: Pixels) -> Row:
            score = pixel_detector.search(pixels, code)
            null = pixel_detector.score(pixels, other)
            return {
                "log10_p": score.log10_p(),
                "exact": score.payload == mark_id,
                "null": null.log10_p(),
            }

        return _Marked(marked, plain, test)
