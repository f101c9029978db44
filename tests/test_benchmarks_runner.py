"""Around the robustness runner: what it is asked for, what decides rows, what fails."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import shutil
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import huggingface_hub.constants
import pytest
from benchmarks import __main__ as command
from benchmarks import journal, report, robustness
from benchmarks.attacks import swept
from benchmarks.checkpoints import located, named, variant
from benchmarks.options import MODELS, Options, Unavailable, weights_sha256
from benchmarks.robustness import runner, summary
from benchmarks.robustness.audio import AudioSuite
from benchmarks.robustness.image import RING, ImageSuite
from benchmarks.robustness.metadata import MetadataSuite
from benchmarks.robustness.outside_fit import fit
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, few, lost
from benchmarks.robustness.video import VideoWorker
from rich.console import Console

import watermark
from watermark.kernels import BACKEND

WEIGHTS = MODELS / "diffusion" / "vae" / "diffusion_pytorch_model.safetensors"
# They read rows, look at models, or keep what was made.
SHOWING = (
    *("report.py", "rates.py", "journal.py", "checkpoints.py", "robustness/spec.py"),
    *("robustness/summary.py", "robustness/plots.py", "robustness/measures.py"),
    # Of the benchmarks that PSNR, SSIM and features are taken from.
    *("diffusion/pixel_attacks.py", "diffusion/pixel_peer.py"),
    *("diffusion/attacks.py", "timing.py"),
)
SPEC = Spec(
    name="small",
    schemes=("ours",),
    peers=("Tree-Ring", "Tree-Ring-rand", "Kit-1.2.3-EXP", "Kit-1.2.3-KGW"),
    unavailable={"Other": "not measured: OTHER_PYTHON names no Python that has it"},
    attacks={"none": ("none", None), "noise": ("noise", None)},
    identity={"shown": {}},
)


class Small(Marks):
    """A suite that costs nothing."""

    def spec(self, options: Options) -> Spec:
        return dataclasses.replace(SPEC, variant=variant(options.lm, "lm", "ab" * 32))

    def worker(self, options: Options) -> Small:
        return self

    def sample(self, subject: str, index: int) -> Row:
        found = {name: {"log10_p": -9.0} for name in SPEC.attacks}
        return {"attacks": found, "quality": {}}


class Broken(Small):
    """Its checkpoint makes a library raise."""

    def worker(self, options: Options) -> Small:
        raise KeyError("transformer.wte\n.weight")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "SUITES", {"small": Small()})


def arguments(folder: Path) -> tuple[str, ...]:
    made = ("--samples", "2", "--workers", "1", "--work", str(folder / "work"))
    return ("robustness", *made, "--out", str(folder / "out"))


# --- what decides rows ---------------------------------------------------------------


def package(folder: Path) -> ModuleType:
    (folder / "foreign").mkdir(parents=True)
    for name in ("__init__.py", "foreign/__init__.py", "foreign/kgw.py"):
        (folder / name).write_text("WIDTH = 4\n")
    made = ModuleType("package.schemes")
    made.__file__ = str(folder / "__init__.py")
    return made


def test_every_file_of_a_package_decides_and_its_place_does_not(tmp_path: Path) -> None:
    one, other = (package(tmp_path / name) for name in "ab")
    before = journal.code_version((one,), "options.py")

    assert journal.code_version((other,), "options.py") == before
    assert journal.code_version((other,), "rates.py") != before
    (tmp_path / "a" / "foreign" / "kgw.py").write_text("WIDTH = 5\n")
    assert journal.code_version((one,), "options.py") != before
    (tmp_path / "b" / "foreign" / "kgw.py").rename(tmp_path / "b" / "kgw.py")
    assert journal.code_version((other,), "options.py") != before


@pytest.mark.skipif(BACKEND == "reference", reason="no kernel was compiled")
def test_kernels_decide_by_their_sources_or_as_they_were_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes = package(tmp_path / "package")
    monkeypatch.setattr(journal, "KERNELS", tmp_path / "kernels")
    version = partial(journal.code_version, (schemes,))
    built = version()
    assert len(journal._kernels()) > 5
    (tmp_path / "kernels").mkdir()
    found = {built}
    for name in ("_prf.pyx", "philox.pxd", "lanes.h"):
        (tmp_path / "kernels" / name).write_text("1")
        found.add(version())
    (tmp_path / "kernels" / "_prf.pyx").write_text("2")
    found.add(version())

    assert len(found) == 5


def test_the_whole_package_decides_a_suites_rows() -> None:
    # Whatever a suite says of itself.
    named = journal._files((watermark,), ())
    assert {f"watermark/{name}.py" for name in ("prf", "verifier", "likelihood")} < {
        *named
    }
    assert "watermark/schemes/foreign/kgw.py" in named
    assert "watermark/keys/key.py" in named
    version = journal.code_version((watermark,), *runner.SHARED)
    assert runner.identity(SPEC, Options())["package"] == version


def imported(path: Path) -> set[Path]:
    """The benchmarks' modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    files = {journal.HERE.parent / f"{n.replace('.', '/')}.py" for n in names}
    return {one for one in files if one.is_file() and one.is_relative_to(journal.HERE)}


@pytest.mark.models
@pytest.mark.parametrize("name", ["text", "image", "audio", "video", "metadata"])
def test_every_file_that_makes_rows_decides_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(f"benchmarks.robustness.{name}")
    counted = {*runner.SHARED}
    monkeypatch.setattr(module, "code_version", lambda _, *files: counted.update(files))
    suite = robustness.SUITES[name]
    getattr(suite, "suite", suite).spec(Options())
    seen: set[str] = set()
    left = [journal.HERE / "robustness" / f"{name}.py"]
    while left:
        path = left.pop()
        file = str(path.relative_to(journal.HERE))
        if file not in seen and not file.endswith(SHOWING):
            seen.add(file)
            left += imported(path)

    assert seen <= counted


def test_rows_of_fewer_attacks_are_other_rows(tmp_path: Path) -> None:
    """A codec that was not there yet: no cell may keep fewer samples."""

    class More(Small):
        def sample(self, subject: str, index: int) -> Row:
            row = super().sample(subject, index)
            row["attacks"]["AAC"] = {"log10_p": -9.0}
            return row

    options = Options(work=tmp_path, workers=1)
    runner.run(Small(), SPEC, ["ours"], 2, options)
    more = dataclasses.replace(SPEC, attacks={**SPEC.attacks, "AAC": ("AAC", None)})
    rows, new = runner.run(More(), more, ["ours"], 3, options)

    assert new == 3
    assert summary.rate(rows["ours"], "AAC").n == 3


def test_recordings_decide_rows(tmp_path: Path) -> None:
    suite, folder = AudioSuite(), tmp_path / "audio" / "speech"
    made = [suite.spec(Options()).identity]
    folder.mkdir(parents=True)
    for name, data in (("a.wav", b"1"), ("a.wav", b"2"), ("b.wav", b"2")):
        (folder / name).write_bytes(data)
        made.append(suite.spec(Options(data=tmp_path)).identity)
    (folder / "a.txt").write_bytes(b"no sound")
    assert suite.spec(Options(data=tmp_path)).identity == made[-1]

    assert len({str(one) for one in made}) == 4


# --- models --------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.parametrize("cut", [0, 7, 100, -1, -100_000])
def test_weights_that_are_not_whole_are_refused_before_any_work(
    cut: int, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    (folder / "vae").mkdir(parents=True)
    (folder / "vae" / "model.safetensors").write_bytes(WEIGHTS.read_bytes()[:cut])
    work = tmp_path / "work"
    for options in (Options(work=work, lm=folder), Options(work=work, pipeline=folder)):
        with pytest.raises(Unavailable, match=r"cut/vae/model.safetensors is broken"):
            robustness.run(options)

    assert not work.exists()


@pytest.mark.models
@pytest.mark.parametrize(
    ("index", "why"),
    [
        ('{"_class_name": "FluxPipeline", "vae": ["a", "b"]}', "Flux.*has no unet"),
        ('{"unet": [null, null], "vae": ["a", "b"]}', "has no unet"),
        ('{"unet": ["a", "b"], "vae": ["a", "b"]}', "has no scheduler"),
        ('{"unet": ["a", "b"], "vae": ["a", "b"], "scheduler": ["a", "b"]}', "unet/"),
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
    ],
)
def test_a_pipeline_that_cannot_be_measured_is_refused(
    index: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "vae").mkdir()
    shutil.copy(WEIGHTS, tmp_path / "vae")
    (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(Unavailable, match=why):
        ImageSuite().spec(Options(pipeline=tmp_path))


def test_an_id_is_looked_up_on_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789" * 4
    kept = tmp_path / "models--owner--small-lm"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    (kept / "snapshots" / commit).mkdir(parents=True)
    found = located(Path("owner/small-lm"))

    assert found.samefile(kept / "snapshots" / commit)
    assert named(found, "ab" * 32) == "owner/small-lm abababababab"
    assert variant(found, "lm", "ab" * 32) == "owner-small-lm-abababababab"
    for other in ("owner/none", "none", "a/b/c", "../x", str(tmp_path)):
        assert located(Path(other)) == Path(other)
    with pytest.raises(Unavailable, match=r"no model in none/.* id of a model"):
        weights_sha256(Path("owner/none"))


def test_each_model_has_a_result_of_its_own(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "lm").mkdir(parents=True)
    assert variant(MODELS / "lm", "lm", "ab") == variant(MODELS / "x/../lm", "lm", "ab")
    assert variant(MODELS / "flow", "diffusion", "ab") == "flow"
    names = {
        variant(tmp_path / "one" / "lm", "lm", digest * 32) for digest in ("ab", "cd")
    }
    assert names == {"lm-abababababab", "lm-cdcdcdcdcdcd"}
    for model in ((), ("--model", str(tmp_path / "one" / "lm"))):
        assert command.main((*arguments(tmp_path), *model)) == 0
    results = sorted(path.name for path in (tmp_path / "out").glob("*.json"))
    summary_md = (tmp_path / "out" / "summary.md").read_text()

    assert results == [
        "robustness-small-lm-abababababab.json",
        "robustness-small.json",
    ]
    for name in ("robustness-small", "robustness-small-lm-abababababab"):
        assert f"## {name}\n" in summary_md
        assert (tmp_path / "out" / f"{name}.jsonl").is_file()


def test_a_model_that_cannot_be_loaded_is_no_traceback(tmp_path: Path) -> None:
    options = Options(work=tmp_path, workers=1)
    with pytest.raises(Unavailable, match=r"KeyError: 'transformer.wte\\n.weight'"):
        runner.run(Broken(), SPEC, ["ours"], 1, options)


# --- what is asked for ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("Kit", {"Kit-1.2.3-EXP", "Kit-1.2.3-KGW"}),
        ("Kit-1.2.3", {"Kit-1.2.3-EXP", "Kit-1.2.3-KGW"}),
        ("Kit-EXP", {"Kit-1.2.3-EXP"}),
        ("Kit-1.2.3-EXP,Kit-KGW", {"Kit-1.2.3-EXP", "Kit-1.2.3-KGW"}),
        ("Tree-Ring", {"Tree-Ring"}),
        ("Tree", {"Tree-Ring", "Tree-Ring-rand"}),
        ("", set(SPEC.peers)),
    ],
)
def test_a_peer_is_named_by_its_beginning_and_without_its_version(
    wanted: str, expected: set[str]
) -> None:
    names = tuple(filter(None, wanted.split(",")))

    assert set(robustness._peers(names, {"small": SPEC})) == expected


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("Ki", "no peer Ki; expected some of Tree-Ring, "),
        ("EXP", "no peer EXP"),
        ("Other", "no peer Other: not measured: OTHER_PYTHON"),
    ],
)
def test_a_peer_that_nobody_has_is_refused(wanted: str, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        robustness._peers((wanted,), {"small": SPEC})


def test_full_runs_have_all_strengths_and_suites_and_others_those_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {a.name: a for a in swept("noise", no_memory, (1, 2))}
    monkeypatch.setattr(robustness, "SUITES", {"small": Small(), "strength": Small()})
    for more, strengths, results in (
        ({}, ["noise 2"], 1),
        ({"full": True}, ["noise 1", "noise 2"], 2),
        ({"only": ("noise",)}, ["noise 1", "noise 2"], 1),
        ({"suites": ("strength",)}, ["noise 2"], 1),
    ):
        options = Options(work=tmp_path, workers=1, samples=1, **more)
        assert list(few(table, options)) == strengths
        assert len(robustness.run(options)) == results


def test_a_refused_run_leaves_nothing_behind(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command.main((*arguments(tmp_path), "--suite", "nosuch")) == 3
    assert "no suite nosuch" in capsys.readouterr().out
    assert not out.exists()
    # As a run of everything would.
    out.mkdir()
    refused = report.Result(name="robustness", skipped="no model").to_dict()
    (out / "robustness.json").write_text(json.dumps(refused))
    assert command.main(arguments(tmp_path)) == 0
    before = (out / "summary.md").read_text()
    assert command.main((*arguments(tmp_path), "--suite", "nosuch")) == 3

    assert "Not run" not in before
    assert "nosuch" not in (out / "summary.md").read_text() == before
    assert not (out / "robustness.json").exists()


def test_an_interrupt_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(options: Options) -> report.Result:
        raise KeyboardInterrupt

    monkeypatch.setitem(command.BENCHMARKS, "robustness", stopped)
    assert command.main(arguments(tmp_path)) == 130
    assert capsys.readouterr() == ("", "stopped; run it again to go on\n")


def test_progress_names_the_suite(tmp_path: Path) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    options = Options(work=tmp_path, workers=1, console=console)
    runner.run(Small(), SPEC, ["ours"], 1, options)

    assert "robustness: small" in shown.getvalue()


# --- what fails ----------------------------------------------------------------------


def no_memory(sound: object, rng: object) -> object:
    raise OSError("no\nmemory")


def test_an_attack_that_raises_costs_no_other_its_row() -> None:
    worker = VideoWorker(Options(only=("frozen",)))
    whole = worker.sample("noise", 0)
    name = list(worker.attacks)[-1]
    worker.attacks[name] = dataclasses.replace(worker.attacks[name], change=no_memory)
    broken = worker.sample("noise", 0)

    assert broken["attacks"].pop(name) == {
        "log10_p": 0.0,
        "exact": False,
        "failed": "OSError: no memory",
    }
    whole["attacks"].pop(name)
    assert broken == whole
    assert "none" in whole["attacks"]


def test_metadata_that_cannot_be_attacked_costs_one_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.attacks import metadata

    def raising(data: bytes, rng: object) -> bytes:
        raise OSError("no memory")

    monkeypatch.setattr(metadata, "resaved", raising)
    suite, options = MetadataSuite(), Options(only=("saved again", "padded"))
    row = suite.worker(options).sample("PNG", 0)
    spec = suite.spec(options)
    attacks = {name: spec.attacks[name] for name in row["attacks"]}
    spec = dataclasses.replace(spec, attacks=attacks)
    part = suite.part(spec, {"PNG": [row]}, 1, 1)
    targets = {target.name: target for target in part.targets}
    states = {cells[0]: cells[1] for cells in part.tables[0].rows}

    assert row["attacks"]["none"]["state"] == "trusted"
    assert str(states["saved again"]).startswith("failed 1.00")
    assert str(states["padded"]).startswith(row["attacks"]["padded"]["state"])
    assert not targets["metadata: samples that failed"].reached
    assert "saved again: OSError" in targets["metadata: samples that failed"].note
    assert targets["metadata: untouched files that are trusted"].reached
    assert targets["metadata: falsely trusted files"].note.startswith("of 2 ")


def test_an_attack_that_raised_has_found_nothing_and_is_tried_again(
    tmp_path: Path,
) -> None:
    class Once(Small):
        def sample(self, subject: str, index: int) -> Row:
            row = super().sample(subject, index)
            if index == 1:
                row["attacks"]["noise"] = lost(OSError("no memory"), False)
            return row

    options = Options(work=tmp_path, workers=1)
    first, new = runner.run(Once(), SPEC, ["ours"], 2, options)
    second, again = runner.run(Small(), SPEC, ["ours"], 2, options)

    assert (new, again) == (2, 1)
    assert (summary.rate(first["ours"], "noise").hits, 2) == (1, 2)
    assert summary.rate(first["ours"], "noise").n == 2
    assert summary.rate(second["ours"], "noise").hits == 2


def test_fits_go_without_attacks_that_raised() -> None:
    raised = {**lost(OSError()), "score": None, "others": []}
    scores = [[9.0, 0.1, -0.4, 1.2, 0.3], [8.0, -1.1, 0.4, 0.9, -0.2]]
    rows: list[Row] = [
        {"attacks": {"none": {"score": s[0], "others": s[1:], "log10_p": 0.0}}}
        for s in scores
    ]
    fit([*rows, {"attacks": {"none": raised}}])

    assert raised["log10_p"] == 0.0
    assert "null" not in raised
    distances = [{"attacks": {"none": {"distance": 50.0 + i}}} for i in range(4)]
    ring: list[Row] = [
        {"attacks": {"none": {"distance": 40.0}}},
        {"attacks": {"none": lost(OSError())}},
    ]
    ImageSuite().finish({"noise": distances, RING: ring})
    near, none = (row["attacks"]["none"] for row in ring)

    assert near["log10_p"] < 0.0
    assert none == lost(OSError())
