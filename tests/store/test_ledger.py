from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watermark.errors import LedgerCorrupt, StoreError, VerificationError
from watermark.record import Mark, Record
from watermark.store import checkpoint, database, leaf, merkle
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import ASSET, CONTENT, Entry
from watermark.store.ledger import Ledger
from watermark.store.proof import InclusionProof

ORIGIN = "acme.example/log"
WRITER = Path(__file__).with_name("writer.py")


@contextlib.contextmanager
def writer(ledger: Ledger, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    key = ledger.path.with_name("log.pem")
    parts = [sys.executable, WRITER, ledger.path, key, name, count]
    command = [str(part) for part in parts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process


def test_what_was_appended_is_found_by_each_name_it_has(
    ledger: Ledger, make: Any
) -> None:
    first, other, final = ledger.append(
        [make.generated("a"), make.generated("b"), make.published("a")]
    )
    record = make.record("a")
    mark_id, content = record.marks[0].mark_id, bytes.fromhex(record.content[0])

    assert ledger.by_record(record.record_id) == [first, final]
    assert ledger.by_binding(make.binding, mark_id) == [first, final]
    assert ledger.by_binding(CONTENT, content) == [first, final]
    asset = bytes.fromhex(final.asset_sha256)
    assert ledger.by_binding(ASSET, asset) == [final]
    assert ledger.record(record.record_id) == record
    assert ledger.manifest("urn:c2pa:a") == b"manifest of a"
    assert ledger.manifests_of(record.record_id) == [("urn:c2pa:a", b"manifest of a")]
    assert list(ledger.rows()) == [first, other, final]
    assert list(ledger.rows(1, 2)) == [other]
    assert final.manifest_sha256 == hashlib.sha256(b"manifest of a").hexdigest()


def test_what_is_not_there_is_not_found(ledger: Ledger) -> None:
    assert ledger.by_record("0" * 32) == []
    assert ledger.by_binding(CONTENT, bytes(32)) == []
    assert ledger.record("0" * 32) is None
    assert ledger.manifest("urn:none") is None
    assert ledger.manifests_of("0" * 32) == []
    assert list(ledger.rows()) == []
    assert ledger.append([]) == []


def test_one_mark_id_leads_to_all_its_records(ledger: Ledger, make: Any) -> None:
    names = ["a", "b", "c"]
    rows = ledger.append([make.generated(n, mark_id=b"same-one") for n in names])
    ledger.append([make.generated("d")])

    assert ledger.by_binding(make.binding, b"same-one") == rows


def test_a_presence_only_mark_is_not_bound(ledger: Ledger, make: Any) -> None:
    [row] = ledger.append([make.generated("a", mark_id=b"")])

    assert [alg for alg, _ in row.bindings] == [CONTENT]
    assert ledger.by_binding(make.binding, b"") == []


def test_nonces_are_bound_and_listed(
    ledger: Ledger, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watermark.store.reader.PAGE", 2)
    nonces = [bytes([n]) * 12 for n in (9, 3, 7, 3, 1)]
    entries = []
    for n, nonce in enumerate(nonces):
        record = make.record(str(n))
        [mark] = record.marks
        other = replace(mark, epoch=1, mark_id=b"", nonce=b"of another epoch")
        marks = (replace(mark, nonce=nonce), other)
        entries.append(Entry(event="generated", record=replace(record, marks=marks)))
    rows = ledger.append(entries)

    [mark, other] = rows[0].record.marks
    assert (mark.nonce_binding, other.nonce_binding) == ("nonce.k1.0", "nonce.k1.1")
    assert list(ledger.values("nonce.k1.0")) == sorted({*nonces})
    assert list(ledger.values("nonce.k1.1")) == [b"of another epoch"]
    assert list(ledger.values("nonce.k2.0")) == []
    assert ledger.by_binding("nonce.k1.0", nonces[1]) == [rows[1], rows[3]]
    ledger.verify()


def test_a_mark_without_a_nonce_is_written_as_ever(make: Any) -> None:
    [mark] = make.record("a").marks

    assert "nonce" not in mark.to_dict()
    assert Mark.from_dict(mark.to_dict()) == mark
    kept = replace(mark, nonce=b"twelve bytes")
    assert kept.to_dict()["nonce"] == b"twelve bytes".hex()
    assert Mark.from_dict(kept.to_dict()) == kept


def test_a_leaf_is_deterministic_cbor_with_a_salt(ledger: Ledger, make: Any) -> None:
    row, again = ledger.append([make.published("a"), make.published("a")])
    fields = cbor2.loads(row.body)

    assert list(fields) == sorted(fields, key=cbor2.dumps)
    assert row.body == cbor2.dumps(fields, canonical=True)
    assert fields["v"] == 1
    assert fields["record"] == make.record("a").to_dict()
    assert len(fields["salt"]) == 16
    assert fields["salt"] != cbor2.loads(again.body)["salt"]
    assert row.leaf_hash == merkle.leaf_hash(row.body)


def test_a_record_is_generated_once_and_published_often(
    ledger: Ledger, make: Any
) -> None:
    changed = make.record("a").with_content(make.digest("other pixels"))
    ledger.append([make.generated("a"), make.published("a"), make.published("a")])
    ledger.append([Entry(event="published", record=changed)])
    for batch in ([make.generated("a")], [make.generated("b"), make.generated("b")]):
        with pytest.raises(StoreError, match="is in the ledger already"):
            ledger.append(batch)

    assert ledger.size == 4
    assert ledger.record(changed.record_id) == changed
    ledger.verify()


def test_finished_media_may_be_published_at_once(ledger: Ledger, make: Any) -> None:
    ledger.append([make.published("a")])

    assert ledger.record(make.record("a").record_id) == make.record("a")
    with pytest.raises(StoreError, match="generated"):
        ledger.append([make.generated("a")])
    ledger.verify()


def test_a_manifest_id_stands_for_one_manifest(ledger: Ledger, make: Any) -> None:
    ledger.append([make.published("a")])
    other = replace(make.published("b"), manifest_id="urn:c2pa:a")
    for entry in (make.published("a", manifest=b"other"), other):
        with pytest.raises(StoreError, match="its own id"):
            ledger.append([entry])
    without_bytes = replace(make.published("a"), manifest=None)
    [row] = ledger.append([without_bytes])

    assert (row.manifest_id, row.manifest_sha256) == ("urn:c2pa:a", "")
    assert ledger.verify().size == 2


def test_a_batch_is_written_whole_or_not_at_all(ledger: Ledger, make: Any) -> None:
    before = ledger.checkpoint()
    with pytest.raises(StoreError):
        ledger.append([make.published("a"), make.generated("a")])

    assert ledger.size == 0
    assert ledger.checkpoint() == before
    assert ledger.manifest("urn:c2pa:a") is None


@pytest.mark.parametrize(
    "change",
    [
        {"record_id": "A" * 32},
        {"record_id": "0" * 31},
        {"content": ("ab",)},
        {"kind": "smell"},
        {"model": "\ud800"},
        {"system": object()},
    ],
)
def test_what_no_leaf_can_hold_is_refused(
    change: dict[str, Any], ledger: Ledger, make: Any
) -> None:
    record = replace(make.record("a"), **change)
    with pytest.raises(StoreError):
        ledger.append([Entry(event="generated", record=record)])

    assert ledger.size == 0


def test_entries_check_their_fields(make: Any) -> None:
    record = make.record("a")
    with pytest.raises(StoreError, match="event"):
        Entry(event="eaten", record=record)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="SHA-256"):
        Entry(event="published", record=record, asset_sha256="AB" * 32)
    with pytest.raises(StoreError, match="manifest id"):
        Entry(event="published", record=record, manifest=b"m")
    nan = replace(record, marks=(replace(record.marks[0], coverage=float("nan")),))
    with pytest.raises(StoreError, match="cannot be written"):
        leaf.make(Entry(event="generated", record=nan), ts="2026-11-23T09:00:00Z")


@given(
    batches=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    at=st.integers(0, 1 << 20),
    before=st.integers(0, 1 << 20),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_stored_proofs_verify_offline(
    batches: list[int], at: int, before: int, ledger: Ledger, make: Any, key: LogKey
) -> None:
    start = ledger.size  # the ledger goes on growing from example to example
    for size in batches:
        names = [f"{ledger.size}.{n}" for n in range(size)]
        ledger.append([make.generated(name) for name in names])
    rows = list(ledger.rows())
    assert ledger.root() == merkle.root([row.body for row in rows])

    row = rows[at % ledger.size]
    sent = json.loads(json.dumps(ledger.inclusion(row.idx).to_dict()))
    proof = InclusionProof.from_dict(sent)
    head = proof.verify(row.body, verifier=key.public)
    assert (head.size, head.root) == (ledger.size, ledger.root())
    old = before % (ledger.size + 1)
    roots = ledger.root(old), ledger.root()
    path = ledger.consistency(old)
    merkle.verify_consistency(old, ledger.size, path, *roots)
    if start:
        ledger.inclusion(0, start).verify(rows[0].body, verifier=key.public)


def test_an_altered_proof_fails(ledger: Ledger, make: Any, key: LogKey) -> None:
    names = "abcdefg"
    rows = [ledger.append([make.generated(name)])[0] for name in names]
    body, proof = rows[3].body, ledger.inclusion(3)
    other = replace(ledger.inclusion(3, 5), path=proof.path)
    stranger = LogKey.create(ledger.path.with_name("other.pem"), name=ORIGIN)

    proof.verify(body, verifier=key.public)
    wrong = [
        (replace(proof, index=2), body, key),
        (replace(proof, size=8), body, key),
        (replace(proof, path=proof.path[:-1]), body, key),
        (replace(proof, path=(*proof.path, bytes(32))), body, key),
        (replace(proof, path=proof.path[::-1]), body, key),
        (replace(proof, checkpoint=""), body, key),
        (replace(proof, checkpoint=other.checkpoint), body, key),
        (other, body, key),
        (proof, rows[2].body, key),
        (proof, body, stranger),
    ]
    for altered, claimed, by in wrong:
        with pytest.raises(VerificationError):
            altered.verify(claimed, verifier=by.public)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["alg", "leaf_index", "tree_size", "path", "checkpoint"]),
    json_values,
)
def test_a_malformed_proof_is_a_verification_error(name: str, value: Any) -> None:
    good = InclusionProof(index=0, size=1, path=()).to_dict()
    for data in ({**good, name: value}, {k: good[k] for k in good if k != name}):
        with contextlib.suppress(VerificationError):
            proof = InclusionProof.from_dict(data)
            with pytest.raises(VerificationError):
                proof.verify(b"", verifier=ORIGIN)


def test_unsigned_entries_are_counted_and_can_be_signed_later(
    ledger: Ledger, make: Any, key: LogKey
) -> None:
    ledger.append([make.generated("a")])
    with Ledger.open(ledger.path) as keyless:
        [row] = keyless.append([make.generated("b")])
        check = keyless.verify()
        assert (check.size, check.signed) == (2, 1)
        assert keyless.inclusion(0).size == 1
        with pytest.raises(StoreError, match=r"Ledger\.sign"):
            keyless.inclusion(row.idx)
        proof = keyless.inclusion(row.idx, 2)
        proof.verify_root(row.body, root=keyless.root())
        with pytest.raises(VerificationError, match="no checkpoint"):
            proof.verify(row.body, verifier=key.public)
        with pytest.raises(StoreError, match="without its log key"):
            keyless.sign()

    note = ledger.sign()
    assert ledger.sign() == ledger.checkpoint() == note
    assert ledger.verify().signed == 2
    ledger.inclusion(row.idx).verify(row.body, verifier=key.public)


def test_sizes_that_never_were_are_refused(ledger: Ledger, make: Any) -> None:
    ledger.append([make.generated("a")])
    for ask in (
        lambda: ledger.root(2),
        lambda: ledger.root(-1),
        lambda: ledger.inclusion(1),
        lambda: ledger.inclusion(-1),
        lambda: ledger.inclusion(0, 2),
        lambda: ledger.consistency(2),
        lambda: ledger.consistency(-1, 1),
    ):
        with pytest.raises(StoreError):
            ask()


def test_create_refuses_to_overwrite(
    ledger: Ledger, key: LogKey, tmp_path: Path
) -> None:
    before = ledger.path.read_bytes()
    with pytest.raises(StoreError, match="never overwritten"):
        Ledger.create(ledger.path, origin=ORIGIN, key=key)

    assert ledger.path.read_bytes() == before
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="origin"):
        Ledger.create(tmp_path / "other.db", origin="other", key=key)
    with pytest.raises(StoreError, match="cannot be written"):
        Ledger.create(tmp_path / "none" / "ledger.db", origin=ORIGIN, key=key)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"log.pem", "ledger.db", "ledger.db-wal", "ledger.db-shm"}


def test_a_ledger_is_opened_with_its_own_key_only(
    ledger: Ledger, tmp_path: Path
) -> None:
    other = LogKey.create(tmp_path / "other.pem", name=ORIGIN)
    with pytest.raises(StoreError, match="load the log key"):
        Ledger.open(ledger.path, key=other)
    with pytest.raises(LedgerCorrupt, match="without a signature"):
        ledger.verify(verifier=other.public)


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with pytest.raises(StoreError, match="check that the file exists"):
        Ledger.open(path)

    assert not path.exists()


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    ledger.close()

    with pytest.raises(StoreError, match="was closed"):
        _ = ledger.size


def test_no_secret_is_shown(ledger: Ledger) -> None:
    pem = ledger.path.with_name("log.pem").read_text().splitlines()[2]

    assert repr(ledger) == f"Ledger({str(ledger.path)!r}, origin={ORIGIN!r})"
    for suffix in ("", "-wal"):
        data = ledger.path.with_name(ledger.path.name + suffix).read_bytes()
        assert pem.encode() not in data


def test_damaged_files_are_corrupt_ledgers(
    ledger: Ledger, make: Any, tmp_path: Path
) -> None:
    ledger.append([make.published(str(n)) for n in range(200)])
    ledger.close()
    whole = ledger.path.read_bytes()
    garbage = hashlib.shake_256(b"seed").digest(len(whole))
    damaged = {
        "empty": b"",
        "header-only": whole[:100],
        "half": whole[: len(whole) // 2],
        "cut-in-a-page": whole[:-1000],
        "random": garbage,
        "random-after-header": whole[:4096] + garbage[4096:],
        "text": b"not a database at all\n" * 300,
    }
    for name, data in damaged.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(LedgerCorrupt, match="backup"):
            pytest.fail(f"opened {name}: {Ledger.open(path)}")
    hole = tmp_path / "hole"
    for page in range(1, len(whole) // 4096, 7):
        at = page * 4096
        hole.write_bytes(whole[:at] + garbage[:4096] + whole[at + 4096 :])
        with pytest.raises(LedgerCorrupt), Ledger.open(hole) as opened:
            opened.verify()


def test_a_full_disk_is_a_store_error_and_loses_nothing(
    ledger: Ledger, make: Any
) -> None:
    ledger.append([make.generated("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = ledger.path.with_name(ledger.path.name + "-wal")
    limit = max(wal.stat().st_size, ledger.path.stat().st_size) + 50_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StoreError, match="disk") as caught:
            ledger.append([make.generated(str(n)) for n in range(500)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not isinstance(caught.value, LedgerCorrupt)
    ledger.append([make.generated("b")])
    assert ledger.verify().size == 2


def test_a_read_only_ledger_is_a_store_error(
    ledger: Ledger, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = database.connect

    def read_only(path: Path) -> Any:
        connection = connect(path)
        connection.execute("PRAGMA query_only=ON")
        return connection

    monkeypatch.setattr(database, "connect", read_only)
    with Ledger.open(ledger.path) as opened:
        assert opened.size == 0
        with pytest.raises(StoreError, match="read-only"):
            opened.append([make.generated("a")])


def test_a_locked_ledger_is_a_store_error(
    ledger: Ledger, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with (
        Ledger.open(ledger.path) as other,
        ledger._database.writing(),
        pytest.raises(StoreError, match="another process"),
    ):
        other.append([make.generated("a")])


def test_eight_writer_processes_lose_nothing(ledger: Ledger) -> None:
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(writer(ledger, f"p{n}", 25)) for n in range(8)]
        acknowledged = [process.communicate()[0].split() for process in writers]

    assert [process.returncode for process in writers] == [0] * 8
    assert [len(ids) for ids in acknowledged] == [25] * 8
    stored = [row.record.record_id for row in ledger.rows()]
    assert sorted(stored) == sorted(itertools.chain(*acknowledged))
    check = ledger.verify()
    assert (check.size, check.signed, check.checkpoints) == (200, 200, 201)


def test_many_threads_lose_nothing(ledger: Ledger, make: Any) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for n in range(6):
                [row] = ledger.append([make.generated(f"{name} {n}")])
                assert ledger.by_record(row.record.record_id) == [row]
                ledger.checkpoint()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert ledger.verify().size == 120


def test_a_forked_child_uses_connections_of_its_own(ledger: Ledger, make: Any) -> None:
    ledger.append([make.generated("parent")])
    child = os.fork()
    if child == 0:
        try:
            ledger.append([make.generated("child")])
            os._exit(0)
        finally:
            os._exit(1)
    ledger.append([make.generated("parent again")])

    assert os.waitpid(child, 0)[1] == 0
    assert ledger.verify().size == 3


def test_a_killed_writer_leaves_a_sound_ledger(ledger: Ledger) -> None:
    acknowledged: list[str] = []
    for n in range(4):
        with writer(ledger, f"p{n}", 0) as process:
            if process.stdout is None:
                pytest.fail("no pipe")
            acknowledged.append(process.stdout.readline().strip())
            time.sleep(0.02 + 0.013 * n)
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")[:-1]
        acknowledged += lines
        with Ledger.open(ledger.path) as opened:
            opened.verify()

    stored = {row.record.record_id for row in ledger.rows()}
    assert set(acknowledged) <= stored
    assert len(stored) - len(acknowledged) <= 4  # at most one unheard-of each


def test_a_thousand_entries_in_one_batch(ledger: Ledger, make: Any) -> None:
    entries = [make.generated(str(n)) for n in range(1000)]
    start = time.perf_counter()
    rows = ledger.append(entries)
    batch = time.perf_counter() - start
    start = time.perf_counter()
    for row in rows[:100]:
        proof = ledger.inclusion(row.idx)
    proofs = time.perf_counter() - start
    start = time.perf_counter()
    ledger.verify()
    audit = time.perf_counter() - start

    print(f"\n{1000 / batch:.0f} appends/s, {10 * proofs:.2f} ms a proof, ", end="")
    print(f"{1e3 * audit:.0f} ms to verify 1000 entries")
    assert len(proof.path) == 10


def test_a_checkpoint_is_read_by_its_public_key_alone(
    ledger: Ledger, make: Any, key: LogKey
) -> None:
    ledger.append([make.generated("a")])
    head = checkpoint.verify(ledger.checkpoint(), key.verifier)

    assert (head.origin, head.size, head.root) == (ORIGIN, 1, ledger.root())
    assert ledger.verifier == key.public
    assert isinstance(ledger.record(make.record("a").record_id), Record)
