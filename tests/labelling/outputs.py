"""Outputs of a home under several laws, and what is read in them."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.sounds import RATE, music
from PIL import Image
from tests.pictures import photograph

from watermark.api import Watermark
from watermark.assets.loading import Audio
from watermark.labels import containers, sm2
from watermark.labels.regimes import Duty, Regime
from watermark.marked import Marked
from watermark.record import Mark, Record

CODE = "001191110102MAD55U9H0F10002"
SETTINGS = f"""
[label]
producer = "{CODE}"
system = "acme-image/1.2"
sm2_key = "sm2.pem"

[about]
detector = "https://acme.example/detect"
filings = [{{ authority = "CAC", number = "Beijing-123" }}]
"""
LAWS = ["cn", "eu", "us-ca"]
TODAY = date(2026, 11, 23)


def home(folder: Path, settings: str = SETTINGS) -> Watermark:
    w = Watermark.create(folder, provider="Acme")
    sm2.PrivateKey.create(folder / "sm2.pem")
    with (folder / "home.toml").open("a", encoding="utf-8") as file:
        file.write(settings)
    return w


def made(kind: Any = "image", **more: Any) -> Record:
    return Record(kind=kind, provider="Acme", **more)


def generated(w: Watermark, kind: Any = "image", **more: Any) -> Record:
    """A record as an adapter leaves it: the mark was placed while it was generated."""
    scheme = {"image": "noise", "audio": "noise", "text": "gumbel"}[kind]
    mark = Mark(scheme=scheme, version=1, key_id=w.home.ring.newest.key.kid)
    return made(kind, marks=(mark,), **more)


def picture(seed: int = 1, size: int = 256) -> Image.Image:
    return Image.fromarray(photograph(seed, size, size))


def embedded(w: Watermark, asset: Any, **more: Any) -> Marked:
    options = {"regimes": LAWS, "timestamp": "deferred", "as_of": TODAY, **more}
    return w.embed(asset, **options)


def states(marked: Marked) -> dict[str, str]:
    return {layer.name: layer.state for layer in marked.layers}


def labels_in(data: bytes, media_type: str = "image/png") -> list[bytes]:
    return containers.read(io.BytesIO(data), media_type)


def stripped(data: bytes, format: str = "PNG", **options: Any) -> bytes:
    """The pixels alone, saved again."""
    bare = Image.open(io.BytesIO(data)).convert("RGB")
    output = io.BytesIO()
    Image.fromarray(np.asarray(bare)).save(output, format, **options)
    return output.getvalue()


def own(*duties: Duty) -> Regime:
    return Regime(name="xx", title="Elsewhere", since=TODAY, duties=duties)


def written(format: str) -> Callable[[], bytes]:
    def call() -> bytes:
        output = io.BytesIO()
        options = {"lossless": True} if format == "WEBP" else {}
        picture(8, 384).save(output, format, **options)
        return output.getvalue()

    return call


@functools.cache
def sound() -> bytes:
    return Audio(music(1, 5), RATE).to_wav()
