"""Texts and token ids are recognised by pinned digests."""

import hashlib
import time

import numpy as np
import pytest

from watermark import assets
from watermark.assets import DamagedAsset, text


def test_decode_keeps_every_character() -> None:
    whole = "\ufeffnaïve 灯台 \U0001f5fc\r\n"

    assert text.decode(whole.encode()) == whole


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"cut \xe7\x81", "\ud800".encode("utf-8", "surrogatepass"), b"\xc0\x80"],
)
def test_what_is_not_utf8_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedAsset, match="is not UTF-8"):
        text.decode(data)


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(DamagedAsset, match="at most"):
        text.decode(b"x" * (assets.TEXT_BYTES + 1))


def test_the_digest_is_pinned_and_of_normal_form_c() -> None:
    """Ledgers hold it: another value would orphan every record."""
    expected = hashlib.sha256(b"text/1na\xc3\xafve").hexdigest()

    assert text.digest("na\u00efve") == text.digest("nai\u0308ve") == expected
    assert text.digest("naive") != expected


def test_a_lone_surrogate_has_no_digest() -> None:
    with pytest.raises(DamagedAsset, match="character 3 is a lone surrogate"):
        text.digest("abc\ud800")


def test_the_digest_of_tokens_is_pinned() -> None:
    expected = hashlib.sha256(b"tokens/1\1\0\0\0\xff\xff\xff\xff").hexdigest()

    assert text.tokens_digest([1, 2**32 - 1]) == expected
    assert text.tokens_digest(np.array([1, 2**32 - 1])) == expected
    assert text.tokens_digest(iter((1, 2**32 - 1))) == expected
    assert text.tokens_digest([]) == hashlib.sha256(b"tokens/1").hexdigest()


@pytest.mark.parametrize("ids", [[-1], [2**32], [1.5], ["1"]])
def test_ids_that_are_no_ids_are_refused(ids: list[int]) -> None:
    with pytest.raises(DamagedAsset, match="whole numbers"):
        text.tokens_digest(ids)


def test_stacked_marks_take_no_longer_than_their_length() -> None:
    stacked = "a" + "̖̀" * 200_000

    begin = time.process_time()
    assert text.digest(stacked) == text.digest(stacked)
    assert time.process_time() - begin < 2
    assert text.digest("a" + "̀" * 30) == text.digest("à" + "̀" * 29)
    assert text.digest("a" + "̀" * 31) != text.digest("à" + "̀" * 30)
