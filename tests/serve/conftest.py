"""One home with one marked, signed and published picture, and one service, for all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from tests.serve.running import Service, running
from tests.toys import words

from watermark.api import Watermark
from watermark.home import Home
from watermark.keys import key as keys
from watermark.marked import Marked
from watermark.serve.tokens import SCOPES, Tokens
from watermark.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Provider:
    """A home, and what it published."""

    home: Home
    marked: Marked
    file: bytes
    manifest_id: str
    token: str


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    folder = tmp_path_factory.mktemp("serve")

    class Seeded:
        """Whether a mark is found is chance: this key finds it, and always does."""

        @staticmethod
        def token_bytes(count: int) -> bytes:
            return hashlib.sha256(b"tests/serve").digest()[:count]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "secrets", Seeded)
        w = Watermark.create(folder / "home", provider="Acme <b>&")
    w.home.add_tokenizer(TextTokenizer.of(words()))
    marked = w.embed(picture(), format="png")
    token = Tokens(w.home.path).add("all", frozenset(SCOPES))
    [row] = w.home.ledger.by_record(marked.record.record_id)
    return Provider(w.home, marked, marked.data, row.manifest_id, token)


@pytest.fixture(scope="session")
def service(provider: Provider) -> Iterator[Service]:
    with running(provider.home.path) as found:
        yield found


def picture(size: int = 320, seed: int = 3) -> Image.Image:
    """Smooth patches and some grain: as much room for a mark as a photograph has."""
    draw = np.random.default_rng(seed)
    small = draw.integers(40, 215, (size // 20, size // 20, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
    grain = draw.normal(0, 6, (size, size, 3))
    return Image.fromarray(np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8))


def stripped(file: bytes) -> bytes:
    """The same picture without its manifest: a re-save."""
    output = io.BytesIO()
    Image.open(io.BytesIO(file)).convert("RGB").save(output, "PNG")
    return output.getvalue()
