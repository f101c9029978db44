"""A marked text that carries its manifest itself, from `embed` to `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.toys import generate, text_of, words
from watermark.api import Watermark
from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import SCHEMES
from watermark.sign import jumbf, text
from watermark.verification.manifest import bare

CARRIERS = ("wrapper", "structured", "html")


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


@pytest.fixture(scope="module")
def said(w: Watermark) -> str:
    return text_of(generate(SCHEMES["gumbel"].record(w.home.ring.newest.key)))


def page(said: str, carrier: str) -> str:
    if carrier != "html":
        return said
    return f"<html><head></head><body>{said}</body></html>"


def mark(report: Report) -> Evidence:
    return min(
        (e for e in report.evidence if e.layer == "mark"),
        key=lambda e: e.log10_p or 0.0,
    )


def signed(w: Watermark, text: str, carrier: Any) -> Any:
    with pytest.warns(UserWarning, match="carries no mark"):  # on no record
        return w.embed(text, carrier=carrier)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_mark_and_manifest_are_both_found_in_file_bytes_and_string(
    w: Watermark, said: str, carrier: str, tmp_path: Path
) -> None:
    text = page(said, carrier)
    marked = signed(w, text, carrier)
    path = marked.save(tmp_path / "text.md")
    plain = mark(w.verify(text, tokenizer=words()))

    assert [p.name for p in tmp_path.iterdir()] == ["text.md"]
    for asset in (path, marked.data, marked.data.decode()):
        report = w.verify(asset, tokenizer=words())
        [manifest] = [e for e in report.evidence if e.layer == "manifest"]

        assert report.verdict == Verdict.MARKED
        assert manifest.state == "trusted"
        assert marked.record.record_id in report.record_ids
        assert mark(report).log10_p == plain.log10_p


@pytest.mark.parametrize("carrier", CARRIERS)
def test_spans_are_places_in_the_text_as_it_was_given(
    w: Watermark, said: str, carrier: str
) -> None:
    text = page("Words of somebody else come first. " * 20 + said, carrier)
    whole = signed(w, text, carrier).data.decode()
    [before] = mark(w.verify(text, tokenizer=words())).spans
    [after] = mark(w.verify(whole, tokenizer=words())).spans

    assert whole[slice(*after)] == text[slice(*before)]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_change_is_a_conflict(w: Watermark, said: str, carrier: str) -> None:
    text = page(said, carrier)
    whole = signed(w, text, carrier).data.decode()
    word = said.split()[5]
    changed = whole.replace(word, word.upper(), 1)
    report = w.verify(changed, tokenizer=words())

    assert changed != whole
    assert report.verdict == Verdict.CONFLICT
    assert {reason.code for reason in report.reasons} >= {"broken-signature"}


ABOUT = [
    'Use a <script type="application/c2pa"> element in the head of the page.',
    'Use <link rel="c2pa-manifest"> once; two <link rel="c2pa-manifest"> are an error.',
    'No <script data-type="application/c2pa"> is meant by this rule.',
    "A block is -----BEGIN C2PA MANIFEST----- data:application/c2pa;base64,AAAA "
    "-----END C2PA MANIFEST-----, in a comment.",
]


@pytest.mark.parametrize("about", ABOUT, ids=range(4))
def test_a_text_about_manifests_is_not_accused(
    w: Watermark, said: str, about: str
) -> None:
    report = w.verify(about, tokenizer=words())
    both = w.verify(about + "\n" + said, tokenizer=words())

    assert report.verdict == Verdict.INCONCLUSIVE
    assert both.verdict == Verdict.MARKED
    for each in (report, both):
        assert "broken-signature" not in {reason.code for reason in each.reasons}


@pytest.mark.parametrize("carrier", ["structured", "html"])
def test_a_tampered_manifest_stays_a_conflict(
    w: Watermark, said: str, carrier: str
) -> None:
    whole = signed(w, page(said, carrier), carrier).data.decode()
    start = whole.index("AAA") + 200
    for broken in (
        whole[:start] + "!" + whole[start + 1 :],
        whole[:start] + whole[start + 4 :],
        whole + ABOUT[1],
    ):
        report = w.verify(broken, tokenizer=words())

        assert report.verdict == Verdict.CONFLICT
        assert {reason.code for reason in report.reasons} >= {"broken-signature"}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_file_beside_it_does_not_clear_a_broken_manifest(
    w: Watermark, said: str, carrier: str, tmp_path: Path
) -> None:
    """`a.c2pa` may be the manifest of `a.jpg`: that of the text is the text's own."""
    whole = signed(w, page(said, carrier), carrier).data
    word = said.split()[5].encode()
    other = signed(w, "Another text.", "sidecar")
    path = tmp_path / "a.txt"
    (tmp_path / "a.c2pa").write_bytes(other.manifest)
    for data, verdict in [
        (whole.replace(word, word.upper(), 1), Verdict.CONFLICT),
        (said.encode(), Verdict.MARKED),
    ]:
        path.write_bytes(data)
        report = w.verify(path, tokenizer=words())

        assert report.verdict == verdict


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_is_taken_out_is_what_was_put_in(
    w: Watermark, said: str, carrier: str
) -> None:
    text = page(said, carrier)
    whole = signed(w, text, carrier).data.decode()
    rest, start, length = bare(Asset(kind="text", text=whole))

    assert rest.text == text
    assert whole[:start] + whole[start + length :] == text
    assert "C2PA MANIFEST" in whole[start : start + length] or carrier != "structured"
    assert bare(rest)[0].text == text


def test_a_mark_after_a_wrapper_is_no_error(w: Watermark) -> None:
    whole = signed(w, "cafe", "wrapper").data.decode() + "\u0301"
    rest, start, length = bare(Asset(kind="text", text=whole))

    assert (rest.text, start, length) == ("caf\u00e9", 3, len(whole) - 5)
    assert w.verify(whole).verdict == Verdict.CONFLICT


def test_a_second_manifest_keeps_the_first(w: Watermark, said: str) -> None:
    """What is signed again was made from what was signed before, and says so."""
    first = signed(w, said, "wrapper")
    again = signed(w, first.data.decode(), "wrapper")
    found = text.read(again.data, anchors=w.home.anchors)

    assert (found.state, found.codes) == ("trusted", ())
    assert text.content(again.data) == text.content(first.data)
    ((_, store),) = jumbf.boxes(first.manifest)
    *_, kept = jumbf.boxes(store)
    assert jumbf.boxed(*kept) in again.manifest


def test_other_carriers_and_other_media_are_refused(w: Watermark) -> None:
    with pytest.raises(UnsupportedFormat, match="'pigeon' is not supported for text"):
        w.embed("A text.", carrier="pigeon")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedFormat, match="not supported for audio"):
        w.embed(b"RIFF\x24\0\0\0WAVEfmt ", carrier="wrapper")


def test_the_manifest_beside_a_text_is_part_of_the_next_signers(
    w: Watermark, tmp_path: Path
) -> None:
    other = Watermark.create(tmp_path / "beta", provider="Beta")
    first = signed(w, "The lamp turned, and the sea answered.\n" * 5, "sidecar")
    path = first.save(tmp_path / "said.txt")
    with pytest.warns(UserWarning, match="carries no mark"):
        second = other.embed(path)

    [published] = w.home.ledger.by_record(first.record.record_id)
    assert published.manifest_id.encode() in second.manifest
