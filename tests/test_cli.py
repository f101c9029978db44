"""`wm`: what it prints where, its exit codes, and that it never shows a secret."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from watermark.api import Watermark
from watermark.cli import main
from watermark.cli.results import show
from watermark.cli.terminal import Code, plain
from watermark.home import Home
from watermark.keys import Key, KeyRing
from watermark.report import Evidence, Reason, Report, Verdict
from watermark.store.proof import InclusionProof
from watermark.verifier import Verifier

SOURCES = Path(__file__).parent.parent / "src"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def wm(*argv: object) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stopped,
    ):
        main([str(argument) for argument in argv])
    return Ran(int(stopped.value.code or 0), out.getvalue(), err.getvalue())


def in_a_process(*argv: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "watermark", *map(str, argv)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def picture() -> Image.Image:
    return Image.linear_gradient("L").resize((64, 48)).convert("RGB")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, and beside it a picture and a text, each also signed under that home."""
    folder = tmp_path_factory.mktemp("made")
    picture().save(folder / "photo.png")
    (folder / "letter.txt").write_text("A letter that somebody wrote. " * 5)
    Watermark.create(folder / "home", provider="Acme").home.ledger.close()
    home = ("--home", folder / "home")
    for name in ("photo.png", "letter.txt"):
        target = folder / f"signed-{name}"
        assert wm("embed", folder / name, "-o", target, *home).code == Code.DONE
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made`, as the working directory and with the default home."""
    return enter(made, tmp_path / "here", monkeypatch)


def enter(folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(folder, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("WATERMARK_HOME", "home")
    monkeypatch.delenv("WATERMARK_PASSPHRASE", raising=False)
    return copy


@pytest.fixture(scope="module")
def tiny() -> Any:
    """tests/pipelines/tiny.py."""
    folder = str(Path(__file__).parent / "pipelines")
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module("tiny")


# --- the command itself --------------------------------------------------------------


def test_help_is_light_and_lists_the_exit_codes() -> None:
    script = (
        "import sys, watermark.cli\n"
        "try: watermark.cli.main(['verify', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sqlalchemy', 'numpy', 'c2pa', 'PIL', 'cryptography'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    for code in Code:
        assert f"\n{code:>6}  " in ran.stdout


def test_version_says_which_this_is() -> None:
    ran = wm("--version")

    assert ran.code == 0
    assert ran.out.startswith("wm 0.")


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["verify"],
        ["verify", "a", "--text", "b"],
        ["verify", "-", "-"],
        ["verify", "a", "--json", "--jsonl"],
        ["verify", "a", "--fail-on", "human"],
        ["embed", "a"],
        ["ledger", "find"],
        ["ledger", "find", "--sha256", "zz"],
        ["ledger", "find", "--mark-id", "0"],
        ["ledger", "list", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(argv: list[str], here: Path) -> None:
    ran = wm(*argv)

    assert (ran.code, ran.out) == (Code.USAGE, "") or argv == ["verify"]
    assert ran.code == Code.USAGE


def test_a_traceback_is_shown_only_for_debug(here: Path) -> None:
    quiet, loud = wm("keys", "revoke", "k0"), wm("--debug", "keys", "revoke", "k0")

    assert quiet.code == loud.code == Code.CONFIGURATION
    assert quiet.err.startswith("error: no key 'k0' in this ring")
    assert quiet.err.count("\n") == 1
    assert "Traceback" in loud.err


def test_what_nobody_foresaw_is_one_line_and_1(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(Home, "open", broken)

    ran = wm("keys", "list")

    assert ran.code == Code.BUG
    assert ran.err.startswith("error: ZeroDivisionError: unforeseen\n")
    assert "Traceback" not in ran.err


# --- init ----------------------------------------------------------------------------


def test_init_makes_a_home_and_says_that_its_certificate_is_for_development(
    here: Path,
) -> None:
    ran = wm("init", "other", "--provider", "Acme")

    assert (ran.code, ran.err) == (Code.DONE, "")
    home = Home.open(Path("other"))
    assert home.ring.newest.key.kid in ran.out
    assert "strangers will see `valid`, not `trusted`" in ran.out
    assert f"export WATERMARK_HOME={here / 'other'}" in ran.out


def test_init_uses_the_default_path_and_never_overwrites(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", "fresh")

    first, second = (wm("init", "--provider", "Acme") for _ in range(2))

    assert first.code == Code.DONE
    assert Home.open(Path("fresh")).provider == "Acme"
    assert (second.code, second.out) == (Code.CONFIGURATION, "")
    assert "a home is never overwritten" in second.err


def test_a_passphrase_comes_from_a_file_or_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pass").write_text("correct horse\n")
    wrong = wm("init", "locked", "--provider", "Acme", "--passphrase-file", "none")
    made = wm("init", "locked", "--provider", "Acme", "--passphrase-file", "pass")

    without = wm("keys", "list", "--home", "locked")
    monkeypatch.setenv("WATERMARK_PASSPHRASE", "correct horse")
    rotated = wm("keys", "rotate", "--home", "locked")

    assert wrong.code == without.code == Code.CONFIGURATION
    assert "a passphrase is needed" in without.err
    assert made.code == rotated.code == Code.DONE
    assert "keys are encrypted" in made.out
    assert len(KeyRing.load(Path("locked/keys"), passphrase="correct horse")) == 2
    assert "correct horse" not in "".join([made.out, made.err, rotated.out])


# --- embed ---------------------------------------------------------------------------


def test_embed_warns_on_stderr_where_there_is_no_mark(here: Path) -> None:
    ran = wm("embed", "photo.png", "-o", "new/signed.png")

    assert ran.code == Code.DONE
    assert ran.err.startswith("warning: photo.png: this image carries no mark")
    assert ran.err.count("\n") == 1
    assert Path("new/signed.png").exists()


def test_embed_of_several_files_fills_a_folder_and_tells_what_failed(
    here: Path,
) -> None:
    Path("noise.bin").write_bytes(b"\0\1\2")

    ran = wm("embed", "photo.png", "noise.bin", "none.png", "letter.txt", "-o", "out")

    assert ran.code == Code.UNREADABLE
    assert {p.name for p in Path("out").iterdir()} >= {"photo.png", "letter.txt"}
    assert "error: noise.bin: this asset cannot be signed" in ran.err
    assert "error: none.png: No such file or directory" in ran.err
    assert wm("verify", "out/photo.png", "out/letter.txt").out.count("SIGNED") == 2


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("photo.png", Code.USAGE, "is an input"),
        ("./home/../photo.png", Code.USAGE, "is an input"),
        ("signed-photo.png", Code.USAGE, "exists: pass --force"),
        ("home", Code.USAGE, "is a folder"),
        ("new.jpg", Code.UNREADABLE, "asks for image/jpeg"),
        ("new.bmp", Code.UNREADABLE, "found suffix '.bmp'"),
    ],
)
def test_embed_refuses_and_publishes_nothing(
    here: Path, out: str, code: Code, message: str
) -> None:
    before = {p.name: p.read_bytes() for p in here.glob("*.*")}
    size = wm("ledger", "checkpoint", "--json").json["size"]

    ran = wm("embed", "photo.png", "-o", out)

    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert {p.name: p.read_bytes() for p in here.glob("*.*")} == before
    assert wm("ledger", "checkpoint", "--json").json["size"] == size


def test_embed_replaces_only_by_force(here: Path) -> None:
    assert wm("embed", "photo.png", "-o", "signed-photo.png", "--force").code == 0
    refused = wm("embed", "letter.txt", "-o", "other.md")
    shutil.rmtree("home/credential")

    assert refused.code == Code.DONE
    gone = wm("embed", "photo.png", "-o", "third.png")
    assert gone.code == Code.CONFIGURATION
    assert not Path("third.png").exists()


def test_embed_can_demand_a_mark(here: Path) -> None:
    ran = wm("embed", "photo.png", "-o", "new.png", "--require-mark")

    assert ran.code == Code.UNREADABLE
    assert "error: photo.png: this image carries no mark" in ran.err
    assert not Path("new.png").exists()


# --- verify --------------------------------------------------------------------------


def test_a_signed_picture_is_signed(here: Path) -> None:
    ran = wm("verify", "signed-photo.png", "--json")

    assert ran.code == Code.DONE
    assert list(ran.json)[:3] == ["schema", "path", "verdict"]
    assert ran.json["path"] == "signed-photo.png"
    assert ran.json["verdict"] == "SIGNED"
    states = {e["layer"]: e["state"] for e in ran.json["evidence"]}
    assert states == {"manifest": "trusted", "ledger": "logged"}


def test_a_tampered_picture_is_a_conflict(here: Path) -> None:
    data = bytearray(Path("signed-photo.png").read_bytes())
    data[-20] ^= 1  # in the last chunk of pixels, or its checksum
    Path("tampered.png").write_bytes(data)

    ran = wm("verify", "tampered.png")

    assert ran.code == Code.DONE
    assert "CONFLICT" in ran.out
    assert "because       broken-signature" in ran.out


def test_a_text_is_signed_by_the_manifest_beside_it(here: Path) -> None:
    beside = wm("verify", "signed-letter.txt", "--json").json
    Path("signed-letter.txt").write_text("Another letter.")
    changed = wm("verify", "signed-letter.txt", "--json").json

    assert beside["verdict"] == "SIGNED"
    assert changed["verdict"] == "CONFLICT"


def test_content_that_is_no_good_is_a_verdict(here: Path) -> None:
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:60])
    Path("what.bin").write_bytes(b"\0\1\2\3")
    Path("empty").write_bytes(b"")

    ran = wm("verify", "cut.png", "what.bin", "empty", "--json")

    assert (ran.code, ran.err) == (Code.DONE, "")
    assert [r["verdict"] for r in ran.json] == ["INCONCLUSIVE"] * 3
    assert {r["reasons"][0]["code"] for r in ran.json} == {"unreadable"}


def test_a_missing_file_is_3_and_the_others_are_verified(here: Path) -> None:
    ran = wm("verify", "none.png", "signed-photo.png")

    assert ran.code == Code.UNREADABLE
    assert ran.err.startswith("error: none.png: No such file or directory\n")
    assert "2 inputs: 1 SIGNED, 1 could not be read" in ran.err
    assert ran.out.startswith("signed-photo.png\n  SIGNED ")


def test_one_input_that_meets_a_bug_does_not_keep_the_others_from_a_verdict(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Verifier.__call__

    def broken(self: Verifier, asset: Any) -> Any:
        if asset.kind == "text":
            raise IndexError("unforeseen")
        return judged(self, asset)

    monkeypatch.setattr(Verifier, "__call__", broken)

    ran = wm("verify", "letter.txt", "signed-photo.png", "--json")

    assert ran.code == Code.UNREADABLE
    assert ran.json[0] == {
        "path": "letter.txt",
        "error": "a bug in wm: IndexError: unforeseen",
    }
    assert ran.json[1]["verdict"] == "SIGNED"


def test_without_a_home_it_names_wm_init(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", "nowhere")

    for argv in (["verify", "photo.png"], ["ledger", "list"], ["keys", "list"]):
        ran = wm(*argv)

        assert (ran.code, ran.out) == (Code.CONFIGURATION, "")
        assert "no home at nowhere: make one with `wm init" in ran.err


def test_a_key_file_needs_no_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Key.generate().save(Path("k.json"))
    monkeypatch.delenv("WATERMARK_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(here / "nothing"))

    ran = wm("verify", "signed-photo.png", "--keys", "k.json", "--json")
    wrong = wm("verify", "signed-photo.png", "--keys", "photo.png")

    assert ran.code == Code.DONE
    assert ran.json["verdict"] == "INCONCLUSIVE"
    assert "untrusted-signer" in {r["code"] for r in ran.json["reasons"]}
    assert wrong.code == Code.CONFIGURATION


def test_trust_takes_the_place_of_the_homes_own(here: Path) -> None:
    wm("init", "other", "--provider", "Other")
    root = ("--trust", "other/credential/root.pem")
    Path("bad.pem").write_text("no certificate")

    stranger = wm("verify", "signed-photo.png", "--json", *root)
    friend = wm("verify", "signed-photo.png", "--home", "other", "--json")
    told = wm(
        *("verify", "signed-photo.png", "--home", "other", "--json"),
        *("--trust", "home/credential/root.pem"),
    )
    bad = wm("verify", "photo.png", "--trust", "bad.pem")

    assert stranger.json["evidence"][0]["state"] == "valid"
    assert friend.json["evidence"][0]["state"] == "valid"
    assert told.json["evidence"][0]["state"] == "trusted"
    assert bad.code == Code.CONFIGURATION
    assert "expected PEM certificates" in bad.err


def test_folders_recurse_in_order_without_sidecars_and_hidden_files(
    here: Path,
) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", ".git/d.txt", "a.c2pa"):
        path = Path("tree", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    os.mkfifo("tree/pipe")
    Path("tree/broken.png").symlink_to("nowhere")

    ran = wm("verify", "tree", "photo.png", "--jsonl")

    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == Code.UNREADABLE
    assert [row["path"] for row in rows] == [
        "tree/a.txt",
        "tree/b.txt",
        "tree/broken.png",
        "tree/sub/c.txt",
        "photo.png",
    ]
    assert rows[2] == {"path": "tree/broken.png", "error": "No such file or directory"}


def test_a_folder_without_files_is_no_pass(here: Path) -> None:
    Path("bare").mkdir()

    ran = wm("verify", "bare", "--fail-on", "marked", "--json")

    assert (ran.code, ran.out) == (Code.UNREADABLE, "")


def test_json_is_an_object_for_a_file_and_a_list_for_a_folder(here: Path) -> None:
    Path("one").mkdir()
    shutil.copy("photo.png", "one")

    assert isinstance(wm("verify", "photo.png", "--json").json, dict)
    assert isinstance(wm("verify", "none.png", "--json").json, dict)
    assert isinstance(wm("verify", "one", "--json").json, list)
    assert isinstance(wm("verify", "photo.png", "none.png", "--json").json, list)


def test_nothing_but_json_is_on_stdout_of_a_process(here: Path) -> None:
    ran = in_a_process("verify", ".", "none.png", "--jsonl")

    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == Code.UNREADABLE
    assert [row["path"] for row in rows][-1] == "none.png"
    assert ran.stderr == "error: none.png: No such file or directory\n"


def test_stdin_and_text_are_inputs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO(Path("signed-photo.png").read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))

    stdin = wm("verify", "-", "--json").json
    text = wm("verify", "--text", "Some words.", "--json").json

    assert (stdin["path"], stdin["verdict"]) == ("-", "SIGNED")
    assert (text["kind"], text["verdict"]) == ("text", "INCONCLUSIVE")


def test_hostile_names_are_escaped_for_people_and_kept_in_json(here: Path) -> None:
    name = "evil\x1b[2J\n[bold]\u202e\x9b.txt"
    Path(name).write_text("text")
    undecodable = os.fsdecode(b"\xff.txt")
    Path(undecodable).write_text("text")

    people = wm("verify", name, undecodable, "none\x1b.png")
    programs = wm("verify", name, undecodable, "--json")

    told = people.out + people.err
    assert "evil\\x1b[2J\\n[bold]\\u202e\\x9b.txt\n" in people.out
    assert "error: none\\x1b.png: No such file" in people.err
    assert all(c.isprintable() or c == "\n" for c in told)
    assert programs.out.isascii()
    assert [r["path"] for r in programs.json] == [name, undecodable]


def test_a_hostile_signer_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    signer = "Evil\x1b[31m\nMARKED"
    evidence = Evidence(
        layer="manifest", detector="c2pa", key_id=signer, state="valid", codes=("a\r",)
    )
    reason = Reason("untrusted-signer", f"signed by {signer}")
    report = Report(
        verdict=Verdict.INCONCLUSIVE,
        kind="image",
        evidence=(evidence,),
        reasons=(reason,),
    )

    show("photo.png", report)

    out = capsys.readouterr().out
    assert "valid, signed by Evil\\x1b[31m\\nMARKED; a\\r\n" in out
    assert "because       untrusted-signer: signed by Evil\\x1b[31m\\nMARKED\n" in out
    assert len(out.splitlines()) == 4


def test_plain_leaves_readable_text_alone() -> None:
    assert plain("naïve 写真 [red].png") == "naïve 写真 [red].png"


# --- marks ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marked(
    made: Path, tiny: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """As `made`, and a marked text, its tokenizer, another one, and a pipeline."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for each other on models this small
    words = {f"w{i}": i for i in range(500)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    model = tiny.language_model(500)
    top = tmp_path_factory.mktemp("marked") / "top"
    shutil.copytree(made, top)
    folder = top / "marked"
    w = Watermark.open(top / "home")
    with w.home.ledger, w.attach(model, tokenizer=tokenizer):
        prompt = torch.tensor([[5, 6, 7]])
        options = {"do_sample": True, "min_new_tokens": 80, "max_new_tokens": 80}
        ids = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    tokenizer.save_pretrained(folder / "right")
    tiny.tokenizer().save_pretrained(folder / "wrong")
    tiny.stable_diffusion().save_pretrained(folder / "pipeline")
    (folder / "marked.txt").write_text(tokenizer.decode(ids[0, 3:]))
    yield top
    torch.set_num_threads(threads)


@pytest.fixture
def there(marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `marked`, as the working directory and with the default home."""
    return enter(marked, tmp_path / "there", monkeypatch)


def test_a_marked_text_is_marked_and_fails_on_marked(there: Path) -> None:
    ran = wm("verify", "marked/marked.txt", "--fail-on", "marked")
    other = wm("verify", "marked/marked.txt", "--fail-on", "no-evidence")
    missing = wm("verify", "marked/marked.txt", "none", "--fail-on", "marked")
    clean = wm("verify", "signed-photo.png", "--fail-on", "marked")

    assert ran.code == missing.code == Code.MARKED
    assert other.code == clean.code == Code.DONE
    assert "  MARKED        a mark was found\n" in ran.out
    assert "  mark          log10 p -" in ran.out


def test_a_second_signature_does_not_hide_a_mark(there: Path) -> None:
    wm("embed", "letter.txt", "-o", "marked/other.txt")
    for beside in ("marked.c2pa", "marked.txt.c2pa"):
        for manifest in Path("marked").glob("other*.c2pa"):
            shutil.copy(manifest, Path("marked", beside))

    ran = wm("verify", "marked/marked.txt", "--fail-on", "marked", "--json")

    assert ran.json["verdict"] == "CONFLICT"
    assert ran.code == Code.MARKED


def test_an_exported_key_finds_the_mark(there: Path) -> None:
    kid = Home.open().ring.newest.key.kid
    wm("keys", "export", kid, "--out", "k.json", "--yes")
    wm("init", "other", "--provider", "Other")

    ran = wm(
        *("verify", "marked/marked.txt", "--home", "other", "--keys", "k.json"),
        *("--tokenizer", "marked/right", "--json"),
    )

    assert ran.json["verdict"] == "MARKED"


def test_a_wrong_tokenizer_is_20(there: Path) -> None:
    wrong = wm("verify", "letter.txt", "--tokenizer", "marked/wrong", "--json")
    missing = wm("verify", "letter.txt", "--tokenizer", "marked/none")

    assert (wrong.code, wrong.out) == (Code.CONFIGURATION, "")
    assert wrong.err.count("\n") == 1
    assert "the tokenizer given has digest" in wrong.err
    assert missing.code == Code.CONFIGURATION


def test_no_evidence_can_fail(there: Path) -> None:
    quick = ("--pipeline", "marked/pipeline", "--effort", "quick")
    picture().resize((256, 256)).save("large.png")

    ran = wm("verify", "large.png", *quick, "--fail-on", "no-evidence")

    assert ran.code == Code.NO_EVIDENCE
    assert "  NO_EVIDENCE   " in ran.out
    assert "does not mean human-made" in ran.out


def test_a_pipeline_is_local_safetensors_and_brings_no_code(there: Path) -> None:
    pipeline = Path("marked/pipeline")
    shutil.copytree(pipeline, "code")
    index = json.loads(Path("code/model_index.json").read_text())
    index["unet"] = ["evil", "Evil"]
    Path("code/model_index.json").write_text(json.dumps(index))
    Path("code/unet/evil.py").write_text("open('pwned', 'w')\n")
    shutil.copytree(pipeline, "pickle")
    weights = next(Path("pickle/vae").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))

    for folder in ("code", "pickle", "stabilityai/stable-diffusion-2"):
        ran = wm("verify", "photo.png", "--pipeline", folder, "--json")

        assert (ran.code, ran.out) == (Code.CONFIGURATION, "")
        assert f"pipeline in {folder} cannot" in ran.err or "no model at" in ran.err
    assert not Path("pwned").exists()


def test_a_language_model_and_a_prompt_weigh_a_text(here: Path) -> None:
    from tests.pipelines import tiny

    tiny.language_model(60).save_pretrained("lm")
    Path("prompt.txt").write_text("Dear Sir")
    shutil.copytree("lm", "pickle")
    Path("pickle/model.safetensors").rename("pickle/pytorch_model.bin")
    given = ("--pipeline", "lm", "--prompt", "prompt.txt", "--json")

    assert wm("verify", "letter.txt", *given).code == Code.DONE
    for wrong in (("--pipeline", "pickle"), ("--prompt", "nowhere.txt")):
        ran = wm("verify", "letter.txt", *wrong, "--json")
        assert (ran.code, ran.out) == (Code.CONFIGURATION, "")
        assert "cannot be read" in ran.err


# --- keys ----------------------------------------------------------------------------


def test_keys_rotate_and_revoke(here: Path) -> None:
    [first] = wm("keys", "list", "--json").json

    assert wm("keys", "rotate").code == Code.DONE
    assert wm("keys", "rotate", "--epoch").code == Code.DONE
    listed = wm("keys", "list", "--json").json
    assert [(k["state"], k["epoch"]) for k in listed] == [("retired", 0), ("active", 1)]
    assert wm("keys", "revoke", first["kid"]).err == ""
    assert "no key is active" in wm("keys", "revoke", listed[1]["kid"]).err
    told = wm("keys", "list").out
    assert told.splitlines()[0].split() == ["KID", "STATE", "EPOCH", "CREATED"]
    assert told.count("revoked") == 2


def test_export_warns_asks_and_never_overwrites(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Home.open().ring.newest.key
    monkeypatch.setattr("sys.stdin", io.StringIO())

    unasked = wm("keys", "export", key.kid, "--out", "k.json")
    written = wm("keys", "export", key.kid, "--out", "k.json", "--yes")
    again = wm("keys", "export", key.kid, "--out", "k.json", "--yes")
    unknown = wm("keys", "export", "k0", "--out", "other.json", "--yes")

    assert (unasked.code, unasked.out) == (Code.USAGE, "")
    assert written.code == Code.DONE
    assert "can also forge them on anything" in written.err
    assert Path("k.json").stat().st_mode & 0o777 == 0o600
    assert key == Key.load(Path("k.json"))
    assert again.code == unknown.code == Code.CONFIGURATION
    assert "a key file is never overwritten" in again.err
    assert not Path("other.json").exists()


def test_an_exported_key_is_encrypted_with_the_passphrase_given(here: Path) -> None:
    key = Home.open().ring.newest.key
    Path("pass").write_text("for the auditor\n")

    argv = ("keys", "export", key.kid, "--out", "k.json", "--yes")
    ran = wm(*argv, "--new-passphrase-file", "pass")

    assert ran.code == Code.DONE
    assert "secret" not in json.loads(Path("k.json").read_text())
    assert key == Key.load(Path("k.json"), passphrase="for the auditor")


def test_an_exported_key_names_the_epoch_it_has_marked_in(here: Path) -> None:
    kid = Home.open().ring.newest.key.kid
    wm("keys", "rotate", "--epoch")

    ran = wm("keys", "export", kid, "--out", "k.json", "--yes")

    assert ran.code == Code.DONE
    assert json.loads(Path("k.json").read_text())["epoch"] == 1


def test_no_output_holds_a_secret(here: Path) -> None:
    key = Home.open().ring.newest.key
    secret = key._secret
    pem = Path("home/credential/key.pem").read_text().splitlines()[1]
    log = Path("home/log.pem").read_text().splitlines()
    argvs = (
        ["keys", "list"],
        ["keys", "list", "--json"],
        ["keys", "export", key.kid, "--out", "k.json", "--yes"],
        ["keys", "export", key.kid, "--out", "k.json", "--yes"],
        ["verify", "k.json", "home", "letter.txt", "--json"],
        ["verify", "letter.txt", "--keys", "k.json"],
        ["--debug", "verify", "letter.txt", "--keys", "letter.txt"],
        ["embed", "k.json", "-o", "k2.txt"],
        ["ledger", "list", "--json"],
        ["ledger", "prove", "0", "--json"],
        ["ledger", "verify", "--json"],
        ["keys", "rotate"],
        ["keys", "revoke", key.kid],
    )

    told = ""
    for argv in argvs:
        ran = wm(*argv)
        told += ran.out + ran.err

    forms = [base64.b64encode(secret).decode(), secret.hex(), repr(secret), pem, *log]
    assert [form for form in forms if len(form) > 30 and form in told] == []
    assert [form for form in forms if "secret" in form] == []


# --- ledger --------------------------------------------------------------------------


def test_what_was_published_is_found_again(here: Path) -> None:
    rows = wm("ledger", "list", "--json").json
    published = rows[0]
    record_id = published["record"]["record_id"]

    by_file = wm("ledger", "find", "--sha256", published["asset_sha256"], "--json")
    got = wm("ledger", "get", record_id, "--json").json
    told = wm("ledger", "get", record_id)

    assert by_file.json == [published]
    assert got == {"record": published["record"], "entries": [published]}
    assert f"Record {record_id}" in told.out
    assert wm("ledger", "list", "--limit", "1", "--json").json == rows[-1:]
    assert record_id in wm("ledger", "list").out


def test_what_is_not_in_the_ledger_is_said(here: Path) -> None:
    assert wm("ledger", "find", "--mark-id", "00" * 8, "--json").json == []
    assert wm("ledger", "find", "--sha256", "00" * 32).err == "Nothing found.\n"
    assert wm("ledger", "get", "0" * 32).code == Code.UNREADABLE
    assert wm("ledger", "prove", "99").code == Code.UNREADABLE


def test_a_proof_verifies_with_nothing_but_itself(here: Path) -> None:
    ran = wm("ledger", "prove", "1", "--json").json

    proof = InclusionProof.from_dict(ran["proof"])
    head = proof.verify(base64.b64decode(ran["body"]), verifier=ran["verifier"])

    assert head.size == 2
    assert ran["leaf"]["idx"] == 1
    assert ran["leaf"] == wm("ledger", "list", "--json").json[1]
    assert "is among the first 2" in wm("ledger", "prove", "1").out


def test_a_checkpoint_kept_elsewhere_shows_a_rollback(here: Path) -> None:
    shutil.copytree("home", "old")
    wm("embed", "photo.png", "-o", "more.png")
    printed = wm("ledger", "checkpoint")
    Path("note").write_text(printed.out)
    described = wm("ledger", "checkpoint", "--json").json

    sound = wm("ledger", "verify", "--checkpoint", "note", "--json")
    hinted = wm("ledger", "verify")
    rolled = wm("ledger", "verify", "--checkpoint", "note", "--home", "old")
    unread = wm("ledger", "verify", "--checkpoint", "none")
    elsewhere = wm("ledger", "verify", "--verifier", "nonsense")

    assert (described["note"], described["size"]) == (printed.out, 3)
    assert (sound.code, sound.json["size"]) == (Code.DONE, 3)
    assert "keep checkpoints elsewhere" in hinted.err
    assert (rolled.code, rolled.out) == (Code.CONFIGURATION, "")
    assert unread.code == elsewhere.code == Code.CONFIGURATION


def test_a_corrupt_ledger_is_20(here: Path) -> None:
    Path("home/ledger.db").write_bytes(b"no database at all" * 99)

    for argv in (["ledger", "verify"], ["verify", "photo.png", "--json"]):
        ran = wm(*argv)

        assert (ran.code, ran.out) == (Code.CONFIGURATION, "")
        assert ran.err.count("\n") == 1


# --- demo ----------------------------------------------------------------------------


def test_the_demo_says_which_models_it_lacks(here: Path) -> None:
    ran = wm("demo", "--models", "none")

    assert ran.code == Code.CONFIGURATION
    assert "no model at none" in ran.err
