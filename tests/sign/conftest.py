"""Real files of every format, made here, and one development credential."""

from pathlib import Path

import pytest
from benchmarks.conformance.containers import containers

from watermark.record import Mark, Record
from watermark.sign.credential import Credential


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """One small file of each format that carries a manifest."""
    return containers()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acme") / "credential"


@pytest.fixture(scope="session")
def credential(folder: Path) -> Credential:
    return Credential.create_dev(folder, "Acme")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    """Another CA that also calls itself Acme."""
    return Credential.create_dev(tmp_path_factory.mktemp("other") / "c", "Acme")


@pytest.fixture
def record() -> Record:
    noise = Mark(scheme="noise", version=1, key_id="k1", mark_id=bytes(range(248, 256)))
    pixel = Mark(scheme="pixel", version=2, key_id="k1", mark_id=b"\0\1\2\3\4\5\6\7")
    return Record(
        record_id="0123456789abcdef" * 2,
        kind="image",
        created_at="2026-11-23T09:00:00Z",
        provider="Acme",
        system="acme-diffusion/3.1",
        model="lighthouse-xl",
        marks=(noise, pixel, Mark(scheme="latent", version=1, key_id="k2")),
        content=("c0ffee" * 10 + "beef",),
    )
