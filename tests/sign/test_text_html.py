"""A.7: one element in the head of a page, with nothing unsigned in it."""

import base64
import time

import pytest

from watermark.errors import SigningError, UnsupportedFormat
from watermark.record import Record
from watermark.sign import c2pa, claims, html, jumbf, text
from watermark.sign.credential import Credential
from watermark.sign.place import Linked, Located, Unusable

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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"</script>", b""),
        (b"</script>", b"</script >"),
        (b"</script>", b"!</script>"),
        (b"</script>", b"AAAA</script>"),
    ],
    ids=range(4),
)
def test_a_broken_element_is_no_missing_one(
    signed: c2pa.SignedAsset, old: bytes, new: bytes
) -> None:
    element = b'<script type="application/c2pa">%s</script>'
    page = b"<head>" + element % base64.b64encode(signed.manifest)

    assert isinstance(html.locate(page), Located)
    assert html.locate(page.replace(old, new)) == Unusable(meant=True)


def test_a_store_of_another_length_was_meant_as_one(signed: c2pa.SignedAsset) -> None:
    """One bit of a length, of the store's box or of one in it."""
    element = b'<script type="application/c2pa">%s</script>'
    for place in (0, 3, 11):
        store = bytearray(signed.manifest)
        store[place] ^= 2
        page = element % base64.b64encode(store)

        assert html.locate(page) == Unusable(meant=True)


@pytest.mark.parametrize("body", [b"!!!", b"AAAA", b"AB==", b"...", b"A" * 200])
def test_what_never_was_a_store_is_an_explanation(body: bytes) -> None:
    start = b'<head><script type="application/c2pa">'
    for end in (b"</script>", b""):
        assert html.locate(start + body + end) == Unusable(meant=False)
        assert text.read(start + body + end).state == "none"


@pytest.mark.parametrize(
    "page",
    [
        b'<script data-type="application/c2pa">AAAA</script>',
        b"<script title=\"type='application/c2pa'\">AAAA</script>",
        b'<script type="text/plain" type="application/c2pa">AAAA</script>',
        b'<link data-rel="c2pa-manifest" href="https://a.b/c">',
        b"<link title='rel=\"c2pa-manifest\"'>",
    ],
    ids=range(5),
)
def test_other_attributes_do_not_count(page: bytes) -> None:
    assert html.locate(page) is None


@pytest.mark.parametrize(
    "link",
    [
        b'<link title=">" rel="c2pa-manifest" href="/m">',
        b"<link title='\"' rel = c2pa-manifest\n href\n=\n/m>",
        b'<link a= b" crossorigin rel="a c2pa-Manifest b" href=/m rel=b>',
        b"<link/rel=c2pa-manifest/**/ rel='c2pa-manifest'href=\"/m\"/>",
    ],
    ids=range(4),
)
def test_attributes_are_read_as_browsers_do(link: bytes) -> None:
    expected = None if link.startswith(b"<link/") else Linked("/m")  # the first counts

    assert html.locate(link) == expected


def test_links_alone_are_no_broken_manifest(signed: c2pa.SignedAsset) -> None:
    links = b'<link rel="c2pa-manifest" href="/m">' * 2
    about = b'<script type="application/c2pa"></script>'
    store = b'<script type="application/c2pa">%s</script>' % base64.b64encode(
        signed.manifest
    )
    for more, meant in ((b"", False), (about, False), (store, True)):
        assert html.locate(links + more) == Unusable(html.MULTIPLE, meant=meant)
    elsewhere = (
        b"-----BEGIN C2PA MANIFEST----- https://a.b/c -----END C2PA MANIFEST-----"
    )
    one = links[: len(links) // 2]
    assert text.locate(one + elsewhere) == Unusable(meant=False)


HOSTILE = {
    "quotes": (b'<link "', b""),
    "values that do not end": (b'<link a="', b""),
    "values that end late": (b'<link a="', b'">'),
    "tags that do not end": (b"<link ", b""),
    "spaces": (b" ", b">"),
    "spaces after an equals sign": (b" ", b"x"),
    "spaces in tags": (b"<script" + b" " * 100, b""),
    "attributes": (b" c2pa", b">"),
    "equals signs": (b" =", b">"),
    "slashes": (b"/", b">"),
    "tags": (b"<link>", b""),
    "links": (b"<link rel=c2pa-manifest>", b""),
    "scripts": (b'<script type="application/c2pa">x</script >', b""),
    "empty scripts": (b'<script type="application/c2pa"></script >', b""),
    "titles": (b"<title></title>", b""),
    "titles that do not end": (b"<title>", b""),
    "comments": (b"<!---->", b""),
    "comments that do not end": (b"<!--", b""),
    "angle brackets": (b"<", b""),
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_a_hostile_page_is_read_in_time(shape: str) -> None:
    """One megabyte; what went back over the text took minutes."""
    unit, end = HOSTILE[shape]
    start = b"c2pa <link a=" if "equals" in shape else b"c2pa <script"
    page = start + unit * (2**20 // len(unit)) + end
    if unit.startswith(b"<"):
        page = page.replace(b"<script", b"", 1)
    began = time.process_time()
    html.locate(page)

    assert time.process_time() - began < 1


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
