"""CN-06: provider codes, read and checked."""

from __future__ import annotations

import pytest

from watermark.errors import LabelError
from watermark.labels.provider import ProviderCode, check_character, is_code

# Codes that are in use: whatever they sign, their check characters fit.
REAL = (
    "001191110102MAD55U9H0F10002",
    "001191440300708461136T1XGW3",
    "001191310104MACE0YX63918020",
    "001191110102MACQD9K64010000",
    "001191440300708461136T1308L",
    "00119144030008867405X210002",
)


@pytest.mark.parametrize("code", REAL)
def test_cn_06_codes_in_use_are_read(code: str) -> None:
    found = ProviderCode.parse(code)

    assert str(found) == code
    assert found.checked
    assert found.subject == code[4:22]
    assert (found.service, found.application) == (code[22], code[23:])


@pytest.mark.parametrize("place", range(4, 22))
def test_cn_06_every_mistyped_character_is_told(place: int) -> None:
    code = REAL[0]
    other = "2" if code[place] != "2" else "3"
    with pytest.raises(LabelError, match="check character") as caught:
        ProviderCode.parse(code[:place] + other + code[place + 1 :])

    assert caught.value.clause == "GB 32100-2015"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (REAL[0][:26], "27 characters"),
        (REAL[0] + "0", "27 characters"),
        (REAL[0].lower(), "27 characters"),
        ("01" + REAL[0][2:], "expected 00"),
        (REAL[0][:22] + "9" + REAL[0][23:], "service 9"),
        ("0011" + "I" * 18 + "10000", "no I, O, S"),
        ("", "27 characters"),
    ],
)
def test_cn_06_what_is_no_code_is_refused(code: str, problem: str) -> None:
    with pytest.raises(LabelError, match=problem):
        ProviderCode.parse(code)


def test_codes_of_subjects_we_have_not_read_are_not_called_checked() -> None:
    assert not ProviderCode.parse("0021" + "0" * 18 + "10000").checked


def test_a_name_is_no_code() -> None:
    assert is_code(REAL[0])
    assert not is_code("MiniMax")


def test_the_check_character_of_a_longer_row_of_codes() -> None:
    assert [check_character(code[4:21]) for code in REAL] == [c[21] for c in REAL]
