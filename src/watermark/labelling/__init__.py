"""One file under one or several laws: every layer written in its order, and read back.

The order (each would break what comes before it, were it the other way round): mark,
explicit mark, label, XMP, manifest, read-back, ledger. What a regime requires and this
file cannot have is an error with the clause, before anything is handed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from watermark.assets.loading import Audio
from watermark.errors import LabelError
from watermark.home import Home
from watermark.labelling.account import Account
from watermark.labelling.account import Layer as Layer
from watermark.labels import explicit, explicit_text, facts, regimes
from watermark.labels.regimes import Regime
from watermark.labels.settings import Settings
from watermark.labels.unmarked import UnmarkedRequest, retention_days
from watermark.record import Record
from watermark.sign.stamps import When

ASSERTION = "org.watermark-sdk.labels"
Explicit = bool | Literal["placed"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the caller of `Watermark.embed` asks for.

    Attributes:
        regimes: names, or regimes of the caller's own.
        as_of: the day whose rules are meant; None: today.
        timestamp: ``now``, ``deferred`` or ``never``; None: as the credential's
            settings say.
        explicit: whether there shall be an explicit mark; ``"placed"``: it is there
            already, somewhere in the content; None: as the regimes say.
        notice: a spoken notice for sound.
        unmarked: the request on which a file goes out without its explicit mark.
        own: whether the record is the caller's own, and not one that was found.
    """

    regimes: Sequence[str | Regime]
    as_of: date | None = None
    timestamp: When | None = None
    explicit: Explicit = None
    notice: Audio | None = None
    unmarked: UnmarkedRequest | None = None
    own: bool = False

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: no such value of `explicit`, a request and a mark as well, or a
                day that is none.
        """
        if self.as_of is not None and type(self.as_of) is not date:
            raise ValueError(f"as_of={self.as_of!r} found, expected a datetime.date")
        if self.explicit not in (None, True, False, "placed"):
            raise ValueError(
                f"explicit={self.explicit!r} found, expected True, False, 'placed' or "
                "None"
            )
        if self.unmarked is not None and self.explicit is not False:
            raise ValueError(
                "unmarked= found, expected explicit=False with it: the request is for "
                "a file without its explicit mark"
            )


@dataclass(slots=True)
class Job:
    """One file on its way through the layers; used once.

    Attributes:
        home: whose settings, keys and credential are used.
        order: what the caller asks for.
        record: what the file is published under; it follows the content.
        media_type: of the file.
        form: of it, of `watermark.labels.regimes.FORMS`.
        suffix: of a text's name, "" where it has none.
        settings: what the home says of labels.
        account: what became of each layer.
        label: that was written, or empty.
        before: labels that were there already.
        wish: the explicit mark that was written, or None.
    """

    home: Home
    order: Order
    record: Record
    media_type: str
    form: str
    suffix: str = ""
    settings: Settings = field(init=False)
    account: Account = field(init=False)
    label: bytes = b""
    before: list[bytes] = field(default_factory=list)
    wish: explicit.Wish | None = None

    def __post_init__(self) -> None:
        """Read the settings, and refuse what is told before anything is written.

        Raises:
            LabelError: a regime requires what the record or the settings lack.
            HomeError: the settings cannot be read.
        """
        self.settings = Settings.load(self.home.path, self.home.provider)
        self.account = Account(
            regimes.requirements(
                self.order.regimes,
                self.form,
                as_of=self.order.as_of or datetime.now(UTC).date(),
                on_market=self.settings.on_market,
                public=self.settings.public,
            )
        )
        self._complete()
        self._check_origin()
        self._check_about()
        self._check_timestamp()

    @property
    def carrier(self) -> str:
        """The media type by which the label's place is known."""
        texts = {"markdown": "text/markdown", "page": "text/html"}
        return texts.get(self.form, self.media_type)

    @property
    def model(self) -> str:
        """The name that the model is shown by; that of the system if it has no own."""
        return self.record.model or facts.of_record(self.record).system

    @property
    def when(self) -> When:
        """When the manifest is time-stamped, by the order or by the settings."""
        stamps = self.home.credential.stamps
        return self.order.timestamp or (stamps.when if stamps is not None else "never")

    @property
    def ui_hint(self) -> str:
        """A line for the interface that shows this output."""
        filings = self.record.about.filings if self.record.about else ()
        return explicit_text.ui_hint(
            self.account.needs.wording or "AI",
            provider=self.record.provider,
            model=self.model,
            filing=filings[0][1] if filings else "",
        )

    def assertion(self) -> dict[str, Any]:
        """What the manifest says of the labels; never the key by which they are found.

        A reader that searches bytes for the label's key would take it for a second one
        (GB 45438-2025, 6.1 c).
        """
        needs = self.account.needs
        said: dict[str, Any] = {
            "regimes": list(needs.regimes),
            "as_of": needs.as_of.isoformat(),
        }
        for state in ("exempt", "declared"):
            found = {e.name: e.detail for e in self.account.layers if e.state == state}
            if found:
                said[state] = found
        if self.label:
            said["label_sha256"] = hashlib.sha256(self.label).hexdigest()
        if self.when == "deferred":
            said["timestamp"] = "deferred"
        return {"label": ASSERTION, "created": True, "data": said}

    @property
    def left_out(self) -> UnmarkedRequest | None:
        """The request on which the explicit mark was left out, or None."""
        names = {e.name for e in self.account.layers if e.state == "exempt"}
        return self.order.unmarked if "explicit" in names else None

    def kept(self) -> dict[str, Any]:
        """What the ledger's entry says besides, and how long it is kept."""
        days, request = self.account.needs.retention_days, self.left_out
        if request is None:
            return {"retain_days": days}
        return {
            "retain_days": max(days, retention_days()),
            "personal": request.personal,
        }

    def _complete(self) -> None:
        """What the provider says once of all its outputs."""
        about, system = self.settings.about, self.settings.system
        if self.record.about is None and about is not None:
            self.record = replace(self.record, about=about)
        # An adapter names its library; what a caller's own record says is meant.
        own = self.order.own and facts.of_record(self.record).version
        if system and not own:
            self.record = replace(self.record, system=system)

    def _check_origin(self) -> None:
        record, needs = self.record, self.account.needs
        if record.origin == "altered" and record.source is None:
            raise LabelError(
                needs.clause("origin") or ", ".join(needs.regimes),
                "nothing says that a model made this file, and its labels would say "
                "so: embed the output itself, or say how it came to be, with "
                "record=Record(kind=..., provider=..., system='name/version'), and "
                "origin='altered', source='composite' where a model changed existing "
                "media; on the command line with --source",
            )
        detail = f"{record.origin}, {record.source or 'trained'}"
        self.account.settle("origin", True, "", detail)

    def _check_about(self) -> None:
        account, about = self.account, self.record.about
        missing = facts.of_record(self.record).missing
        account.settle(
            "facts",
            not missing,
            f"missing: {', '.join(missing)}; name them in the record, or in home.toml, "
            "[label] system = 'name/version'",
        )
        account.settle(
            "filing",
            bool(about and about.filings and self.model),
            ("no filing number is known" if self.model else "no model is named")
            + ": a public service shows both, from home.toml, [about] filings and "
            "[label] system; one that is not says there, in [label], public = false",
        )
        account.settle(
            "detector",
            bool(about and about.detector),
            "no address of a detector: name it in home.toml, [about] detector",
        )

    def _check_timestamp(self) -> None:
        if self.when == "never" and self.account.needs.needs("timestamp"):
            raise LabelError(
                self.account.needs.clause("timestamp"),
                "timestamp: no authority is known to ask: name one with `wm stamp "
                "use`, or pass timestamp='deferred' (--timestamp deferred) and stamp "
                "later",
            )
