"""Folders with a home in them: with signed files, and with marked ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.running import enter, picture, wm

from watermark.api import Watermark
from watermark.cli.terminal import Code


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


@pytest.fixture(scope="module")
def marked(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As `made`, and a marked text, its tokenizer, another one, and a pipeline."""
    import torch
    from tests.pipelines import tiny
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
