"""One call for all laws: every layer is written, read back, and names its clauses.

Names are those of the conformance list: X for what all laws share.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.labelling.outputs import (
    CODE,
    LAWS,
    TODAY,
    embedded,
    generated,
    labels_in,
    made,
    picture,
    states,
)
from tests.pictures import png

from watermark import api, labelling, labels
from watermark.api import Watermark
from watermark.errors import LabelError, SigningError
from watermark.labels import aigc, containers, facts
from watermark.marked import Marked
from watermark.record import Provider
from watermark.report import Verdict
from watermark.sign import jumbf


def test_every_layer_is_read_back_and_names_its_clauses(marked: Marked) -> None:
    assert states(marked) == {
        "consent": "outside",
        "keep-marks": "verified",
        "origin": "verified",
        "facts": "verified",
        "filing": "verified",
        "detector": "verified",
        "watermark": "verified",
        "explicit": "verified",
        "provider-code": "verified",
        "security": "verified",
        "label": "verified",
        "iptc": "verified",
        "manifest": "verified",
        "timestamp": "deferred",
        "ledger": "placed",
    }
    clauses = {layer.name: " ".join(layer.clauses) for layer in marked.layers}
    assert "GB 45438-2025, 6.1" in clauses["label"]
    assert "Art. 50(2)" in clauses["watermark"]
    assert "22757.3(b)(4)" in clauses["watermark"]
    assert all(clauses.values())
    assert marked.ui_hint == "AI生成 · Acme acme-image (Beijing-123)"


def test_one_record_id_stands_everywhere(w: Watermark, marked: Marked) -> None:
    name = marked.record.record_id
    [raw] = labels_in(marked.data)
    packet = containers.read_xmp(io.BytesIO(marked.data), "image/png") or b""
    [published] = [r for r in w.home.ledger.by_record(name) if r.event == "published"]

    assert aigc.parse(raw).label.produce_id == name  # type: ignore[union-attr]
    assert f"xmp.iid:{name}".encode() in packet
    assert facts.of_manifest(marked.manifest).identifier == name
    assert published.record.record_id == name
    assert w.verify(marked.data).record_id == name


def test_a_labelled_file_stays_trusted(w: Watermark, marked: Marked) -> None:
    report = w.verify(marked.data)
    found = {e.layer: e.state for e in report.evidence}

    assert report.verdict is Verdict.MARKED
    assert found["manifest"] == "trusted"
    assert found["label"] == "present"


def test_the_manifest_names_the_label_by_its_digest_only(marked: Marked) -> None:
    said = jumbf.parse(marked.manifest).content(labelling.ASSERTION)

    assert said["regimes"] == LAWS
    assert said["timestamp"] == "deferred"
    assert len(said["label_sha256"]) == 64
    assert b"AIGC" not in marked.manifest


def test_a_file_that_nobody_says_is_generated_is_not_labelled(w: Watermark) -> None:
    with pytest.raises(LabelError, match="nothing says that a model made"):
        embedded(w, picture(), format="png")
    changed = made(origin="altered", source="composite")
    out = embedded(w, png(picture(5)), record=changed)
    assert states(out)["manifest"] == "verified"


def test_a_required_layer_that_nobody_saw_to_is_told() -> None:
    needs = labels.regimes.requirements(["cn"], "image", as_of=TODAY)
    account = labelling.account.Account(needs)
    for layer in needs.rows:
        if layer != "keep-marks":
            account.enter(layer, "verified")
    with pytest.raises(LabelError, match="keep-marks: required") as caught:
        account.check()
    assert "Art. 10" in caught.value.clause


def test_x_01_a_label_after_the_manifest_breaks_it_and_is_refused(
    w: Watermark, marked: Marked
) -> None:
    later = io.BytesIO()
    other = aigc.Label("1", CODE, "other").encode()
    containers.write(io.BytesIO(marked.data), later, "image/png", other, replace=True)

    assert w.verify(later.getvalue()).verdict is Verdict.CONFLICT
    with pytest.raises(SigningError, match="has a manifest already"):
        embedded(w, marked.data, record=generated(w), explicit="placed")


def public_names(module: Any) -> Iterator[str]:
    for name in vars(module):
        if not name.startswith("_"):
            yield name


def test_x_04_nothing_public_takes_a_mark_or_label_out() -> None:
    import importlib
    import pkgutil

    modules: list[Any] = [api, api.Watermark, Marked, labelling]
    for package in (labels, containers):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            modules.append(importlib.import_module(found.name))
    words = ("strip", "remove", "erase", "unmark_", "delete", "clean", "scrub")
    names = [f"{m.__name__}.{n}" for m in modules for n in public_names(m)]

    assert len(names) > 200
    assert not [n for n in names if any(word in n.rpartition(".")[2] for word in words)]


def test_a_system_of_ones_own_record_is_not_replaced(w: Watermark) -> None:
    options = {"format": "png", "regimes": ["us-ca"]}
    own = embedded(w, picture(), record=generated(w, system="acme-3d/2.0"), **options)
    found = facts.of_manifest(own.manifest)
    library = generated(w, system="diffusers/StableDiffusion3Pipeline")
    ours = facts.of_manifest(embedded(w, picture(), record=library, **options).manifest)

    assert (found.system, found.version) == ("acme-3d", "2.0")
    assert (ours.system, ours.version) == ("acme-image", "1.2")
    assert facts.of_record(library).missing == ("(B) version of the system",)


def test_options_of_regimes_without_regimes_are_told(w: Watermark) -> None:
    with pytest.raises(ValueError, match="explicit found"):
        w.embed(picture(), record=made(), format="png", explicit=True)


def test_details_of_the_provider_stand_in_the_manifest(marked: Marked) -> None:
    found = facts.provider_of(marked.manifest)
    expected = Provider(
        name="Acme",
        detector="https://acme.example/detect",
        filings=(("CAC", "Beijing-123"),),
    )

    assert found == expected.to_dict()
    assert json.dumps(found)
