"""A length that is not true costs no memory."""

import base64
import resource
import sys

import pytest

from watermark.record import Record
from watermark.sign import c2pa, claims, text
from watermark.sign.credential import Credential
from watermark.sign.overlong import overlong

DEFINITION = claims.definition(Record(kind="image", provider="Acme", system="a/1"))


@pytest.mark.parametrize("media_type", c2pa.EMBEDDABLE)
def test_no_container_is_true_and_overlong(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    signed = c2pa.sign(files[media_type], media_type, DEFINITION, credential)
    assert not overlong(signed.data)
    assert not overlong(signed.manifest)
    assert overlong(signed.manifest.replace(b"kspecVersion", b"\x7bspecVersion"))


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.parametrize("media_type", sorted({*c2pa.EMBEDDABLE} - {"image/svg+xml"}))
def test_a_lie_costs_no_memory(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    data = c2pa.sign(files[media_type], media_type, DEFINITION, credential).data
    lying = data.replace(b"kspecVersion", b"\x7a\xff\xff\xff\xffVersion")
    assert lying != data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = c2pa.read(lying, media_type)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert (found.state, found.codes) == ("invalid", ("general.error",))
    assert after - before < 64 << 10  # KiB


def test_a_lie_in_a_text_or_beside_it_is_told(credential: Credential) -> None:
    signed = text.sign(b"words", DEFINITION, credential, carrier="sidecar")
    lying = signed.manifest.replace(b"kspecVersion", b"\x7a\xff\xff\xff\xffVersion")
    found = text.read(signed.data, sidecar=lying)

    assert (found.state, found.codes) == ("invalid", ("general.error",))


def test_a_lie_in_an_svg_is_told(
    files: dict[str, bytes], credential: Credential
) -> None:
    signed = c2pa.sign(files["image/svg+xml"], "image/svg+xml", DEFINITION, credential)
    lying = signed.manifest.replace(b"kspecVersion", b"\x7a\xff\xff\xff\xffVersion")
    old, new = map(base64.b64encode, (signed.manifest, lying))
    assert old in signed.data

    assert c2pa.read(signed.data, "image/svg+xml").state == "valid"
    assert overlong(signed.data.replace(old, new))
