"""What the specification wants of a manifest, and the native library cannot write."""

import base64
import hashlib
import io
import re
import zipfile
import zlib
from dataclasses import replace

import cbor2
import pytest
from benchmarks.conformance import containers
from PIL import Image

from watermark.errors import SigningError, UnsupportedFormat
from watermark.record import Mark, Record
from watermark.sign import c2pa, claims, cose, jumbf, packing, reseal, splice
from watermark.sign.credential import Credential


@pytest.fixture(scope="module")
def full() -> Record:
    bound = Mark(scheme="noise", version=1, key_id="k", mark_id=b"\xff\0\x80")
    other = Mark(scheme="pixel", version=2, key_id="k", mark_id=b"12345678")
    absent = Mark(scheme="latent", version=1, key_id="k", mark_id=b"no", coverage=0.0)
    unbound = Mark(scheme="wave", version=1, key_id="k")
    return Record(
        kind="image",
        provider="Acme",
        system="acme/3",
        marks=(bound, unbound, absent, other),
        fingerprint=b"\1" + bytes(288),
    )


@pytest.fixture(scope="module")
def manifest(full: Record, credential: Credential) -> jumbf.Manifest:
    png = containers.picture("PNG")
    signed = c2pa.sign(png, "image/png", claims.definition(full), credential)
    return jumbf.parse(signed.manifest)


def test_a_soft_binding_is_the_mark_id_in_bytes(manifest: jumbf.Manifest) -> None:
    """18.10.2: a bstr; the last one is the fingerprint."""
    found = {
        label: manifest.content(label)
        for label in manifest.assertions
        if label.startswith("c2pa.soft-binding")
    }

    assert [each["blocks"] for each in found.values()] == [
        [{"scope": {}, "value": b"\xff\0\x80"}],
        [{"scope": {}, "value": b"12345678"}],
        [{"scope": {}, "value": b"\1" + bytes(288)}],
    ]


def test_each_bound_action_names_its_binding_and_the_hash_of_it(
    manifest: jumbf.Manifest,
) -> None:
    """18.15.4.8, and 8.4.2.3 for what the hash is over."""
    created, *marks = manifest.content("c2pa.actions.v2")["actions"]
    related = [
        action["parameters"]["relatedAssertions"][0] if "parameters" in action else None
        for action in marks
    ]

    assert created["action"] == "c2pa.created"
    assert [action["action"] for action in marks] == [
        "c2pa.watermarked.bound",
        "c2pa.watermarked.unbound",
        "c2pa.watermarked.bound",
    ]
    assert related[1] is None
    for each, label in [
        (related[0], "c2pa.soft-binding"),
        (related[2], "c2pa.soft-binding__1"),
    ]:
        assert each == {
            "url": f"self#jumbf=c2pa.assertions/{label}",
            "hash": hashlib.sha256(manifest.assertions[label]).digest(),
        }


def test_the_claim_names_every_assertion_with_its_hash(
    manifest: jumbf.Manifest,
) -> None:
    references = manifest.claim["created_assertions"]

    assert references == [manifest.reference(label) for label in manifest.assertions]
    assert references[0]["url"].endswith("/c2pa.actions.v2")
    assert "gathered_assertions" not in manifest.claim


def test_a_claim_is_in_deterministic_cbor(full: Record, credential: Credential) -> None:
    """10.1 and RFC 8949, 4.2.1: the shorter key first, then the smaller one."""
    png = containers.picture("PNG")
    store = c2pa.sign(png, "image/png", claims.definition(full), credential).manifest
    start = store.index(b"c2pa.claim.v2\0") + len(b"c2pa.claim.v2\0") + 8
    claim = cbor2.CBORDecoder(io.BytesIO(store[start:])).decode()
    keys = [cbor2.dumps(key) for key in claim]

    assert keys == sorted(keys)
    assert store[start:].startswith(cbor2.dumps(claim, canonical=True))


def test_nothing_of_the_draft_is_left(full: Record, credential: Credential) -> None:
    """Neither the throw-away signer nor the room that was kept for the signature."""
    many = replace(full, marks=full.marks * 8)
    signed = c2pa.sign(
        containers.picture("PNG"), "image/png", claims.definition(many), credential
    )

    assert b"draft" not in signed.data
    assert b"reserve" not in signed.data
    assert (
        c2pa.read(
            signed.data, "image/png", anchors=credential.root_pem or b""
        ).soft_bindings[0][1]
        == b"\xff\0\x80"
    )


def test_a_store_that_does_not_fit_gets_more_room(
    full: Record, credential: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c2pa, "ROOM", 1 << 20)  # nothing is reserved at first
    padding = [claims.definition(replace(full, marks=full.marks * n)) for n in (1, 9)]
    for definition in padding:
        signed = c2pa.sign(
            containers.picture("PNG"), "image/png", definition, credential
        )

        assert signed.data.count(signed.manifest) == 1


@pytest.mark.parametrize("spare", [0, *range(5, 60), 255, 256, 257, 300, 65600])
def test_every_length_is_reached_by_two_paddings(spare: int) -> None:
    signature = cose.Signature(b"\xa1\1&", bytes(64))
    length = len(signature.encoded()) + spare
    found = signature.padded(length)

    assert len(found) == length
    assert cbor2.loads(found).value[3] == bytes(64)


@pytest.mark.parametrize("spare", [-1, 1, 2, 3, 4])
def test_what_no_padding_reaches_says_how_much_is_missing(spare: int) -> None:
    signature = cose.Signature(b"\xa1\1&", bytes(64))
    with pytest.raises(cose.NoRoom) as caught:
        signature.padded(len(signature.encoded()) + spare)
    assert caught.value.missing > 4


@pytest.mark.parametrize("answer", [b"", b"\1" * 63, b"\x30\6\2\1\1\2\1", bytes(65)])
def test_what_is_no_signature_is_refused(credential: Credential, answer: bytes) -> None:
    odd = Credential.from_callback(credential.chain_pem, "es256", lambda _: answer)
    with pytest.raises(SigningError, match="answered"):
        cose.sign(b"claim", odd)


@pytest.mark.parametrize(
    "store",
    [b"", b"garbage", b"\0\0\0\x08jumb", b"\0\0\0\x07jumb", b"\xff" * 40, b"\0" * 16],
)
def test_what_is_no_store_is_a_signing_error(store: bytes) -> None:
    with pytest.raises(SigningError, match="no manifest store"):
        jumbf.parse(store)


def test_a_png_and_a_zip_keep_their_checksums(credential: Credential) -> None:
    definition = claims.definition(Record(kind="image", provider="Acme"))
    png = c2pa.sign(containers.picture("PNG"), "image/png", definition, credential)
    Image.open(io.BytesIO(png.data)).load()
    chunk = png.data.index(b"caBX")
    length = int.from_bytes(png.data[chunk - 4 : chunk], "big")
    crc = int.from_bytes(png.data[chunk + 4 + length :][:4], "big")
    assert crc == zlib.crc32(png.data[chunk : chunk + 4 + length])

    archive = containers.zipped(containers.EPUB)
    epub = c2pa.sign(archive, "application/epub+zip", definition, credential)
    with zipfile.ZipFile(io.BytesIO(epub.data)) as file:
        assert file.testzip() is None
        assert file.read("META-INF/content_credential.c2pa") == epub.manifest
        assert file.namelist()[0] == "mimetype"


def test_a_long_store_in_a_jpeg_goes_on_in_the_next_segment(
    credential: Credential,
) -> None:
    """A chain of edits grows the store past the 64 KiB of a segment."""
    data = containers.picture("JPEG")
    record = Record(kind="image", provider="Acme", origin="altered")
    long = claims.definition(replace(record, model="m" * 1900))
    long["assertions"] += [
        {"label": f"org.example.n{n}", "created": True, "data": {"x": "y" * 2000}}
        for n in range(40)
    ]
    signed = c2pa.sign(
        data, "image/jpeg", long, credential, parent=(data, "image/jpeg")
    )

    assert len(signed.manifest) > 70_000
    found = c2pa.read(signed.data, "image/jpeg", anchors=credential.root_pem or b"")
    assert (found.state, found.manifest) == ("trusted", signed.manifest)


def test_a_store_that_is_not_there_is_not_replaced() -> None:
    for data in (b"", b"bbbb", b"\xff\xd8\xff\xda"):
        with pytest.raises(SigningError, match="was not found"):
            splice.splice(data, b"a", b"b")
    with pytest.raises(SigningError, match="cannot replace"):
        splice.splice(b"ab", b"a", b"bb")


def test_stores_are_found_in_the_forms_that_containers_give_them() -> None:
    old, new = bytes(range(256)) * 2, bytes(512)
    blocks = b"".join(bytes([len(p)]) + p for p in (new[:255], new[:255], new[:2]))
    gif = b"".join(bytes([len(p)]) + p for p in (old[:255], old[255:510], old[510:]))

    assert splice.splice(b"GIF" + gif + b"\0", old, new) == b"GIF" + blocks + b"\0"
    svg = b"<svg>" + base64.b64encode(old)
    assert splice.splice(svg, old, new) == b"<svg>" + base64.b64encode(new)
    assert splice.splice(b"x" + old, old, new) == b"x" + new


def test_a_compressed_archive_is_stored_and_says_the_same(
    credential: Credential,
) -> None:
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    data = containers.zipped(containers.OFFICE, zipfile.ZIP_DEFLATED)
    definition = claims.definition(Record(kind="document", provider="Acme"))
    signed = c2pa.sign(data, kind, definition, credential)
    with zipfile.ZipFile(io.BytesIO(signed.data)) as file:
        members = {name: file.read(name) for name in file.namelist()[:2]}

    assert members == containers.OFFICE
    assert (
        c2pa.read(signed.data, kind, anchors=credential.root_pem or b"").state
        == "trusted"
    )


def test_an_archive_that_is_stored_stays_as_it_is() -> None:
    data = containers.zipped(containers.EPUB)

    assert packing.stored(data, 1 << 20) is data


def _encrypted() -> bytes:
    data = bytearray(containers.zipped({"a": b"x"}, zipfile.ZIP_DEFLATED))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def _twice() -> bytes:
    return containers.zipped({"aa": b"x", "ab": b"y"}).replace(b"ab", b"aa")


ARCHIVES = {
    "no archive": (b"PK\3\4 garbage", "cannot be read"),
    "cut short": (containers.zipped(containers.OFFICE, 8)[:-30], "cannot be read"),
    "too large": (containers.zipped({"a": bytes(1001)}, 8), "larger than 1000"),
    "encrypted": (_encrypted(), "encrypted"),
    "a name twice": (_twice(), "stands twice"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_cannot_be_signed_say_why(name: str) -> None:
    data, message = ARCHIVES[name]
    with pytest.raises(UnsupportedFormat, match=message):
        packing.stored(data, 1000)


def test_reserved_room_is_never_signed(credential: Credential, full: Record) -> None:
    _, store = c2pa.draft(
        b"text", "text/plain", claims.definition(full), embed=False, reserve=500
    )
    assert claims.RESERVE in jumbf.parse(store).assertions
    signed = reseal.Claimed(store).signed(credential)

    assert claims.RESERVE not in jumbf.parse(signed).assertions
    assert b"reserve" not in signed


def test_boxes_fit_into_each_other_or_are_not_handed_on(
    manifest: jumbf.Manifest, full: Record, credential: Credential
) -> None:
    """A length changed by one bit costs the library seconds and memory."""
    data = b"some words"
    signed = c2pa.sign_sidecar(
        data, "text/plain", claims.definition(full), credential
    ).manifest
    assert jumbf.well_formed(signed)

    described = [m.start() - 4 for m in re.finditer(b"jumd", signed)]
    for place in (at - back for at in described for back in (0, 8)):
        longer = bytearray(signed)
        longer[place] ^= 2
        assert not jumbf.well_formed(bytes(longer))
        found = c2pa.read(data, "text/plain", manifest=bytes(longer))
        assert found.codes == ("general.error",)
    deep = b""
    for _ in range(40):
        deep = containers.box(b"jumb", deep)
    assert not jumbf.well_formed(deep)
