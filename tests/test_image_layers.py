"""Several layers of one picture, and what may have happened to it since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from watermark.api import Watermark
from watermark.assets.loading import load
from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord
from watermark.report import Report, Verdict
from watermark.schemes import SCHEMES, latent, noise
from watermark.verification import LOOKS, Setting, verify
from watermark.verification.geometry import MOST, candidates
from watermark.verification.setting import GEOMETRY

SHAPE = (3, 48, 48)
Pixels = NDArray[np.uint8]


class Toy:
    """Pixels are 128 + 40 z; the noise is seen in them, and so are the latents."""

    native = (48, 48)

    def __init__(self, fails_after: int = 99, nan: bool = False) -> None:
        self.asked: list[int] = []
        self.fails_after, self.nan = fails_after, nan

    def noise(
        self, pixels: Pixels, *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        self.asked.append(steps)
        if len(self.asked) > self.fails_after:
            raise RuntimeError("out of memory")
        return self.latents(pixels)

    def latents(self, pixels: Pixels) -> NDArray[np.float32]:
        if self.nan:
            raise InvalidSignal("the latents hold NaN or infinity")
        planes = np.moveaxis(pixels, -1, 0).astype(np.float32) - 128
        return np.ascontiguousarray(planes / 40, dtype=np.float32)


class Starting(Toy):
    """One whose pictures were begun at half the noise, and are seen only there."""

    starts = (1.0, 0.5)

    def noise(
        self, pixels: Pixels, *, steps: int, rounds: int = 1, start: float = 1.0
    ) -> NDArray[np.float32]:
        found = super().noise(pixels, steps=steps)
        return found if start == 0.5 else np.ones_like(found)


def record(scheme: str, seed: int = 0) -> KeyRecord:
    key = Key(np.random.default_rng(seed).bytes(32))
    more: dict[str, Any] = {"delta": 400} if scheme == "latent" else {}
    return SCHEMES[scheme].record(key, nonce_bits=4, **more)


def pixels(*records: KeyRecord, seed: int = 1) -> Pixels:
    """A picture with the marks of these records, noise first."""
    z = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    for one in records:
        if one.scheme == "noise":
            z = noise.mark(z, noise.Code(one, SHAPE))[0].astype(np.float32)
        else:
            z = latent.mark(z, latent.Code(one, SHAPE))[0]
    rounded = np.clip(np.rint(128 + 40 * z), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(rounded, 0, -1))


def look(
    picture: Pixels, *records: KeyRecord, inverter: Any = None, effort: str = "normal"
) -> Report:
    return verify(
        load(Image.fromarray(picture)),
        Setting(records=records, inverter=inverter or Toy(), effort=effort),
    )


def found(report: Report) -> set[str]:
    return {e.scheme for e in report.evidence if e.layer == "mark" and e.payload}


def test_the_shares_of_all_looks_are_at_most_one() -> None:
    for effort, looks in LOOKS.items():
        assert sum(share for _, share in looks) + GEOMETRY.get(effort, 0) <= 1


def test_each_layer_is_looked_at_and_paid_for() -> None:
    records = record("noise"), record("latent")
    report = look(pixels(*records), *records)
    by_scheme = {e.scheme: e for e in report.evidence if e.layer == "mark"}

    assert report.verdict == Verdict.MARKED
    assert found(report) == {"noise", "latent"}
    assert by_scheme["latent"].hypotheses == 2 * (2 << (4 + 64))
    assert by_scheme["noise"].hypotheses == 2 * 2 * (2 << (4 + 64))


@pytest.mark.parametrize("scheme", ["noise", "latent"])
def test_a_mark_is_found_in_its_own_layer_only(scheme: str) -> None:
    records = record("noise"), record("latent")
    [own] = [r for r in records if r.scheme == scheme]

    assert found(look(pixels(own), *records)) == {scheme}


def test_marks_of_two_providers_in_two_layers_are_a_conflict() -> None:
    records = record("noise", 0), record("latent", 1)

    assert look(pixels(*records), *records).verdict == Verdict.CONFLICT


def test_looks_stop_where_one_decides() -> None:
    toy = Toy()
    look(pixels(record("noise")), record("noise"), inverter=toy)
    assert toy.asked == [1]
    toy = Toy()
    look(pixels(), record("noise"), inverter=toy)
    assert toy.asked == [1, 2, 4, 8]


def test_what_earlier_looks_saw_is_kept_when_a_later_one_fails() -> None:
    report = look(pixels(), record("noise"), inverter=Toy(fails_after=1))

    assert [e.scheme for e in report.evidence if e.layer == "mark"] == ["noise"]
    assert "not-invertible" in {reason.code for reason in report.reasons}
    assert report.verdict == Verdict.INCONCLUSIVE


def test_lower_starts_are_tried_and_paid_for() -> None:
    one = record("noise")
    report = look(pixels(one), one, inverter=Starting())
    [mark] = [e for e in report.evidence if e.layer == "mark"]

    assert report.verdict == Verdict.MARKED
    assert mark.hypotheses == 2 * 2 * (2 << (4 + 64))
    assert "from 0.5" in mark.detail


def test_a_map_shows_where_a_picture_was_painted_over() -> None:
    records = record("noise"), record("latent")
    painted = pixels(*records)
    painted[:16, 16:32] = pixels(seed=7)[:16, 16:32]
    marks = [e for e in look(painted, *records).evidence if e.payload]

    assert {e.scheme for e in marks} == {"noise", "latent"}
    for mark in marks:
        agree, z = np.array(mark.map), np.array(mark.map_z)
        assert agree.shape == z.shape == (3, 3)
        rest = np.ones((3, 3), bool)
        rest[0, 1] = False
        assert abs(z[0, 1]) < 4
        assert z[rest].min() > 3
        assert agree[rest].min() > 3 * abs(agree[0, 1])


def test_a_map_of_a_turned_picture_is_that_of_what_was_made() -> None:
    painted = pixels(record("noise"))
    painted[:16, 16:32] = 128
    turned = np.ascontiguousarray(np.rot90(painted))
    [mark] = [
        e
        for e in look(turned, record("noise"), effort="thorough").evidence
        if e.payload
    ]

    assert np.argmin(np.array(mark.map)) == 1


class Forgetful(Toy):
    """One that sees nothing of the mark id's part in the latents."""

    def __init__(self, one: KeyRecord) -> None:
        super().__init__()
        self.code = latent.Code(one, SHAPE)

    def latents(self, pixels: Pixels) -> NDArray[np.float32]:
        planes = super().latents(pixels).copy()
        planes.reshape(-1)[self.code.data] = 0
        return planes

    def noise(
        self, pixels: Pixels, *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        return super().latents(pixels)


def test_a_faint_mark_is_told_where_no_other_of_its_key_is_read(tmp_path: Path) -> None:
    """Two layers under one key: where one is read, the other leaves nothing open."""
    w = Watermark.create(tmp_path / "home", provider="Acme")
    noisy, faint = record("noise"), record("latent")
    picture = Image.fromarray(pixels(noisy, faint))
    inverter = Forgetful(faint)
    both = w.verify(picture, pipeline=inverter, keys=[noisy, faint], effort="quick")
    alone = w.verify(picture, pipeline=inverter, keys=[faint], effort="quick")
    told = [{r.code for r in each.reasons} for each in (both, alone)]

    assert both.verdict == alone.verdict == Verdict.MARKED
    assert {e.scheme for e in both.evidence if e.payload} == {"noise"}
    assert "content-not-compared" not in told[0]
    assert "content-not-compared" in told[1]


def test_latents_that_are_not_finite_are_a_reason() -> None:
    records = record("noise"), record("latent")
    report = look(pixels(), *records, inverter=Toy(nan=True))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "not-invertible" in {reason.code for reason in report.reasons}


def test_no_pipeline_is_one_reason_for_both_layers() -> None:
    records = record("noise"), record("latent")
    report = verify(load(Image.fromarray(pixels())), Setting(records=records))

    assert [r.code for r in report.reasons].count("no-pipeline") == 1


# --- geometry ------------------------------------------------------------------------

CHANGES = {
    "flipped": lambda p: p[:, ::-1],
    "turned": lambda p: np.rot90(p),
    "turned back": lambda p: np.rot90(p, -1),
    "upside down": lambda p: p[::-1, ::-1],
    "turned and flipped": lambda p: np.rot90(p)[:, ::-1],
    "cut out of the middle": lambda p: p[6:42, 6:42],
    "cut off at a corner": lambda p: p[:36, :36],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_with_effort_and_paid_for(change: str) -> None:
    records = record("noise"), record("latent")
    changed = np.ascontiguousarray(CHANGES[change](pixels(*records)))
    quick = look(changed, *records)
    thorough = look(changed, *records, effort="thorough")
    marks = [e for e in thorough.evidence if e.layer == "mark" and e.payload]

    assert found(quick) == set()
    assert found(thorough) >= {"noise"}
    for mark in marks:
        places = 13 * 13 if "cut" in change else 1  # of 36 pixels a side in 48
        assert mark.hypotheses == 2 * MOST / 0.5 * places * (2 << (4 + 64))


def test_what_is_tried_is_bounded_and_known_beforehand() -> None:
    class Told:
        degrees, flipped = 90.0, False

        def undo(self, pixels: Pixels, most: int = 0) -> tuple[Pixels, tuple[int, int]]:
            return pixels[:20, :20], (8, 16)

    for size in ((48, 48, 3), (36, 36, 3), (96, 96, 3), (1, 1, 3), (30, 70, 3)):
        picture = np.random.default_rng(2).integers(0, 256, size).astype(np.uint8)
        plain = list(candidates(picture, Toy.native, cell=1))
        other = list(candidates(255 - picture, Toy.native, cell=1))
        told = list(candidates(picture, Toy.native, [Told()], cell=1))

        assert 7 <= len(plain) <= len(told) <= MOST
        assert [(c.name, c.places) for c in plain] == [
            (c.name, c.places) for c in other
        ]
        assert told[0].inside == (
            8,
            16,
            *np.minimum((28, 36), (8 + size[0], 16 + size[1])),
        )


def test_an_unmarked_picture_is_no_evidence_however_it_is_turned() -> None:
    report = look(pixels(seed=5), record("noise"), effort="thorough")

    assert {reason.code for reason in report.reasons} == {"pixels-only"}
    assert all((e.log10_p or 0.0) > -1 for e in report.evidence if e.layer == "mark")
