"""What is signed reads back; what was changed afterwards does not."""

import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import c2pa as native  # noqa: TID251  # to make files that our own writer refuses
import pytest

from watermark.errors import KeyFileError, SigningError, UnsupportedFormat
from watermark.record import Record
from watermark.sign import c2pa, claims
from watermark.sign.credential import Credential
from watermark.sign.manifest import ManifestResult

FORMATS = [*c2pa.EMBEDDABLE]
TEXT = "The lamp turned, and the sea answered: naïve, 灯台.\n".encode()
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
HASH_CODES = {
    "assertion.dataHash.mismatch",
    "assertion.bmffHash.mismatch",
    "assertion.collectionHash.mismatch",
}


def anchors(credential: Credential) -> bytes:
    assert credential.root_pem is not None
    return credential.root_pem


@pytest.fixture(scope="module")
def definition() -> dict[str, object]:
    record = Record(kind="image", provider="Acme", record_id="ab" * 16)
    return claims.definition(record)


@pytest.fixture(scope="module")
def signed(
    files: dict[str, bytes], credential: Credential, definition: dict[str, object]
) -> dict[str, c2pa.SignedAsset]:
    return {t: c2pa.sign(d, t, definition, credential) for t, d in files.items()}


@pytest.mark.parametrize("media_type", FORMATS)
def test_every_format_reads_back_trusted_and_complete(
    files: dict[str, bytes], credential: Credential, record: Record, media_type: str
) -> None:
    asset = c2pa.sign(
        files[media_type], media_type, claims.definition(record), credential
    )
    found = c2pa.read(asset.data, media_type, anchors=anchors(credential))

    assert found == ManifestResult(
        state="trusted",
        signer="Acme",
        manifest_id=asset.manifest_id,
        soft_bindings=(
            ("org.watermark-sdk.noise.1", record.marks[0].mark_id),
            ("org.watermark-sdk.pixel.2", record.marks[1].mark_id),
        ),
        source_types=(GENERATED,),
        record_id=record.record_id,
        content_matches=True,
        manifest=asset.manifest,
    )


@pytest.mark.parametrize("media_type", FORMATS)
def test_altered_media_names_its_parent_and_is_trusted(
    files: dict[str, bytes], credential: Credential, record: Record, media_type: str
) -> None:
    data = files[media_type]
    definition = claims.definition(replace(record, origin="altered"))
    asset = c2pa.sign(
        data, media_type, definition, credential, parent=(data, media_type)
    )
    found = c2pa.read(asset.data, media_type, anchors=anchors(credential))

    assert found.state == "trusted"
    assert found.source_types == ()
    assert found.soft_bindings[0][1] == record.marks[0].mark_id


def test_only_the_active_manifest_speaks(
    files: dict[str, bytes],
    signed: dict[str, c2pa.SignedAsset],
    credential: Credential,
    record: Record,
) -> None:
    """The generated parent's source type and record are not those of the new file."""
    definition = claims.definition(replace(record, origin="altered", marks=()))
    parent = (signed["image/png"].data, "image/png")
    asset = c2pa.sign(
        files["image/png"], "image/png", definition, credential, parent=parent
    )
    found = c2pa.read(asset.data, "image/png", anchors=anchors(credential))

    assert (found.state, found.source_types) == ("trusted", ())
    assert found.record_id == record.record_id != "ab" * 16


def test_text_is_signed_beside_the_file(credential: Credential, record: Record) -> None:
    definition = claims.definition(replace(record, kind="text"))
    asset = c2pa.sign_sidecar(TEXT, "text/plain", definition, credential)

    def state(text: bytes) -> tuple[str, bool]:
        found = c2pa.read(
            text, "text/plain", anchors=anchors(credential), manifest=asset.manifest
        )
        return found.state, found.content_only_broken

    assert asset.data == TEXT
    assert state(TEXT) == ("trusted", False)
    assert state(TEXT.replace(b"lamp", b"camp")) == ("invalid", True)
    assert c2pa.read(TEXT, "text/plain") == ManifestResult(state="none")


def test_altered_text_gets_a_parent_too(credential: Credential, record: Record) -> None:
    definition = claims.definition(replace(record, kind="text", origin="altered"))
    asset = c2pa.sign_sidecar(
        TEXT, "text/plain", definition, credential, parent=(TEXT, "text/plain")
    )
    found = c2pa.read(
        TEXT, "text/plain", anchors=anchors(credential), manifest=asset.manifest
    )

    assert found.state == "trusted"


@pytest.mark.parametrize("other", [b"", b"stranger"])
def test_an_unknown_signer_is_valid_and_not_trusted(
    signed: dict[str, c2pa.SignedAsset], stranger: Credential, other: bytes
) -> None:
    """Not even one that calls itself by the same name."""
    trust = anchors(stranger) if other else b""
    found = c2pa.read(signed["image/png"].data, "image/png", anchors=trust)

    assert (found.state, found.signer) == ("valid", "Acme")
    assert found.codes == ("signingCredential.untrusted",)
    assert not found.content_only_broken


def test_one_of_several_anchors_is_enough(
    signed: dict[str, c2pa.SignedAsset], credential: Credential, stranger: Credential
) -> None:
    both = anchors(stranger) + anchors(credential)

    found = c2pa.read(signed["image/png"].data, "image/png", anchors=both)
    assert found.state == "trusted"


@pytest.mark.parametrize("trust", [b"garbage", b"\xff\xfe", b"-----BEGIN X-----\n"])
def test_a_broken_trust_list_is_the_callers_error(
    signed: dict[str, c2pa.SignedAsset], trust: bytes
) -> None:
    with pytest.raises(KeyFileError, match="trust anchors"):
        c2pa.read(signed["image/png"].data, "image/png", anchors=trust)


# A place in the content of each: what comes right before it, where it is not the end.
CONTENT = {
    "image/webp": b"VP8 ",
    "image/tiff": b"II",
    "application/pdf": b"/Type",
    "audio/wav": b"data",
    "image/svg+xml": b"<rect w",
    "application/zip": b"hel",
    "application/epub+zip": b"applic",
    "video/avi": b"00dc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": b"<Typ",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": b"<Typ",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": (
        b"<Typ"
    ),
}


@pytest.mark.parametrize("media_type", FORMATS)
def test_one_changed_bit_of_content_is_found(
    signed: dict[str, c2pa.SignedAsset], credential: Credential, media_type: str
) -> None:
    data = bytearray(signed[media_type].data)
    before = CONTENT.get(media_type, b"")
    data[data.index(before) + len(before) + 8 if before else -40] ^= 1
    found = c2pa.read(bytes(data), media_type, anchors=anchors(credential))

    assert found.state == "invalid"
    assert set(found.codes) <= HASH_CODES
    assert found.codes
    assert found.content_only_broken
    assert not found.content_matches


def test_a_changed_manifest_is_not_mistaken_for_changed_content(
    signed: dict[str, c2pa.SignedAsset], credential: Credential
) -> None:
    asset = signed["image/png"]
    place = asset.data.index(b"ab" * 16)
    data = asset.data[:place] + b"ba" * 16 + asset.data[place + 32 :]
    found = c2pa.read(data, "image/png", anchors=anchors(credential))

    assert found.state == "invalid"
    assert "assertion.hashedURI.mismatch" in found.codes
    assert not found.content_only_broken


def test_untrusted_and_broken_is_not_content_only_broken(
    signed: dict[str, c2pa.SignedAsset], files: dict[str, bytes]
) -> None:
    store = signed["image/png"].manifest
    found = c2pa.read(files["image/webp"], "image/webp", manifest=store)

    assert found.state == "invalid"
    assert not found.content_only_broken


@pytest.mark.parametrize("media_type", FORMATS)
def test_a_stripped_file_has_no_manifest_until_one_is_looked_up(
    files: dict[str, bytes],
    signed: dict[str, c2pa.SignedAsset],
    credential: Credential,
    media_type: str,
) -> None:
    stripped = files[media_type]
    assert c2pa.read(stripped, media_type) == ManifestResult(state="none")

    store = signed[media_type].manifest
    found = c2pa.read(stripped, media_type, anchors=anchors(credential), manifest=store)
    assert found.record_id == "ab" * 16
    assert (found.state, found.content_only_broken) == ("invalid", True)


def test_a_manifest_moved_to_another_file_is_invalid(
    files: dict[str, bytes], signed: dict[str, c2pa.SignedAsset], credential: Credential
) -> None:
    """The PNG chunk of one file, put where another file has its own."""
    first = signed["image/png"].data
    chunk = first[33 : 33 + len(first) - len(files["image/png"])]
    assert chunk[4:8] == b"caBX"
    other = bytearray(files["image/png"])
    other[-20] ^= 1
    swapped = bytes(other[:33]) + chunk + bytes(other[33:])
    found = c2pa.read(swapped, "image/png", anchors=anchors(credential))

    assert (found.state, found.codes) == ("invalid", ("assertion.dataHash.mismatch",))


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes]]]:
    """A real listener on loopback that keeps what reaches it."""
    hits: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/manifest.c2pa"

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                hits.append(b"hit")
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield url, hits
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def remote_only(data: bytes, url: str, credential: Credential) -> bytes:
    """A JPEG whose only trace of a manifest is dcterms:provenance in its XMP."""
    pem = credential.signer.pem
    info = native.C2paSignerInfo("es256", credential.chain_pem, pem, None)
    settings = {"verify": {"verify_after_sign": False}}
    definition = claims.definition(Record(kind="image", provider="Acme"))
    output = io.BytesIO()
    signer = native.Signer.from_info(info)
    with (
        native.Context.from_dict(settings, signer) as context,
        native.Builder(definition, context=context) as builder,
    ):
        builder.set_no_embed()
        builder.set_remote_url(url)
        builder.sign("image/jpeg", io.BytesIO(data), output)
    return output.getvalue()


def test_a_remote_manifest_is_named_and_never_fetched(
    files: dict[str, bytes],
    credential: Credential,
    record: Record,
    server: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, hits = server
    data = remote_only(files["image/jpeg"], url, credential)
    assert b"dcterms:provenance" in data

    def no_socket(*_: object) -> None:
        raise AssertionError("a socket was opened")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", no_socket)
        found = c2pa.read(data, "image/jpeg", anchors=anchors(credential))
        definition = claims.definition(replace(record, origin="altered"))
        parent = (data, "image/jpeg")
        c2pa.sign(data, "image/jpeg", definition, credential, parent=parent)

    assert found == ManifestResult(state="remote", remote_url=url)
    assert hits == []
    with native.Context() as unsafe, pytest.raises(native.C2paError):
        native.Reader("image/jpeg", io.BytesIO(data), context=unsafe)
    assert hits  # the tripwire works: the library's own defaults do fetch


@pytest.mark.parametrize("media_type", [*FORMATS, "text/plain"])
def test_hostile_bytes_never_raise(
    signed: dict[str, c2pa.SignedAsset], credential: Credential, media_type: str
) -> None:
    whole = signed.get(media_type, signed["image/png"]).data
    lengths = sorted({0, 1, 3, 8, 12, 40, 200, 900, len(whole) // 2, len(whole) - 1})
    noise = [b"garbage", b"\0" * 64, b"jumb" * 99, b"\xff\xd8\xff\xe1\xff\xff" * 9]
    noise += [whole[:n] for n in lengths] + [whole[n:] for n in lengths[1:]]
    noise += [whole[:50] + bytes(3000) + whole[3050:]]
    for data in noise:
        found = c2pa.read(data, media_type, anchors=anchors(credential))

        assert found.state in ("none", "invalid")
        assert not found.content_matches


@pytest.mark.parametrize("store", [b"", b"garbage", b"\0" * 99, b"jumb" * 1000])
def test_a_hostile_sidecar_is_invalid(credential: Credential, store: bytes) -> None:
    found = c2pa.read(TEXT, "text/plain", anchors=anchors(credential), manifest=store)

    assert (found.state, found.codes) == ("invalid", ("general.error",))


def test_flips_all_over_the_manifest_never_raise_and_never_change_what_is_trusted(
    signed: dict[str, c2pa.SignedAsset], credential: Credential
) -> None:
    """Padding and box lengths are unprotected by design: what is said is not."""
    store = signed["image/png"].manifest
    trust = anchors(credential)
    said = c2pa.read(TEXT, "text/plain", anchors=trust, manifest=store)
    for place in range(0, len(store), 23):
        flipped = bytearray(store)
        flipped[place] ^= 4
        found = c2pa.read(TEXT, "text/plain", anchors=trust, manifest=bytes(flipped))

        assert found.state == "invalid"
        if found.content_only_broken:
            assert found.source_types == said.source_types
            assert found.record_id == said.record_id


def test_a_truncated_signed_file_is_invalid_not_unsigned(
    signed: dict[str, c2pa.SignedAsset],
) -> None:
    """Cut in the content, with the manifest whole: the loss is not silent."""
    data = signed["image/png"].data[:-200]
    found = c2pa.read(data, "image/png")

    assert found.state == "invalid"


def test_the_wrong_media_type_is_put_right(
    signed: dict[str, c2pa.SignedAsset], credential: Credential
) -> None:
    data = signed["image/jpeg"].data
    found = c2pa.read(data, "image/png", anchors=anchors(credential))

    assert found.state == "trusted"


def test_text_cannot_hold_its_manifest(
    credential: Credential, definition: dict[str, object]
) -> None:
    with pytest.raises(UnsupportedFormat, match="sign_sidecar"):
        c2pa.sign(TEXT, "text/plain", definition, credential)


def test_a_damaged_file_is_not_signed(
    credential: Credential, definition: dict[str, object]
) -> None:
    with pytest.raises(SigningError, match="image/png failed"):
        c2pa.sign(b"\x89PNG\r\n\x1a\ngarbage", "image/png", definition, credential)


def test_oversized_files_are_refused(
    files: dict[str, bytes],
    credential: Credential,
    definition: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = files["image/png"]
    monkeypatch.setattr("watermark.sign.native.MAX_BYTES", len(data) - 1)
    with pytest.raises(UnsupportedFormat, match="at most"):
        c2pa.sign(data, "image/png", definition, credential)
    with pytest.raises(UnsupportedFormat, match="at most"):
        c2pa.read(data, "image/png")
    with pytest.raises(UnsupportedFormat, match="at most"):
        c2pa.read(b"", "image/png", manifest=data)


def test_a_parent_is_given_exactly_where_the_file_was_opened(
    files: dict[str, bytes], credential: Credential, record: Record
) -> None:
    data = files["image/png"]
    opened = claims.definition(replace(record, origin="altered"))
    with pytest.raises(SigningError, match="found none"):
        c2pa.sign(data, "image/png", opened, credential)
    with pytest.raises(SigningError, match="found one"):
        c2pa.sign(
            data,
            "image/png",
            claims.definition(record),
            credential,
            parent=(data, "image/png"),
        )


def test_a_wrong_root_is_found_before_the_file_is_handed_out(
    files: dict[str, bytes],
    folder: Path,
    credential: Credential,
    stranger: Credential,
    definition: dict[str, object],
) -> None:
    mixed = Credential(
        credential.chain_pem, credential.signer, root_pem=stranger.root_pem
    )
    with pytest.raises(SigningError, match="read back as 'valid'"):
        c2pa.sign(files["image/png"], "image/png", definition, mixed)


def test_a_signature_of_another_key_is_not_handed_out(
    files: dict[str, bytes], credential: Credential, definition: dict[str, object]
) -> None:
    wrong = Credential.from_callback(
        credential.chain_pem, "es256", lambda message: b"\1" * 64
    )
    with pytest.raises(SigningError):
        c2pa.sign(files["image/png"], "image/png", definition, wrong)


def test_a_callback_signs(
    files: dict[str, bytes], credential: Credential, definition: dict[str, object]
) -> None:
    remote = Credential.from_callback(
        credential.chain_pem,
        "es256",
        credential.signer.sign,
        root_pem=credential.root_pem,
    )
    asset = c2pa.sign(files["image/png"], "image/png", definition, remote)

    found = c2pa.read(asset.data, "image/png", anchors=anchors(credential))
    assert found.state == "trusted"


def test_an_encrypted_key_signs(
    tmp_path: Path, files: dict[str, bytes], definition: dict[str, object]
) -> None:
    sealed = Credential.create_dev(tmp_path / "c", "Acme", passphrase="pass")
    asset = c2pa.sign(files["image/png"], "image/png", definition, sealed)

    found = c2pa.read(asset.data, "image/png", anchors=anchors(sealed))
    assert found.state == "trusted"


@pytest.mark.parametrize("failure", [ConnectionError("kms"), KeyboardInterrupt()])
def test_what_a_callback_raises_comes_out_unchanged(
    files: dict[str, bytes],
    credential: Credential,
    definition: dict[str, object],
    failure: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(message: bytes) -> bytes:
        raise failure

    broken = Credential.from_callback(credential.chain_pem, "es256", fail)
    with pytest.raises(type(failure)) as caught:
        c2pa.sign(files["image/png"], "image/png", definition, broken)
    assert caught.value is failure
    assert caplog.records == []


def test_a_callback_that_answers_no_bytes_is_named(
    files: dict[str, bytes], credential: Credential, definition: dict[str, object]
) -> None:
    odd = Credential.from_callback(credential.chain_pem, "es256", str)  # type: ignore[arg-type]  # the point
    with pytest.raises(SigningError, match="answered str, expected bytes"):
        c2pa.sign(files["image/png"], "image/png", definition, odd)


def test_threads_do_not_mix_signatures(
    files: dict[str, bytes], credential: Credential
) -> None:
    def both(number: int) -> bool:
        record = Record(kind="image", provider="Acme", record_id=f"{number:032x}")
        asset = c2pa.sign(
            files["image/png"], "image/png", claims.definition(record), credential
        )
        found = c2pa.read(asset.data, "image/png", anchors=anchors(credential))
        return found.record_id == record.record_id and found.state == "trusted"

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(both, range(16)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_signs(
    files: dict[str, bytes], credential: Credential, definition: dict[str, object]
) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            c2pa.sign(files["image/png"], "image/png", definition, credential)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_c2pa_loads_only_with_the_module_that_uses_it() -> None:
    code = (
        "import sys, watermark.sign, watermark.sign.claims, watermark.sign.manifest, "
        "watermark.sign.credential; sys.exit('c2pa' in sys.modules)"
    )
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | paths)
    assert done.returncode == 0


def test_the_manifest_is_small_and_has_no_thumbnail(
    files: dict[str, bytes], signed: dict[str, c2pa.SignedAsset]
) -> None:
    asset = signed["image/png"]

    assert len(asset.data) - len(files["image/png"]) < 5000
    assert b"thumbnail" not in asset.manifest
    assert asset.manifest_id.startswith("urn:c2pa:")
