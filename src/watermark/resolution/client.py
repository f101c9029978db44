"""The client: manifests of other providers, from repositories that a user allowed.

Nothing is asked unless its endpoint stands on the user's list. What a repository says
of where else to look is followed only to other endpoints on that list, and redirects
are not followed at all. A content is never uploaded: only what its mark carries is
asked for.

Nothing that is answered is believed: a manifest's signature, and that its soft bindings
are the ones that were found, are the caller's to check (`watermark.verification`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from watermark.errors import VerificationError
from watermark.resolution import messages, receipt
from watermark.resolution.messages import Match
from watermark.sign import fetching
from watermark.sign.fetching import FetchError, Refused
from watermark.store.leaf import Row

SECONDS = 10.0  # of one request
FOLLOWED = 10  # manifests fetched for one value


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that a repository has, unverified.

    Attributes:
        endpoint: where it was fetched.
        manifest_id: its label, as the repository says.
        store: the manifest store's bytes.
    """

    endpoint: str
    manifest_id: str
    store: bytes


class Resolver:
    """Asks the repositories of one allow-list."""

    def __init__(self, endpoints: Sequence[str], *, seconds: float = SECONDS) -> None:
        """Take the list.

        Args:
            endpoints: base URLs, such as ``https://repository.acme.example/v1``. Plain
                http is taken where the list says so: it is your own network then.
            seconds: the deadline of one request.

        Raises:
            ValueError: one is no http or https URL, or holds a user, query or fragment.
        """
        self._endpoints = tuple(dict.fromkeys(map(_endpoint, endpoints)))
        self._seconds = seconds

    def resolve(self, alg: str, value: bytes) -> Iterator[Found]:
        """Each manifest that any repository on the list has for a soft binding.

        A repository that does not answer, or answers nonsense, is passed over.

        Args:
            alg: such as `watermark.record.Mark.binding`.
            value: what the mark carries.
        """
        seen: set[tuple[str, str]] = set()
        for asked in self._endpoints:
            try:
                matches = self.by_binding(asked, alg, value)
            except (FetchError, VerificationError):
                continue
            for match in matches[:FOLLOWED]:
                at = match.endpoint.rstrip("/") or asked
                if at not in self._endpoints or (at, match.manifest_id) in seen:
                    continue
                seen.add((at, match.manifest_id))
                try:
                    store = self.manifest(at, match.manifest_id)
                except (FetchError, VerificationError):
                    continue
                if store is not None:
                    yield Found(at, match.manifest_id, store)

    def by_binding(
        self, endpoint: str, alg: str, value: bytes, *, results: int = FOLLOWED
    ) -> list[Match]:
        """What one repository has for a soft binding.

        Raises:
            FetchError: it does not answer, or is not on the list.
            VerificationError: it answers nonsense.
        """
        query = {
            "alg": alg,
            "value": messages.encode_value(value),
            "maxResults": str(results),
        }
        path = f"/matches/byBinding?{urlencode(query)}"
        data = self._get(endpoint, path, "application/json", messages.MAX_ANSWER)
        return messages.read_matches(data)[:results]

    def manifest(self, endpoint: str, manifest_id: str) -> bytes | None:
        """The bytes of one manifest store, or None where the repository has none.

        Raises:
            FetchError: it does not answer, or is not on the list.
            VerificationError: this is no manifest id.
        """
        path = f"/manifests/{_part(manifest_id)}"
        try:
            return self._get(endpoint, path, "application/c2pa", messages.MAX_MANIFEST)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def receipt(
        self, endpoint: str, manifest_id: str, *, verifier: str, manifest: bytes
    ) -> Row:
        """The log entry of a manifest, from the receipt that the repository gives.

        Args:
            endpoint: on the list.
            manifest_id: its label.
            verifier: the log's public key, from a place you trust.
            manifest: its bytes.

        Raises:
            FetchError: it does not answer, or is not on the list.
            VerificationError: the receipt proves nothing.
        """
        path = f"/manifests/{_part(manifest_id)}/receipts"
        data = self._get(endpoint, path, "application/json", messages.MAX_ANSWER)
        found = messages.read_json(data)
        return receipt.verify(found, verifier=verifier, manifest=manifest)

    def algorithms(self, endpoint: str) -> dict[str, list[str]]:
        """Names of the ``watermarks`` and ``fingerprints`` that a repository knows.

        Raises:
            FetchError: it does not answer, or is not on the list.
            VerificationError: it answers nonsense.
        """
        path = "/services/supportedAlgorithms"
        data = self._get(endpoint, path, "application/json", messages.MAX_ANSWER)
        found = messages.read_json(data)
        return {kind: _algs(found.get(kind)) for kind in ("watermarks", "fingerprints")}

    def _get(self, endpoint: str, path: str, answer: str, limit: int) -> bytes:
        if endpoint.rstrip("/") not in self._endpoints:
            raise Refused(
                f"{endpoint[:200]!r} is not on the list of repositories that may be "
                "asked: add it, if you trust it with what your files carry"
            )
        return fetching.exchange(
            endpoint.rstrip("/") + path,
            answer_type=answer,
            limit=limit,
            seconds=self._seconds,
        )


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError(
            f"found the endpoint {url[:200]!r}, expected an http or https URL without "
            "user, query and fragment"
        )
    return url.rstrip("/")


def _part(manifest_id: str) -> str:
    if not messages.is_manifest_id(manifest_id):
        raise VerificationError(f"{manifest_id!r:.200} is no manifest id")
    return quote(manifest_id, safe=":")


def _algs(items: Any) -> list[str]:
    rows = items[: messages.MAX_RESULTS] if isinstance(items, list) else []
    return messages.texts([row.get("alg") for row in rows if isinstance(row, dict)])
