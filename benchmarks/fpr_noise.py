"""False positives of the noise scheme: fixed latents, hostile ones too, random keys."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, seeded_key
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.tails import ALPHAS, Tail, summed, table
from watermark import detectors, kernels, schemes
from watermark.detectors import noise as detector
from watermark.detectors import signs
from watermark.detectors.stats import SIGN_BOUND
from watermark.schemes import SCHEMES, noise

SHAPE = (4, 32, 32)
CHUNK = 2_000  # keys in one journal row of the one-nonce test
SEARCHES = 10  # and in one of the search
NONCE = 5  # any, fixed beforehand
# T at which the stated bound 3.178 Q(T) is alpha.
LIMITS = np.array([norm.isf(alpha / SIGN_BOUND) for alpha in ALPHAS])


def count(options: Options) -> Part:
    """Realised rates of the noise statistics."""
    keys, searches = options.count(20_000, 1_000_000), options.count(20, 500)
    if options.samples is not None:
        searches = max(1, options.samples // 1_000)
    fixed = latents(options.seed)
    identity = {
        "code": code_version((detectors, schemes, kernels), "fpr_noise.py"),
        "seed": options.seed,
        "shape": SHAPE,
    }
    single = _names("one nonce", keys, CHUNK)
    whole = _names("search", searches, SEARCHES)
    with Journal(options.work, "fpr-noise", identity) as journal:
        for name in _todo(single, journal, options, "fpr: one nonce"):
            journal.add(name, _one_nonce(name, fixed, options.seed))
        for name in _todo(whole, journal, options, "fpr: nonce search"):
            journal.add(name, _search(name, fixed, options.seed))
        hits = np.array([summed(journal, single, name) for name in fixed])
        found = [p for name in whole for p in journal.rows[name]["log10_p"]]
        new = journal.added
    tails = [
        Tail(name, False, keys, tuple(map(int, row)), ALPHAS)
        for name, row in zip(fixed, hits, strict=True)
    ]
    searched = Tail(
        "search of 2^20 nonces and 2^64 mark ids",
        False,
        searches,
        tuple(sum(p <= math.log10(a) + 1e-12 for p in found) for a in ALPHAS),
        ALPHAS,
    )
    note = (
        f"Share of {keys:,} keys with p at most alpha, on fixed latents of shape "
        f"{'x'.join(map(str, SHAPE))}. One key serves all latents, so rows share their "
        "luck; within a row keys are independent. It holds where no one-sided 99.9 % "
        "bound lies above alpha. Spare: alpha over the rate, at 1e-2."
    )
    columns = ("latent", *(f"at {alpha:g}" for alpha in ALPHAS), "spare", "holds")
    shown = Table("Noise, one nonce", columns, tuple(map(_row, tails)), note)
    return Part(
        parameters={"keys for one nonce": keys, "keys for the search": searches},
        targets=(_worst(tails), searched.target()),
        tables=(
            shown,
            table(
                "Noise, whole search",
                [searched],
                f"Adjusted p. The least of {searches} keys: 10^{min(found):.2f}.",
            ),
        ),
        new=new,
        reused=len(single) + len(whole) - new,
    )


def _worst(tails: list[Tail]) -> Target:
    """All latents as one target."""
    held = sum(all(tail.holds()) for tail in tails)
    return replace(
        tails[0].target(),
        name="noise, one nonce: realised rate is at most the stated one",
        target=f"{len(tails)} of {len(tails)} latents",
        measured=float(held),
        reached=held == len(tails),
    )


def _row(tail: Tail) -> tuple[Cell, ...]:
    rates = [hits / tail.n for hits in tail.hits]
    spare = ALPHAS[1] / rates[1] if rates[1] else None
    return (tail.name, *rates, spare, all(tail.holds()))


def latents(seed: int) -> dict[str, NDArray[np.float32]]:
    """Twenty latents by name: noise, picture-like, sparse, constant, heavy-tailed."""
    g = np.random.default_rng([seed, 20])
    size = SHAPE
    flat = int(np.prod(size))
    y, x = np.mgrid[: size[1], : size[2]] / size[1]
    wave = np.sin(7 * x + 3 * y)
    found: dict[str, NDArray[np.floating]] = {
        "normal": g.standard_normal(size),
        "normal, fp16": g.standard_normal(size).astype(np.float16),
        "uniform": g.uniform(-1, 1, size),
        "all ones": np.ones(size),
        "all minus ones": -np.ones(size),
        "zero": np.zeros(size),
        "one number": np.eye(1, flat, 77).reshape(size),
        "two numbers": (np.eye(1, flat, 5) - np.eye(1, flat, 4_000)).reshape(size),
        "sparse, 1 in 100": g.standard_normal(size) * (g.random(size) < 0.01),
        "half empty": g.standard_normal(size) * (np.arange(size[2]) < 16),
        "ramp": np.broadcast_to(x - 0.5, size),
        "checkerboard": np.broadcast_to((-1.0) ** (np.indices(size[1:]).sum(0)), size),
        "smooth": np.broadcast_to(wave, size),
        "smooth with grain": wave + 0.1 * g.standard_normal(size),
        "steps": np.round(2 * np.broadcast_to(wave, size)) / 2,
        "random walk": np.cumsum(g.standard_normal(flat)).reshape(size),
        "Cauchy": g.standard_cauchy(size),
        "Laplace": g.laplace(size=size),
        "log-normal": np.exp(2 * g.standard_normal(size)),
        "signs": g.choice([-1.0, 1.0], size),
    }
    return {name: np.asarray(z, dtype=np.float32) for name, z in found.items()}


def _names(what: str, number: int, chunk: int) -> list[str]:
    starts = range(0, number, chunk)
    return [f"{what}/{start}/{min(chunk, number - start)}" for start in starts]


def _todo(
    names: list[str], journal: Journal, options: Options, what: str
) -> Iterable[str]:
    missing = journal.missing(names)
    return options.track(missing, what) if missing else ()


def _one_nonce(
    name: str, fixed: dict[str, NDArray[np.float32]], seed: int
) -> dict[str, Any]:
    """Hits of each latent over the keys of one chunk."""
    _, start, size = name.split("/")
    w = np.stack([signs.weights(z) for z in fixed.values()]).astype(np.float64)
    hits = np.zeros((len(fixed), len(ALPHAS)), dtype=np.int64)
    for index in range(int(start), int(start) + int(size)):
        key = seeded_key("noise", seed, index)
        code = noise.Code(SCHEMES["noise"].record(key), SHAPE)
        hits += statistics(w, code)[:, None] >= LIMITS
    return dict(zip(fixed, hits.tolist(), strict=True))


def statistics(w: NDArray[np.float64], code: noise.Code) -> NDArray[np.float64]:
    """T of every row of weights at once: as `detectors.noise.one_nonce`."""
    pilot = w[:, code.pilot]
    norms = np.sqrt((pilot * pilot).sum(1))
    sums = pilot @ code.pilot_signs(NONCE)
    # Nothing to test: p is 1, and T below every limit.
    return np.where(norms > 0, sums / np.where(norms > 0, norms, 1), -np.inf)


def _search(
    name: str, fixed: dict[str, NDArray[np.float32]], seed: int
) -> dict[str, Any]:
    """Adjusted p-values of whole searches, latents in turn."""
    _, start, size = name.split("/")
    values = list(fixed.values())
    found = []
    for index in range(int(start), int(start) + int(size)):
        key = seeded_key("search", seed, index)
        code = noise.Code(SCHEMES["noise"].record(key), SHAPE)
        found.append(detector.score(values[index % len(values)], code).log10_p())
    return {"log10_p": found}
