"""Films: their frames are given, and looked at as pictures and as a whole."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.pictures import photograph
from tests.verification import exact
from tests.verification.reports import codes, layer

from watermark.api import Watermark
from watermark.assets.arrays import Latents
from watermark.assets.loading import Audio, load
from watermark.errors import UnsupportedFormat, UnsupportedPipeline
from watermark.keys import Key, KeyRecord
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import SCHEMES, latent, noise, pixel
from watermark.verification import Setting, frames, verify, video
from watermark.verification.frames import Time

Film = NDArray[np.uint8]
SHAPE = (3, 12, 24, 24)  # channels, frames, height, width


class Toy:
    """Pixels are 128 + 40 z; noise and latents are seen in them, frames as drawn.

    With `axis` 0 frames come first, with `pictures` the latents are of frames alone.
    """

    native_frames: int | None = None

    def __init__(self, axis: int = 1, pictures: bool = False) -> None:
        self.axis, self.pictures, self.asked = axis, pictures, 0

    def noise(
        self, pixels: Film, *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        self.asked += 1
        return self._seen(pixels)

    def latents(self, pixels: Film) -> NDArray[np.float32]:
        if pixels.ndim == 4:
            assert not self.pictures
            return self._seen(pixels)
        return self._seen(pixels[None])[:, 0] if self.pictures else self._seen(pixels)

    def _seen(self, pixels: Film) -> NDArray[np.float32]:
        film = pixels if pixels.ndim == 4 else pixels[None]
        planes = np.moveaxis(film.astype(np.float32) - 128, -1, 1 - self.axis)
        return np.ascontiguousarray(planes / 40)


def record(scheme: str = "noise", seed: int = 0) -> KeyRecord:
    more: dict[str, Any] = {"delta": 400} if scheme == "latent" else {}
    key = Key(np.random.default_rng(seed).bytes(32))
    return SCHEMES[scheme].record(key, nonce_bits=4, **more)


def draw(shape: tuple[int, ...] = SHAPE, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shown(z: NDArray[Any], axis: int = 1) -> Film:
    rounded = np.clip(np.rint(128 + 40 * z), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(np.moveaxis(rounded, axis, 0), 1, -1))


def marked(axis: int = 1, shape: tuple[int, ...] = SHAPE) -> tuple[Film, bytes]:
    z, _, mark_id = noise.mark(draw(shape), noise.Code(record(), shape))
    return shown(z, axis), mark_id


def look(asset: Any, *records: KeyRecord, inverter: Any = None, **more: Any) -> Report:
    setting = Setting(records=records or (record(),), inverter=inverter, **more)
    return verify(load(asset), setting)


def mark_of(report: Report) -> Evidence:
    [found] = layer(report, "mark")
    return found


# --- as a whole ----------------------------------------------------------------------

FORMS: dict[str, Callable[[Film], Any]] = {
    "a list of pictures": lambda film: [Image.fromarray(frame) for frame in film],
    "bytes": lambda film: film,
    "floats": lambda film: film / 255.0,
    "a batch of one": lambda film: film[None] / np.float32(255),
    "a tensor": lambda film: torch.from_numpy(film).permute(0, 3, 1, 2) / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_film_is_found_in_whatever_form_it_is_given(form: str) -> None:
    film, mark_id = marked()
    report = look(FORMS[form](film), inverter=Toy())
    found = mark_of(report)

    assert (report.kind, report.verdict) == ("video", Verdict.MARKED)
    assert found.payload == mark_id
    assert found.hypotheses == 2 * 2 * (2 << 4 + 64)  # half of the first look's half


EDITS = {
    "swapped": [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5],
    "cut": list(range(2, 10)),
    "dropped": [0, 1, 2, 4, 5, 7, 8, 10, 11],
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("axis", [0, 1])
def test_frames_that_were_lost_or_moved_are_placed(axis: int, edit: str) -> None:
    shape = SHAPE if axis else (12, 3, 24, 24)
    film, mark_id = marked(axis, shape)
    toy = Toy(axis)
    toy.native_frames = 12
    report = look(film[EDITS[edit]], inverter=toy)
    found = mark_of(report)

    assert report.verdict == Verdict.MARKED
    assert found.payload == mark_id
    assert f"{12 - len(EDITS[edit])} of 12 missing" in found.detail
    assert "other-geometry" in found.codes
    assert np.shape(found.map)[0] == len(EDITS[edit])
    assert np.mean(found.map) > 0.9


def test_a_film_that_was_longer_than_usual_is_found_with_effort() -> None:
    film = marked()[0][3:]

    assert look(film, inverter=Toy()).verdict != Verdict.MARKED
    assert look(film, inverter=Toy(), effort="thorough").verdict == Verdict.MARKED


def test_every_look_at_a_film_is_counted() -> None:
    """The least that all looks together may claim is 1 of the error budget."""
    toy = Toy()
    toy.native_frames = 20
    for effort in ("quick", "normal", "thorough"):
        setting = Setting(inverter=toy, effort=effort)
        film = marked()[0]
        for looks in video.LAYERS.values():
            shares = [each.share for each in looks(film, setting, {})]  # type: ignore[union-attr]
            assert 0.49 < sum(shares) <= 1 + 1e-9


def test_where_time_is_depends_on_the_shape_alone() -> None:
    assert Time.of((16, 21, 60, 104), 81, None).axes == [1]  # Wan
    assert Time.of((13, 16, 60, 90), 49, None).axes == [0]  # CogVideoX
    assert Time.of((4, 4, 32, 32), 4, None).axes == [1, 0]
    assert Time.of((16, 21, 60, 104), 81, 121).lengths(21, 2) == [21, 31, 22, 23]
    assert not Time.of((64, 128), 9, None).axes


def test_unmarked_films_are_found_as_seldom_as_stated() -> None:
    """One still film over keys, in which frames and their tests are all alike."""
    still = np.repeat(shown(draw(seed=9))[:1], 6, axis=0)
    p = [
        mark_of(look(still, record(seed=seed), inverter=Toy())).log10_p or 0.0
        for seed in range(100, 120)
    ]
    for alpha in (0.3, 0.1, 1e-2):
        hits = sum(one <= math.log10(alpha) for one in p)
        assert hits <= scipy.stats.binom.ppf(0.999, len(p), alpha)


# --- where ---------------------------------------------------------------------------


def test_a_map_shows_in_which_frames_and_where_a_film_was_changed() -> None:
    film, _ = marked()
    changed = film.copy()
    changed[4:6] = shown(draw(seed=5))[4:6]
    changed[9, :12] = shown(draw(seed=6))[9, :12]
    found = mark_of(look(changed, inverter=Toy()))
    agree, z = np.array(found.map), np.array(found.map_z)

    assert agree.shape == z.shape == (12, 2, 2)
    assert abs(z[4:6]).max() < 5
    assert abs(z[9, 0]).max() < 5
    whole = [i for i in range(12) if i not in (4, 5, 9)]
    assert z[whole].min() > 10
    assert agree[whole].min() > 0.9
    assert agree[9, 1].min() > 0.9
    assert found.to_dict()["map"] == agree.tolist()


def test_a_mark_that_is_not_read_has_no_map() -> None:
    found = mark_of(look(shown(draw(seed=7)), inverter=Toy(), effort="quick"))

    assert (found.map, found.map_z) == ((), ())


# --- frame by frame ------------------------------------------------------------------


def test_frames_marked_as_finished_pictures_are_found_and_counted() -> None:
    one = record("pixel")
    picture = photograph(3)
    own, _, mark_id = pixel.mark(picture, pixel.Code(one))
    still = np.stack([own] * 9)
    found = mark_of(look(still, one))

    assert found.payload == mark_id
    assert found.hypotheses == 8 * (2 << 4 + 64)
    assert found.detail.endswith("frame 5")  # the one nearest to the middle
    plain = look(np.stack([picture] * 9), one)
    assert plain.verdict == Verdict.INCONCLUSIVE
    assert (mark_of(plain).log10_p or 0) > -3


def test_in_a_film_of_two_providers_frames_both_keys_are_found() -> None:
    first, second = record("pixel"), record("pixel", seed=2)
    shots = [pixel.mark(photograph(3), pixel.Code(one))[0] for one in (first, second)]
    report = look(np.stack([shots[0]] * 4 + [shots[1]] * 8), first, second)
    found = {e.key_id for e in report.evidence if (e.log10_p or 0) <= -6}

    assert found == {first.kid, second.kid}
    assert report.verdict == Verdict.CONFLICT


def test_in_latents_of_two_providers_frames_both_keys_are_found() -> None:
    first, second = record("latent"), record("latent", seed=2)
    shape = (3, 32, 32)
    shots = [
        shown(latent.mark(draw(shape), latent.Code(one, shape))[0][:, None])
        for one in (first, second)
    ]
    film = np.concatenate([shots[0]] * 3 + [shots[1]] * 3)
    report = look(film, first, second, inverter=Toy(pictures=True))
    found = {e.key_id for e in report.evidence if (e.log10_p or 0) <= -6}

    assert found == {first.kid, second.kid}


@pytest.mark.parametrize("pictures", [True, False])
def test_latents_are_those_of_the_film_or_of_its_frames(pictures: bool) -> None:
    one = record("latent")
    shape = (3, 32, 32) if pictures else (3, 6, 32, 32)
    z, _, mark_id = latent.mark(draw(shape), latent.Code(one, shape))
    film = np.repeat(shown(z[:, None]), 6, axis=0) if pictures else shown(z)
    found = mark_of(look(film, one, inverter=Toy(pictures=pictures)))

    assert found.payload == mark_id
    assert found.hypotheses == (6 if pictures else 2) * (2 << 4 + 64)


# --- what cannot be looked at --------------------------------------------------------


def test_a_video_file_is_to_be_decoded_first() -> None:
    data = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x08moov"
    report = look(data)
    [reason] = [r for r in report.reasons if r.code == "no-detector"]

    assert "give its frames" in reason.detail


def test_a_film_of_pictures_that_are_not_read_is_open_as_one_picture_is() -> None:
    deep = Image.new("F", (64, 64))
    for given in (deep, [deep, deep]):
        assert "unreadable" in codes(look(given, record("pixel")))


def test_without_a_pipeline_a_film_is_open() -> None:
    report = look(marked()[0])

    assert report.verdict == Verdict.INCONCLUSIVE
    assert codes(report) == {"no-pipeline", "pixels-only"}


def test_a_pipeline_that_refuses_films_leaves_the_other_layers() -> None:
    class Refuses(Toy):
        def noise(self, *_: Any, **__: Any) -> Any:
            raise UnsupportedPipeline("this makes no films")

    records = record("latent"), record("noise")
    report = look(marked()[0], *records, inverter=Refuses())

    assert {e.scheme for e in layer(report, "mark")} == {"latent"}
    assert "not-invertible" in codes(report)


def test_a_picture_that_moves_is_said_to_be_looked_at_in_part() -> None:
    frames = [Image.fromarray(photograph(seed)) for seed in (1, 2)]
    for form in ("PNG", "WEBP"):
        data = io.BytesIO()
        frames[0].save(
            data, form, save_all=True, append_images=frames[1:], lossless=True
        )
        report = look(data.getvalue(), record("pixel"))

        assert report.verdict == Verdict.INCONCLUSIVE
        assert "first-frame" in codes(report)
    still = look(frames[0], record("pixel"))
    assert "first-frame" not in codes(still)


def test_a_sound_with_a_pipeline_is_told_that_none_is_inverted() -> None:
    sound = Audio(np.sin(np.arange(16000 * 6) / 9) / 2, 16000)
    report = look(sound, record(), inverter=Toy())

    assert "not-invertible" in codes(report)
    assert "not-invertible" not in codes(look(sound, record()))


def test_a_film_cannot_be_signed_as_it_is(w: Watermark) -> None:
    film = [Image.fromarray(frame) for frame in marked()[0]]
    with pytest.raises(UnsupportedFormat), pytest.warns(UserWarning, match="no mark"):
        _ = w.embed(film).data
    with pytest.raises(UnsupportedFormat, match="latents"):
        w.embed(Latents(draw((4, 8, 8))))
    assert w.home.ledger.size == 0


# --- latents -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("shape", [(4, 32, 32), (8, 400), SHAPE])
def test_noise_that_is_given_is_tested_without_a_pipeline(
    shape: tuple[int, ...], batch: bool
) -> None:
    z, _, mark_id = noise.mark(draw(shape), noise.Code(record(), shape))
    values = torch.from_numpy(z[None] if batch else z)
    report = look(Latents(values, initial=True))

    assert (report.kind, report.verdict) == ("latents", Verdict.MARKED)
    assert mark_of(report).payload == mark_id
    assert np.mean(mark_of(report).map) == 1
    other = look(Latents(draw(shape, seed=8), initial=True))
    assert (mark_of(other).log10_p or 0) > -3


def test_final_latents_are_tested_for_their_own_mark() -> None:
    one, shape = record("latent"), (4, 32, 32)
    z, _, mark_id = latent.mark(draw(shape), latent.Code(one, shape))
    report = look(Latents(z * 5), one, record())

    assert report.verdict == Verdict.MARKED
    assert mark_of(report).payload == mark_id
    plain = look(Latents(draw(shape)), one, record())
    assert plain.verdict == Verdict.INCONCLUSIVE
    assert "not-invertible" in codes(plain)


def test_a_film_whose_noise_is_given_may_have_lost_frames() -> None:
    z, _, mark_id = noise.mark(draw(), noise.Code(record(), SHAPE))
    report = look(Latents(z[:, 4:], initial=True), effort="thorough")

    assert mark_of(report).payload == mark_id
    assert "4 of 12 missing" in mark_of(report).detail


def test_frames_in_other_places_are_sought_among_so_many_alone() -> None:
    """Of 200 frames the orders exceed a float64, and the search has no end."""
    shape = (4, 200, 8, 8)
    z, _, mark_id = noise.mark(draw(shape), noise.Code(record(), shape))
    moved = look(Latents(np.roll(z, 100, axis=1), initial=True))

    assert "search-incomplete" in codes(moved)
    assert mark_of(look(Latents(z, initial=True))).payload == mark_id
    longest = z[:, : frames.MOST["normal"]]
    whole = noise.mark(longest, noise.Code(record(), longest.shape))[0]
    found = look(Latents(np.roll(whole, 60, axis=1), initial=True))
    assert (found.verdict, "search-incomplete" in codes(found)) == ("MARKED", False)


# --- for real ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_film_that_wan_made_is_found_by_its_pipeline(w: Watermark) -> None:
    """The public way: attach, call, and `verify` of what was returned."""
    pipe = exact.wan()
    with w.attach(pipe) as attachment:
        made = pipe(
            prompt="a film",
            height=64,
            width=64,
            num_frames=9,
            num_inference_steps=4,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(1),
            output_type="pil",
        ).frames[0]
        [own] = attachment.records
    report = w.verify(made, pipeline=pipe)

    assert report.verdict == Verdict.MARKED
    assert report.record_id == own.record_id
    assert own.marks[0].mark_id in {e.payload for e in layer(report, "mark")}
    assert "content-not-compared" in codes(report)
    other = w.verify(made, pipeline=pipe, keys=Key.generate(), effort="quick")
    assert other.verdict == Verdict.INCONCLUSIVE
