"""A platform passes a file on: what it says of it, and the producer's chain.

Names are those of the conformance list: CN, X.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.labelling.outputs import labels_in, picture
from tests.pictures import png

from watermark import labels
from watermark.api import Watermark
from watermark.errors import LabelError
from watermark.labels import aigc
from watermark.labels.platform import classify
from watermark.marked import Marked
from watermark.sign import c2pa


@pytest.mark.parametrize(
    ("label", "declared", "traces", "level"),
    [
        (False, False, False, ""),
        (False, False, True, "3"),
        (False, True, False, "2"),
        (False, True, True, "2"),
        (True, False, False, "1"),
        (True, False, True, "1"),
        (True, True, False, "1"),
        (True, True, True, "1"),
    ],
)
def test_cn_12_what_a_platform_says(
    label: bool, declared: bool, traces: bool, level: str
) -> None:
    assert classify(label=label, declared=declared, traces=traces) == level


def test_x_02_a_platform_keeps_the_producers_chain(
    marked: Marked, w: Watermark, tmp_path: Path
) -> None:
    platform = Watermark.create(tmp_path / "home", provider="Platform")
    passed = platform.propagate(marked.data, code="platform", propagate_id="q1")
    [raw] = labels_in(passed.data)
    found = aigc.parse(raw).label
    [before] = labels_in(marked.data)
    producer = aigc.parse(before).label
    assert found is not None
    assert producer is not None

    assert (found.content_propagator, found.propagate_id) == ("platform", "q1")
    assert replace(found, content_propagator="", propagate_id="") == producer
    assert labels.security.verify(found).state == "intact"
    read = c2pa.read(passed.data, "image/png", anchors=platform.home.anchors)
    assert read.state == "trusted"
    [mine] = w.home.ledger.by_record(marked.record.record_id)
    assert mine.manifest_id.encode() in passed.manifest  # the producer's, inside ours
    assert mine.manifest_id != read.manifest_id


def test_a_platform_says_nothing_of_a_file_without_reason(w: Watermark) -> None:
    data = png(picture(7, 64))
    with pytest.raises(LabelError, match="nothing is said"):
        w.propagate(data, code="platform", propagate_id="q1")
    told = w.propagate(data, code="platform", propagate_id="q1", declared=True)
    assert aigc.parse(labels_in(told.data)[0]).label == aigc.Label(
        "2", content_propagator="platform", propagate_id="q1"
    )
