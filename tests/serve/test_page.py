"""The verify page as it is sent: what it says, and that nothing gets into it."""

from __future__ import annotations

import hashlib
import html
import json
import re
from base64 import b64decode
from pathlib import Path

import pytest
from tests.serve.conftest import Provider, stripped
from tests.serve.running import Answer, Service
from tests.toys import generate, text_of

from watermark.schemes import default_records
from watermark.serve import page, signed
from watermark.serve.markup import tag

SCRIPT = "<script>alert(1)</script>"


def text(answer: Answer) -> str:
    """What a reader reads."""
    plain = re.sub(r"<[^>]*>", " ", answer.body.decode())
    return re.sub(r"\s+", " ", html.unescape(plain))


def jws(answer: Answer) -> str:
    [found] = re.findall(rb'href="data:application/jose;base64,([^"]+)"', answer.body)
    return b64decode(found).decode()


def test_the_form(service: Service, provider: Provider) -> None:
    answer = service.get("/")
    body = answer.body.decode()

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "nothing is stored" in text(answer)
    assert html.escape(provider.home.provider) in body
    assert provider.home.provider not in body  # it holds HTML of its own
    for name in ("file", "text", "token"):
        assert f'name="{name}"' in body
        assert f'<label for="{name}"' in body


@pytest.mark.parametrize(
    "path", ["/", "/static/style.css", "/static/page.js", "/livez"]
)
def test_every_answer_is_closed_up(service: Service, path: str) -> None:
    headers = service.get(path).headers
    policy = dict(
        part.strip().split(" ", 1)
        for part in headers["content-security-policy"].split(";")
    )

    assert policy["default-src"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_nothing_is_loaded_from_elsewhere(service: Service) -> None:
    answer = service.form(text="a text")
    body = answer.body.decode() + service.get("/").body.decode()
    links = re.findall(r'(?:href|src|action)="([^"]*)"', body)

    assert len(links) > 8
    for link in links:
        assert link.startswith(("/", "#", "data:application/jose;base64,"))
    assert "style=" not in body
    assert not re.search(r"\son[a-z]+=", body)
    style = service.get("/static/style.css").body.decode()
    assert "url(" not in style
    assert "@import" not in style
    for name in ("../app.py", "..%2fapp.py", "page.js.map", "%2e%2e/app.py"):
        assert service.get(f"/static/{name}").status == 404


def test_a_marked_picture(service: Service, provider: Provider) -> None:
    data = stripped(provider.file)
    answer = service.form(file=data)
    said = text(answer)

    assert answer.status == 200
    assert "Marked" in said
    assert "found again by the mark" in said
    assert provider.manifest_id in said
    assert provider.marked.record.record_id in said
    assert "c2pa.watermarked.bound" in said
    assert "log10" not in said
    assert provider.marked.record.marks[0].mark_id.hex() not in said


def test_a_token_shows_the_numbers(service: Service, provider: Provider) -> None:
    answer = service.form(file=stripped(provider.file), token=provider.token)
    said = text(answer)

    assert "log10 p" in said
    assert "at most 1 in" in said
    assert provider.marked.record.marks[0].mark_id.hex() in said
    wrong = service.form(file=stripped(provider.file), token="wm_wrong")
    assert wrong.status == 403
    assert "Marked" not in text(wrong)


def test_a_text_that_is_marked_in_part(service: Service, provider: Provider) -> None:
    key = provider.home.ring.newest.key
    [record] = [r for r in default_records(key) if r.scheme == "gumbel"]
    own = text_of(generate(record, 500))
    sent = "\n".join([text_of(generate(None, 300, seed=5)), own])
    fine = service.form(text=sent, token=provider.token)
    coarse = service.form(text=sent)
    shown = "".join(re.findall(r"<mark>([^<]*)</mark>", fine.body.decode()))

    assert "Marked" in text(fine)
    assert "Marked" in text(coarse)
    # Most of what is shown as marked is, and most of what is marked is shown.
    assert len(shown) > 0.8 * len(own)
    assert len(shown) < 1.1 * len(own)
    assert b"<mark>" not in coarse.body
    digest = hashlib.sha256(sent.encode()).hexdigest()
    assert digest in text(fine)
    other = service.form(text=text_of(generate(None, 500, seed=6)))
    assert "Marked" not in text(other)


def test_the_report_to_keep(service: Service, provider: Provider) -> None:
    data = stripped(provider.file)
    anchors = provider.home.anchors
    coarse = signed.verify(jws(service.form(file=data)), anchors=anchors)
    token = provider.token
    fine = signed.verify(jws(service.form(file=data, token=token)), anchors=anchors)
    for payload, schema in (
        (coarse, "watermark.publicreport/1"),
        (fine, "watermark.report/1"),
    ):
        assert payload["report"]["schema"] == schema
        assert payload["report"]["sha256"] == payload["sha256"]
        assert payload["report"]["verdict"] == "MARKED"
        assert payload["bytes"] == len(data)
    assert "log10_p" not in json.dumps(coarse)


def test_programs_get_the_same(service: Service, provider: Provider) -> None:
    data = stripped(provider.file)
    coarse = service.post("/v1/verify", data).json
    fine = service.post("/v1/verify", data, token=provider.token).json
    kept = service.post("/v1/verify", data, accept="application/jose")
    payload = signed.verify(kept.body.decode(), anchors=provider.home.anchors)

    assert coarse["schema"] == "watermark.publicreport/1"
    assert fine["schema"] == "watermark.report/1"
    assert payload["report"] == coarse
    assert service.post("/v1/verify", b"").status == 400


def test_a_text_is_hashed_as_it_was_pasted(service: Service) -> None:
    """A form sends CR LF for every line break."""
    sent = b"one line\r\nanother"
    payload = service.form(text=sent.decode())
    digest = hashlib.sha256(b"one line\nanother").hexdigest()

    assert digest in text(payload)


def test_a_pasted_text_is_a_text(service: Service) -> None:
    said = text(service.form(text="%PDF-1.7 " + "is how some files begin. " * 20))

    assert "pasted" in said
    assert "no detector" not in said


def test_hostile_names_and_texts(service: Service) -> None:
    line = "--b"
    name = SCRIPT.replace('"', "") + "\u202egnp.exe"
    body = (
        f'{line}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"\r\n{SCRIPT}\r\n{line}--\r\n"
    ).encode()
    answer = service.post(
        "/verify", body, content_type="multipart/form-data; boundary=b"
    )

    assert answer.status == 200
    assert SCRIPT.encode() not in answer.body
    assert "\u202e" not in answer.body.decode()
    assert SCRIPT in text(answer).replace("␣", "")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--\r\n"),
        ("multipart/form-data", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"garbage"),
        ("application/x-www-form-urlencoded", b"text=a"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\na\r\n' * 20
            + b"--b--\r\n",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            b"a\r\n" * 3 + b"--b--\r\n",
        ),
    ],
)
def test_bad_forms(service: Service, kind: str, body: bytes) -> None:
    answer = service.post("/verify", body, content_type=kind)

    assert answer.status == 400
    assert "could not be checked" in text(answer)


def test_nothing_is_stored(service: Service, provider: Provider) -> None:
    def files() -> set[tuple[str, int]]:
        everything = provider.home.path.rglob("*")
        return {(str(p), p.stat().st_size) for p in everything if "-shm" not in p.name}

    before, size = files(), provider.home.ledger.size
    secret = b"nobody shall keep this " * 60_000  # more than Starlette spools
    answer = service.form(file=secret)
    service.post("/v1/verify", secret)

    assert answer.status == 200
    assert provider.home.ledger.size == size
    assert {name for name, _ in files()} == {name for name, _ in before}
    for path in provider.home.path.rglob("*"):
        if path.is_file():
            assert secret[:100] not in path.read_bytes()


def seen(**evidence: object) -> dict[str, object]:
    one = {
        "layer": "mark",
        "detector": "gumbel",
        "scheme": "gumbel",
        "version": 1,
        "key_id": SCRIPT,
        "log10_p": -9.0,
        "n": 100,
        "payload": None,
        "spans": [],
        "map": [],
        "state": "",
        "codes": [SCRIPT],
        "detail": SCRIPT,
        **evidence,
    }
    report = {
        "verdict": "MARKED",
        "kind": "text",
        "sha256": "0" * 64,
        "record_ids": [SCRIPT],
        "reasons": [{"code": SCRIPT, "detail": SCRIPT}],
        "evidence": [one],
    }
    return {"report": report, "max_fpr": 1e-6, "text": None, "trees": []}


def test_passages_are_shown_and_escaped() -> None:
    found = seen(spans=[[4, 12], [8, 16]])
    found["text"] = f"One {SCRIPT} two"
    html_ = page.report("Acme", found, full=True, name="", jws=None)
    coarse = page.report("Acme", found, full=False, name="", jws=None)

    assert SCRIPT not in html_ + coarse
    assert "One <mark>&lt;script&gt;</mark><mark>aler</mark>t(1)" in html_
    assert "<mark>" not in coarse


def test_a_map_is_drawn() -> None:
    html_ = page.report(
        "Acme", seen(map=[[0.0, 1.0], [2.0, 0.5]]), full=True, name="a", jws=None
    )
    shades = re.findall(r'fill-opacity="([\d.]+)"', html_)

    assert shades == ["0.00", "0.50", "1.00", "0.25"]
    assert 'aria-label="where the picture carries gumbel"' in html_


def test_a_tree_is_shown_and_escaped() -> None:
    found = seen()
    child = {"label": SCRIPT, "generator": "x", "actions": [], "ingredients": []}
    part = {
        "relationship": "parentOf",
        "title": SCRIPT,
        "format": "",
        "manifest": child,
    }
    made = {
        "label": "urn:c2pa:1",
        "generator": SCRIPT,
        "actions": [{"action": SCRIPT, "source": f"http://a/{SCRIPT}"}],
        "ingredients": [part],
    }
    found["trees"] = [made, made]
    html_ = page.report("Acme", found, full=False, name="a", jws=None)

    assert SCRIPT not in html_
    assert html_.count("&lt;script&gt;alert(1)") >= 4


def test_attributes_are_escaped() -> None:
    assert str(tag("a", href='"><script>')) == '<a href="&quot;&gt;&lt;script&gt;"></a>'


def test_no_page_has_a_file_of_ours_in_it(service: Service) -> None:
    said = text(service.form(file=b"\x89PNG\r\n\x1a\n" + bytes(100)))

    assert str(Path(__file__).parents[2]) not in said
    assert "Traceback" not in said
