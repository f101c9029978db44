"""Strip and recover: from a mark alone back to the manifest, attack by attack."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Part, Table, Target
from watermark.api import Watermark

SIDE = 512
Picture = Image.Image
Attack = Callable[[Picture], bytes]


def saved(picture: Picture, format: str = "PNG", **options: int) -> bytes:
    """The picture as a file without any metadata."""
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data.getvalue()


def _noisy(picture: Picture) -> Picture:
    values = np.asarray(picture, np.float64)
    noise = np.random.default_rng(0).normal(0, 6, values.shape)
    return Image.fromarray(np.clip(np.rint(values + noise), 0, 255).astype(np.uint8))


def _half(picture: Picture) -> Picture:
    return picture.resize((picture.width // 2, picture.height // 2))


ATTACKS: dict[str, Attack] = {
    "saved by Pillow as PNG": saved,
    "JPEG 75": lambda p: saved(p, "JPEG", quality=75),
    "JPEG 50": lambda p: saved(p, "JPEG", quality=50),
    "JPEG 30": lambda p: saved(p, "JPEG", quality=30),
    "WebP 75": lambda p: saved(p, "WEBP", quality=75),
    "blurred, radius 1": lambda p: saved(p.filter(ImageFilter.GaussianBlur(1))),
    "noise, sigma 6": lambda p: saved(_noisy(p)),
    "half the size": lambda p: saved(_half(p)),
    "middle 80 %": lambda p: saved(
        p.crop((p.width // 10, p.height // 10, p.width * 9 // 10, p.height * 9 // 10))
    ),
}

NAMES = list(ATTACKS)
GEOMETRIC = ("half the size", "middle 80 %")  # found at effort="thorough" alone


def recover(options: Options) -> Part:
    """How often the stripped manifest of a photograph is found again."""
    count = options.count(12, 200)
    hits = dict.fromkeys(ATTACKS, 0)
    wrong = unmarked = 0
    with tempfile.TemporaryDirectory() as folder:
        w = Watermark.create(Path(folder) / "home", provider="benchmark")
        with w.home.ledger:
            for picture in options.track(photographs(options, count), "recover"):
                marked = w.embed(saved(picture))
                own = marked.record.record_id
                plain = Image.open(io.BytesIO(marked.data)).convert("RGB")
                for name, attack in ATTACKS.items():
                    effort = "thorough" if name in GEOMETRIC else "normal"
                    found = recovered(w, attack(plain), effort=effort)
                    hits[name] += own in found
                    wrong += bool(found - {own})
                unmarked += bool(recovered(w, saved(picture, "JPEG", quality=90)))
    rates = {name: Rate(found, count) for name, found in hits.items()}
    rows = tuple((name, r.value, *r.interval(), r.n) for name, r in rates.items())
    return Part(
        parameters={"photographs": count, "data": options.data is not None},
        targets=(
            Target.of_rate("recovered after a Pillow re-save", rates[NAMES[0]], 1.0),
            Target.of_rate("recovered after JPEG 75", rates[NAMES[1]], 0.99),
            Target.at_most("wrong recoveries of marked pictures", wrong, 0),
            Target.at_most("recoveries of the unmarked originals", unmarked, 0),
        ),
        tables=(
            Table(
                "Stripped manifests recovered by the mark",
                ("attack", "recovered", "lower", "upper", "photographs"),
                rows,
                "`pixel` in photographs; the whole of verify, for the last two with "
                'effort="thorough"; 95 % Clopper-Pearson.',
            ),
        ),
    )


def recovered(w: Watermark, data: bytes | str, **options: Any) -> set[str]:
    """The records whose manifests verify, with its `options`, finds for content."""
    report = w.verify(data, **options)
    found = [e for e in report.evidence if e.state == "recovered"]
    return {record_id for e in found for record_id in e.record_ids}


def photographs(options: Options, count: int) -> list[Picture]:
    """The middles of photographs, or pictures like them."""
    folder = None if options.data is None else options.data / "photos"
    paths = [] if folder is None else sorted(folder.glob("*.jpg"))[:count]
    found = [_middle(path) for path in paths]
    made = (_made(options.seed + n) for n in range(count - len(found)))
    return [*found, *made]


def _middle(path: Path) -> Picture:
    with Image.open(path) as picture:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.convert("RGB").crop((left, top, left + side, top + side))
        return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _made(seed: int) -> Picture:
    """1/f noise with a few flat shapes: a photograph's spectrum and its edges."""
    rng = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    fall = 1 / np.maximum(np.hypot(down, across), 1 / SIDE) ** 1.7
    picture = np.stack([_channel(rng, fall) for _ in range(3)], -1)
    for top, left, tall, wide in _places(rng):
        picture[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def _channel(
    rng: np.random.Generator, fall: NDArray[np.float64]
) -> NDArray[np.float64]:
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)))
    values = np.fft.irfft2(noise * fall, (SIDE, SIDE))
    return np.asarray(128 + 45 * values / values.std())


def _places(rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    for _ in range(4):
        top, left = rng.integers(0, SIDE - 8, 2)
        tall, wide = rng.integers(8, SIDE // 3, 2)
        yield int(top), int(left), int(tall), int(wide)
