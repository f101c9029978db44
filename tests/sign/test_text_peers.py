"""Texts signed here read the same elsewhere, and texts of others here.

The peers are `c2patxt` (Apache-2.0) and `c2pa-text` (MIT); neither is needed to use
this library.
"""

import unicodedata
from typing import Any

import pytest
from benchmarks.conformance.containers import box
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.sign.servers import PlainTsa, serving

from watermark.record import Mark, Record
from watermark.sign import (
    c2pa,
    claims,
    html,
    signer,
    text,
    text_structured,
    text_wrapper,
)
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential
from watermark.sign.place import Located
from watermark.sign.stamps import Stamps

MARK = Mark(scheme="gumbel", version=1, key_id="k", mark_id=b"\0\1\2\3")
DEFINITION = claims.definition(Record(kind="text", provider="Acme", marks=(MARK,)))
TEXTS = ["The lamp turned.", "naïve 灯台\n" * 40, "e\u0301 twice", "\ufeffa mark first"]
TRUSTED = {
    "assertion.dataHash.match",
    "claimSignature.validated",
    "claimSignature.insideValidity",
}


@pytest.fixture(scope="module")
def c2patxt() -> Any:
    return pytest.importorskip("c2patxt")


@pytest.fixture(scope="module")
def c2pa_text() -> Any:
    return pytest.importorskip("c2pa_text")


@pytest.fixture(scope="module")
def ed25519_credential(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    folder = tmp_path_factory.mktemp("ed25519") / "c"
    return Credential.create_dev(folder, "Acme", algorithm="ed25519")


@pytest.mark.parametrize("words", TEXTS, ids=range(4))
def test_c2patxt_finds_ours_valid(
    c2patxt: Any, credential: Credential, words: str
) -> None:
    signed = text.sign(words.encode(), DEFINITION, credential, carrier="wrapper")
    verdict = c2patxt.verify(signed.data.decode())

    assert verdict.state is c2patxt.Provenance.VALID  # it has no path building
    assert {str(code.value) for code in verdict.codes()} >= TRUSTED
    assert c2patxt.locate(signed.data.decode()).utf8_stop == len(signed.data)


def test_c2patxt_finds_ours_valid_with_a_stamp(c2patxt: Any) -> None:
    """However the header is written: every remainder of the length comes up here."""
    authority = Authority.create("Acme")
    key = signer.generate("ed25519")
    chain_pem = authority.chain_pem(authority.certify(key.public_key()))
    made = Credential.from_pem(chain_pem, signer.private_pem(key))
    ended = 0
    with serving(PlainTsa(authority)) as url:
        made.stamps = Stamps((url,), authority.root_pem, room=3000)
        for length in range(1, 9):
            signed = text.sign(b"x" * length, DEFINITION, made, carrier="wrapper")
            ended += b"\xbfcpad" in signed.manifest
            verdict = c2patxt.verify(signed.data.decode())

            assert verdict.state is c2patxt.Provenance.VALID
            assert {str(code.value) for code in verdict.codes()} >= TRUSTED
    assert 0 < ended < 8


def test_c2patxt_finds_ours_changed(c2patxt: Any, credential: Credential) -> None:
    signed = text.sign(b"The lamp turned.", DEFINITION, credential, carrier="wrapper")
    changed = signed.data.decode().replace("lamp", "camp")

    verdict = c2patxt.verify(changed)
    assert verdict.state is c2patxt.Provenance.INVALID
    assert "assertion.dataHash.mismatch" in {code.value for code in verdict.codes()}


def test_we_read_c2patxt(c2patxt: Any, ed25519_credential: Credential) -> None:
    key = ed25519_credential.signer.pem
    assert key is not None
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    chain = tuple(x509.load_pem_x509_certificates(ed25519_credential.chain_pem))
    writer = c2patxt.Signer(private_key=private, certificates=chain)
    about = c2patxt.Disclosure(
        media_type="text/plain", model_type=c2patxt.ModelType.GENERIC
    )
    trust = ed25519_credential.root_pem or b""
    for words in TEXTS:
        theirs = c2patxt.embed(words, writer, about)
        found = text.read(theirs.encode(), anchors=trust)

        assert (found.state, found.codes) == ("trusted", ())
        broken = text.read(("x" + theirs).encode(), anchors=trust)
        assert broken.codes == ("assertion.dataHash.malformed",)
    plain = unicodedata.normalize("NFC", TEXTS[0]).encode()
    assert text.content(c2patxt.embed(TEXTS[0], writer, about).encode()) == plain


def test_c2pa_text_reads_ours(c2pa_text: Any, credential: Credential) -> None:
    signed = text.sign(TEXTS[1].encode(), DEFINITION, credential, carrier="wrapper")
    store, start, length = c2pa_text.find_wrapper_info(signed.data.decode())

    assert store == signed.manifest
    assert (start, start + length) == (len(TEXTS[1].encode()), len(signed.data))
    assert c2pa_text.validate_text(signed.data.decode()).valid


def test_wrappers_are_the_same_byte_for_byte(c2pa_text: Any) -> None:
    for store in (b"", bytes(range(256)), b"\0" * 40):
        assert text_wrapper.wrapper(store) == c2pa_text.encode_wrapper(store)


def test_c2pa_text_fills_its_wrappers_up(c2pa_text: Any) -> None:
    store = box(b"jumb", box(b"data", bytes(range(256))))
    size = c2pa_text.worst_case_wrapper_byte_length(len(store))
    wrapper = c2pa_text.encode_wrapper_padded(store, size)
    found = text_wrapper.locate(("abc" + wrapper).encode())

    assert isinstance(found, Located)
    assert found.store == store
    assert found.ranges == {(3, size)}


def test_c2pa_text_reads_our_blocks(c2pa_text: Any, credential: Credential) -> None:
    for suffix, content in [
        (".py", b"x = 1\n"),
        (".md", b"---\ntitle: x\n---\nText.\n"),
        (".css", b"a {}\n"),
        (".sh", b"#!/bin/sh\necho\n"),
    ]:
        signed = text.sign(
            content, DEFINITION, credential, carrier="structured", suffix=suffix
        )
        found = c2pa_text.extract_structured(signed.data.decode())

        assert found.manifest == signed.manifest


def test_we_find_the_blocks_of_c2pa_text(c2pa_text: Any) -> None:
    reference = c2pa_text.encode_data_uri(box(b"jumb", box(b"data", b"store")))
    for placement in c2pa_text.Placement:
        theirs = c2pa_text.embed_structured(
            "x = 1\n", reference, "#", placement=placement
        )
        found = text_structured.locate(theirs.text.encode())

        assert isinstance(found, Located)
        excluded = (theirs.exclusion_start, theirs.exclusion_length)
        assert excluded in found.ranges


def test_pages_are_the_same_in_both(c2pa_text: Any, credential: Credential) -> None:
    page = "<html><head><title>x</title></head><body></body></html>"
    signed = text.sign(page.encode(), DEFINITION, credential, carrier="html")
    assert c2pa_text.extract_html(signed.data.decode()).manifest == signed.manifest

    theirs = c2pa_text.embed_html_inline(page, box(b"jumb", box(b"data", b"store")))
    found = html.locate(theirs.html.encode())
    assert isinstance(found, Located)
    assert found.ranges == {(theirs.exclusion_start, theirs.exclusion_length)}


def test_the_library_alone_does_not_know_texts(credential: Credential) -> None:
    """The one explanation that is passed over; another wording fails closed."""
    signed = text.sign(b"The lamp turned.", DEFINITION, credential, carrier="wrapper")
    found = c2pa.read(
        signed.data,
        "text/plain",
        anchors=credential.root_pem or b"",
        manifest=signed.manifest,
    )

    assert found.state == "invalid"
    assert found.codes == ("assertion.dataHash.mismatch",)
