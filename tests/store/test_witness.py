"""What others say of a checkpoint is kept, and contradicts nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from watermark.errors import LedgerCorrupt, StoreError, VerificationError
from watermark.store import checkpoint
from watermark.store.checkpoint import LogKey
from watermark.store.ledger import Ledger


@pytest.fixture
def witness(tmp_path: Path) -> LogKey:
    return LogKey.create(tmp_path / "witness.pem", name="witness.example")


def test_cosignature_lines_are_kept(
    ledger: Ledger, make: Any, key: LogKey, witness: LogKey
) -> None:
    ledger.append([make.generated("a")])
    own = checkpoint.parse(ledger.checkpoint())
    cosigned = checkpoint.sign(own, witness)
    merged = ledger.cosign(cosigned.note)

    assert merged == cosigned.note == ledger.checkpoint()
    assert ledger.cosign(cosigned.note) == merged
    head = checkpoint.verify(ledger.inclusion(0).checkpoint, key.verifier)
    assert [line.split()[1] for line in head.signatures] == [key.name, witness.name]
    ledger.append([make.generated("b")])
    assert ledger.checkpoint_at(1) == merged
    assert ledger.vouched() == [1]
    ledger.verify(notes=[merged])


def test_only_the_logs_own_checkpoints_are_cosigned(
    ledger: Ledger, make: Any, key: LogKey, witness: LogKey
) -> None:
    ledger.append([make.generated("a")])
    own = checkpoint.parse(ledger.checkpoint())
    alone = checkpoint.sign(replace(own, signatures=()), witness)
    with pytest.raises(VerificationError, match="without a signature"):
        ledger.cosign(alone.note)
    later = checkpoint.sign(replace(own, size=9, signatures=()), key)
    with pytest.raises(StoreError, match="no checkpoint was signed for 9"):
        ledger.cosign(later.note)
    fork = checkpoint.sign(replace(own, root=bytes(32), signatures=()), key)
    with pytest.raises(LedgerCorrupt, match="of a fork"):
        ledger.cosign(fork.note)
    for _ in range(99):
        name = f"witness.example/{len(own.signatures)}"
        stranger = LogKey.create(ledger.path.with_name("w.pem"), name=name)
        ledger.path.with_name("w.pem").unlink()
        own = checkpoint.sign(own, stranger)
    ledger.cosign(own.note)
    with pytest.raises(StoreError, match="at most 100"):
        ledger.cosign(
            checkpoint.sign(replace(own, signatures=own.signatures[:1]), witness).note
        )


def test_a_time_stamp_is_kept_with_its_checkpoint(ledger: Ledger, make: Any) -> None:
    ledger.append([make.generated("a")])
    ledger.add_timestamp(1, b"first")
    ledger.add_timestamp(1, b"token")

    assert ledger.timestamp(1) == b"token"
    assert ledger.timestamp(0) is None
    assert ledger.vouched() == [1]
    for size, token in ((7, b"token"), (1, b""), (1, bytes(70_000))):
        with pytest.raises(StoreError):
            ledger.add_timestamp(size, token)
    ledger.verify()


def test_a_ledger_of_before_is_read_and_grown(
    ledger: Ledger, make: Any, key: LogKey
) -> None:
    with ledger._database.writing() as connection:
        for table in ("timestamp", "personal", "hold"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("CREATE TABLE record (record_id TEXT, data TEXT)")
    with Ledger.open(ledger.path, key=key) as again:
        [row] = again.append([make.generated("a")])
        again.hold("case", row.record.record_id)
        assert again.verify().size == 2
