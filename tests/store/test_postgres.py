"""The same ledger in PostgreSQL: a real server, several processes, one sequencer."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import postgres_server

from watermark.errors import LedgerCorrupt, StoreError
from watermark.home import Home
from watermark.record import Record
from watermark.store import merkle
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import CONTENT, Entry
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey
from watermark.store.postgres import PostgresDatabase, is_url

pytestmark = pytest.mark.skipif(
    bool(postgres_server.missing()), reason=postgres_server.missing() or "-"
)
ORIGIN = "acme.example/log"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with postgres_server.server() as socket:
        yield socket


@pytest.fixture
def url(socket: Path) -> str:
    return postgres_server.new_database(socket, f"ledger{next(_numbers)}")


@pytest.fixture
def personal_key(tmp_path: Path) -> PersonalKey:
    return PersonalKey.create(tmp_path / "personal.key")


@pytest.fixture
def ledger(url: str, key: LogKey, personal_key: PersonalKey) -> Iterator[Ledger]:
    with Ledger.create(
        url, origin=ORIGIN, key=key, personal_key=personal_key
    ) as ledger:
        yield ledger


def sql(url: str, statement: str) -> None:
    database = PostgresDatabase(url)
    try:
        with database.writing() as connection:
            if not connection.exec_driver_sql(statement).rowcount:
                pytest.fail(f"changed nothing: {statement}")
    finally:
        database.close()


def test_it_does_all_that_a_file_does(
    ledger: Ledger, url: str, make: Any, key: LogKey
) -> None:
    personal = replace(make.generated("b"), personal={"user": "u-4711"})
    first, other, final = ledger.append(
        [make.generated("a"), personal, make.published("a")]
    )
    more = ledger.append([make.generated(str(n)) for n in range(20)])
    record = make.record("a")

    assert ledger.by_record(record.record_id) == [first, final]
    assert ledger.by_binding(make.binding, record.marks[0].mark_id) == [first, final]
    content = bytes.fromhex(record.content[0])
    assert ledger.by_binding(CONTENT, content) == [first, final]
    assert ledger.manifest("urn:c2pa:a") == b"manifest of a"
    assert ledger.manifests_of(record.record_id) == [("urn:c2pa:a", b"manifest of a")]
    assert list(ledger.rows()) == [first, other, final, *more]
    assert len(list(ledger.values(make.binding))) == 22
    assert ledger.personal(other.idx) == {"user": "u-4711"}
    assert ledger.root() == merkle.root([row.body for row in ledger.rows()])
    ledger.inclusion(7).verify(more[4].body, verifier=key.public)
    old = ledger.root(3)
    merkle.verify_consistency(3, 23, ledger.consistency(3), old, ledger.root())
    ledger.hold("case", record.record_id)
    ledger.erase(other.record.record_id)
    assert ledger.personal(other.idx) == {}
    ledger.add_timestamp(ledger.size, b"token")
    assert ledger.verify().size == 25
    with Ledger.open(url, key=key) as again:
        assert again.verify().signed == 25
        assert again.holds() == {"case": (record.record_id,)}


def test_pruning(
    ledger: Ledger, make: Any, monkeypatch: pytest.MonkeyPatch, key: LogKey
) -> None:
    rows = ledger.append([make.published(name) for name in "abc"])
    ledger.hold("case", rows[1].record.record_id)
    monkeypatch.setattr(
        "watermark.store.ledger.utc_now", lambda: "2030-01-01T00:00:00Z"
    )
    act = ledger.prune()

    assert act is not None
    assert act.entries == ((0, 1), (2, 3))
    assert list(ledger.rows()) == [rows[1]]
    assert ledger.manifest("urn:c2pa:a") is None
    ledger.inclusion(2).verify(rows[2].body, verifier=key.public)
    ledger.verify()


def test_what_contradicts_is_refused_and_nothing_of_it_stays(
    ledger: Ledger, make: Any
) -> None:
    ledger.append([make.generated("a")])
    bad_manifest = replace(make.published("b"), manifest_id="urn\0x")
    for batch in (
        [make.generated("b"), make.generated("a")],
        [make.published("c"), make.published("c", manifest=b"other")],
        [bad_manifest],
    ):
        with pytest.raises(StoreError) as caught:
            ledger.append(batch)
        assert not isinstance(caught.value, LedgerCorrupt)

    assert ledger.verify().size == 1


def work(url: str, key: str, name: str, count: int) -> None:
    with Ledger.open(url, key=LogKey.load(Path(key))) as ledger:
        for _ in range(count):
            record = Record(kind="text", provider=name)
            ledger.append([Entry(event="generated", record=record)])


def test_eight_processes_lose_nothing(ledger: Ledger, url: str, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    arguments = [(url, str(tmp_path / "log.pem"), f"p{n}", 10) for n in range(8)]
    writers = [spawn.Process(target=work, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0] * 8
    by = [row.record.provider for row in ledger.rows()]
    assert sorted(by) == sorted(f"p{n}" for n in range(8) for _ in range(10))
    check = ledger.verify()
    assert (check.size, check.signed) == (80, 80)


def test_threads_and_readers(ledger: Ledger, make: Any) -> None:
    failures: list[BaseException] = []

    def both(name: str) -> None:
        try:
            for n in range(5):
                [row] = ledger.append([make.generated(f"{name} {n}")])
                assert ledger.by_record(row.record.record_id) == [row]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=both, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert ledger.verify().size == 40


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE entry SET kind = 'audio' WHERE idx = 2", "entry 2 .* column kind"),
        ("DELETE FROM binding WHERE idx = 3", "entry 3: the table binding"),
        ("UPDATE node SET hash = ''::bytea WHERE level = 1 AND idx = 0", "entry 1"),
        ("DELETE FROM entry WHERE idx = 4", "entry 4 is missing"),
        ("DELETE FROM manifest", "manifest is missing"),
        ("DELETE FROM checkpoint", "no checkpoint"),
    ],
)
def test_tampering_is_found(
    statement: str, message: str, ledger: Ledger, url: str, make: Any
) -> None:
    ledger.append([make.generated(name) for name in "abcd"])
    ledger.append([make.published("a")])
    ledger.verify()
    sql(url, statement)

    with pytest.raises(LedgerCorrupt, match=message):
        ledger.verify()


def test_a_ledger_is_never_overwritten_and_told_from_none(
    ledger: Ledger, url: str, socket: Path, key: LogKey
) -> None:
    with pytest.raises(StoreError, match="never overwritten"):
        Ledger.create(url, origin=ORIGIN, key=key)
    empty = postgres_server.new_database(socket, f"empty{next(_numbers)}")
    with pytest.raises(LedgerCorrupt, match="not a ledger"):
        Ledger.open(empty)
    with pytest.raises(StoreError, match="cannot be used"):
        Ledger.open(postgres_server.url(socket, "none"))


def test_no_server_is_a_store_error_without_the_password(key: LogKey) -> None:
    url = "postgresql://wm:geheim@127.0.0.1:1/ledger"
    with pytest.raises(StoreError) as caught:
        Ledger.open(url, key=key)

    assert "geheim" not in str(caught.value)
    assert "geheim" not in repr(PostgresDatabase(url))
    for bad in ("postgresql://h:port/x", "postgresql://h/x?sslmode=prefer"):
        with pytest.raises(StoreError, match="expected"):
            PostgresDatabase(bad)
    assert is_url("postgres://db")
    assert not is_url(Path("postgresql:/x"))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:se@cret@h/db",
        "postgresql://u:secret@h:port/db",
        "postgresql://u:secret@h/db?password=secret",
    ],
)
def test_a_wrong_address_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        PostgresDatabase(address)

    assert "cret" not in "".join(traceback.format_exception(caught.value))


def test_a_home_keeps_its_ledger_in_a_database(url: str, tmp_path: Path) -> None:
    path = tmp_path / "home"
    Home.create(path, provider="Acme").ledger.close()
    with (path / "home.toml").open("a") as settings:
        settings.write(f'ledger = "{url}"\n')
    with Home.open(path).create_ledger() as made:
        made.append(
            [Entry(event="generated", record=Record(kind="text", provider="A"))]
        )
    with Home.open(path).ledger as ledger:
        assert ledger.name.startswith("postgresql://")
        assert ledger.verify().size == 1
    assert "postgresql" not in repr(Home.open(path))
    with pytest.raises(StoreError, match="never overwritten"):
        Home.open(path).create_ledger()


def test_a_ledger_in_a_database_is_no_file(ledger: Ledger) -> None:
    with pytest.raises(StoreError, match="is no file"):
        _ = ledger.path
    assert "postgresql" in repr(ledger)
