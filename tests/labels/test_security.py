"""CN-07: SM2 and the security information of a label."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from watermark.errors import KeyFileError, LabelError
from watermark.labels import aigc, security, sm2
from watermark.labels.aigc import Label
from watermark.sign import der
from watermark.sign.credential import Credential

OPENSSL = shutil.which("openssl")
# GB/T 32918.5-2017, annex A: private key, nonce, public key, message, signature.
SECRET = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
NONCE = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
PUBLIC = (
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
MESSAGE = b"message digest"
R = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
S = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"

KEY = sm2.PrivateKey(SECRET)
SIGNER = security.Sm2Signer(KEY)
LABEL = Label("1", "001191110102MAD55U9H0F10002", "0123456789abcdef" * 2)


def test_sm3_of_the_standards_example() -> None:
    """GB/T 32905-2016, A.1."""
    assert sm2.sm3(b"abc").hex() == (
        "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    )


def test_cn_07_the_standards_example_of_a_signature() -> None:
    signature = KEY.sign_with_nonce(MESSAGE, NONCE)
    [point] = sm2.points(KEY.public)

    assert KEY.public.hex() == PUBLIC
    assert signature.hex() == f"3046022100{R}022100{S}"
    assert sm2.verify(point, MESSAGE, signature)
    assert not sm2.verify(point, MESSAGE + b".", signature)
    assert not sm2.verify(point, MESSAGE, signature, user_id=b"another")


def test_numbers_outside_their_range_never_verify() -> None:
    key = sm2.PrivateKey.generate()
    [public] = sm2.points(key.public)
    pair = der.element(key.sign(b"x")).children()
    r, s = map(der.number, pair)

    def good(*numbers: int, public: sm2.Point = public, more: bytes = b"") -> bool:
        signature = der.encode(der.SEQUENCE, *map(der.integer, numbers))
        return sm2.verify(public, b"x", signature + more)

    assert good(r, s)
    for numbers in ((r + sm2.N, s), (r, s + sm2.N), (0, s), (r, 0), (r, sm2.N - r)):
        assert not good(*numbers)  # the last: r + s is 0
    assert not good(r)
    assert not good(r, s, s)
    assert not good(r, s, more=b"\0")
    for point in ((0, 0), (public[0], public[1] + 1), (public[0], public[1] + sm2.P)):
        assert not good(r, s, public=point)
    assert sm2.points(b"\x04" + bytes(64)) == sm2.points(b"\0") == []


def test_who_signs_is_part_of_what_is_signed() -> None:
    key = sm2.PrivateKey.generate()
    [public] = sm2.points(key.public)
    signature = key.sign(b"x", user_id=b"ALICE123@YAHOO.COM")

    assert sm2.verify(public, b"x", signature, user_id=b"ALICE123@YAHOO.COM")
    assert not sm2.verify(public, b"x", signature)


def test_two_signatures_have_two_nonces() -> None:
    [point] = sm2.points(KEY.public)
    first, second = KEY.sign(MESSAGE), KEY.sign(MESSAGE)

    assert first != second
    assert sm2.verify(point, MESSAGE, first)
    assert sm2.verify(point, MESSAGE, second)


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl")
def test_cn_07_openssl_agrees(tmp_path: Path) -> None:
    assert OPENSSL is not None
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    key = sm2.PrivateKey.create(ours)
    (tmp_path / "m").write_bytes(MESSAGE)
    options = ["-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678"]

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(OPENSSL), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)

    (tmp_path / "s").write_bytes(key.sign(MESSAGE))
    checked = ["pkeyutl", "-verify", "-in", "m", "-sigfile", "s", *options]
    assert run(*checked, "-inkey", "ours.pem").returncode == 0
    (tmp_path / "m").write_bytes(MESSAGE + b".")
    assert run(*checked, "-inkey", "ours.pem").returncode != 0

    (tmp_path / "m").write_bytes(MESSAGE)
    run("genpkey", "-algorithm", "SM2", "-out", "theirs.pem")
    theirs.chmod(0o600)
    run("pkeyutl", "-sign", "-in", "m", "-out", "t", "-inkey", "theirs.pem", *options)
    [point] = sm2.points(sm2.PrivateKey.load(theirs).public)
    assert sm2.verify(point, MESSAGE, (tmp_path / "t").read_bytes())


def test_keys_are_kept_and_never_shown(tmp_path: Path) -> None:
    made = sm2.PrivateKey.create(tmp_path / "sm2.pem")

    assert sm2.PrivateKey.load(tmp_path / "sm2.pem").public == made.public
    assert repr(made) == "PrivateKey(SM2)"
    assert (tmp_path / "sm2.pem").stat().st_mode & 0o077 == 0
    with pytest.raises(KeyFileError, match="cannot be written"):
        sm2.PrivateKey.create(tmp_path / "sm2.pem")


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k").write_bytes(content)
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(KeyFileError, match="no SM2 key"):
        sm2.PrivateKey.load(tmp_path / "k")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    sm2.PrivateKey.create(tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(KeyFileError):
        sm2.PrivateKey.load(tmp_path / "k")


# --- in a label -----------------------------------------------------------------------


def test_cn_07_the_message_is_the_producers_three_values() -> None:
    said = Label("1", "acme", "p1", "", "platform", "q1")

    assert security.message(said) == (
        b'"Label":"1","ContentProducer":"acme","ProduceID":"p1"'
    )


def test_cn_07_sign_and_verify_through_the_written_label() -> None:
    read = aigc.parse(security.signed(LABEL, SIGNER).encode())
    assert read.label is not None
    found = security.verify(read.label)
    pinned = security.verify(read.label, [KEY.public])

    assert read.deviations == ()
    assert (found.state, found.gm, found.key) == ("intact", True, KEY.public.hex())
    assert pinned.state == "authentic"
    assert security.verify(read.label, [b"\x04" + bytes(64)]).state == "intact"


@pytest.mark.parametrize(
    "change", [{"label": "2"}, {"content_producer": "acme"}, {"produce_id": "1"}]
)
def test_cn_07_a_changed_value_of_the_producers_breaks_it(
    change: dict[str, str],
) -> None:
    changed = replace(security.signed(LABEL, SIGNER), **change)

    assert security.verify(changed, [KEY.public]).state == "broken"


def test_cn_07_a_platforms_values_do_not() -> None:
    signed = security.signed(LABEL, SIGNER)
    passed = aigc.propagated(aigc.parse(signed.encode()), "platform", "q1")
    found = aigc.parse(passed).label
    assert found is not None

    assert found.content_propagator == "platform"
    assert security.verify(found, [KEY.public]).state == "authentic"


def rewritten(**change: Any) -> Label:
    """A signed label whose security information says something else."""
    signed = security.signed(LABEL, SIGNER)
    data = json.loads(signed.reserved_code1)
    digest, key = data["SecurityData"]["PubSD"]
    digest |= change.get("digest", {})
    key |= change.get("key", {})
    text = json.dumps(data, separators=(",", ":"))
    return replace(signed, reserved_code1=text)


def test_forms_of_other_producers_are_read() -> None:
    """Their spelling, their double hash, and their ways to write a key."""
    x = PUBLIC[2:66]
    odd = "02" if int(PUBLIC[-1], 16) % 2 == 0 else "03"
    spki = "3059301306072a8648ce3d020106082a811ccf5501822d034200" + PUBLIC
    twice = KEY.sign(sm2.sm3(security.message(LABEL))).hex()
    forms = [
        rewritten(digest={"TBSData": {"Type": "LabelMataData"}}),
        rewritten(digest={"Signature": twice}),
        *(
            rewritten(key={"KeyValue": value})
            for value in (PUBLIC[2:], odd + x, x, spki)
        ),
    ]

    assert [security.verify(f, [KEY.public]).state for f in forms] == ["authentic"] * 6


def test_half_a_point_with_an_even_y_is_read_as_one_producer_writes_it() -> None:
    key = next(k for d in range(1, 20) if (k := sm2.PrivateKey(d)).public[-1] % 2 == 0)
    label = security.signed(LABEL, security.Sm2Signer(key))
    text = label.reserved_code1.replace(key.public.hex(), "00" + key.public[1:33].hex())

    assert security.verify(replace(label, reserved_code1=text)).state == "intact"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "none"),
        ("bW9yZSBvcGFxdWUgdGhhbiBub3Q=", "opaque"),
        ("[]", "opaque"),
        ('{"SecurityData":{"PubSD":[1,2]}}', "opaque"),
        ('{"SecurityData":{"PubSD":[{"Type":"DS"}]}}', "opaque"),
        ('{"SecurityData":{"PubSD":{"Type":"DS"}}}', "opaque"),
        ('{"SecurityData":' + "[" * 30_000, "opaque"),
    ],
)
def test_what_is_not_of_the_guide_never_raises(text: str, state: str) -> None:
    assert security.verify(replace(LABEL, reserved_code1=text)).state == state


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"digest": {"AlgID": "1.2.3"}}, "unsupported"),
        ({"key": {"KeyValue": "04" + "00" * 64}}, "unsupported"),
        ({"key": {"KeyValue": "3000"}}, "unsupported"),
        ({"digest": {"Signature": ""}}, "broken"),
        ({"digest": {"Signature": "3006020100020100"}}, "broken"),
        ({"digest": {"Signature": "zz"}}, "opaque"),
    ],
)
def test_hostile_security_information_is_told(
    change: dict[str, Any], state: str
) -> None:
    assert security.verify(rewritten(**change)).state == state


@pytest.mark.parametrize("algorithm", ["es256", "ed25519"])
def test_without_an_sm2_key_the_manifests_key_signs(
    tmp_path: Path, algorithm: str
) -> None:
    credential = Credential.create_dev(tmp_path / "c", "Acme", algorithm=algorithm)
    signer = security.CredentialSigner(credential)
    signed = security.signed(LABEL, signer)
    found = security.verify(signed, [signer.public])

    assert (found.state, found.gm) == ("authentic", False)
    assert security.verify(replace(signed, label="3")).state == "broken"
    signed.encode()  # it fits into a label


def test_an_rsa_key_is_refused_for_labels(tmp_path: Path) -> None:
    credential = Credential.create_dev(tmp_path / "c", "Acme", algorithm="ps256")
    with pytest.raises(LabelError, match="ps256"):
        security.CredentialSigner(credential)
