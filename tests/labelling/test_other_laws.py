"""Korea, and regimes of a caller's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.labelling.outputs import (
    CODE,
    SETTINGS,
    embedded,
    generated,
    home,
    own,
    picture,
)

from watermark.api import Watermark
from watermark.errors import LabelError
from watermark.labels.regimes import Duty, Level


def test_a_regime_of_ones_own_gets_its_label_or_an_error(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace(f'producer = "{CODE}"', ""))
    duty = Duty(layer="label", level=Level.REQUIRED, clause="Elsewhere, Art. 1")
    with pytest.raises(LabelError, match="no provider to name") as caught:
        embedded(w, picture(), record=generated(w), format="png", regimes=[own(duty)])
    assert caught.value.clause == "Elsewhere, Art. 1"


def test_what_a_regime_forbids_is_not_there(w: Watermark) -> None:
    duty = Duty(layer="manifest", level=None, clause="Elsewhere, Art. 2")
    with pytest.raises(LabelError, match="manifest: it is there") as caught:
        embedded(w, picture(), record=generated(w), format="png", regimes=[own(duty)])
    assert caught.value.clause == "Elsewhere, Art. 2"


def test_korea_is_told_what_to_show(w: Watermark) -> None:
    out = embedded(w, picture(), record=generated(w), format="png", regimes=["kr"])
    [notice] = [e for e in out.layers if e.name == "notice"]

    assert notice.state == "declared"
    assert "AI-generated · Acme" in notice.detail
