"""`wm verify` on marks: with keys, tokenizers, models and pipelines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.running import picture, wm

from watermark.cli.terminal import Code
from watermark.home import Home


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
