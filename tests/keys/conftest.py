"""A key, and the file it is saved in."""

from __future__ import annotations

from pathlib import Path

import pytest

from watermark.keys import Key

SECRET = bytes((*range(101, 132), 100))
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def key() -> Key:
    return Key(SECRET)


@pytest.fixture
def saved(tmp_path: Path, key: Key) -> Path:
    key.save(tmp_path / "a.key")
    return tmp_path / "a.key"
