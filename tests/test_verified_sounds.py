"""A marked sound, through `verify`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.sounds import RATE, music

from watermark import verification
from watermark.assets.loading import Audio, load
from watermark.keys import Key, KeyRecord
from watermark.report import Report, Verdict
from watermark.schemes import SCHEMES
from watermark.schemes.wave import Code, mark


def record(seed: int) -> KeyRecord:
    key = Key(np.random.default_rng(seed).bytes(32))
    return SCHEMES["wave"].record(key, nonce_bits=8)


def look(asset: object, *records: KeyRecord) -> Report:
    return verification.verify(load(asset), verification.Setting(records=records))


def test_a_marked_sound_is_marked_in_memory_and_in_a_file(tmp_path: Path) -> None:
    marked, _, mark_id = mark(music(1), RATE, Code(record(1)))
    path = tmp_path / "sound.wav"
    path.write_bytes(Audio(marked, RATE).to_wav())
    for asset in (Audio(marked, RATE), path, path.read_bytes()):
        report = look(asset, record(1), record(2))
        [evidence, other] = report.evidence[:2]

        assert report.verdict == Verdict.MARKED
        assert evidence.scheme == "wave"
        assert evidence.payload == mark_id
        assert other.log10_p is not None
        assert other.log10_p > -3


def test_two_keys_are_paid_for() -> None:
    marked, _, _ = mark(music(1), RATE, Code(record(1)))
    one = look(Audio(marked, RATE), record(1)).evidence[0]
    two = look(Audio(marked, RATE), record(1), record(2)).evidence[0]

    assert two.hypotheses == 2 * one.hypotheses


def test_an_unmarked_sound_is_no_evidence_with_the_power() -> None:
    report = look(Audio(music(2), RATE), record(1))

    assert report.verdict == Verdict.NO_EVIDENCE
    assert "cut anywhere" in str(report.reasons)


@pytest.mark.parametrize(
    "asset",
    [
        Audio(music(3)[:100], RATE),
        b"RIFF\x10\0\0\0WAVEfmt ",
        Audio(np.zeros(2 * RATE), 7),
    ],
)
def test_what_cannot_be_looked_at_is_inconclusive(asset: object) -> None:
    report = look(asset, record(1))

    assert report.verdict == Verdict.INCONCLUSIVE
    codes = {reason.code for reason in report.reasons}
    assert codes - {"label-unreadable"} == {"unreadable"}


def test_without_a_key_record_nothing_is_known() -> None:
    report = look(
        Audio(music(3), RATE),
        SCHEMES["noise"].record(Key(bytes(range(31, -1, -2)) + bytes(range(16)))),
    )

    assert report.verdict == Verdict.INCONCLUSIVE
    assert {reason.code for reason in report.reasons} == {"no-key"}
