"""Signing with time-stamps: now, later, and with authorities that fail."""

import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cbor2
import pytest
from benchmarks.conformance.signing import TEXTS
from tests.sign.servers import OpenSslTsa, PlainTsa, needs_openssl, serving

from watermark.errors import KeyFileError, SigningError
from watermark.record import Record
from watermark.sign import (
    c2pa,
    chain,
    claims,
    countersign,
    jumbf,
    restamp,
    stamps,
    text,
    timestamp,
)
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential
from watermark.sign.manifest import ManifestResult
from watermark.sign.signer import generate, private_pem
from watermark.sign.stamping import Slow, Unavailable
from watermark.sign.stamps import Stamps, When
from watermark.sign.timestamp import TimestampError, Untrustworthy

ACME = Authority.create("Acme")
TSA = Authority.create("Clock Ltd")
PLAIN = PlainTsa(TSA)
DEFINITION = claims.definition(
    Record(kind="image", provider="Acme", record_id="ab" * 16)
)
SHORT = timedelta(seconds=1)
GOOD = """schema = "watermark.stamps/1"
authorities = ["http://a"]
when = "now"
room = 4000
"""
NOBODY = "http://127.0.0.1:9/"


def stamped_by(
    url: str,
    *,
    when: When = "now",
    life: timedelta = timedelta(days=1),
    seconds: float = 5,
    folder: Path | None = None,
) -> tuple[Credential, Stamps]:
    """A credential, and who stamps for it."""
    key = generate("ed25519")
    leaf = ACME.certify(key.public_key(), life=life)
    made = Credential.from_pem(
        ACME.chain_pem(leaf), private_pem(key), root_pem=ACME.root_pem
    )
    made.stamps = Stamps((url,), TSA.root_pem, when, 3000, folder, seconds)
    return made, made.stamps


def read(
    data: bytes, kind: str, *, tsa_anchors: bytes = TSA.root_pem
) -> ManifestResult:
    return c2pa.read(data, kind, anchors=ACME.root_pem, tsa_anchors=tsa_anchors)


def sign_text(name: str, data: bytes, made: Credential) -> c2pa.SignedAsset:
    carrier, suffix, _ = TEXTS[name]
    return text.sign(data, DEFINITION, made, carrier=carrier, suffix=suffix)


def read_text(asset: c2pa.SignedAsset, name: str) -> ManifestResult:
    beside = asset.manifest if name == "text sidecar" else None
    return text.read(
        asset.data, anchors=ACME.root_pem, tsa_anchors=TSA.root_pem, sidecar=beside
    )


def wait_for_the_end_of(made: Credential) -> None:
    end = chain.load(made.chain_pem)[0].not_valid_after_utc
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()) + 1)


def this_year(found: ManifestResult) -> bool:
    return (found.signed_at or "").startswith(f"{datetime.now(UTC):%Y-%m-}")


@needs_openssl
def test_a_picture_is_stamped_by_openssls_authority(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with serving(OpenSslTsa(tmp_path, TSA)) as url:
        made, _authority = stamped_by(url)
        asset = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
    found = read(asset.data, "image/png")

    assert (found.state, found.timestamp, asset.timestamp) == (
        "trusted",
        "trusted",
        "now",
    )
    assert this_year(found)


@pytest.mark.parametrize("media_type", c2pa.EMBEDDABLE)
def test_every_container_is_stamped_while_signing_or_later(
    files: dict[str, bytes], media_type: str
) -> None:
    with serving(PLAIN) as url:
        made, authority = stamped_by(url)
        at_once = c2pa.sign(files[media_type], media_type, DEFINITION, made)
        later = c2pa.sign(
            files[media_type], media_type, DEFINITION, made, timestamp="deferred"
        )
        assert read(later.data, media_type).timestamp == "none"
        stamped = restamp.stamp(
            later.data, media_type, authority, anchors=ACME.root_pem
        )

    assert len(stamped.data) == len(later.data)
    assert stamped.manifest_id == later.manifest_id
    for asset in (at_once, stamped):
        found = read(asset.data, media_type)
        assert (found.state, found.timestamp) == ("trusted", "trusted")
        assert found.manifest == asset.manifest
        assert this_year(found)


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_is_stamped_while_signing_or_later(name: str) -> None:
    with serving(PLAIN) as url:
        at_once = sign_text(name, TEXTS[name][2], stamped_by(url)[0])
        made, authority = stamped_by(url, when="deferred")
        later = sign_text(name, TEXTS[name][2], made)
        beside = later.manifest if name == "text sidecar" else None
        assert read_text(later, name).timestamp == "none"
        stamped = restamp.stamp(
            *(later.data, "text/plain", authority),
            anchors=ACME.root_pem,
            sidecar=beside,
        )

    assert len(stamped.data) == len(later.data)
    for asset in (at_once, stamped):
        found = read_text(asset, name)
        assert (found.state, found.timestamp) == ("trusted", "trusted")
        assert this_year(found)


def test_a_wrapper_asks_once_whatever_length_it_has() -> None:
    """Every remainder is reached: an authority's answers are not to be had for free."""
    asked = []

    def counted(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append(query)
        PLAIN(query, handler)

    with serving(counted) as url:
        made, _authority = stamped_by(url)
        for length in range(1, 13):
            sign_text("text wrapper", b"x" * length, made)
    assert len(asked) == 12


def test_the_time_of_an_authority_that_nobody_trusts_is_not_told(
    files: dict[str, bytes],
) -> None:
    with serving(PLAIN) as url:
        asset = c2pa.sign(
            files["image/png"], "image/png", DEFINITION, stamped_by(url)[0]
        )
    for others in (b"", Authority.create("X").root_pem):
        found = read(asset.data, "image/png", tsa_anchors=others)
        assert (found.state, found.timestamp) == ("trusted", "untrusted")
        assert found.signed_at is None


def token_of(manifest: jumbf.Manifest) -> bytes:
    header = cbor2.loads(manifest.signature).value[1]
    token = header["sigTst2"]["tstTokens"][0]["val"]
    assert isinstance(token, bytes)
    return token


def test_tokens_of_others_and_two_at_once_say_no_time(files: dict[str, bytes]) -> None:
    """Whoever holds the file can put them there; the signature stays what it was."""
    png = files["image/png"]
    with serving(PLAIN) as url:
        made = stamped_by(url)[0]
        ours, other = (c2pa.sign(png, "image/png", DEFINITION, made) for _ in "ab")
    manifest = jumbf.parse(ours.manifest)
    own, strange = token_of(manifest), token_of(jumbf.parse(other.manifest))
    protected, raw = countersign.parts(manifest.signature)
    for tokens in ([strange], [own, strange], [strange, own], [own]):
        values = {"sigTst2": {"tstTokens": [{"val": token} for token in tokens]}}
        cose = cbor2.dumps(cbor2.CBORTag(18, [protected, values, None, raw]))
        found = c2pa.read(
            *(ours.data, "image/png"),
            anchors=ACME.root_pem,
            tsa_anchors=TSA.root_pem,
            manifest=manifest.store(manifest.claim_bytes, cose),
        )
        assert found.state == "trusted"
        assert (found.timestamp == "trusted") == (tokens == [own])
        assert (found.signed_at is None) == (tokens != [own])


@pytest.mark.parametrize("media_type", ["image/png", "video/mp4", "text/plain"])
def test_anchors_for_time_stamps_vouch_for_no_signer(
    files: dict[str, bytes], media_type: str
) -> None:
    """The native library says trusted here: it does not ask what an anchor is for."""
    trust: c2pa.Trust = {"tsa_anchors": ACME.root_pem + TSA.root_pem}
    with serving(PLAIN) as url:
        made, _ = stamped_by(url)
        if media_type == "text/plain":
            found = text.read(sign_text("text wrapper", b"words", made).data, **trust)
        else:
            asset = c2pa.sign(files[media_type], media_type, DEFINITION, made)
            found = c2pa.read(asset.data, media_type, **trust)

    assert (found.state, found.timestamp) == ("valid", "trusted")
    assert found.codes == ("signingCredential.untrusted",)


@pytest.mark.parametrize("issuer", [ACME, TSA])
def test_who_may_sign_claims_may_not_stamp_them(
    files: dict[str, bytes], issuer: Authority
) -> None:
    """Whoever got hold of a signer's key could choose the time otherwise."""
    with serving(PLAIN) as url:
        made = stamped_by(url)[0]
        asset = c2pa.sign(
            files["image/png"], "image/png", DEFINITION, made, timestamp="deferred"
        )
    manifest = jumbf.parse(asset.manifest)
    message = countersign.message(manifest.signature)
    forger = PlainTsa(issuer, purposes=chain.PURPOSES, critical=False)
    query = timestamp.request(timestamp.imprint(message), 5)
    token = timestamp.answer(forger.answer(query))
    cose = countersign.attach(manifest.signature, token)
    found = c2pa.read(
        *(asset.data, "image/png"),
        anchors=ACME.root_pem,
        tsa_anchors=TSA.root_pem,
        manifest=manifest.store(manifest.claim_bytes, cose),
    )
    assert (found.state, found.timestamp) == ("invalid", "untrusted")
    assert found.signed_at is None


def token_room(url: str) -> int:
    return len(stamped_by(url)[1].stamper().stamp(b"x").token)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("more", [-200, -1, 1, 4])
def test_a_stamp_of_any_length_finds_its_room(name: str, more: int) -> None:
    """Shorter than the room by a byte or two, or longer: then it is asked for again."""
    asked = []

    def counted(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append(query)
        PLAIN(query, handler)

    with serving(counted) as url:
        made, _ = stamped_by(url)
        made.stamps = Stamps((url,), TSA.root_pem, room=token_room(url) + more)
        asset = sign_text(name, TEXTS[name][2], made)
    assert read_text(asset, name).timestamp == "trusted"
    assert len(asked) <= 1 + 3


def test_an_authority_whose_stamps_grow_is_given_up() -> None:
    growing = PlainTsa(TSA)
    pool = [TSA.certificate]

    def longer(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        pool.append(TSA.certificate)
        growing.more = pool * 3
        growing(query, handler)

    with serving(longer) as url:
        made, _ = stamped_by(url)
        made.stamps = Stamps((url,), TSA.root_pem, room=1)
        with pytest.raises(SigningError, match="longer than the one before"):
            sign_text("text source code", b"x = 1\n", made)


def test_one_root_may_vouch_for_both(files: dict[str, bytes]) -> None:
    with serving(PlainTsa(ACME)) as url:
        made, _ = stamped_by(url)
        made.stamps = Stamps((url,), ACME.root_pem)
        asset = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
    for tsa_anchors in (b"", ACME.root_pem):
        found = read(asset.data, "image/png", tsa_anchors=tsa_anchors)
        assert (found.state, found.timestamp) == ("trusted", "trusted")


def test_a_stamp_outlives_the_certificate_only_of_a_trusted_authority(
    files: dict[str, bytes],
) -> None:
    with serving(PLAIN) as url:
        made = stamped_by(url, life=SHORT)[0]
        asset = c2pa.sign(files["image/jpeg"], "image/jpeg", DEFINITION, made)
    wait_for_the_end_of(made)
    known = read(asset.data, "image/jpeg")
    unknown = read(asset.data, "image/jpeg", tsa_anchors=b"")

    assert (known.state, known.codes) == ("trusted", ())
    assert unknown.state == "invalid"
    assert "signingCredential.expired" in unknown.codes


def test_what_waited_is_stamped_before_the_certificate_ends(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """The digest in time; the file whenever it is at hand, without a network."""
    with serving(PLAIN) as url:
        made, authority = stamped_by(url, when="deferred", folder=tmp_path, life=SHORT)
        asset = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
        assert restamp.due(authority).stamped == (asset.manifest_id,)
    wait_for_the_end_of(made)
    assert read(asset.data, "image/png").state == "invalid"

    stamped = restamp.stamp(asset.data, "image/png", authority, anchors=ACME.root_pem)
    assert read(stamped.data, "image/png").state == "trusted"


def test_a_token_that_is_not_over_this_signature_is_not_used(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with serving(PLAIN) as url:
        made, authority = stamped_by(url, when="deferred", folder=tmp_path, seconds=0.3)
        one, two = (
            c2pa.sign(files["image/png"], "image/png", DEFINITION, made) for _ in "ab"
        )
        restamp.due(authority)
    tokens = {
        p.name: p.read_bytes() for p in (tmp_path / stamps.WAITING).glob("*.token")
    }
    assert len(tokens) == 2
    first, second = tokens
    (tmp_path / stamps.WAITING / first).write_bytes(tokens[second])
    (tmp_path / stamps.WAITING / second).write_bytes(tokens[first])

    for asset in (one, two):
        with pytest.raises(Unavailable):  # it asks anew, and nobody is there
            restamp.stamp(asset.data, "image/png", authority)


def slow(query: bytes, handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1)


def refusing(query: bytes, handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(503)


def lying() -> PlainTsa:
    tsa = PlainTsa(TSA)
    tsa.digest = bytes(32)  # about something else
    return tsa


@pytest.mark.parametrize(
    ("server", "expected", "words"),
    [
        (slow, Slow, "too slow"),
        (refusing, Unavailable, "cannot be reached"),
        (lying(), Untrustworthy, "the digests differ"),
        (PlainTsa(ACME), Untrustworthy, "leads to none"),
    ],
)
def test_nothing_is_signed_without_the_stamp_that_was_wanted(
    files: dict[str, bytes], server: object, expected: type[Exception], words: str
) -> None:
    with serving(server) as url:  # type: ignore[arg-type]
        made, _ = stamped_by(url, seconds=0.3)
        with pytest.raises(expected, match=words):
            c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
        with pytest.raises(TimestampError, match=words):
            sign_text("text wrapper", b"words", made)


def test_an_authority_that_is_down_is_asked_again_and_then_told() -> None:
    _made, authority = stamped_by(NOBODY, seconds=1)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="cannot be reached"):
        authority.stamper().stamp(b"x")
    assert 0.4 < time.monotonic() - started < 1.5


def test_with_an_authority_that_is_down_signing_can_be_deferred(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    made, authority = stamped_by(NOBODY, when="deferred", folder=tmp_path, seconds=0.3)
    asset = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)

    assert asset.timestamp == "deferred"
    assert read(asset.data, "image/png").state == "trusted"
    kept = authority.waiting()
    assert kept is not None
    assert kept.waiting() == [asset.manifest_id]
    done = restamp.due(authority)
    assert (done.stamped, done.waiting) == ((), 1)
    assert isinstance(done.failure, Unavailable)


def test_without_an_authority_now_is_refused_and_deferred_leaves_room(
    files: dict[str, bytes], credential: Credential
) -> None:
    png = files["image/png"]
    with pytest.raises(SigningError, match="no time-stamp authority is known"):
        c2pa.sign(png, "image/png", DEFINITION, credential, timestamp="now")
    later = c2pa.sign(png, "image/png", DEFINITION, credential, timestamp="deferred")
    never = c2pa.sign(png, "image/png", DEFINITION, credential)

    assert len(later.data) - len(never.data) > 8000
    with serving(PLAIN) as url:
        authority = Stamps((url,), TSA.root_pem)
        stamped = restamp.stamp(later.data, "image/png", authority)
        with pytest.raises(SigningError, match="does not fit"):
            restamp.stamp(never.data, "image/png", authority)
        with pytest.raises(SigningError, match="stamped already"):
            restamp.stamp(stamped.data, "image/png", authority)
        with pytest.raises(SigningError, match="found no manifest"):
            restamp.stamp(png, "image/png", authority)


def test_a_changed_file_is_not_stamped(files: dict[str, bytes]) -> None:
    with serving(PLAIN) as url:
        made, authority = stamped_by(url, when="deferred")
        asset = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
        changed = bytearray(asset.data)
        changed[-20] ^= 1
        with pytest.raises(SigningError, match="expected a sound manifest"):
            restamp.stamp(bytes(changed), "image/png", authority)


def test_settings_are_kept_beside_the_credential(tmp_path: Path) -> None:
    made = Credential.create_dev(tmp_path / "c", "Acme")
    assert made.stamps is None
    Stamps.save(
        *(tmp_path / "c", [NOBODY], TSA.root_pem), when="deferred", room=4000, seconds=9
    )
    found = Credential.load(tmp_path / "c").stamps

    assert found is not None
    assert (found.urls, found.when, found.room) == ((NOBODY,), "deferred", 4000)
    assert found.anchors == stamps.anchors(tmp_path / "c") == TSA.root_pem
    assert found.folder == tmp_path / "c" / "stamps"
    assert found.seconds == 9


@pytest.mark.parametrize(
    "content",
    [
        "junk",
        "schema = 'x'",
        GOOD.replace("http://a", ""),
        GOOD.replace("http://a", "a"),
        GOOD.replace("now", "x"),
        GOOD.replace("4000", "0"),
        GOOD.replace("stamps/1", "stamps/2"),
    ],
)
def test_damaged_settings_are_typed_and_never_no_stamp(
    tmp_path: Path, content: str
) -> None:
    Credential.create_dev(tmp_path / "c", "Acme")
    Stamps.save(tmp_path / "c", [NOBODY], TSA.root_pem)
    (tmp_path / "c" / "stamps" / "settings.toml").write_text(content)
    with pytest.raises(KeyFileError, match=r"settings\.toml"):
        Credential.load(tmp_path / "c")


def test_a_time_that_there_is_not_is_told(
    files: dict[str, bytes], credential: Credential
) -> None:
    with pytest.raises(SigningError, match="expected one of now, deferred, never"):
        c2pa.sign(
            *(files["image/png"], "image/png", DEFINITION, credential),
            timestamp="soon",  # type: ignore[arg-type]
        )
