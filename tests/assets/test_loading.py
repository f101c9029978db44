"""What callers hand over: a text is a text, and the name of a file is told."""

import warnings
from pathlib import Path

import pytest

from watermark.assets.loading import PATH_CHARS, load


def test_the_name_of_a_file_as_a_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"")

    with pytest.warns(UserWarning, match=r"expected pathlib\.Path"):
        asset = load(str(path))
    assert (asset.kind, asset.text) == ("text", str(path))


@pytest.mark.parametrize(
    "text", ["", "no such file.png", "a\0b", "\ud800", "x" * (PATH_CHARS + 1), "/"]
)
def test_other_texts_are_taken_without_a_word(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(text).kind == "text"
