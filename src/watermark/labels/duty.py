"""What a law asks of a file, row by row: levels, duties, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum

FORMS = ("image", "audio", "video", "document", "page", "markdown", "text")
# The layers in the order of writing; what stands after `ledger` is no part of a file.
LAYERS = (
    "consent",
    "keep-marks",
    "origin",
    "facts",
    "filing",
    "detector",
    "watermark",
    "explicit",
    "provider-code",
    "security",
    "label",
    "iptc",
    "manifest",
    "timestamp",
    "ledger",
    "notice",
)
# Layers that say "generated" by themselves, and so count towards the minimum. A row in
# a log does not (Code of Practice, Measure 1.1.3).
COUNTED = ("watermark", "explicit", "label", "iptc", "manifest")


class Level(IntEnum):
    """How much a layer is asked for; the strictest is the largest."""

    OFF = 0
    OPTIONAL = 1
    ON = 2
    REQUIRED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """One row of one regime.

    Attributes:
        layer: of `LAYERS`.
        level: how much it is asked for; None: it must not be there.
        clause: where that is written.
        forms: of `FORMS`, that it is about.
        since: from when; before that day REQUIRED is only ON.
        legacy: the same for systems that were on the market before.
        public: REQUIRED only where the service is open to the public.
        waiver: the clause by which a user may ask for a file without it, or "".
    """

    layer: str
    level: Level | None
    clause: str
    forms: tuple[str, ...] = FORMS
    since: date | None = None
    legacy: date | None = None
    public: bool = False
    waiver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """One law.

    Attributes:
        name: such as ``cn``.
        title: as people call it.
        since: when it came into force.
        legacy: the same for systems that were on the market before; None: the same day.
        duties: its rows.
        minimum: by form, how many of `COUNTED` have to be there in the end.
        minimum_clause: where that is written.
        retention_days: that the log is kept at least; 0: nothing is said.
        retention_limit: that the log may be kept at most; None: nothing is said.
        retention_clause: where that is written.
        wording: of the explicit mark.
        corner: where it stands in a picture.
        sound: ``morse``, ``notice`` (spoken) or ``both``.
    """

    name: str
    title: str
    since: date
    legacy: date | None = None
    duties: tuple[Duty, ...] = ()
    minimum: Mapping[str, int] = field(default_factory=dict)
    minimum_clause: str = ""
    retention_days: int = 0
    retention_limit: int | None = None
    retention_clause: str = ""
    wording: str = ""
    corner: str = "bottom-right"
    sound: str = "notice"


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked of one layer, by every regime that says something of it.

    Attributes:
        level: the strictest.
        asked: level and clause of each regime.
        waivers: of the required clauses those that a user may waive, each with the
            clause that says so.
    """

    level: Level
    asked: tuple[tuple[Level, str], ...] = ()
    waivers: Mapping[str, str] = field(default_factory=dict)

    @property
    def clauses(self) -> tuple[str, ...]:
        """Those of the strictest level."""
        return tuple(clause for level, clause in self.asked if level is self.level)

    @property
    def served(self) -> tuple[str, ...]:
        """Those that are met where the layer is there, optional ones left out."""
        return tuple(clause for level, clause in self.asked if level >= Level.ON)

    @property
    def clause(self) -> str:
        """The clauses of the strictest level in one line."""
        return "; ".join(self.clauses)

    @property
    def firm(self) -> tuple[str, ...]:
        """Required clauses that no request of a user waives."""
        asked = self.clauses if self.level is Level.REQUIRED else ()
        return tuple(clause for clause in asked if clause not in self.waivers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What all regimes together ask of one file.

    Attributes:
        regimes: their names, as they were asked for.
        members: the same with those that they include.
        form: of the file.
        as_of: the day of these rules.
        rows: by layer.
        forbidden: layers that must not be there, each with the clause.
        minimum: how many of `COUNTED` have to be there in the end.
        minimum_clause: where that is written.
        retention_days: that the log is kept at least.
        wording: of the explicit mark.
        corner: where it stands.
        sound: what it is in sound.
    """

    regimes: tuple[str, ...]
    members: frozenset[str]
    form: str
    as_of: date
    rows: Mapping[str, Row]
    forbidden: Mapping[str, str]
    minimum: int
    minimum_clause: str
    retention_days: int
    wording: str
    corner: str
    sound: str

    def level(self, layer: str) -> Level:
        """How much a layer is asked for."""
        return self.rows[layer].level if layer in self.rows else Level.OFF

    def clause(self, layer: str) -> str:
        """By which clauses, or ""."""
        return self.rows[layer].clause if layer in self.rows else ""

    def needs(self, layer: str) -> bool:
        """Whether nothing is handed out without this layer."""
        return self.level(layer) is Level.REQUIRED
