"""The three verbs on finished media, text, homes and keys."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import watermark
from watermark import policy
from watermark.api import Watermark
from watermark.assets import image as image_asset
from watermark.assets import text as text_asset
from watermark.assets.loading import Audio, Tokens
from watermark.errors import (
    AmbiguousRecord,
    HomeError,
    KeyFileError,
    NotMarked,
    SigningError,
    UnsupportedFormat,
    UnsupportedPipeline,
    WatermarkError,
)
from watermark.keys import Key
from watermark.marked import Marked
from watermark.record import Mark, Record
from watermark.report import Verdict
from watermark.store.leaf import Entry

unmarked = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def w(tmp_path: Path) -> Watermark:
    return Watermark.create(tmp_path / "home", provider="Acme")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For what is saved."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def picture(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(kind: str, image: Image.Image | None = None) -> bytes:
    output = io.BytesIO()
    (image or picture()).save(output, kind)
    return output.getvalue()


def generated(w: Watermark, *, kind: Any, digest: str, coverage: float = 1.0) -> Record:
    """A record as an adapter would leave it."""
    mark = Mark(
        scheme="noise",
        version=1,
        key_id=w.home.ring.newest.key.kid,
        mark_id=bytes(8),
        coverage=coverage,
    )
    record = Record(kind=kind, provider="Acme", marks=(mark,), content=(digest,))
    w.home.ledger.append([Entry(event="generated", record=record)])
    return record


# --- embed: what is signed -----------------------------------------------------------


@unmarked
@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".png", encoded("PNG")),
        (".jpg", encoded("JPEG")),
        (".webp", encoded("WEBP")),
        (".pdf", encoded("PDF")),
        (".wav", Audio(np.zeros(2000), 16000).to_wav()),
    ],
)
def test_a_finished_file_is_signed_and_logged(
    w: Watermark, folder: Path, suffix: str, data: bytes
) -> None:
    (folder / f"in{suffix}").write_bytes(data)
    path = w.embed(folder / f"in{suffix}").save(folder / f"out{suffix}")
    report = w.verify(path)

    assert report.verdict == Verdict.SIGNED
    assert {e.layer: e.state for e in report.evidence} == {
        "manifest": "trusted",
        "ledger": "logged",
    }
    report.require(policy.Signed(by="Acme"))


@unmarked
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_a_picture_gets_its_container_from_the_suffix(
    w: Watermark, folder: Path, suffix: str
) -> None:
    path = w.embed(picture()).save(folder / f"a{suffix}")

    assert w.verify(path).verdict == Verdict.SIGNED


@unmarked
def test_a_picture_has_no_bytes_until_its_container_is_chosen(
    w: Watermark, folder: Path
) -> None:
    marked = w.embed(picture())
    with pytest.raises(UnsupportedFormat, match="not chosen"):
        _ = marked.data
    size = w.home.ledger.size
    marked.save(folder / "a.png")

    assert w.home.ledger.size == size + 1
    assert marked.data == (folder / "a.png").read_bytes()


@unmarked
@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "PNG", ".png"])
def test_a_picture_gets_its_container_from_the_format(
    w: Watermark, format: str
) -> None:
    assert w.verify(w.embed(picture(), format=format).data).verdict == Verdict.SIGNED


@unmarked
def test_lossless_pixels_are_kept(w: Watermark) -> None:
    found = image_asset.decode(w.embed(picture(), format="png").data)

    assert image_asset.digest(found) == image_asset.digest(picture())


@unmarked
def test_a_text_is_signed_beside_itself(w: Watermark, folder: Path) -> None:
    path = w.embed("A text.\n").save(folder / "a.txt")

    assert names(folder) == ["a.txt", "a.txt.c2pa"]
    assert path.read_text() == "A text.\n"
    assert w.verify(path).verdict == Verdict.SIGNED


@unmarked
def test_each_embedding_is_one_row_with_its_manifest(w: Watermark) -> None:
    marked = w.embed(encoded("PNG"))
    [row] = w.home.ledger.rows()

    assert row.event == "published"
    assert w.home.ledger.manifests_of(marked.record.record_id) == [
        (row.manifest_id, marked.manifest)
    ]


@unmarked
def test_a_second_save_signs_nothing_anew(w: Watermark, folder: Path) -> None:
    marked = w.embed(picture())
    for name in ("a.png", "b.png"):
        marked.save(folder / name)

    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert w.home.ledger.size == 1


# --- embed: the record ---------------------------------------------------------------


def test_a_generated_picture_is_published_under_its_record(w: Watermark) -> None:
    record = generated(w, kind="image", digest=image_asset.digest(picture()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for asset in (encoded("PNG"), picture()):
            marked = w.embed(asset, format="png", require_mark=True)

            assert marked.record == record
    events = [row.event for row in w.home.ledger.by_record(record.record_id)]

    assert events == ["generated", "published", "published"]


@pytest.mark.parametrize("text", ["A text.", "A text.\n", "  A text. "])
def test_a_generated_text_is_published_under_its_record(
    w: Watermark, text: str
) -> None:
    record = generated(w, kind="text", digest=text_asset.digest("A text."))

    assert w.embed(text).record == record


def test_an_output_of_two_records_is_ambiguous(w: Watermark) -> None:
    digest = text_asset.digest("A text.")
    records = [generated(w, kind="text", digest=digest) for _ in range(2)]
    with pytest.raises(AmbiguousRecord, match="record="):
        w.embed("A text.")

    assert w.embed("A text.", record=records[1]).record == records[1]


def test_finished_media_without_a_mark_warns(w: Watermark) -> None:
    with pytest.warns(UserWarning, match="no mark"):
        marked = w.embed(encoded("PNG"))

    assert marked.record.origin == "altered"
    assert marked.record.to_dict()["mark"] == "none"


def test_require_mark_raises_before_anything_is_written(w: Watermark) -> None:
    with pytest.raises(NotMarked, match="mark none"):
        w.embed(encoded("PNG"), require_mark=True)

    assert w.home.ledger.size == 0


def test_a_mark_that_covers_nothing_is_no_mark(w: Watermark) -> None:
    digest = image_asset.digest(picture())
    generated(w, kind="image", digest=digest, coverage=0.0)
    with pytest.raises(NotMarked):
        w.embed(encoded("PNG"), require_mark=True)


@unmarked
def test_a_signed_file_becomes_the_ingredient_of_another(w: Watermark) -> None:
    """Somebody's signed file is opened, not taken over."""
    first = w.embed(encoded("PNG"))
    second = w.embed(first.data)

    assert second.record.record_id != first.record.record_id
    assert first.manifest[100:200] in second.manifest
    assert w.verify(second.data).verdict == Verdict.SIGNED


@unmarked
def test_a_manifest_is_never_replaced_by_one_that_says_created(w: Watermark) -> None:
    first = w.embed(encoded("PNG"))
    record = generated(w, kind="image", digest=image_asset.digest(picture()))
    size = w.home.ledger.size
    with pytest.raises(SigningError, match="manifest already"):
        w.embed(first.data, record=record)

    assert w.home.ledger.size == size


# --- embed: refusals -----------------------------------------------------------------


@unmarked
@pytest.mark.parametrize(
    "asset",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\1", id="unknown"),
        pytest.param("", id="empty-text"),
        pytest.param("a\ud800b", id="surrogate"),
        pytest.param(Tokens([1, 2, 3]), id="tokens"),
        pytest.param([1, 2, 3], id="ids"),
        pytest.param(encoded("PNG")[:50], id="cut"),
        pytest.param(3.5, id="number"),
        pytest.param(None, id="none"),
        pytest.param(Audio(np.full(9, np.nan), 16000), id="nan"),
    ],
)
def test_what_cannot_be_signed_is_a_typed_error_and_leaves_no_row(
    w: Watermark, asset: Any
) -> None:
    with pytest.raises(WatermarkError):
        w.embed(asset)

    assert w.home.ledger.size == 0


@unmarked
def test_a_file_is_not_converted(w: Watermark, folder: Path) -> None:
    with pytest.raises(UnsupportedFormat):
        w.embed(encoded("PNG"), format="jpeg")
    with pytest.raises(UnsupportedFormat, match="cannot be converted"):
        w.embed(encoded("PNG")).save(folder / "a.jpg")

    assert names(folder) == []


@unmarked
@pytest.mark.parametrize("name", ["a.gif", "a", "a.txt", "a.wav", "a.c2pa"])
def test_a_picture_is_not_saved_under_another_type(
    w: Watermark, folder: Path, name: str
) -> None:
    with pytest.raises(UnsupportedFormat):
        w.embed(picture()).save(folder / name)

    assert names(folder) == []
    assert w.home.ledger.size == 0


@unmarked
@pytest.mark.parametrize("name", ["a.png", "a.c2pa", "a.mp4"])
def test_a_text_is_not_saved_under_another_type(
    w: Watermark, folder: Path, name: str
) -> None:
    """Under ``.c2pa`` the text would take its own manifest's place."""
    with pytest.raises(UnsupportedFormat):
        w.embed("A text.\n").save(folder / name)

    assert names(folder) == []


@unmarked
def test_a_carrier_that_a_text_cannot_have_is_refused(w: Watermark) -> None:
    """Never sign less than was asked without a word."""
    with pytest.raises(WatermarkError):
        w.embed("A text.\n", carrier="html")  # tested


@unmarked
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda w: w.embed(encoded("PNG")), id="png"),
        pytest.param(lambda w: w.embed(picture()), id="picture"),
        pytest.param(lambda w: w.embed("A text.\n"), id="text"),
    ],
)
def test_a_failed_save_leaves_no_partial_file(
    w: Watermark, folder: Path, make: Callable[[Watermark], Marked]
) -> None:
    marked = make(w)
    name = "a.txt" if marked.record.kind == "text" else "a.png"
    (folder / name).mkdir()
    with pytest.raises((OSError, WatermarkError)):
        marked.save(folder / name)

    assert names(folder) == [name]


@unmarked
def test_a_full_disk_leaves_the_old_file(
    w: Watermark, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.png").write_bytes(b"old")
    marked = w.embed(encoded("PNG"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("watermark.files.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            marked.save(folder / "a.png")

    assert names(folder) == ["a.png"]
    assert (folder / "a.png").read_bytes() == b"old"


@unmarked
def test_no_file_appears_before_its_row_is_written(
    w: Watermark, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(entries: object) -> None:
        raise SigningError("the ledger is away")

    monkeypatch.setattr(w.home.ledger, "append", refuse)
    marked = w.embed(picture())
    with pytest.raises(SigningError):
        marked.save(folder / "a.png")

    assert names(folder) == []
    with pytest.raises(UnsupportedFormat):
        _ = marked.data


@unmarked
def test_files_of_one_stem_do_not_share_a_manifest(w: Watermark, folder: Path) -> None:
    """`a.png` holds its own; the sidecar beside it is that of `a.txt`."""
    w.embed("A caption.\n").save(folder / "a.txt")
    w.embed(picture()).save(folder / "a.png")

    assert w.verify(folder / "a.png").verdict == Verdict.SIGNED
    assert w.verify(folder / "a.txt").verdict == Verdict.SIGNED


@unmarked
def test_two_texts_of_one_stem_keep_their_manifests_or_the_second_is_refused(
    w: Watermark, folder: Path
) -> None:
    """Both would lie at ``a.c2pa``: the first must not turn into a CONFLICT."""
    w.embed("One.\n").save(folder / "a.txt")
    with contextlib.suppress(WatermarkError):
        w.embed("Two.\n").save(folder / "a.md")

    assert w.verify(folder / "a.txt").verdict == Verdict.SIGNED


# --- verify: arguments ---------------------------------------------------------------


def test_a_missing_file_is_an_error_and_no_verdict(w: Watermark, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        w.verify(folder / "none")


@pytest.mark.parametrize("asset", [None, 3, 3.5, object(), {"a": 1}, {1, 2}])
def test_an_object_that_is_no_asset_is_refused(w: Watermark, asset: Any) -> None:
    with pytest.raises(UnsupportedFormat, match="expected"):
        w.verify(asset)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([-1], id="negative"),
        pytest.param([2**32], id="too-large"),
        pytest.param([1.5], id="float"),
        pytest.param(["a"], id="text"),
        pytest.param([[1], [2, 3]], id="ragged"),
        pytest.param(np.zeros((2, 3), int), id="batch"),
        pytest.param([True], id="bool"),
    ],
)
def test_numbers_that_are_no_token_ids_are_refused(w: Watermark, ids: Any) -> None:
    with pytest.raises(UnsupportedFormat):
        w.verify(ids)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"effort": "heroic"}, id="effort"),
        pytest.param({"keys": []}, id="no-keys"),
    ],
)
def test_an_argument_out_of_range_is_refused(
    w: Watermark, more: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"effort|keys"):
        w.verify([1, 2, 3], **more)


@unmarked
def test_trust_that_is_no_certificate_is_refused(w: Watermark) -> None:
    data = w.embed(encoded("PNG")).data
    with pytest.raises(KeyFileError, match="PEM"):
        w.verify(data, trust=b"not a certificate")


@unmarked
def test_without_trust_nobody_is_trusted(w: Watermark, folder: Path) -> None:
    data = w.embed(encoded("PNG")).data
    (folder / "root.pem").write_bytes(w.home.anchors)

    assert w.verify(data, trust=folder / "root.pem").verdict == Verdict.SIGNED
    states = [e.state for e in w.verify(data, trust=b"").evidence]

    assert states[0] == "valid"


def test_an_advanced_key_is_tested_in_every_epoch(w: Watermark) -> None:
    w.home.ring.advance()
    w.home.ring.advance()
    report = w.verify(list(range(300)))
    marks = [e for e in report.evidence if e.layer == "mark"]

    assert len(marks) == 2 * 3


# --- homes ---------------------------------------------------------------------------


def test_creating_refuses_to_overwrite(w: Watermark) -> None:
    with pytest.raises(HomeError, match="exists"):
        Watermark.create(w.home.path, provider="Other")


def test_opening_gives_what_was_created(w: Watermark) -> None:
    again = Watermark.open(str(w.home.path))

    assert again.home.ring.newest == w.home.ring.newest


@unmarked
def test_the_module_functions_take_the_default_home(
    w: Watermark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", str(w.home.path))
    marked = watermark.embed(encoded("PNG"))

    assert watermark.verify(marked.data).verdict == Verdict.SIGNED
    with pytest.raises(UnsupportedPipeline):
        watermark.attach(object())


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda: watermark.embed("text"), id="embed"),
        pytest.param(lambda: watermark.verify("text"), id="verify"),
        pytest.param(lambda: watermark.attach(object()), id="attach"),
    ],
)
def test_without_a_home_the_module_functions_name_the_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[[], object]
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", str(folder / "none"))
    with pytest.raises(HomeError, match="wm init"):
        verb()

    assert names(folder) == []


def test_with_keys_no_home_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", str(folder / "none"))
    report = watermark.verify(list(range(300)), keys=Key.generate())

    assert report.verdict == Verdict.NO_EVIDENCE
    assert {e.layer for e in report.evidence} == {"mark"}


def test_a_locked_home_verifies_and_signs_with_its_passphrase(folder: Path) -> None:
    Watermark.create(folder / "home", provider="Acme", passphrase=PASSPHRASE)
    opened = Watermark.open(folder / "home", passphrase=PASSPHRASE)
    with pytest.warns(UserWarning, match="no mark"):
        data = opened.embed(encoded("PNG")).data

    assert opened.verify(data).verdict == Verdict.SIGNED
    assert PASSPHRASE not in f"{opened!r} {opened}"
    with pytest.raises(TypeError):
        pickle.dumps(opened)
    with pytest.raises(KeyFileError, match="passphrase"):
        Watermark.open(folder / "home").verify([1, 2, 3])


# --- objects -------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [None, "gumbel", "noise", "nothing"])
def test_an_object_that_is_no_model_is_not_attached(
    w: Watermark, scheme: str | None
) -> None:
    with pytest.raises(UnsupportedPipeline, match="expected"):
        w.attach(object(), scheme=scheme)


@unmarked
def test_what_was_embedded_shows_no_file_in_its_repr(w: Watermark) -> None:
    marked = w.embed(encoded("PNG"))

    assert len(repr(marked)) < 500
    assert marked.record.record_id in repr(marked)


@unmarked
def test_a_report_is_json(w: Watermark) -> None:
    data = json.loads(w.verify(w.embed(encoded("PNG")).data).to_json(indent=1))

    assert data["schema"] == "watermark.report/1"
    assert {e["layer"] for e in data["evidence"]} == {"manifest", "ledger"}
