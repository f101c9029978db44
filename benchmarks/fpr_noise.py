"""False positives of the noise scheme: fixed latents, hostile ones too, random keys.

The statistic of one nonce is computed by a compiled loop over all latents at once, and
held against `detectors.noise.one_nonce` at the first key of every chunk. Its exact tail
costs milliseconds, and is taken where it can matter: at every key for the small alphas,
at the first keys for the large ones.
"""

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
from benchmarks.tails import ALPHAS, Tail, at_most, summed, table
from watermark import detectors, kernels, schemes
from watermark.detectors import noise as detector
from watermark.detectors import signs
from watermark.detectors.stats import SIGN_BOUND
from watermark.kernels import pilot_sums
from watermark.prf import state
from watermark.schemes import SCHEMES, noise

SHAPE = (4, 32, 32)
CHUNK = 2_000  # keys in one journal row of the one-nonce test
SEARCHES = 10  # and in one of the search
NONCE = 5  # any, fixed beforehand
FIRST = 100_000  # keys at which every tail is exact
RARE = 3  # from this place of ALPHAS on every key counts
# T from which on the exact tail is taken at every key: 1e-4 of it is reached at 3.7 by
# a normal sum, and earlier only by a few unlike weights.
FROM, FROM_SPARSE = 3.4, 3.0
SPARSE = 0.05  # share of numbers that are not 0, below which a latent counts as sparse
PHOTOS = 10  # pictures of options.data/photos, at most
# T at which the bound 3.178 Q(T) is alpha.
LIMITS = np.array([norm.isf(alpha / SIGN_BOUND) for alpha in ALPHAS])


def count(options: Options) -> Part:
    """Realised rates of the noise statistics."""
    keys, searches = options.count(20_000, 10_000_000), options.count(20, 2_000)
    if options.samples is not None:
        searches = max(1, options.samples // 1_000)
    fixed = latents(options.seed) | photographs(options)
    identity = {
        "code": code_version((detectors, schemes, kernels), "fpr_noise.py"),
        "latents": list(fixed),
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
        first = min(keys, FIRST)
        early = [name for name in single if int(name.split("/")[1]) < FIRST]
        tails = [
            (
                _tail(name, first, summed(journal, early, name), slice(0, RARE)),
                _tail(name, keys, summed(journal, single, name), slice(RARE, None)),
            )
            for name in fixed
        ]
        found = [p for name in whole for p in journal.rows[name]["log10_p"]]
        new = journal.added
    searched = Tail(
        "search of 2^20 nonces and 2^64 mark ids",
        False,
        searches,
        tuple(sum(p <= math.log10(a) + 1e-12 for p in found) for a in ALPHAS),
        ALPHAS,
    )
    note = (
        f"Share of keys with p at most alpha, on fixed latents of shape "
        f"{'x'.join(map(str, SHAPE))}: of {keys:,} keys, above alpha = 1e-4 of the "
        f"first {first:,}. One key serves all latents, so rows share their luck; in a "
        "row keys are independent. It holds where no one-sided 99.9 % bound lies "
        "above alpha. Spare: alpha over the rate, at 1e-2 and 1e-4; at 0.1 p is the "
        "bound 3.178 Q(T), below 0.05 the tail itself."
    )
    columns = ("latent", *(f"at {alpha:g}" for alpha in ALPHAS))
    columns += ("spare at 1e-2", "spare at 1e-4", "holds")
    shown = Table("Noise, one nonce", columns, tuple(_row(*t) for t in tails), note)
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


def _tail(name: str, n: int, hits: tuple[float, ...], part: slice) -> Tail:
    return Tail(name, False, n, tuple(map(int, hits))[part], tuple(ALPHAS)[part])


def _worst(tails: list[tuple[Tail, Tail]]) -> Target:
    """All latents as one target."""
    held = sum(all(often.holds() + rare.holds()) for often, rare in tails)
    return replace(
        tails[0][1].target(),
        name="noise, one nonce: realised rate is at most the stated one",
        target=f"{len(tails)} of {len(tails)} latents",
        measured=float(held),
        reached=held == len(tails),
    )


def _row(often: Tail, rare: Tail) -> tuple[Cell, ...]:
    rates = [hits / tail.n for tail in (often, rare) for hits in tail.hits]
    spare = [a / rates[k] if rates[k] else None for k, a in ((1, 1e-2), (3, 1e-4))]
    return (often.name, *rates, *spare, all(often.holds() + rare.holds()))


def photographs(options: Options) -> dict[str, NDArray[np.float32]]:
    """Latents of the pictures in options.data/photos, if there are any."""
    folder = options.data / "photos" if options.data else None
    if folder is None or not folder.is_dir():
        return {}
    import torch
    from diffusers import AutoencoderKL
    from PIL import Image, ImageOps

    files = sorted(f for f in folder.iterdir() if f.suffix in (".png", ".jpg", ".jpeg"))
    coder = AutoencoderKL.from_pretrained(options.pipeline / "vae")
    side = SHAPE[1] * 2 ** (len(coder.config.block_out_channels) - 1)
    found = {}
    for file in files[:PHOTOS]:
        picture = ImageOps.fit(Image.open(file).convert("RGB"), (side, side))
        pixels = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1)
        with torch.inference_mode():
            mode = coder.encode(pixels.permute(2, 0, 1)[None]).latent_dist.mode()
        found[f"photograph {file.stem}"] = np.asarray(mode[0].numpy(), np.float32)
    return found


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
    """Hits of each latent over the keys of one chunk.

    Raises:
        RuntimeError: the detector says otherwise at the chunk's first key.
    """
    _, start, size = name.split("/")
    w = np.stack([signs.weights(z) for z in fixed.values()], axis=1)
    w = np.ascontiguousarray(w)
    dense = np.mean(w != 0, axis=0) >= SPARSE
    least = np.where(dense, FROM, FROM_SPARSE)
    if int(start) < FIRST:
        least[:] = LIMITS[0]
    hits = np.zeros((len(fixed), len(ALPHAS)), dtype=np.int64)
    for index in range(int(start), int(start) + int(size)):
        key = seeded_key("noise", seed, index)
        code = noise.Code(SCHEMES["noise"].record(key), SHAPE)
        order = state(code.record, "order", SHAPE)
        sums, squares = pilot_sums(w, order, code.pilot_state, NONCE)
        t = np.asarray(sums) / np.sqrt(np.maximum(squares, 1))
        if index == int(start):
            _agree(t, list(fixed.values()), code)
        for j in np.flatnonzero(t >= least):
            ln_p = signs.ln_tail(int(sums[j]), w[:, j][code.pilot])
            hits[j] += at_most(np.array([ln_p]))
    return dict(zip(fixed, hits.tolist(), strict=True))


def _agree(
    t: NDArray[np.float64], values: list[NDArray[np.float32]], code: noise.Code
) -> None:
    """That the loop's statistics are the detector's."""
    for one, z in zip(t, values, strict=True):
        pilot = signs.weights(z)[code.pilot]
        total = round(one * math.sqrt(float((pilot.astype(np.int64) ** 2).sum())))
        if signs.ln_tail(total, pilot) != detector.one_nonce(z, code, NONCE):
            raise RuntimeError("the compiled statistic is not the detector's")


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
