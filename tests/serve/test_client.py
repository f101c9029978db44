"""The client asks who is on its list, believes nobody, and follows nothing."""

from __future__ import annotations

import json

import pytest
from tests.serve.conftest import Provider
from tests.serve.running import Service
from tests.serve.strangers import answering

from watermark.errors import VerificationError
from watermark.resolution import messages
from watermark.resolution.client import Found, Resolver, Silent
from watermark.resolution.endpoints import base_url
from watermark.sign.fetching import FetchError, Refused

ALG = "org.watermark-sdk.pixel.1"


def test_it_finds_what_the_service_has(service: Service, provider: Provider) -> None:
    resolver = Resolver([service.url + "/"])
    value = provider.marked.record.marks[0].mark_id

    assert list(resolver.resolve(ALG, value)) == [
        Found(service.url, provider.manifest_id, provider.marked.manifest)
    ]
    assert list(resolver.resolve(ALG, b"12345678")) == []
    assert ALG in resolver.algorithms(service.url)["watermarks"]
    row = resolver.receipt(
        service.url,
        provider.manifest_id,
        verifier=provider.home.ledger.verifier,
        manifest=provider.marked.manifest,
    )
    assert row.record.record_id == provider.marked.record.record_id
    assert resolver.manifest(service.url, "urn:c2pa:none") is None


def test_nobody_else_is_asked(service: Service) -> None:
    resolver = Resolver([])
    with pytest.raises(Refused, match="not on the list"):
        resolver.by_binding(service.url, ALG, b"12345678")

    assert list(resolver.resolve(ALG, b"12345678")) == []


def test_no_answer_leads_elsewhere() -> None:
    with answering(lambda _: b"{}") as (elsewhere, reached):
        match = {"manifestId": "urn:c2pa:1", "endpoint": elsewhere}
        said = json.dumps({"matches": [match]}).encode()
        with answering(lambda _: said) as (asked, paths):
            assert list(Resolver([asked]).resolve(ALG, b"12345678")) == []
            both = Resolver([asked, elsewhere])
            found = [each for each in both.resolve(ALG, b"1") if type(each) is Found]
            assert [each.endpoint for each in found] == [elsewhere]

    assert len(paths) == 2
    assert [path.partition("?")[0] for path in reached] == [
        "/manifests/urn:c2pa:1",
        "/matches/byBinding",
    ]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        b"[]",
        b'{"matches": {}}',
        b'{"matches": [{}]}',
        b'{"matches": [{"manifestId": "../../etc"}]}',
        b'{"matches": [{"manifestId": ".."}]}',
        b'{"matches": [{"manifestId": "a b"}]}',
        b'{"matches": [{"manifestId": "a", "endpoint": 3}]}',
        b"[" * 100_000,
        b'{"matches": ' + b"9" * 9000 + b"}",
    ],
)
def test_nonsense_is_an_error_of_ours(said: bytes) -> None:
    with answering(lambda _: said) as (url, asked):
        with pytest.raises(VerificationError):
            Resolver([url]).by_binding(url, ALG, b"12345678")
        [silent] = Resolver([url]).resolve(ALG, b"12345678")
        assert isinstance(silent, Silent)
        assert (silent.endpoint, silent.why != "") == (url, True)

    assert len(asked) == 2


def test_an_answer_that_never_ends() -> None:
    body = b" " * (messages.MAX_ANSWER + 1)
    with (
        answering(lambda _: body) as (url, _),
        pytest.raises(FetchError, match="more than"),
    ):
        Resolver([url]).by_binding(url, ALG, b"12345678")


def test_matches_are_cut() -> None:
    many = [{"manifestId": f"urn:{n}", "similarityScore": n} for n in range(500)]
    found = messages.read_matches(json.dumps({"matches": many}).encode())

    assert len(found) == messages.MAX_RESULTS
    assert (found[100 - 1].score, found[0].score) == (99, 0)


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc", "ftp://a", "https://", "https://u@a", "https://a?b"),
        *("https://@a", "https://a/?", "https://a/#", "https://a/v1?"),
        *("https://a#b", "https://a b", "https://a\nb", "https://[::1", "https://a:0"),
        *("http://repository.example", "http://10.0.0.1", "http://127.0.0.1.example"),
        *("https://a:99999", "https://" + "a" * 2000, "", "localhost:8000"),
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match="expected an https URL"):
        Resolver([url])


def test_a_password_in_a_url_is_not_said_again() -> None:
    with pytest.raises(ValueError, match="found the repository") as told:
        Resolver(["https://somebody:secret@a.example"])
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/v1/",
        "http://localhost:8000",
        "http://127.0.0.2",
        "http://[::1]",
    ],
)
def test_what_is_an_endpoint(url: str) -> None:
    assert base_url(url) == url.rstrip("/")


def test_a_manifest_id_is_one_part_of_a_path(service: Service) -> None:
    with pytest.raises(VerificationError):
        Resolver([service.url]).manifest(service.url, "../livez")
