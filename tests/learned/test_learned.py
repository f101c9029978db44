"""Learned marks: codecs, bits of the key, and an exact tail."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from tests.learned.codecs import Answers, Carriers

from watermark import Key
from watermark.detectors import learned as detector
from watermark.errors import CodecError, InvalidSignal, MissingCodec
from watermark.schemes import learned
from watermark.schemes.learned import codec as codecs


def key(seed: int) -> Key:
    return Key(np.random.default_rng((8, seed)).bytes(32))


def picture(seed: int, side: int = 96) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.integers(40, 216, (side, side, 3)).astype(np.uint8)


def sound(seconds: float, seed: int = 1) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(seconds * 16_000))).astype(np.float32)


def test_bits_of_a_key_are_found_and_those_of_another_are_not() -> None:
    mine, other = (learned.record(key(n), Carriers()) for n in (1, 2))
    marked = learned.mark_picture(picture(1), mine)
    read = learned.read_picture(marked, learned.codec_of(mine))
    score = detector.score([read], mine)
    assert score.statistic == score.n == 48
    assert score.ln_p == pytest.approx(-48 * math.log(2))
    assert detector.score([read], other).ln_p > math.log(1e-3)
    before = learned.read_picture(picture(1), learned.codec_of(mine))
    assert detector.score([before], mine).ln_p > math.log(1e-3)


def test_a_key_has_other_bits_in_every_epoch_codec_and_piece() -> None:
    first = learned.record(key(1), Carriers())
    named = learned.record(key(1), Carriers(name="another"))
    said = [
        learned.message(first),
        learned.message(first, 1),
        learned.message(replace(first, epoch=1, key=key(1))),
        learned.message(named),
    ]
    assert all(bits.shape == (48,) and set(bits) == {0, 1} for bits in said)
    assert len({bits.tobytes() for bits in said}) == len(said)


@pytest.mark.parametrize("content", [0, 1, "biased"])
def test_p_of_random_keys_is_exact_for_whatever_is_read(content: object) -> None:
    """20,000 seeded keys on one reading: every rate is that of Binomial(32, 1/2)."""
    codec = Carriers(name="small", bits=32)
    rng = np.random.default_rng(3)
    read = (rng.random(32) < 0.9) if content == "biased" else np.full(32, content)
    bits = read.astype(np.uint8)
    record = learned.record(key(0), codec)
    raw = np.random.default_rng(4).bytes(32 * 20_000)
    agree = []
    for at in range(0, len(raw), 32):
        own = Key(raw[at : at + 32])
        one = replace(record, kid=own.kid, key=own)
        agree.append(detector.score([bits], one).statistic)
    for least in (16, 20, 23, 25):
        p = float(binom.sf(least - 1, 32, 0.5))
        hits = sum(found >= least for found in agree)
        assert binomtest(hits, len(agree), p).pvalue > 1e-3, least


def test_tails_are_those_of_the_binomial() -> None:
    record = learned.record(key(5), Carriers())
    bits = learned.message(record)
    for wrong in range(0, 49, 6):
        read = bits.copy()
        read[:wrong] ^= 1
        expected = float(binom.logsf(48 - wrong - 1, 48, 0.5))
        assert detector.score([read], record).ln_p == pytest.approx(expected, abs=1e-9)
    assert detector.score([None], record).ln_p == 0.0
    assert detector.score([], record).n == 0


def test_pieces_of_a_sound_have_bits_of_their_own() -> None:
    codec = Carriers(name="hum", bits=16, rate=16_000, least=16_000, most=32_000)
    record = learned.record(key(1), codec)
    marked = learned.mark_sound(sound(9.5), 16_000, record)
    read = learned.read_sound(marked, 16_000, codec)
    assert len(read) == 5  # four of two seconds, one of 1.5
    score = detector.score(read, record)
    assert score.n == 80
    assert score.ln_p < math.log(1e-12)
    # One piece alone never decides at one in a million.
    assert detector.score(read[:1], record).ln_p >= -16 * math.log(2) - 1e-9
    swapped = detector.score([*read[1:], read[0]], record)
    assert swapped.ln_p > math.log(1e-3)
    longer = replace(codec, least=32_000)
    with pytest.raises(InvalidSignal, match="needs 2 seconds"):
        learned.read_sound(sound(1.2), 16_000, longer)


def test_a_sound_at_another_rate_with_two_channels() -> None:
    codec = Carriers(name="hum", bits=16, rate=16_000, least=16_000, most=32_000)
    record = learned.record(key(1), codec)
    stereo = np.stack([sound(6 * 2, 2), sound(6 * 2, 3)], axis=1)  # 6 s at 32 kHz
    marked = learned.mark_sound(stereo, 32_000, record)
    assert (marked.shape, marked.dtype) == (stereo.shape, stereo.dtype)
    read = learned.read_sound(marked, 32_000, codec)
    assert detector.score(read, record).ln_p < math.log(1e-6)


def test_frames_vote() -> None:
    one, two = np.array([0, 1, 1], np.uint8), np.array([1, 1, 0], np.uint8)
    assert detector.majority([one, one, two, None]) is not None
    assert np.array_equal(detector.majority([one, one, two]), one)  # type: ignore[arg-type]
    assert np.array_equal(detector.majority([one, two]), [1, 1, 1])  # type: ignore[arg-type]
    assert detector.majority([None]) is None


@pytest.mark.parametrize(
    "answer",
    [
        np.zeros(47),
        np.zeros((1, 48)),
        np.full(48, np.nan),
        np.full(48, 0.5),
        np.full(48, -1),
        "0" * 48,
        [[0], [1, 2]],
        object(),
        RuntimeError("out of memory"),
        MemoryError(),
        KeyError("weights"),
        RecursionError(),
    ],
    ids=lambda answer: f"{type(answer).__name__} {answer!s:.20}",
)
def test_whatever_a_decoder_gives_is_bits_or_a_typed_error(answer: Any) -> None:
    with pytest.raises(CodecError, match="answers"):
        codecs.decode(Answers(answer=answer), picture(1))


@pytest.mark.parametrize(
    "answer",
    [None, [True] * 48, np.ones(48), [0, 1] * 24],
    ids=["none", "truths", "floats", "numbers"],
)
def test_bits_of_any_dtype_are_taken(answer: Any) -> None:
    read = codecs.decode(Answers(answer=answer), picture(1))
    assert read is None if answer is None else (read is not None and len(read) == 48)


@pytest.mark.parametrize(
    "made",
    [
        lambda c: c[:-1],
        lambda c: c.astype(np.float64),
        lambda c: None,
        lambda c: 1 / 0,
    ],
    ids=["smaller", "floats", "nothing", "raises"],
)
def test_whatever_an_encoder_gives_is_a_picture_or_a_typed_error(made: Any) -> None:
    codec = Carriers()
    codec.encode = lambda content, bits: made(content)  # type: ignore[method-assign]
    with pytest.raises(CodecError, match="carriers"):
        codecs.encode(codec, picture(1), np.zeros(48, np.uint8))


def test_a_sound_with_nan_is_no_mark() -> None:
    codec = Carriers(rate=16_000)
    codec.encode = lambda content, bits: content * np.float32("nan")  # type: ignore[method-assign]
    with pytest.raises(CodecError, match="NaN"):
        codecs.encode(codec, sound(1), np.zeros(48, np.uint8))


def test_an_encoder_cannot_write_into_what_it_was_given() -> None:
    class Careless(Carriers):
        def encode(self, content: Any, bits: Any) -> Any:
            content[:] = 0
            bits[:] = 0
            return content

    before, said = picture(1), np.ones(48, np.uint8)
    codecs.encode(Careless(), before, said)
    assert np.array_equal(before, picture(1))
    assert said.all()


def test_sizes_are_checked_before_a_codec_is_called() -> None:
    codec = Answers(answer=RuntimeError("was called"), least=80, most=10_000)
    with pytest.raises(InvalidSignal, match="80 pixels"):
        learned.read_picture(picture(1, 79), codec)
    with pytest.raises(CodecError, match="up to 10,000"):
        learned.read_picture(picture(1, 101), codec)
    with pytest.raises(CodecError, match="for sound"):
        learned.read_picture(picture(1), Carriers(rate=16_000))
    with pytest.raises(CodecError, match="for pictures"):
        learned.read_sound(sound(2), 16_000, Carriers())
    floats: Any = picture(1).astype(np.float32)
    record = learned.record(key(1), Carriers())
    with pytest.raises(InvalidSignal, match="uint8"):
        learned.mark_picture(floats, record)


@pytest.mark.parametrize(
    "codec",
    [
        Carriers(name="pixel"),
        Carriers(name="rivagan"),
        Carriers(name="Upper"),
        Carriers(name=""),
        Carriers(name="a/../b"),
        Carriers(name=3),  # type: ignore[arg-type]
        Carriers(bits=0),
        Carriers(bits=1025),
        Carriers(bits=True),
        Carriers(rate=-1),
        Carriers(least=0),
        Carriers(least=2, most=1),
        Carriers(rate=384_001),
        object(),
    ],
    ids=[
        *("ours", "built-in", "upper", "empty", "path", "number", "no-bits", "many"),
        *("true", "rate", "least", "most", "fast", "object"),
    ],
)
def test_a_codec_that_is_none_is_refused(codec: Any) -> None:
    with pytest.raises(CodecError):
        learned.register(codec)


def test_a_codec_that_is_not_here_is_told() -> None:
    with pytest.raises(MissingCodec, match="no codec 'nobodys' here"):
        learned.record(key(1), "nobodys")
    record = learned.record(key(1), Carriers(name="grown"))
    learned.register(Carriers(name="grown", bits=64))
    with pytest.raises(CodecError, match="another version"):
        learned.codec_of(record)


def test_records_of_codecs_that_are_not_here_can_be_read() -> None:
    scheme = learned.scheme_of("learned-nobodys")
    assert scheme is not None
    scheme.check({"bits": 8, "rate": 0})
    for wrong in ({"bits": 0, "rate": 0}, {"bits": "8", "rate": 0}, {}):
        with pytest.raises((KeyError, ValueError)):
            scheme.check(wrong)  # type: ignore[arg-type]
    for name in ("pixel", "learned-", "learned-A", "learned-../x", "xlearned-a"):
        assert learned.scheme_of(name) is None
