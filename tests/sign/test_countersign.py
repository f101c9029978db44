"""A time-stamp put into a signed manifest later, as the native library sees it."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import c2pa as native  # noqa: TID251  # as a writer that leaves room
import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from tests.sign.servers import OpenSslTsa, PlainTsa, needs_openssl, serving
from tests.sign.test_signers import DEFINITION

from watermark.errors import SigningError
from watermark.sign import c2pa, chain, countersign
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential
from watermark.sign.manifest import ManifestResult
from watermark.sign.signer import generate, private_pem
from watermark.sign.stamping import Deferred, TimeStamper

ACME = Authority.create("Acme")
TEXT = b"A letter that somebody wrote."
SETTINGS = {
    "verify": {"verify_after_sign": False},
    "trust": {"trust_config": "".join(f"{p.dotted_string}\n" for p in chain.PURPOSES)},
}
COSE = b"\xd2\x84"  # tag 18, an array of four


def credential() -> Credential:
    """Its signatures have 11.5 KB of room: what the library reserves for callbacks."""
    key = generate("ed25519")
    chain_pem = ACME.chain_pem(ACME.certify(key.public_key()))
    signer = Credential.from_pem(chain_pem, private_pem(key)).signer
    return Credential.from_callback(
        chain_pem, "ed25519", signer.sign, root_pem=ACME.root_pem
    )


def claim_signature(store: bytes) -> bytes:
    """The content of the last box: the COSE of the active manifest."""
    return box(store, store.rindex(b"cbor" + COSE))


def box(store: bytes, at: int) -> bytes:
    """The content of the JUMBF box whose type stands at `at`."""
    length = int.from_bytes(store[at - 4 : at], "big") - 8
    return store[at + 4 : at + 4 + length]


def stamped(store: bytes, tsa: object) -> bytes:
    cose = claim_signature(store)
    with serving(tsa) as url:  # type: ignore[arg-type]
        stamper = TimeStamper([url], anchors=ACME.root_pem)
        token = stamper.stamp(countersign.message(cose)).token
    return store.replace(cose, countersign.attach(cose, token))


def signed(made: Credential) -> bytes:
    """A manifest beside a text, as the native library alone writes it."""
    chain_pem = made.chain_pem.decode()
    algorithm = native.C2paSigningAlg.ED25519
    with (
        native.Signer.from_callback(
            made.signer.sign, algorithm, chain_pem, None
        ) as signer,
        native.Context(native.Settings.from_dict(SETTINGS), signer) as context,
        native.Builder(DEFINITION, context=context) as builder,
    ):
        builder.set_no_embed()
        store = builder.sign("text/plain", io.BytesIO(TEXT), io.BytesIO())
    assert isinstance(store, bytes)
    return store


def read(store: bytes) -> ManifestResult:
    return c2pa.read(TEXT, "text/plain", anchors=ACME.root_pem, manifest=store)


@needs_openssl
def test_the_native_library_trusts_a_stamp_put_in_later(tmp_path: Path) -> None:
    store = signed(credential())
    later = stamped(store, OpenSslTsa(tmp_path, ACME))

    assert len(later) == len(store)
    assert (read(store).state, read(store).signed_at) == ("trusted", None)
    found = read(later)
    assert found.state == "trusted"
    assert found.signed_at is not None
    assert found.signed_at.startswith(f"{datetime.now(UTC):%Y-}")


def resigned(store: bytes, life: timedelta) -> bytes:
    """The manifest with its claim signed anew, under a leaf that ends after `life`."""
    key = ed25519.Ed25519PrivateKey.generate()
    leaf = ACME.certify(key.public_key(), life=life)
    chain_der = [c.public_bytes(Encoding.DER) for c in (leaf, ACME.certificate)]
    protected = cbor2.dumps({1: -8, 33: chain_der})  # EdDSA, x5chain
    claim = box(store, store.rindex(b"cbor", 0, store.rindex(b"c2pa.signature\0")))
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", claim]))
    cose = claim_signature(store)
    bare = cbor2.dumps(
        cbor2.CBORTag(18, [protected, {"pad": bytes(300)}, None, signature])
    )
    pad = bytes(300 + len(cose) - len(bare))
    parts = [protected, {"pad": pad}, None, signature]
    made = cbor2.dumps(cbor2.CBORTag(18, parts))
    assert len(made) == len(cose)
    return store.replace(cose, made)


def test_what_a_leaf_signed_outlives_it_with_a_stamp_only() -> None:
    ended = resigned(signed(credential()), timedelta(minutes=-1))
    tsa = PlainTsa(ACME)
    tsa.time = datetime.now(UTC) - timedelta(minutes=3)  # when the leaf was valid
    stamp = stamped(ended, tsa)
    tsa.time = datetime.now(UTC)
    too_late = stamped(ended, tsa)

    assert read(stamp).state == "trusted"
    for store in (ended, too_late):
        assert read(store).state == "invalid"
        assert "signingCredential.expired" in read(store).codes


def test_a_stamp_is_put_in_after_waiting(tmp_path: Path) -> None:
    store = signed(credential())
    cose = claim_signature(store)
    queue = Deferred(tmp_path)
    queue.put("urn:c2pa:x", countersign.message(cose))
    with serving(PlainTsa(ACME)) as url:
        queue.stamp(TimeStamper([url], anchors=ACME.root_pem))
    token = queue.token("urn:c2pa:x")
    assert token is not None

    later = store.replace(cose, countersign.attach(cose, token))
    assert read(later).signed_at is not None


@pytest.mark.parametrize("length", [1, 20, 200, 240, 250, 256, 300, 3000, 9000])
def test_every_length_of_a_token_keeps_the_length_of_the_signature(length: int) -> None:
    cose = claim_signature(signed(credential()))
    for size in range(length, length + 12):
        assert len(countersign.attach(cose, bytes(size))) == len(cose)


def test_without_room_the_missing_bytes_are_told() -> None:
    cose = claim_signature(signed(credential()))
    with pytest.raises(SigningError, match=r"does not fit: \d+ bytes"):
        countersign.attach(cose, bytes(20_000))


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"\x80", b"\xd2\x80", b"\xd2\x84\0\0\0\0"]
)
def test_what_is_no_claim_signature_is_a_typed_error(junk: bytes) -> None:
    with pytest.raises(SigningError, match="no claim signature"):
        countersign.message(junk)
