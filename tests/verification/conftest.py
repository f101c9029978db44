"""Two providers, their key records, and a marked text."""

from __future__ import annotations

import pytest
from tests.toys import generate

from watermark.api import Watermark
from watermark.home import Home
from watermark.keys import KeyRecord
from watermark.schemes import SCHEMES


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    folder = tmp_path_factory.mktemp("acme") / "home"
    return Watermark(Home.create(folder, provider="Acme"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    folder = tmp_path_factory.mktemp("eve") / "home"
    return Watermark(Home.create(folder, provider="Eve"))


@pytest.fixture(scope="module")
def gumbel_record(w: Watermark) -> KeyRecord:
    return SCHEMES["gumbel"].record(w.home.ring.newest.key)


@pytest.fixture(scope="module")
def noise_record(w: Watermark) -> KeyRecord:
    """With few nonces, so that a search takes no second."""
    return SCHEMES["noise"].record(w.home.ring.newest.key, nonce_bits=6)


@pytest.fixture(scope="module")
def marked_ids(gumbel_record: KeyRecord) -> list[int]:
    return generate(gumbel_record)
