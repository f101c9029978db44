"""Without its explicit mark a file goes out on request, and the log keeps who got it.

Names are those of the conformance list: CN-13.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.labelling.outputs import (
    embedded,
    generated,
    home,
    labels_in,
    picture,
    states,
)

from watermark.api import Watermark
from watermark.errors import LabelError, StoreError, UnsupportedFormat
from watermark.labels.unmarked import UnmarkedRequest
from watermark.store.ledger import Ledger


def test_cn_13_without_its_mark_a_file_needs_a_request(w: Watermark) -> None:
    options = {"record": generated(w), "format": "png", "explicit": False}
    with pytest.raises(LabelError, match="only on the user's request") as caught:
        embedded(w, picture(), **options)
    assert "Labelling Measures, Art. 9" in caught.value.clause
    for lacking in ({"recipient": " "}, {"agreement": ""}):
        request = UnmarkedRequest(**{"recipient": "u-1", "agreement": "v3", **lacking})
        with pytest.raises(LabelError, match="is empty"):
            embedded(w, picture(), unmarked=request, **options)


def test_cn_13_the_log_keeps_who_got_it_and_cannot_forget(tmp_path: Path) -> None:
    w = home(tmp_path / "home")
    request = UnmarkedRequest("user-4711", "terms-v3")
    out = embedded(
        *(w, picture()),
        record=generated(w),
        format="png",
        explicit=False,
        unmarked=request,
        regimes=["cn"],
    )
    name = out.record.record_id
    [row] = w.home.ledger.by_record(name)

    assert states(out)["explicit"] == "exempt"
    assert labels_in(out.data)  # the label stays
    assert set(row.personal) == {"recipient", "agreement", "requested_at"}
    assert days_kept(row) >= 184
    assert "user-4711" not in repr(request)
    assert b"user-4711" not in out.data + row.body
    with pytest.raises(StoreError, match="hold"):
        w.home.ledger.erase(name)


def test_cn_13_every_copy_that_goes_out_is_held(tmp_path: Path) -> None:
    w = home(tmp_path / "home")
    record = generated(w)
    options = {"record": record, "explicit": False, "regimes": ["cn"]}
    for user, format in (("u-1", "png"), ("u-2", "jpeg")):
        request = UnmarkedRequest(user, "terms-v3")
        embedded(w, picture(), unmarked=request, format=format, **options)
    rows = w.home.ledger.by_record(record.record_id)

    assert [w.home.ledger.personal(r.idx)["recipient"] for r in rows] == ["u-1", "u-2"]
    holds = w.home.ledger.holds()
    assert set(holds) == {f"Labelling Measures, Art. 9: entry {r.idx}" for r in rows}
    w.home.ledger.release(f"Labelling Measures, Art. 9: entry {rows[0].idx}")
    with pytest.raises(StoreError, match="hold"):
        w.home.ledger.erase(record.record_id)


@pytest.mark.parametrize("fault", ["hold", "erased"])
def test_cn_13_nothing_goes_out_that_the_log_does_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    w = home(tmp_path / "home")
    hold, record = Ledger.hold, generated(w)

    def faulty(ledger: Ledger, name: str, record_id: str = "", **more: Any) -> Any:
        if fault == "hold":
            raise StoreError("the disk is full")
        ledger.erase(record_id)  # somebody was faster
        return hold(ledger, name, record_id, **more)

    monkeypatch.setattr(Ledger, "hold", faulty)
    out = embedded(
        w,
        picture(),
        record=record,
        explicit=False,
        regimes=["cn"],
        unmarked=UnmarkedRequest("u-1", "v3"),
    )
    with pytest.raises((StoreError, LabelError)):
        out.save(tmp_path / "a.png")
    with pytest.raises(UnsupportedFormat):
        _ = out.data
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("regimes", [["in"], ["cn", "in"], ["global"]])
def test_cn_13_is_no_waiver_under_another_law(w: Watermark, regimes: list[str]) -> None:
    request = UnmarkedRequest("u-1", "v3")
    options = {"record": generated(w), "format": "png", "regimes": regimes}
    with pytest.raises(LabelError, match="on nobody's request") as caught:
        embedded(w, picture(), explicit=False, unmarked=request, **options)
    assert "IT Rules" in caught.value.clause


def test_a_request_that_would_be_ignored_is_told(w: Watermark) -> None:
    request = UnmarkedRequest("u-1", "v3")
    options = {"record": generated(w), "format": "png", "unmarked": request}
    with pytest.raises(ValueError, match="explicit=False"):
        embedded(w, picture(), regimes=["cn"], **options)
    with pytest.raises(LabelError, match="leave unmarked= out"):
        embedded(w, picture(), regimes=["eu"], explicit=False, **options)
    with pytest.raises(ValueError, match="'no' found"):
        embedded(w, picture(), record=generated(w), explicit="no")
    with pytest.raises(ValueError, match="as_of"):
        embedded(w, picture(), record=generated(w), as_of="2026-11-23")
    with pytest.raises(LabelError, match="requested_at"):
        UnmarkedRequest("u-1", "v3", "yesterday").check()


def days_kept(row: Any) -> int:
    return (
        date.fromisoformat(row.retain_until[:10]) - date.fromisoformat(row.ts[:10])
    ).days
