"""Marks with a nonce on file: recorded, and found by the ledger and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom

from tests.affine import Affine
from tests.pipelines import tiny
from watermark.api import Watermark
from watermark.detectors import noise as detector
from watermark.detectors import signs
from watermark.detectors.signs import Registry
from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord
from watermark.record import Mark, Record
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import SCHEMES, noise
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger
from watermark.verification.registry import Files
from watermark.verifier import Verifier

MODEL = Path(__file__).parents[1] / "benchmarks" / "models" / "diffusion"
OTHERS = 40  # nonces on file beside the one that is sought


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


def key_record(seed: int, epoch: int = 0) -> KeyRecord:
    key = Key(np.random.default_rng(seed).bytes(32))
    return SCHEMES["noise"].record(key, epoch=epoch, registry=1)


def marked(record: KeyRecord, seed: int) -> tuple[NDArray[np.floating], Mark]:
    z = np.random.default_rng(seed).standard_normal(Affine.shape).astype(np.float32)
    made, nonce, mark_id = noise.mark(z, noise.Code(record, Affine.shape))
    return made, Mark(
        scheme="noise",
        version=1,
        key_id=record.kid,
        epoch=record.epoch,
        mark_id=mark_id,
        nonce=nonce.to_bytes(12, "little"),
    )


def on_file(w: Watermark, *marks: Mark) -> list[str]:
    """The ids of the records that are now in the ledger, one for each mark."""
    records = [Record(kind="image", provider="Acme", marks=(m,)) for m in marks]
    w.home.ledger.append([Entry(event="generated", record=r) for r in records])
    return [record.record_id for record in records]


def noise_evidence(report: Report) -> Evidence:
    (found,) = (e for e in report.evidence if e.layer == "mark" and e.scheme == "noise")
    return found


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


def test_a_mark_is_found_by_its_nonce_and_every_nonce_on_file_is_counted(
    w: Watermark,
) -> None:
    record = key_record(1)
    made, mine = marked(record, 100)
    others = [marked(record, seed)[1] for seed in range(OTHERS)]
    ids = on_file(w, *others, mine, mine)  # one nonce twice is one nonce
    report = w.verify(Affine().picture(made), pipeline=Affine(), keys=record)
    found = noise_evidence(report)

    assert report.verdict == Verdict.MARKED
    assert found.payload == mine.mark_id
    assert set(report.record_ids) == set(ids[OTHERS:])
    # Twice the nonces for pilot and joint test, over the first look's half of the
    # error; the ledger knows the mark ids, so that none was guessed.
    assert found.hypotheses == 2 * 2 * (OTHERS + 1)


def test_what_is_too_faint_to_read_is_found_by_the_mark_ids_on_file(
    w: Watermark,
) -> None:
    """Blind, 2**64 mark ids would have to be paid for."""
    record = key_record(2)
    made, mine = marked(record, 101)
    on_file(w, mine, *(marked(record, seed)[1] for seed in range(OTHERS)))
    other = np.random.default_rng(102).standard_normal(Affine.shape)
    faint = 0.16 * made + np.sqrt(1 - 0.16**2) * other
    picture = Affine().picture(faint)
    report = w.verify(picture, pipeline=Affine(), keys=record)
    code = noise.Code(record, Affine.shape)
    alone = [int.from_bytes(mine.nonce, "little")]
    unread = detector.score(Affine().noise(np.asarray(picture), steps=1), code, alone)

    assert report.verdict == Verdict.MARKED
    assert noise_evidence(report).payload == mine.mark_id
    assert unread.payload is None


def test_a_picture_without_the_mark_is_not_found(w: Watermark) -> None:
    record = key_record(3)
    on_file(w, *(marked(record, seed)[1] for seed in range(OTHERS)))
    made, _ = marked(record, 103)  # its nonce is on nobody's file
    found = noise_evidence(
        w.verify(Affine().picture(made), pipeline=Affine(), keys=record)
    )

    assert found.log10_p is not None
    assert found.log10_p > -3


@pytest.mark.parametrize("ledger", [False, True])
def test_without_nonces_on_file_nothing_was_looked_at(
    w: Watermark, ledger: bool
) -> None:
    """Neither with the key alone, nor in a home whose ledger has none of this key."""
    record = key_record(4)
    made, _ = marked(record, 104)
    home = w.home if ledger else None
    report = Verifier(home, pipeline=Affine(), keys=record)(Affine().picture(made))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "no-registry" in codes(report)


def test_nonces_of_another_epoch_are_not_tried(w: Watermark) -> None:
    old, new = key_record(5), key_record(5, epoch=1)
    made, mine = marked(old, 105)
    on_file(w, mine)
    report = w.verify(Affine().picture(made), pipeline=Affine(), keys=[old, new])
    found = noise_evidence(report)

    assert report.verdict == Verdict.MARKED
    assert found.hypotheses == 2 * 2 * 2  # both key records are tests, one nonce
    assert "no-registry" not in codes(report)  # a mark decides


class Counted:
    """A ledger, and how often its nonces were read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self.read = ledger, 0

    def values(self, alg: str) -> Iterator[bytes]:
        self.read += 1
        return self._ledger.values(alg)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def test_nonces_are_read_again_when_the_ledger_has_grown(w: Watermark) -> None:
    record = key_record(6)
    ledger: Any = Counted(w.home.ledger)
    files = Files()
    on_file(w, marked(record, 106)[1])
    first, again = (files.of([record], ledger)[record.test] for _ in range(2))

    assert ledger.read == 1
    assert again is first
    on_file(w, marked(record, 107)[1])
    assert len(files.of([record], ledger)[record.test]) == len(first) + 1
    assert ledger.read == 2


def test_nonces_of_another_ledger_are_its_own(w: Watermark, tmp_path: Path) -> None:
    record, files = key_record(9), Files()
    other = Watermark.create(tmp_path / "home", provider="Other").home.ledger
    on_file(w, marked(record, 110)[1])

    assert len(files.of([record], w.home.ledger)[record.test]) == 1
    assert files.of([record], other) == {}
    assert files.of([record], None) == {}


def test_a_verifier_reads_nonces_once_and_sees_what_is_added(w: Watermark) -> None:
    record = key_record(10)
    (one, mine), (other, late) = (marked(record, seed) for seed in (111, 112))
    on_file(w, mine)
    verifier = Verifier(w.home, pipeline=Affine(), keys=record)
    found = [
        noise_evidence(verifier(Affine().picture(z))).payload for z in (one, other)
    ]
    on_file(w, late)
    after = noise_evidence(verifier(Affine().picture(other)))

    assert found == [mine.mark_id, None]
    assert after.payload == late.mark_id
    assert after.hypotheses == 2 * 2 * 2


def test_without_a_pipeline_no_nonce_is_read(
    w: Watermark, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = key_record(11)
    made, mine = marked(record, 113)
    on_file(w, mine)
    read: list[str] = []
    monkeypatch.setattr(type(w.home.ledger), "values", lambda _, alg: read.append(alg))
    report = Verifier(w.home, keys=record)(Affine().picture(made))

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "no-pipeline" in codes(report)
    assert read == []


def test_a_nonce_whose_entry_is_gone_is_passed_over() -> None:
    """Pruned after the nonces were read; it still counts as tried."""
    record = key_record(6)
    made, mine = marked(record, 106)
    code = noise.Code(record, Affine.shape)
    _, other = marked(record, 107)
    ids = {mine.nonce: mine.mark_id}
    gone = detector.score(made, code, Registry.of([mine.nonce], lambda _: None))
    found = detector.score(made, code, Registry.of([other.nonce, mine.nonce], ids.get))

    assert gone.log10_p() == 0.0
    assert found.payload == mine.mark_id
    assert found.hypotheses == 2 * 2


def test_an_id_on_file_that_does_not_fit_is_not_read(w: Watermark) -> None:
    """A nonce is there beyond doubt, and the entry that has it names another mark."""
    record = key_record(12)
    made, mine = marked(record, 114)
    wrong = replace(mine, mark_id=bytes(8))
    (wrong_id,) = on_file(w, wrong)
    code = noise.Code(record, Affine.shape)
    # The pilot is the mark's, and the data says the opposite of what is on file.
    signs = code.signs(int.from_bytes(mine.nonce, "little"), bytes(8)).reshape(-1)
    forged = np.abs(made).reshape(-1) * signs
    forged[code.data] *= -1
    picture = Affine().picture(forged.reshape(Affine.shape))
    report = w.verify(picture, pipeline=Affine(), keys=record)

    assert report.verdict == Verdict.MARKED
    assert noise_evidence(report).payload is None
    assert wrong_id not in report.record_ids
    assert "content-not-compared" in codes(report)


def test_an_entry_without_a_mark_id_hides_no_other(w: Watermark) -> None:
    record = key_record(13)
    made, mine = marked(record, 115)
    on_file(w, replace(mine, mark_id=b""), mine)
    report = w.verify(Affine().picture(made), pipeline=Affine(), keys=record)

    assert noise_evidence(report).payload == mine.mark_id


def test_p_values_of_nonces_on_file_hold_under_random_keys() -> None:
    """All nonces of a file, the best sixteen, then the mark ids that are on file."""
    rng = np.random.default_rng(7)
    picture, keys, nonces = rng.standard_normal(Affine.shape), 300, 24
    tails = []
    for _ in range(keys):
        code = noise.Code(
            SCHEMES["noise"].record(Key(rng.bytes(32)), registry=1), Affine.shape
        )
        listed = {
            int.from_bytes(rng.bytes(12), "little"): rng.bytes(8) for _ in range(nonces)
        }
        tails.append(detector.score(picture, code, listed).log10_p())
    for alpha in (0.3, 0.1, 0.01):
        hits = sum(tail <= np.log10(alpha) for tail in tails)

        assert hits <= binom.ppf(0.999, keys, alpha)
    assert sum(tail <= np.log10(0.5) for tail in tails) >= keys // 20  # and not idle


def test_a_registry_refuses_what_is_no_nonce() -> None:
    code = noise.Code(key_record(7), Affine.shape)
    w = np.ones(Affine.shape, np.float32)
    short = Registry.of([bytes(12)], lambda _: b"short")

    with pytest.raises(InvalidSignal, match="12"):
        Registry.of([bytes(11)])
    with pytest.raises(InvalidSignal, match="8 bytes"):
        detector.score(w, code, short)
    assert detector.score(w, code, Registry.of([])).log10_p() == 0.0


def test_a_hundred_thousand_nonces_are_twelve_bytes_each() -> None:
    code = noise.Code(key_record(8), Affine.shape)
    made, mine = marked(code.record, 108)
    g = np.random.default_rng(0)
    packed = g.bytes(12 * 99_999) + mine.nonce
    asked: list[bytes] = []

    def mark_id_of(nonce: bytes) -> bytes:
        asked.append(nonce)
        return mine.mark_id if nonce == mine.nonce else bytes(8)

    registry = Registry(packed, mark_id_of)
    faint = 0.25 * made + np.sqrt(1 - 0.25**2) * g.standard_normal(made.shape)
    found = detector.score(faint, code, registry)

    assert len(registry.packed) == 12 * len(registry)
    assert found.hypotheses == 2 * 100_000
    assert found.payload == mine.mark_id
    assert 1 <= len(asked) <= 16  # only the best are looked up
    assert found.nonce == int.from_bytes(mine.nonce, "little")


# --- marks found without a file, read with one ---------------------------------------


def faint_and_blind(record: KeyRecord) -> tuple[Image.Image, Mark]:
    """A picture whose mark is found, and whose likeliest id is a wrong one."""
    made, mine = marked(record, 1)
    other = np.random.default_rng(101).standard_normal(Affine.shape)
    picture = Affine().picture(0.23 * made + np.sqrt(1 - 0.23**2) * other)
    code = noise.Code(record, Affine.shape)
    seen = detector.score(Affine().noise(np.asarray(picture), steps=1), code)
    assert seen.ln_p + math.log(2 * seen.hypotheses) < math.log(1e-6)
    assert seen.decoded != mine.mark_id
    return picture, mine


def blind(seed: int) -> KeyRecord:
    return SCHEMES["noise"].record(Key(np.random.default_rng(seed).bytes(32)))


@pytest.mark.parametrize("filed", ["its own", "another's", "none", "of another scheme"])
def test_a_blind_mark_too_faint_to_read_leads_to_the_record_with_its_nonce(
    w: Watermark, filed: str
) -> None:
    record = blind(20)
    picture, mine = faint_and_blind(record)
    others = [replace(mine, mark_id=bytes([n] * 8)) for n in range(3)]
    files = {
        "its own": [others[0], mine, *others[1:]],
        "another's": others,
        "none": [],
        "of another scheme": [replace(mine, scheme="latent")],
    }
    home = Watermark.create(Path(w.home.path).parent / filed, provider="Acme")
    ids = on_file(home, *files[filed])
    report = home.verify(picture, pipeline=Affine(), keys=record)

    assert report.verdict == Verdict.MARKED
    own = filed == "its own"
    assert noise_evidence(report).payload == (mine.mark_id if own else None)
    assert report.record_ids == ((ids[1],) if own else ())
    assert ("too faint" in str(report.reasons)) == (not own)


def test_nonces_of_blind_marks_are_no_registry(tmp_path: Path) -> None:
    """Whose nonces are on file is not looked for by them, and none is missed so."""
    home = Watermark.create(tmp_path / "home", provider="Acme")
    wide, narrow = key_record(22), blind(22)
    assert wide.kid == narrow.kid
    made, mine = marked(wide, 120)
    on_file(home, *(marked(narrow, seed)[1] for seed in range(3)))
    picture = Affine().picture(made)
    report = home.verify(picture, pipeline=Affine(), keys=wide)
    assert report.verdict == Verdict.INCONCLUSIVE
    assert "no-registry" in codes(report)

    on_file(home, mine)
    found = noise_evidence(home.verify(picture, pipeline=Affine(), keys=wide))
    assert found.payload == mine.mark_id
    assert found.hypotheses == 2 * 2  # pilot and joint, half of the budget: one nonce


def test_mark_ids_that_were_not_given_agree_no_better_than_their_p_value() -> None:
    """Of a picture with the mark itself: the pilot agrees, another id must not."""
    rng = np.random.default_rng(21)
    trials, below = 600, {0.1: 0, 0.01: 0}
    for _ in range(trials):
        record = SCHEMES["noise"].record(Key(rng.bytes(32)), nonce_bits=6)
        code = noise.Code(record, (4, 16, 16))
        z = rng.standard_normal(code.shape).astype(np.float32)
        made, nonce, _ = noise.mark(z, code)
        p = math.exp(signs.ln_mark_id(signs.weights(made), code, nonce, rng.bytes(8)))
        for level in below:
            below[level] += p <= level
    for level, count in below.items():
        assert binom.sf(count - 1, trials, level) > 1e-3, (level, count)


# --- pipelines -----------------------------------------------------------------------


def test_an_attached_pipeline_puts_its_nonces_on_file(w: Watermark) -> None:
    pipe = tiny.stable_diffusion()
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    size = {"height": 64, "width": 64, "num_inference_steps": 1}
    with w.attach(pipe, registry=1) as attachment:
        pipe(["a photo"] * 2, generator=generators, **size)
    marks = [mark for record in attachment.records for mark in record.marks]
    name = marks[0].nonce_binding

    assert {len(mark.nonce) for mark in marks} == {12}
    assert len({mark.nonce for mark in marks}) == 2
    assert set(w.home.ledger.values(name)) == {mark.nonce for mark in marks}
    assert attachment.key_record.test in {r.test for r in w.home.key_records()}
    for record in attachment.records:
        (mark,) = record.marks
        (row,) = w.home.ledger.by_binding(name, mark.nonce)
        assert row.record.record_id == record.record_id


def test_a_blind_mark_has_its_nonce_on_file_as_well(w: Watermark) -> None:
    pipe = tiny.stable_diffusion()
    with w.attach(pipe) as attachment:
        pipe("a photo", height=64, width=64, num_inference_steps=1)
    (mark,) = attachment.records[0].marks

    assert len(mark.nonce) == 12
    assert int.from_bytes(mark.nonce, "little") < 1 << 20
    (row,) = w.home.ledger.by_binding(mark.nonce_binding, mark.nonce)
    assert row.record.record_id == attachment.records[0].record_id


@pytest.mark.models
def test_a_generated_picture_is_found_by_its_nonce_on_file(w: Watermark) -> None:
    if not (MODEL / "unet").exists():
        pytest.skip("benchmarks/models/diffusion is not there: run its training script")
    from benchmarks.diffusion.found import load_pipeline

    pipe: Any = load_pipeline(MODEL)
    with w.attach(pipe, registry=1) as attachment:
        generator = torch.Generator().manual_seed(5)
        image: Image.Image = pipe(
            "a photo of a dress", num_inference_steps=10, generator=generator
        ).images[0]
    (mark,) = attachment.records[0].marks
    record = attachment.key_record
    report = w.verify(image, pipeline=pipe, keys=record)
    values = set(w.home.ledger.values(mark.nonce_binding))
    count = sum(any(value[3:]) for value in values)  # the others are found blindly

    assert report.verdict == Verdict.MARKED
    assert noise_evidence(report).payload == mark.mark_id
    assert noise_evidence(report).hypotheses % (2 * count) == 0
    assert report.record_ids == (attachment.records[0].record_id,)
