"""Sub-keys, states and tags: separate for every purpose, and pinned for ever."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from watermark import prf
from watermark.kernels import reference
from watermark.keys import Key, KeyRecord

SECRET = hashlib.sha256(b"a secret of the tests").digest()


def record(**fields: int) -> KeyRecord:
    key = Key(SECRET)
    return KeyRecord(kid=key.kid, scheme="gumbel", key=key, **fields)  # type: ignore[arg-type]  # version and epoch only


def hkdf(info: str, length: int) -> bytes:
    """The library `cryptography`, as a witness of its own."""
    kdf = HKDF(hashes.SHA256(), length, salt=b"watermark-sdk", info=info.encode())
    return kdf.derive(SECRET)


def test_the_context_key_is_hkdf_of_scheme_and_epoch() -> None:
    expected = hkdf("watermark/1/context/gumbel.1/2", 16)

    assert prf.context_key(record(epoch=2)) == expected


def test_a_state_is_siphash_of_the_shape() -> None:
    key = hkdf("watermark/1/state/order/gumbel.1/0", 16)
    expected = reference.siphash128(key, struct.pack("<3Q", 4, 64, 32))

    assert prf.state(record(), "order", (4, 64, 32)) == expected


def test_a_tag_is_hmac_of_its_parts_with_their_lengths() -> None:
    key = hkdf("watermark/1/tag/nonce/gumbel.1/0", 32)
    data = struct.pack("<Q", 2) + b"ab" + struct.pack("<Q", 0)
    expected = hmac.new(key, data, hashlib.sha256).digest()

    assert prf.tag(record(), "nonce", b"ab", b"") == expected


@given(st.lists(st.binary(max_size=5), max_size=4), st.data())
def test_no_two_lists_of_parts_have_one_tag(
    parts: list[bytes], data: st.DataObject
) -> None:
    """Joined parts that say the same must not be taken for the same."""
    joined = b"".join(parts)
    cut = data.draw(st.integers(0, len(joined)))
    other = [joined[:cut], joined[cut:]]
    same = prf.tag(record(), "x", *parts) == prf.tag(record(), "x", *other)

    assert same == (parts == other)


@pytest.mark.parametrize("fields", [{"epoch": 1}, {"version": 2}])
def test_epochs_and_versions_share_nothing(fields: dict[str, int]) -> None:
    for function in (
        prf.context_key,
        lambda r: prf.state(r, "order", (1, 2)),
        lambda r: prf.tag(r, "nonce", b"x"),
    ):
        assert function(record()) != function(record(**fields))


def test_purposes_and_shapes_share_nothing() -> None:
    one = record()
    found = {
        prf.state(one, purpose, shape)
        for purpose in ("order", "masks", "pilot", "data")
        for shape in ((4, 64), (64, 4), (4, 64, 1), (256,))
    }

    assert len(found) == 16
