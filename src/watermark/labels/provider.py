"""The provider's code in a label (TC260-PG-20252A): read and checked, never invented.

27 characters, ``0-9`` and ``A-Z``: format ``00``, kind of subject, what it is bound to,
the subject's number (18), the service, and four characters of the provider's choice.
For organisations the number is the unified social credit code of GB 32100-2015, whose
last character is a check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from watermark.errors import LabelError

CLAUSE = "TC260-PG-20252A"
GENERATION, PROPAGATION = "1", "2"
SERVICES = {GENERATION: "generation", PROPAGATION: "propagation", "0": "none named"}

_CODE = re.compile(r"[0-9A-Z]{27}")
_MISTYPED = re.compile(r"00[0-9A-Za-z]{20,30}")  # no name of anybody's
_CREDIT_CODE = "GB 32100-2015"
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # without I, O, S, V, Z


@dataclass(frozen=True, slots=True)
class ProviderCode:
    """One code, taken apart.

    Attributes:
        code: all 27 characters.
        subject: of it the 18 that say who.
        service: ``"1"`` generation, ``"2"`` propagation, ``"0"`` none.
        application: four characters: which model or application, as the provider
            counts them.
        checked: whether `subject` has a check character that we know, and it fits.
            Codes of persons are of a form that we have not read.
    """

    code: str
    subject: str
    service: str
    application: str
    checked: bool

    @classmethod
    def parse(cls, code: str) -> Self:
        """Take a code apart.

        Raises:
            LabelError: it has not the form, or its check character is wrong.
        """
        if not _CODE.fullmatch(code):
            raise LabelError(
                CLAUSE,
                f"found {code!r:.60}, expected 27 characters of 0-9 and A-Z: take the "
                "code that was assigned to you",
            )
        if not code.startswith("00"):
            raise LabelError(CLAUSE, f"{code} begins {code[:2]}, expected 00")
        subject, service = code[4:22], code[22]
        if service not in SERVICES:
            raise LabelError(
                CLAUSE,
                f"{code} names the service {service}, expected one of "
                f"{', '.join(SERVICES)}",
            )
        checked = code[2:4] == "11"
        if checked and check_character(subject[:17]) != subject[17]:
            raise LabelError(
                _CREDIT_CODE,
                f"{subject} has a wrong check character: a digit is mistyped",
            )
        return cls(code, subject, service, code[23:], checked)

    def __str__(self) -> str:
        return self.code


def is_code(producer: str) -> bool:
    """Whether this is meant as a code, mistyped or not, and not as a name."""
    return any(form.fullmatch(producer) for form in (_CODE, _MISTYPED))


def check_character(number: str) -> str:
    """The 18th character of a unified social credit code (GB 32100-2015, 4.6).

    Args:
        number: its first 17.

    Raises:
        LabelError: a character that such codes do not have.

    >>> check_character("91110102MAD55U9H0")
    'F'
    """
    total = 0
    for place, character in enumerate(number):
        value = _ALPHABET.find(character)
        if value < 0:
            raise LabelError(
                _CREDIT_CODE,
                f"{number} has {character!r} at {place}; such codes have no I, O, S, "
                "V and Z",
            )
        total += value * pow(3, place, 31)
    return _ALPHABET[-total % 31]
