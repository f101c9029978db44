"""An export is checked by a script that has nothing of this package."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.errors import StoreError
from watermark.store import check_export, checkpoint
from watermark.store.check_export import Wrong
from watermark.store.checkpoint import LogKey
from watermark.store.export import Query, export, find
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey

ORIGIN = "acme.example/log"


@pytest.fixture
def ledger(
    tmp_path: Path, key: LogKey, make: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """Five entries on three days, a hold, a witness and a time-stamp."""
    days = iter(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"])
    monkeypatch.setattr(
        "watermark.store.ledger.utc_now", lambda: f"{next(days)}T00:00:00Z"
    )
    personal_key = PersonalKey.create(tmp_path / "personal.key")
    with Ledger.create(
        tmp_path / "l.db", origin=ORIGIN, key=key, personal_key=personal_key
    ) as ledger:
        first = replace(make.generated("a"), personal={"user": "u-4711"})
        ledger.append([first, make.generated("b")])
        witness = LogKey.create(tmp_path / "w.pem", name="witness.example")
        head = checkpoint.parse(ledger.checkpoint())
        ledger.cosign(checkpoint.sign(head, witness).note)
        other = replace(make.record("c"), model="large", model_id="pkg:acme/large@1")
        ledger.append([make.published("a"), replace(make.generated("c"), record=other)])
        ledger.add_timestamp(4, b"token")
        ledger.append([make.published("b")])
        ledger.hold("case", make.record("b").record_id)
        yield ledger


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script as a stranger runs it: isolated, without site-packages."""
    script = folder / "check_export.py"
    command = [sys.executable, "-I", "-S", script, folder, *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
def test_an_export_is_checked_without_any_package(
    ledger: Ledger, tmp_path: Path, key: LogKey
) -> None:
    folder = tmp_path / "export"
    assert export(ledger, folder, Query()) == 5
    good = run(folder, "--key", key.public)
    untold = run(folder)
    other = LogKey.create(tmp_path / "other.pem", name=ORIGIN)
    wrong = run(folder, "--key", other.public)

    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("6 entries are in the log of 6")
    assert key.public in untold.stdout
    assert wrong.returncode == 1
    assert "has no signature by" in wrong.stdout
    text = (folder / "entries.jsonl").read_text()
    (folder / "entries.jsonl").write_text(text.replace("Acme", "Acne", 1))
    assert "WRONG: entry 0: record" in run(folder).stdout


def test_the_newest_checkpoint_and_those_that_others_vouch_for(
    ledger: Ledger, tmp_path: Path, key: LogKey
) -> None:
    export(ledger, tmp_path / "export", Query())
    lines = (tmp_path / "export" / "checkpoints.jsonl").read_text().splitlines()
    older = [json.loads(line) for line in lines]

    assert [line["size"] for line in older] == [2, 4]
    assert "witness.example" in older[0]["note"]
    assert older[1]["timestamp"] == "dG9rZW4="
    assert check_export.check(tmp_path / "export", key.public) == (6, 6)


def edited(change: Any) -> Any:
    def apply(folder: Path) -> None:
        path = folder / "entries.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("\n".join(json.dumps(line) for line in lines))

    return apply


def swap_leaves(lines: list[Any]) -> None:
    lines[0]["leaf"], lines[1]["leaf"] = lines[1]["leaf"], lines[0]["leaf"]


def swap_manifests(folder: Path) -> None:
    first, second = sorted((folder / "manifests").iterdir())
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def fork(folder: Path) -> None:
    path = folder / "checkpoints.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["path"], lines[1]["path"] = lines[1]["path"], lines[0]["path"]
    path.write_text("\n".join(json.dumps(line) for line in lines))


def repeat(lines: list[Any]) -> None:
    lines[2] = lines[3]  # the count stays


def without_manifest(folder: Path) -> None:
    edited(lambda lines: lines[2].pop("manifest"))(folder)


def another_size(folder: Path) -> None:
    path = folder / "checkpoints.jsonl"
    path.write_text(path.read_text().replace('"size": 2', '"size": 4', 1))


TAMPERINGS: dict[str, tuple[Any, str]] = {
    "swapped leaves": (edited(swap_leaves), "entry 0: its proof does not lead"),
    "another index": (edited(lambda e: e[0].update(index=1)), "entry 1: its proof"),
    "a cut proof": (edited(lambda e: e[0]["path"].pop()), "entry 0"),
    "another fact": (
        edited(lambda e: e[1]["facts"].update(ts="2020-01-01T00:00:00Z")),
        "entry 1: ts",
    ),
    "another person": (
        edited(lambda e: e[0]["personal"]["user"].update(value="u-1")),
        "entry 0: the field user",
    ),
    "a fact too many": (
        edited(lambda e: e[1]["facts"].update(recalled=None)),
        "entry 1: recalled is None",
    ),
    "a fact too few": (edited(lambda e: e[1]["facts"].pop("salt")), "entry 1: salt"),
    "an entry in place of another": (edited(repeat), "entry 3: it stands .* twice"),
    "a manifest that is not shown": (without_manifest, "manifest"),
    "a manifest of none": (
        edited(lambda e: e[0].update(manifest="x.c2pa")),
        "entry 0: it has a manifest",
    ),
    "another size of a checkpoint": (another_size, "checkpoint of 2 entries"),
    "swapped manifests": (swap_manifests, "entry 2: its manifest"),
    "another log's past": (fork, "checkpoint of 2 entries"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_an_altered_export_is_found_and_named(
    name: str, ledger: Ledger, tmp_path: Path, key: LogKey
) -> None:
    tamper, message = TAMPERINGS[name]
    folder = tmp_path / "export"
    export(ledger, folder, Query(), personal=True)
    check_export.check(folder, key.public)
    tamper(folder)

    with pytest.raises(Wrong, match=message):
        check_export.check(folder, key.public)


@pytest.mark.parametrize("line", ["[]", "5", '{"leaf": 5}', "[" * 100_000, "{"])
def test_nonsense_is_wrong_and_no_traceback(
    line: str, ledger: Ledger, tmp_path: Path
) -> None:
    export(ledger, tmp_path / "export", Query())
    (tmp_path / "export" / "entries.jsonl").write_text(line)
    done = run(tmp_path / "export")

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("WRONG: ")


def test_an_old_openssl_says_nothing_of_the_signature(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.0 it does not know -rawin: no reason to accuse anybody."""
    export(ledger, tmp_path / "export", Query())
    old = tmp_path / "bin" / "openssl"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho unknown option -rawin >&2\nexit 1\n")
    old.chmod(0o755)
    for folder, said in ((old.parent, "-rawin"), (tmp_path, "install openssl")):
        monkeypatch.setenv("PATH", f"{folder}")
        script = tmp_path / "export" / "check_export.py"
        command = [sys.executable, "-I", "-S", str(script), str(script.parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (2, "")
        assert done.stdout.startswith("NOT CHECKED: ")
        assert said in done.stdout


def test_an_export_is_its_owners(ledger: Ledger, tmp_path: Path) -> None:
    export(ledger, tmp_path / "export", Query(), personal=True)

    assert (tmp_path / "export").stat().st_mode & 0o777 == 0o700


def test_personal_fields_are_shown_only_when_asked_for(
    ledger: Ledger, tmp_path: Path
) -> None:
    export(ledger, tmp_path / "without", Query())
    export(ledger, tmp_path / "with", Query(), personal=True)

    assert "u-4711" not in (tmp_path / "without" / "entries.jsonl").read_text()
    assert "u-4711" in (tmp_path / "with" / "entries.jsonl").read_text()


def test_entries_are_found_by_each_thing_they_can_be_asked_by(
    ledger: Ledger, make: Any
) -> None:
    record = make.record("a")

    def indexes(**query: Any) -> list[int]:
        return [row.idx for row in find(ledger, Query(**query))]

    assert indexes() == [0, 1, 2, 3, 4]
    assert indexes(since="2026-01-02T00:00:00Z") == [2, 3, 4]
    assert indexes(until="2026-01-02T00:00:00Z") == [0, 1]
    assert indexes(record_id=record.record_id) == [0, 2]
    assert indexes(sha256=record.content[0].upper()) == [0, 2]
    assert indexes(sha256=make.digest("file a")) == [2]
    assert indexes(model="large") == indexes(model="pkg:acme/large@1") == [3]
    assert indexes(payload=record.marks[0].mark_id) == [0, 2]
    assert indexes(payload=record.marks[0].mark_id, since="2026-01-02T00:00:00Z") == [2]
    assert indexes(payload=record.marks[0].mark_id, model="large") == []
    for name, wrong in (("since", "yesterday"), ("sha256", "ab"), ("sha256", "zz")):
        query: dict[str, Any] = {name: wrong}
        with pytest.raises(StoreError, match="expected"):
            Query(**query)


def test_an_export_is_never_overwritten(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="never overwritten"):
        export(ledger, tmp_path, Query())
    with pytest.raises(StoreError, match="cannot be written"):
        export(ledger, tmp_path / "l.db" / "export", Query())


leaves = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=30)
    | st.binary(max_size=30)
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(st.text(max_size=5), inner, max_size=30)
    ),
    max_leaves=40,
)


@given(leaves)
def test_its_reader_of_cbor_reads_what_cbor2_writes(value: Any) -> None:
    assert check_export.cbor(cbor2.dumps(value, canonical=True)) == value


@given(st.binary(max_size=60))
def test_its_reader_of_cbor_refuses_nonsense(data: bytes) -> None:
    refused = (Wrong, IndexError, TypeError, ValueError, struct.error)
    with contextlib.suppress(*refused):  # all that `main` expects
        check_export.cbor(data)
