"""The robustness runner: resumable, the same twice, refusing what it does not know."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import robustness
from benchmarks.__main__ import main
from benchmarks.attacks import forgery
from benchmarks.diffusion.found import load_pipeline
from benchmarks.diffusion.inversion import Inversion
from benchmarks.options import MODELS, Options, Unavailable
from benchmarks.robustness import fitted, image_studio, runner, summary
from benchmarks.robustness.audio import AudioSuite
from benchmarks.robustness.image import RING, ImageSuite
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.text import TextSuite
from scipy.stats import kstest

ARGUMENTS = ("robustness", "--suite", "audio", "--samples", "1", "--workers", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robustness")
    out = ("--work", str(root / "work"), "--out", str(root / "out"))
    assert main((*ARGUMENTS, *out)) == 0
    return root


def test_a_run_leaves_rows_a_summary_and_a_page(folder: Path) -> None:
    out = folder / "out"
    result = json.loads((out / "robustness-audio.json").read_text())
    found = next(t for t in result["tables"] if t["title"] == "audio: found")
    head, *rows = map(
        json.loads, (out / "robustness-audio.jsonl").read_text().splitlines()
    )
    page = (out / "robustness.html").read_text()

    assert result["new"] == 1
    assert {row[0]: row[1] for row in found["rows"]}["none"].startswith("1.00")
    assert {"machine", "commit", "seed"} <= set(head)
    assert [r for r in rows if r.get("id") == "wave/0"]
    assert "robustness-audio" in (out / "summary.md").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<tr>") > 20


def test_a_second_run_makes_nothing_and_says_the_same(folder: Path) -> None:
    before = json.loads((folder / "out" / "robustness-audio.json").read_text())
    out = ("--work", str(folder / "work"), "--out", str(folder / "again"))
    assert main((*ARGUMENTS, *out)) == 0
    after = json.loads((folder / "again" / "robustness-audio.json").read_text())

    assert (after["new"], after["reused"]) == (0, 1)
    assert after["tables"] == before["tables"]
    assert (folder / "again" / "summary.md").read_text() == (
        folder / "out" / "summary.md"
    ).read_text()


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        ({"suites": ("smell",)}, "no suite smell"),
        ({"schemes": ("gumble",)}, "no scheme gumble"),
        ({"peers": ("nobody",)}, "no peer nobody"),
        ({"lm": Path("nowhere")}, "no model in nowhere"),
        ({"pipeline": Path("nowhere")}, "no model in nowhere"),
        ({"pipeline": MODELS / "lm"}, "no pipeline in lm"),
        ({"lm": MODELS / "diffusion"}, "no language model in diffusion"),
        ({"only": ("typos", "JPEG", "smoke")}, "no attack smoke"),
        ({"samples": 0}, "samples is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_what_is_not_known_is_refused_before_any_work(
    wanted: dict[str, object], what: str, tmp_path: Path
) -> None:
    options = Options(work=tmp_path / "work", **wanted)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=what):
        robustness.run(options)

    assert not (tmp_path / "work").exists()


class Failing(AudioSuite):
    """Its second subject raises."""

    def spec(self, options: Options) -> Spec:
        return Spec(
            name="failing",
            schemes=("good",),
            peers=("bad",),
            unavailable={},
            attacks={"none": ("none", None)},
            identity={},
        )

    def worker(self, options: Options) -> Failing:  # type: ignore[override]
        return self

    def sample(self, subject: str, index: int) -> Row:
        if subject == "bad":
            raise OSError("no weights")
        return {"attacks": {"none": {"log10_p": -9.0 + index}}, "quality": {}}


def test_a_failing_peer_is_a_row_that_says_so(tmp_path: Path) -> None:
    suite, options = Failing(), Options(work=tmp_path, workers=1)
    spec = suite.spec(options)
    rows, new = runner.run(suite, spec, ["good", "bad"], 2, options)
    part = summary.part(spec, rows, 2, new)
    tables = {table.title: table for table in part.tables}

    assert new == 4
    assert rows["bad"][0] == {"failed": "OSError: no weights"}
    assert ("bad", 2, "OSError: no weights") in tables["failing: failed"].rows
    assert tables["failing: found"].columns == ("attack", "good")
    assert summary.rate(rows["good"], "none").hits == 2
    assert summary.rate(rows["good"], "none", 1e-9).hits == 1
    assert part.targets[0].reached


def test_one_family_of_attacks_alone(tmp_path: Path) -> None:
    options = Options(work=tmp_path, workers=1, samples=1, only=("bits flipped",))
    options = dataclasses.replace(options, suites=("metadata",))
    (result,) = robustness.run(options)
    (states, *_) = result.tables

    assert [row[0] for row in states.rows] == [
        "none",
        *("bits flipped 1", "bits flipped 16"),
    ]


def test_moved_frames_are_found_and_finished_video_is_not_looked_at(
    tmp_path: Path,
) -> None:
    suite, options = robustness.SUITES["video"], Options(work=tmp_path, workers=1)
    options = dataclasses.replace(options, only=("trimmed", "reordered"))
    row = suite.worker(options).sample("noise", 0)

    assert set(row["attacks"]) == {"none", "trimmed 0.5", "trimmed 0.25", "reordered 2"}
    for found in row["attacks"].values():
        assert found["log10_p"] < -6
        assert found.get("null", 0.0) > -6
    assert "finished video" in suite.spec(options).unavailable


@pytest.mark.models
def test_pictures_inverted_together_are_those_inverted_alone() -> None:
    pipe = load_pipeline(MODELS / "diffusion")
    inversion, rng = Inversion(pipe), np.random.default_rng(0)
    sizes = ((128, 128), (96, 96), (128, 128), (90, 128), (96, 96), (128, 128))
    pictures = [rng.integers(0, 255, (*s, 3)).astype(np.uint8) for s in sizes]
    together = inversion.noise(pictures, steps=2)
    alone = [inversion.one.noise(picture, steps=2) for picture in pictures]

    for one, other in zip(together, alone, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-3


@pytest.mark.models
def test_a_mark_in_the_noise_can_be_forged_and_one_in_the_pixels_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_studio, "QUICK", (6, 2))
    monkeypatch.setattr(forgery, "AVERAGED", (2,))
    worker = ImageSuite().worker(Options(only=("forged: imprinted", "flip")))
    noise, pixel = (worker.sample(subject, 0) for subject in ("noise", "pixel"))

    imprinted = {"forged: imprinted", "forged: imprinted, surrogate VAE"}
    assert set(noise["attacks"]) == {"none", "flip", *imprinted}
    assert noise["attacks"]["none"]["log10_p"] < -6
    assert noise["attacks"]["none"]["exact"]
    assert all(noise["attacks"][name]["log10_p"] < -6 for name in imprinted)
    assert set(pixel["attacks"]) == {"none", "flip"}
    assert pixel["quality"]["PSNR, dB"] > 35
    assert len(noise["features"][0]) == len(noise["features"][1]) > 8
    assert worker.sample("noise-thorough", 1)["attacks"] == {}


def test_tree_ring_alone_has_no_threshold() -> None:
    rows: dict[str, list[Row]] = {RING: [{"attacks": {"none": {"distance": 40.0}}}]}
    ImageSuite().finish(rows)

    assert "no pictures" in rows[RING][0]["failed"]


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    class Broken(Failing):
        def sample(self, subject: str, index: int) -> Row:
            raise OSError("two\nlines" if index else "no weights")

    options = Options(work=tmp_path, workers=1)
    spec = Broken().spec(options)
    broken, _ = runner.run(Broken(), spec, ["good"], 2, options)
    rows, new = runner.run(Failing(), spec, ["good"], 3, options)
    again, none = runner.run(Broken(), spec, ["good"], 3, options)

    assert [row["failed"] for row in broken["good"]] == [
        "OSError: no weights",
        "OSError: two lines",  # a cell of a table has one
    ]
    assert (new, none) == (3, 0)
    assert again == rows
    assert not [row for row in rows["good"] if "failed" in row]


def test_the_rows_that_are_written_are_those_of_the_run(tmp_path: Path) -> None:
    options = Options(work=tmp_path, workers=1, suites=("video",), only=("frozen",))
    options = dataclasses.replace(options, schemes=("noise",))
    other = dataclasses.replace(options, seed=9, samples=2)
    options = dataclasses.replace(options, samples=1)
    found: dict[int, list[list[object]]] = {}
    for one in (options, other, options):
        results = [result.to_dict() for result in robustness.run(one)]
        robustness.write(tmp_path / "out", results, one)
        lines = (tmp_path / "out" / "robustness-video.jsonl").read_text().splitlines()
        head, *rows = map(json.loads, lines)
        assert head["seed"] == one.seed
        wanted = [f"noise/{i}" for i in range(one.samples or 0)]
        assert [row["id"] for row in rows] == wanted
        found.setdefault(one.seed, []).append(rows)

    assert found[0][0] == found[0][1]
    assert found[0][0] != found[9][0][:1]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    class Stopped(Failing):
        def sample(self, subject: str, index: int) -> Row:
            if index == 2:
                raise KeyboardInterrupt
            return super().sample(subject, index)

    options = Options(work=tmp_path, workers=1)
    spec = Stopped().spec(options)
    with pytest.raises(KeyboardInterrupt):
        runner.run(Stopped(), spec, ["good"], 4, options)
    rows, new = runner.run(Failing(), spec, ["good"], 4, options)

    assert new == 2
    assert [row["attacks"]["none"]["log10_p"] for row in rows["good"]] == [
        -9.0, -8.0, -7.0, -6.0,
    ]  # fmt: skip


def test_two_processes_make_the_rows_that_one_makes(tmp_path: Path) -> None:
    suite = robustness.SUITES["metadata"]
    rows = []
    for workers in (1, 2):
        options = Options(work=tmp_path / str(workers), workers=workers)
        spec = suite.spec(options)
        found, new = runner.run(suite, spec, ["JPEG"], 2, options)
        assert new == 2
        rows.append(found)

    assert rows[0] == rows[1]
    assert rows[0]["JPEG"][0]["attacks"]["none"]["trusted"]
    assert rows[0]["JPEG"][1]["attacks"]["saved again"]["state"] == "none"


def test_tree_rings_threshold_is_fitted_to_the_other_pictures() -> None:
    rng = np.random.default_rng(0)
    others = [
        {"attacks": {"none": {"distance": d, "log10_p": 0.0}}}
        for d in rng.normal(50, 2, 200)
    ]
    own = [{"attacks": {"none": {"distance": d, "log10_p": 0.0}}} for d in (50, 40)]
    ImageSuite().finish({"noise": others, RING: own})
    near, far = (row["attacks"]["none"]["log10_p"] for row in own)

    assert near > -1
    assert far < -5
    # What another scheme left is judged by the fit to the rest.
    nulls = [row["attacks"]["none"]["null"] for row in own]
    assert nulls == pytest.approx(
        [
            fitted.held_out([-r["attacks"]["none"]["distance"] for r in others], i)
            for i in range(2)
        ]
    )


def test_a_fit_to_few_claims_little_and_what_was_held_out_is_uniform() -> None:
    rng = np.random.default_rng(3)
    (few,), (many,) = (
        fitted.log10_tails([6.0], rng.normal(0, 1, n).tolist()) for n in (4, 4000)
    )
    null = rng.normal(5, 2, 300).tolist()
    held = [10 ** (fitted.held_out(null, i) or 0.0) for i in range(len(null))]

    assert few > -4
    assert many < -8
    assert kstest(held, "uniform").pvalue > 0.01
    assert fitted.held_out([1.0, 2.0], 0) is None


def test_specs_say_what_decides_their_rows() -> None:
    options = Options()
    for suite in (TextSuite(), ImageSuite()):
        spec = suite.spec(options)
        assert {"code", "model"} <= set(spec.identity)
        assert "none" in spec.attacks
        assert len(spec.attacks) > 20
        assert spec.payloads <= {*spec.schemes, *spec.peers}
