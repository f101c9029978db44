"""Attacks: what happens to marked things on their way, or is done to them on purpose.

One file a medium. An attack is a pure function of the thing and a generator, with a
stated strength; the table at the end of its file lists every one that is measured. To
add one: write the function, add its line.

Removing a mark is what this folder is for, and why none of it is in the package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
Change = Callable[[T, np.random.Generator], T]


@dataclass(frozen=True, slots=True)
class Attack(Generic[T]):
    """One attack at one strength.

    Attributes:
        family: what is done; attacks of a family are points of one curve.
        change: does it. Equal things and generators give equal results.
        strength: how strongly, in the unit that the family's name or function states;
            None where there is only one.
        moves: whether what is left lies elsewhere than it did.
        forges: whether the result is another thing, which nobody marked: a mark that
            is found there is a forged one.
    """

    family: str
    change: Change[T]
    strength: float | None = None
    moves: bool = False
    forges: bool = False

    @property
    def name(self) -> str:
        """Of its row in a table."""
        return self.family + (
            f" {self.strength:g}" if self.strength is not None else ""
        )


def swept(
    family: str,
    change: Callable[..., T],
    strengths: Iterable[float],
    *,
    moves: bool = False,
) -> list[Attack[T]]:
    """One attack for each strength.

    Args:
        family: their name.
        change: takes (thing, generator, strength).
        strengths: in growing harm.
        moves: as of `Attack`.
    """

    def at(thing: T, rng: np.random.Generator, *, strength: float) -> T:
        return change(thing, rng, strength)

    return [Attack(family, partial(at, strength=s), s, moves) for s in strengths]


def named(attacks: Iterable[Attack[T]]) -> dict[str, Attack[T]]:
    """Attacks by their names.

    Raises:
        ValueError: two have the same name.
    """
    table: dict[str, Attack[T]] = {}
    for attack in attacks:
        if attack.name in table:
            raise ValueError(f"two attacks have the name {attack.name!r}")
        table[attack.name] = attack
    return table


def thinned(table: Mapping[str, Attack[T]]) -> dict[str, Attack[T]]:
    """Of each family the ends of its range and the middle; of two the last one."""
    families: dict[str, list[str]] = {}
    for name, attack in table.items():
        families.setdefault(attack.family, []).append(name)
    kept: set[str] = set()
    for names in families.values():
        few = len(names) < 3
        kept |= {names[-1]} if few else {names[0], names[len(names) // 2], names[-1]}
    return {name: attack for name, attack in table.items() if name in kept}


def untouched(thing: T, rng: np.random.Generator) -> T:
    """As it is."""
    return thing
