"""Spec: what a suite says of itself, and what its rows hold.

A row is one sample of one subject, a scheme of ours or a peer::

    {"attacks": {name: {"log10_p": -31.2, "exact": true, "null": -0.1}},
     "quality": {"perplexity": 14.1}}

``exact`` says whether the payload came out right (null: it carries none), ``told``
whether any was told, right or wrong, and ``null`` is log10 p of the same thing under a
key that did not mark it; rows may lack these two. An attack that makes no
sense for a subject is not in its rows. One that raises, or whose result cannot be
judged, finds nothing: ``{"log10_p": 0.0, "exact": false, "failed": "why"}``, again with
null for what carries no payload. A peer that fails is ``{"failed": "why"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
FPR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is known of a suite before any work.

    Attributes:
        name: of the suite.
        schemes: ours, by name.
        peers: other people's, by name.
        unavailable: peers that cannot run here, and why.
        attacks: names and families, in the order of the tables.
        forged: those of the attacks after which a mark that is found is a forged one.
        identity: what decides the rows, besides the seed and the package: the
            suite's own code, models, steps.
        variant: what models other than the default ones add to the result's name.
        payloads: subjects that carry a payload.
        apart: subjects that few of the attacks are done to: they stay out of what is
            told of all attacks together.
        notes: what a reader has to know.
    """

    name: str
    schemes: tuple[str, ...]
    peers: tuple[str, ...] = ()
    unavailable: Mapping[str, str]
    attacks: Mapping[str, tuple[str, float | None]]
    identity: Mapping[str, Any]
    variant: str = ""
    forged: frozenset[str] = frozenset()
    payloads: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
