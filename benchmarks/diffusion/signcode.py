"""The sign code alone: what it stands in the channel, and what it costs.

The channel of every inversion, with nothing of a model in it: the estimate of the noise
is ``rho z + sqrt(1 - rho^2) e``, e another draw of N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from watermark import detectors, kernels, schemes
from watermark.detectors import frames, signs
from watermark.detectors import noise as detector
from watermark.detectors.rademacher import ln_signed_tail
from watermark.kernels import pilot_search, trellis_decode
from watermark.schemes import SCHEMES, noise

Floats = NDArray[np.float32]

SHAPE = (4, 64, 64)  # n = 16,384
FPR = 1e-6
TESTS = 80  # geometry and looks that a user's detector also pays for
RHOS = (0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.155, 0.16, 0.17, 0.19, 0.21, 0.25)
FOUND_FROM, READ_FROM, LEAST = 0.155, 0.17, 0.99
VIDEO = (4, 16, 32, 32)
VIDEO_RHO = 0.3
EDITS: dict[str, Callable[[np.random.Generator], list[int]]] = {
    "none": lambda g: list(range(16)),
    "first 5 cut": lambda g: list(range(5, 16)),
    "4 of 16 dropped": lambda g: sorted(g.choice(16, 12, replace=False).tolist()),
    "halves swapped": lambda g: [*range(8, 16), *range(8)],
    "shuffled": lambda g: g.permutation(16).tolist(),
}
# Shape, and the milliseconds that embedding may take.
SIZES = (((4, 64, 64), 1.0), ((16, 128, 128), 5.0), ((16, 21, 60, 104), 40.0))
SEARCH_MS = 200.0


def measure(options: Options) -> Part:
    """Power over rho, videos with frames lost or moved, and times."""
    few, many = options.count(10, 200), options.count(40, 1_000)
    trials = {rho: many if rho in (FOUND_FROM, READ_FROM) else few for rho in RHOS}
    videos = options.count(1, 10)
    identity = {
        "code": code_version((detectors, schemes, kernels), "diffusion/signcode.py"),
        "seed": options.seed,
    }
    codes = [f"code/{rho}/{i}" for rho in RHOS for i in range(trials[rho])]
    clips = [f"video/{edit}/{i}" for edit in EDITS for i in range(videos)]
    with Journal(options.work, "signcode", identity) as journal:
        for name in _todo(codes, journal, options, "sign code"):
            journal.add(name, _trial(name, options.seed))
        for name in _todo(clips, journal, options, "sign code: frames"):
            journal.add(name, _video(name, options.seed))
        rows = {name: journal.rows[name] for name in (*codes, *clips)}
        new = journal.added
    found, read, wrong = _rates(rows, trials)
    times, targets = _speed(options)
    return Part(
        parameters={"trials at decisive rho": many, "else": few, "videos": videos},
        targets=(
            Target.of_rate(
                f"code alone: found at 1e-6, rho {FOUND_FROM}", found[FOUND_FROM], LEAST
            ),
            Target.of_rate(
                f"code alone: 64 bits exact, rho {READ_FROM}", read[READ_FROM], LEAST
            ),
            *targets,
        ),
        tables=(_power(found, read, wrong), _frames(rows, videos), times),
        plots=(
            Plot(
                "Sign code alone, n = 16,384",
                "rho",
                "rate",
                (("found at 1e-6", _curve(found)), ("mark id exact", _curve(read))),
            ),
        ),
        notes=(
            f"Found: p at most {FPR:g} after all nonces and mark ids, and {TESTS} "
            "tests for geometry and looks; exact: found, and the id told is right. "
            "Intervals are Clopper-Pearson at 95 %.",
        ),
        new=new,
        reused=len(codes) + len(clips) - new,
    )


def _todo(
    names: list[str], journal: Journal, options: Options, what: str
) -> Iterable[str]:
    missing = journal.missing(names)
    return options.track(missing, what) if missing else ()


def marked(
    shape: tuple[int, ...], *seed: object
) -> tuple[noise.Code, Floats, bytes, np.random.Generator]:
    """A code of a key of its own, a draw that it marked, the mark id, a generator."""
    key = seeded_key("signcode", *seed)
    g = np.random.default_rng(list(seeded_key("draw", *seed).kid.encode()))
    code = noise.Code(SCHEMES["noise"].record(key), shape)
    z, _, mark_id = noise.mark(g.standard_normal(shape).astype(np.float32), code)
    return code, np.asarray(z, np.float32), mark_id, g


def channel(z: Floats, rho: float, g: np.random.Generator) -> Floats:
    """What an inversion that keeps `rho` of the noise would see."""
    other = g.standard_normal(z.shape).astype(np.float32)
    return np.asarray(rho * z + math.sqrt(1 - rho * rho) * other, np.float32)


def _trial(name: str, seed: int) -> dict[str, Any]:
    rho = float(name.split("/")[1])
    code, z, mark_id, g = marked(SHAPE, name, seed)
    seen = channel(z, rho, g)
    score = detector.score(seen, code)
    found = score.log10_p(TESTS) <= math.log10(FPR)
    return {
        "found": found,
        "read": found and score.payload == mark_id,
        "wrong": score.payload not in (None, mark_id),
        "signs": float(np.mean(np.signbit(seen) == np.signbit(z))),
    }


def _video(name: str, seed: int) -> dict[str, Any]:
    code, z, mark_id, g = marked(VIDEO, name, seed)
    kept = EDITS[name.split("/")[1]](g)
    found = frames.score(channel(z, VIDEO_RHO, g)[:, kept], code)
    return {
        "found": found.score.log10_p(TESTS) <= math.log10(FPR),
        "read": found.score.payload == mark_id,
        "placed": sum(a == b for a, b in zip(found.places, kept, strict=True)),
        "frames": len(kept),
    }


def _rates(
    rows: dict[str, dict[str, Any]], trials: dict[float, int]
) -> tuple[dict[float, Rate], dict[float, Rate], dict[float, int]]:
    found, read, wrong = {}, {}, {}
    for rho, count in trials.items():
        own = [rows[f"code/{rho}/{i}"] for i in range(count)]
        found[rho] = Rate(sum(row["found"] for row in own), count)
        read[rho] = Rate(sum(row["read"] for row in own), count)
        wrong[rho] = sum(row["wrong"] for row in own)
    return found, read, wrong


def _power(
    found: dict[float, Rate], read: dict[float, Rate], wrong: dict[float, int]
) -> Table:
    shown: list[tuple[Cell, ...]] = [
        (
            rho,
            0.5 + math.asin(rho) / math.pi,
            str(found[rho]),
            str(read[rho]),
            wrong[rho],
        )
        for rho in found
    ]
    columns = ("rho", "sign accuracy", "found at 1e-6", "mark id exact", "wrong ids")
    note = "Sign accuracy: 1/2 + arcsin(rho) / pi. n = 16,384, one key, 20 nonce bits."
    return Table("Code alone", columns, tuple(shown), note)


def _curve(
    rates: dict[float, Rate],
) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((rho, rate.value, *rate.interval()) for rho, rate in rates.items())


def _frames(rows: dict[str, dict[str, Any]], videos: int) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for edit in EDITS:
        own = [rows[f"video/{edit}/{i}"] for i in range(videos)]
        placed = Rate(sum(r["placed"] for r in own), sum(r["frames"] for r in own))
        found = Rate(sum(r["found"] for r in own), videos)
        read = Rate(sum(r["read"] for r in own), videos)
        shown.append((edit, str(found), str(read), str(placed)))
    columns = ("frames", "found at 1e-6", "mark id exact", "frames put in their place")
    note = (
        f"Latents of {'x'.join(map(str, VIDEO))} at rho {VIDEO_RHO}, all layouts paid."
    )
    return Table("Video with frames lost or moved", columns, tuple(shown), note)


def _speed(options: Options) -> tuple[Table, list[Target]]:
    shown: list[tuple[Cell, ...]] = []
    targets = []
    for shape, most in SIZES:
        cases = _cases(shape)
        rounds = options.track(range(options.count(1, 7)), f"sign code: {shape}")
        found = timing.compare(cases, rounds)
        size = math.prod(shape)
        shown += [(f"{size:,}", name, t.median * 1e3) for name, t in found.items()]
        embed = found["mark, code at hand"].median * 1e3
        targets.append(Target.at_most(f"embed {size:,}, milliseconds", embed, most))
        if shape == SHAPE:
            search = found["search of 2^20 nonces, no mark"].median * 1e3
            name = "nonce search over 2^20, n = 16,384, milliseconds"
            targets.append(Target.at_most(name, search, SEARCH_MS))
    columns = ("n", "what", "milliseconds of one core")
    note = (
        "The search is longest where there is no mark. One in plain sight ends it; "
        "then one mark id is decoded, else 16."
    )
    return Table("Sign code: times", columns, tuple(shown), note), targets


def _cases(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    code, z, _, g = marked(shape, "speed", shape)
    plain = g.standard_normal(shape).astype(np.float32)
    clear = channel(z, 0.5, g)
    w = signs.weights(plain)
    pilot, seen = w[code.pilot], signs.weights(clear)[code.pilot]
    data = np.ascontiguousarray(w[code.data] * code.data_signs(1))
    high = int(6 * math.sqrt(float(np.sum(w.astype(np.int64) ** 2))))
    cases: dict[str, Callable[[], object]] = {
        "code made anew": lambda: _anew(code),
        "mark, code at hand": lambda: noise.mark(z, code),
        "weights": lambda: signs.weights(plain),
        "search of 2^20 nonces, no mark": lambda: pilot_search(
            pilot, code.pilot_state, 20, signs.CANDIDATES
        ),
        "search of 2^20 nonces, rho 0.5": lambda: pilot_search(
            seen, code.pilot_state, 20, signs.CANDIDATES
        ),
        "one mark id decoded": lambda: trellis_decode(code.masks, data),
        "tail of the joint sum": lambda: ln_signed_tail(high, w),
        "whole score, rho 0.5": lambda: detector.score(clear, code),
    }
    if math.prod(shape) < 1 << 20:
        cases["whole score, no mark"] = lambda: detector.score(plain, code)
    return cases


def _anew(code: noise.Code) -> object:
    fresh = noise.Code(code.record, code.shape)
    return fresh.order, fresh.masks
