"""A credential is checked when it is loaded, and never shows its key."""

import copy
import datetime
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from watermark.errors import KeyFileError, SigningError
from watermark.sign import chain, linter
from watermark.sign.credential import Credential
from watermark.sign.signer import CallbackSigner, FileSigner

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def usage(**wanted: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment "
        "key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{n: wanted.get(n, False) for n in names.split()})


def leaf(
    *,
    start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + DAY,
    ca: bool = False,
    signs: bool | None = True,
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    authority: bool = True,
    organisation: str = "Acme",
    curve: ec.EllipticCurve | None = None,
) -> bytes:
    """A self-signed leaf with one thing wrong."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    builder = (
        x509.CertificateBuilder(x509.Name(parts), x509.Name(parts), key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if signs is not None:
        builder = builder.add_extension(usage(digital_signature=signs), critical=True)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    if authority:
        key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(key_id, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def test_dev_files_have_the_modes_of_secrets(
    credential: Credential, folder: Path
) -> None:
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}

    assert modes == {"key.pem": 0o600, "chain.pem": 0o644, "root.pem": 0o644}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_dev_chain_meets_the_certificate_profile(credential: Credential) -> None:
    first, middle = chain.load(credential.chain_pem)
    assert credential.root_pem is not None
    (root,) = chain.load(credential.root_pem)

    middle.verify_directly_issued_by(root)
    first.verify_directly_issued_by(middle)
    limits = middle.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    key_usage = first.extensions.get_extension_for_class(x509.KeyUsage)
    assert key_usage.critical
    assert key_usage.value == usage(digital_signature=True, content_commitment=True)
    purposes = first.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {p.dotted_string for p in purposes} == {
        "1.3.6.1.4.1.62558.2.1",
        "1.3.6.1.5.5.7.3.36",
        "1.3.6.1.5.5.7.3.4",
    }
    first.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert first.not_valid_after_utc - first.not_valid_before_utc <= 366 * DAY
    assert {a.oid for a in first.subject} == {
        NameOID.COUNTRY_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.COMMON_NAME,
    }


def test_load_gives_what_create_gave(credential: Credential, folder: Path) -> None:
    loaded = Credential.load(folder)

    assert loaded.organisation == credential.organisation == "Acme"
    assert loaded.algorithm == "es256"
    assert loaded.fingerprint == credential.fingerprint
    assert loaded.root_pem == credential.root_pem


def test_a_credential_is_never_overwritten(
    credential: Credential, folder: Path
) -> None:
    before = (folder / "key.pem").read_bytes()

    with pytest.raises(KeyFileError, match="never overwritten"):
        Credential.create_dev(folder, "Acme")
    assert (folder / "key.pem").read_bytes() == before


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Credential.create_dev(tmp_path / "c", "Acme")
    (tmp_path / "c" / "key.pem").chmod(0o644)

    with pytest.raises(KeyFileError, match=r"mode 0644.*chmod 600"):
        Credential.load(tmp_path / "c")


def test_a_passphrase_encrypts_the_key(tmp_path: Path) -> None:
    Credential.create_dev(tmp_path / "c", "Acme", passphrase="correct horse")

    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "c" / "key.pem").read_bytes()
    assert Credential.load(tmp_path / "c", "correct horse").signer.pem is None
    with pytest.raises(KeyFileError, match="give its passphrase"):
        Credential.load(tmp_path / "c")
    with pytest.raises(KeyFileError, match="wrong passphrase"):
        Credential.load(tmp_path / "c", "battery staple")


def test_a_needless_passphrase_is_refused(credential: Credential, folder: Path) -> None:
    with pytest.raises(KeyFileError, match="not encrypted"):
        Credential.load(folder, "x")


@pytest.mark.parametrize("name", ["key.pem", "chain.pem"])
def test_a_missing_or_damaged_file_is_a_typed_error(tmp_path: Path, name: str) -> None:
    Credential.create_dev(tmp_path / "c", "Acme")
    path = tmp_path / "c" / name
    path.write_bytes(b"-----BEGIN NONSENSE-----\n")
    with pytest.raises((KeyFileError, SigningError), match=r"key\.pem|'parse'"):
        Credential.load(tmp_path / "c")

    path.unlink()
    with pytest.raises(KeyFileError, match=name):
        Credential.load(tmp_path / "c")


def test_another_chain_does_not_match_the_key(
    tmp_path: Path, stranger: Credential
) -> None:
    Credential.create_dev(tmp_path / "c", "Acme")
    (tmp_path / "c" / "chain.pem").write_bytes(stranger.chain_pem)

    with pytest.raises(KeyFileError, match="not the key of the first certificate"):
        Credential.load(tmp_path / "c")


def test_without_root_pem_the_root_is_unknown(tmp_path: Path) -> None:
    Credential.create_dev(tmp_path / "c", "Acme")
    (tmp_path / "c" / "root.pem").unlink()

    assert Credential.load(tmp_path / "c").root_pem is None


BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "expired": ("expired", lambda: leaf(start=NOW - 2 * DAY, end=NOW - DAY)),
    "not yet valid": (
        "not-yet-valid",
        lambda: leaf(start=NOW + DAY, end=NOW + 2 * DAY),
    ),
    "a CA as leaf": ("ca-leaf", lambda: leaf(ca=True)),
    "usage without signing": ("key-usage", lambda: leaf(signs=False)),
    "no usage": ("no-key-usage", lambda: leaf(signs=None)),
    "no purpose": ("no-extended-key-usage", lambda: leaf(purpose=None)),
    "for servers": (
        "extended-key-usage",
        lambda: leaf(purpose=ExtendedKeyUsageOID.SERVER_AUTH),
    ),
    "no AKI": ("no-authority-key-identifier", lambda: leaf(authority=False)),
    "no organisation": ("no-organisation", lambda: leaf(organisation="")),
    "a curve C2PA lacks": ("key-algorithm", lambda: leaf(curve=ec.SECP256K1())),
    "unrelated issuer": ("order", lambda: leaf() + leaf()),
    "empty": ("parse", lambda: b""),
    "truncated": ("parse", lambda: leaf()[:-60]),
    "nine certificates": ("parse", lambda: leaf() * 9),
    "very long": ("parse", lambda: b"-" * (1 << 17)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_linter_names_the_check_that_fails(name: str) -> None:
    check, make = BROKEN[name]
    with pytest.raises(SigningError, match=f"certificate check '{check}': "):
        Credential.from_callback(make(), "es256", lambda message: message)


def test_a_reversed_chain_is_named(credential: Credential) -> None:
    pems = [
        c.public_bytes(serialization.Encoding.PEM)
        for c in reversed(chain.load(credential.chain_pem))
    ]
    with pytest.raises(SigningError, match="'reversed'"):
        Credential.from_callback(b"".join(pems), "es256", lambda message: message)


@pytest.mark.parametrize("purpose", chain.PURPOSES)
def test_any_of_the_three_purposes_is_enough(purpose: x509.ObjectIdentifier) -> None:
    linter.check(chain.load(leaf(purpose=purpose)))


@pytest.mark.parametrize("organisation", ["", "  ", "x" * 65, "Acme\nCorp"])
def test_an_organisation_that_fits_no_certificate_is_refused(
    tmp_path: Path, organisation: str
) -> None:
    with pytest.raises(SigningError, match="organisation"):
        Credential.create_dev(tmp_path / "c", organisation)
    assert not (tmp_path / "c").exists()


def test_an_unknown_algorithm_is_refused(credential: Credential) -> None:
    with pytest.raises(SigningError, match="'hs256'"):
        Credential.from_callback(credential.chain_pem, "hs256", lambda m: m)


def test_nothing_shows_or_pickles_the_key(credential: Credential, folder: Path) -> None:
    pem = (folder / "key.pem").read_bytes()
    secret = pem.decode().splitlines()[1]
    file_signer = FileSigner(pem)
    callback_signer = CallbackSigner("es256", lambda m: m)

    things: list[Any] = [credential, file_signer, callback_signer]
    for thing in things:
        assert secret not in repr(thing) + str(thing)
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(thing)
    assert copy.deepcopy(credential) is credential


def test_repr_names_the_signer(credential: Credential) -> None:
    expected = f"Credential('Acme', es256, {credential.fingerprint})"

    assert repr(credential) == expected
    assert len(credential.fingerprint) == 64


def test_every_dev_authority_is_another_one(
    credential: Credential, stranger: Credential
) -> None:
    assert credential.organisation == stranger.organisation
    assert credential.root_pem != stranger.root_pem
    assert credential.fingerprint != stranger.fingerprint
