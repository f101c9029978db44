from __future__ import annotations

import base64
import copy
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from watermark.errors import KeyFileError, VerificationError
from watermark.store import checkpoint
from watermark.store.checkpoint import Checkpoint, LogKey, Verifier

ORIGIN = "acme.example/log"
KEY = LogKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ROOT = bytes(range(32))

# The example of https://c2sp.org/signed-note and golang.org/x/mod/sumdb/note.
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM="
)


def signed(**changes: object) -> Checkpoint:
    fields = {"origin": ORIGIN, "size": 7, "root": ROOT} | changes
    return checkpoint.sign(Checkpoint(**fields), KEY)  # type: ignore[arg-type]


def test_the_signature_of_go_sumdb_note_verifies() -> None:
    verifier = Verifier.parse(GO_VERIFIER)
    signature = base64.b64decode(GO_SIGNATURE)

    assert str(verifier) == GO_VERIFIER
    assert signature[:4] == verifier.key_id
    verifier.check(GO_TEXT.encode(), signature[4:])


def test_a_note_has_the_bytes_of_the_specification() -> None:
    note = signed().note

    encoded = base64.b64encode(ROOT).decode()
    start = f"{ORIGIN}\n7\n{encoded}\n\n\N{EM DASH} {ORIGIN} "
    assert note.startswith(start)
    assert note.endswith("\n")
    signature = base64.b64decode(note.removeprefix(start))
    assert signature[:4] == KEY.verifier.key_id
    assert len(signature) == 4 + 64


def test_a_signed_note_verifies_and_reads_back() -> None:
    head = signed(extensions=("more 1", "more 2"))

    assert checkpoint.verify(head.note, KEY.verifier) == head


def test_unknown_cosignatures_are_kept() -> None:
    witness = f"\N{EM DASH} witness.example {base64.b64encode(bytes(76)).decode()}\n"
    note = signed().note + witness

    head = checkpoint.verify(note, KEY.verifier)
    assert head.note == note
    assert len(head.signatures) == 2


@given(st.data())
def test_a_note_with_one_changed_character_is_refused(data: st.DataObject) -> None:
    note = signed().note
    at = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.characters().filter(lambda c: c != note[at]))

    with pytest.raises(VerificationError):
        checkpoint.verify(note[:at] + other + note[at + 1 :], KEY.verifier)


@given(st.text() | st.text("\n\N{EM DASH} a1+/=", max_size=80))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    for note in (text, signed().note + text, text + signed().note):
        if note != signed().note:
            with pytest.raises(VerificationError):
                checkpoint.verify(note, KEY.verifier)
    with pytest.raises(VerificationError):
        Verifier.parse(text)


@pytest.mark.parametrize(
    "size", ["07", "+7", "-7", "7_0", " 7", "\u0667", "9" * 5000, "", "7.0"]
)
def test_sizes_have_one_spelling(size: str) -> None:
    note = signed().note.replace("\n7\n", f"\n{size}\n")

    with pytest.raises(VerificationError):
        checkpoint.parse(note)


def test_the_signature_of_another_key_is_refused() -> None:
    other = LogKey(ORIGIN, Ed25519PrivateKey.generate())

    with pytest.raises(VerificationError, match="without a signature"):
        checkpoint.verify(signed().note, other.verifier)


def test_a_note_of_another_origin_is_refused() -> None:
    note = signed(origin="other.example/log").note

    with pytest.raises(VerificationError, match=r"other\.example"):
        checkpoint.verify(note, KEY.verifier)


def test_a_verifier_with_a_wrong_key_id_is_refused() -> None:
    name, _, key = KEY.public.split("+", 2)

    with pytest.raises(VerificationError, match="key id"):
        Verifier.parse(f"{name}+00000000+{key}")


def test_a_key_is_saved_privately_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    key = LogKey.create(path, name=ORIGIN)

    assert path.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN PRIVATE KEY" in path.read_bytes()
    assert LogKey.load(path).public == key.public
    with pytest.raises(KeyFileError, match="never overwritten"):
        LogKey.create(path, name=ORIGIN)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        LogKey.load(path)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2028b", "\ud800"])
def test_a_name_that_a_note_cannot_hold_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="log name"):
        LogKey.create(tmp_path / "log.pem", name=name)


def test_a_damaged_key_file_is_refused_without_quoting_it(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    LogKey.create(path, name=ORIGIN)
    whole = path.read_bytes()
    secret = whole.splitlines()[2]
    for damaged in (b"", whole[:90], whole.replace(b"Log-Name", b"Name"), bytes(99)):
        path.write_bytes(damaged)
        with pytest.raises(KeyFileError, match="not a log key") as caught:
            LogKey.load(path)
        assert secret.decode() not in str(caught.value)
    with pytest.raises(KeyFileError, match="cannot be read"):
        LogKey.load(tmp_path / "none.pem")


def test_the_secret_is_not_shown_and_not_pickled() -> None:
    secret = bytes(range(32))
    pem = KEY._private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    for text in (repr(KEY), str(KEY), f"{KEY}", KEY.public):
        assert secret.hex() not in text
        assert pem.splitlines()[1].decode() not in text
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            act(KEY)
