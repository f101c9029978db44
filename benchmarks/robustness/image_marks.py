"""How each scheme of the image suite marks, and tests what attacks left.

To add one: write its class, add its line to `SUBJECTS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.attacks.image import brought
from benchmarks.diffusion import dwtdct, peers
from benchmarks.options import seeded_key
from benchmarks.robustness.image_studio import Pixels, Studio
from benchmarks.robustness.spec import FPR, Row
from watermark.detectors import pixel as pixel_detector
from watermark.detectors.foreign import tree_ring
from watermark.pipelines import diffusers as adapter
from watermark.schemes import SCHEMES, default_records, pixel
from watermark.verification import LOOKS
from watermark.verifier import Verifier

SEARCHED = "noise-thorough"
RING = "Tree-Ring"
DWT = "DWT-DCT"
EVERY = 4  # of attacks one is also searched with another key: it takes half a second
SHADING = "Gaussian-Shading"
Made = tuple[Pixels, Any]  # a marked picture, and what can be told of it


class Subject(Protocol):
    """One scheme under one key."""

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """The marked pictures of some draws."""

    def plain(self, index: int) -> Pixels:
        """The unmarked picture of a draw, of the same size."""

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """Of each attacked picture log10 p, whether the mark id is right, and more."""


class InNoise:
    """A peer of `benchmarks.diffusion.peers`.

    Args:
        studio: where pictures are made.
        peer: the scheme.
        blind: the test that the key alone suffices for, or None.
    """

    def __init__(self, studio: Studio, peer: peers.Peer, blind: str | None) -> None:
        self.studio, self.peer = studio, peer
        self.key, self.other = (
            peer.key(f"robustness/{studio.seed}/{what}", studio.shape)
            for what in ("marked", "other")
        )
        self.blind = peer.blind[blind] if blind is not None else None
        seed = f"robustness/{studio.seed}/marked"
        self.ring = peers.RING.key(seed, studio.shape)

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`."""
        draw, key = self.studio.draw, self.key
        noises = [self.peer.mark(draw(index), key, index) for index in indices]
        pictures = self.studio.generated([noise for noise, _ in noises], indices)
        told = (what for _, what in noises)
        return list(zip(pictures, told, strict=True))

    def plain(self, index: int) -> Pixels:
        """See `Subject`."""
        return self.studio.plain(index)

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`. Peers' own detectors resize what comes to the right size."""
        like = pictures["none"]
        same = [
            p if p.shape == like.shape else brought(p, like) for p in pictures.values()
        ]
        seen = self.studio.inversion.noise(same, steps=self.studio.steps_back)
        return {
            name: self._row(estimate, told)
            for name, estimate in zip(pictures, seen, strict=True)
        }

    def _row(self, seen: NDArray[np.float32], told: Any) -> Row:
        row: Row = {"distance": tree_ring.distance(seen, self.ring), "exact": None}
        row["log10_p"] = 0.0
        if self.blind is not None:
            row["log10_p"] = self.blind(seen, self.key, told)
            row["null"] = self.blind(seen, self.other, None)
        return row


class Ours(InNoise):
    """`noise`, as effort "normal" looks; quick runs look once, as the peers do."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, peers.OURS, "ours")
        self.looks: Sequence[tuple[int, float]] = ((studio.steps_back, 1.0),)
        if studio.full:
            self.looks = LOOKS["normal"]

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`. A picture of another size has another code."""
        rows: dict[str, Row] = {n: {"log10_p": 0.0, "exact": False} for n in pictures}
        fits = [n for n, p in pictures.items() if p.shape == pictures["none"].shape]
        for steps, share in self.looks:
            left = [n for n in fits if rows[n]["log10_p"] > math.log10(FPR)]
            seen = self.studio.inversion.noise([pictures[n] for n in left], steps=steps)
            for name, estimate in zip(left, seen, strict=True):
                row = rows[name]
                score = peers.our_score(estimate, self.key)
                log10_p = min(0.0, score.log10_p() - math.log10(share))
                if log10_p < row["log10_p"]:
                    row |= {"log10_p": log10_p, "exact": score.payload == told[1]}
                other = peers.our_score(estimate, self.other)
                null = other.log10_p() - math.log10(share)
                row["null"] = min(row.get("null", 0.0), null)
                if steps == self.studio.steps_back:
                    row["distance"] = tree_ring.distance(estimate, self.ring)
        return rows


class Searched(InNoise):
    """`noise` by a `Verifier` of effort "thorough", which tries what was moved."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, peers.OURS, "ours")
        self.verifier = Verifier(
            None,
            keys=self.key.record,
            pipeline=studio.inversion.one,
            effort="thorough",
        )

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`."""
        return {
            name: _judged(self.verifier, pixels, told[1])
            for name, pixels in pictures.items()
        }


def _judged(verifier: Verifier, pixels: Pixels, mark_id: bytes) -> Row:
    marks = [e for e in verifier(Image.fromarray(pixels)).evidence if e.layer == "mark"]
    return {
        "log10_p": min((e.log10_p or 0.0 for e in marks), default=0.0),
        "exact": any(e.payload == mark_id for e in marks),
    }


class InLatents:
    """`latent`: in the final latents, read back by the autoencoder alone."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        keys = [
            seeded_key("robustness", studio.seed, "latent", what)
            for what in ("marked", "other")
        ]
        self.record = SCHEMES[adapter.DEFAULT_SCHEME].record(keys[0])
        self.ours, self.others = (
            Verifier(
                None,
                keys=[r for r in default_records(key) if r.scheme == "latent"],
                pipeline=studio.inversion.one,
            )
            for key in keys
        )

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`."""
        draws = [self.studio.draw(index) for index in indices]
        with adapter.attach(
            *(self.studio.pipe, self.record, lambda records, outputs: None),
            provider="benchmark",
            layers=("latent",),
        ) as attachment:
            pictures = self.studio.generated(draws, indices)
        ids = [record.marks[0].mark_id for record in attachment.records]
        return list(zip(pictures, ids, strict=True))

    def plain(self, index: int) -> Pixels:
        """See `Subject`."""
        return self.studio.plain(index)

    def test(self, pictures: Mapping[str, Pixels], told: bytes) -> dict[str, Row]:
        """See `Subject`."""
        return {name: self._row(pixels, told) for name, pixels in pictures.items()}

    def _row(self, pixels: Pixels, told: bytes) -> Row:
        null = _judged(self.others, pixels, told)["log10_p"]
        return {**_judged(self.ours, pixels, told), "null": null}


class InPixels:
    """`pixel`, on the finished picture."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.code, self.other = (
            pixel.Code(
                pixel.SCHEME.record(
                    seeded_key("robustness", studio.seed, "pixel", what)
                )
            )
            for what in ("marked", "other")
        )

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`."""
        made = (pixel.mark(self.plain(index), self.code) for index in indices)
        return [(marked, mark_id) for marked, _, mark_id in made]

    def plain(self, index: int) -> Pixels:
        """See `Subject`."""
        return dwtdct.enlarged(self.studio.plain(index))

    def test(self, pictures: Mapping[str, Pixels], told: bytes) -> dict[str, Row]:
        """See `Subject`."""
        rows: dict[str, Row] = {}
        for place, (name, pixels) in enumerate(pictures.items()):
            score = pixel_detector.search(pixels, self.code)
            exact = score.payload == told
            rows[name] = {"log10_p": score.log10_p(), "exact": exact}
            if (told[0] + place) % EVERY == 0:  # in turn
                null = pixel_detector.search(pixels, self.other)
                rows[name]["null"] = null.log10_p()
        return rows


class Public(InPixels):
    """diffusers' own: bits that everybody knows, so there is no other key."""

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`. What is told is the unmarked picture."""
        plain = [self.plain(index) for index in indices]
        return [(dwtdct.mark(one), one) for one in plain]

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`. Without a key to change, it reads the unmarked picture."""
        rows: dict[str, Row] = {
            name: {"log10_p": dwtdct.log10_p(pixels), "exact": None}
            for name, pixels in pictures.items()
        }
        rows["none"]["null"] = dwtdct.log10_p(told)
        return rows


# Every scheme and peer by its name; toolkits that run elsewhere are added to the suite
# as a whole (`benchmarks.robustness.SUITES`).
OURS = ("noise", SEARCHED, "latent", "pixel")
SUBJECTS: Mapping[str, Callable[[Studio], Subject]] = {
    "noise": Ours,
    SEARCHED: Searched,
    "latent": InLatents,
    "pixel": InPixels,
    SHADING: partial(
        InNoise, peer=peers.SHADING, blind="Gaussian Shading, frozen nonce"
    ),
    "PRC": partial(InNoise, peer=peers.PRC, blind="PRC"),
    "Tree-Ring-rand": partial(InNoise, peer=peers.RAND, blind="Tree-Ring rand, exact"),
    RING: partial(InNoise, peer=peers.RING, blind=None),
    DWT: Public,
}
NOISE = frozenset(SUBJECTS) - {
    SEARCHED,
    "latent",
    "pixel",
    DWT,
}  # whose mark is in the noise
