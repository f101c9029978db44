"""A language model, attached through a home: what it says leads back to its record."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pipelines import tiny
from watermark.api import Watermark
from watermark.assets.loading import Tokens
from watermark.errors import UnsupportedPipeline
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import SCHEMES

LENGTH = 220


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.language_model()


def said(model: Any, rows: int = 1) -> list[list[int]]:
    """New tokens of `rows` continuations, sampled."""
    prompt = torch.arange(3, 9)[None].repeat(rows, 1)
    torch.manual_seed(5)
    ids = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=True,
        min_new_tokens=LENGTH,
        max_new_tokens=LENGTH,
    )
    return [row[prompt.shape[1] :].tolist() for row in ids]


def mark(report: Report) -> Evidence:
    return min(
        (e for e in report.evidence if e.layer == "mark"),
        key=lambda e: e.log10_p or 0.0,
    )


def altered(ids: list[int]) -> Tokens:
    """Not the whole output, so that no digest matches."""
    return Tokens(ids[:-3])


@pytest.mark.parametrize("bits", [16, 32])
def test_each_output_has_a_mark_id_that_leads_to_its_record(
    w: Watermark, model: Any, bits: int
) -> None:
    with w.attach(model, payload=bits) as attachment:
        outputs = said(model, 2)
    ids = [record.marks[0].mark_id for record in attachment.records]

    assert [len(i) for i in ids] == [bits // 8] * 2
    assert ids[0] != ids[1]
    for output, record, mark_id in zip(outputs, attachment.records, ids, strict=True):
        report = w.verify(altered(output))

        assert report.verdict == Verdict.MARKED
        assert mark(report).payload == mark_id
        assert report.record_ids == (record.record_id,)


def test_a_message_of_ones_own_is_in_every_output(w: Watermark, model: Any) -> None:
    with w.attach(model, payload=b"\x0b\xad") as attachment:
        outputs = said(model, 2)

    assert {r.marks[0].mark_id for r in attachment.records} == {b"\x0b\xad"}
    assert {mark(w.verify(altered(o))).payload for o in outputs} == {b"\x0b\xad"}


def test_a_dual_mark_carries_a_message_and_keeps_its_nonce(
    w: Watermark, model: Any
) -> None:
    """The public half has no message, so nothing but the nonce keeps it diverse."""
    with w.attach(model, payload=b"\x0b\xad", dual=1) as attachment:
        (output,) = said(model)
    parameters = attachment.key_record.parameters

    assert parameters["payload_bits"] == 16
    assert parameters["nonce_bits"] == SCHEMES["gumbel"].defaults["nonce_bits"] == 4
    assert mark(w.verify(altered(output))).payload == b"\x0b\xad"


@pytest.mark.parametrize(
    ("scheme", "parameters"),
    [
        ("gumbel", {}),
        ("gumbel", {"width": 2}),
        ("gumbel", {"dual": 1}),
        ("tournament", {}),
        ("greenlist", {"delta": 4.0}),
    ],
)
def test_every_scheme_and_profile_is_found_in_its_home(
    w: Watermark, model: Any, scheme: str, parameters: dict[str, Any]
) -> None:
    with w.attach(model, scheme=scheme, **parameters):
        (output,) = said(model)
    report = w.verify(altered(output))

    assert report.verdict == Verdict.MARKED
    assert mark(report).scheme == scheme


def test_the_public_half_of_a_dual_mark_is_no_second_provider(
    w: Watermark, model: Any
) -> None:
    from watermark.schemes.gumbel import public_record

    with w.attach(model, dual=1) as attachment:
        (output,) = said(model)
    private = attachment.key_record
    report = w.verify(altered(output), keys=[private, public_record(private)])

    assert report.verdict == Verdict.MARKED
    assert len({e.key_id for e in report.evidence if e.layer == "mark"}) == 2


def test_a_model_reads_its_own_text_better(w: Watermark, model: Any) -> None:
    sure = copy.deepcopy(model)
    with torch.no_grad():
        sure.lm_head.weight *= 40  # about 2 nats a token
    with w.attach(sure):
        (output,) = said(sure)
    short = Tokens(output[:60])
    blind, told = (mark(w.verify(short, pipeline=p)) for p in (None, sure))

    assert told.detail.startswith("weighed by the model")
    assert (told.log10_p or 0.0) < (blind.log10_p or 0.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"payload": b"123"}, "payload_bits is 24"),
        ({"payload": 8}, "payload_bits is 8"),
        ({"colour": 1}, "no parameter colour"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_parameters_out_of_range_are_refused(
    w: Watermark, model: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        w.attach(model, **more)


@pytest.mark.parametrize("scheme", ["greenlist", "tournament"])
def test_a_scheme_without_messages_refuses_them(
    w: Watermark, model: Any, scheme: str
) -> None:
    with pytest.raises(UnsupportedPipeline, match="carries no payload"):
        w.attach(model, scheme=scheme, payload=16)


def test_what_is_for_pipelines_is_refused_for_models(w: Watermark, model: Any) -> None:
    with pytest.raises(UnsupportedPipeline, match="layers= are for diffusers"):
        w.attach(model, layers=("noise",))


def test_layers_of_a_pipeline_are_all_in_the_record_and_the_manifest(
    w: Watermark,
) -> None:
    pipe = tiny.stable_diffusion()
    with w.attach(pipe, layers=("noise", "latent")) as attachment:
        picture = pipe("a lamp", num_inference_steps=2, height=128, width=128).images[0]
    marked = w.embed(picture, format="png")

    assert [m.scheme for m in attachment.records[0].marks] == ["noise", "latent"]
    assert marked.record.record_id == attachment.records[0].record_id
    report = w.verify(marked.data)
    [manifest] = [e for e in report.evidence if e.layer == "manifest"]
    assert manifest.state == "trusted"


def test_nothing_of_this_holds_a_secret(
    w: Watermark, model: Any, tmp_path: Path
) -> None:
    with w.attach(model, payload=16) as attachment:
        attachment.save(tmp_path)
        shown = f"{attachment!r} {attachment.key_record!r}"
    secret = w.home.ring.newest.key.derive("public", "gumbel.1", 0)
    written = (tmp_path / "watermark.json").read_text()

    assert np.frombuffer(secret, np.uint8).size == 32
    assert secret.hex() not in written + shown
    assert "secret" not in written
