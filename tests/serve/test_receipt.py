"""Receipts are checked with nothing but the log's public key."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.serve.conftest import Provider

from watermark.errors import VerificationError
from watermark.resolution import receipt
from watermark.serve.repository import Repository
from watermark.store.checkpoint import LogKey

Receipt = dict[str, Any]


@pytest.fixture(scope="module")
def given(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Receipt:
    folder = tmp_path_factory.mktemp("repository")
    repository = Repository(provider.home.ledger, folder)
    found = repository.receipt(provider.manifest_id, "https://acme.example")
    assert found is not None
    return found


def test_it_survives_json_and_proves(provider: Provider, given: Receipt) -> None:
    row = receipt.verify(
        json.loads(json.dumps(given)),
        verifier=provider.home.ledger.verifier,
        manifest=provider.marked.manifest,
    )

    assert row.record.record_id == provider.marked.record.record_id
    assert given["repository"]["uri"] == "https://acme.example"


def test_of_another_manifest(provider: Provider, given: Receipt) -> None:
    verifier = provider.home.ledger.verifier
    with pytest.raises(VerificationError, match="SHA-256"):
        receipt.verify(given, verifier=verifier, manifest=b"other")


def test_of_another_log(tmp_path: Any, provider: Provider, given: Receipt) -> None:
    """The key in the receipt itself is nobody's to believe."""
    name = provider.home.ledger.origin
    other = LogKey.create(tmp_path / "log.pem", name=name).public
    parameters = given["anchor"]["parameters"]
    forged = copy.deepcopy(given)
    forged["anchor"]["parameters"] = {**parameters, "verifier": other}
    for one in (given, forged):
        with pytest.raises(VerificationError):
            receipt.verify(one, verifier=other)


def flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(bytes(data)).decode()


def rerooted(note: str) -> str:
    root = note.split("\n")[2]
    return note.replace(root, flipped(root))


def edit(*path: str) -> Callable[[Callable[[Any], Any]], Callable[[Receipt], None]]:
    def change(how: Callable[[Any], Any]) -> Callable[[Receipt], None]:
        def act(found: Receipt) -> None:
            for name in path[:-1]:
                found = found[name]
            found[path[-1]] = how(found.get(path[-1]))

        return act

    return change


EDITS = {
    "leaf": edit("anchor", "parameters", "leaf")(flipped),
    "no-leaf": edit("anchor", "parameters")(lambda _: {}),
    "leaf-type": edit("anchor", "parameters", "leaf")(lambda _: 7),
    "leaf-text": edit("anchor", "parameters", "leaf")(lambda _: "*"),
    "index": edit("anchor", "proof", "leaf_index")(lambda n: n + 1),
    "size": edit("anchor", "proof", "tree_size")(lambda n: n + 1),
    "path": edit("anchor", "proof", "path")(lambda p: [*p, "AAAA"]),
    "checkpoint": edit("anchor", "proof", "checkpoint")(rerooted),
    "no-checkpoint": edit("anchor", "proof", "checkpoint")(lambda _: ""),
    "proof-type": edit("anchor", "proof")(lambda _: [1]),
    "manifest": edit("repository", "manifestId")(lambda _: "urn:c2pa:other"),
    "repository": edit("repository", "more")(lambda _: 1),
    "context": edit("@context")(lambda _: {"receipt": "https://evil.example#"}),
    "type": edit("@type")(lambda _: "org.c2pa.repository-receipt"),
    "anchor": edit("anchor")(lambda _: None),
    "more": edit("more")(lambda _: 1),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_seen(provider: Provider, given: Receipt, name: str) -> None:
    bad = copy.deepcopy(given)
    EDITS[name](bad)

    assert bad != given
    with pytest.raises(VerificationError):
        receipt.verify(bad, verifier=provider.home.ledger.verifier)
