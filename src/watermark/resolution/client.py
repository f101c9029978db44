"""The client: manifests of other providers, from repositories that a user allowed.

Nothing is asked unless its endpoint stands on the user's list. What a repository says
of where else to look is followed only to other endpoints on that list, and redirects
are not followed at all. A content is never uploaded: only what its mark carries is
asked for.

Nothing that is answered is believed: a manifest's signature, and that its soft bindings
are the ones that were found, are the caller's to check (`watermark.verification`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from watermark.errors import VerificationError
from watermark.resolution import messages, receipt
from watermark.resolution.endpoints import base_url
from watermark.resolution.messages import Match
from watermark.sign import fetching
from watermark.sign.fetching import FetchError, Refused, TooSlow
from watermark.store.leaf import Row

SECONDS = 10.0  # for all that one repository is asked about one value
FOLLOWED = 10  # manifests fetched for one value
MAX_WHY = 300  # characters of what is told of a repository that gives no answer


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


@dataclass(frozen=True, slots=True)
class Silent:
    """A repository that gave no answer, or none that can be read.

    Attributes:
        endpoint: which.
        why: in words, some of them perhaps the repository's.
    """

    endpoint: str
    why: str


@dataclass(frozen=True, slots=True)
class More:
    """A repository that has more manifests for a value than `FOLLOWED`.

    Attributes:
        endpoint: which; those that it named first were fetched.
    """

    endpoint: str


class Resolver:
    """Asks the repositories of one allow-list."""

    def __init__(self, endpoints: Sequence[str], *, seconds: float = SECONDS) -> None:
        """Take the list.

        Args:
            endpoints: base URLs, as `base_url` takes them.
            seconds: for all that one repository is asked about one value.

        Raises:
            ValueError: one is no such URL.
        """
        self._endpoints = tuple(dict.fromkeys(map(base_url, endpoints)))
        self._seconds = seconds

    def resolve(self, alg: str, value: bytes) -> Iterator[Found | Silent | More]:
        """Each manifest that any repository on the list has for a soft binding.

        A repository that gives no answer keeps nobody from asking the next; nor does
        one that names what another has, and leaves no time to fetch it.

        Args:
            alg: such as `watermark.record.Mark.binding`.
            value: what the mark carries.
        """
        seen: set[tuple[str, str]] = set()
        for asked in self._endpoints:
            deadline = time.monotonic() + self._seconds
            try:
                matches = self.by_binding(asked, alg, value, results=FOLLOWED + 1)
            except (FetchError, VerificationError) as error:
                yield Silent(asked, str(error)[:MAX_WHY])
                continue
            for match in matches[:FOLLOWED]:
                at = match.endpoint.rstrip("/") or asked
                if at not in self._endpoints or (at, match.manifest_id) in seen:
                    continue
                try:
                    store = self.manifest(at, match.manifest_id, until=deadline)
                except TooSlow as error:
                    yield Silent(asked, str(error)[:MAX_WHY])  # the time was its own
                    break
                except (FetchError, VerificationError) as error:
                    yield Silent(at, str(error)[:MAX_WHY])
                    continue
                seen.add((at, match.manifest_id))
                if store is not None:
                    yield Found(at, match.manifest_id, store)
            if len(matches) > FOLLOWED:
                yield More(asked)

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

    def manifest(
        self, endpoint: str, manifest_id: str, *, until: float | None = None
    ) -> bytes | None:
        """The bytes of one manifest store, or None where the repository has none.

        Args:
            endpoint: on the list.
            manifest_id: its label.
            until: when to give up, by `time.monotonic`; None: as for any request.

        Raises:
            FetchError: it does not answer, or is not on the list.
            VerificationError: this is no manifest id.
        """
        path = f"/manifests/{_part(manifest_id)}"
        limit = messages.MAX_MANIFEST
        try:
            return self._get(endpoint, path, "application/c2pa", limit, until)
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

    def _get(
        self,
        endpoint: str,
        path: str,
        answer: str,
        limit: int,
        until: float | None = None,
    ) -> bytes:
        if endpoint.rstrip("/") not in self._endpoints:
            raise Refused(
                f"{endpoint[:200]!r} is not on the list of repositories that may be "
                "asked: add it, if you trust it with what your files carry"
            )
        seconds = self._seconds
        if until is not None:
            seconds = min(seconds, until - time.monotonic())
        if seconds <= 0:
            raise TooSlow(f"{endpoint}: no time is left of {self._seconds:g} seconds")
        return fetching.exchange(
            endpoint.rstrip("/") + path,
            answer_type=answer,
            limit=limit,
            seconds=seconds,
        )


def _part(manifest_id: str) -> str:
    if not messages.is_manifest_id(manifest_id):
        raise VerificationError(f"{manifest_id!r:.200} is no manifest id")
    return quote(manifest_id, safe=":")


def _algs(items: Any) -> list[str]:
    rows = items[: messages.MAX_RESULTS] if isinstance(items, list) else []
    return messages.texts([row.get("alg") for row in rows if isinstance(row, dict)])
