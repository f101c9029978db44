"""The 12 routes of the Soft Binding Resolution API, on a service that listens."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from PIL import Image
from tests.serve.conftest import Provider, picture, stripped
from tests.serve.running import Service, changed

from watermark.api import Watermark
from watermark.record import Mark, Record
from watermark.resolution import receipt
from watermark.serve.repository import Facts, Repository
from watermark.serve.tree import active_only, read
from watermark.sign import c2pa, claims, trust
from watermark.store.leaf import ASSET, Entry, Row

# C2PA 2.4, Decoupled, OpenAPI 2.3.0: method, path, parameters (* required), statuses.
LOOK = "alg maxResults=10 hintAlg hintValue"
ROUTES = [
    ("get", "/matches/byBinding", "alg* value* maxResults=10", "200 400 403 414 500"),
    ("post", "/matches/byBinding", "maxResults=10", "200 400 403 500"),
    ("post", "/matches/byContent", LOOK, "200 400 403 415 500"),
    ("post", "/matches/byReference", LOOK, "200 400 403 500"),
    ("post", "/manifests", "returnReceipt=False", "200 400 403 500"),
    (
        "get",
        "/manifests/{manifestId}",
        "manifestId* returnActiveManifest=False",
        "200 400 403 404 500",
    ),
    ("delete", "/manifests/{manifestId}", "manifestId*", "204 400 403 404 500"),
    ("post", "/bindings", "", "204 400 403 404 500"),
    ("put", "/bindings", "", "204 400 403 404 500"),
    ("get", "/manifests/{manifestId}/receipts", "manifestId*", "200 400 404 500"),
    ("post", "/manifests/{manifestId}/receipts", "manifestId*", "200 400 404 500"),
    ("get", "/services/supportedAlgorithms", "", "200 400 403 500"),
]
C2PA = "application/c2pa"


def mark(provider: Provider) -> Mark:
    return provider.marked.record.marks[0]


def by_binding(service: Service, alg: str, value: bytes, **more: Any) -> list[str]:
    query = {"alg": alg, "value": base64.b64encode(value).decode(), **more}
    answer = service.get(f"/matches/byBinding?{urlencode(query)}")
    assert answer.status == 200
    return [match["manifestId"] for match in answer.json["matches"]]


def signed(provider: Provider, value: bytes) -> tuple[str, bytes, Record]:
    """A manifest of a mark, signed by the provider and not in its ledger."""
    made = Mark(scheme="pixel", version=1, key_id="k", mark_id=value)
    record = Record(kind="image", provider="Acme", marks=(made,))
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    found = c2pa.sign(
        file.getvalue(),
        "image/png",
        claims.definition(record),
        provider.home.credential,
    )
    return found.manifest_id, found.manifest, record


# --- shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "parameters", "statuses"), ROUTES)
def test_shape(
    service: Service, method: str, path: str, parameters: str, statuses: str
) -> None:
    said = service.get("/openapi.json").json["paths"][path][method]
    found = set()
    for one in said.get("parameters", []):
        default = one["schema"].get("default")
        end = "*" if one["required"] else "" if default is None else f"={default}"
        found.add(one["name"] + end)

    assert found == set(parameters.split())
    assert set(said["responses"]) - {"422"} == set(statuses.split())


def test_there_are_no_other_routes_of_the_api(service: Service) -> None:
    paths = service.get("/openapi.json").json["paths"]
    found = {(m, path) for path, methods in paths.items() for m in methods}
    own = {("post", "/v1/verify"), ("get", "/log/checkpoint")}

    assert found - own == {(method, path) for method, path, _, _ in ROUTES}


def test_errors_are_problem_details(service: Service) -> None:
    answer = service.get("/manifests/urn:c2pa:none")

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == 404
    assert answer.json["type"] == "urn:watermark-sdk:problem:not-found"


# --- matches --------------------------------------------------------------------------


def test_a_mark_leads_to_its_manifest(service: Service, provider: Provider) -> None:
    own = mark(provider)
    body = {"alg": own.binding, "value": base64.b64encode(own.mark_id).decode()}
    posted = service.send("/matches/byBinding?maxResults=3", body)

    assert by_binding(service, own.binding, own.mark_id) == [provider.manifest_id]
    assert posted.json == {"matches": [{"manifestId": provider.manifest_id}]}
    assert by_binding(service, own.binding, bytes(8)) == []
    assert by_binding(service, "com.example.other", own.mark_id) == []


def test_a_plus_that_was_not_escaped_is_one(service: Service) -> None:
    escaped = service.get("/matches/byBinding?alg=a.b&value=%2B%2B%2B%2B")
    plain = service.get("/matches/byBinding?alg=a.b&value=++++")

    assert (escaped.status, plain.status) == (200, 200)


def test_what_is_no_mark_is_not_looked_up(service: Service, provider: Provider) -> None:
    """The ledger is searched by digests as well: who asks for those learns nothing."""
    [row] = provider.home.ledger.by_record(provider.marked.record.record_id)
    known = [pair for pair in row.bindings if pair[0] != mark(provider).binding]

    assert ASSET in dict(known)
    for alg, value in known:
        assert by_binding(service, alg, value) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("alg=a.b", 400),
        ("value=AAAA", 400),
        ("alg=a.b&value=not*base64", 400),
        ("alg=a.b&value=", 400),
        ("alg=a%20b&value=AAAA", 400),
        ("alg=a.b&value=AAAA&maxResults=0", 400),
        ("alg=a.b&value=AAAA&maxResults=many", 400),
        (f"alg=a.b&value={'A' * 5000}", 414),
    ],
)
def test_a_bad_query(service: Service, query: str, status: int) -> None:
    answer = service.get(f"/matches/byBinding?{query}")

    assert answer.status == status
    assert answer.json["status"] == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"alg": "a.b"}',
        b'{"alg": 1, "value": "AAAA"}',
        b"[" * 30_000,
        b'{"alg": ' + b"1" * 9000 + b"}",
        b"\xff\xfe",
    ],
)
def test_a_bad_body(service: Service, body: bytes) -> None:
    answer = service.post("/matches/byBinding", body, content_type="application/json")

    assert answer.status == 400


def test_a_body_of_json_that_is_too_long(service: Service) -> None:
    assert service.send("/bindings", {"bindingValue": "A" * 70_000}).status == 413


def test_content_leads_to_its_manifest(service: Service, provider: Provider) -> None:
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(provider.file)).convert("RGB").save(jpeg, "JPEG", quality=75)
    alg = mark(provider).binding
    found = {"matches": [{"manifestId": provider.manifest_id}]}

    for data, kind in (
        (stripped(provider.file), "image/png"),
        (jpeg.getvalue(), "image/jpeg"),
    ):
        answer = service.post("/matches/byContent", data, content_type=kind)
        assert answer.json == found
    path = f"/matches/byContent?alg={alg}&hintAlg={alg}&hintValue=AAAA"
    assert service.post(path, data, content_type=kind).json == found
    other = service.post("/matches/byContent?alg=a.b", data, content_type=kind)
    assert other.json == {"matches": []}


def test_content_without_a_mark_leads_nowhere(service: Service) -> None:
    plain = io.BytesIO()
    picture(seed=8).save(plain, "PNG")
    kind = "image/png"
    answer = service.post("/matches/byContent", plain.getvalue(), content_type=kind)

    assert answer.json == {"matches": []}


@pytest.mark.parametrize(
    ("data", "kind", "query", "status"),
    [
        (b"a text", "", "", 415),
        (b"a text", "font/woff", "", 415),
        (b"PK\3\4" + bytes(100), "application/zip", "", 415),
        (b"\0\0\0\x18ftypisom" + bytes(100), "video/mp4", "", 415),
        (b"%PDF-1.7\n", "application/pdf", "", 415),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png", "", 200),
        (b"a text", "text/plain", "?hintValue=*", 400),
        (b"a text", "text/plain", "?maxResults=0", 400),
    ],
)
def test_content_that_cannot_be_looked_at(
    service: Service, data: bytes, kind: str, query: str, status: int
) -> None:
    answer = service.post(f"/matches/byContent{query}", data, content_type=kind)

    assert answer.status == status


def test_content_that_is_too_large(service: Service) -> None:
    with changed(service, content=1000):
        body = bytes(70_000)
        whole = service.post("/matches/byContent", body, content_type="text/plain")
        form = service.form(text="a" * 70_000)

    # The guard's limit is the one that the service was started with.
    assert whole.status == 415
    assert form.status == 400


# --- manifests ------------------------------------------------------------------------


def test_a_manifest_is_handed_out(service: Service, provider: Provider) -> None:
    path = f"/manifests/{quote(provider.manifest_id, safe='')}"
    answer = service.get(path)
    active = service.get(f"{path}?returnActiveManifest=true")

    assert answer.headers["content-type"] == C2PA
    assert answer.body == provider.marked.manifest
    assert active.body == active_only(answer.body)
    assert (read(active.body) or {})["label"] == provider.manifest_id


def test_keeping_needs_a_token(service: Service, provider: Provider) -> None:
    body = provider.marked.manifest
    for token in (None, "wm_wrong", "x" * 5000):
        answer = service.post("/manifests", body, token=token, content_type=C2PA)
        assert answer.status == 403
        assert answer.headers["www-authenticate"].startswith("Bearer error=")
    reader = service.state.tokens.add("reader", frozenset({"fetch:manifests"}))
    for method, path in (
        ("POST", "/manifests"),
        ("DELETE", f"/manifests/{provider.manifest_id}"),
    ):
        assert service.ask(method, path, body, token=reader).status == 403
    binding = {"bindingValue": "AAAA", "manifestId": provider.manifest_id}
    assert service.send("/bindings", binding, token=reader).status == 403
    assert service.send("/bindings", binding, "PUT", token=reader).status == 403
    assert service.state.tokens.revoke("reader")
    assert service.get("/services/supportedAlgorithms", token=reader).status == 403


def test_reading_may_need_one_too(service: Service, provider: Provider) -> None:
    paths = (
        "/services/supportedAlgorithms",
        "/matches/byBinding?alg=a.b&value=AAAA",
        f"/manifests/{provider.manifest_id}",
        f"/manifests/{provider.manifest_id}/receipts",
    )
    text = b"a text that nobody marked"
    with changed(service, anonymous_read=False):
        for path in paths:
            assert service.get(path).status == 403
            assert service.get(path, token=provider.token).status == 200
        # What the page tells is read from the same ledger.
        assert service.post("/v1/verify", text).status == 403
        assert service.form(text="a text").status == 403
        assert service.post("/v1/verify", text, token=provider.token).status == 200
        assert service.form(text="a text", token=provider.token).status == 200


def test_a_manifest_of_ours_is_kept_and_recovered(
    service: Service, provider: Provider
) -> None:
    name, store, record = signed(provider, b"8 bytes.")
    path, token = "/manifests?returnReceipt=true", provider.token
    first = service.post(path, store, token=token, content_type=C2PA)
    again = service.post(path, store, token=token, content_type=C2PA)

    assert first.json["manifestId"] == again.json["manifestId"] == name
    row = receipt.verify(
        first.json["receipt"], verifier=provider.home.ledger.verifier, manifest=store
    )
    assert row.record.record_id == record.record_id
    assert len(provider.home.ledger.by_record(record.record_id)) == 1
    alg = record.marks[0].binding
    assert provider.home.ledger.by_binding(alg, b"8 bytes.") == [row]
    assert by_binding(service, alg, b"8 bytes.") == [name]


@pytest.mark.parametrize("trusted", [False, True])
def test_a_manifest_of_a_stranger_changes_no_mark(
    service: Service, provider: Provider, tmp_path: Path, trusted: bool
) -> None:
    """Who may store could else let our marks lead to a record of theirs."""
    other = Watermark.create(tmp_path / "other", provider="Stranger")
    lists = provider.home.path / "trust"
    if trusted:
        trust.update(lists, "manifest", other.home.anchors, source="a test")
    stranger = Provider(other.home, provider.marked, b"", "", "")
    own = mark(provider)
    name, store, record = signed(stranger, own.mark_id)
    answer = service.post("/manifests", store, token=provider.token, content_type=C2PA)

    assert answer.json == {"manifestId": name}
    assert provider.home.ledger.by_record(record.record_id) == []
    rows = provider.home.ledger.by_binding(own.binding, own.mark_id)
    assert {row.manifest_id for row in rows} == {provider.manifest_id}
    found = by_binding(service, own.binding, own.mark_id)
    assert found == [provider.manifest_id, name]
    assert by_binding(service, own.binding, own.mark_id, maxResults=1) == found[:1]
    # Withdrawn, it is gone everywhere; that it was logged stays.
    size = provider.home.ledger.size
    path = f"/manifests/{name}"
    assert service.get(f"{path}/receipts").status == 200
    assert service.ask("DELETE", path, token=provider.token).status == 204
    assert service.ask("DELETE", path, token=provider.token).status == 404
    assert service.get(path).status == 404
    assert service.get(f"{path}/receipts").status == 404
    assert by_binding(service, own.binding, own.mark_id) == [provider.manifest_id]
    assert provider.home.ledger.size == size
    back = service.post("/manifests", store, token=provider.token, content_type=C2PA)
    assert back.status == 200
    assert service.get(path).body == store
    assert service.ask("DELETE", path, token=provider.token).status == 204
    shutil.rmtree(lists, ignore_errors=True)


def altered(store: bytes, what: bytes, move: int = 0) -> bytes:
    place = store.index(what) + move
    return store[:place] + bytes([store[place] ^ 1]) + store[place + 1 :]


def test_what_is_no_sound_manifest_is_refused(
    service: Service, provider: Provider
) -> None:
    _, store, _ = signed(provider, b"unsound.")
    bad = {
        "empty": b"",
        "garbage": bytes(range(256)) * 4,
        "cut": store[:-9],
        "assertion": altered(store, b"unsound."),
        "claim": altered(store, b"claim_generator_info", 30),
        "long": store[:4] + store[4:] * 2,
        "boxes": store[:60] + b"\xff\xff\xff\xff" + store[64:],
    }
    for name, data in bad.items():
        answer = service.post(
            "/manifests", data, token=provider.token, content_type=C2PA
        )
        assert (name, answer.status) == (name, 400)
        assert answer.json["type"].endswith("malformed-request")
    answer = service.post("/manifests", store, token=provider.token)
    assert answer.status == 400


def test_an_id_stands_for_one_manifest(service: Service, provider: Provider) -> None:
    """The padding of a signature is not signed: other bytes can be as sound."""
    _, store, _ = signed(provider, b"twice...")
    kept = {"token": provider.token, "content_type": C2PA}
    assert service.post("/manifests", store, **kept).status == 200
    other = altered(store, b"\0" * 64, 5)
    answer = service.post("/manifests", other, **kept)

    assert answer.status == 400
    assert "another manifest" in answer.json["detail"]


def test_of_two_at_once_one_is_logged(
    service: Service, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, store, record = signed(provider, b"at once.")
    kept = {"token": provider.token, "content_type": C2PA}
    ledger = service.state.home.ledger
    append = ledger.append

    def slowly(entries: Sequence[Entry]) -> list[Row]:
        time.sleep(0.1)
        return append(entries)

    monkeypatch.setattr(ledger, "append", slowly)
    facts = Facts(name, "Acme", True, record.record_id, ())
    with ThreadPoolExecutor(8) as pool:
        adding = [
            pool.submit(service.state.repository.add, store, facts) for _ in range(8)
        ]
    assert [each.result() for each in adding] == [None] * 8
    assert len(provider.home.ledger.by_record(record.record_id)) == 1
    assert service.post("/manifests", store, **kept).status == 200


def test_of_two_withdrawals_one_finds_it(
    service: Service, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, store, _ = signed(provider, b"two gone")
    kept = {"token": provider.token, "content_type": C2PA}
    assert service.post("/manifests", store, **kept).status == 200
    assert (
        service.ask("DELETE", f"/manifests/{name}", token=provider.token).status == 204
    )
    # As if the other had come between the question and the deed.
    monkeypatch.setattr(Repository, "_expect", lambda *_: None)
    assert (
        service.ask("DELETE", f"/manifests/{name}", token=provider.token).status == 404
    )


def test_a_withdrawn_manifest_is_not_read_out(
    service: Service, provider: Provider
) -> None:
    """Nor on the page, where its mark leads to it."""
    data, token = stripped(provider.file), provider.token
    path = f"/manifests/{provider.manifest_id}"
    assert b"c2pa.watermarked.bound" in service.form(file=data).body
    assert service.ask("DELETE", path, token=token).status == 204
    try:
        gone = service.form(file=data).body
    finally:
        store = provider.marked.manifest
        back = service.post("/manifests", store, token=token, content_type=C2PA)
        assert back.status == 200

    assert b"Marked" in gone
    assert b"c2pa.watermarked.bound" not in gone


# --- receipts -------------------------------------------------------------------------


def test_a_receipt_is_checked(service: Service, provider: Provider) -> None:
    path = f"/manifests/{provider.manifest_id}/receipts"
    given = service.get(path).json
    assert given.pop("verified") is True
    good = service.send(path, given)
    other = given | {"repository": {**given["repository"], "manifestId": "urn:c2pa:x"}}

    assert good.json == {**given, "verified": True}
    bad = service.send(path, other)
    assert (bad.status, bad.json["verified"]) == (200, False)
    assert bad.json["error"]
    assert service.send(path, {**given, "more": 1}).status == 400
    assert service.send("/manifests/urn:c2pa:none/receipts", given).status == 404
    assert service.get("/manifests/urn:c2pa:none/receipts").status == 404


@pytest.mark.parametrize(
    "more",
    ['"\\ud800"', "NaN", "[" * 900 + "]" * 900, '{"a": ' * 400 + "1" + "}" * 400],
)
def test_a_receipt_that_cannot_be_said_again(
    service: Service, provider: Provider, more: str
) -> None:
    """Half a character, or a depth that only a reader bears: 400, or said again."""
    path = f"/manifests/{provider.manifest_id}/receipts"
    given = service.get(path).json
    del given["verified"]
    given["anchor"]["more"] = "@"
    body = json.dumps(given).replace('"@"', more).encode()
    answer = service.post(path, body, content_type="application/json")

    assert answer.status in (200, 400)
    if answer.status == 200:
        assert answer.json["verified"] is True


def test_the_checkpoint_is_public(service: Service, provider: Provider) -> None:
    answer = service.get("/log/checkpoint")

    assert answer.body.decode() == provider.home.ledger.checkpoint()


# --- bindings -------------------------------------------------------------------------


def test_a_binding_is_added_and_moved(service: Service, provider: Provider) -> None:
    name, store, record = signed(provider, b"bindings")
    kept = {"token": provider.token}
    assert service.post("/manifests", store, content_type=C2PA, **kept).status == 200
    alg, value = record.marks[0].binding, base64.b64encode(b"new one").decode()
    new = {"bindingValue": value, "manifestId": name}

    # Its algorithm is the only one that this manifest has.
    assert service.send("/bindings", new, "PUT", **kept).status == 404
    assert service.send("/bindings", new, **kept).status == 204
    assert by_binding(service, alg, b"new one") == [name]
    moved = {"bindingValue": value, "manifestId": provider.manifest_id}
    assert service.send("/bindings", moved, "PUT", **kept).status == 204
    assert by_binding(service, alg, b"new one") == [provider.manifest_id]
    # What the ledger itself knows can be moved, too.
    value = base64.b64encode(b"bindings").decode()
    moved = {"bindingValue": value, "manifestId": provider.manifest_id, "alg": alg}
    assert service.send("/bindings", moved, "PUT", **kept).status == 204
    assert by_binding(service, alg, b"bindings") == [provider.manifest_id]


def test_a_binding_that_cannot_be(service: Service, provider: Provider) -> None:
    kept = {"token": provider.token}
    fine = {"bindingValue": "AAAA", "manifestId": provider.manifest_id}

    assert (
        service.send("/bindings", {**fine, "manifestId": "urn:x"}, **kept).status == 404
    )
    assert (
        service.send("/bindings", {**fine, "bindingValue": "*"}, **kept).status == 400
    )
    assert service.send("/bindings", {"bindingValue": "AAAA"}, **kept).status == 400
    several = {**fine, "alg": "a.b"}
    assert service.send("/bindings", several, **kept).status == 204
    assert service.send("/bindings", fine, **kept).status == 400  # two are possible now


def test_supported_algorithms(service: Service, provider: Provider) -> None:
    found = service.get("/services/supportedAlgorithms").json

    assert found["fingerprints"] == []
    assert {"alg": mark(provider).binding} in found["watermarks"]
    assert all(set(row) == {"alg"} for row in found["watermarks"])
