"""What a provider says once of all its labels: tables in the home's ``home.toml``.

    [label]
    producer = "001191XXXXXXXXXXXXXXXX10001"  # the code that was assigned to you
    system = "acme-image/1.2" # that generates: its name and version
    sm2_key = "sm2.pem"       # signs labels; without it the manifests' key does
    on_market = 2026-03-01    # since when the system is on the market
    public = true             # whether the service is open to the public

    [about]
    url = "https://acme.example"
    contact = "safety@acme.example"
    detector = "https://acme.example/detect"
    filings = [{ authority = "CAC", number = "..." }]

Every line is optional; what a regime requires and nobody says is told by its clause.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from watermark.errors import HomeError, LabelError
from watermark.labels import provider, security, sm2
from watermark.record import Provider
from watermark.sign.credential import Credential

FILE = "home.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the two tables say.

    Attributes:
        producer: the provider's code of 27 characters, or its name in ASCII; or "".
        system: name and version of what generates, ``name/version``; or "".
        about: more on the provider, or None.
        sm2_key: file of the key that signs labels, or None.
        on_market: since when the system is on the market, or None: not known.
        public: whether the service is open to the public.
    """

    producer: str = ""
    system: str = ""
    about: Provider | None = None
    sm2_key: Path | None = None
    on_market: date | None = None
    public: bool = True

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read them from the home at `folder`.

        Args:
            folder: of the home.
            name: the provider's.

        Raises:
            HomeError: the file cannot be read, or a value is of the wrong type.
            LabelError: the code is mistyped, or is for propagation.
        """
        path = folder / FILE
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
            label, about = found.get("label", {}), found.get("about", {})
            return cls(
                producer=_producer(label),
                about=_about(about, name) if about else None,
                system=_text(label, "system"),
                sm2_key=folder / key if (key := _text(label, "sm2_key")) else None,
                on_market=_date(label.get("on_market")),
                public=_flag(label.get("public", True)),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise HomeError(f"{path} cannot be read: {error!r}") from error

    def signer(self, credential: Credential) -> security.Signer | None:
        """What signs labels: the SM2 key, else the credential; None if neither can.

        Raises:
            KeyFileError: the SM2 key cannot be read.
        """
        if self.sm2_key is not None:
            return security.Sm2Signer(sm2.PrivateKey.load(self.sm2_key))
        if credential.algorithm in security.ALGORITHMS:
            return security.CredentialSigner(credential)
        return None


def _producer(label: dict[str, Any]) -> str:
    producer = _text(label, "producer")
    if provider.is_code(producer):
        code = provider.ProviderCode.parse(producer)
        if code.service == provider.PROPAGATION:
            raise LabelError(
                provider.CLAUSE,
                f"{code} is a code for propagation, expected one for generation: a "
                "platform names its own in `propagate`",
            )
    return producer


def _about(table: dict[str, Any], name: str) -> Provider:
    filings = table.get("filings", [])
    if not all(_text(f, "authority") and _text(f, "number") for f in filings):
        raise ValueError("each of filings needs an authority and a number")
    return Provider(
        name=name,
        url=_text(table, "url"),
        contact=_text(table, "contact"),
        detector=_text(table, "detector"),
        filings=tuple((_text(f, "authority"), _text(f, "number")) for f in filings),
    )


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}, expected text")
    return value


def _date(value: object) -> date | None:
    if value is not None and type(value) is not date:
        raise TypeError(f"on_market is {value!r}, expected a date as 2026-03-01")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"public is {value!r}, expected true or false")
    return value
