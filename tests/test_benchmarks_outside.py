"""Peers in other environments: a child process that may be missing, slow or broken."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks.attacks import text as attacks
from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.robustness import fitted, outside, outside_fit, outside_toolkits
from benchmarks.robustness.outside import Outside, measured
from benchmarks.robustness.outside_child import Child, Failed
from benchmarks.robustness.outside_fit import UNFITTED, fit
from benchmarks.robustness.outside_toolkits import (
    MARKDIFFUSION,
    MARKLLM,
    Scheme,
    Toolkit,
    as_it_is,
    log10_tail,
    no_quality,
    pixels,
    png,
    text_prompt,
)
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, Worker
from benchmarks.robustness.text import TextSuite, hosts
from scipy.stats import kstest
from scipy.stats import t as student

PYTHON = Path(sys.executable)
# Words by a keyed coin: a whole watermark, small enough for a test.
COINS = """
import hashlib, math, random
PACKAGES, SCHEMES = ("numpy",), ("coins", "broken")
WORDS = [f"w{i}ord" for i in range(400)]

def coin(key, word):
    return hashlib.sha256(f"{key}/{word}".encode()).digest()[0] & 1

class Toolkit:
    def __init__(self, folder):
        print("what a library prints")
    def scheme(self, name, key):
        if name == "broken":
            raise OSError("no weights\\nhere")
    def mark(self, scheme, key, seed, prompt):
        drawn = random.Random(seed)
        heads = [w for w in WORDS if coin(key, w)]
        return {"thing": " ".join(drawn.choice(heads) for _ in range(120))}
    def score(self, scheme, keys, things):
        z = [[self.z(key, t) for t in things] for key in keys]
        said = [[None if one is None else one > 4 for one in row] for row in z]
        return {"scores": z, "accepted": said}
    def z(self, key, text):
        words = sorted(set(text.split()))
        if len(words) < 2:
            return None
        heads = sum(coin(key, w) for w in words)
        return (2 * heads - len(words)) / math.sqrt(len(words))
"""


class Words(Marks):
    """The text suite without a language model: the attacks that need none."""

    table = attacks.table(attacks.Sources.of(hosts(), None))

    def spec(self, options: Options) -> Spec:
        named = {a.name: (a.family, a.strength) for a in self.table.values()}
        return Spec(
            name="words",
            schemes=("own",),
            unavailable={},
            attacks=named,
            identity={"code": "1"},
        )

    def worker(self, options: Options) -> Worker:
        return OwnWorker()


class OwnWorker:
    attacks = Words.table

    def sample(self, subject: str, index: int) -> Row:
        row = {"log10_p": -7.0, "exact": None, "null": -0.1}
        return {"attacks": {name: dict(row) for name in self.attacks}, "quality": {}}


@pytest.fixture(scope="module")
def coins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coins") / "coins.py"
    path.write_text(COINS)
    return path


@pytest.fixture
def toolkit(coins: Path, monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    monkeypatch.setenv("COINS_PYTHON", str(PYTHON))
    return dataclasses.replace(
        MARKLLM,
        name="numpy",
        variable="COINS_PYTHON",
        script=str(coins.with_suffix("")),
        schemes={"coins": Scheme(as_it_is, log10_tail)},
        opening=opening,
        quality=no_quality,
        notes=("coins",),
    )


def opening(options: Options) -> dict[str, str]:
    return {"folder": ""}


def child(script: str, tmp_path: Path, seconds: float = 60.0) -> Child:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    return Child(PYTHON, [path], {"do": "open"}, seconds=seconds)


def test_a_toolkit_adds_what_it_can_and_says_what_it_cannot(
    toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, suite = Options(), Words()
    plain, more = suite.spec(options), Outside(suite, toolkit).spec(options)
    monkeypatch.delenv("COINS_PYTHON")
    missing = Outside(suite, toolkit).spec(options)
    monkeypatch.setenv("COINS_PYTHON", "/nowhere/python")
    wrong = Outside(suite, toolkit).spec(options)

    name = f"numpy-{np.__version__}"
    assert more.peers == (*plain.peers, f"{name}-coins")
    assert more.unavailable == {f"{name}-broken": "OSError: no weights here"}
    assert "coins" in more.notes
    assert missing.peers == wrong.peers == plain.peers
    assert "COINS_PYTHON names no Python" in missing.unavailable["numpy"]
    assert "cannot start /nowhere/python" in wrong.unavailable["numpy"]
    # Rows on file outlive a toolkit that comes or goes.
    assert more.identity == missing.identity != plain.identity


def test_its_samples_are_found_at_a_realised_rate(toolkit: Toolkit) -> None:
    options = Options()
    suite = Outside(Words(), toolkit)
    spec = suite.spec(options)
    worker = pickle.loads(pickle.dumps(suite)).worker(options)
    (name,) = suite.names
    rows: dict[str, list[Row]] = {name: [worker.sample(name, i) for i in range(3)]}
    again = worker.sample(name, 0)

    assert again == rows[name][0]
    assert rows[name][0] != rows[name][1]
    suite.finish(rows)
    found = {a: [r["attacks"][a] for r in rows[name]] for a in spec.attacks}
    assert all(one["log10_p"] < -4 for one in found["none"])
    assert all(one["log10_p"] > -4 for one in found["homoglyphs 1"])
    assert all(one["null"] > -4 for one in found["none"])
    part = suite.part(spec, rows, 3, 3)
    table = next(t for t in part.tables if t.title == "words: failed")
    assert any("broken" in str(row[0]) for row in table.rows)


def test_other_subjects_are_the_suites_own(toolkit: Toolkit) -> None:
    options = Options()
    suite = Outside(Words(), toolkit)
    suite.spec(options)
    row = suite.worker(options).sample("own", 0)
    rows = {"own": [row], **{name: [] for name in suite.names}}
    suite.finish(rows)

    assert row == OwnWorker().sample("own", 0)


def test_p_is_uniform_where_the_normal_holds() -> None:
    drawn = np.random.default_rng(1)
    tails = []
    for _ in range(400):
        scores = drawn.normal(3.0, 2.0, 5).tolist()
        one = {"score": scores[0], "others": scores[1:], "log10_p": 0.0}
        row: Row = {"attacks": {"none": one}}
        fit([row])
        if UNFITTED not in row:
            tails.append(10 ** float(str(one["log10_p"])))

    assert len(tails) > 390
    assert kstest(tails, "uniform").pvalue > 0.01
    away = (scores[0] - np.mean(scores[1:])) / (np.std(scores[1:], ddof=1) * 1.25**0.5)
    assert tails[-1] == pytest.approx(student.sf(away, 3))


def test_what_has_no_score_is_not_found() -> None:
    coins = dataclasses.replace(MARKLLM, schemes={"coins": Scheme(as_it_is, as_it_is)})
    short = measured(coins, "coins", [None, 1.0, None], [None, False, None])
    alone = measured(coins, "coins", [9.0, None, None], [True, None, None])
    rows: list[Row] = [
        {"attacks": {"cut": short, "lost": alone}},
        {"failed": "Failed: died"},
    ]
    fit(rows)

    assert (short["log10_p"], short["null"]) == (0.0, 1.0)
    assert alone["log10_p"] == 0.0
    assert "null" not in alone


def scored(score: float, others: Sequence[float]) -> Row:
    said = {"accepted": score > 4, "others accepted": [s > 4 for s in others]}
    return {"score": score, "others": list(others), "log10_p": 0.0, **said}


def test_scores_without_a_fit_are_no_cell_and_no_zero() -> None:
    rows: list[Row] = [{"attacks": {"flat": scored(9.0, [1, 1])}} for _ in range(3)]
    fit(rows)

    assert [row["attacks"] for row in rows] == [{}, {}, {}]
    assert "all alike" in outside_fit.unfitted(rows)["flat"]


def test_a_normal_is_not_believed_where_scores_contradict_it() -> None:
    rng = np.random.default_rng(3)
    sound = rng.normal(0, 1, (40, 4))
    alike = sound + rng.normal(0, 2, (40, 1))
    skewed = rng.exponential(1, (40, 4))
    heavy = sound.copy()
    heavy[7, 2] = 9.0  # as of a text with much in it twice
    level = 0.01 / 40

    assert not fitted.why_not(sound.tolist(), level)
    assert "alike: correlation 0." in fitted.why_not(alike.tolist(), level)
    for wrong in (skewed, heavy):
        assert "not normal" in fitted.why_not(wrong.tolist(), level)
    null = sound.ravel().tolist()
    (tail,) = fitted.log10_tails([fitted.threshold(null, 1e-6)], null)
    assert tail == pytest.approx(-6)


def test_a_sound_fit_is_seldom_rejected() -> None:
    rng = np.random.default_rng(4)
    level, runs = 0.05, 400
    rejected = sum(
        bool(fitted.why_not(rng.normal(2, 3, (32, 4)).tolist(), level))
        for _ in range(runs)
    )

    assert Rate(rejected, runs).interval(0.999)[0] <= level
    assert rejected  # a test that never rejects tests nothing


def test_a_subject_without_a_fit_says_so_and_spares_the_others(
    toolkit: Toolkit,
) -> None:
    suite = Outside(Words(), toolkit)
    spec = suite.spec(Options())
    (name,), rng = suite.names, np.random.default_rng(5)
    rows: dict[str, list[Row]] = {"own": [], name: []}
    for i in range(32):
        rows["own"].append(OwnWorker().sample("own", i))
        near = rng.normal(0, 3)  # what the text alone adds to every score
        attacked = {
            attack: scored(7.0 + near, (near + rng.normal(0, 1, 4)).tolist())
            for attack in spec.attacks
        }
        rows[name].append({"attacks": attacked, "quality": {}})
    suite.finish(rows)
    part = suite.part(spec, rows, 32, 0)
    found, own = part.tables[0], part.tables[-1]

    assert {row[found.columns.index(name)] for row in found.rows} == {"no fit"}
    assert all(str(row[1]).startswith("1.00") for row in found.rows)
    ((subject, lost, why, *_, plain, others, _, _),) = own.rows
    assert (subject, lost) == (name, f"{len(spec.attacks)} of {len(spec.attacks)}")
    assert "correlation" in str(why)
    assert None not in (plain, others)
    together = [p for p in part.plots if p.title.endswith("all attacks together")]
    assert [[curve for curve, *_ in plot.curves] for plot in together] == [["own"]]


def test_what_a_child_calls_verdicts_is_checked() -> None:
    whole = [[True, None], [False, True]]
    assert outside.verdicts(whole, 2, 2) == whole
    for wrong in (
        None,
        [[True, False]],
        [[1, 0], [0, 1]],
        [[True, "no"], [True, True]],
    ):
        with pytest.raises(Failed, match="verdict"):
            outside.verdicts(wrong, 2, 2)


@pytest.mark.parametrize(
    "scores",
    [
        None,
        [[1.0], [2.0]],
        [[1.0, 2.0]],
        [[1.0, 2.0], [1.0, "3"]],
        [[1.0, 2.0], [1.0, float("nan")]],
        [[1.0, 2.0], [1.0, 10**400]],
        [[1.0, 2.0], [1.0, True]],
        [[1.0, 2.0], 7],
    ],
)
def test_what_a_child_calls_scores_is_checked(scores: object) -> None:
    whole = [[1.0, None], [2, 3.0]]
    assert outside.checked(whole, 2, 2) == whole
    with pytest.raises(Failed, match="score"):
        outside.checked(scores, 2, 2)


def test_a_child_that_opens_with_something_else_is_a_row(
    toolkit: Toolkit, tmp_path: Path
) -> None:
    script = tmp_path / "odd.py"
    script.write_text(
        "PACKAGES = SCHEMES = ()\nclass Toolkit:\n    def __init__(self, folder): ...\n"
    )
    odd = dataclasses.replace(toolkit, script=str(script.with_suffix("")))
    spec = Outside(Words(), odd).spec(Options())

    assert spec.peers == ()
    with pytest.raises(Failed, match="expected versions and schemes"):
        outside._sorted(toolkit, {"versions": [], "schemes": {}})


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import time; time.sleep(60)", "took longer than 1 s"),
        (
            "import sys; print('no such\\nweights', file=sys.stderr); sys.exit(2)",
            "weights",
        ),
        ("print('hello', flush=True); input(); input()", "no JSON object: 'hello"),
        ("print('[1]', flush=True); input(); input()", "no JSON object"),
        ("print('x' * (1 << 27), flush=True)", "no JSON object"),
        ("import os; os.write(1, b'\\xff\\n')", "died"),
        ("""print('{"error": "no model"}', flush=True); input()""", "no model"),
    ],
)
def test_a_child_that_fails_says_why(script: str, why: str, tmp_path: Path) -> None:
    slow = "sleep" in script
    started = child(script, tmp_path, seconds=1.0 if slow else 60.0)
    with pytest.raises(Failed, match=why):
        started.start()
    started.stop()


def test_a_child_that_died_is_started_again(tmp_path: Path) -> None:
    script = """
        import json, os, sys
        for line in sys.stdin:
            if json.loads(line)["do"] == "die":
                sys.exit("by itself")
            print(json.dumps({"pid": os.getpid(), "path": sys.path}), flush=True)
    """
    started = child(script, tmp_path)
    first = started.start()
    assert started.start() == first
    with pytest.raises(Failed, match="died: by itself"):
        started.ask({"do": "die"})
    second = started.ask({"do": "again"})
    started.stop()

    assert second["pid"] != first["pid"]
    # Neither this project nor the script's neighbours, html.py among them.
    assert str(tmp_path) not in first["path"]
    assert not [path for path in first["path"] if path.endswith("/src")]
    with pytest.raises(ProcessLookupError):
        os.kill(second["pid"], 0)


def test_pictures_come_through_unchanged() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (8, 12, 3), np.uint8)

    np.testing.assert_array_equal(pixels(png(picture)), picture)


@pytest.mark.parametrize("known", [MARKLLM, MARKDIFFUSION], ids=lambda t: t.name)
def test_a_python_without_the_toolkit_is_a_row(
    known: Toolkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(known.variable, str(PYTHON))
    spec = Outside(Words(), known).spec(Options())

    assert spec.peers == ()
    assert f"No module named '{known.name.lower()}'" in spec.unavailable[known.name]


@pytest.mark.parametrize("known", [MARKLLM, MARKDIFFUSION], ids=lambda t: t.name)
def test_the_toolkit_itself(known: Toolkit) -> None:
    """Once for every scheme, where there is an environment that has it."""
    if not os.environ.get(known.variable):
        pytest.skip(f"{known.variable} names no Python that has {known.name}")
    started = outside.child(known, Options())
    opened = started.start()
    assert set(known.schemes) <= {s for s, why in opened["schemes"].items() if not why}
    for scheme, read in known.schemes.items():
        question = {"scheme": scheme, "prompt": known.prompt(0), "seed": 1}
        thing = started.ask({"do": "mark", "key": 12345, **question})["thing"]
        assert started.ask({"do": "mark", "key": 12345, **question})["thing"] == thing
        assert started.ask({"do": "mark", "key": 54321, **question})["thing"] != thing
        keys = [12345, *range(111, 1111, 111)]
        asked = {"do": "score", "scheme": scheme, "keys": keys, "things": [thing]}
        answer = started.ask(asked)
        mine, *others = (read.normal(one) for (one,) in answer["scores"])
        ((verdict,), *_) = outside.verdicts(answer["accepted"], len(keys), 1)
        assert verdict in (True, None)
        assert mine > max(others)
    started.stop()


def test_the_same_prompts_and_draws_as_the_suites() -> None:
    named = TextSuite().spec(Options(full=True)).attacks
    assert set(Words.table) < set(named)
    assert MARKLLM.opening(Options())["length"] == 200
    assert MARKLLM.opening(Options())["sampling"]["no_repeat_ngram_size"] == 8
    assert text_prompt(0) != text_prompt(1)
    assert MARKDIFFUSION.opening(Options())["steps"] == 20
    assert MARKDIFFUSION.opening(Options(full=True))["inversion"] == 50


def test_every_p_has_a_quantile() -> None:
    found = [outside_toolkits.quantile(p) for p in (0.0, 1e-9, 0.5, 1.0)]

    assert found == sorted(found, reverse=True)
    assert np.isfinite(found).all()
    assert found[2] == 0.0
