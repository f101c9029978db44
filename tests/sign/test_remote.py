"""Manifests that lie elsewhere, and updates of manifests whose content stays."""

import pytest
from benchmarks.conformance.signing import TEXTS

from watermark.errors import SigningError, UnsupportedFormat
from watermark.record import Record
from watermark.sign import c2pa, claims, jumbf, remote, text, update
from watermark.sign.credential import Credential
from watermark.sign.packing import ZIP_TYPES

CREATED = claims.definition(Record(kind="image", provider="Acme", record_id="ab" * 16))
URL = "https://repository.example/manifests/1?a=b;c=%20d"
LINKED = [kind for kind in c2pa.EMBEDDABLE if kind not in ZIP_TYPES]
RECEIPT = {
    "label": "c2pa.repository-receipt",
    "kind": "Json",
    "data": {
        "@context": {"receipt": "https://c2pa.org/ns/repository-receipt#"},
        "@type": "org.c2pa.repository-receipt",
        "anchor": {"uri": "https://log.example", "proof": "00"},
    },
}


def trusted(credential: Credential) -> c2pa.Trust:
    return {"anchors": credential.root_pem or b""}


@pytest.mark.parametrize("media_type", LINKED)
def test_a_file_says_where_its_manifest_is(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    data = files[media_type]
    signed = remote.sign(data, media_type, CREATED, credential, URL)
    found = c2pa.read(signed.data, media_type, **trusted(credential))

    assert (found.state, found.remote_url) == ("remote", URL)
    assert len(signed.data) - len(data) < 1500  # no manifest in it
    given = c2pa.read(
        signed.data, media_type, manifest=signed.manifest, **trusted(credential)
    )
    assert (given.state, given.record_id) == ("trusted", "ab" * 16)


@pytest.mark.parametrize("media_type", LINKED)
def test_the_link_is_signed_with_the_content(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    """Who points it at another manifest has changed the file."""
    signed = remote.sign(files[media_type], media_type, CREATED, credential, URL)
    changed = signed.data.replace(b"manifests/1", b"manifests/2")
    assert changed != signed.data
    if media_type == "image/png":  # its readers check a chunk's checksum, ours not
        assert len(changed) == len(signed.data)

    found = c2pa.read(
        changed, media_type, manifest=signed.manifest, **trusted(credential)
    )
    assert found.state == "invalid"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a/b",
        "https://a b",
        "javascript:x",
        "https://a/\n",
        "https://é",
        "https://a/?b&c",
    ],
)
def test_what_is_no_url_is_refused(
    files: dict[str, bytes], credential: Credential, url: str
) -> None:
    with pytest.raises(SigningError, match="expected https://HOST/PATH"):
        remote.sign(files["image/png"], "image/png", CREATED, credential, url)


@pytest.mark.parametrize("media_type", [*ZIP_TYPES, "text/plain"])
def test_without_a_place_for_a_link_there_is_none(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    with pytest.raises(UnsupportedFormat, match="no XMP"):
        remote.sign(b"data", media_type, CREATED, credential, URL)


def test_somebodys_manifest_is_not_replaced_by_a_link(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    first = c2pa.sign(files["image/png"], "image/png", CREATED, stranger)
    with pytest.raises(SigningError, match="which signing would replace"):
        remote.sign(first.data, "image/png", CREATED, credential, URL)


@pytest.mark.parametrize("media_type", update.UPDATABLE)
def test_an_update_keeps_the_manifest_and_the_content(
    files: dict[str, bytes],
    credential: Credential,
    stranger: Credential,
    media_type: str,
) -> None:
    first = c2pa.sign(files[media_type], media_type, CREATED, stranger)
    later = update.update(first.data, media_type, [RECEIPT], credential)
    found = c2pa.read(later.data, media_type, **trusted(credential))
    manifest = jumbf.parse(later.manifest)

    assert (found.state, found.codes) == ("trusted", ())
    assert found.content_matches
    assert manifest.kind == jumbf.UPDATE
    assert "c2pa.repository-receipt" in manifest.assertions
    ((_, whole),) = jumbf.boxes(first.manifest)
    assert manifest.earlier == jumbf.boxed(*list(jumbf.boxes(whole))[-1])


@pytest.mark.parametrize("media_type", update.UPDATABLE)
def test_a_change_under_an_update_is_found(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    first = c2pa.sign(files[media_type], media_type, CREATED, credential)
    later = update.update(first.data, media_type, [RECEIPT], credential)
    changed = bytearray(later.data)
    place = changed.rindex(b"<rect") + 8 if media_type == "image/svg+xml" else -40
    if changed[4:8] == b"ftyp":
        place = changed.rindex(b"mdat") + 20
    changed[place] ^= 1
    found = c2pa.read(bytes(changed), media_type, **trusted(credential))

    assert found.state == "invalid"
    assert not found.content_matches


@pytest.mark.parametrize("media_type", sorted({*c2pa.EMBEDDABLE} - {*update.UPDATABLE}))
def test_other_formats_are_not_updated(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    with pytest.raises(UnsupportedFormat, match="no update that validates"):
        update.update(files[media_type], media_type, [RECEIPT], credential)


def test_what_is_not_sound_is_not_updated(
    files: dict[str, bytes], credential: Credential
) -> None:
    png = files["image/png"]
    changed = bytearray(c2pa.sign(png, "image/png", CREATED, credential).data)
    changed[-20] ^= 1
    for data in (png, bytes(changed)):
        with pytest.raises(SigningError, match="nobody changed"):
            update.update(data, "image/png", [RECEIPT], credential)


@pytest.mark.parametrize("name", ["text HTML", "text source code", "text front matter"])
def test_a_text_says_where_its_manifest_is(name: str, credential: Credential) -> None:
    carrier, suffix, data = TEXTS[name]
    signed = remote.sign_text(
        data, CREATED, credential, URL, carrier=carrier, suffix=suffix
    )
    trust = trusted(credential)

    assert len(signed.data) - len(data) < 200
    found = text.read(signed.data, **trust)
    assert (found.state, found.remote_url) == ("remote", URL)
    given = text.read(signed.data, sidecar=signed.manifest, **trust)
    assert (given.state, given.record_id) == ("trusted", "ab" * 16)
    changed = signed.data.replace(b"manifests/1", b"manifests/2")
    assert text.read(changed, sidecar=signed.manifest, **trust).state == "invalid"
    with pytest.raises(SigningError, match="says that its manifest is at"):
        remote.sign_text(
            signed.data, CREATED, credential, URL, carrier=carrier, suffix=suffix
        )


@pytest.mark.parametrize("carrier", ["wrapper", "sidecar"])
def test_a_plain_text_has_no_place_for_a_link(
    carrier: text.Carrier, credential: Credential
) -> None:
    with pytest.raises(UnsupportedFormat, match="expected structured or html"):
        remote.sign_text(b"words", CREATED, credential, URL, carrier=carrier)
