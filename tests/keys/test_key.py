"""Keys: none that could be guessed, one name each, sub-keys by RFC 5869."""

from __future__ import annotations

import copy
import traceback
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tests.keys.conftest import SECRET

from watermark.errors import WeakKey
from watermark.keys import Key, KeyRecord


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(7, id="int"),
        pytest.param(True, id="bool"),
        pytest.param("x" * 32, id="str"),
        pytest.param(None, id="none"),
        pytest.param(list(range(32)), id="list"),
        pytest.param(b"", id="empty"),
        pytest.param(SECRET[:31], id="short"),
        pytest.param(SECRET + b"!", id="long"),
        pytest.param(bytes(32), id="zeros"),
        pytest.param(b"password" * 4, id="words"),
        pytest.param(bytes(range(19)) + bytes(13), id="19-distinct"),
        pytest.param(bytes(range(32)), id="counted-up"),
        pytest.param(bytes((250 - 3 * i) % 256 for i in range(32)), id="steps"),
        pytest.param(b"abcdefghijklmnopqrstuvwxyz012345", id="text"),
    ],
)
def test_a_key_that_could_be_guessed_is_refused(secret: Any) -> None:
    with pytest.raises(WeakKey, match=r"Key\.generate"):
        Key(secret)


def test_a_refused_key_is_not_quoted() -> None:
    secret = b"hunter" * 4  # not in the line that a traceback quotes
    with pytest.raises(WeakKey) as caught:
        Key(secret)

    assert "hunterhunter" not in "".join(traceback.format_exception(caught.value))


def test_generated_keys_differ() -> None:
    assert len({Key.generate().kid for _ in range(50)}) == 50


def test_the_public_name_of_a_key_is_pinned(key: Key) -> None:
    """It stands in manifests and ledgers: another derivation would lose them."""
    assert key.kid == "k" + reference_hkdf("watermark/1/kid//0", 8).hex()


def reference_hkdf(info: str, length: int) -> bytes:
    """The library `cryptography`, as a witness of its own."""
    hkdf = HKDF(hashes.SHA256(), length, salt=b"watermark-sdk", info=info.encode())
    return hkdf.derive(SECRET)


@pytest.mark.parametrize("length", [1, 16, 32, 33, 64, 100])
def test_derive_is_hkdf_sha256_of_rfc_5869(key: Key, length: int) -> None:
    expected = reference_hkdf("watermark/1/context/gumbel.1/3", length)

    assert key.derive("context", "gumbel.1", 3, length=length) == expected


def test_every_purpose_scheme_and_epoch_has_its_own_sub_key(key: Key) -> None:
    found = {
        key.derive(purpose, scheme, epoch)
        for purpose in ("context", "nonce", "kid")
        for scheme in ("", "gumbel.1", "gumbel.2", "noise.1")
        for epoch in range(4)
    }

    assert len(found) == 3 * 4 * 4
    assert not any(SECRET in sub or sub in SECRET for sub in found)


def test_a_record_derives_under_its_scheme_version_and_epoch(key: Key) -> None:
    record = KeyRecord(kid=key.kid, scheme="gumbel", version=2, epoch=5, key=key)

    assert record.derive("tag/x") == reference_hkdf("watermark/1/tag/x/gumbel.2/5", 32)


def test_copies_of_a_key_are_the_key(key: Key) -> None:
    """Hosts copy their settings deeply: a copied secret is one more to lose."""
    assert copy.copy(key) is key
    assert copy.deepcopy({"key": key})["key"] is key


def test_keys_are_equal_by_secret(key: Key) -> None:
    assert key == Key(bytearray(SECRET))  # type: ignore[arg-type]  # taken, as bytes
    assert hash(key) == hash(Key(SECRET))
    assert key != Key.generate()
    assert key != SECRET
