"""What holds of every picture and document: one label, signed after, damage."""

from pathlib import Path

import pytest
from benchmarks.label_corruption import attack
from benchmarks.label_samples import Sample
from tests.labels.carriers import (
    DOCUMENTS,
    DOCX,
    LABEL,
    OTHER,
    files,
    labelled,
    labels,
)

from watermark.api import Watermark
from watermark.errors import LabelError
from watermark.labels import aigc, containers

SUFFIXES = {DOCX: ".docx", "application/pdf": ".pdf"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


@pytest.mark.parametrize("media_type", files())
def test_a_label_of_a_producer_whose_name_is_chinese_is_propagated(
    media_type: str,
) -> None:
    raw = '{"Label":"1","ContentProducer":"灯台","ProduceID":"7"}'.encode()
    label = aigc.propagated(aigc.parse(raw), "a", "b")
    before = labelled(files()[media_type], media_type, label)
    after = labelled(before, media_type, replace=True)

    assert labels(before, media_type) == [label]
    assert labels(after, media_type) == [LABEL]


@pytest.mark.parametrize("media_type", files())
def test_cn_02_one_label_after_two_writes(media_type: str) -> None:
    once = labelled(files()[media_type], media_type)
    with pytest.raises(LabelError, match=r"GB 45438-2025, 6\.1 c\)"):
        labelled(once, media_type)
    again = labelled(once, media_type, replace=True)
    other = labelled(again, media_type, OTHER, replace=True)

    assert labels(again, media_type) == [LABEL]
    assert labels(other, media_type) == [OTHER]


@pytest.mark.parametrize(
    ("media_type", "carrier"),
    [
        (DOCX, None),
        ("application/pdf", None),
        ("text/markdown", "sidecar"),
        ("text/markdown", "structured"),
        ("text/markdown", "wrapper"),
        ("text/html", "html"),
    ],
)
def test_a_document_that_is_signed_after_is_trusted(
    home: Watermark, tmp_path: Path, media_type: str, carrier: str | None
) -> None:
    suffix = {**SUFFIXES, "text/markdown": ".md", "text/html": ".html"}[media_type]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(labelled(files()[media_type], media_type))
    with pytest.warns(UserWarning, match="carries no mark"):
        signed = home.embed(path, mark=False, carrier=carrier)  # type: ignore[arg-type]
    signed.save(path)
    report = home.verify(path)

    states = [each.state for each in report.evidence if each.layer == "manifest"]
    assert states == ["trusted"]
    assert labels(path.read_bytes(), media_type) == [LABEL]


@pytest.mark.parametrize("media_type", files())
def test_cn_15_damaged_containers_raise_nothing_else(media_type: str) -> None:
    """And are never called files without a label."""
    sample = Sample(media_type, media_type, files()[media_type])
    outcome = attack(sample, range(120))

    assert outcome.wrong == []
    assert outcome.counts["label"] > 0
    assert outcome.counts["damaged"] + outcome.counts["name spoilt"] > 0


def test_every_type_that_is_written_here_has_its_module() -> None:
    assert {*DOCUMENTS} < containers.SUPPORTED
    assert containers.WITH_XMP < containers.SUPPORTED
