"""The little DER reader: what it writes it reads, and junk is one kind of error."""

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.sign import der
from watermark.sign.der import Malformed

ARCS = st.lists(st.integers(0, 2**40), max_size=6)


@settings(deadline=None)
@given(st.integers(0, 2), st.integers(0, 39), ARCS)
def test_an_oid_comes_back(first: int, second: int, rest: list[int]) -> None:
    text = ".".join(map(str, (first, second, *rest)))

    assert der.dotted(der.element(der.oid(text))) == text
    assert x509.ObjectIdentifier(text).dotted_string == text


@settings(deadline=None)
@given(st.integers(0, 2**200))
def test_a_number_comes_back(value: int) -> None:
    found = der.element(der.integer(value), der.INTEGER)

    assert der.number(found) == value
    assert found.content[0] < 128  # never negative


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_every_length_comes_back(length: int) -> None:
    inner = der.encode(der.OCTET_STRING, bytes(length))
    (found,) = der.element(der.encode(der.SEQUENCE, inner)).children()

    assert (found.tag, found.content, found.encoded) == (4, bytes(length), inner)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_junk_is_malformed_or_a_row_of_elements(data: bytes) -> None:
    try:
        found = der.elements(data)
    except Malformed:
        return
    assert b"".join(e.encoded for e in found) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\x30",
        b"\x30\x80\x00\x00",  # an indefinite length
        b"\x30\x85\x00\x00\x00\x00\x00",
        b"\x30\x02\x05",
        b"\x1f\x81\x00\x00",  # a tag of two bytes
    ],
)
def test_what_is_not_read_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        der.elements(data)


def test_a_wrong_type_is_refused() -> None:
    number = der.element(der.integer(5))
    with pytest.raises(Malformed, match="expected an OBJECT IDENTIFIER"):
        der.dotted(number)
    with pytest.raises(Malformed, match="expected an INTEGER"):
        der.number(der.element(der.oid("1.2.3")))
    with pytest.raises(Malformed, match="expected one of tag 48"):
        der.element(der.integer(5), der.SEQUENCE)
    with pytest.raises(Malformed):
        der.dotted(der.element(bytes([6, 3, 42, 3, 0x80])))  # the last arc is cut


def test_deep_nesting_does_not_recurse() -> None:
    data = b""
    for _ in range(5000):
        data = der.encode(der.SEQUENCE, data)

    depth = 0
    while data:
        (one,) = der.elements(data)
        data, depth = one.content, depth + 1
    assert depth == 5000
