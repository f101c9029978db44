"""Every row of the table of verdicts, and no exception on any content."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import io
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.toys import generate, text_of, words
from watermark import policy, verification
from watermark.api import Watermark
from watermark.assets import DamagedAsset, fingerprint
from watermark.assets import image as image_asset
from watermark.assets import text as text_asset
from watermark.assets.loading import Asset, Audio, Tokens, load
from watermark.errors import TokenizerMismatch, VerificationError
from watermark.home import Home
from watermark.keys import Key, KeyRecord
from watermark.marked import Marked
from watermark.record import Mark, Record
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import SCHEMES, default_records, noise
from watermark.sign import c2pa, claims
from watermark.sign.manifest import ManifestResult
from watermark.store.leaf import Entry
from watermark.tokenizer import TextTokenizer
from watermark.verification.manifest import only_expired

pytestmark = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")

FAST = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# --- a toy diffusion model ----------------------------------------------------------


class Affine:
    """A diffusion model of one step: pixels are 128 + 40 z, and the way back."""

    shape = (3, 40, 40)

    def picture(self, z: NDArray[np.floating]) -> Image.Image:
        pixels = np.clip(np.rint(128 + 40 * z), 0, 255).astype(np.uint8)
        return Image.fromarray(np.moveaxis(pixels, 0, -1))

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        centred = np.moveaxis(pixels, -1, 0).astype(np.float32) - np.float32(128)
        return np.ascontiguousarray(centred / np.float32(40))


def picture(record: KeyRecord, *, seed: int = 0) -> tuple[Image.Image, bytes]:
    z = np.random.default_rng(seed).standard_normal(Affine.shape).astype(np.float32)
    marked, _, mark_id = noise.mark(z, noise.Code(record, Affine.shape))
    return Affine().picture(marked), mark_id


def png(picture: Image.Image) -> bytes:
    output = io.BytesIO()
    picture.save(output, "PNG")
    return output.getvalue()


def docstrings() -> str:
    modules = (argparse, collections, datetime, statistics)
    values = [value for module in modules for value in vars(module).values()]
    return "\n".join(v.__doc__ for v in values if isinstance(v.__doc__, str))[:30_000]


# --- what there is to work with ------------------------------------------------------


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    folder = tmp_path_factory.mktemp("acme") / "home"
    return Watermark(Home.create(folder, provider="Acme"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    folder = tmp_path_factory.mktemp("eve") / "home"
    return Watermark(Home.create(folder, provider="Eve"))


@pytest.fixture(scope="module")
def gumbel_record(w: Watermark) -> KeyRecord:
    return SCHEMES["gumbel"].record(w.home.ring.newest.key)


@pytest.fixture(scope="module")
def noise_record(w: Watermark) -> KeyRecord:
    """With few nonces, so that a search takes no second."""
    return SCHEMES["noise"].record(w.home.ring.newest.key, nonce_bits=6)


@pytest.fixture(scope="module")
def marked_ids(gumbel_record: KeyRecord) -> list[int]:
    return generate(gumbel_record)


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


def layer(report: Report, name: str) -> list[Evidence]:
    return [evidence for evidence in report.evidence if evidence.layer == name]


def met(report: Report, demand: policy.Policy) -> bool:
    try:
        report.require(demand)
    except VerificationError:
        return False
    return True


def signed_text(w: Watermark, folder: Path, text: str, **more: Any) -> Path:
    record = Record(kind="text", provider=w.home.provider, **more)
    return w.embed(text, record=record).save(folder / "a.txt")


# --- text marks ----------------------------------------------------------------------


def test_an_unmarked_text_that_is_too_short_is_inconclusive(w: Watermark) -> None:
    report = w.verify("w1 w2 w3 w4 w5 w6", tokenizer=words())

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"too-short"}


def test_a_long_unmarked_text_is_no_evidence_with_its_power(w: Watermark) -> None:
    text = docstrings()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    report = w.verify(text, tokenizer=tokenizer)

    assert report.verdict == Verdict.NO_EVIDENCE
    assert codes(report) == {"power"}
    assert {e.state for e in layer(report, "ledger")} == {"none"}
    assert all((e.log10_p or 0.0) > -3 for e in layer(report, "mark"))


def test_a_marked_text_is_marked(w: Watermark, marked_ids: list[int]) -> None:
    report = w.verify(text_of(marked_ids), tokenizer=words())
    best = min(layer(report, "mark"), key=lambda e: e.log10_p or 0.0)

    assert report.verdict == Verdict.MARKED
    assert (best.scheme, best.key_id) == ("gumbel", w.home.ring.newest.key.kid)
    assert met(report, policy.Marked(max_fpr=1e-6))


def test_ids_text_bytes_and_file_give_the_same_p_values(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    text = text_of(marked_ids)
    (tmp_path / "a.txt").write_text(text)
    reports = [
        w.verify(Tokens(marked_ids)),
        w.verify(np.asarray(marked_ids)),
        w.verify(text, tokenizer=words()),
        w.verify(text.encode(), tokenizer=words()),
        w.verify(tmp_path / "a.txt", tokenizer=words()),
    ]

    # Spans are places in what was given: token indices, or characters.
    found = {
        tuple(replace(e, spans=()) for e in layer(report, "mark")) for report in reports
    }
    assert len(found) == 1
    assert {r.evidence[0].spans for r in reports[:2]} != {
        r.evidence[0].spans for r in reports[2:]
    }


def test_a_key_file_alone_gives_the_same_evidence(
    w: Watermark, stranger: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    """A mark's evidence is a function of asset and key records, and of nothing else."""
    key = w.home.ring.newest.key
    key.save(tmp_path / "a.key")
    text = text_of(marked_ids)
    expected = layer(w.verify(text, tokenizer=words()), "mark")

    for keys in (key, tmp_path / "a.key", w.home.ring, default_records(key)):
        found = layer(stranger.verify(text, tokenizer=words(), keys=keys), "mark")

        assert found == expected


def test_a_wrong_key_finds_nothing(stranger: Watermark, marked_ids: list[int]) -> None:
    report = stranger.verify(marked_ids)

    # One key in a thousand is lucky enough to be told as "below-threshold".
    assert report.verdict in (Verdict.NO_EVIDENCE, Verdict.INCONCLUSIVE)
    assert not met(report, policy.Marked(max_fpr=1e-5))


def test_every_test_is_paid_for(w: Watermark, marked_ids: list[int]) -> None:
    """Adjusted p = raw p x nonces x keys x schemes x tokenizers / share of the look."""
    others = [Key.generate() for _ in range(4)]
    records = [r for k in (w.home.ring.newest.key, *others) for r in default_records(k)]
    report = w.verify(marked_ids, keys=records)
    marks = layer(report, "mark")

    assert len(marks) == 10  # five keys, two schemes for text
    for e in marks:
        share = {"whole text": 0.875, "a passage": 0.125}[e.detail.partition(":")[0]]
        nonces = 16 if share == 0.875 else 1  # a passage's p has paid for them
        tried = nonces * 10 / share if e.scheme == "gumbel" else 10
        assert e.hypotheses == math.ceil(tried)
        assert e.log10_p is not None
        assert e.log10_p_raw is not None
        expected = min(0.0, e.log10_p_raw + math.log10(e.hypotheses))
        assert math.isclose(e.log10_p, expected, abs_tol=1e-9)


def test_one_hypothesis_given_twice_is_paid_for_once(
    w: Watermark, marked_ids: list[int]
) -> None:
    key = w.home.ring.newest.key
    once, twice = (w.verify(marked_ids, keys=keys) for keys in (key, [key, key]))

    assert twice.evidence == once.evidence


def test_each_tokenizer_is_a_hypothesis(
    gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    other = words()
    other.add_tokens(["<tool>"])
    both = [TextTokenizer.of(words()), TextTokenizer.of(other)]
    setting = verification.Setting(records=[gumbel_record], tokenizers=both)
    found = verification.verify(load(text_of(marked_ids)), setting)

    (evidence,) = layer(found, "mark")
    assert evidence.hypotheses == math.ceil(16 * 2 / 0.875)


def test_text_without_a_tokenizer_is_inconclusive(w: Watermark) -> None:
    report = w.verify(text_of(list(range(300))))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"no-tokenizer"}


def test_text_without_a_key_is_inconclusive(marked_ids: list[int]) -> None:
    report = verification.verify(load(Tokens(marked_ids)), verification.Setting())

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"no-key"}


def test_a_wrong_tokenizer_is_an_error_of_the_callers(w: Watermark) -> None:
    record = SCHEMES["gumbel"].record(Key.generate(), tokenizer="ab" * 32)
    with pytest.raises(TokenizerMismatch, match="abababababab"):
        w.verify("some text", tokenizer=words(), keys=record)


def test_the_tokenizer_that_a_record_names_is_taken(
    w: Watermark, gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    digest = TextTokenizer.of(words()).digest
    record = replace(gumbel_record, tokenizer=digest)
    report = w.verify(text_of(marked_ids), tokenizer=words(), keys=record)

    assert report.verdict == Verdict.MARKED


def test_a_mark_below_the_threshold_is_inconclusive(
    gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    setting = verification.Setting(records=[gumbel_record], max_fpr=1e-200)
    report = verification.verify(load(Tokens(marked_ids)), setting)

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "below-threshold" in codes(report)


def test_a_revoked_key_says_so(gumbel_record: KeyRecord, marked_ids: list[int]) -> None:
    setting = verification.Setting(
        records=[gumbel_record], revoked=frozenset({gumbel_record.kid})
    )
    report = verification.verify(load(Tokens(marked_ids)), setting)

    assert report.verdict == Verdict.MARKED
    assert layer(report, "mark")[0].codes == ("key-revoked",)


def test_two_keys_on_one_text_are_a_conflict_and_still_marked(
    w: Watermark, gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    """Otherwise adding a second mark would be a way to hide the first."""
    other = SCHEMES["gumbel"].record(Key.generate())
    ids = marked_ids + generate(other, seed=1)
    report = w.verify(ids, keys=[gumbel_record, other])

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"two-keys"}
    assert met(report, policy.Marked())


def test_two_schemes_of_one_key_are_no_conflict(
    w: Watermark, gumbel_record: KeyRecord, marked_ids: list[int]
) -> None:
    other = SCHEMES["gumbel"].record(gumbel_record.secret, epoch=1)
    ids = marked_ids + generate(other, seed=1)
    report = w.verify(ids, keys=[gumbel_record, other])

    assert report.verdict == Verdict.MARKED


# --- signatures on text --------------------------------------------------------------


def test_a_signed_text_is_signed_and_logged(w: Watermark, tmp_path: Path) -> None:
    path = signed_text(w, tmp_path, "A text that was signed once.\n")
    report = w.verify(path)
    [manifest], [ledger] = layer(report, "manifest"), layer(report, "ledger")

    assert report.verdict == Verdict.SIGNED
    assert (manifest.state, manifest.key_id) == ("trusted", "Acme")
    assert ledger.state == "logged"
    assert report.record_id == ledger.record_ids[0]
    assert met(report, policy.Signed(by="Acme"))
    assert not met(report, policy.Marked())


def test_a_marked_and_signed_text_is_marked(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    path = signed_text(w, tmp_path, text_of(marked_ids))
    report = w.verify(path, tokenizer=words())

    assert report.verdict == Verdict.MARKED
    assert met(report, policy.AllOf([policy.Marked(), policy.Signed(by="Acme")]))


def test_a_text_changed_after_signing_is_a_conflict(
    w: Watermark, tmp_path: Path
) -> None:
    path = signed_text(w, tmp_path, "We agree.\n")
    path.write_text("We disagree.\n")
    report = w.verify(path)

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"broken-signature"}
    assert not met(report, policy.Signed())


def test_a_broken_signature_does_not_hide_a_mark(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    path = signed_text(w, tmp_path, text_of(marked_ids))
    path.write_text(path.read_text() + " w9")
    report = w.verify(path, tokenizer=words())

    assert report.verdict == Verdict.CONFLICT
    assert met(report, policy.Marked())


@pytest.mark.parametrize("data", [b"", b"\0", b"not a manifest", b"jumdc2pa" * 9])
def test_a_damaged_sidecar_is_a_conflict(
    w: Watermark, tmp_path: Path, data: bytes
) -> None:
    path = signed_text(w, tmp_path, "A text that was signed.\n")
    path.with_name(path.name + ".c2pa").write_bytes(data)

    assert w.verify(path).verdict == Verdict.CONFLICT


def test_another_home_is_an_untrusted_signer(
    w: Watermark, stranger: Watermark, tmp_path: Path
) -> None:
    path = signed_text(stranger, tmp_path, "A text that Eve signed.\n")
    report = w.verify(path)
    trusting = w.verify(path, trust=stranger.home.path / "credential" / "root.pem")

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "untrusted-signer" in codes(report)
    assert not met(report, policy.Signed())
    assert report.record_ids == ()  # whoever is not trusted leads nowhere
    assert trusting.verdict == Verdict.SIGNED


def test_an_untrusted_signer_does_not_hide_a_mark(
    w: Watermark, stranger: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    path = signed_text(stranger, tmp_path, text_of(marked_ids))

    assert w.verify(path, tokenizer=words()).verdict == Verdict.MARKED


def test_a_manifest_that_says_camera_beside_a_mark_is_a_conflict(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    text = text_of(marked_ids)
    definition = claims.definition(Record(kind="text", provider="Acme"))
    captured = claims.GENERATED.replace("trainedAlgorithmicMedia", "digitalCapture")
    action = definition["assertions"][0]["data"]["actions"][0]
    action["digitalSourceType"] = captured
    signed = c2pa.sign_sidecar(
        text.encode(), "text/plain", definition, w.home.credential
    )
    (tmp_path / "a.txt").write_bytes(signed.data)
    (tmp_path / "a.c2pa").write_bytes(signed.manifest)
    report = w.verify(tmp_path / "a.txt", tokenizer=words())

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"captured-but-marked"}
    assert met(report, policy.Marked())


@pytest.mark.parametrize("change", [str.strip, lambda text: f"\n {text}\n\n"], ids=str)
def test_a_generated_text_is_known_to_the_ledger_without_its_manifest(
    w: Watermark, change: Callable[[str], str]
) -> None:
    text = f"A text that was generated at {change}."
    record = Record(
        kind="text", provider="Acme", content=(text_asset.digest(text.strip()),)
    )
    w.home.ledger.append([Entry(event="generated", record=record)])
    report = w.verify(change(text))

    assert report.verdict == Verdict.SIGNED
    assert report.record_id == record.record_id


def test_what_was_only_signed_here_is_not_said_to_be_generated(w: Watermark) -> None:
    data = png(Affine().picture(np.zeros(Affine.shape)))
    w.embed(data)  # somebody's finished file: its record says so
    report = w.verify(data, pipeline=Affine(), keys=default_records(Key.generate())[:2])

    assert report.verdict == Verdict.INCONCLUSIVE


# --- pictures ------------------------------------------------------------------------


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
    assert codes(report) == {"broken-signature"}


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


# --- content that is no content ------------------------------------------------------

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


# --- the report ----------------------------------------------------------------------


def test_a_report_has_the_documented_fields(
    w: Watermark, marked_ids: list[int]
) -> None:
    data = json.loads(w.verify(marked_ids).to_json())

    assert set(data) == {
        "schema",
        "verdict",
        "kind",
        "sha256",
        "record_id",
        "record_ids",
        "reasons",
        "evidence",
    }
    assert {e["layer"] for e in data["evidence"]} == {"mark", "ledger"}


def test_a_report_has_no_truth_value(w: Watermark, marked_ids: list[int]) -> None:
    with pytest.raises(TypeError, match="policy"):
        bool(w.verify(marked_ids))


def test_verifying_writes_nothing(w: Watermark, marked_ids: list[int]) -> None:
    size = w.home.ledger.size
    w.verify(marked_ids)
    w.verify(b"\0")

    assert w.home.ledger.size == size


def test_the_same_asset_gives_the_same_report(
    w: Watermark, marked_ids: list[int]
) -> None:
    asset = Asset(kind="text", text=text_of(marked_ids))

    assert w.verify(asset, tokenizer=words()) == w.verify(asset, tokenizer=words())


def test_an_expired_signer_is_no_contradiction() -> None:
    result = ManifestResult(
        state="invalid",
        signer="Acme",
        codes=("signingCredential.untrusted", "signingCredential.expired"),
        content_matches=True,
    )

    assert only_expired(result)
    assert not only_expired(replace(result, content_matches=False))
    broken = replace(result, codes=(*result.codes, "claimSignature.mismatch"))
    assert not only_expired(broken)


def test_pixels_alone_leave_the_manifest_open(w: Watermark) -> None:
    report = w.verify(Image.new("RGB", (32, 32)))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "pixels-only" in codes(report)


def test_two_keys_of_one_ring_are_one_provider(
    w: Watermark, marked_ids: list[int], gumbel_record: KeyRecord
) -> None:
    other = SCHEMES["gumbel"].record(Key.generate())
    ids = [*marked_ids, *generate(other)]
    setting = verification.Setting(
        records=[gumbel_record, other],
        own=frozenset({gumbel_record.kid, other.kid}),
    )

    assert verification.verify(load(ids), setting).verdict == Verdict.MARKED
    strangers = replace(setting, own=frozenset({other.kid}))
    assert verification.verify(load(ids), strangers).verdict == Verdict.CONFLICT
