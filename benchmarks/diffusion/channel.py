"""The code alone: found noise as a Gaussian channel, ours and each peer's beside it.

The noise found is ``rho z + sqrt(1 - rho^2) e`` with e ~ N(0, I), as an inversion that
keeps a share of the truth leaves it; n = 16,384 as in Stable Diffusion at 512 x 512.
Each peer's implementation has to give back the curve that was measured of its published
code (`REFERENCE`), before any comparison with it counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.diffusion import peers, prc
from benchmarks.diffusion.peers import OURS, PRC, SHADING, Peer
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded
from benchmarks.rates import Rate, clopper_pearson
from benchmarks.report import Cell, Part, Plot, Table, Target
from watermark.detectors.foreign import gaussian_shading as shading

SHAPE = (4, 64, 64)
FPR = 1e-6
NEAR = 0.03
RHOS = (0.08, 0.10, 0.13, 0.15, 0.155, 0.17, 0.20, 0.25, 0.30, 0.40, 0.45, 0.50, 0.60)
PER_KEY = 20  # draws under one key
TRIALS = 60  # behind each rate of REFERENCE
OURS_UP_TO = 0.25  # beyond it ours is always found

# Of the published codes at SHAPE and a nominal 1e-6: by rho, found and right bits.
REFERENCE: dict[str, dict[float, float]] = {
    "Gaussian Shading, hard: found": {
        **{0.08: 0.60, 0.10: 0.95, 0.15: 1, 0.20: 1, 0.25: 1, 0.30: 1},
        **{0.40: 1, 0.45: 1, 0.50: 1},
    },
    "Gaussian Shading, hard: bits": {
        **{0.08: 0.656, 0.10: 0.694, 0.15: 0.783, 0.20: 0.849, 0.25: 0.907},
        **{0.30: 0.940, 0.40: 0.984, 0.45: 0.993, 0.50: 0.997},
    },
    "Gaussian Shading, soft: found": {
        **{0.08: 0.85, 0.10: 1, 0.15: 1, 0.20: 1, 0.25: 1, 0.30: 1},
        **{0.40: 1, 0.45: 1, 0.50: 1},
    },
    "Gaussian Shading, soft: bits": {
        **{0.08: 0.692, 0.10: 0.738, 0.15: 0.839, 0.20: 0.902, 0.25: 0.950},
        **{0.30: 0.976, 0.40: 0.997, 0.45: 0.999, 0.50: 1},
    },
    "PRC: found": {
        **{0.08: 0, 0.10: 0, 0.15: 0, 0.20: 0, 0.25: 0, 0.30: 0},
        **{0.40: 0.07, 0.45: 0.42, 0.50: 0.97},
    },
}


def measure(options: Options) -> Part:
    """Rates by rho, and how near each peer's are to the published code's."""
    per_rho = options.count(40, 1000)
    blocks = -(-per_rho // PER_KEY)
    ids = [f"{rho}/{block}" for block in range(blocks) for rho in RHOS]
    identity = {
        "code": code_version(
            peers.MODULES,
            *("diffusion/channel.py", "diffusion/peers.py", "diffusion/prc.py"),
        ),
        "seed": options.seed,
    }
    with Journal(options.work, "diffusion-channel", identity) as journal:
        keys = _Keys(options.seed)
        missing = journal.missing(ids)
        for name in options.track(missing, "channel"):
            journal.add(name, _block(name, keys, options.seed))
        rows = [(float(name.split("/")[0]), journal.rows[name]) for name in ids]
        new = journal.added
    sums = {rho: _added(row for at, row in rows if at == rho) for rho in RHOS}
    return Part(
        parameters={"channel draws per rho": blocks * PER_KEY},
        targets=tuple(_targets(sums)),
        tables=(_rates(sums), _reproduced(sums)),
        plots=(_plot(sums),),
        notes=(
            "Channel: ours and PRC know the key alone; Gaussian Shading knows nonce "
            "and message too. Found: p at most 1e-6, for peers by their papers' rules.",
        ),
        new=new,
        reused=len(ids) - new,
    )


class _Keys:
    """Keys of each block, made once: PRC's takes a second."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._block = -1
        self._found: dict[str, Any] = {}

    def of(self, peer: Peer, block: int) -> Any:
        if block != self._block:
            self._block, self._found = block, {}
        if peer.name not in self._found:
            seed = f"channel/{self._seed}/{block}"
            self._found[peer.name] = (
                # 512 bits, as the published curve has.
                peers.prc_key(seed, SHAPE, message_bits=512)
                if peer is PRC
                else peer.key(seed, SHAPE)
            )
        return self._found[peer.name]


def _block(name: str, keys: _Keys, seed: int) -> dict[str, float]:
    """Counts over the draws of one key."""
    rho, block = float(name.split("/")[0]), int(name.split("/")[1])
    rng = np.random.default_rng(
        int.from_bytes(seeded("channel", seed, name)[:8], "little")
    )
    found: dict[str, float] = {"draws": PER_KEY}
    for index in range(block * PER_KEY, (block + 1) * PER_KEY):
        for peer in (OURS, SHADING, PRC):
            if peer is OURS and rho > OURS_UP_TO:
                continue
            key = keys.of(peer, block)
            drawn = rng.standard_normal(SHAPE)
            marked, told = peer.mark(drawn, key, index)
            noise = rng.standard_normal(SHAPE)
            seen = rho * marked + math.sqrt(1 - rho * rho) * noise
            for what, value in _seen(peer, seen, key, told):
                found[what] = found.get(what, 0.0) + float(value)
    return found


def _seen(peer: Peer, seen: Any, key: Any, told: Any) -> Iterator[tuple[str, float]]:
    """What one draw adds to each count."""
    if peer is OURS:
        score = peers.our_score(seen, key)
        yield "ours: found", score.log10_p() <= math.log10(FPR)
        yield "ours: id exact", score.payload == told[1]
    elif peer is SHADING:
        least = accepted(key.bits)
        for how, read in (("hard", shading.read), ("soft", shading.read_soft)):
            right = int(np.sum(read(seen, key) == told))
            yield f"Gaussian Shading, {how}: found", right >= least
            yield f"Gaussian Shading, {how}: bits", right / key.bits
    else:
        flat = seen.reshape(-1)
        yield "PRC: found", prc.ln_p(key, flat) <= math.log(FPR)


def accepted(bits: int) -> int:
    """Fewest right bits whose rate is at most 1e-6; the published code takes one less.

    The reference's curve was taken with this one.
    """
    return next(k for k in range(bits) if float(binom.sf(k - 1, bits, 0.5)) <= FPR)


def closed_form(what: str, rho: float, bits: int = 256) -> float | None:
    """What Gaussian Shading's rates are exactly in this channel; None of PRC's.

    Hard: a number is right with probability 1/2 + arcsin(rho) / pi, and a tied vote in
    half of the cases. Soft: the sum of a bit's numbers, taken for normal.
    """
    if what.startswith("PRC"):
        return None
    copies = math.prod(SHAPE) // bits
    if "hard" in what:
        right = 0.5 + math.asin(rho) / math.pi
        tie = float(binom.pmf(copies // 2, copies, right))
        bit = float(binom.sf(copies // 2, copies, right)) + tie / 2
    else:
        mean = rho * math.sqrt(2 / math.pi)
        t = mean * math.sqrt(copies / (1 - mean * mean))
        bit = 0.5 * math.erfc(-t / math.sqrt(2))
    return (
        bit if what.endswith("bits") else float(binom.sf(accepted(bits) - 1, bits, bit))
    )


def _added(rows: Iterator[dict[str, float]]) -> dict[str, float]:
    whole: dict[str, float] = {}
    for row in rows:
        for what, value in row.items():
            whole[what] = whole.get(what, 0.0) + value
    return whole


def _rate(sums: dict[float, dict[str, float]], what: str, rho: float) -> Rate | None:
    row = sums[rho]
    return Rate(round(row[what]), round(row["draws"])) if what in row else None


def _targets(sums: dict[float, dict[str, float]]) -> Iterator[Target]:
    for what, curve in REFERENCE.items():
        raw = max(abs(_value(sums, what, rho) - v) for rho, v in curve.items())
        beyond = max(_beyond(sums, what, rho) for rho in curve)
        yield Target.at_most(
            f"channel, {what}: gap to the published code's, beyond chance",
            beyond,
            NEAR,
            f"largest raw gap {raw:.3g}; chance: the 95 % intervals of both rates",
        )


def _beyond(sums: dict[float, dict[str, float]], what: str, rho: float) -> float:
    """How far apart the 95 % intervals are; the reference's rates are of 60 draws."""
    value, measured = REFERENCE[what][rho], _value(sums, what, rho)
    if not what.endswith("found"):
        return abs(measured - value)
    rate = _rate(sums, what, rho)
    assert rate is not None
    low, high = clopper_pearson(round(value * TRIALS), TRIALS)
    least, most = rate.interval()
    return max(low - most, least - high, 0.0)


def _value(sums: dict[float, dict[str, float]], what: str, rho: float) -> float:
    return sums[rho][what] / sums[rho]["draws"]


def _rates(sums: dict[float, dict[str, float]]) -> Table:
    whats = ("ours: found", "ours: id exact", *REFERENCE)
    rows: list[tuple[Cell, ...]] = []
    for rho in RHOS:
        signs = 0.5 + math.asin(rho) / math.pi
        cells = [
            _value(sums, what, rho) if what in sums[rho] else None for what in whats
        ]
        rows.append((rho, signs, round(sums[rho]["draws"]), *cells))
    return Table(
        "Channel: rates at 1e-6",
        ("rho", "equal signs", "draws", *whats),
        tuple(rows),
        f"Ours is not measured above rho {OURS_UP_TO:g}: it is always found there.",
    )


def _reproduced(sums: dict[float, dict[str, float]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for what, curve in REFERENCE.items():
        for rho, value in curve.items():
            rate = _rate(sums, what, rho)
            low, high = rate.interval() if rate is not None else (0.0, 1.0)
            between = f"{low:.4g} .. {high:.4g}" if what.endswith("found") else "-"
            measured = _value(sums, what, rho)
            exact = closed_form(what, rho)
            rows.append((what, rho, value, exact, measured, between, measured - value))
    columns = ("curve", "rho", "reference", "closed form", "measured", "95 %", "gap")
    return Table(
        "Channel: the peers' published curves",
        columns,
        tuple(rows),
        f"The reference's rates are of {TRIALS} draws each: near a half they are "
        "uncertain by 0.13 themselves. The closed form is exact for hard bits, and "
        "takes the soft sum of 64 numbers for normal.",
    )


def _plot(sums: dict[float, dict[str, float]]) -> Plot:
    curves = []
    for what in ("ours: found", "ours: id exact", "Gaussian Shading, hard: found"):
        curves.append((what, _points(sums, what)))
    curves.append(("PRC: found", _points(sums, "PRC: found")))
    return Plot(
        "Channel: found at 1e-6",
        "rho, correlation of the noise found with the true one",
        "rate",
        tuple(curves),
    )


def _points(
    sums: dict[float, dict[str, float]], what: str
) -> tuple[tuple[float, float, float, float], ...]:
    points = []
    for rho in RHOS:
        rate = _rate(sums, what, rho)
        if rate is not None:
            points.append((rho, rate.value, *rate.interval()))
    return tuple(points)
