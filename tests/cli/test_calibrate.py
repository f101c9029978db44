"""`wm calibrate`: on a folder of texts, with a home or with key files alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.running import wm
from tokenizers import Tokenizer, models, pre_tokenizers

from watermark.api import Watermark
from watermark.calibration import LUCK
from watermark.cli.terminal import Code
from watermark.home import Home
from watermark.keys import Key
from watermark.tokenizer import TextTokenizer

WORDS = [f"w{i}" for i in range(2000)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, a tokenizer and two corpora: one shares nothing, one a licence."""
    folder = tmp_path_factory.mktemp("made")
    vocabulary = {word: i for i, word in enumerate([*WORDS, "?"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (folder / "tokenizer").mkdir()
    backend.save(str(folder / "tokenizer" / "tokenizer.json"))
    rng = np.random.default_rng(1)
    (folder / "corpus" / "deep").mkdir(parents=True)
    for i in range(30):
        name = f"deep/{i}.txt" if i % 2 else f"{i}.txt"
        text = " ".join(rng.choice(WORDS, 60))
        (folder / "corpus" / name).write_text(text)
    (folder / "corpus" / "short.txt").write_text("w1 w2 w3")
    (folder / "shared").mkdir()
    licence = " ".join(rng.choice(WORDS, 150))
    for i in range(40):
        end = " ".join(rng.choice(WORDS, 20))
        (folder / "shared" / f"{i}.txt").write_text(f"{licence} {end}")
    Watermark.create(folder / "home", provider="Acme").home.ledger.close()
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setenv("WATERMARK_HOME", "home")
    monkeypatch.delenv("WATERMARK_PASSPHRASE", raising=False)
    return made


def test_a_table_says_whether_to_keep_the_key_and_what_it_means(here: Path) -> None:
    code, out, err = wm("calibrate", "corpus", "--tokenizer", "tokenizer", "--keys", 20)
    kid = Home.open().ring.newest.key.kid

    # One key in a dozen is not kept by luck; then the command says so.
    assert code in (Code.DONE, Code.CONFIGURATION)
    verdict = "KEEP" if code == Code.DONE else "DO NOT KEEP"
    assert out.startswith(f"{verdict} key {kid} (gumbel, epoch 0)")
    assert "30, 1803 tokens; 1 too short left out" in out
    assert "LEVEL" in out
    assert "95% INTERVAL" in out
    assert "MEAN OF 20 KEYS" in out
    assert out.count("smallest p") == 5
    assert "of 20 other keys would be kept" in out
    assert LUCK in out
    assert "368 documents without a hit" in err


def test_json_is_one_document_and_nothing_else(here: Path) -> None:
    code, out, _ = wm(
        *("calibrate", "corpus", "--tokenizer", "tokenizer", "--keys", 3),
        *("--scheme", "greenlist", "--json"),
    )
    [found] = json.loads(out)

    assert code in (Code.DONE, Code.CONFIGURATION)
    assert found["kept"] is (code == Code.DONE)
    assert found["record"]["scheme"] == "greenlist"
    assert (found["documents"], found["untestable"], found["others"]) == (30, 1, 3)


def test_passages_are_documents_of_their_own(here: Path) -> None:
    _, out, _ = wm(
        *("calibrate", "corpus", "--tokenizer", "tokenizer", "--keys", 0),
        *("--passage", 25, "--json"),
    )
    [found] = json.loads(out)

    assert found["documents"] == 60
    assert found["worst"][0]["name"].endswith(("[0:25]", "[25:50]"))
    assert found["inflation_at_most"] is None


def test_candidates_are_screened_without_a_home(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keys whose luck on a shared licence is bad are passed over."""
    monkeypatch.delenv("WATERMARK_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    rng = np.random.default_rng(3)
    kids: list[str] = []
    arguments: list[object] = []
    for i in range(40):
        key = Key(rng.bytes(32))
        key.save(tmp_path / f"{i}.json")
        _, out, _ = wm(
            *("calibrate", "shared", "--tokenizer", "tokenizer", "--keys", 0),
            *("--candidate", tmp_path / f"{i}.json", "--json"),
        )
        kept = json.loads(out)[0]["kept"]
        if kept and not kids:
            continue  # until the first that is passed over
        kids.append(key.kid)
        arguments += ["--candidate", tmp_path / f"{i}.json"]
        if kept:
            break

    code, out, _ = wm(
        *("calibrate", "shared", "--tokenizer", "tokenizer", "--keys", 10),
        *(*arguments, "--json"),
    )
    found = json.loads(out)

    assert code == Code.DONE
    assert len(found) >= 2
    assert [c["record"]["kid"] for c in found] == kids
    assert [c["kept"] for c in found] == [False] * (len(found) - 1) + [True]
    rejected = wm("calibrate", "shared", "--tokenizer", "tokenizer", *arguments[:2])
    assert rejected[0] == Code.CONFIGURATION
    assert rejected[1].startswith(f"DO NOT KEEP key {kids[0]}")


def test_the_attached_tokenizer_is_the_default(here: Path) -> None:
    without = wm("calibrate", "corpus", "--keys", 0)
    Home.open().add_tokenizer(TextTokenizer.of("tokenizer"))
    attached = wm("calibrate", "corpus", "--keys", 0, "--json")

    assert without[0] == Code.CONFIGURATION
    assert "name one with --tokenizer DIR" in without[2]
    assert json.loads(attached[1])[0]["documents"] == 30


def test_what_is_no_text_is_left_out_and_said(here: Path, tmp_path: Path) -> None:
    for name in ("0.txt", "2.txt"):
        text = (here / "corpus" / name).read_text()
        (tmp_path / name).write_text(text)
    (tmp_path / "image.bin").write_bytes(b"\xff\x00\xfe")
    code, out, err = wm(
        *("calibrate", tmp_path, "--tokenizer", "tokenizer", "--keys", 0, "--json")
    )

    assert code in (Code.DONE, Code.CONFIGURATION)
    assert "1 files in" in err
    assert json.loads(out)[0]["documents"] == 2


def test_a_plot_is_a_png(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    png = tmp_path / "rates.png"
    wm(
        *("calibrate", "corpus", "--tokenizer", "tokenizer", "--keys", 5),
        *("--plot", png),
    )

    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["nowhere"], Code.USAGE, "is no folder"),
        (["corpus", "--scheme", "noise"], Code.USAGE, "no text scheme 'noise'"),
        (["empty", "--tokenizer", "tokenizer"], Code.UNREADABLE, "no files in"),
        (["tiny", "--tokenizer", "tokenizer"], Code.UNREADABLE, "none of 1 documents"),
        (["corpus", "--tokenizer", "corpus"], Code.CONFIGURATION, "no tokenizer at"),
        (
            ["corpus", "--tokenizer", "tokenizer", "--candidate", "none.json"],
            Code.CONFIGURATION,
            "does not exist",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_a_code(
    argv: list[str], code: Code, message: str, here: Path
) -> None:
    (here / "empty").mkdir(exist_ok=True)
    (here / "tiny").mkdir(exist_ok=True)
    (here / "tiny" / "a.txt").write_text("w1")

    found, out, err = wm("calibrate", *argv, "--keys", 0)

    assert (found, out) == (code, "")
    assert message in err
    assert err.startswith("error: ")
