"""A replayed mark is told by what its record looks like, however the picture lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from tests.pictures import jpeg, photograph
from watermark import policy
from watermark.api import Watermark
from watermark.assets import fingerprint
from watermark.keys import Key, KeyRecord
from watermark.record import Mark, Record
from watermark.report import Report, Verdict
from watermark.schemes import SCHEMES, noise
from watermark.store.leaf import Entry

SIDE = 128
SHAPE = (3, SIDE, SIDE)
STRENGTH = 14.0  # of the noise in the toy's pictures, in grey levels
Pixels = NDArray[np.uint8]


class Toy:
    """Pixels are a smooth scene and its noise: a prompt decides one, a draw the other.

    Its inversion is what a scene is not: the picture less its own blur.
    """

    native = (SIDE, SIDE)

    def picture(self, scene: Pixels, z: NDArray[np.floating]) -> Pixels:
        noise_planes = STRENGTH * np.moveaxis(z, 0, -1)
        return np.clip(np.rint(scene + noise_planes), 0, 255).astype(np.uint8)

    def noise(
        self, pixels: Pixels, *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        height, width = pixels.shape[:2]
        small = Image.fromarray(pixels).resize((width // 4, height // 4), 5)
        smooth = np.asarray(small.resize((width, height), 3), np.float32)
        return np.ascontiguousarray(np.moveaxis(pixels - smooth, -1, 0))


def smooth(seed: int) -> Pixels:
    """A scene."""
    small = Image.fromarray(photograph(seed, 32, 32)).resize((16, 16), 5)
    scene = np.asarray(small.resize((SIDE, SIDE), 3), np.float32)
    return np.asarray(np.rint(128 + 0.6 * (scene - 128)), np.uint8)


def half(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((SIDE // 2, SIDE // 2), 3))


def there_and_back(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(half(pixels)).resize((SIDE, SIDE), 3))


def brighter(pixels: Pixels) -> Pixels:
    """By half, so that a part is white."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(1.5))


def trimmed(pixels: Pixels) -> Pixels:
    """One pixel of each edge cut off: found in the frame, but not quite in it."""
    part = Image.fromarray(pixels[1:-1, 1:-1])
    return np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


# What may have happened to a picture, and whether its mark is found without a search.
CHANGES: dict[str, tuple[Callable[[Pixels], Pixels], str]] = {
    "none": (lambda p: p, "normal"),
    "JPEG 50": (lambda p: jpeg(p, 50), "normal"),
    "half and back": (there_and_back, "normal"),
    "brighter": (brighter, "normal"),
    "trimmed": (trimmed, "normal"),
    "half": (half, "thorough"),
    "flip": (lambda p: np.ascontiguousarray(p[:, ::-1]), "thorough"),
    "turn": (lambda p: np.ascontiguousarray(np.rot90(p)), "thorough"),
    "crop": (lambda p: np.ascontiguousarray(p[16:112, 16:112]), "thorough"),
    "corner": (lambda p: np.ascontiguousarray(p[:96, 32:]), "thorough"),
}


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


@pytest.fixture(scope="module")
def key_record() -> KeyRecord:
    key = Key(np.random.default_rng(0).bytes(32))
    return SCHEMES["noise"].record(key, nonce_bits=6)


@pytest.fixture(scope="module")
def pair(w: Watermark, key_record: KeyRecord) -> tuple[Pixels, Pixels]:
    """A genuine picture, on record, and one of another scene with its noise."""
    z = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    marked, _, mark_id = noise.mark(z, noise.Code(key_record, SHAPE))
    genuine = Toy().picture(smooth(1), marked)
    mark = Mark(scheme="noise", version=1, key_id=key_record.kid, mark_id=mark_id)
    record = Record(
        kind="image",
        provider="Acme",
        marks=(mark,),
        fingerprint=fingerprint.fingerprint(genuine),
    )
    w.home.ledger.append([Entry(event="generated", record=record)])
    return genuine, Toy().picture(smooth(2), marked)


def look(w: Watermark, pixels: Pixels, record: KeyRecord, effort: str) -> Report:
    return w.verify(Image.fromarray(pixels), pipeline=Toy(), keys=record, effort=effort)


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


@pytest.mark.parametrize("change", CHANGES)
def test_a_genuine_picture_is_known_and_a_replayed_mark_is_told(
    w: Watermark, key_record: KeyRecord, pair: tuple[Pixels, Pixels], change: str
) -> None:
    alter, effort = CHANGES[change]
    genuine, forged = (look(w, alter(one), key_record, effort) for one in pair)

    assert genuine.verdict == Verdict.MARKED
    assert not codes(genuine) & {"other-content", "content-not-compared"}
    assert forged.verdict == Verdict.CONFLICT
    assert "other-content" in codes(forged)
    forged.require(policy.Marked())  # a conflict never hides the mark
    assert ("other-geometry" in genuine.evidence[0].codes) == (effort == "thorough")


def test_a_record_without_a_fingerprint_accuses_nobody(
    w: Watermark, key_record: KeyRecord
) -> None:
    z = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    marked, _, mark_id = noise.mark(z, noise.Code(key_record, SHAPE))
    mark = Mark(scheme="noise", version=1, key_id=key_record.kid, mark_id=mark_id)
    record = Record(kind="image", provider="Acme", marks=(mark,))
    w.home.ledger.append([Entry(event="generated", record=record)])
    report = look(w, Toy().picture(smooth(5), marked), key_record, "normal")

    assert report.verdict == Verdict.MARKED
    assert codes(report) == {"content-not-compared"}
    assert report.record_id == record.record_id


def test_a_seed_used_twice_accuses_nobody(w: Watermark, key_record: KeyRecord) -> None:
    """Two pictures of one mark id, of which one was handed over as latents."""
    z = np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    marked, _, mark_id = noise.mark(z, noise.Code(key_record, SHAPE))
    one, other = (Toy().picture(smooth(seed), marked) for seed in (3, 4))
    mark = Mark(scheme="noise", version=1, key_id=key_record.kid, mark_id=mark_id)
    records = [
        Record(kind="image", provider="Acme", marks=(mark,), fingerprint=seen)
        for seen in (fingerprint.fingerprint(one), b"")
    ]
    w.home.ledger.append([Entry(event="generated", record=r) for r in records])
    known, unknown = (look(w, p, key_record, "normal") for p in (one, other))

    assert known.verdict == unknown.verdict == Verdict.MARKED
    assert "content-not-compared" not in codes(known)
    assert "content-not-compared" in codes(unknown)


def test_an_id_that_the_ledger_knows_is_read_however_faint(
    w: Watermark, key_record: KeyRecord
) -> None:
    """What decides, but leaves a byte in doubt, is compared all the same."""
    z = np.random.default_rng(20).standard_normal(SHAPE).astype(np.float32)
    marked, _, mark_id = noise.mark(z, noise.Code(key_record, SHAPE))
    scenes = smooth(21), smooth(22)
    other = np.random.default_rng(23).standard_normal(SHAPE)
    faint = 0.08 * marked + np.sqrt(1 - 0.08**2) * other
    genuine, forged = (Toy().picture(scene, faint) for scene in scenes)
    before = look(w, genuine, key_record, "normal")
    mark = Mark(scheme="noise", version=1, key_id=key_record.kid, mark_id=mark_id)
    record = Record(
        kind="image",
        provider="Acme",
        marks=(mark,),
        fingerprint=fingerprint.fingerprint(genuine),
    )
    w.home.ledger.append([Entry(event="generated", record=record)])
    after, replayed = (look(w, p, key_record, "normal") for p in (genuine, forged))

    assert before.verdict == Verdict.MARKED
    assert before.evidence[0].payload is None
    assert codes(before) == {"content-not-compared"}
    assert after.record_id == record.record_id
    assert after.evidence[0].payload == mark_id
    assert codes(replayed) == {"other-content"}
