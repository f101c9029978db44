"""Whoever signs what somebody signed before keeps that manifest inside the new one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from benchmarks.conformance.containers import picture
from benchmarks.conformance.signing import TEXTS
from tests.sign.test_c2pa import remote_only

from watermark.errors import SigningError, UnsupportedFormat
from watermark.record import Record
from watermark.sign import c2pa, claims, jumbf, remote, text, text_structured
from watermark.sign.credential import Credential
from watermark.sign.ingredient import INGREDIENT
from watermark.sign.manifest import ManifestResult

ALTERED = Record(kind="image", provider="Acme", origin="altered")
EDITED = claims.definition(ALTERED)
CREATED = claims.definition(replace(ALTERED, origin="created"))
FORMATS = [*c2pa.EMBEDDABLE]
CARRIED = [name for name in TEXTS if name != "text sidecar"]


def trusted(credential: Credential) -> c2pa.Trust:
    return {"anchors": credential.root_pem or b""}


def holds(store: bytes, other: bytes) -> bool:
    """Whether all manifests of `other` stand in `store`, byte for byte, as a parent."""
    manifest = jumbf.parse(store)
    ((_, whole),) = jumbf.boxes(other)
    *earlier, last = [jumbf.boxed(*each) for each in list(jumbf.boxes(whole))[1:]]
    content = manifest.content(INGREDIENT)
    named = content["activeManifest"]["url"].rpartition("/")[2]
    results = content["validationResults"]["activeManifest"]
    return (
        content["relationship"] == "parentOf"
        and manifest.earlier.endswith(b"".join([*earlier, last]))
        and named == jumbf.parse(other).label
        and "claimSignature.validated" in {r["code"] for r in results["success"]}
    )


@pytest.mark.parametrize("media_type", FORMATS)
def test_every_container_keeps_what_a_stranger_signed(
    files: dict[str, bytes],
    credential: Credential,
    stranger: Credential,
    media_type: str,
) -> None:
    first = c2pa.sign(files[media_type], media_type, CREATED, stranger)
    parent = (first.data, media_type)
    second = c2pa.sign(first.data, media_type, EDITED, credential, parent=parent)
    found = c2pa.read(second.data, media_type, **trusted(credential))

    assert (found.state, found.codes) == ("trusted", ())
    assert found.manifest_id == second.manifest_id != first.manifest_id
    assert found.source_types == ()  # the first one's are its own
    assert holds(second.manifest, first.manifest)


@pytest.mark.parametrize("media_type", FORMATS)
def test_no_container_is_signed_again_as_if_nobody_had(
    files: dict[str, bytes],
    credential: Credential,
    stranger: Credential,
    media_type: str,
) -> None:
    first = c2pa.sign(files[media_type], media_type, CREATED, stranger)
    with pytest.raises(SigningError, match="which signing would replace"):
        c2pa.sign(first.data, media_type, CREATED, credential)
    bare = (files[media_type], media_type)  # says it was made from something else
    with pytest.raises(SigningError, match="which signing would replace"):
        c2pa.sign(first.data, media_type, EDITED, credential, parent=bare)


def test_a_chain_of_three_is_whole(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    kind = "image/jpeg"
    first = c2pa.sign(files[kind], kind, CREATED, stranger)
    second = c2pa.sign(first.data, kind, EDITED, credential, parent=(first.data, kind))
    third = c2pa.sign(second.data, kind, EDITED, stranger, parent=(second.data, kind))
    found = c2pa.read(third.data, kind, **trusted(stranger))

    assert found.state == "trusted"
    assert holds(third.manifest, second.manifest)


def test_a_transcoded_file_keeps_the_manifest_of_its_parent(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    first = c2pa.sign(files["image/png"], "image/png", CREATED, stranger)
    parent = (first.data, "image/png")
    second = c2pa.sign(
        files["image/jpeg"], "image/jpeg", EDITED, credential, parent=parent
    )
    found = c2pa.read(second.data, "image/jpeg", **trusted(credential))

    assert found.state == "trusted"
    assert holds(second.manifest, first.manifest)


def test_a_manifest_that_lies_elsewhere_is_named(
    credential: Credential, stranger: Credential
) -> None:
    url = "http://127.0.0.1:9/manifest"
    data = remote_only(picture("JPEG"), url, stranger)
    with pytest.raises(SigningError, match="which signing would replace"):
        c2pa.sign(data, "image/jpeg", CREATED, credential)
    parent = (data, "image/jpeg")
    signed = c2pa.sign(data, "image/jpeg", EDITED, credential, parent=parent)
    content = jumbf.parse(signed.manifest).content(INGREDIENT)

    (failure,) = content["validationResults"]["activeManifest"]["failure"]
    assert (failure["code"], failure["url"]) == ("manifest.inaccessible", url)


def test_a_manifest_from_beside_the_parent_is_kept(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    png = files["image/png"]
    beside = c2pa.sign_sidecar(png, "image/png", CREATED, stranger).manifest
    signed = c2pa.sign(
        *(png, "image/png", EDITED, credential),
        parent=(png, "image/png"),
        parent_manifest=beside,
    )
    found = c2pa.read(signed.data, "image/png", **trusted(credential))

    assert found.state == "trusted"
    assert holds(signed.manifest, beside)
    with pytest.raises(SigningError, match="damaged"):
        c2pa.sign(
            *(png, "image/png", EDITED, credential),
            parent=(png, "image/png"),
            parent_manifest=beside[:-9],
        )


def sign_text(
    name: str,
    data: bytes,
    definition: claims.Json,
    credential: Credential,
    **more: object,
) -> c2pa.SignedAsset:
    carrier, suffix, _ = TEXTS[name]
    return text.sign(
        *(data, definition, credential),
        carrier=carrier,
        suffix=suffix,
        **more,  # type: ignore[arg-type]
    )


def read_text(
    asset: c2pa.SignedAsset, name: str, credential: Credential
) -> ManifestResult:
    beside = asset.manifest if name == "text sidecar" else None
    return text.read(asset.data, sidecar=beside, **trusted(credential))


@pytest.mark.parametrize("after", TEXTS)
@pytest.mark.parametrize("before", CARRIED)
def test_every_text_keeps_what_a_stranger_signed(
    before: str, after: str, credential: Credential, stranger: Credential
) -> None:
    """In whatever way either of them carries its manifest."""
    if after == "text HTML" != before:
        pytest.skip("no page")
    words = TEXTS[before][2]
    first = sign_text(before, words, CREATED, stranger)
    parent = (first.data, "text/plain")
    second = sign_text(after, first.data, EDITED, credential, parent=parent)
    found = read_text(second, after, credential)

    assert (found.state, found.codes) == ("trusted", ())
    assert holds(second.manifest, first.manifest)
    assert text.content(second.data) == words  # one carrier, and not two


@pytest.mark.parametrize("media_type", ["text/html", "text/markdown"])
def test_however_a_text_is_called_its_manifest_is_kept(
    media_type: str, credential: Credential, stranger: Credential
) -> None:
    first = sign_text("text HTML", TEXTS["text HTML"][2], CREATED, stranger)
    parent = (first.data, media_type)
    second = sign_text("text HTML", first.data, EDITED, credential, parent=parent)

    assert read_text(second, "text HTML", credential).state == "trusted"
    assert holds(second.manifest, first.manifest)


def test_a_text_keeps_the_manifest_from_beside_its_parent(
    credential: Credential, stranger: Credential
) -> None:
    words = TEXTS["text wrapper"][2]
    first = sign_text("text sidecar", words, CREATED, stranger)
    second = sign_text(
        *("text wrapper", words + b"More.", EDITED, credential),
        parent=(words, "text/plain"),
        parent_manifest=first.manifest,
    )
    assert read_text(second, "text wrapper", credential).state == "trusted"
    assert holds(second.manifest, first.manifest)


@pytest.mark.parametrize("name", CARRIED)
def test_no_text_is_signed_again_as_if_nobody_had(
    name: str, credential: Credential, stranger: Credential
) -> None:
    first = sign_text(name, TEXTS[name][2], CREATED, stranger)
    with pytest.raises(SigningError, match="carries a manifest already"):
        sign_text(name, first.data, CREATED, credential)
    bare = (TEXTS[name][2], "text/plain")
    with pytest.raises(SigningError, match="carries a manifest already"):
        sign_text(name, first.data, EDITED, credential, parent=bare)


@pytest.mark.parametrize("carrier", ["structured", "html", "wrapper", "sidecar"])
def test_a_text_about_manifests_is_signed_where_it_can_be(
    carrier: text.Carrier, credential: Credential
) -> None:
    """It carries none, and is not told so."""
    page = (
        b"<html><head></head><body>-----BEGIN C2PA MANIFEST----- ... "
        b"-----END C2PA MANIFEST-----</body></html>\n"
    )
    if carrier == "structured":
        with pytest.raises(UnsupportedFormat, match="shows how manifests are written"):
            text.sign(page, CREATED, credential, carrier=carrier)
        return
    signed = text.sign(page, CREATED, credential, carrier=carrier)
    beside = signed.manifest if carrier == "sidecar" else None
    assert text.read(signed.data, sidecar=beside, **trusted(credential)).state == (
        "trusted"
    )


def test_a_link_to_a_manifest_is_told(credential: Credential) -> None:
    code = b"# %b https://a.example/m %b\n" % (
        text_structured.BEGIN,
        text_structured.END,
    )
    with pytest.raises(SigningError, match=r"its manifest is at https://a\.example/m"):
        text.sign(code, CREATED, credential, carrier="wrapper")


def test_what_was_changed_in_the_kept_manifest_is_found(
    credential: Credential, stranger: Credential
) -> None:
    """The new signature covers the old manifest, by its hash."""
    name = "text sidecar"
    first = sign_text("text wrapper", b"The lamp turned.", CREATED, stranger)
    parent = (first.data, "text/plain")
    second = sign_text(name, first.data, EDITED, credential, parent=parent)
    place = second.manifest.index(b"trainedAlgorithmicMedia")
    changed = bytearray(second.manifest)
    changed[place] ^= 1

    found = read_text(replace(second, manifest=bytes(changed)), name, credential)
    assert found.state == "invalid"
    assert "ingredient.manifest.mismatch" in found.codes


def test_a_picture_keeps_the_manifest_of_the_text_it_was_made_from(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    first = sign_text("text wrapper", b"A lamp.", CREATED, stranger)
    parent, png = (first.data, "text/plain"), files["image/png"]
    url = "https://repository.example/1"
    for signed in (
        c2pa.sign(png, "image/png", EDITED, credential, parent=parent),
        c2pa.sign_sidecar(png, "image/png", EDITED, credential, parent=parent),
        remote.sign(png, "image/png", EDITED, credential, url, parent=parent),
    ):
        assert holds(signed.manifest, first.manifest)
        found = c2pa.read(
            *(signed.data, "image/png"),
            manifest=signed.manifest,
            **trusted(credential),
        )
        assert found.state == "trusted"


def damaged(data: bytes, store: bytes) -> bytes:
    """A box of the manifest says that it is longer than it is."""
    place = data.index(b"c2pa.assertions") - 25 - 8
    assert data[place + 4 : place + 8] == b"jumb"
    assert len(store) < 1 << 16
    return data[: place + 1] + b"\x7f" + data[place + 2 :]


def test_what_cannot_be_kept_of_a_parent_is_refused_however_it_is_signed(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    png, url = files["image/png"], "https://repository.example/1"
    first = c2pa.sign(png, "image/png", CREATED, stranger)
    picture_ = damaged(first.data, first.manifest), "image/png"
    assert c2pa.read(*picture_).manifest_id == ""
    words = sign_text("text wrapper", b"A lamp.", CREATED, stranger).data
    broken = words.replace("\U000e0153".encode(), b"", 1), "text/plain"
    assert text.read(broken[0]).state == "invalid"
    ways: tuple[Callable[[tuple[bytes, str]], c2pa.SignedAsset], ...] = (
        lambda p: c2pa.sign(png, "image/png", EDITED, credential, parent=p),
        lambda p: c2pa.sign_sidecar(png, "image/png", EDITED, credential, parent=p),
        lambda p: remote.sign(png, "image/png", EDITED, credential, url, parent=p),
        lambda p: sign_text("text wrapper", b"x", EDITED, credential, parent=p),
    )
    for parent in (picture_, broken):
        for way in ways:
            with pytest.raises(SigningError, match="cannot be read"):
                way(parent)


def test_a_parent_text_that_names_a_place_is_not_forgotten(
    credential: Credential, stranger: Credential
) -> None:
    url = "https://repository.example/1"
    first = remote.sign_text(
        b"x = 1\n", CREATED, stranger, url, carrier="structured", suffix=".py"
    )
    parent = first.data, "text/plain"
    with pytest.raises(SigningError, match="hand it over as parent_manifest"):
        sign_text("text source code", b"x = 2\n", EDITED, credential, parent=parent)
    second = sign_text(
        *("text source code", b"x = 2\n", EDITED, credential),
        parent=parent,
        parent_manifest=first.manifest,
    )
    assert read_text(second, "text source code", credential).state == "trusted"
    assert holds(second.manifest, first.manifest)


def test_of_two_manifests_of_a_parent_none_is_dropped(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    png = files["image/png"]
    inside = c2pa.sign(png, "image/png", CREATED, stranger)
    other = c2pa.sign_sidecar(png, "image/png", CREATED, stranger).manifest
    parent = inside.data, "image/png"
    signed = c2pa.sign(
        *(inside.data, "image/png", EDITED, credential),
        parent=parent,
        parent_manifest=inside.manifest,
    )
    assert signed.manifest.count(inside.manifest_id.encode() + b"\0") == 1
    assert holds(signed.manifest, inside.manifest)
    with pytest.raises(SigningError, match="another one lies beside it"):
        c2pa.sign(
            *(inside.data, "image/png", EDITED, credential),
            parent=parent,
            parent_manifest=other,
        )


@pytest.mark.parametrize("media_type", ["image/png", "image/webp", "video/mp4"])
def test_nothing_is_put_beside_a_file_that_holds_a_manifest(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    data = c2pa.sign(files[media_type], media_type, CREATED, credential).data
    with pytest.raises(SigningError, match="would not look beside it"):
        c2pa.sign_sidecar(data, media_type, CREATED, credential)


def test_an_svg_whose_manifest_has_another_name_is_not_signed_over(
    files: dict[str, bytes], credential: Credential, stranger: Credential
) -> None:
    """The library reads it, whatever the prefix."""
    kind = "image/svg+xml"
    data = c2pa.sign(files[kind], kind, CREATED, stranger).data
    data = data.replace(b"c2pa:manifest", b"x:manifest").replace(b":c2pa=", b":x=")
    assert c2pa.read(data, kind).manifest_id
    with pytest.raises(SigningError, match="which signing would replace"):
        c2pa.sign(data, kind, CREATED, credential)
