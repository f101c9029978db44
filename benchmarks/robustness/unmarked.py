"""What nobody marked, under the keys of every scheme: a null of all of them.

A row of the subject `UNMARKED` says of each attack ``{"under": {"gumbel": -0.3}}``:
log10 p under a key of that scheme; of every scheme, or of some in turn.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from benchmarks.rates import Clustered
from benchmarks.report import Cell, Part, Table
from benchmarks.robustness.spec import Row, Spec

UNMARKED = "unmarked"
ALPHAS = (1e-1, 1e-2)


def with_table(part: Part, spec: Spec, rows: Mapping[str, Sequence[Row]]) -> Part:
    """A suite's part, with the table."""
    table = under(spec.name, rows.get(UNMARKED, ()))
    if not table.rows:
        return part
    return dataclasses.replace(part, tables=(*part.tables, table))


def under(suite: str, rows: Sequence[Row]) -> Table:
    """How often each scheme tells a p-value as small on what nobody marked."""
    good = [row for row in rows if "failed" not in row]
    samples = [
        [one["under"] for one in row["attacks"].values() if "under" in one]
        for row in good
    ]
    schemes = dict.fromkeys(name for row in samples for one in row for name in one)
    cells: list[tuple[Cell, ...]] = []
    for scheme in schemes:
        tails = [[one[scheme] for one in row if scheme in one] for row in samples]
        shares = (
            Clustered.of([p <= math.log10(alpha) for p in row] for row in tails)
            for alpha in ALPHAS
        )
        cells.append((scheme, *map(str, shares), min(p for row in tails for p in row)))
    columns = ("under a key of", *(f"p at most {a:g}" for a in ALPHAS), "least log10 p")
    note = "After all attacks; of one sample they belong together."
    return Table(f"{suite}: {UNMARKED}", columns, tuple(cells), note)
