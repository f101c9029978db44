"""A.9: a block in a comment or in front matter, and nothing unsigned beside it."""

import base64
import time

import pytest
from benchmarks.conformance.containers import box

from watermark.errors import UnsupportedFormat
from watermark.record import Record
from watermark.sign import c2pa, claims, jumbf, text, text_structured
from watermark.sign.credential import Credential
from watermark.sign.place import Linked, Located, Unusable, is_meant

DEFINITION = claims.definition(Record(kind="text", provider="Acme", system="lm/2"))
BEGIN, END = text_structured.BEGIN, text_structured.END
URI = b"data:application/c2pa;base64,"

# Suffix, content, and what comes before the block and after it.
FILES = {
    "python": (".py", b"x = 1\n", b"# ", b"\nx = 1\n"),
    "windows": (".py", b"x = 1\r\n", b"# ", b"\r\nx = 1\r\n"),
    "script": (".sh", b"#!/bin/sh\necho\n", b"#!/bin/sh\necho\n\n# ", b""),
    "script without end": (".sh", b"#!/bin/sh\necho", b"#!/bin/sh\necho\n# ", b""),
    "style sheet": (".css", b"a { }\n", b"/*! ", b" */\na { }\n"),
    "charset": (".css", b'@charset "utf-8";', b'@charset "utf-8";\n/*! ', b" */"),
    "query": (".SQL", b"select 1;\n", b"-- ", b"\nselect 1;\n"),
    "markdown": (".md", b"# Title\n", b"<!-- ", b" -->\n# Title\n"),
    "front matter": (".md", b"---\ntitle: x\n---\n", b"---\n", b"\ntitle: x\n---\n"),
    "toml": (".md", b"+++\r\nt = 1\r\n+++\r\n", b"+++\r\n", b"\r\nt = 1\r\n+++\r\n"),
    "xml": (".xml", b"<?xml version='1.0'?><a/>", b"<?xml version='1.0'?><a/>\n<!-- ",
            b" -->"),
    "byte order mark": (".py", b"\xef\xbb\xbfx = 1\n", b"\xef\xbb\xbfx = 1\n\n# ", b""),
}  # fmt: skip


def sign(name: str, credential: Credential) -> c2pa.SignedAsset:
    suffix, content, _, _ = FILES[name]
    return text.sign(
        content, DEFINITION, credential, carrier="structured", suffix=suffix
    )


@pytest.fixture(scope="module")
def signed(credential: Credential) -> c2pa.SignedAsset:
    return sign("python", credential)


@pytest.mark.parametrize("name", FILES)
def test_every_form_is_trusted_and_where_it_belongs(
    credential: Credential, name: str
) -> None:
    _, content, before, after = FILES[name]
    signed = sign(name, credential)
    found = text.read(signed.data, anchors=credential.root_pem or b"")

    assert (found.state, found.codes, found.content_matches) == ("trusted", (), True)
    assert found.manifest == signed.manifest
    assert signed.data.startswith(before + BEGIN)
    assert signed.data.endswith(END + after)
    assert text.content(signed.data) == content


def test_the_exclusion_is_that_of_the_specification(credential: Credential) -> None:
    """A.9.4: with the line's end at the start, with the line's start at the end."""
    for name, start in [("python", 0), ("windows", 0), ("script", 15), ("charset", 17)]:
        signed = sign(name, credential)
        content = FILES[name][1]
        binding = jumbf.parse(signed.manifest).content("c2pa.hash.data")
        length = len(signed.data) - len(content)

        assert binding["exclusions"] == [{"start": start, "length": length}]


def test_changed_code_is_found(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    trust = credential.root_pem or b""
    for changed, code in [
        (signed.data.replace(b"x = 1", b"x = 2"), "assertion.dataHash.mismatch"),
        (signed.data + b"y", "assertion.dataHash.mismatch"),
        (b"import os\n" + signed.data, "assertion.dataHash.malformed"),
    ]:
        found = text.read(changed, anchors=trust)

        assert (found.state, found.codes) == ("invalid", (code,))
        assert found.content_only_broken


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# -----B", b"x=2#-----B"),  # as long as before
        (b"# -----B", b"% -----B"),  # a comment elsewhere, but code here
        (b"MANIFEST-----\nx", b"MANIFEST-----;x"),
        (b"# -----B", b"; -----B"),
    ],
)
def test_the_line_of_the_block_holds_nothing_else(
    signed: c2pa.SignedAsset, credential: Credential, old: bytes, new: bytes
) -> None:
    """What is excluded from the hash is not signed, so it may not say anything."""
    changed = signed.data.replace(old, new)
    found = text.read(changed, anchors=credential.root_pem or b"")

    assert changed != signed.data
    if new[:1] in b"%;":  # nobody can tell of what language a text is: harmless there
        assert found.state == "trusted"
    else:
        assert found.codes == ("assertion.dataHash.malformed",)


def test_two_blocks_are_multiple(
    signed: c2pa.SignedAsset, credential: Credential
) -> None:
    found = text.read(signed.data + signed.data, anchors=credential.root_pem or b"")

    assert found.state == "invalid"
    assert found.codes == ("manifest.structuredText.multipleReferences",)


@pytest.mark.parametrize(
    ("block", "place"),
    [
        (b"plain", None),
        (BEGIN, Unusable("manifest.structuredText.noManifest", meant=False)),
        (END + BEGIN, Unusable("manifest.structuredText.noManifest", meant=False)),
        (
            BEGIN + b" \n " + END,
            Unusable("manifest.structuredText.emptyReference", False),
        ),
        (
            BEGIN + b" <manifest-reference> " + END,
            Unusable("manifest.structuredText.malformedReference", meant=False),
        ),
        (
            BEGIN + b" " + URI + b"AB== " + END,  # bits that decode to nothing
            Unusable("manifest.structuredText.malformedReference", meant=False),
        ),
        (BEGIN + b" https://a.b/c.c2pa " + END, Linked("https://a.b/c.c2pa")),
        (
            (BEGIN + END) * 2,
            Unusable("manifest.structuredText.multipleReferences", False),
        ),
    ],
    ids=range(8),
)
def test_what_is_no_manifest_has_the_code_of_the_specification(
    block: bytes, place: object
) -> None:
    assert text_structured.locate(b"# " + block + b"\n") == place


def test_a_text_about_manifests_has_none_and_is_not_accused() -> None:
    page = b"Write " + BEGIN + b" <reference> " + END + b", then " + BEGIN + b".\n"
    found = text.read(page)

    assert found.state == "none"
    assert found.codes == ("manifest.structuredText.multipleReferences",)


def test_what_begins_as_a_store_was_meant_as_one(signed: c2pa.SignedAsset) -> None:
    block = b" ".join([BEGIN, URI + base64.b64encode(signed.manifest), END])
    other = b" ".join([BEGIN, URI + b"AAAA", END])
    malformed, multiple = text_structured.MALFORMED, text_structured.MULTIPLE

    assert isinstance(text_structured.locate(block), Located)
    for broken, place in [
        (block.replace(b" " + END, b"! " + END), Unusable(malformed, meant=True)),
        (block.replace(b" " + END, b"AAAA " + END), Unusable(malformed, meant=True)),
        (other, Unusable(malformed, meant=False)),
        (other + block, Unusable(multiple, meant=True)),
        (block[:-40] + other, Unusable(multiple, meant=True)),
        (other + other, Unusable(multiple, meant=False)),
    ]:
        assert text_structured.locate(broken) == place


def test_a_store_is_known_by_its_label(signed: c2pa.SignedAsset) -> None:
    """The first 38 bytes: two headers, 16 bytes of type, flags, and the label."""
    encoded = base64.b64encode(signed.manifest)

    assert is_meant(encoded)
    assert is_meant(encoded[:52])
    assert not is_meant(encoded[:48])
    for place in (*range(4, 8), *range(12, 16), *range(33, 38)):
        other = bytearray(signed.manifest)
        other[place] ^= 1

        assert not is_meant(base64.b64encode(other))


def test_a_store_of_very_many_boxes_is_refused_in_time() -> None:
    """14 MiB of text; the library would look at each."""
    empty = box(b"free")
    for count, fits in ((jumbf.MAX_BOXES - 1, True), (jumbf.MAX_BOXES, False)):
        assert jumbf.well_formed(box(b"jumb", empty * count)) == fits
        assert jumbf.well_formed(box(b"jumb", box(b"jumb") * count)) == fits
    encoded = base64.b64encode(box(b"jumb", empty * (21 << 16)))
    blocks = [
        b" ".join([BEGIN, URI + encoded, END]),
        b'<script type="application/c2pa">' + encoded + b"</script>",
    ]
    for data in blocks:
        began = time.process_time()
        found = text.read(data)

        assert len(data) > 14_000_000
        assert time.process_time() - began < 1
        assert found.state == "none"


def test_a_link_is_named_and_not_followed() -> None:
    found = text.read(b"# " + BEGIN + b" http://127.0.0.1:1/m.c2pa " + END + b"\n")

    assert (found.state, found.remote_url) == ("remote", "http://127.0.0.1:1/m.c2pa")


def test_other_writers_ranges_are_taken_too() -> None:
    """Front matter: whether the last line's end belongs to the block is not said."""
    lines = b"\n".join(
        [BEGIN, URI + base64.b64encode(box(b"jumb", box(b"data", b"store"))), END]
    )
    found = text_structured.locate(b"---\n" + lines + b"\n---\n")

    assert isinstance(found, Located)
    assert found.ranges == {(4, len(lines)), (4, len(lines) + 1)}


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [(".csv", b"a,b\n", "text with comments"), (".py", b"x = 1\ry = 2\r", "end in CR")],
)
def test_what_has_no_comments_is_refused(
    credential: Credential, suffix: str, content: bytes, message: str
) -> None:
    with pytest.raises(UnsupportedFormat, match=message):
        text.sign(content, DEFINITION, credential, carrier="structured", suffix=suffix)


def test_a_signed_program_still_runs(signed: c2pa.SignedAsset) -> None:
    names: dict[str, object] = {}
    exec(compile(signed.data, "signed.py", "exec"), names)

    assert names["x"] == 1
