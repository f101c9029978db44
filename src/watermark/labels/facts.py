"""California's four facts of a file: from its record, and from its manifest.

Business and Professions Code 22757.3(b)(1): (A) the provider's name, (B) name and
version of the system, (C) when it was made or altered, (D) a unique identifier.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cbor2 import CBORError

from watermark.errors import SigningError
from watermark.record import Record
from watermark.sign import claims, jumbf

CLAUSE = "Bus. & Prof. Code, 22757.3(b)(1)"
# A version begins with a figure: what adapters write behind the slash, a class of their
# library's, is none.
_VERSION = re.compile(r"v?\d\S*")


@dataclass(frozen=True, slots=True)
class Facts:
    """The four facts; "" for what is not known.

    Attributes:
        provider: (A).
        system: (B), the name.
        version: (B), the version.
        made_at: (C), RFC 3339, UTC.
        identifier: (D).
    """

    provider: str
    system: str
    version: str
    made_at: str
    identifier: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that are not known."""
        names = {
            "(A) provider": self.provider,
            "(B) name of the system": self.system,
            "(B) version of the system": self.version,
            "(C) time": self.made_at,
            "(D) identifier": self.identifier,
        }
        return tuple(name for name, value in names.items() if not value)


def of_record(record: Record) -> Facts:
    """The facts as a record has them: what a mark leads to through the ledger."""
    name, _, version = record.system.rpartition("/")
    known = name and _VERSION.fullmatch(version)
    system = (name, version) if known else (record.system, "")
    return Facts(record.provider, *system, record.created_at, record.record_id)


def of_manifest(store: bytes) -> Facts:
    """The facts as a manifest store of ours says them; whether it holds is not asked.

    Raises:
        SigningError: these are not the bytes of a manifest store, or it says less.
    """
    actions = _content(store, claims.ACTIONS, "actions")
    record = _content(store, claims.RECORD)
    try:
        agents = [a["softwareAgent"] for a in actions if "softwareAgent" in a]
        agent = agents[0] if agents else {}
        return Facts(
            str(record["provider"]),
            str(agent.get("name", "")),
            str(agent.get("version", "")),
            _time(actions[0].get("when", "")),
            str(record["record_id"]),
        )
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise SigningError(f"this manifest says less than ours: {error!r}") from error


def provider_of(store: bytes) -> dict[str, Any]:
    """What a manifest store of ours says of the provider: `Provider.to_dict`.

    Raises:
        SigningError: as `of_manifest`.
    """
    found = _content(store, claims.PROVIDER)
    if not isinstance(found, dict):
        raise SigningError("this manifest says of its provider what ours never do")
    return found


def _time(found: object) -> str:
    """RFC 3339, UTC: the manifest holds it as tagged text, which CBOR makes a time."""
    if isinstance(found, datetime):
        return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(found)


def _content(store: bytes, label: str, key: str = "") -> Any:
    """What an assertion holds, or one field of it."""
    manifest = jumbf.parse(store)
    try:
        found = manifest.content(label)
        return found[key] if key else found
    except (LookupError, TypeError, ValueError, CBORError) as error:
        raise SigningError(f"this manifest holds no {label} of ours") from error
