"""A.8: the wrapper is where the manifest says, or it is reported with its code."""

import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from benchmarks.conformance.containers import box
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.errors import SigningError, UnsupportedFormat
from watermark.record import Mark, Record
from watermark.sign import c2pa, claims, jumbf, text, text_wrapper
from watermark.sign.credential import Credential
from watermark.sign.place import Located, Unusable

TEXT = "The lamp turned, and the sea answered: naïve, 灯台.\n".encode()
STORE = box(b"jumb", box(b"data", b"store"))
MARK = Mark(scheme="gumbel", version=1, key_id="k", mark_id=b"\0\1\2\3")
RECORD = Record(kind="text", provider="Acme", system="acme-lm/2", marks=(MARK,))


@pytest.fixture(scope="module")
def signed(credential: Credential) -> c2pa.SignedAsset:
    definition = claims.definition(RECORD)
    return text.sign(TEXT, definition, credential, carrier="wrapper")


def codes(data: bytes, credential: Credential) -> tuple[str, ...]:
    found = text.read(data, anchors=credential.root_pem or b"")
    assert found.state == "invalid"
    assert not found.content_matches
    return found.codes


def test_a_wrapper_is_what_the_specification_shows() -> None:
    """A.8.2 and A.8.3, written out by hand for a store of three bytes."""
    header = b"C2PATXT\0" + b"\1" + b"\0\0\0\3"
    selectors = [
        chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16)
        for byte in header + b"\x0f\x10\xff"
    ]

    assert text_wrapper.wrapper(b"\x0f\x10\xff") == "\ufeff" + "".join(selectors)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_is_wrapped_is_found(content: bytes, before: str) -> None:
    store = box(b"jumb", box(b"data", content))
    before = unicodedata.normalize("NFC", before)
    data = (before + text_wrapper.wrapper(store)).encode("utf-8", "replace")
    start = len(before.encode("utf-8", "replace"))

    found = text_wrapper.locate(data)
    assert isinstance(found, Located)
    assert (found.store, found.data) == (store, data)
    assert found.ranges == {(start, len(data) - start)}


def test_a_signed_text_is_trusted_and_its_words_stay(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    found = text.read(signed.data, anchors=credential.root_pem or b"")

    assert (found.state, found.codes, found.content_matches) == ("trusted", (), True)
    assert found.soft_bindings == (("org.watermark-sdk.gumbel.1", b"\0\1\2\3"),)
    assert found.record_id == RECORD.record_id
    assert found.manifest == signed.manifest
    assert signed.data.startswith(TEXT)
    assert text.content(signed.data) == TEXT
    assert signed.data.decode()[len(TEXT.decode())] == "\ufeff"


def test_the_length_that_is_signed_is_the_length_that_is_written(
    credential: Credential,
) -> None:
    """For many texts: each has another claim, hash and signature, so another length."""
    definition = claims.definition(RECORD)
    for number in range(25):
        content = TEXT + b"." * number * number
        signed = text.sign(content, definition, credential, carrier="wrapper")
        binding = jumbf.parse(signed.manifest).content("c2pa.hash.data")
        length = len(signed.data) - len(content)

        assert binding["exclusions"] == [{"start": len(content), "length": length}]


def test_only_zeros_fill_the_signature(signed: c2pa.SignedAsset) -> None:
    start = signed.manifest.index(b"\xd2\x84")  # COSE_Sign1_Tagged, the last box
    unprotected = cbor2.loads(signed.manifest[start:]).value[1]

    assert set(unprotected) <= {"pad", "pad2"}
    assert not any(b"".join(unprotected.values()))


@pytest.mark.parametrize("form", ["NFD", "NFC"])
def test_a_text_in_another_normal_form_is_the_same_text(
    signed: c2pa.SignedAsset, credential: Credential, form: str
) -> None:
    moved = unicodedata.normalize(form, signed.data.decode()).encode()  # type: ignore[arg-type]  # a literal

    assert (form == "NFD") == (moved != signed.data)
    assert text.read(moved, anchors=credential.root_pem or b"").state == "trusted"


def test_a_text_is_signed_in_normal_form(credential: Credential) -> None:
    loose = unicodedata.normalize("NFD", TEXT.decode()).encode()
    signed = text.sign(loose, claims.definition(RECORD), credential, carrier="wrapper")

    assert signed.data.startswith(TEXT)


def test_changed_words_are_found_and_the_signature_still_speaks(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    trust = credential.root_pem or b""
    for old, new, code in [
        (b"lamp", b"camp", "assertion.dataHash.mismatch"),
        (b"lamp", b"lantern", "assertion.dataHash.malformed"),
    ]:
        found = text.read(signed.data.replace(old, new), anchors=trust)

        assert (found.state, found.codes) == ("invalid", (code,))
        assert found.content_only_broken
        assert found.record_id == RECORD.record_id


def test_a_moved_wrapper_is_malformed(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    wrapper = signed.data[len(TEXT) :]
    for moved in (wrapper + TEXT, TEXT[:9] + wrapper + TEXT[9:], b"x" + signed.data):
        assert codes(moved, credential) == ("assertion.dataHash.malformed",)


def test_a_wrapper_on_another_text_is_a_mismatch(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    other = b"x" * len(TEXT) + signed.data[len(TEXT) :]

    assert codes(other, credential) == ("assertion.dataHash.mismatch",)


def test_two_wrappers_are_multiple(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    twice = signed.data + signed.data[len(TEXT) :]

    assert codes(twice, credential) == ("manifest.text.multipleWrappers",)


DAMAGE: dict[str, Callable[[str], str]] = {
    "cut short": lambda wrapper: wrapper[:40],
    "the magic alone": lambda wrapper: wrapper[:9],
    "without the last": lambda wrapper: wrapper[:-1],
    "a letter within": lambda wrapper: wrapper[:300] + "x" + wrapper[300:],
    "version 2": lambda wrapper: wrapper[:9] + "\ufe02" + wrapper[10:],
    "too long": lambda wrapper: wrapper[:10] + "\U000e01ef" * 4 + wrapper[14:],
    "more than a store": lambda wrapper: text_wrapper.wrapper(STORE + b"x"),
    "no store": lambda wrapper: text_wrapper.wrapper(b"store"),
    "length 0": lambda wrapper: wrapper[:10] + "\ufe00" * 4 + wrapper[14:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_wrapper_is_corrupt(
    signed: c2pa.SignedAsset, credential: Credential, damage: str
) -> None:
    wrapper = signed.data.decode()[len(TEXT.decode()) :]
    damaged = TEXT + DAMAGE[damage](wrapper).encode()

    assert codes(damaged, credential) == ("manifest.text.corruptedWrapper",)


def test_selectors_without_the_magic_are_only_text() -> None:
    for odd in ("\ufeff\ufe0f", "\ufeff", "\U000e0133" * 9, "\ufeff\U000e0133x"):
        assert text_wrapper.locate(("a" + odd + "b").encode()) is None


def test_selectors_that_follow_belong_to_the_text_unless_they_are_filling() -> None:
    wrapper = text_wrapper.wrapper(STORE)
    for more, rest in [("\ufe0f", 3), ("\ufe00\U000e01ef\U000e0100", 0)]:
        found = text_wrapper.locate(("a" + wrapper + more).encode())

        assert isinstance(found, Located)
        ((start, length),) = found.ranges
        assert start + length + rest == len(found.data)


def test_a_wrapper_of_very_many_boxes_is_refused_in_time() -> None:
    boxes = box(b"jumb", box(b"jumb") * (1 << 19))
    data = ("a" + text_wrapper.wrapper(boxes)).encode()
    began = time.process_time()

    assert len(data) > 14_000_000
    assert text_wrapper.locate(data) == Unusable("manifest.text.corruptedWrapper")
    assert time.process_time() - began < 1


def test_a_mark_after_the_wrapper_joins_the_letter_before_it() -> None:
    data = ("e" + text_wrapper.wrapper(STORE) + "\u0301").encode()
    before, carrier, after = text.parted(data)

    assert (before + after).decode() == "\u00e9"
    assert carrier == text_wrapper.wrapper(STORE).encode()
    assert text.content(data) == before + after
    assert text.parted(b"plain") == (b"plain", b"", b"")


def test_stacked_marks_are_refused_before_they_are_sorted(
    credential: Credential,
) -> None:
    stacked = "a" + "\u0301\u0323" * 400_000
    with pytest.raises(UnsupportedFormat, match="30 combining marks"):
        text.sign(
            stacked.encode(), claims.definition(RECORD), credential, carrier="wrapper"
        )
    data = (stacked + text_wrapper.wrapper(STORE)).encode()
    assert text_wrapper.locate(data) == Unusable("manifest.text.corruptedWrapper")


def test_a_text_is_never_signed_over_another_manifest(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    definition = claims.definition(RECORD)
    for carrier in text.CARRIERS:
        with pytest.raises(SigningError, match="carries a manifest already"):
            text.sign(signed.data, definition, credential, carrier=carrier)


def test_an_altered_text_names_its_parent(credential: Credential) -> None:
    definition = claims.definition(replace(RECORD, origin="altered"))
    signed = text.sign(
        TEXT, definition, credential, carrier="wrapper", parent=(TEXT, "text/plain")
    )
    manifest = jumbf.parse(signed.manifest)
    (reference,) = manifest.content("c2pa.actions.v2")["actions"][0]["parameters"][
        "ingredients"
    ]

    assert reference == manifest.reference("c2pa.ingredient.v3")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"\xed\xa0\x80"])
def test_what_is_no_text_is_refused(data: bytes, credential: Credential) -> None:
    with pytest.raises(UnsupportedFormat):
        text.sign(data, claims.definition(RECORD), credential, carrier="wrapper")


def test_a_signer_is_asked_a_few_times_at_most(credential: Credential) -> None:
    """A wrapper's length is signed, and one remainder of three is out of reach."""
    asked = 0

    def sign(message: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return credential.signer.sign(message)

    remote = Credential.from_callback(
        credential.chain_pem,
        credential.algorithm,
        sign,
        root_pem=credential.root_pem,
    )
    for number in range(20):
        data = TEXT + str(number).encode()
        text.sign(data, claims.definition(RECORD), remote, carrier="wrapper")
    assert 20 <= asked <= 80


def test_no_length_is_forged_when_none_fits(
    credential: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_wrapper, "fitting", lambda *_: None)
    with pytest.raises(SigningError, match="no wrapper of"):
        text.sign(TEXT, claims.definition(RECORD), credential, carrier="wrapper")


@pytest.mark.parametrize("algorithm", ["ed25519", "es256"])
def test_a_manifest_in_a_text_is_small(tmp_path: Path, algorithm: str) -> None:
    """Before it is written as selectors: with a mark, and with actions alone."""
    small = Credential.create_dev(tmp_path / "c", "Acme", algorithm=algorithm)
    mark = replace(MARK, key_id="0123456789abcdef", mark_id=bytes(8))
    full = claims.definition(replace(RECORD, model="lighthouse", marks=(mark,)))
    least = {
        **full,
        "assertions": claims.definition(Record(kind="text", provider="A"))[
            "assertions"
        ][:1],
    }
    limits = {"ed25519": (3310, 2310), "es256": (3360, 2360)}[algorithm]
    for definition, limit in zip((full, least), limits, strict=True):
        signed = text.sign(TEXT, definition, small, carrier="wrapper")

        assert len(signed.manifest) <= limit
