"""What the law asks of a generated file, and of a file under several laws at once.

The rows stand in ``regimes.toml``: layer, level, clause, dates. Several regimes take
the strictest of each row; two that contradict each other are an error that names both
clauses. This is a reading of the law by engineers and no legal advice.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from datetime import date
from importlib import resources
from typing import Any

from watermark.errors import LabelError
from watermark.labels.duty import COUNTED as COUNTED
from watermark.labels.duty import FORMS as FORMS
from watermark.labels.duty import LAYERS as LAYERS
from watermark.labels.duty import Duty as Duty
from watermark.labels.duty import Level as Level
from watermark.labels.duty import Regime as Regime
from watermark.labels.duty import Requirements as Requirements
from watermark.labels.duty import Row as Row

VERY_SHORT = 200  # tokens; texts below carry no watermark (Code, Measure 1.1.2)


def names() -> tuple[str, ...]:
    """Of all regimes that are known here."""
    return tuple(_table())


def load(name: str) -> tuple[Regime, ...]:
    """A regime and those that it includes.

    Raises:
        LabelError: there is none of this name.
    """
    table = _table()
    if name not in table:
        raise LabelError(
            "regimes", f"found {name!r}, expected one of {', '.join(table)}"
        )
    included = [r for each in table[name].get("includes", ()) for r in load(each)]
    return (*included, _regime(name))


def requirements(
    regimes: Sequence[str | Regime],
    form: str,
    *,
    as_of: date,
    on_market: date | None = None,
    public: bool = True,
) -> Requirements:
    """What `regimes` ask of a file of `form`: the strictest of each row.

    Args:
        regimes: names, or regimes of your own.
        form: one of `FORMS`.
        as_of: the day whose rules are meant.
        on_market: since when the system is on the market; one from before a regime's
            first day has that regime's later dates.
        public: whether the service is open to the public.

    Raises:
        LabelError: no such regime; or two contradict each other, naming both clauses.
        ValueError: no such form, or no regime at all.
    """
    if form not in FORMS or not regimes:
        raise ValueError(f"found the form {form!r} and {len(regimes)} regimes")
    chosen = [r for each in regimes for r in _expanded(each)]
    rows: dict[str, Row] = {}
    against: dict[str, str] = {}
    for regime in chosen:
        for duty in regime.duties:
            if form not in duty.forms:
                continue
            if duty.level is None:
                against.setdefault(duty.layer, duty.clause)
                continue
            level = _level(duty, regime, as_of, on_market, public)
            before = rows.get(duty.layer, Row(Level.OFF))
            asked = dict.fromkeys((*before.asked, (level, duty.clause)))
            waivers = dict(before.waivers)
            if duty.waiver:
                waivers[duty.clause] = duty.waiver
            rows[duty.layer] = Row(max(level, before.level), tuple(asked), waivers)
    for layer, clause in against.items():
        row = rows.pop(layer, Row(Level.OFF))
        if row.level is Level.REQUIRED:
            raise LabelError(
                f"{row.clause}; {clause}",
                f"{layer} is required by the one and forbidden by the other: these "
                "regimes cannot be met by one file",
            )
    most = max(chosen, key=lambda r: _minimum(r, form, as_of, on_market))
    return Requirements(
        regimes=tuple(r if isinstance(r, str) else r.name for r in regimes),
        members=frozenset(r.name for r in chosen),
        form=form,
        as_of=as_of,
        rows=rows,
        forbidden=against,
        minimum=_minimum(most, form, as_of, on_market),
        minimum_clause=most.minimum_clause or most.title,
        retention_days=_retention(chosen),
        wording=_wording(chosen, form),
        corner=next((r for r in chosen if _asks(r, form)), chosen[0]).corner,
        sound=_sound(chosen, form),
    )


def form_of(media_type: str, kind: str, suffix: str = "") -> str:
    """Of `FORMS`, the one of a file.

    Args:
        media_type: as sniffed.
        kind: of `watermark.assets`.
        suffix: of its name: what tells a page and Markdown from free text.
    """
    if media_type == "text/html" or (
        kind == "text" and suffix.lower() in (".html", ".htm", ".xhtml")
    ):
        return "page"
    if media_type == "text/markdown" or (
        kind == "text" and suffix.lower() in (".md", ".markdown")
    ):
        return "markdown"
    return kind if kind in FORMS else "document"


def _expanded(regime: str | Regime) -> tuple[Regime, ...]:
    return load(regime) if isinstance(regime, str) else (regime,)


def _level(
    duty: Duty, regime: Regime, as_of: date, on_market: date | None, public: bool
) -> Level:
    level = duty.level or Level.OFF
    start = duty.since or regime.since
    if duty.legacy and _is_legacy(regime, on_market):
        start = duty.legacy
    if as_of < start or (duty.public and not public):
        return min(level, Level.ON)
    return level


def _is_legacy(regime: Regime, on_market: date | None) -> bool:
    return on_market is not None and on_market < regime.since


def _minimum(regime: Regime, form: str, as_of: date, on_market: date | None) -> int:
    """How many layers a regime wants; none before it is in force."""
    start = regime.since
    if regime.legacy and _is_legacy(regime, on_market):
        start = regime.legacy
    return regime.minimum.get(form, 0) if as_of >= start else 0


def _retention(chosen: Sequence[Regime]) -> int:
    longest = max(chosen, key=lambda r: r.retention_days)
    limits = [r for r in chosen if r.retention_limit is not None]
    for regime in limits:
        limit = regime.retention_limit or 0
        if limit < longest.retention_days:
            raise LabelError(
                f"{_kept(longest)}; {_kept(regime)}",
                f"the log is to be kept at least {longest.retention_days} days by the "
                f"one and at most {limit} by the other",
            )
    return longest.retention_days


def _kept(regime: Regime) -> str:
    if regime.retention_clause:
        return regime.retention_clause
    clauses = [d.clause for d in regime.duties if d.layer == "ledger"]
    return clauses[0] if clauses else regime.title


def _asks(regime: Regime, form: str) -> bool:
    """Whether a regime wants an explicit mark in this form of file."""
    return any(
        d.layer == "explicit" and form in d.forms and d.level is Level.REQUIRED
        for d in regime.duties
    )


def _wording(chosen: Sequence[Regime], form: str) -> str:
    """The words of all who require a mark; if nobody does, the first one's."""
    asking = [r.wording for r in chosen if _asks(r, form)]
    asking = asking or [r.wording for r in chosen if r.wording][:1]
    return " ".join(dict.fromkeys(w for w in asking if w))


def _sound(chosen: Sequence[Regime], form: str) -> str:
    found = {r.sound for r in chosen if _asks(r, form)}
    if not found:
        return chosen[0].sound
    return found.pop() if len(found) == 1 else "both"


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    text = resources.files("watermark.labels").joinpath("regimes.toml")
    return tomllib.loads(text.read_text(encoding="utf-8"))


@functools.cache
def _regime(name: str) -> Regime:
    row = _table()[name]
    forms = tuple(row.get("forms", FORMS))
    return Regime(
        name=name,
        title=row["title"],
        since=row["since"],
        legacy=row.get("legacy"),
        duties=tuple(_duty(k, v, forms) for k, v in row.get("duty", {}).items()),
        minimum=row.get("minimum", {}),
        minimum_clause=row.get("minimum_clause", ""),
        retention_days=row.get("retention_days", 0),
        wording=row["wording"],
        corner=row["corner"],
        sound=row["sound"],
    )


def _duty(layer: str, row: dict[str, Any], forms: tuple[str, ...]) -> Duty:
    level = row["level"]
    return Duty(
        layer=layer,
        level=None if level == "forbidden" else Level[level.upper()],
        clause=row["clause"],
        forms=tuple(row.get("forms", forms)),
        since=row.get("since"),
        legacy=row.get("legacy"),
        public=row.get("public", False),
        waiver=row.get("waiver", ""),
    )
