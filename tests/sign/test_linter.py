"""Every cause of "the certificate is invalid" has a code and says what to do."""

import base64
import datetime
import warnings
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ObjectIdentifier,
)
from tests.sign.pki import (
    DAY,
    MIDDLE,
    MIDDLE_CERT,
    NOW,
    ROOT,
    ROOT_CERT,
    Key,
    Plan,
    authority,
    chain_of,
    edited,
    native_refusal,
    p256,
    pkcs8,
)

from watermark.errors import SigningError
from watermark.sign import chain, der, linter
from watermark.sign.linter import lint

EMAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
ODD = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
SHORT_RSA = rsa.generate_private_key(65537, 1024)
GOOD_RSA = rsa.generate_private_key(65537, 2048)


def codes(chain_pem: bytes, level: str = "error", **more: object) -> list[str]:
    found = lint(chain_pem, **more)  # type: ignore[arg-type]
    return [f.code for f in found if f.level == level]


def twice(fields: list[bytes]) -> list[bytes]:
    """The ExtendedKeyUsage stands there twice."""
    rows = der.element(der.element(fields[-1]).content).children()
    doubled = der.encode(der.SEQUENCE, *[e.encoded for e in [*rows, rows[2]]])
    return [*fields[:-1], der.encode(0xA3, doubled)]


def sha1(fields: list[bytes]) -> list[bytes]:
    weak = der.encode(der.SEQUENCE, der.oid("1.2.840.10045.4.1"))
    return [*fields[:2], weak, *fields[3:]]


def unreadable(fields: list[bytes]) -> list[bytes]:
    """A KeyUsage that is no BIT STRING."""
    broken = der.encode(
        der.SEQUENCE, der.oid("2.5.29.15"), der.encode(der.OCTET_STRING, b"\x05\x00")
    )
    return [*fields[:-1], der.encode(0xA3, der.encode(der.SEQUENCE, broken))]


LEAF_FAULTS: dict[str, tuple[str, Callable[[], Plan]]] = {
    "expired": ("expired", lambda: Plan(end=NOW - DAY / 2)),
    "not yet valid": ("not-yet-valid", lambda: Plan(start=NOW + DAY)),
    "a CA as leaf": ("ca-leaf", lambda: Plan(ca=True)),
    "no KeyUsage": ("no-key-usage", lambda: Plan(usages=None)),
    "KeyUsage without signing": (
        "key-usage",
        lambda: Plan(usages=("key_encipherment",)),
    ),
    "KeyUsage of a CA": (
        "key-usage-of-a-ca",
        lambda: Plan(usages=("digital_signature", "key_cert_sign")),
    ),
    "no EKU": ("no-extended-key-usage", lambda: Plan(purposes=None)),
    "EKU for servers": (
        "extended-key-usage",
        lambda: Plan(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    ),
    "EKU for code": (
        "extended-key-usage",
        lambda: Plan(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)),
    ),
    "EKU for anything": (
        "any-extended-key-usage",
        lambda: Plan(purposes=(EMAIL, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)),
    ),
    "EKU mixed with time-stamping": (
        "mixed-extended-key-usage",
        lambda: Plan(purposes=(EMAIL, ExtendedKeyUsageOID.TIME_STAMPING)),
    ),
    "no AKI": ("no-authority-key-identifier", lambda: Plan(aki=False)),
    "an unknown critical extension": (
        "unknown-critical-extension",
        lambda: Plan(more=((ODD, True),)),
    ),
    "RSA of 1024 bits": ("key-size", lambda: Plan(key=SHORT_RSA)),
    "a curve C2PA lacks": (
        "key-algorithm",
        lambda: Plan(key=ec.generate_private_key(ec.SECP256K1())),
    ),
}


@pytest.mark.parametrize("fault", LEAF_FAULTS)
def test_a_fault_of_the_leaf_is_named_and_the_library_refuses_it(fault: str) -> None:
    code, make = LEAF_FAULTS[fault]
    plan = make()
    pem = chain_of(plan)

    assert codes(pem) == [code]
    algorithm = "ps256" if isinstance(plan.key, rsa.RSAPrivateKey) else "es256"
    assert native_refusal(pem, plan.key, algorithm) is not None
    with pytest.raises(SigningError, match=f"certificate check '{code}'"):
        linter.check(chain.load(pem))


EDITS: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]]]] = {
    "an extension twice": ("duplicate-extension", twice),
    "an extension that is no DER": ("extensions", unreadable),
    "unique ids": (
        "unique-id",
        lambda fields: [
            *fields[:-1],
            der.encode(0x82, b"\0\1"),
            fields[-1],
        ],
    ),
}


@pytest.mark.parametrize("fault", EDITS)
def test_a_fault_of_the_encoding_is_named_and_refused(fault: str) -> None:
    code, edit = EDITS[fault]
    plan = Plan()
    pem = edited(plan, edit)

    assert codes(pem) == [code]
    assert native_refusal(pem, plan.key) is not None


def test_version_1_is_named_before_all_that_it_lacks() -> None:
    plan = Plan()
    pem = edited(plan, lambda fields: fields[1:-1])

    assert codes(pem)[0] == "version"
    assert "X.509 v1" in str(lint(pem)[0])
    assert native_refusal(pem, plan.key) is not None


def test_a_signature_with_sha_1_is_named() -> None:
    # Both places that name the algorithm have to agree for a parser to take it.
    made = Plan().made(MIDDLE)
    fields = [e.encoded for e in der.element(made.tbs_certificate_bytes).children()]
    tbs = der.encode(der.SEQUENCE, *sha1(fields))
    weak = der.encode(der.SEQUENCE, der.oid("1.2.840.10045.4.1"))
    bits = der.encode(der.BIT_STRING, b"\0", made.signature)
    whole = x509.load_der_x509_certificate(der.encode(der.SEQUENCE, tbs, weak, bits))

    assert "signature-algorithm" in codes(chain.pem([whole]))


@pytest.mark.parametrize(
    ("mask", "good"), [(hashes.SHA256(), True), (hashes.SHA384(), False)]
)
def test_rsa_pss_wants_one_hash_in_both_places(
    mask: hashes.HashAlgorithm, good: bool
) -> None:
    issuer = authority("rsa", key=GOOD_RSA)
    pss = padding.PSS(padding.MGF1(mask), 32)
    plan = Plan()
    leaf = plan.made(issuer, rsa_padding=pss)
    pem = chain.pem([leaf, issuer.made(ROOT)])

    assert ("pss-parameters" in codes(pem)) is not good
    assert (native_refusal(pem, plan.key) is None) is good


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_a_good_chain_has_no_findings_at_all(kind: str) -> None:
    keys: dict[str, Key] = {
        "ec": p256(),
        "rsa": GOOD_RSA,
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    plan = Plan(key=keys[kind])
    names = {"ec": "es256", "rsa": "ps256", "ed25519": "ed25519"}
    anchors = chain.pem([ROOT_CERT])

    assert lint(chain_of(plan), key_pem=pkcs8(plan.key), anchors=anchors) == []
    assert native_refusal(chain_of(plan), plan.key, names[kind]) is None


def test_a_leaf_of_the_conformance_profile_has_no_findings() -> None:
    """Certificate profile 0.2, claimSigningLeaf.al1, with all that it asks for."""
    level = der.encode(der.SEQUENCE, der.oid("1.3.6.1.4.1.62558.3.10"))
    product = der.encode(der.UTF8_STRING, b"01234567-89ab-cdef-0123-456789abcdef")
    policy = x509.PolicyInformation(ObjectIdentifier("1.3.6.1.4.1.62558.1.1"), None)
    responder = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP,
        x509.UniformResourceIdentifier("http://ocsp.example/"),
    )
    mine = "1.3.6.1.4.1.62558"
    more = (
        (x509.CertificatePolicies([policy]), False),
        (x509.AuthorityInformationAccess([responder]), False),
        (x509.UnrecognizedExtension(ObjectIdentifier(f"{mine}.3"), level), False),
        (x509.UnrecognizedExtension(ObjectIdentifier(f"{mine}.4"), product), False),
    )
    plan = Plan(more=more, purposes=(chain.CLAIM_SIGNING, EMAIL))

    assert lint(chain_of(plan)) == []
    assert native_refusal(chain_of(plan), plan.key) is None


WARNINGS: dict[str, tuple[str, Callable[[], Plan]]] = {
    "no SKI": ("no-subject-key-identifier", lambda: Plan(ski=False)),
    "KeyUsage not critical": (
        "key-usage-not-critical",
        lambda: Plan(usage_critical=False),
    ),
    "only emailProtection": ("no-claim-signing", lambda: Plan(purposes=(EMAIL,))),
    "two years": ("long-life", lambda: Plan(end=NOW + 730 * DAY)),
    "expires next week": (
        "expires-soon",
        lambda: Plan(end=NOW + 7 * DAY, start=NOW - 99 * DAY),
    ),
    "no country": ("no-country", lambda: Plan(country=None)),
    "no common name": ("no-common-name", lambda: Plan(common_name=None)),
}


@pytest.mark.parametrize("fault", WARNINGS)
def test_what_the_library_accepts_is_a_warning(fault: str) -> None:
    code, make = WARNINGS[fault]
    plan = make()
    pem = chain_of(plan)

    assert [(f.code, f.level) for f in lint(pem)] == [(code, "warning")]
    assert native_refusal(pem, plan.key) is None
    linter.check(chain.load(pem))


def test_no_organisation_is_our_own_error() -> None:
    plan = Plan(organisation=None)

    assert codes(chain_of(plan)) == ["no-organisation"]
    assert native_refusal(chain_of(plan), plan.key) is None


def test_a_short_life_is_not_soon_expired() -> None:
    assert lint(chain_of(Plan(end=NOW + 3 * DAY))) == []


def test_a_reversed_chain_is_named() -> None:
    plan = Plan()
    pem = chain.pem([MIDDLE_CERT, plan.made(MIDDLE)])

    assert codes(pem)[0] == "reversed"
    assert "reverse the order" in str(lint(pem)[0])
    assert native_refusal(pem, plan.key) is not None


def test_a_stranger_between_is_named_with_the_issuer_that_is_missing() -> None:
    other = authority("other").made(ROOT)
    found = lint(chain.pem([Plan().made(MIDDLE), other]))

    assert [f.code for f in found if f.level == "error"] == ["order"]
    assert "CN=middle" in found[0].expected


def test_a_self_signed_leaf_is_a_warning_that_says_who_will_trust_it() -> None:
    found = lint(chain.pem([Plan().made()]))

    assert [f.code for f in found] == ["self-signed"]
    assert "no stranger can trust it" in found[0].action


def test_a_leaf_without_its_issuer_is_a_warning() -> None:
    found = lint(chain.pem([Plan().made(MIDDLE)]))

    assert [f.code for f in found] == ["no-issuer"]
    assert "CN=middle" in found[0].expected


def test_faults_of_an_issuer_are_named() -> None:
    plain = Plan(common_name="plain", usages=("digital_signature",))
    pem = chain.pem([Plan().made(plain), plain.made(ROOT)])

    assert set(codes(pem)) == {"issuer-not-ca", "issuer-key-usage"} | (
        {"order"} if "order" in codes(pem) else set()
    )
    bare = authority("bare", ski=False)
    pem = chain.pem([Plan().made(bare), bare.made(ROOT)])
    assert codes(pem, "warning") == ["issuer-no-subject-key-identifier"]


def test_an_expired_issuer_is_named() -> None:
    old = authority("old", end=NOW - DAY / 2)
    found = lint(chain.pem([Plan().made(old), old.made(ROOT)]))

    assert [f.code for f in found] == ["expired"]
    assert found[0].subject.startswith("certificate 2 (CN=old")


def test_the_time_can_be_given() -> None:
    later = NOW + 2 * 365 * DAY

    assert codes(chain_of(Plan()), now=later) == ["expired"]


def test_serial_number_0_is_a_warning() -> None:
    zero = der.encode(der.INTEGER, b"\0")
    with pytest.warns(match="serial number"):
        pem = edited(Plan(), lambda fields: [fields[0], zero, *fields[2:]])
    with pytest.warns(match="serial number"):
        assert "serial" in codes(pem, "warning")


# The private key


def pem_of(key: Key, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )


@pytest.mark.parametrize(("key", "label"), [(p256(), "EC"), (GOOD_RSA, "RSA")])
def test_an_old_key_format_is_told_with_the_line_that_converts_it(
    key: Key, label: str
) -> None:
    plan = Plan(key=key)
    old = pem_of(key, serialization.PrivateFormat.TraditionalOpenSSL)
    found = lint(chain_of(plan), key_pem=old)

    assert [f.code for f in found] == ["not-pkcs8"]
    assert f"{label} PRIVATE KEY" in found[0].found
    assert "openssl pkcs8 -topk8" in found[0].action


def test_another_key_is_named() -> None:
    found = lint(chain_of(Plan()), key_pem=pkcs8(p256()))

    assert [f.code for f in found] == ["mismatched-key"]


def test_a_sealed_key_needs_its_passphrase() -> None:
    plan = Plan()
    sealed = plan.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"pass"),
    )

    assert "give its passphrase" in lint(chain_of(plan), key_pem=sealed)[0].found
    assert lint(chain_of(plan), key_pem=sealed, passphrase="pass") == []
    assert codes(chain_of(plan), key_pem=sealed, passphrase="no") == ["private-key"]


# The file


def test_a_private_key_among_the_certificates_is_the_first_thing_told() -> None:
    plan = Plan()
    found = lint(pkcs8(plan.key) + chain_of(plan))

    assert [f.code for f in found] == ["private-key-in-chain"]
    assert "goes into every signed file" in found[0].expected


def test_der_is_told_with_the_line_that_converts_it() -> None:
    whole = Plan().made(MIDDLE).public_bytes(serialization.Encoding.DER)

    assert [f.code for f in lint(whole)] == ["not-pem"]
    assert "openssl x509 -inform DER" in lint(whole)[0].action


@pytest.mark.parametrize("junk", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_junk_is_a_finding_and_no_exception(junk: bytes) -> None:
    assert [f.code for f in lint(junk)] == ["parse"]


def test_every_byte_of_a_certificate_may_be_wrong() -> None:
    whole = bytearray(Plan().made(MIDDLE).public_bytes(serialization.Encoding.DER))
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0x81
        body = base64.encodebytes(bytes(broken))
        pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lint(pem)  # whatever it finds, it raises nothing


# The way to an anchor


def test_a_chain_that_leads_nowhere_is_a_warning() -> None:
    other = chain.pem([authority("other root").made()])

    assert codes(chain_of(Plan()), "warning", anchors=other) == ["not-anchored"]
    assert codes(chain_of(Plan()), "warning", anchors=b"") == ["not-anchored"]
    middle = chain.pem([MIDDLE_CERT])
    assert codes(chain_of(Plan()), "warning", anchors=middle) == []


def test_paths_respect_ca_dates_and_length() -> None:
    leaf = Plan().made(MIDDLE)
    assert chain.path(leaf, [MIDDLE_CERT], [ROOT_CERT]) == (
        leaf,
        MIDDLE_CERT,
        ROOT_CERT,
    )
    assert chain.path(leaf, [], [ROOT_CERT]) is None
    assert chain.path(leaf, [], [leaf]) == (leaf,)

    late = datetime.datetime.now(datetime.UTC) + 400 * DAY
    assert chain.path(leaf, [MIDDLE_CERT], [ROOT_CERT], late) is None
    assert chain.path(leaf, [], [leaf], late) is None

    # pathlen 0: the intermediate may issue leaves, and no further CA.
    below = authority("below")
    deep = Plan().made(below)
    assert chain.path(deep, [below.made(MIDDLE), MIDDLE_CERT], [ROOT_CERT]) is None

    no_ca = Plan(common_name="no CA")
    under = Plan().made(no_ca)
    assert chain.path(under, [no_ca.made(ROOT)], [ROOT_CERT]) is None


def test_a_name_alone_makes_no_issuer() -> None:
    impostor = authority("middle").made(ROOT)

    assert chain.path(Plan().made(MIDDLE), [impostor], [ROOT_CERT]) is None


def test_a_pool_of_many_namesakes_does_not_cost_hours() -> None:
    pool = [authority("middle").made(MIDDLE) for _ in range(30)]

    assert chain.path(Plan().made(MIDDLE), pool, [ROOT_CERT]) is None
