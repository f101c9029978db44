"""Ours against each peer: same model, prompts, noise, attacks, inversion and rate.

Each peer marks the same draws of noise under one key; its pictures are attacked and
inverted alike; its tests are counted as found at 1e-6. Tests with a p-value over the
key's draw need no fit. Tree-Ring's distance has none: its threshold is fitted, row by
row, on the pictures of the other peers under the same attack, which is more than any
verifier knows. Two tables: blind, with one key and nothing else, and told, where each
test is given the picture's nonce and message.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.diffusion import attacks, dwtdct, peers
from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.diffusion.inversion import Inversion
from benchmarks.diffusion.peers import OURS, PEERS, RAND, RING, Peer
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded, weights_sha256
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from watermark import invert
from watermark.detectors import places
from watermark.detectors.foreign import tree_ring
from watermark.detectors.foreign.tree_ring import Fitted
from watermark.verification import geometry
from watermark.verification.geometry import MOST, Candidate, candidates, whole
from watermark.verification.setting import GEOMETRY, GEOMETRY_STEPS, LOOKS

FPR = 1e-6
QUICK, FULL = (20, 10), (50, 50)  # steps of generation, of inversion
EFFORT = "thorough"
SEARCHED = f"{OURS.name}, with its search"  # what `verify` looks at with EFFORT
DISTANCES = {RING.name: f"{RING.name}, fitted", RAND.name: f"{RAND.name}, fitted"}
PUBLIC = "DWT-DCT, public bits"
BLIND = (
    *(SEARCHED, OURS.name),
    *("Gaussian Shading, as published", "Gaussian Shading, frozen nonce"),
    *("PRC", DISTANCES[RING.name], DISTANCES[RAND.name], "Tree-Ring rand, exact"),
)
TOLD = (
    *(OURS.name, "Gaussian Shading, bits", "Gaussian Shading, every sign"),
    *("PRC, every sign", "Tree-Ring rand, exact"),
)

Pixels = NDArray[np.uint8]
Row = dict[str, Any]


def measure(options: Options) -> Part:
    """Mark, generate, attack, invert, test, count.

    Raises:
        Unavailable: there is no pipeline.
    """
    sha256 = weights_sha256(options.pipeline)
    count = options.count(2, 100)
    steps, inversion = FULL if options.full else QUICK
    identity = {
        "code": code_version(
            (*peers.MODULES, invert, geometry, places),
            *(f"diffusion/{name}.py" for name in ("robustness", "inversion")),
            *(f"diffusion/{name}.py" for name in ("peers", "prc")),
            *("diffusion/attacks.py", "attacks/image.py", "diffusion/dwtdct.py"),
        ),
        "steps": [steps, inversion],
        "model": sha256,
        "seed": options.seed,
        "dwtdct": dwtdct.installed(),
    }
    names = [peer.name for peer in PEERS]
    ids = [f"{name}/{index}" for index in range(count) for name in names]
    with Journal(options.work, "diffusion-robustness", identity) as journal:
        missing = journal.missing(ids)
        if missing:
            bench = Bench(options, steps, inversion)
            for name in options.track(missing, "robustness"):
                peer, index = name.split("/")
                journal.add(name, bench.row(peer, int(index)))
        rows = {
            name: [journal.rows[f"{name}/{index}"] for index in range(count)]
            for name in names
        }
        new = journal.added
    return Part(
        parameters={
            "pictures of each": count,
            "steps": steps,
            "inversion steps": inversion,
            "model": sha256[:12],
        },
        targets=tuple(_targets(rows)),
        tables=_tables(rows),
        notes=(
            "Robustness: shares found at 1e-6 with Clopper-Pearson intervals at 95 %, "
            f"{count} pictures of each scheme, the same draws of noise and prompts. "
            "Inversion knows no prompt and guidance 1. All rates of false positives "
            "are of p-values over the key's draw, PRC's by the tighter bound of ours.",
            "Gaussian Shading as published has a nonce for each picture and no way to "
            "find it: blind it finds nothing by definition. With a frozen nonce all "
            "pictures share one stream of signs, which anyone can learn from them.",
            "Tree-Ring's distance has no p-value: its threshold is a normal fit to "
            f"{(len(PEERS) - 1) * count} pictures of the other schemes for each row, "
            "so 1e-6 is an extrapolation there. Radius 10 as published for latents "
            "four times as large, which gives it a share four times as large.",
        ),
        new=new,
        reused=len(ids) - new,
    )


class Bench:
    """The pipeline, its inversion, and one key of every peer."""

    def __init__(self, options: Options, steps: int, inversion: int) -> None:
        self.pipe = load_pipeline(options.pipeline)
        self.attacks = attacks.listed(self.pipe, steps)
        self.steps, self.inversion, self.seed = steps, inversion, options.seed
        self.back = Inversion(self.pipe)
        size = int(self.pipe.unet.config.sample_size)
        self.shape = (int(self.pipe.unet.config.in_channels), size, size)
        seed = f"robustness/{options.seed}"
        self.keys = {peer.name: peer.key(seed, self.shape) for peer in PEERS}

    def draw(self, index: int) -> NDArray[np.float32]:
        """The noise that every peer marks."""
        seed = seeded("robustness", self.seed, index)[:8]
        start = int.from_bytes(seed, "little") >> 1
        generator = torch.Generator().manual_seed(start)
        drawn: NDArray[np.float32] = torch.randn(
            self.shape, generator=generator
        ).numpy()
        return drawn

    def generate(self, noise: NDArray[np.floating], index: int) -> Pixels:
        """The picture of one noise, in 8 bits."""
        image = self.pipe(
            PROMPT.format(CLASSES[index % len(CLASSES)]),
            num_inference_steps=self.steps,
            latents=torch.from_numpy(noise.astype(np.float32))[None],
        ).images[0]
        return np.asarray(image, dtype=np.uint8)

    def row(self, name: str, index: int) -> Row:
        """One picture of one peer, along every attack."""
        peer = next(peer for peer in PEERS if peer.name == name)
        key = self.keys[name]
        marked, told = peer.mark(self.draw(index), key, index)
        picture = self.generate(marked, index)
        found: dict[str, Row] = {}
        unmarked: dict[str, float] = {}
        attacked = [change(picture, index) for change in self.attacks.values()]
        estimates = self.back.noise(attacked, steps=self.inversion)
        # The estimate that every peer's tests are given.
        for attack, pixels, seen in zip(self.attacks, attacked, estimates, strict=True):
            blind = {what: test(seen, key, told) for what, test in peer.blind.items()}
            if peer is OURS:
                found_so = self._searched(pixels)
                blind[SEARCHED] = found_so[0]
                read_so = _rate(found_so[:1]).hits == 1 and found_so[1] == told[1]
            found[attack] = {
                "rho": float(np.corrcoef(marked.reshape(-1), seen.reshape(-1))[0, 1]),
                "blind": blind,
                "told": {w: test(seen, key, told) for w, test in peer.told.items()},
                "distance": {
                    ring: tree_ring.distance(seen, self.keys[ring])
                    for ring in DISTANCES
                },
            }
            if peer.read is not None:
                found[attack]["read"] = peer.read(seen, key, told)
            if peer is OURS:
                found[attack]["read, searched"] = read_so
            if attack == "none":
                unmarked = self._unmarked(peer, seen)
        if peer is OURS and dwtdct.installed():
            public = dwtdct.mark(dwtdct.enlarged(picture))
            for attack, change in self.attacks.items():
                found[attack]["public"] = dwtdct.log10_p(change(public, index))
        return {"attacks": found, "unmarked": unmarked}

    def _searched(self, pixels: Pixels) -> tuple[float, bytes | None]:
        """Log10 p of ours with all the looks of EFFORT, all counted; the id it tells.

        Of the look that is best; none after it found the mark.
        """
        key = self.keys[OURS.name]
        best: tuple[float, bytes | None] = 0.0, None
        for steps, share in LOOKS[EFFORT]:
            seen = self.back.one.noise(pixels, steps=steps)
            best = _better(best, seen, whole("", pixels), key, share)
            if best[0] <= math.log10(FPR):
                return best
        share = GEOMETRY[EFFORT] / MOST
        cell = pixels.shape[0] // self.shape[-2]
        for candidate in candidates(pixels, cell=cell):
            if not candidate.places:
                continue
            seen = self.back.one.noise(candidate.pixels, steps=GEOMETRY_STEPS)
            if seen.shape == self.shape:
                best = _better(best, seen, candidate, key, share)
            if best[0] <= math.log10(FPR):
                break
        return best

    def _unmarked(self, own: Peer, seen: NDArray[np.float32]) -> dict[str, float]:
        """What the other peers' tests say of a picture that is not theirs."""
        return {
            what: test(seen, self.keys[peer.name], None)
            for peer in PEERS
            if peer is not own
            for what, test in peer.blind.items()
        }


def _better(
    before: tuple[float, bytes | None],
    seen: NDArray[np.float32],
    candidate: Candidate,
    code: Any,
    share: float,
) -> tuple[float, bytes | None]:
    """Log10 p and id of ours at the best place of a candidate, or those before."""

    def at(place: int) -> NDArray[np.float32]:
        return candidate.masked(seen, place)

    found, _ = places.score(at, len(candidate.places), code)
    p = found.log10_p() - math.log10(share)
    return (p, found.payload) if p < before[0] else before


def _tables(rows: Mapping[str, list[Row]]) -> tuple[Table, ...]:
    public = "public" in rows[OURS.name][0]["attacks"]["none"]
    return (
        _found(rows, "Blind: found at 1e-6", (*BLIND, *((PUBLIC,) if public else ()))),
        _found(rows, "Told nonce and message: found at 1e-6", TOLD),
        _read(rows),
        _unmarked(rows),
    )


def _attacks(rows: Mapping[str, list[Row]]) -> list[str]:
    return list(rows[OURS.name][0]["attacks"])


def _tails(
    rows: Mapping[str, list[Row]], test: str, attack: str, kind: str
) -> list[float]:
    """log10 p of one test, for each picture of its own peer."""
    if test == PUBLIC:
        return [row["attacks"][attack]["public"] for row in rows[OURS.name]]
    for ring, name in DISTANCES.items():
        if test == name:
            others = [
                row["attacks"][attack]["distance"][ring]
                for peer in rows
                if peer != ring
                for row in rows[peer]
            ]
            fitted = Fitted.of(others)
            return [
                fitted.log10_tail(row["attacks"][attack]["distance"][ring])
                for row in rows[ring]
            ]
    (own,) = (p for p in rows if test in rows[p][0]["attacks"][attack][kind])
    return [row["attacks"][attack][kind][test] for row in rows[own]]


def _rate(tails: Iterable[float]) -> Rate:
    found = [tail <= math.log10(FPR) for tail in tails]
    return Rate(sum(found), len(found))


def _short(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{rate.value:.2f} [{low:.2f}, {high:.2f}]"


def _found(rows: Mapping[str, list[Row]], title: str, tests: tuple[str, ...]) -> Table:
    kind = "told" if tests is TOLD else "blind"
    shown: list[tuple[Cell, ...]] = []
    for attack in _attacks(rows):
        rho = statistics.fmean(row["attacks"][attack]["rho"] for row in rows[OURS.name])
        rates = (_short(_rate(_tails(rows, test, attack, kind))) for test in tests)
        shown.append((attack, rho, *rates))
    note = (
        "Signs that are all known are one channel: what differs is the statistic. "
        "Tree-Ring has nothing to be told."
        if kind == "told"
        else "rho: of ours, the picture as it came. " + _behind(rows)
    )
    return Table(title, ("attack", "rho", *tests), tuple(shown), note)


def _behind(rows: Mapping[str, list[Row]]) -> str:
    """On which rows another blind test finds more than ours, in words."""
    said = []
    for attack in _attacks(rows):
        ours = _rate(_tails(rows, SEARCHED, attack, "blind"))
        better = [
            test
            for test in BLIND
            if test != OURS.name
            and _rate(_tails(rows, test, attack, "blind")).hits > ours.hits
        ]
        if better:
            said.append(f"{attack} (behind {', '.join(better)}): {_why(rows, attack)}")
    return f"Behind on: {'; '.join(said)}." if said else "Behind on no row."


def _why(rows: Mapping[str, list[Row]], attack: str) -> str:
    told = _rate(_tails(rows, OURS.name, attack, "told"))
    blind = _rate(_tails(rows, OURS.name, attack, "blind"))
    if told.hits > blind.hits:
        return (
            f"told nonce and mark id ours finds {_short(told)}; blind it pays for the "
            "2^20 nonces and 2^64 mark ids tried, which one pattern for all pictures "
            "need not"
        )
    return (
        "signs have a place, and not every shift, scale and angle is searched; low "
        "frequencies move less"
    )


def _read(rows: Mapping[str, list[Row]]) -> Table:
    readers = [peer for peer in PEERS if peer.read is not None]
    shown: list[tuple[Cell, ...]] = []
    for attack in _attacks(rows):
        rates = (
            Rate(
                sum(row["attacks"][attack]["read"] for row in rows[peer.name]),
                len(rows[peer.name]),
            )
            for peer in readers
        )
        own = [row["attacks"][attack]["read, searched"] for row in rows[OURS.name]]
        searched = Rate(sum(own), len(own))
        shown.append((attack, _short(searched), *map(_short, rates)))
    columns = (f"{p.name}, told {p.needs}" if p.needs else p.name for p in readers)
    return Table(
        "64 bits read exactly",
        ("attack", SEARCHED, *columns),
        tuple(shown),
        "All but the first without any search. Ours is counted where the detector "
        "tells the mark id: where the joint statistic decides at 1e-6.",
    )


def _unmarked(rows: Mapping[str, list[Row]]) -> Table:
    found: dict[str, list[float]] = {}
    for peer in rows:
        for row in rows[peer]:
            for test, tail in row["unmarked"].items():
                found.setdefault(test, []).append(tail)
    shown: list[tuple[Cell, ...]] = []
    for test, tails in found.items():
        rates = (
            str(Rate(sum(tail <= math.log10(alpha) for tail in tails), len(tails)))
            for alpha in (1e-1, 1e-2)
        )
        shown.append((test, *rates, min(tails)))
    return Table(
        "Other peers' pictures under a key: realised rates",
        ("test", "p at most 0.1", "p at most 0.01", "least log10 p"),
        tuple(shown),
    )


def _targets(rows: Mapping[str, list[Row]]) -> list[Target]:
    """Ahead of each peer on every blind row, or the row says why not."""

    def behind(test: str) -> int:
        pairs = (
            [_rate(_tails(rows, t, attack, "blind")).hits for t in (test, SEARCHED)]
            for attack in _attacks(rows)
        )
        return sum(theirs > ours for theirs, ours in pairs)

    return [
        Target.at_most(
            f"robustness, blind rows on which ours is behind {test}",
            behind(test),
            0,
            f"of {len(_attacks(rows))}",
        )
        for test in BLIND
        if test not in (SEARCHED, OURS.name)
    ]
