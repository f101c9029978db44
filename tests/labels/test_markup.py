"""The label of a text lies in its front matter or its head; the rest stays."""

import json
import re
from html.parser import HTMLParser
from xml.sax.saxutils import escape

import pytest
import yaml
from tests.labels.carriers import (
    LABEL,
    PAGE,
    labelled,
    labels,
)

from watermark.assets import DamagedAsset
from watermark.labels import aigc

BLOCK = "AIGC:\n" + "".join(
    f"    {key}: {json.dumps(value)}\n" for key, value in json.loads(LABEL).items()
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# A\n", f"---\n{BLOCK}---\n# A\n"),
        ("", f"---\n{BLOCK}---\n"),
        ("\ufeff# A", f"\ufeff---\n{BLOCK}---\n# A"),
        ("---\n---\nA", f"---\n{BLOCK}---\nA"),
        ("---\na: 1\n...\nA", f"---\na: 1\n{BLOCK}...\nA"),
        ("---\n# c\na: 1\n---", f"---\n# c\na: 1\n{BLOCK}---"),
        (
            "---\nA ruler above.\n\n---\n",
            f"---\n{BLOCK}---\n---\nA ruler above.\n\n---\n",
        ),
        ("---\nno end: 1\n", f"---\n{BLOCK}---\n---\nno end: 1\n"),
        ("---\naigc: {}\nb:\n - 1\n---\n", f"---\nb:\n - 1\n{BLOCK}---\n"),
        ("---\nAIGC:\n  Label: 1\n\nb: 2\n---\n", f"---\nb: 2\n{BLOCK}---\n"),
    ],
)
def test_cn_01_and_cn_03_front_matter_gets_the_seven_keys(
    before: str, after: str
) -> None:
    data = labelled(before.encode(), "text/markdown", replace=True)

    assert data.decode() == after
    front = re.split(r"^(?:---|\.\.\.)\n?", data.decode("utf-8-sig"), flags=re.M)[1]
    assert yaml.safe_load(front)["AIGC"] == json.loads(LABEL)


def test_lines_end_as_they_did() -> None:
    data = labelled(b"---\r\na: 1\r\n---\r\nA\r\n", "text/markdown")

    assert data.count(b"\r\n") == data.count(b"\n") == 12


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        (
            'AIGC:\n  Label: "1"\n  ProduceID: a-b # c\n',
            {"Label": "1", "ProduceID": "a-b"},
        ),
        (
            "AIGC:\n\tLabel: 1\n\tReservedCode1: ~\n",
            {"Label": 1, "ReservedCode1": None},
        ),
        ("aigc:\n  ReservedCode1: '{\"a\":''b''}'\n", {"ReservedCode1": "{\"a\":'b'}"}),
        ("AIGC:\n  ReservedCode1: ab/c=\n", {"ReservedCode1": "ab/c="}),
        ("AIGC:\n  ProduceID:\n    long\n    one\n", {"ProduceID": "long one"}),
        ('\'AIGC\' : {"Label":"1"}\n', {"Label": "1"}),
        ('AIGC: \'{"Label":"1"}\'\n', {"Label": "1"}),
        ('AIGC: "{\\"Label\\":\\"1\\"}"\n', {"Label": "1"}),
    ],
)
def test_cn_08_front_matter_is_read_in_the_forms_that_are_met(
    front: str, expected: dict[str, object]
) -> None:
    found = labels(f"---\ntitle: a\n{front}z: 1\n---\n".encode(), "text/markdown")

    assert [json.loads(value) for value in found] == [expected]


def test_a_key_elsewhere_is_no_label() -> None:
    assert labels(b"# A\n\nAIGC:\n  Label: 1\n", "text/markdown") == []
    assert labels(b"---\na:\n  AIGC: 1\nAIGCs: 1\n---\n", "text/markdown") == []


class Head(HTMLParser):
    """The label as a browser's parser sees it."""

    found: list[str]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta" and ("name", "AIGC") in attrs:
            self.found.append(dict(attrs)["content"] or "")


META = (
    '<meta name="AIGC" content="'
    + escape(LABEL.decode(), {'"': "&quot;", "'": "&#x27;"})
    + '">'
)


@pytest.mark.parametrize(
    ("before", "place"),
    [
        (PAGE.decode(), "</head>"),
        ("<html><title>a</title><body>b", "<body>"),
        ("<!doctype html><meta charset=utf-8><p>a", "<p>"),
        ("<p>a", "<p>"),
        ("\ufeff<p>a", "<p>"),
        ("", ""),
        (
            "<head><script>'</head><meta name=AIGC content=x>'</script></head>",
            "</head>",
        ),
        ("<HEAD><META NAME=aigc content='{}'></HEAD>", "</HEAD>"),
    ],
)
def test_cn_01_and_cn_03_a_page_gets_an_element_in_its_head(
    before: str, place: str
) -> None:
    data = labelled(before.encode(), "text/html", replace=True).decode()

    bare = before.replace("<META NAME=aigc content='{}'>", "")
    at = bare.rindex(place) if place else len(bare)
    assert data == bare[:at] + META + bare[at:]
    parser = Head()
    parser.found = []
    parser.feed(data)
    assert parser.found == [LABEL.decode()]


@pytest.mark.parametrize("tag", ["title", "/title", "meta"])
def test_what_stands_in_an_attribute_is_no_element(tag: str) -> None:
    page = f"<title></title><{tag} a='<meta name=AIGC content=x>'></title></head>"

    assert labels(page.encode(), "text/html") == []


def test_a_label_that_is_not_ascii_survives_any_charset_of_a_page() -> None:
    raw = '{"Label":"1","ContentProducer":"灯台"}'.encode()
    label = aigc.propagated(aigc.parse(raw), "a", "b")
    data = labelled(PAGE, "text/html", label)

    assert data.isascii()
    assert labels(data, "text/html") == [label]


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("text/markdown", "---\na: 1\n---\n".encode("utf-16")),
        ("text/markdown", b"---\na: \xff\n---\n"),
        ("text/html", PAGE.decode().encode("utf-16")),
        ("text/html", b"<head><!-- no end"),
        ("text/html", b"<head><meta name='AIGC"),
        ("text/html", b"<head><script>"),
        ("text/html", b"<head><title>a</title "),
        ("text/html", b"<p>" * (6 << 20)),
        ("text/html", b"<meta a>" * 10_001),
        ("text/html", b"<meta " + b"a " * (1 << 17) + b">"),
        ("text/markdown", b"a" * (17 << 20)),
        ("text/markdown", b"---\nAIGC:\n a: 1\n" + b" b\n" * 1000 + b"---\n"),
        ("text/markdown", b"---\n" + b"AIGC: {}\n" * 101 + b"---\n"),
    ],
)
def test_cn_15_a_text_that_cannot_be_read_is_damage(
    media_type: str, data: bytes
) -> None:
    with pytest.raises(DamagedAsset):
        labels(data, media_type)
