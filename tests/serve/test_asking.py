"""From a mark back to a manifest that another repository has, whatever it is like."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve import offline
from tests.serve.conftest import Provider, picture, stripped
from tests.serve.running import Service
from tests.serve.strangers import Handler, marks, offering, send, signed, stranger
from tests.sign.sealed import without_sockets

from watermark import cli, verification
from watermark.api import Watermark
from watermark.assets import fingerprint
from watermark.assets.loading import load
from watermark.cli.terminal import Code
from watermark.errors import HomeError
from watermark.home import Home
from watermark.policy import Signed
from watermark.record import Record
from watermark.report import Evidence, Report, Verdict
from watermark.resolution import messages
from watermark.resolution.client import Found, Resolver, Silent
from watermark.verification import ledger as ledger_layer
from watermark.verification.setting import Findings
from watermark.verifier import Verifier


def asking(provider: Provider, *urls: str, **more: Any) -> Verifier:
    """Somebody who has the keys and trusts the signer, but has no ledger."""
    anchors = more.pop("trust", provider.home.anchors)
    return Verifier(
        None, keys=provider.home.ring, trust=anchors, resolve=list(urls), **more
    )


def manifests(report: Report) -> list[Evidence]:
    found = [e for e in report.evidence if e.layer == "manifest"]
    return [e for e in found if e.state != "none"]


def codes(report: Report) -> list[str]:
    return [reason.code for reason in report.reasons]


# --- a repository that is honest ------------------------------------------------------


def test_a_mark_leads_to_the_manifest_of_another_repository(
    provider: Provider, service: Service
) -> None:
    report = asking(provider, service.url)(stripped(provider.file))
    [found] = manifests(report)

    assert (report.verdict, found.state) == (Verdict.MARKED, "recovered")
    assert found.key_id == provider.home.provider
    assert "from-repository" in found.codes
    assert "not-compared" not in found.codes
    assert found.detail == f"{provider.manifest_id}, from {service.url}"
    assert report.record_ids == (provider.marked.record.record_id,)
    report.require(Signed(by=provider.home.provider, recovered=True))


def test_nobody_is_asked_unless_the_caller_says_so(provider: Provider) -> None:
    with offering([]) as (url, asked):
        keys, trust = provider.home.ring, provider.home.anchors
        report = Verifier(None, keys=keys, trust=trust)(stripped(provider.file))
        assert (report.verdict, manifests(report)) == (Verdict.MARKED, [])
        # Nor where there is nothing to ask about, or nothing was stripped.
        asking(provider, url)(picture(seed=9))
        asking(provider, url)(provider.file)
        # Nor where the home itself has the manifest.
        Verifier(provider.home, resolve=[url])(stripped(provider.file))

    assert asked == []


def offline_look(provider: Provider, tmp_path: Path, *more: str) -> tuple[int, str]:
    """Verify in a process that the kernel kills if it asks for a socket."""
    file = tmp_path / "stripped.png"
    file.write_bytes(stripped(provider.file))
    done = without_sockets(offline.__file__, provider.home.path, file, *more)
    return done.returncode, done.stdout


def test_by_default_no_socket_is_opened(provider: Provider, tmp_path: Path) -> None:
    code, said = offline_look(provider, tmp_path)
    assert (code, said.split()) == (0, ["MARKED", "recovered"])
    # The wire is live: to ask somebody is to die of it.
    code, _ = offline_look(provider, tmp_path, "http://127.0.0.1:9")
    assert code == -signal.SIGSYS


def test_the_service_itself_asks_nobody(provider: Provider, service: Service) -> None:
    """A stranger's upload must not make it call others."""
    with offering([]) as (url, asked):
        path = provider.home.path / "repositories.txt"
        path.write_text(f"{url}\n")
        try:
            answer = service.post("/v1/verify", stripped(provider.file))
        finally:
            path.unlink()

    assert answer.json["verdict"] == "MARKED"
    assert asked == []


def test_what_is_sent_is_what_the_mark_carries(provider: Provider) -> None:
    mark_id = provider.marked.record.marks[0].mark_id
    with offering([]) as (url, asked):
        asking(provider, url)(stripped(provider.file))
    [path] = asked

    assert path.startswith("/matches/byBinding?alg=org.watermark-sdk.pixel.1&value=")
    value = path.partition("value=")[2].partition("&")[0]
    assert messages.decode_value(value.replace("%3D", "=")) == mark_id


# --- repositories that lie ------------------------------------------------------------


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("b") / "home", provider="Bystander")


def refused(provider: Provider, *offered: tuple[str, bytes]) -> str:
    """Why what a repository has did not count; the verdict stays what it was."""
    with offering(offered) as (url, _):
        report = asking(provider, url)(stripped(provider.file))

    assert report.verdict == Verdict.MARKED
    assert manifests(report) == []
    [reason] = [r for r in report.reasons if r.code == "repository-refused"]
    assert url in reason.detail
    return reason.detail


def test_a_manifest_of_another_picture(provider: Provider) -> None:
    told = refused(provider, signed(provider, marks=marks(("pixel", bytes(8)))))
    assert "does not name the mark" in told


def test_a_manifest_that_names_every_mark_it_can(provider: Provider) -> None:
    own = provider.marked.record.marks[0].mark_id
    every = marks(*(("pixel", bytes([n] * 8)) for n in range(9)), ("pixel", own))
    assert "that alone" in refused(provider, signed(provider, marks=every))


def test_a_manifest_under_the_name_of_another(provider: Provider) -> None:
    _, store = signed(provider)
    assert "what lies there is" in refused(provider, ("urn:c2pa:other", store))


def test_a_manifest_that_nobody_trusted_signed(
    provider: Provider, other: Watermark
) -> None:
    name, store = signed(replace(provider, home=other.home))
    assert "signingCredential.untrusted" in refused(provider, (name, store))


@pytest.mark.parametrize("where", [200, -900, -300])
def test_a_manifest_that_was_edited(provider: Provider, where: int) -> None:
    name, store = signed(provider)
    edited = bytearray(store)
    edited[where] ^= 1
    assert "no trusted signature" in refused(provider, (name, bytes(edited)))


@pytest.mark.parametrize("store", [b"", b"{}", b"\x00" * 1000, b"jumb" * 99])
def test_what_is_no_manifest(provider: Provider, store: bytes) -> None:
    assert "no trusted signature" in refused(provider, ("urn:c2pa:1", store))


def test_one_that_lies_does_not_hide_one_that_does_not(
    provider: Provider, service: Service
) -> None:
    with offering([(provider.manifest_id, b"nonsense")]) as (url, _):
        report = asking(provider, url, service.url)(stripped(provider.file))

    assert [e.state for e in manifests(report)] == ["recovered"]
    assert codes(report).count("repository-refused") == 1


# --- repositories that do not behave --------------------------------------------------


def drip(handler: Handler) -> None:
    """A byte now and then, for as long as anybody listens."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)


def endless(handler: Handler) -> None:
    with contextlib.suppress(OSError):
        send(handler, b" " * (messages.MAX_ANSWER + 2))


def redirecting(handler: Handler) -> None:
    send(handler, b"", 302, Location=redirecting.target)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (drip, "no answer within"),
        (endless, "answered more than"),
        (lambda h: send(h, b"", 500), "answered 500"),
        (lambda h: send(h, b"[]"), "no JSON object"),
        (lambda h: h.connection.close(), ""),
    ],
)
def test_one_that_gives_no_answer(
    provider: Provider,
    service: Service,
    answer: Callable[[Handler], None],
    why: str,
) -> None:
    with stranger(answer) as (url, _):
        verify = asking(provider, url, service.url)
        verify._resolver = Resolver([url, service.url], seconds=1.0)
        began = time.monotonic()
        report = verify(stripped(provider.file))
        assert time.monotonic() - began < 8

    [silent] = [r for r in report.reasons if r.code == "repository-silent"]
    assert silent.detail.startswith(f"{url} gave no answer: ")
    assert why in silent.detail
    # The next one was asked all the same.
    assert [e.state for e in manifests(report)] == ["recovered"]


def test_a_redirect_to_a_private_address_is_not_followed(provider: Provider) -> None:
    with stranger(lambda h: send(h, b"{}")) as (inside, reached):
        redirecting.target = inside  # type: ignore[attr-defined]
        with stranger(redirecting) as (url, _):
            report = asking(provider, url)(stripped(provider.file))

    assert reached == []
    [silent] = [r for r in report.reasons if r.code == "repository-silent"]
    assert "redirects are not followed" in silent.detail


def test_the_time_is_for_all_that_one_repository_is_asked(provider: Provider) -> None:
    """Ten manifests that come slowly do not take ten times as long."""
    names = [(f"urn:c2pa:{n}", b"") for n in range(10)]

    def slow(handler: Handler) -> None:
        if handler.path.startswith("/manifests"):
            time.sleep(0.4)
            send(handler, b"")
        else:
            matches = ", ".join(f'{{"manifestId": "{name}"}}' for name, _ in names)
            send(handler, f'{{"matches": [{matches}]}}'.encode())

    with stranger(slow) as (url, asked):
        began = time.monotonic()
        found = list(Resolver([url], seconds=1.0).resolve("a", b"1"))
        assert time.monotonic() - began < 3

    assert 2 <= len(asked) <= 4
    assert "Silent" in repr(found[-1])


def test_one_that_names_what_another_has_does_not_hide_it() -> None:
    """It takes nearly all the time there is, and leaves too little to fetch that."""

    def has(handler: Handler) -> None:
        if handler.path.startswith("/manifests"):
            time.sleep(1.2)
            send(handler, b"the store")
        else:
            send(handler, b'{"matches": [{"manifestId": "urn:c2pa:1"}]}')

    with stranger(has) as (honest, _):

        def late(handler: Handler) -> None:
            time.sleep(1.4)
            match = {"manifestId": "urn:c2pa:1", "endpoint": honest}
            send(handler, json.dumps({"matches": [match]}).encode())

        with stranger(late) as (url, _):
            found = list(Resolver([url, honest], seconds=2.0).resolve("a", b"1"))

    silent, other = found
    assert isinstance(silent, Silent)
    assert silent.endpoint == url  # and not the one that had no time to answer
    assert other == Found(honest, "urn:c2pa:1", b"the store")


def test_more_manifests_than_are_looked_at_are_told(provider: Provider) -> None:
    offered = [(f"urn:c2pa:{n}", b"") for n in range(11)]
    with offering(offered) as (url, asked):
        report = asking(provider, url)(stripped(provider.file))

    assert len(asked) == 1 + 10
    [reason] = [r for r in report.reasons if r.code == "repository-more"]
    assert reason.detail.startswith(f"{url} has more than 10")


# --- what contradicts -----------------------------------------------------------------


def test_a_manifest_inside_and_another_elsewhere(
    provider: Provider, service: Service, other: Watermark
) -> None:
    """Who puts a manifest of their own around somebody's mark is found out."""
    with pytest.warns(UserWarning, match="no mark"):
        claimed = other.embed(stripped(provider.file), mark=False).data
    trust = provider.home.anchors + other.home.anchors
    report = asking(provider, service.url, trust=trust)(claimed)

    assert report.verdict == Verdict.CONFLICT
    [reason] = [r for r in report.reasons if r.code == "two-manifests"]
    assert "'Bystander'" in reason.detail
    assert repr(provider.home.provider) in reason.detail


def test_the_mark_on_another_picture(provider: Provider) -> None:
    """The manifest names the mark, and says that its picture looks different."""
    shown = fingerprint.fingerprint(np.asarray(picture(seed=77)))
    offered = signed(provider, fingerprint=shown)
    with offering([offered]) as (url, _):
        report = asking(provider, url)(stripped(provider.file))

    assert report.verdict == Verdict.CONFLICT
    assert "other-content" in codes(report)
    assert manifests(report) == []


def test_one_mark_id_of_two_pictures_accuses_neither(provider: Provider) -> None:
    """A seed that was used twice: both manifests are sound, and one is of this."""
    shown = fingerprint.fingerprint(np.asarray(picture(seed=77)))
    with offering([signed(provider, fingerprint=shown), signed(provider)]) as (url, _):
        report = asking(provider, url)(stripped(provider.file))

    assert report.verdict == Verdict.MARKED
    [found] = manifests(report)
    assert (found.state, "not-compared" in found.codes) == ("recovered", False)
    [refused] = [r for r in report.reasons if r.code == "repository-refused"]
    assert "looks different" in refused.detail


def test_another_mark_beside_the_one_that_was_asked_for(provider: Provider) -> None:
    """All marks that a manifest names have to be those that were found."""
    own = provider.marked.record.marks[0].mark_id
    both = signed(provider, marks=marks(("pixel", own), ("latent", bytes(8))))
    asset = load(stripped(provider.file))

    def looked(latent: bytes) -> Findings:
        with offering([both]) as (url, _):
            return look(asset, provider, url, ("pixel", own), ("latent", latent))

    found = looked(bytes(8))
    assert [e.state for e in found.evidence if e.layer == "manifest"] == ["recovered"]
    assert found.conflicts == []
    found = looked(b"another!")
    assert {reason.code for reason in found.conflicts} == {"other-mark"}
    assert [e for e in found.evidence if e.layer == "manifest"] == []


def look(
    asset: Any, provider: Provider, url: str, *pairs: tuple[str, bytes]
) -> Findings:
    """The ledger layer without a ledger, for an asset in which marks were found."""
    found = Findings()
    for mark in marks(*pairs):
        evidence = Evidence(
            layer="mark",
            detector=mark.scheme,
            scheme=mark.scheme,
            key_id="k",
            log10_p=-20.0,
            payload=mark.mark_id,
        )
        found.evidence.append(evidence)
    setting = verification.Setting(
        anchors=provider.home.anchors, resolver=Resolver([url])
    )
    ledger_layer.look_up(asset, setting, found, None)
    return found


# --- texts: a mark of 16 bits names a set ---------------------------------------------


def text_manifest(provider: Provider, text: str) -> tuple[str, bytes]:
    record = Record(
        kind="text",
        provider=provider.home.provider,
        marks=marks(("gumbel", b"\x12\x34")),
    )
    Watermark(provider.home).embed(text, record=record)
    [row] = [
        row
        for row in provider.home.ledger.by_record(record.record_id)
        if row.manifest_id
    ]
    return row.manifest_id, provider.home.ledger.manifest(row.manifest_id) or b""


@pytest.fixture(scope="module")
def texts(provider: Provider) -> list[tuple[str, bytes]]:
    return [text_manifest(provider, f"The {n}th of some texts.") for n in range(3)]


def test_a_short_mark_leads_to_candidates_and_no_further(
    provider: Provider, texts: list[tuple[str, bytes]]
) -> None:
    """Nothing says which of them is of this text, if any: none is recovered."""
    with offering(texts) as (url, _):
        found = look(load("Other words."), provider, url, ("gumbel", b"\x12\x34"))
    told = [e for e in found.evidence if e.layer == "manifest"]

    assert [e.state for e in told] == ["candidate"] * 3
    assert [e.detail for e in told] == [f"{name}, from {url}" for name, _ in texts]
    assert {e.record_ids for e in told} == {()}
    assert all({"from-repository", "not-compared"} <= {*e.codes} for e in told)
    assert {note.code for note in found.notes} == {"content-not-compared"}


def test_a_text_with_the_same_short_mark_and_another_beside_it(
    provider: Provider,
) -> None:
    """It is of another text with that mark id, which is no contradiction."""
    both = marks(("gumbel", b"\x12\x34"), ("wave", b"of other"))
    with offering([signed(provider, marks=both)]) as (url, _):
        pairs = ("gumbel", b"\x12\x34"), ("wave", b"of this!")
        found = look(load("Other words."), provider, url, *pairs)

    assert found.conflicts == []
    assert [e for e in found.evidence if e.layer == "manifest"] == []
    assert {note.code for note in found.notes} == {"repository-refused"}


def test_a_text_as_it_was_signed_is_told_from_the_others(
    provider: Provider, texts: list[tuple[str, bytes]]
) -> None:
    with offering(texts) as (url, _):
        asset = load("The 1th of some texts.")
        found = look(asset, provider, url, ("gumbel", b"\x12\x34"))
    [told] = [e for e in found.evidence if e.layer == "manifest"]

    assert (told.state, told.detail) == ("recovered", f"{texts[1][0]}, from {url}")
    assert told.record_ids != ()
    assert {note.code for note in found.notes} == {"same-content"}


# --- the home's list, and the command -------------------------------------------------


def wm(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(each) for each in arguments])
    return ended.value.code  # type: ignore[return-value]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.create(tmp_path / "home", provider="Reader")
    made.ledger.close()
    return Home.open(made.path)


def test_the_list_is_kept_by_the_command(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--home", home.path)
    assert wm("repository", "list", *at) == Code.DONE
    assert wm("repository", "add", "https://a.example/v1/", *at) == Code.DONE
    assert wm("repository", "add", "https://a.example/v1", *at) == Code.DONE
    assert wm("repository", "add", "http://localhost:8000", *at) == Code.DONE
    assert wm("repository", "add", "http://b.example", *at) == Code.USAGE
    assert "expected an https URL" in capsys.readouterr().err
    assert home.repositories == ("https://a.example/v1", "http://localhost:8000")
    assert wm("repository", "remove", "https://c.example", *at) == Code.UNREADABLE
    assert wm("repository", "remove", "https://a.example/v1", *at) == Code.DONE
    capsys.readouterr()
    assert wm("repository", "list", "--json", *at) == Code.DONE
    assert capsys.readouterr().out.split() == ["[", '"http://localhost:8000"', "]"]


@pytest.mark.parametrize("bad", ["http://a.example\n", "\xff", "https://a\n" * 1 + "x"])
def test_a_list_that_is_damaged(home: Home, bad: str) -> None:
    (home.path / "repositories.txt").write_bytes(bad.encode("latin-1"))
    with pytest.raises(HomeError, match=r"repositories\.txt"):
        _ = home.repositories


def test_verify_asks_those_of_the_home(
    home: Home,
    provider: Provider,
    service: Service,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, root = tmp_path / "stripped.png", tmp_path / "root.pem"
    file.write_bytes(stripped(provider.file))
    root.write_bytes(provider.home.anchors)
    [key] = (provider.home.path / "keys").glob("k*.json")
    verify = ("verify", file, "--home", home.path, "--keys", key, "--trust", root)
    assert wm(*verify, "--resolve") == Code.CONFIGURATION
    assert "wm repository add URL" in capsys.readouterr().err
    wm("repository", "add", service.url, "--home", home.path)
    assert wm(*verify) == Code.DONE
    assert "recovered" not in capsys.readouterr().out
    assert wm(*verify, "--resolve") == Code.DONE
    assert f"from {service.url}" in capsys.readouterr().out


@pytest.mark.parametrize("bad", ["https://a.example", ["http://a.example"]])
def test_what_is_no_list_of_repositories(provider: Provider, bad: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        Verifier(provider.home, resolve=bad)
