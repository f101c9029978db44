"""How each scheme of the image suite marks, and tests what attacks left.

To add one: write its class, add its line to `SUBJECTS`.
"""

from __future__ import annotations

import functools
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
from benchmarks.robustness.unmarked import UNMARKED
from watermark.detectors import pixel as pixel_detector
from watermark.detectors.foreign import tree_ring
from watermark.keys import Key
from watermark.pipelines import diffusers as adapter
from watermark.schemes import SCHEMES, default_records, pixel
from watermark.verification import LOOKS
from watermark.verifier import Verifier

SEARCHED = "noise-thorough"
RING = "Tree-Ring"
DWT = "DWT-DCT"
EVERY = 4  # of attacks one is also tested with another key: it takes long
SELDOM = 16  # of attacks on unmarked pictures one is shown to `latent`, and `pixel`
ANOTHER = 500_000  # this much further is the draw of another unmarked picture
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
    """A peer of `benchmarks.diffusion.peers`. What is told has the index before it.

    Args:
        studio: where pictures are made.
        peer: the scheme.
        blind: the test that the key alone suffices for, or None.
    """

    def __init__(self, studio: Studio, peer: peers.Peer, blind: str | None) -> None:
        self.studio, self.peer = studio, peer
        self.key = peer.key(f"robustness/{studio.seed}/marked", studio.shape)
        self.other = functools.lru_cache(1)(self._other)
        self.blind = peer.blind[blind] if blind is not None else None
        seed = f"robustness/{studio.seed}/marked"
        self.ring = peers.RING.key(seed, studio.shape)

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`."""
        draw, key = self.studio.draw, self.key
        noises = [self.peer.mark(draw(index), key, index) for index in indices]
        pictures = self.studio.generated([noise for noise, _ in noises], indices)
        told = ((i, what) for i, (_, what) in zip(indices, noises, strict=True))
        return list(zip(pictures, told, strict=True))

    def plain(self, index: int) -> Pixels:
        """See `Subject`."""
        return self.studio.plain(index)

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`. Peers' own detectors resize what comes to the right size."""
        seen = _estimates(self.studio, pictures)
        return {
            name: self._row(estimate, place, *told)
            for place, (name, estimate) in enumerate(seen.items())
        }

    def _row(self, seen: NDArray[np.float32], place: int, index: int, told: Any) -> Row:
        row: Row = {"distance": tree_ring.distance(seen, self.ring), "exact": None}
        row["log10_p"] = 0.0
        if self.blind is not None:
            row["log10_p"] = self.blind(seen, self.key, told)
            if _turn(index, place):
                row["null"] = self.without(seen, index)
        if self.peer.read is not None:
            row["exact"] = self.peer.read(seen, self.key, told)
        return row

    def without(self, seen: NDArray[np.float32], index: int) -> float:
        """log10 p under a key that marked nothing: another for each sample."""
        return self.blind(seen, self.other(index), None) if self.blind else 0.0

    def _other(self, index: int) -> Any:
        seed = f"robustness/{self.studio.seed}/other/{index}"
        return self.peer.key(seed, self.studio.shape)


def _turn(index: int, place: int) -> bool:
    """Whether an attack is one of those also tested with another key."""
    return (index + place) % EVERY == 0


def _estimates(
    studio: Studio, pictures: Mapping[str, Pixels]
) -> dict[str, NDArray[np.float32]]:
    """The noise of each, at the size of the one that was not attacked."""
    like = pictures["none"]
    same = [p if p.shape == like.shape else brought(p, like) for p in pictures.values()]
    seen = studio.inversion.noise(same, steps=studio.steps_back)
    return dict(zip(pictures, seen, strict=True))


class Ours(InNoise):
    """`noise`, as effort "normal" looks; quick runs look once, as the peers do."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, peers.OURS, "ours")
        self.looks: Sequence[tuple[int, float]] = ((studio.steps_back, 1.0),)
        if studio.full:
            self.looks = LOOKS["normal"]

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`. A picture of another size has another code."""
        index, (_, mark_id) = told
        nothing = {"log10_p": 0.0, "exact": False, "told": False}
        rows: dict[str, Row] = {name: dict(nothing) for name in pictures}
        turns = {name for place, name in enumerate(pictures) if _turn(index, place)}
        fits = [n for n, p in pictures.items() if p.shape == pictures["none"].shape]
        for steps, share in self.looks:
            left = [n for n in fits if rows[n]["log10_p"] > math.log10(FPR)]
            seen = self.studio.inversion.noise([pictures[n] for n in left], steps=steps)
            for name, estimate in zip(left, seen, strict=True):
                row = rows[name]
                score = peers.our_score(estimate, self.key)
                log10_p = min(0.0, score.log10_p() - math.log10(share))
                if log10_p < row["log10_p"]:
                    row |= {"log10_p": log10_p, **_read(score.payload, mark_id)}
                if name in turns:
                    null = self.without(estimate, index) - math.log10(share)
                    row["null"] = min(row.get("null", 0.0), null)
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
            name: _judged(self.verifier, pixels, told[1][1])
            for name, pixels in pictures.items()
        }


def _judged(verifier: Verifier, pixels: Pixels, mark_id: bytes) -> Row:
    marks = [e for e in verifier(Image.fromarray(pixels)).evidence if e.layer == "mark"]
    return {
        "log10_p": min((e.log10_p or 0.0 for e in marks), default=0.0),
        "exact": any(e.payload == mark_id for e in marks),
        "told": any(e.payload for e in marks),
    }


def _read(payload: bytes | None, mark_id: bytes) -> Row:
    return {"exact": payload == mark_id, "told": bool(payload)}


class InLatents:
    """`latent`: in the final latents, read back by the autoencoder alone."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        keys = [
            seeded_key("robustness", studio.seed, "latent", what)
            for what in ("marked", "other")
        ]
        self.record = SCHEMES[adapter.DEFAULT_SCHEME].record(keys[0])
        self.ours, self.others = map(self._verifier, keys)

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
        others = self.without(told.hex())
        rows: dict[str, Row] = {}
        for place, (name, pixels) in enumerate(pictures.items()):
            rows[name] = _judged(self.ours, pixels, told)
            if _turn(told[0], place):
                rows[name]["null"] = _judged(others, pixels, told)["log10_p"]
        return rows

    def without(self, sample: object) -> Verifier:
        """Of a key that marked nothing: another for each sample."""
        return self._verifier(
            seeded_key("robustness", self.studio.seed, "latent", "other", sample)
        )

    def _verifier(self, key: Key) -> Verifier:
        return Verifier(
            None,
            keys=[r for r in default_records(key) if r.scheme == "latent"],
            pipeline=self.studio.inversion.one,
        )


class InPixels:
    """`pixel`, on the finished picture."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.code, self.other = map(self._code, ("marked", "other"))

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
        other = self.without(told.hex())
        for place, (name, pixels) in enumerate(pictures.items()):
            score = pixel_detector.search(pixels, self.code)
            rows[name] = {"log10_p": score.log10_p(), **_read(score.payload, told)}
            if _turn(told[0], place):
                rows[name]["null"] = pixel_detector.search(pixels, other).log10_p()
        return rows

    def without(self, sample: object) -> pixel.Code:
        """Of a key that marked nothing: another for each sample."""
        return self._code("other", sample)

    def _code(self, *what: object) -> pixel.Code:
        key = seeded_key("robustness", self.studio.seed, "pixel", *what)
        return pixel.Code(pixel.SCHEME.record(key))


class Public(InPixels):
    """diffusers' own: bits that everybody knows, so there is no other key."""

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`."""
        return [(dwtdct.mark(self.plain(index)), None) for index in indices]

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `Subject`. Told: the unmarked picture after each of the attacks.

        There is no key to change, so those are read instead.
        """
        return {
            name: {
                "log10_p": dwtdct.log10_p(pixels),
                "exact": None,
                "null": dwtdct.log10_p(told[name]),
            }
            for name, pixels in pictures.items()
        }


class Unmarked:
    """Pictures that nobody marked, under the keys of every scheme.

    Each sample has keys of its own; the schemes whose tests take long look in turn.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        made = {name: SUBJECTS[name](studio) for name in NOISE}
        self.noise = {n: s for n, s in made.items() if isinstance(s, InNoise)}
        self.latents, self.pixels = InLatents(studio), InPixels(studio)

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `Subject`. Told is the index."""
        return [(self.studio.plain(index), index) for index in indices]

    def plain(self, index: int) -> Pixels:
        """See `Subject`. Of another draw, to say by how much those differ."""
        return self.studio.plain(ANOTHER + index)

    def test(self, pictures: Mapping[str, Pixels], told: int) -> dict[str, Row]:
        """See `Subject`. ``null`` is of one of our schemes, ``under`` of all."""
        seen = _estimates(self.studio, pictures)
        latents = self.latents.without(f"unmarked {told}")
        pixels = self.pixels.without(f"unmarked {told}")
        rows: dict[str, Row] = {}
        for place, (name, picture) in enumerate(pictures.items()):
            under = {
                scheme: one.without(seen[name], told)
                for scheme, one in self.noise.items()
                if one.blind is not None
            }
            turn, chosen = (told + place) % SELDOM, "noise"
            if turn == 0:
                chosen = "pixel"
                score = pixel_detector.search(picture, pixels)
                under[chosen] = score.log10_p()
            elif turn == SELDOM // 2:
                chosen = "latent"
                under[chosen] = _judged(latents, picture, b"")["log10_p"]
            rows[name] = {
                "log10_p": under[chosen],
                "exact": None,
                "null": under[chosen],
                "under": under,
                "distance": tree_ring.distance(seen[name], self.noise[RING].ring),
            }
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
    UNMARKED: Unmarked,
}
FINISHED = ("latent", "pixel")
CARRIERS = frozenset({*OURS, SHADING, "PRC"})  # of payloads
NOISE = tuple(  # whose mark is in the noise
    name for name in SUBJECTS if name not in (SEARCHED, *FINISHED, DWT, UNMARKED)
)
