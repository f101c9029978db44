"""A.7: one element in the head of a page, with nothing unsigned in it."""

import pytest

from watermark.errors import SigningError, UnsupportedFormat
from watermark.record import Record
from watermark.sign import c2pa, claims, html, jumbf, text
from watermark.sign.credential import Credential
from watermark.sign.place import Unusable

DEFINITION = claims.definition(Record(kind="text", provider="Acme", system="lm/2"))
PAGE = (
    b"<!DOCTYPE html>\n<html>\n<head>\n<title>a </head> b</title>\n"
    b'<!-- </head> <script type="application/c2pa">x</script> -->\n'
    b"<script>var s = '</head>';</script>\n</head>\n<body>\nText.\n</body>\n</html>\n"
)


@pytest.fixture(scope="module")
def signed(credential: Credential) -> c2pa.SignedAsset:
    return text.sign(PAGE, DEFINITION, credential, carrier="html")


def test_a_signed_page_is_trusted(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    found = text.read(signed.data, anchors=credential.root_pem or b"")

    assert (found.state, found.codes, found.content_matches) == ("trusted", (), True)
    assert found.manifest == signed.manifest
    assert text.content(signed.data) == PAGE


def test_the_element_stands_at_the_end_of_the_real_head(
    signed: c2pa.SignedAsset,
) -> None:
    place = PAGE.index(b"</head>\n<body>")
    binding = jumbf.parse(signed.manifest).content("c2pa.hash.data")
    length = len(signed.data) - len(PAGE)

    assert signed.data[:place] == PAGE[:place]
    assert signed.data[place:].startswith(b'<script type="application/c2pa">')
    assert binding["exclusions"] == [{"start": place, "length": length}]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"Text.", b"Test.", "assertion.dataHash.mismatch"),
        (b"<html>", b"<html><p>", "assertion.dataHash.malformed"),
        (b'c2pa">AAA', b'c2pa" onerror="x()">AAA', "assertion.dataHash.malformed"),
        (b'c2pa">AAA', b"c2pa' >AAA", "general.error"),
    ],
    ids=range(4),
)
def test_changes_are_found(
    signed: c2pa.SignedAsset,
    credential: Credential,
    old: bytes,
    new: bytes,
    code: str,
) -> None:
    changed = signed.data.replace(old, new)
    found = text.read(changed, anchors=credential.root_pem or b"")

    assert changed != signed.data
    if code == "general.error":  # a quote that is never closed: no element at all
        assert found.state == "none"
    else:
        assert (found.state, found.codes) == ("invalid", (code,))


def test_two_elements_are_multiple(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    link = b'<link rel="c2pa-manifest" href="https://a.b/c"></head>\n<body>'
    twice = signed.data.replace(b"</head>\n<body>", link)
    found = text.read(twice, anchors=credential.root_pem or b"")

    assert found.state == "invalid"
    assert found.codes == ("manifest.html.multipleManifests",)


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (b'<link rel="c2pa-manifest" href="https://a.b/c.c2pa">', "https://a.b/c.c2pa"),
        (b"<LINK href='/m.c2pa' REL=c2pa-manifest />", "/m.c2pa"),
        (b'<link rel="c2pa-manifest">', ""),
    ],
    ids=range(3),
)
def test_a_link_is_named_and_not_followed(link: bytes, url: str) -> None:
    found = text.read(b"<html><head>" + link + b"</head></html>")

    assert (found.state, found.remote_url) == ("remote", url)


@pytest.mark.parametrize(
    "page",
    [
        b'<html><head></head><body><script type="application/c2pa">x</script>',
        b'<!-- <script type="application/c2pa">x</script> -->',
        b"<title><script type='application/c2pa'>x</script></title>",
        b'<p>rel="c2pa-manifest"</p>',
        b"<!-- c2pa",
        b"<style> c2pa",
    ],
    ids=range(6),
)
def test_only_elements_of_the_head_count(page: bytes) -> None:
    assert html.locate(page) is None


def test_a_broken_element_is_no_missing_one() -> None:
    start = b'<head><script type="application/c2pa">'
    for rest in (b"!!!</script>", b"AAAA", b"AB==</script>", b"AAAA</script>"):
        assert html.locate(start + rest) == Unusable()


def test_a_page_without_a_head_is_refused(credential: Credential) -> None:
    with pytest.raises(UnsupportedFormat, match="</head>"):
        text.sign(b"<p>Text.</p>", DEFINITION, credential, carrier="html")


def test_a_page_is_not_signed_twice(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    with pytest.raises(SigningError, match="already"):
        text.sign(signed.data, DEFINITION, credential, carrier="html")


def test_several_ways_at_once_are_none_that_counts(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    other = text.sign(PAGE, DEFINITION, credential, carrier="wrapper").data[len(PAGE) :]
    found = text.read(signed.data + other, anchors=credential.root_pem or b"")

    assert (found.state, found.codes) == ("invalid", ("general.error",))
    assert found.record_id is None
