"""A home exists whole or not at all, opens as it was made, and shows no secret."""

from __future__ import annotations

import json
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from watermark.errors import HomeError, KeyFileError, StoreError, WatermarkError
from watermark.home import Home, default_path
from watermark.keys import KeyRecord
from watermark.record import Record
from watermark.schemes import DEFAULTS, SCHEMES
from watermark.store import retention
from watermark.store.leaf import Entry
from watermark.tokenizer import TextTokenizer

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", provider="Acme")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- making and opening --------------------------------------------------------------


def test_a_new_home_has_all_its_parts(home: Home) -> None:
    assert names(home.path) == [
        "credential",
        "home.toml",
        "keys",
        "ledger.db",
        "log.pem",
        "personal.key",
        "records",
        "tokenizers",
    ]
    assert len(home.ring) == 1
    assert home.credential.organisation == "Acme"
    assert home.ledger.size == 0
    assert home.max_fpr == 1e-6


def test_a_home_opens_as_it_was_made(home: Home) -> None:
    again = Home.open(home.path)

    assert (again.path, again.provider) == (home.path, "Acme")
    assert list(again.ring) == list(home.ring)
    assert again.credential.fingerprint == home.credential.fingerprint
    assert again.ledger.verifier == home.ledger.verifier


def test_the_ledger_is_kept_as_the_settings_say(home: Home) -> None:
    text = (home.path / "home.toml").read_text()
    assert "retention_days = 184" in text
    more = text.replace("= 184", "= 400") + 'regimes = ["cn", "eu"]\n'
    (home.path / "home.toml").write_text(more)
    again = Home.open(home.path)
    record = Record(kind="text", provider="Acme", created_at="2026-01-01T00:00:00Z")
    entry = Entry(event="generated", record=record, personal={"user": "u-4711"})
    [row] = again.ledger.append([entry])

    assert (again.regimes, again.retention_days) == (("cn", "eu"), 400)
    kept = retention.time(row.retain_until) - retention.time(row.ts)
    assert kept.days == 400
    assert again.ledger.personal(row.idx) == {"user": "u-4711"}


def test_a_home_without_its_personal_key_takes_no_personal_fields(home: Home) -> None:
    (home.path / "personal.key").unlink()
    record = Record(kind="text", provider="Acme")
    ledger = Home.open(home.path).ledger
    with pytest.raises(StoreError, match=r"personal\.key"):
        ledger.append([Entry(event="generated", record=record, personal={"user": "u"})])
    assert ledger.append([Entry(event="generated", record=record)])


def test_a_home_of_before_gets_a_personal_key_and_a_lost_one_is_not_replaced(
    home: Home,
) -> None:
    (home.path / "personal.key").unlink()
    Home.open(home.path).create_personal_key()
    again = Home.open(home.path)
    record = Record(kind="text", provider="Acme")
    entry = Entry(event="generated", record=record, personal={"user": "u"})
    assert again.ledger.append([entry])

    assert stat.S_IMODE((home.path / "personal.key").stat().st_mode) == 0o600
    with pytest.raises(HomeError, match="put it back"):
        again.create_personal_key()
    (home.path / "personal.key").unlink()
    with pytest.raises(HomeError, match="put it back"):
        Home.open(home.path).create_personal_key()
    assert not (home.path / "personal.key").exists()


@pytest.mark.parametrize(
    ("url", "file", "folder", "refused"),
    [
        ("postgresql://u:secret@db/x", 0o644, 0o755, True),
        ("postgresql://u:secret@db/x", 0o600, 0o755, False),
        ("postgresql://u:secret@db/x", 0o644, 0o700, False),
        ("postgresql://u@db:5432/x", 0o644, 0o755, False),
    ],
)
def test_a_password_in_the_settings_is_its_owners(
    url: str, file: int, folder: int, *, refused: bool, home: Home
) -> None:
    path = home.path / "home.toml"
    path.write_text(f"{path.read_text()}ledger = '{url}'\n")
    path.chmod(file)
    home.path.chmod(folder)
    if not refused:
        assert Home.open(home.path).ledger_url == url
        assert "secret" not in repr(Home.open(home.path))
        return
    with pytest.raises(HomeError, match="others can read") as told:
        Home.open(home.path)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "setting",
    [
        "retention_days = 183\nregimes = ['cn']",
        "retention_days = -1",
        "retention_days = 'long'",
        "regimes = 'cn'",
        "regimes = [5]",
        "regimes = ['china']",
        "retention_days = 183\nregimes = ['eu', 'global']",
        "ledger = 'mysql://db'",
        "ledger = 7",
    ],
)
def test_a_setting_that_breaks_the_law_or_makes_no_sense_is_refused(
    setting: str, home: Home
) -> None:
    path = home.path / "home.toml"
    lines = [x for x in path.read_text().splitlines() if "retention" not in x]
    path.write_text("\n".join([*lines, setting]) + "\n")
    with pytest.raises(HomeError):
        Home.open(home.path)


def test_nothing_secret_is_open_to_others(home: Home) -> None:
    secret = [home.path / "log.pem", home.path / "credential" / "key.pem"]
    secret += list((home.path / "keys").iterdir())

    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_home_is_never_overwritten(home: Home) -> None:
    before = (home.path / "home.toml").read_bytes()
    with pytest.raises(HomeError, match="never overwritten"):
        Home.create(home.path, provider="Other")

    assert (home.path / "home.toml").read_bytes() == before


def test_a_file_or_an_empty_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(HomeError, match="exists"):
            Home.create(tmp_path / name, provider="Acme")


@pytest.mark.parametrize("provider", ["", "  ", "\t", "x" * 65])
def test_a_provider_without_a_name_is_refused(tmp_path: Path, provider: str) -> None:
    with pytest.raises(HomeError, match="provider"):
        Home.create(tmp_path / "home", provider=provider)

    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "provider",
    [
        "Ürg & Söhne GmbH",
        'Acme "the best"',
        "back\\slash",
        "漢字",
        pytest.param("Acme 😀", id="emoji"),
        pytest.param("é" * 33, id="two-byte-letters"),
        pytest.param("漢" * 40, id="three-byte-letters"),
        pytest.param("x" * 64, id="longest"),
    ],
)
def test_any_name_is_kept_as_it_is_or_refused_before_anything_is_made(
    tmp_path: Path, provider: str
) -> None:
    try:
        home = Home.create(tmp_path / "home", provider=provider)
    except WatermarkError:
        assert names(tmp_path) == []
        return

    assert home.provider == provider
    assert home.credential.organisation == provider


@pytest.mark.parametrize("provider", ["a\0b", "a\nb", "a\x7fb", "a\ud800b"])
def test_a_name_with_control_characters_is_refused(
    tmp_path: Path, provider: str
) -> None:
    with pytest.raises(WatermarkError):
        Home.create(tmp_path / "home", provider=provider)

    assert names(tmp_path) == []


def test_a_home_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HomeError, match="cannot be made"):
        Home.create(tmp_path / "file" / "home", provider="Acme")

    assert names(tmp_path) == ["file"]


def test_a_home_half_made_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("watermark.home.write_atomically", fails)
    with pytest.raises(HomeError, match="No space"):
        Home.create(tmp_path / "home", provider="Acme")

    assert names(tmp_path) == []


def test_a_missing_home_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"wm init.*WATERMARK_HOME"):
        Home.open(tmp_path / "none")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("schema = 1", id="number"),
        pytest.param('schema = "watermark.home/2"', id="schema"),
        pytest.param("schema = ", id="not-toml"),
        pytest.param('schema = "watermark.home/1"\nmax_fpr = 0.5', id="loose"),
        pytest.param('schema = "watermark.home/1"\nmax_fpr = 0.0', id="zero"),
        pytest.param('schema = "watermark.home/1"\nmax_fpr = nan', id="nan"),
        pytest.param('schema = "watermark.home/1"\nmax_fpr = "1e-6"', id="text"),
    ],
)
def test_damaged_settings_are_refused(home: Home, text: str) -> None:
    (home.path / "home.toml").write_text(text)
    with pytest.raises(HomeError):
        Home.open(home.path)


def test_settings_that_are_no_text_are_refused(home: Home) -> None:
    (home.path / "home.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(HomeError, match="cannot be read"):
        Home.open(home.path)


def test_the_error_rate_is_a_setting(home: Home) -> None:
    path = home.path / "home.toml"
    path.write_text(path.read_text().replace("max_fpr = 1e-6", "max_fpr = 1e-9"))

    assert Home.open(home.path).max_fpr == 1e-9


def test_the_default_home_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", str(tmp_path / "w"))

    assert default_path() == tmp_path / "w"

    monkeypatch.delenv("WATERMARK_HOME")

    assert default_path().name == "watermark"


# --- secrets -------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", provider="Acme", passphrase=PASSPHRASE)


def test_a_passphrase_protects_keys_and_credential(locked: Home) -> None:
    assert len(locked.ring) == 1
    assert locked.credential.organisation == "Acme"

    closed = Home.open(locked.path)
    with pytest.raises(KeyFileError, match="passphrase"):
        _ = closed.ring
    with pytest.raises(KeyFileError):
        _ = closed.credential


def test_no_text_shows_the_passphrase(locked: Home) -> None:
    _ = locked.ring, locked.credential

    assert PASSPHRASE not in f"{locked!r} {locked}"
    for path in locked.path.rglob("*"):
        assert path.is_dir() or PASSPHRASE.encode() not in path.read_bytes()


def test_a_home_is_never_pickled(locked: Home) -> None:
    """It holds the passphrase."""
    with pytest.raises(TypeError):
        pickle.dumps(locked)


# --- key records ---------------------------------------------------------------------


def attached(home: Home, **more: Any) -> KeyRecord:
    return SCHEMES["gumbel"].record(home.ring.newest.key, vocab_size=100, **more)


def test_a_new_home_tests_the_default_schemes_of_its_key(home: Home) -> None:
    records = home.key_records()

    assert {(r.scheme, r.kid) for r in records} == {
        (scheme.name, home.ring.newest.key.kid) for scheme in DEFAULTS
    }
    assert all(record.secret == home.ring.newest.key for record in records)


def test_every_key_and_epoch_is_tested(home: Home) -> None:
    home.ring.advance()
    home.ring.rotate()
    home.ring.revoke(home.ring[0].key.kid)
    found = [(r.kid, r.epoch) for r in home.key_records() if r.scheme == "gumbel"]
    old, new = (entry.key.kid for entry in home.ring)

    assert found == [(old, 0), (old, 1), (new, 0)]


def test_what_was_attached_is_remembered_once(home: Home) -> None:
    record = attached(home, width=6)
    home.add_key_record(record)
    home.add_key_record(record)
    again = Home.open(home.path)

    assert [r for r in again.key_records() if r == record] == [record]
    assert again.key_records()[-1].derive("context") == record.derive("context")
    [path] = (home.path / "records").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_tokenizer_takes_the_place_of_the_default_record(home: Home) -> None:
    """So that a wrong tokenizer is told, and not silently scored."""
    home.add_key_record(attached(home, tokenizer="ab" * 32))
    found = [r.tokenizer for r in home.key_records() if r.scheme == "gumbel"]

    assert found == ["ab" * 32]


def test_a_record_of_a_key_that_is_gone_is_left_out(home: Home) -> None:
    other = Home.create(home.path.parent / "other", provider="Other")
    home.add_key_record(attached(other))

    assert {r.kid for r in home.key_records()} == {home.ring.newest.key.kid}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="object"),
        pytest.param('{"schema": "watermark.keyrecord/2"}', id="schema"),
        pytest.param('{"schema": "watermark.keyrecord/1"}', id="no-fields"),
        pytest.param('"text"', id="text"),
    ],
)
def test_damaged_records_are_refused(home: Home, text: str) -> None:
    path = home.path / "records" / "a.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        home.key_records()


def test_a_record_without_its_parameters_is_refused(home: Home) -> None:
    """Else detection would stop at a KeyError."""
    home.add_key_record(attached(home))
    [path] = (home.path / "records").iterdir()
    data = json.loads(path.read_text())
    data["parameters"] = {}
    path.write_text(json.dumps(data))
    with pytest.raises(KeyFileError):
        home.key_records()


# --- tokenizers ----------------------------------------------------------------------


def tokenizer(*words: str) -> TextTokenizer:
    vocab = {word: i for i, word in enumerate(("?", *words))}
    return TextTokenizer.of(Tokenizer(models.WordLevel(vocab, unk_token="?")))


def test_tokenizers_are_kept_by_digest(home: Home) -> None:
    kept = [tokenizer("a"), tokenizer("a", "b")]
    for one in (*kept, *kept):
        home.add_tokenizer(one)
    found = list(Home.open(home.path).tokenizers())

    assert [t.digest for t in found] == sorted(t.digest for t in kept)
    assert {t.size for t in found} == {2, 3}


def test_files_that_are_no_tokenizers_are_passed_over(home: Home) -> None:
    home.add_tokenizer(tokenizer("a"))
    (home.path / "tokenizers" / "README").write_text("notes")
    (home.path / "tokenizers" / (".x" + "0" * 62)).write_text("temporary")

    assert len(list(home.tokenizers())) == 1


def test_an_open_home_sees_a_key_that_another_process_made(home: Home) -> None:
    before = home.ring.newest.key.kid
    made = Home.open(home.path).ring.rotate()

    assert home.ring.newest.key.kid == made.key.kid != before
