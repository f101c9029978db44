"""Marked noise against N(0, I), repeated nonces against theory, pictures' features.

One draw of a key is exactly N(0, I) over the key; many draws of one key are independent
until a nonce repeats. So each key makes at most `MOST` draws, every test is of one key,
and every p-value is counted. Pairs of draws that share a nonce share the signs of a
quarter of their numbers: they are shown apart, and tested with the others in registry
mode alone, where no nonce ever repeats. A control with one nonce for all draws shows
that the tests can fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, norm, poisson

from benchmarks.diffusion import features
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, Unavailable, seeded, seeded_key
from benchmarks.report import Cell, Part, Table, Target
from watermark import kernels, schemes
from watermark.schemes import SCHEMES, noise

Floats = NDArray[np.float64]
Row = dict[str, Any]

SHAPE = (4, 32, 32)
MOST = 500  # draws of one key
BITS = 20  # of the default nonce
MODES: dict[str, dict[str, Any]] = {
    "20-bit nonces": {"nonce_bits": BITS},
    "96-bit nonces on file": {"registry": 1},
    "control: one nonce": {"nonce_bits": 0},
}
BLIND, LISTED, CONTROL = MODES
COUNTS = (100, 200, 500, 1_000, 2_000, 5_000)  # draws of one key, for collisions
ALPHA = 0.01  # family-wise, of each target


def measure(options: Options) -> Part:
    """Test draws key by key, count repeated nonces, compare pictures."""
    keys = max(1, options.count(10_000, 10_000) // MOST)
    counted = options.count(40, 40)  # keys whose nonces are counted
    names = [
        *(f"{mode}/{i}" for mode in (BLIND, LISTED) for i in range(keys)),
        f"{CONTROL}/0",
    ]
    nonces = [f"nonces/{i}" for i in range(counted)]
    identity = {
        "code": code_version((schemes, kernels), "diffusion/distribution.py"),
        "seed": options.seed,
    }
    with Journal(options.work, "diffusion-distribution", identity) as journal:
        missing = journal.missing([*names, *nonces])
        for name in options.track(missing, "distribution") if missing else ():
            kind, _, index = name.partition("/")
            row = repeats(options.seed, int(index))
            if kind != "nonces":
                row = of_key(kind, options.seed, int(index))
            journal.add(name, row)
        rows = {name: journal.rows[name] for name in (*names, *nonces)}
        new = journal.added
    by_mode = {m: [rows[n] for n in names if n.startswith(m)] for m in MODES}
    collisions = _collisions([rows[name] for name in nonces])
    try:
        seen = features.measure(options)
    except Unavailable as reason:
        seen = Part(notes=(f"Features of pictures were not compared: {reason}.",))
    return Part(
        parameters={
            "draws of each mode": keys * MOST,
            "draws of a key": MOST,
            **seen.parameters,
        },
        targets=(*_targets(by_mode), collisions[1], *seen.targets),
        tables=(_tests(by_mode), _shared(by_mode), collisions[0], *seen.tables),
        notes=(
            f"Distribution: latents of {'x'.join(map(str, SHAPE))}, numpy's draws, "
            "marked. Two-sided p-values; adjusted: times the number of p-values of "
            "the row, and of the whole mode in the targets.",
            "Beyond about 1,000 pictures of one key, epoch and shape 20-bit nonces "
            "repeat: begin a new epoch before (`wm keys`), or mark with registry=1, "
            "whose 96 bits do not repeat.",
            *seen.notes,
        ),
        new=new + seen.new,
        reused=len(names) + len(nonces) - new + seen.reused,
    )


def _generator(*seed: object) -> np.random.Generator:
    return np.random.default_rng(list(seeded("distribution", *seed)))


def _code(mode: str, seed: int, index: int) -> noise.Code:
    key = seeded_key("distribution", mode, seed, index)
    return noise.Code(SCHEMES["noise"].record(key, **MODES[mode]), SHAPE)


def of_key(mode: str, seed: int, index: int, draws: int = MOST) -> Row:
    """p-values of all tests on the draws of one key, and its pairs with one nonce."""
    code, g = _code(mode, seed, index), _generator(mode, seed, index)
    marked, used = np.empty((draws, *SHAPE), np.float32), []
    for row in marked:
        row[:], nonce, _ = noise.mark(g.standard_normal(SHAPE, np.float32), code)
        used.append(nonce)
    flat = marked.reshape(draws, -1).astype(np.float64)
    _, kinds = np.unique(np.array(used, dtype=object).astype(str), return_inverse=True)
    found = {
        "Kolmogorov-Smirnov": [float(kstest(flat.reshape(-1), norm.cdf).pvalue)],
        "moments 1 to 4": moments(flat),
        "radial power": spectrum(marked),
        "mean at each place": [_both(chi2, draws * flat.mean(0) @ flat.mean(0), flat)],
    }
    found["pairs of draws"], shared = pairs(flat, kinds)
    return {"p": found, "shared": len(shared), "sum": float(np.sum(shared))}


def _both(law: Any, value: float, flat: Floats) -> float:
    """Two-sided p of a sum of squares of standard normals, one for each column."""
    count = flat.shape[1]
    return float(min(1.0, 2 * min(law.cdf(value, count), law.sf(value, count))))


def moments(flat: Floats) -> list[float]:
    """p of each raw moment: x^k has the variance ``E x^2k - (E x^k)^2``."""
    found, power = [], np.ones_like(flat)
    for expected, variance in ((0, 1), (1, 2), (0, 15), (3, 96)):
        power = power * flat
        z = (power.mean() - expected) / math.sqrt(variance / flat.size)
        found.append(float(2 * norm.sf(abs(z))))
    return found


def spectrum(draws: NDArray[np.floating]) -> list[float]:
    """p of the power in each ring of spatial frequencies, exact under N(0, I).

    Of an orthonormal transform ``2 |F|^2`` has 2 degrees of freedom, and ``|F|^2`` one
    where a frequency is its own conjugate.
    """
    height, width = draws.shape[-2:]
    power = np.abs(np.fft.rfft2(draws, norm="ortho")) ** 2
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    ends = (across == 0) | (across == 0.5)
    own = ends & ((down == 0) | (down == -0.5))
    # Of conjugate pairs within the two outer columns one is counted.
    kept = ~(ends & (down < 0) & (down != -0.5)) | own
    ring = np.rint(np.hypot(down * height, across * width)).astype(int)
    total = np.where(own, 1.0, 2.0) * power.sum(axis=tuple(range(draws.ndim - 2)))
    freedom = np.where(own, 1, 2) * (draws.size // (height * width))
    found = []
    for radius in range(int(ring.max()) + 1):
        inside = kept & (ring == radius)
        if inside.any():
            count, value = freedom[inside].sum(), total[inside].sum()
            p = 2 * min(chi2.cdf(value, count), chi2.sf(value, count))
            found.append(float(min(1.0, p)))
    return found


def pairs(flat: Floats, kinds: NDArray[np.integer]) -> tuple[list[float], Floats]:
    """p of the correlations of draws with different nonces; those of equal nonces.

    ``T_ij = <z_i, z_j> / |z_i|``, i < j, is N(0, 1). The largest is bounded by a union.
    The sum of squares has the variance 2 a pair, and 4 / n for each three draws: given
    z_i and z_k, T_ij and T_kj correlate by the cosine c of those two, their squares by
    2 c^2 in covariance, and E c^2 = 1 / n.

    Returns:
        ([p of the largest, p of the sum of squares], the T of equal nonces).
    """
    t = flat @ flat.T / np.linalg.norm(flat, axis=1)[:, None]
    above = np.triu(np.ones(t.shape, bool), 1)
    equal = kinds[:, None] == kinds[None, :]
    shared = t[above & equal]
    # The control has no other pairs than those; there they are what is tested.
    other = t[above & ~equal] if (above & ~equal).any() else shared
    largest = float(np.abs(other).max())
    variance = 2 * len(other) + 4 * math.comb(len(flat), 3) / flat.shape[1]
    z = (float(other @ other) - len(other)) / math.sqrt(variance)
    p = [min(1.0, 2 * len(other) * norm.sf(largest)), 2 * norm.sf(abs(z))]
    return [float(value) for value in p], shared


def repeats(seed: int, index: int) -> Row:
    """Pairs with equal nonces among the first draws of one key, by their number."""
    code, g = _code(BLIND, seed, index), _generator("nonces", seed, index)
    magnitudes, used = np.ones(SHAPE, np.float32), []
    tagged = code.order[: noise.TAGGED]  # all that a nonce depends on
    for _ in range(COUNTS[-1]):
        magnitudes.reshape(-1)[tagged] = np.abs(g.standard_normal(noise.TAGGED))
        used.append(code.identify(magnitudes)[0])
    found = {}
    for count in COUNTS:
        times = np.unique(used[:count], return_counts=True)[1].astype(int)
        found[str(count)] = int((times * (times - 1) // 2).sum())
    return found


def _targets(rows: dict[str, list[Row]]) -> list[Target]:
    targets = []
    for mode in (BLIND, LISTED):
        found = [p for row in rows[mode] for ps in row["p"].values() for p in ps]
        least = min(1.0, min(found) * len(found))
        note = f"{len(found)} tests; a sample of N(0, I) fails once in {1 / ALPHA:g}"
        name = f"distribution, {mode}: least p, adjusted"
        targets.append(Target.at_least(name, least, ALPHA, note))
    control = [p for row in rows[CONTROL] for ps in row["p"].values() for p in ps]
    least = min(control) * len(control)
    targets.append(
        Target.at_most("distribution, control: least p, adjusted", least, 1e-6)
    )
    return targets


def _tests(rows: dict[str, list[Row]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for mode, found in rows.items():
        for test in found[0]["p"]:
            p = [value for row in found for value in row["p"][test]]
            adjusted = min(1.0, min(p) * len(p))
            median = float(np.median(p))
            shown.append((mode, test, len(p), median, min(p), adjusted))
    columns = ("marked by", "test", "p-values", "median p", "least p", "adjusted")
    note = (
        "Pairs of draws: those with different nonces; of the control, all of which "
        "have one, those. Its p underflow to 0."
    )
    return Table("Marked noise against N(0, I)", columns, tuple(shown), note)


def _shared(rows: dict[str, list[Row]]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for mode, found in rows.items():
        count = sum(row["shared"] for row in found)
        expected = len(found) * _expected(MOST, _bits(mode))
        mean = sum(row["sum"] for row in found) / count if count else None
        shown.append((mode, count, expected, mean))
    columns = ("marked by", "pairs with one nonce", "expected", "mean T of them")
    shift = math.sqrt(math.prod(SHAPE)) / (2 * math.pi)
    note = (
        "T: correlation in standard deviations. A shared nonce shares the pilot's "
        f"signs, a quarter of all: E T = {shift:.1f}."
    )
    return Table("Pairs of draws with one nonce", columns, tuple(shown), note)


def _bits(mode: str) -> int:
    return int(MODES[mode].get("nonce_bits", 96))


def _expected(draws: int, bits: int) -> float:
    return math.comb(draws, 2) / float(1 << bits)


def _collisions(rows: Sequence[Row]) -> tuple[Table, Target]:
    shown: list[tuple[Cell, ...]] = []
    least = 1.0
    for count in COUNTS:
        expected = len(rows) * _expected(count, BITS)
        pairs_found = sum(row[str(count)] for row in rows)
        none = sum(row[str(count)] == 0 for row in rows)
        p = 2 * min(
            poisson.cdf(pairs_found, expected), poisson.sf(pairs_found - 1, expected)
        )
        least = min(least, float(p))
        free = math.exp(-_expected(count, BITS))
        shown.append(
            (count, pairs_found, expected, min(1.0, float(p)), none / len(rows), free)
        )
    columns = (
        *("draws of a key", "pairs with one nonce", "expected", "p"),
        *("keys without any", "expected share"),
    )
    note = (
        f"Of {len(rows)} keys, {BITS} bits: C(draws, 2) / 2^{BITS} pairs for each, "
        "Poisson; half of all keys have one at "
        f"{math.sqrt(2 * math.log(2) * 2**BITS):,.0f} draws."
    )
    table = Table("Repeated nonces", columns, tuple(shown), note)
    adjusted = min(1.0, least * len(COUNTS))
    name = "distribution, repeated nonces against theory: least p, adjusted"
    return table, Target.at_least(name, adjusted, ALPHA, f"{len(COUNTS)} tests")
