"""Every algorithm, and every place where a key can be, up to a trusted manifest."""

import os
import pickle
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.sign.servers import OPENSSL, needs_openssl

from watermark import files as files_module
from watermark.errors import KeyFileError, SigningError
from watermark.sign import authority, c2pa, chain, linter, rotation
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential
from watermark.sign.shortlived import ShortLived
from watermark.sign.signer import (
    ALGORITHMS,
    CallbackSigner,
    FileSigner,
    PublicKey,
    generate,
    private_pem,
    verifies,
)

ACME = Authority.create("Acme")
RSA = rsa.generate_private_key(65537, 2048)  # for all three: larger ones take seconds
CLAIM = {"claim_generator_info": [{"name": "test", "version": "1"}]}
CREATED = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/"
    "trainedAlgorithmicMedia",
}
DEFINITION: dict[str, Any] = {
    **CLAIM,
    "assertions": [
        {"label": "c2pa.actions.v2", "created": True, "data": {"actions": [CREATED]}}
    ],
}


def credential(algorithm: str, passphrase: str | None = None) -> Credential:
    key = RSA if algorithm.startswith("ps") else generate(algorithm)
    chain_pem = ACME.chain_pem(ACME.certify(key.public_key()))
    return Credential.from_pem(
        chain_pem,
        private_pem(key, passphrase),
        passphrase,
        algorithm=algorithm,
        root_pem=ACME.root_pem,
    )


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_and_is_trusted(
    algorithm: str, passphrase: str | None, files: dict[str, bytes]
) -> None:
    made = credential(algorithm, passphrase)
    signed = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)

    found = c2pa.read(signed.data, "image/png", anchors=ACME.root_pem)
    assert (made.algorithm, found.state, found.signer) == (algorithm, "trusted", "Acme")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_verifies_and_no_other_one_does(algorithm: str) -> None:
    made = credential(algorithm)
    key = chain.load(made.chain_pem)[0].public_key()
    signature = made.signer.sign(b"message")

    assert verifies(key, algorithm, signature, b"message")
    assert not verifies(key, algorithm, signature, b"massage")
    assert not verifies(key, algorithm, signature[:-1], b"message")
    assert not verifies(key, algorithm, b"", b"message")
    assert not verifies(key, algorithm, None, b"message")


@pytest.mark.parametrize("algorithm", ["es384", "es512", "ed25519"])
def test_a_development_credential_of_every_curve(
    algorithm: str, tmp_path: Path
) -> None:
    made = Credential.create_dev(tmp_path / "c", "Acme", algorithm=algorithm)

    assert Credential.load(tmp_path / "c").algorithm == made.algorithm == algorithm
    assert linter.lint(made.chain_pem, anchors=made.root_pem) == []


def test_the_size_of_an_rsa_key_chooses_the_hash() -> None:
    large = rsa.generate_private_key(65537, 3072)

    assert FileSigner(private_pem(RSA)).algorithm == "ps256"
    assert FileSigner(private_pem(large)).algorithm == "ps384"


def test_an_algorithm_that_is_not_the_keys_is_refused() -> None:
    made = credential("es256")
    with pytest.raises(SigningError, match=r"'es384' found, expected es256"):
        Credential.from_callback(made.chain_pem, "es384", made.signer.sign)
    with pytest.raises(SigningError, match=r"'es256' found, expected ps256 or ps384"):
        FileSigner(private_pem(RSA), algorithm="es256")
    with pytest.raises(SigningError, match="'rs256'"):
        generate("rs256")


@pytest.mark.parametrize("form", ["EC", "RSA"])
def test_an_old_key_format_is_refused_with_the_line_that_converts_it(
    form: str,
) -> None:
    pem = f"-----BEGIN {form} PRIVATE KEY-----\nAA==\n".encode()
    with pytest.raises(KeyFileError, match=rf"'{form} PRIVATE KEY'.*openssl pkcs8"):
        FileSigner(pem)


# Callbacks


class KmsDown(Exception):
    """What a KMS client raises."""


def test_the_exception_of_a_callback_reaches_the_caller_itself(
    files: dict[str, bytes],
) -> None:
    raised = KmsDown("throttled")

    def sign(message: bytes) -> bytes:
        raise raised

    made = Credential.from_callback(credential("es256").chain_pem, "es256", sign)
    with pytest.raises(KmsDown) as caught:
        c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
    assert caught.value is raised
    with pytest.raises(KmsDown):
        made.prove()


def test_a_callback_with_another_key_is_found_by_proving_it() -> None:
    one, other = credential("es256"), credential("es256")
    wrong = Credential.from_callback(one.chain_pem, "es256", other.signer.sign)

    Credential.from_callback(one.chain_pem, "es256", one.signer.sign).prove()
    with pytest.raises(KeyFileError, match="does not verify with the key"):
        wrong.prove()


def test_threads_can_share_a_credential(files: dict[str, bytes]) -> None:
    made = credential("ed25519")
    states: list[str] = []

    def work() -> None:
        for _ in range(3):
            signed = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)
            read = c2pa.read(signed.data, "image/png", anchors=ACME.root_pem)
            states.append(read.state)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["trusted"] * 24


# The authority


def test_a_kept_authority_issues_more_leaves(tmp_path: Path) -> None:
    ACME.save(tmp_path / "a", passphrase="pass")
    again = Authority.load(tmp_path / "a", "pass")
    leaf = again.certify(generate("es256").public_key())

    assert again.organisation == "Acme"
    assert chain.path(leaf, [again.certificate], [ACME.root]) is not None
    assert stat.S_IMODE((tmp_path / "a" / authority.KEY).stat().st_mode) == 0o600
    with pytest.raises(KeyFileError, match="wrong passphrase"):
        Authority.load(tmp_path / "a", "no")
    with pytest.raises(KeyFileError, match="exists"):
        ACME.save(tmp_path / "a")


@needs_openssl
@pytest.mark.parametrize("algorithm", ["es256", "ed25519"])
def test_openssl_verifies_the_chain(algorithm: str, tmp_path: Path) -> None:
    assert OPENSSL is not None
    Credential.create_dev(tmp_path, "Acme", algorithm=algorithm)
    line = "verify -x509_strict -CAfile root.pem -untrusted chain.pem chain.pem"
    subprocess.run(
        [OPENSSL, *line.split()], check=True, capture_output=True, cwd=tmp_path
    )


def test_an_authority_shows_and_pickles_no_key() -> None:
    assert "PrivateKey" not in repr(ACME)
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(ACME)


@pytest.mark.parametrize("name", [authority.KEY, authority.CERTIFICATE, authority.ROOT])
def test_a_damaged_authority_is_a_typed_error(name: str, tmp_path: Path) -> None:
    ACME.save(tmp_path / "a")
    (tmp_path / "a" / name).write_bytes(b"junk")
    with pytest.raises(KeyFileError, match="the authority in"):
        Authority.load(tmp_path / "a")


# Short-lived leaves


def test_a_short_lived_leaf_is_renewed_at_half_its_life() -> None:
    leaves = ShortLived.under(ACME, timedelta(hours=2))
    now = datetime.now(UTC)
    first = leaves.current(now)

    assert leaves.current(now + timedelta(minutes=59)) is first
    second = leaves.current(now + timedelta(minutes=61))
    assert second.fingerprint != first.fingerprint
    assert first.algorithm == "ed25519"
    leaf = chain.load(first.chain_pem)[0]
    assert leaf.not_valid_after_utc - now <= timedelta(hours=2, seconds=1)


def test_short_lived_leaves_are_trusted(files: dict[str, bytes]) -> None:
    made = ShortLived.under(ACME, timedelta(minutes=5)).current()
    signed = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)

    found = c2pa.read(signed.data, "image/png", anchors=ACME.root_pem)
    assert found.state == "trusted"


def test_while_the_authority_is_down_the_old_leaf_signs_until_it_ends() -> None:
    down = False

    def issue(key: PublicKey) -> bytes:
        if down:
            raise KmsDown("the authority is down")
        return ACME.chain_pem(ACME.certify(key, life=timedelta(hours=2)))

    leaves = ShortLived(issue)
    now = datetime.now(UTC)
    first = leaves.current(now)
    down = True

    assert leaves.current(now + timedelta(minutes=90)) is first
    with pytest.raises(KmsDown):
        leaves.current(now + timedelta(hours=3))


def test_a_certificate_for_another_key_is_refused() -> None:
    other = generate("ed25519").public_key()
    leaves = ShortLived(lambda key: ACME.chain_pem(ACME.certify(other)))

    with pytest.raises(SigningError, match="for another key"):
        leaves.current()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_short_lived_leaves_do_not_survive_a_fork() -> None:
    leaves = ShortLived.under(ACME, timedelta(hours=2))
    mine = leaves.current().fingerprint
    leaves._process = -1  # as it is in a child

    assert leaves.current().fingerprint != mine


# Rotation


@pytest.fixture
def place(tmp_path: Path) -> Path:
    Credential.create_dev(tmp_path / "home", "Acme")
    return tmp_path / "home"


def make(folder: Path, passphrase: str | None = None) -> Path:
    Credential.create_dev(folder, "Acme", algorithm="ed25519", passphrase=passphrase)
    return folder


def test_after_a_rotation_the_new_key_signs_and_the_old_root_is_believed(
    place: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    old = Credential.load(place)
    before = c2pa.sign(files["image/png"], "image/png", DEFINITION, old)

    new = rotation.rotate(place, make(tmp_path / "new"))
    after = c2pa.sign(files["image/png"], "image/png", DEFINITION, new)

    assert Credential.load(place).fingerprint == new.fingerprint != old.fingerprint
    anchors = rotation.anchors(place)
    for signed in (before, after):
        assert c2pa.read(signed.data, "image/png", anchors=anchors).state == "trusted"
    states = {e.name: e.state for e in rotation.entries(place)}
    assert states == {
        old.fingerprint[:16]: "retired",
        new.fingerprint[:16]: "active",
    }


def test_a_rotation_deletes_the_old_key_and_keeps_modes(
    place: Path, tmp_path: Path
) -> None:
    rotation.rotate(place, make(tmp_path / "new", "pass"), passphrase="pass")

    keys = list(place.rglob("key.pem"))
    assert [k.parent for k in keys] == [
        e.folder for e in rotation.entries(place) if e.state == "active"
    ]
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    assert not (place / "chain.pem").exists()


def test_a_bad_new_credential_leaves_the_old_one(place: Path, tmp_path: Path) -> None:
    before = Credential.load(place).fingerprint
    bad = make(tmp_path / "bad")
    (bad / "chain.pem").write_bytes((make(tmp_path / "x") / "chain.pem").read_bytes())

    with pytest.raises(KeyFileError, match="not the key of the first certificate"):
        rotation.rotate(place, bad)
    assert Credential.load(place).fingerprint == before


def test_an_interrupted_rotation_leaves_the_old_one(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Credential.load(place).fingerprint
    new = make(tmp_path / "new")
    real = files_module.write_atomically

    def fails(path: Path, *more: Any, **options: Any) -> None:
        if path.name == "current" and len(list(place.glob("*/chain.pem"))) == 2:
            raise OSError("power cut")
        real(path, *more, **options)

    monkeypatch.setattr(rotation, "write_atomically", fails)
    with pytest.raises(KeyFileError, match="power cut"):
        rotation.rotate(place, new)
    monkeypatch.undo()

    assert Credential.load(place).fingerprint == before
    assert rotation.rotate(place, new).fingerprint != before


def test_a_first_rotation_that_was_interrupted_while_it_tidied_up(
    place: Path, tmp_path: Path
) -> None:
    """`current` names the copy, and of the originals only the chain is left."""
    before = Credential.load(place)
    own = place / before.fingerprint[:16]
    rotation._copy(place, own)
    (place / "current").write_text(own.name)
    (place / "key.pem").unlink()
    assert Credential.load(place).fingerprint == before.fingerprint

    second = rotation.rotate(place, make(tmp_path / "new"))
    assert Credential.load(place).fingerprint == second.fingerprint
    states = sorted(e.state for e in rotation.entries(place))
    assert states == ["active", "retired"]


def test_a_rotation_to_what_signs_already_changes_nothing(
    place: Path, tmp_path: Path
) -> None:
    new = make(tmp_path / "new")
    first = rotation.rotate(place, new)

    assert rotation.rotate(place, new).fingerprint == first.fingerprint
    assert (place / first.fingerprint[:16] / "key.pem").exists()


def test_a_revoked_credential_is_no_longer_believed(
    place: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    old = Credential.load(place)
    signed = c2pa.sign(files["image/png"], "image/png", DEFINITION, old)
    with pytest.raises(KeyFileError, match="rotate to another credential first"):
        rotation.revoke(place, old.fingerprint[:16])
    second = rotation.rotate(place, make(tmp_path / "new"))

    assert rotation.revoke(place, old.fingerprint[:16]).state == "revoked"
    anchors = rotation.anchors(place)
    assert anchors == (place / "root.pem").read_bytes() == second.root_pem
    assert c2pa.read(signed.data, "image/png", anchors=anchors).state == "valid"
    with pytest.raises(KeyFileError, match="no credential"):
        rotation.revoke(place, "0" * 16)
    assert Credential.load(place).fingerprint == second.fingerprint


def test_a_revocation_that_would_change_nothing_is_refused(
    place: Path, tmp_path: Path
) -> None:
    """Both credentials have one root: believing it, one believes both."""
    for name in ("one", "two"):
        Credential.create_dev(tmp_path / name, "Acme", under=ACME)
    first = rotation.rotate(place, tmp_path / "one").fingerprint[:16]
    rotation.rotate(place, tmp_path / "two")

    with pytest.raises(KeyFileError, match="has the same root"):
        rotation.revoke(place, first)


def test_a_revoked_root_does_not_come_back(place: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Credential.create_dev(tmp_path / name, "Acme", under=ACME)
    first = rotation.rotate(place, tmp_path / "one").fingerprint[:16]
    rotation.rotate(place, make(tmp_path / "other"))
    rotation.revoke(place, first)

    for name in ("one", "two"):
        with pytest.raises(KeyFileError, match="was revoked here"):
            rotation.rotate(place, tmp_path / name)
    assert ACME.root_pem not in rotation.anchors(place)


def test_a_damaged_pointer_is_a_typed_error(place: Path) -> None:
    (place / "current").write_text("../../elsewhere")
    with pytest.raises(KeyFileError, match="is damaged"):
        Credential.load(place)


def test_nothing_shows_a_short_lived_key() -> None:
    leaves = ShortLived.under(ACME, timedelta(hours=2))
    leaves.current()

    assert repr(leaves).startswith("ShortLived(ed25519, until 2")
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(leaves)
    assert repr(CallbackSigner("es256", bytes)) == "CallbackSigner(es256)"
