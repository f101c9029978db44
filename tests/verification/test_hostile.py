"""Content that is no content: a verdict, and never an exception."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.pictures import png
from tests.toys import words
from tests.verification.reports import codes, layer, met

from watermark import policy
from watermark.api import Watermark
from watermark.assets import DamagedAsset
from watermark.assets import image as image_asset
from watermark.assets.loading import Audio, Tokens, load
from watermark.record import Record
from watermark.report import Report, Verdict

pytestmark = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")

FAST = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

HOSTILE: dict[str, Any] = {
    "empty": b"",
    "empty-text": "",
    "no-tokens": Tokens([]),
    "nul": b"\0",
    "nul-in-text": "a\0b",
    "nul-in-bytes": b"a\0b",
    "random": np.random.default_rng(0).bytes(5000),
    "surrogate": "\ud800",
    "surrogates": "text \udcff\ud800 and more",
    "png-signature": b"\x89PNG\r\n\x1a\n",
    "png-cut": png(Image.new("RGB", (30, 30)))[:60],
    "jpeg-signature": b"\xff\xd8\xff",
    "webp-signature": b"RIFF\x10\0\0\0WEBPVP8 ",
    "mp4-signature": b"\0\0\0\x18ftypisom",
    "pdf-signature": b"%PDF-1.7",
    "elf": b"\x7fELF" + bytes(60),
    "zip": b"PK\3\4" + bytes(60),
    "html": b"<script>alert(1)</script>",
    "bom": b"\xef\xbb\xbftext",
    "utf16": "text".encode("utf-16"),
    "deep-json": b"[" * 100_000,
    "combining": "e" + "\u0301" * 100_000,
    "huge-ids": [2**32 - 1] * 50,
    "float-picture": Image.new("F", (9, 9)),
    "deep-picture": Image.new("I;16", (9, 9)),
    "empty-picture": Image.new("RGB", (0, 0)),
    "sound": Audio(np.zeros(100), 16000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_a_verdict(w: Watermark, name: str) -> None:
    report = w.verify(HOSTILE[name], tokenizer=words(), pipeline=None)

    assert report.verdict in (Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)
    assert report.reasons
    assert json.loads(report.to_json())["verdict"] == report.verdict


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("empty", "unreadable"),
        ("elf", "unreadable"),
        ("random", "unreadable"),
        ("png-cut", "unreadable"),
        ("sound", "unreadable"),
    ],
)
def test_the_reason_says_what_could_not_be_looked_at(
    w: Watermark, name: str, code: str
) -> None:
    assert code in codes(w.verify(HOSTILE[name]))


def test_a_picture_object_cut_short_is_a_verdict(w: Watermark) -> None:
    """Pillow reads lazily: the damage shows when the pixels are asked for."""
    rng = np.random.default_rng(0)
    data = png(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    with Image.open(io.BytesIO(data[: len(data) // 2])) as image:
        assert w.verify(image).verdict == Verdict.INCONCLUSIVE


def test_a_line_of_ten_megabytes_is_a_verdict(w: Watermark) -> None:
    for text in ("a" * 10_000_000, "w1 w2 " * 1_600_000):
        assert w.verify(text).verdict == Verdict.INCONCLUSIVE
        assert w.verify(text.encode()).kind == "text"


def test_a_text_over_the_limit_is_a_verdict(w: Watermark) -> None:
    report = w.verify(b"a" * (17 << 20), tokenizer=words())

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "unreadable" in codes(report)


@FAST
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_verdict(w: Watermark, data: bytes) -> None:
    assert isinstance(w.verify(data, tokenizer=words()), Report)


@FAST
@given(text=st.text(max_size=60) | st.text("a \0\n\u0301\ud800\udfff", max_size=9))
def test_any_text_is_a_verdict(w: Watermark, text: str) -> None:
    """Lone surrogates too."""
    assert isinstance(w.verify(text, tokenizer=words()), Report)


@FAST
@given(ids=st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_any_ids_are_a_verdict(w: Watermark, ids: list[int]) -> None:
    assert isinstance(w.verify(Tokens(ids)), Report)


SIGNATURES = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF-", b"\0\0\0\x14ftypisom"]


@FAST
@given(signature=st.sampled_from(SIGNATURES), data=st.binary(max_size=200))
def test_any_bytes_behind_a_signature_are_a_verdict(
    w: Watermark, signature: bytes, data: bytes
) -> None:
    assert isinstance(w.verify(signature + data), Report)


@pytest.fixture(scope="module")
def signed_png(w: Watermark) -> bytes:
    record = Record(kind="image", provider="Acme")
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return w.embed(png(image), record=record).data


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with a few bytes changed, cut out or put in."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(out) - 1)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if kind == "change" and out:
            out[place] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del out[place : place + draw(st.integers(1, 200))]
        elif kind == "insert":
            out[place:place] = draw(st.binary(min_size=1, max_size=20))
        else:
            del out[place:]
    return bytes(out)


@FAST
@given(data=st.data())
def test_an_altered_signed_picture_says_what_was_signed_or_is_not_trusted(
    w: Watermark, signed_png: bytes, data: st.DataObject
) -> None:
    """Bytes that nothing signs, such as the padding of a manifest, may change."""
    altered = data.draw(mutations(signed_png))
    report = w.verify(altered)
    if not met(report, policy.Signed()):
        return

    assert layer(report, "manifest") == layer(w.verify(signed_png), "manifest")
    with contextlib.suppress(DamagedAsset):  # Pillow checks sums that C2PA does not
        expected, found = (image_asset.decode(x) for x in (signed_png, altered))

        assert image_asset.digest(found) == image_asset.digest(expected)


@pytest.fixture(scope="module")
def signed_bytes(w: Watermark) -> tuple[bytes, bytes]:
    """A text and its sidecar."""
    record = Record(kind="text", provider="Acme")
    marked = w.embed("A text that was signed.\n", record=record)
    return marked.data, marked.manifest


@FAST
@given(data=st.data())
def test_an_altered_signed_text_is_never_trusted(
    w: Watermark, signed_bytes: tuple[bytes, bytes], data: st.DataObject
) -> None:
    text, sidecar = signed_bytes
    altered = data.draw(mutations(text))
    report = w.verify(replace(load(altered), sidecar=sidecar))

    assert altered == text or not met(report, policy.Signed())


@FAST
@given(data=st.data())
def test_an_altered_sidecar_says_what_was_signed_or_is_not_trusted(
    w: Watermark, signed_bytes: tuple[bytes, bytes], data: st.DataObject
) -> None:
    text, sidecar = signed_bytes
    asset = replace(load(text), sidecar=sidecar)
    altered = data.draw(mutations(sidecar))
    report = w.verify(replace(asset, sidecar=altered))
    if met(report, policy.Signed()):
        assert layer(report, "manifest") == layer(w.verify(asset), "manifest")
