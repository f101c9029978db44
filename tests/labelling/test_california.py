"""California: five facts, from the manifest and from the mark.

Names are those of the conformance list: CA.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from tests.labelling.outputs import SETTINGS, embedded, home, made, picture, stripped

from watermark.api import Watermark
from watermark.errors import LabelError
from watermark.labels import facts
from watermark.marked import Marked

unmarked = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")

FACTS = ["provider", "system", "version", "made_at", "identifier"]
EXPECTED = {"provider": "Acme", "system": "acme-image", "version": "1.2"}


@pytest.mark.parametrize("fact", FACTS)
def test_ca_01_to_05_from_the_manifest(marked: Marked, fact: str) -> None:
    found = facts.of_manifest(marked.manifest)
    record = marked.record
    expected = EXPECTED | {"made_at": record.created_at, "identifier": record.record_id}

    assert getattr(found, fact) == expected[fact]


@pytest.mark.parametrize("fact", FACTS)
def test_ca_01_to_05_from_the_mark_through_the_ledger(
    w: Watermark, marked: Marked, fact: str
) -> None:
    report = w.verify(stripped(marked.data, "JPEG", quality=85))
    [mark] = [e for e in report.evidence if e.layer == "mark" and e.scheme == "pixel"]
    rows = w.home.ledger.by_binding("org.watermark-sdk.pixel.1", mark.payload or b"")
    found = facts.of_record(
        next(r.record for r in rows if r.record.record_id == marked.record.record_id)
    )

    assert getattr(found, fact) == getattr(facts.of_manifest(marked.manifest), fact)


@unmarked
@pytest.mark.parametrize("system", ["", "acme-image"])
def test_ca_02_without_a_version_it_is_refused(tmp_path: Path, system: str) -> None:
    without = SETTINGS.replace('system = "acme-image/1.2"\n', "")
    w = home(tmp_path / "home", without)
    with pytest.raises(LabelError, match="version of the system") as caught:
        embedded(w, picture(), record=made(system=system), format="png", mark=False)
    assert "22757.3(b)(1)" in caught.value.clause


def test_ca_06_a_persons_name_is_not_in_what_is_told(w: Watermark) -> None:
    source = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"
    picture(6).save(source, "JPEG", exif=exif, quality=95)
    out = embedded(w, source.getvalue(), record=made())

    assert b"Jane Doe" in out.data  # the file is the user's own
    assert "Jane Doe" not in w.verify(out.data).to_json()


def test_ca_08_nothing_of_a_submission_stays(
    w: Watermark, marked: Marked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = {p: p.stat().st_size for p in w.home.path.rglob("*") if p.is_file()}
    w.verify(marked.data)
    after = {p: p.stat().st_size for p in w.home.path.rglob("*") if p.is_file()}

    assert after == before
    assert not list(tmp_path.iterdir())
