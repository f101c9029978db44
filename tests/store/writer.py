"""A writer process: ``writer.py LEDGER KEY NAME COUNT``; prints each durable record."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from watermark.record import Record
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger


def main(path: str, key: str, name: str, count: str) -> None:
    with Ledger.open(Path(path), key=LogKey.load(Path(key))) as ledger:
        for _ in range(int(count)) if int(count) else itertools.count():
            record = Record(kind="text", provider=name)
            ledger.append([Entry(event="generated", record=record)])
            print(record.record_id, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
