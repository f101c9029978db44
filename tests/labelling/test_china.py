"""China: one label, with a provider's code, and somebody else's stays.

Names are those of the conformance list: CN.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.labelling.outputs import (
    CODE,
    SETTINGS,
    embedded,
    generated,
    home,
    labels_in,
    made,
    picture,
    stripped,
)
from tests.pictures import png

from watermark.api import Watermark
from watermark.errors import HomeError, LabelError
from watermark.labels import aigc, containers


def test_cn_02_one_label_even_where_there_was_one(w: Watermark) -> None:
    before = io.BytesIO()
    other = aigc.Label("1", CODE, "other").encode()
    data = stripped(png(picture(2)))
    containers.write(io.BytesIO(data), before, "image/png", other)
    again = embedded(w, before.getvalue(), record=made(), regimes=["cn"])

    [label] = [aigc.parse(raw).label for raw in labels_in(again.data)]
    assert label is not None
    assert label.produce_id == again.record.record_id


def test_cn_art_10_somebody_elses_label_is_not_replaced(w: Watermark) -> None:
    before = io.BytesIO()
    other = aigc.Label("1", "somebody", "other").encode()
    containers.write(io.BytesIO(png(picture(2))), before, "image/png", other)
    with pytest.raises(LabelError, match="label of 'somebody' already") as caught:
        embedded(w, before.getvalue(), record=made(), regimes=["cn"])
    assert "Art. 10" in caught.value.clause
    beside = embedded(w, before.getvalue(), record=made(), regimes=["eu"])
    assert labels_in(beside.data) == [other]  # no law of ours here: it stays


def test_without_a_provider_code_nothing_is_invented(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace(f'producer = "{CODE}"', ""))
    with pytest.raises(LabelError, match="provider-code: none is known") as caught:
        embedded(w, picture(), record=generated(w), format="png")
    assert "Annex E" in caught.value.clause


def test_a_mistyped_provider_code_is_refused(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace("MAD55U9H0F", "MAD55U9H1F"))
    with pytest.raises(LabelError, match="check character"):
        embedded(w, picture(), record=generated(w), format="png")


@pytest.mark.parametrize(
    "producer", [CODE[:-1], CODE.lower(), f"{CODE[:22]}2{CODE[23:]}"]
)
def test_what_is_no_code_of_a_generator_is_no_name_either(
    tmp_path: Path, producer: str
) -> None:
    w = home(tmp_path / "home", SETTINGS.replace(CODE, producer))
    with pytest.raises(LabelError, match="expected"):
        embedded(w, picture(), record=generated(w), format="png")


def test_a_filing_without_its_number_is_none(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace("Beijing-123", ""))
    with pytest.raises(HomeError, match="a number"):
        embedded(w, picture(), record=generated(w), format="png")
