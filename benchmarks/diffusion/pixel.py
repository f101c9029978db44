"""`pixel` on photographs: what it costs to see, what it lives through, how fast it is.

    python -m benchmarks diffusion --only pixel --data DIR

DIR/photos holds unpacked wallpaper packages of Debian (lomiri-wallpapers-16.04,
lomiri-wallpapers-20.04 and lxqt-themes). Each photograph gives its 512x512 crops
without overlap. Beside it invisible-watermark
(dwtDct and dwtDctSvd, 64 bits), if it is importable: its detector is told the payload.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image

from benchmarks import timing
from benchmarks.diffusion import pixel_peer
from benchmarks.diffusion.pixel_attacks import ATTACKS, GEOMETRIC
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, Unavailable, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from watermark.detectors import geometry, signs
from watermark.detectors import pixel as detector
from watermark.detectors.base import Score
from watermark.kernels import reference_pixel
from watermark.schemes import pixel, template

Pixels = NDArray[np.uint8]

FPR = 1e-6
SIDE = 512
OURS = "pixel"
# Photographs among the wallpapers: the rest are drawings and renderings. None of them
# had a part in choosing the scheme's amplitudes (docs/decisions/0004-pixel.md).
PHOTOS = (
    *("Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_0B_by_freespace"),
    *("Picture_1A_by_freespace", "Wine_by_Jakkub_Mede", "Kleiber_by_Lukas_Baubkus"),
    *("aitzgorri_by_Aitzol_Berasategi", "analogpattern_by_Peter_Nerlich"),
    *("free_by_Peter_Nerlich", "friends_by_Aitzol_Berasategi"),
    *("greentock_by_Peter_Nerlich", "life_by_Aitzol_Berasategi"),
    *("picosdeeuropa_by_Aitzol_Berasategi", "seeding_by_Clements_Engelhardt"),
    *("sunset_by_Aitzol_Berasategi", "umang_by_Abhishek_Mudgal"),
    *("Butterfly-Kenneth-Wimer", "Valendas", "after-the-rain", "appleflower", "beam"),
    *("butterfly", "cloud", "drop", "flowers", "fog", "this-is-not-windows"),
)
MOST = 12  # crops of one photograph
ALPHAS = (1e-1, 1e-2, 1e-3)
SIZES = (96, 128, 192, 256, 384)  # pixels on a side of smaller pictures


def measure(options: Options) -> Part:
    """Mark every crop, attack, look; then time, and look under random keys.

    Raises:
        Unavailable: there are no photographs.
    """
    files = photographs(options)
    count = options.count(16, 10_000)
    chosen = dict(islice(crops(files), count))
    identity = {
        "code": code_version(
            (detector, geometry, signs, pixel, template, reference_pixel),
            *(f"diffusion/pixel{part}.py" for part in ("", "_attacks", "_peer")),
        ),
        "peers": list(pixel_peer.METHODS),
        "seed": options.seed,
    }
    with Journal(options.work, "pixel", identity) as journal:
        missing = journal.missing(list(chosen))
        code = pixel.Code(pixel.SCHEME.record(seeded_key("pixel", options.seed)))
        for name in options.track(missing, "pixel"):
            journal.add(name, _one(name, _crop(files, *chosen[name]), code, options))
        rows = [journal.rows[name] for name in chosen]
        new = journal.added
    times = _times(_crop(files, *next(iter(chosen.values()))), code, options)
    return Part(
        parameters={"crops": len(rows), "photographs": len(files)},
        targets=tuple(_targets(rows, times)),
        tables=(*_tables(rows), _time_table(times)),
        notes=(
            f"Found: p at most {FPR:g}, with one key, every nonce, mark id and "
            "geometry counted. invisible-watermark is told which payload to look for: "
            "found is an exact binomial tail of its 64 bits.",
            f"Attacks {', '.join(sorted(GEOMETRIC))} are read by `search`, the others "
            "by `score`. Peers have no search.",
        ),
        new=new,
        reused=len(rows) - new,
    )


def photographs(options: Options) -> list[Path]:
    """The largest file of each photograph.

    Raises:
        Unavailable: there are none.
    """
    folder = options.data / "photos" if options.data else None
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")) if folder else []:
        named = {path.stem, *path.parts} & set(PHOTOS)
        if path.suffix in (".jpg", ".png") and path.is_file() and named:
            with Image.open(path) as image:
                size = image.size
            [name] = named
            if min(size) >= SIDE and math.prod(size) > _area(found.get(name)):
                found[name] = path
    if not found:
        raise Unavailable("no photographs: --data DIR with DIR/photos")
    return [found[name] for name in sorted(found)]


def _area(path: Path | None) -> int:
    if path is None:
        return 0
    with Image.open(path) as image:
        return math.prod(image.size)


def crops(files: list[Path]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """(name, (file, top, left)): the first crop of each file, then the second."""
    corners = []
    for path in files:
        with Image.open(path) as image:
            width, height = image.size
        rows, columns = height // SIDE, width // SIDE
        corners.append(
            [(SIDE * i, SIDE * j) for i in range(rows) for j in range(columns)]
        )
    for k in range(MOST):
        for number, places in enumerate(corners):
            if k < len(places):
                # Spread over the picture: neighbours come last.
                top, left = (
                    places[k * 7 % len(places)] if len(places) % 7 else places[k]
                )
                yield f"{files[number].name}/{number}/{top}/{left}", (number, top, left)


@cache
def _whole(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _crop(files: list[Path], number: int, top: int, left: int) -> Pixels:
    whole = _whole(files[number])
    return np.ascontiguousarray(whole[top : top + SIDE, left : left + SIDE])


def psnr(a: Pixels, b: Pixels) -> float:
    """In dB, on RGB."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(255**2 / error)


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity over 7x7 windows, mean of R, G, B (Wang et al. 2004)."""
    x, y = a.astype(np.float64), b.astype(np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(scipy.ndimage.uniform_filter(values, (7, 7, 1)))

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * both + c2)
    return float(np.mean(top / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


def _one(name: str, crop: Pixels, code: pixel.Code, options: Options) -> dict[str, Any]:
    seed = int.from_bytes(seeded("attack", options.seed, name)[:8], "little")
    row: dict[str, Any] = {}
    marked, _, mark_id = pixel.mark(crop, code)
    row[OURS] = {"psnr": psnr(crop, marked), "ssim": ssim(crop, marked)}
    for attack, change in ATTACKS.items():
        seen = change(marked, np.random.default_rng(seed))
        look = detector.search if attack in GEOMETRIC else detector.score
        score: Score = look(seen, code)
        row[OURS][attack] = [
            score.log10_p(),
            score.payload == mark_id,
            score.payload not in (None, mark_id),
        ]
    for method in pixel_peer.METHODS:
        payload = seeded("payload", options.seed, name)[:8]
        marked = pixel_peer.mark(crop, method, payload)
        row[method] = {"psnr": psnr(crop, marked), "ssim": ssim(crop, marked)}
        for attack, change in ATTACKS.items():
            seen = change(marked, np.random.default_rng(seed))
            p, exact = pixel_peer.look(seen, method, payload)
            row[method][attack] = [p, exact, False]
    for side in SIZES:
        small, _, mark_id = pixel.mark(np.ascontiguousarray(crop[:side, :side]), code)
        score = detector.score(
            ATTACKS["JPEG 75"](small, np.random.default_rng(0)), code
        )
        row[str(side)] = [score.log10_p(), score.payload == mark_id]
    other = pixel.Code(pixel.SCHEME.record(seeded_key("other", options.seed, name)))
    row["unmarked"] = [detector.score(crop, other).log10_p()]
    return row


def _times(
    crop: Pixels, code: pixel.Code, options: Options
) -> dict[str, timing.Timing]:
    marked, _, _ = pixel.mark(crop, code)
    cases: dict[str, Any] = {
        "embed": lambda: pixel.mark(crop, code),
        "detect, marked": lambda: detector.score(marked, code),
        "detect, unmarked": lambda: detector.score(crop, code),
        "geometry": lambda: geometry.estimate(marked, code.record),
        "a key's first embed": lambda: pixel.mark(crop, pixel.Code(code.record)),
    }
    for method in pixel_peer.METHODS:
        hidden = pixel_peer.mark(crop, method, bytes(8))
        cases[f"{method}: embed"] = lambda m=method: pixel_peer.mark(crop, m, bytes(8))
        cases[f"{method}: detect"] = lambda m=method, h=hidden: pixel_peer.look(
            h, m, bytes(8)
        )
    return timing.compare(cases, options.track(range(9), "times"))


def _found(rows: list[dict[str, Any]], method: str, attack: str) -> Rate:
    hits = sum(row[method][attack][0] <= math.log10(FPR) for row in rows)
    return Rate(hits, len(rows))


def _exact(rows: list[dict[str, Any]], method: str, attack: str) -> Rate:
    return Rate(sum(row[method][attack][1] for row in rows), len(rows))


def _targets(
    rows: list[dict[str, Any]], times: dict[str, timing.Timing]
) -> Iterator[Target]:
    quality = [row[OURS]["psnr"] for row in rows]
    yield Target.at_least("pixel: PSNR on RGB, mean, dB", statistics.fmean(quality), 42)
    yield Target.at_least("pixel: PSNR on RGB, minimum, dB", min(quality), 42)
    found, exact = _found(rows, OURS, "JPEG 50"), _exact(rows, OURS, "JPEG 75")
    yield Target.of_rate("pixel: found at 1e-6 after JPEG 50", found, 0.99)
    yield Target.of_rate("pixel: mark id exact after JPEG 75", exact, 0.99)
    for name in ("embed", "detect, marked", "detect, unmarked"):
        yield Target.at_most(f"pixel: {name}, ms", 1e3 * times[name].median, 20)


def _tables(rows: list[dict[str, Any]]) -> Iterator[Table]:
    methods = (OURS, *pixel_peer.METHODS)
    shown: list[tuple[Cell, ...]] = []
    for method in methods:
        quality = [row[method]["psnr"] for row in rows]
        likeness = [row[method]["ssim"] for row in rows]
        shown.append(
            (
                method,
                statistics.fmean(quality),
                min(quality),
                statistics.fmean(likeness),
                min(likeness),
            )
        )
    columns: tuple[str, ...] = ("method", "PSNR mean", "least", "SSIM mean", "least")
    yield Table("pixel: what it costs to see", columns, tuple(shown))
    shown = []
    for attack in ATTACKS:
        seen = [row[OURS][attack] for row in rows]
        cells: list[Cell] = [
            attack,
            str(_found(rows, OURS, attack)),
            str(_exact(rows, OURS, attack)),
            sum(wrong for _, _, wrong in seen),
            statistics.median(p for p, _, _ in seen),
            max(p for p, _, _ in seen),
        ]
        for method in pixel_peer.METHODS:
            cells += [
                _found(rows, method, attack).value,
                _exact(rows, method, attack).value,
            ]
        shown.append(tuple(cells))
    columns = ("attack", "found", "id exact", "wrong ids", "median log10 p", "worst")
    for method in pixel_peer.METHODS:
        columns += (f"{method} found", "exact")
    yield Table("pixel: what it lives through", columns, tuple(shown))
    shown = []
    for side in SIZES:
        seen = [row[str(side)] for row in rows]
        hits = Rate(sum(p <= math.log10(FPR) for p, _ in seen), len(seen))
        exact = Rate(sum(same for _, same in seen), len(seen))
        shown.append((f"{side}x{side}", str(hits), str(exact)))
    columns = ("size", "found", "id exact")
    yield Table("pixel: smaller pictures, after JPEG 75", columns, tuple(shown))
    values = [row["unmarked"][0] for row in rows]
    shown = [
        (
            f"{alpha:g}",
            str(Rate(sum(p <= math.log10(alpha) for p in values), len(values))),
        )
        for alpha in ALPHAS
    ]
    note = "Each unmarked crop under a key of its own."
    yield Table("pixel: false positives", ("p at most", "rate"), tuple(shown), note)


def _time_table(times: dict[str, timing.Timing]) -> Table:
    shown: list[tuple[Cell, ...]] = []
    for name, found in times.items():
        peers = [
            t.median for n, t in times.items() if n.endswith(f": {name.split(',')[0]}")
        ]
        ratio = f"{min(peers) / found.median:.3g}x" if peers else ""
        shown.append(
            (name, 1e3 * found.median, 1e3 * found.low, 1e3 * found.high, ratio)
        )
    columns = ("what", "ms", "lower quartile", "upper", "faster than the faster peer")
    note = f"One {SIDE}x{SIDE} crop, processor time of one thread."
    return Table("pixel: times", columns, tuple(shown), note)
