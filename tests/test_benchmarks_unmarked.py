"""What nobody marked is attacked like the rest, under every scheme's keys."""

from __future__ import annotations

import pytest
from benchmarks.options import Options
from benchmarks.robustness import image, image_studio, text, unmarked
from benchmarks.robustness.image import RING, ImageSuite
from benchmarks.robustness.image_marks import NOISE
from benchmarks.robustness.spec import Row
from benchmarks.robustness.text import OURS, PEERS, TextSuite
from benchmarks.robustness.unmarked import UNMARKED


def test_each_scheme_has_its_own_rate_and_samples_are_clusters() -> None:
    def row(*tails: float) -> Row:
        attacks: Row = {str(i): {"under": {"one": p}} for i, p in enumerate(tails)}
        attacks["turn"] = {"under": {"two": -0.5}}
        attacks["raised"] = {"failed": "why"}
        return {"attacks": attacks}

    table = unmarked.under("words", [row(-1.5, -0.1), row(-2.5, 0.0), {"failed": ""}])
    one, two = table.rows

    assert one[0] == "one"
    assert str(one[1]).startswith("0.5 ")
    assert str(one[1]).endswith("(2/4 of 2)")
    assert str(one[2]).startswith("0.25 ")
    assert one[3] == -2.5
    assert (two[0], two[3]) == ("two", -0.5)
    assert not unmarked.under("words", []).rows


def test_what_is_held_out_is_of_every_subject_and_sample() -> None:
    nulls = [[float(10 * s + i) for i in range(8)] for s in range(4)]
    nulls.insert(1, [])  # one whose pictures have no distance
    pooled = [score for own in nulls for score in own]
    chosen = [pooled[image._place(nulls, i)] for i in range(8)]

    assert chosen == [0.0, 11.0, 22.0, 33.0, 4.0, 15.0, 26.0, 37.0]


def test_tree_rings_null_is_of_the_unmarked_and_the_peers_alone() -> None:
    def rows(*distances: float) -> list[Row]:
        return [
            {"attacks": {"none": {"distance": d, "log10_p": 0.0}}} for d in distances
        ]

    own = rows(10.0)
    unmarked_ones = rows(*(50.0 + i / 4 for i in range(20)))
    ImageSuite().finish({"noise": [], UNMARKED: unmarked_ones, RING: own})

    assert own[0]["attacks"]["none"]["log10_p"] < -6


@pytest.mark.models
def test_unmarked_texts_are_shown_to_every_scheme_in_turn() -> None:
    options = Options(only=("truncated to", "typos", "white space"))
    suite = TextSuite()
    row = suite.worker(options).sample(UNMARKED, 0)
    again = suite.worker(options).sample(UNMARKED, 0)
    schemes = [next(iter(one["under"])) for one in row["attacks"].values()]

    assert row == again
    assert set(schemes) == {*OURS, *PEERS}
    assert all(one["log10_p"] == one["null"] > -6 for one in row["attacks"].values())
    assert row["quality"]["perplexity"] > 1
    spec = suite.spec(options)
    part = suite.part(spec, {UNMARKED: [row]}, 1, 1)
    assert part.tables[-1].title == f"text: {UNMARKED}"
    assert len(part.tables[-1].rows) == len({*schemes})
    marked = text.TextWorker(options).sample("gumbel-16-bits", 0)["attacks"]
    assert marked["none"]["exact"]
    assert marked["none"]["told"]


@pytest.mark.models
def test_unmarked_pictures_are_shown_to_every_scheme(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_studio, "QUICK", (6, 2))
    worker = ImageSuite().worker(Options(only=("flip", "quarter turn")))
    row = worker.sample(UNMARKED, 0)
    peer = worker.sample("PRC", 0)

    assert set(row["attacks"]) == {"none", "flip", "quarter turn"}
    for one in row["attacks"].values():
        assert {*NOISE} - {RING} <= set(one["under"])
        assert min(one["under"].values()) > -6
        assert one["log10_p"] == one["null"] > -6
        assert one["distance"] > 0
    assert "pixel" in row["attacks"]["none"]["under"]
    assert row["features"][0] != row["features"][1]  # of another draw
    assert row["quality"] == {}
    assert peer["attacks"]["none"]["exact"] in (True, False)
    assert peer["attacks"]["none"]["log10_p"] < -2
    # One attack of four has another key, too; of four samples one is unmarked.
    assert [n for n, a in peer["attacks"].items() if "null" in a] == ["none"]
    assert worker.sample(UNMARKED, 1) == {"attacks": {}, "quality": {}}
    assert "One sample of 4 is measured" in " ".join(ImageSuite().spec(Options()).notes)
