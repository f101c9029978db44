"""The table of verdicts: pictures, marked, signed, stripped and altered."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.affine import Affine, picture
from tests.pictures import png
from tests.verification.reports import codes, layer, met

from watermark import policy, verification
from watermark.api import Watermark
from watermark.assets import fingerprint
from watermark.assets import image as image_asset
from watermark.keys import Key, KeyRecord
from watermark.marked import Marked
from watermark.record import Mark, Record
from watermark.report import Report, Verdict
from watermark.schemes import SCHEMES, default_records, noise
from watermark.store.leaf import Entry

pytestmark = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")


def test_what_was_only_signed_here_is_not_said_to_be_generated(w: Watermark) -> None:
    data = png(Affine().picture(np.zeros(Affine.shape)))
    w.embed(data)  # somebody's finished file: its record says so
    report = w.verify(data, pipeline=Affine(), keys=default_records(Key.generate())[:2])

    assert report.verdict == Verdict.INCONCLUSIVE


def look(w: Watermark, asset: Any, record: KeyRecord, **more: Any) -> Report:
    return w.verify(asset, pipeline=Affine(), keys=record, **more)


def generated(
    w: Watermark, record: KeyRecord, *, seed: int, mark_id: bytes | None = None
) -> tuple[Image.Image, Marked]:
    """A marked picture, in the ledger and signed."""
    image, found = picture(record, seed=seed)
    mark = Mark(
        scheme="noise",
        version=1,
        key_id=record.kid,
        mark_id=found if mark_id is None else mark_id,
    )
    entry = Record(
        kind="image",
        provider=w.home.provider,
        marks=(mark,),
        content=(image_asset.digest(image),),
    )
    w.home.ledger.append([Entry(event="generated", record=entry)])
    return image, w.embed(image, format="png")


def nudged(image: Image.Image) -> bytes:
    """The picture a little changed: no digest knows it any more."""
    pixels = np.asarray(image).copy()
    pixels[::4, ::4] ^= 1
    return png(Image.fromarray(pixels))


def test_a_marked_picture_is_marked_and_its_id_is_read(
    w: Watermark, noise_record: KeyRecord
) -> None:
    image, mark_id = picture(noise_record)
    report = look(w, image, noise_record)
    [mark] = layer(report, "mark")

    assert report.verdict == Verdict.MARKED
    assert mark.payload == mark_id


def test_an_unmarked_picture_is_no_evidence_with_the_power(
    w: Watermark, noise_record: KeyRecord
) -> None:
    z = np.random.default_rng(5).standard_normal(Affine.shape)
    report = look(w, image_asset.encode(Affine().picture(z), "image/png"), noise_record)

    assert report.verdict == Verdict.NO_EVIDENCE
    assert codes(report) == {"power"}


def test_three_looks_are_paid_for_by_their_shares(
    w: Watermark, noise_record: KeyRecord
) -> None:
    z = np.random.default_rng(6).standard_normal(Affine.shape)
    [quick] = layer(look(w, Affine().picture(z), noise_record, effort="quick"), "mark")
    shares = [share for _, share in verification.LOOKS["normal"]]

    assert sum(shares) <= 1
    assert quick.hypotheses % 2 == 0
    image, _ = picture(noise_record)
    [found] = layer(look(w, image, noise_record), "mark")
    assert found.hypotheses == 2 * (2 << (6 + 64))  # share 1/2, two statistics


def test_a_picture_without_a_pipeline_is_inconclusive(
    w: Watermark, noise_record: KeyRecord
) -> None:
    report = w.verify(picture(noise_record)[0], keys=noise_record)

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"no-pipeline", "pixels-only"}


def test_a_picture_the_model_refuses_is_inconclusive(
    w: Watermark, noise_record: KeyRecord
) -> None:
    tiny = Image.new("RGB", (3, 3), "red")
    report = look(w, tiny, noise_record)

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"not-invertible", "pixels-only"}


def test_a_signed_picture_without_a_pipeline_is_signed(
    w: Watermark, noise_record: KeyRecord
) -> None:
    _, marked = generated(w, noise_record, seed=20)
    report = w.verify(marked.data)

    assert report.verdict == Verdict.SIGNED
    assert report.record_id == marked.record.record_id
    assert met(report, policy.Signed(by="Acme"))


def test_a_picture_saved_again_is_known_by_its_pixels(
    w: Watermark, noise_record: KeyRecord
) -> None:
    """Stripped of its manifest, in another lossless container."""
    image, marked = generated(w, noise_record, seed=21)
    webp = io.BytesIO()
    Image.open(io.BytesIO(marked.data)).save(webp, "WEBP", lossless=True, exact=True)
    for asset in (png(image), webp.getvalue(), image):
        report = w.verify(asset)

        assert report.verdict == Verdict.SIGNED
        assert report.record_id == marked.record.record_id
        assert not met(report, policy.Signed())


def test_a_stripped_manifest_is_recovered_by_the_mark(
    w: Watermark, noise_record: KeyRecord
) -> None:
    image, marked = generated(w, noise_record, seed=22)
    data = nudged(image)
    report = look(w, data, noise_record)
    states = {evidence.state for evidence in layer(report, "manifest")}

    assert w.verify(data).record_id is None  # no digest leads there
    assert report.verdict == Verdict.MARKED
    assert report.record_id == marked.record.record_id
    assert "recovered" in states
    assert met(report, policy.Signed(by="Acme", recovered=True))
    assert not met(report, policy.Signed(by="Acme"))


def test_a_mark_on_what_was_signed_under_another_is_a_conflict(
    w: Watermark, noise_record: KeyRecord
) -> None:
    _, marked = generated(w, noise_record, seed=23, mark_id=b"another.")
    report = look(w, marked.data, noise_record)

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"other-mark"}
    assert met(report, policy.Marked())


def test_a_mark_carried_over_to_another_picture_is_a_conflict(
    w: Watermark, noise_record: KeyRecord
) -> None:
    """The toy's noise under another scene: a replayed mark fires on it all the same."""
    image, mark_id = picture(noise_record, seed=24)
    ramp = np.linspace(-40, 40, 40)[:, None, None]
    other = np.clip(np.asarray(image) + ramp, 0, 255).astype(np.uint8)
    mark = Mark(scheme="noise", version=1, key_id=noise_record.kid, mark_id=mark_id)
    record = Record(
        kind="image",
        provider="Acme",
        marks=(mark,),
        fingerprint=fingerprint.fingerprint(np.asarray(image)),
    )
    w.home.ledger.append([Entry(event="generated", record=record)])
    same = look(w, nudged(image), noise_record)
    replayed = look(w, png(Image.fromarray(other)), noise_record)

    assert same.verdict == Verdict.MARKED
    assert same.record_id == record.record_id
    assert replayed.verdict == Verdict.CONFLICT
    assert codes(replayed) == {"other-content"}
    assert met(replayed, policy.Marked())


def test_two_marks_of_two_keys_in_one_picture_are_a_conflict(
    w: Watermark, noise_record: KeyRecord
) -> None:
    other = SCHEMES["noise"].record(Key.generate(), nonce_bits=6)
    z = np.random.default_rng(7).standard_normal(Affine.shape).astype(np.float32)
    both = sum(noise.mark(z, noise.Code(r, z.shape))[0] for r in (noise_record, other))
    report = w.verify(
        Affine().picture(np.asarray(both) / np.sqrt(2)),
        pipeline=Affine(),
        keys=[noise_record, other],
    )

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"two-keys"}
    assert met(report, policy.Marked())


def test_a_picture_changed_after_signing_is_a_conflict(
    w: Watermark, noise_record: KeyRecord
) -> None:
    _, marked = generated(w, noise_record, seed=24)
    data = bytearray(marked.data)
    data[-20] ^= 1  # in the last chunk of pixels
    report = w.verify(bytes(data))

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"broken-signature", "unreadable"}


def test_a_signed_picture_cut_short_is_never_signed(
    w: Watermark, noise_record: KeyRecord
) -> None:
    _, marked = generated(w, noise_record, seed=25)
    for share in (0.999, 0.9, 0.5, 0.1):
        cut = marked.data[: int(share * len(marked.data))]
        report = w.verify(cut)

        assert report.verdict in (Verdict.CONFLICT, Verdict.INCONCLUSIVE)


def test_an_untrusted_png_is_inconclusive(w: Watermark, stranger: Watermark) -> None:
    marked = stranger.embed(png(Image.new("RGB", (9, 9))))
    report = w.verify(marked.data)

    assert report.verdict == Verdict.INCONCLUSIVE
    assert {"untrusted-signer", "no-pipeline"} <= codes(report)


def test_pixels_alone_leave_the_manifest_open(w: Watermark) -> None:
    report = w.verify(Image.new("RGB", (32, 32)))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "pixels-only" in codes(report)
