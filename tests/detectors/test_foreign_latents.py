"""Gaussian Shading, VideoShield and Tree-Ring: exact tails, held to what they say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.rates import Rate
from numpy.typing import NDArray
from scipy.stats import binom

from watermark.detectors.foreign import gaussian_shading, tree_ring, videoshield
from watermark.detectors.foreign.tree_ring import Fitted
from watermark.errors import InvalidSignal
from watermark.schemes.foreign import gaussian_shading as shading
from watermark.schemes.foreign import tree_ring as rings
from watermark.schemes.foreign import videoshield as shield

IMAGE, VIDEO = (4, 16, 16), (4, 8, 8, 8)
RHO = 0.5
LEVEL = 0.999  # of intervals around realised rates


def code(seed: int, shape: tuple[int, ...] = IMAGE) -> shading.Code:
    rng = np.random.default_rng([seed, 1])
    return shading.Code(shape=shape, key=rng.bytes(32), nonce=rng.bytes(12))


def message(bits: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, bits, dtype=np.uint8)


def found(marked: NDArray[np.floating], rho: float = RHO) -> NDArray[np.floating]:
    """As an inversion finds it: correlated with the truth."""
    noise = np.random.default_rng(99).standard_normal(marked.shape)
    return rho * marked + math.sqrt(1 - rho * rho) * noise


def fixed() -> dict[str, NDArray[np.floating]]:
    """What nobody marked, and is no noise either."""
    drawn = np.random.default_rng(3).standard_normal(IMAGE)
    ramp = np.broadcast_to(np.linspace(-1, 3, 16), IMAGE).copy()
    ramp[0] += 1e-3 * drawn[0]
    return {"Gaussian": drawn, "ramp": ramp, "cubes": drawn**3, "ones": np.ones(IMAGE)}


@pytest.mark.parametrize("local", [1, 2])
def test_a_mark_is_found_and_read(local: int) -> None:
    own = shield.code(
        (4, 16, 16, 16), bytes(range(32)), bytes(12), repeats=(1, 8, 8, 8), local=local
    )
    bits = message(own.bits)
    drawn = np.random.default_rng(1).standard_normal(own.shape)
    seen = found(shading.mark(drawn, own, bits))

    assert np.array_equal(gaussian_shading.read(seen, own), bits)
    assert np.array_equal(gaussian_shading.read_soft(seen, own), bits)
    score = gaussian_shading.score(seen, own, bits)
    assert score.statistic == 1.0
    assert score.ln_p == pytest.approx(
        math.log(gaussian_shading_right(own.copies, bits)), rel=1e-9
    )
    deep = gaussian_shading.correlation(seen, own, bits)
    blind = gaussian_shading.presence(seen, own)
    assert deep.log10_p() < blind.log10_p() < -100


def gaussian_shading_right(copies: int, bits: NDArray[np.uint8]) -> float:
    """P(every bit right), a tie counting as 0."""
    one = float(binom.sf(copies // 2, copies, 0.5))
    ones = int(bits.sum())
    return one**ones * (1 - one) ** (len(bits) - ones)


def test_another_key_nonce_or_message_finds_nothing() -> None:
    own, bits = code(0), message(16)
    seen = shading.mark(np.random.default_rng(1).standard_normal(IMAGE), own, bits)
    others = {
        "key": (shading.Code(shape=IMAGE, key=bytes(32), nonce=own.nonce), bits),
        "nonce": (shading.Code(shape=IMAGE, key=own.key, nonce=bytes(12)), bits),
        "message": (own, 1 - bits),
    }

    for what, (other, wanted) in others.items():
        assert gaussian_shading.score(seen, other, wanted).log10_p() > -3, what
        assert gaussian_shading.correlation(seen, other, wanted).log10_p() > -3, what
    assert gaussian_shading.score(seen, own, bits).log10_p() < -4


@pytest.mark.parametrize("copies", [1, 2, 7, 8])
def test_the_tail_of_right_bits_is_exact(copies: int) -> None:
    ones, zeros = 3, 4
    one = float(binom.sf(copies // 2, copies, 0.5))
    pmf = np.convolve(
        binom.pmf(range(ones + 1), ones, one),
        binom.pmf(range(zeros + 1), zeros, 1 - one),
    )
    for right in range(-1, ones + zeros + 2):
        expected = float(pmf[max(right, 0) :].sum())
        ln_p = gaussian_shading.ln_matches_tail(right, ones, zeros, copies)
        assert math.exp(ln_p) == pytest.approx(expected, rel=1e-9, abs=1e-300), right


Tail = Callable[[NDArray[np.floating], shading.Code], float]


@pytest.mark.parametrize("what", fixed())
@pytest.mark.parametrize(
    "tail",
    [
        lambda z, own: gaussian_shading.score(z, own, message(16)).ln_p,
        lambda z, own: gaussian_shading.score(z, own, np.zeros(16, np.uint8)).ln_p,
        lambda z, own: gaussian_shading.correlation(z, own, message(16)).ln_p,
        lambda z, own: gaussian_shading.presence(z, own).ln_p,
    ],
    ids=["bits", "zeros", "correlation", "presence"],
)
def test_shadings_p_values_hold_for_any_fixed_noise(tail: Tail, what: str) -> None:
    z = fixed()[what]
    tails = [tail(z, code(seed)) for seed in range(600)]

    for alpha in (0.3, 0.05, 0.01):
        rate = Rate(sum(t <= math.log(alpha) for t in tails), len(tails))
        assert rate.interval(LEVEL)[0] <= alpha, (alpha, rate)


def test_presence_is_no_looser_than_chernoff_has_to_be() -> None:
    # The statistic's tail by simulation, against the bound.
    z, seeds = fixed()["Gaussian"], range(1000)
    scores = [gaussian_shading.presence(z, code(seed)) for seed in seeds]
    totals = np.array([s.statistic for s in scores])

    middle = min(scores, key=lambda s: abs(s.statistic - np.quantile(totals, 0.99)))
    assert 0.01 <= math.exp(middle.ln_p) <= 0.2


def test_presence_of_votes_that_all_agree() -> None:
    own = code(0)
    z = shading.mark(np.random.default_rng(1).standard_normal(IMAGE), own, message(16))

    expected = 16 * (1 - 64) * math.log(2)
    assert gaussian_shading.presence(z, own).ln_p == pytest.approx(expected)


def test_a_changed_frame_and_place_are_told() -> None:
    own = shield.code(VIDEO, bytes(range(32)), bytes(12))
    bits = message(own.bits)
    rng = np.random.default_rng(2)
    seen = found(shading.mark(rng.standard_normal(VIDEO), own, bits), 0.95)
    seen[:, 5] = rng.standard_normal(seen[:, 5].shape)
    seen[:, :4, :4, :4] = -seen[:, :4, :4, :4]

    by_frame = videoshield.frames(seen, own, bits)
    assert by_frame[5] > math.log(1e-3)
    assert max(np.delete(by_frame, 5)) < math.log(1e-6)
    level = videoshield.places(seen, own, bits)
    assert level.shape == VIDEO[1:]
    assert level[:4, :4, :4].mean() < -0.9 < 0.8 < level[:4, 4:, 4:].mean()


def test_a_frames_p_value_is_the_binomial_tail() -> None:
    own = shield.code(VIDEO, bytes(range(32)), bytes(12))
    seen = np.random.default_rng(8).standard_normal(VIDEO)
    same = videoshield.matches(seen, own, message(own.bits))

    by_frame = videoshield.frames(seen, own, message(own.bits))
    for frame, ln_p in enumerate(by_frame):
        tail = binom.sf(same[:, frame].sum() - 1, 256, 0.5)
        assert math.exp(ln_p) == pytest.approx(tail)


def pattern(seed: int, kind: str, radius: int = 5) -> rings.Pattern:
    draw = np.random.default_rng([seed, 2]).standard_normal(IMAGE)
    return rings.Pattern(draw=draw, kind=kind, radius=radius)


@pytest.mark.parametrize("kind", ["rand", "ring"])
def test_tree_rings_p_value_is_uniform_over_keys(kind: str) -> None:
    for what in ("Gaussian", "ramp", "cubes"):
        z = fixed()[what]
        p = [math.exp(tree_ring.score(z, pattern(s, kind)).ln_p) for s in range(800)]
        for alpha in (0.5, 0.1, 0.01):
            low, high = Rate(sum(v <= alpha for v in p), len(p)).interval(LEVEL)
            assert low <= alpha <= high, (what, alpha)


def test_tree_ring_is_found_by_its_key_alone() -> None:
    drawn = np.random.default_rng(1).standard_normal(IMAGE)
    own, other = pattern(0, "rand"), pattern(1, "rand")
    seen = found(rings.mark(drawn, own), 0.7)

    assert tree_ring.score(seen, own).log10_p() < -6
    assert tree_ring.score(seen, other).log10_p() > -3
    assert tree_ring.distance(seen, own) < tree_ring.distance(seen, other)


def test_scale_decides_nothing_and_huge_values_do_not_overflow() -> None:
    own = pattern(0, "rand")
    seen = rings.mark(np.random.default_rng(1).standard_normal(IMAGE), own)

    assert tree_ring.score(seen * 1e300, own).statistic == pytest.approx(
        tree_ring.score(seen, own).statistic
    )


def test_rings_hold_too_little_to_be_certain() -> None:
    # However clear the mark, T cannot exceed the length of the key's ten complex
    # numbers in standard deviations: about sqrt(20).
    drawn = np.random.default_rng(1).standard_normal((4, 64, 64))
    own = rings.Pattern(draw=np.random.default_rng(2).standard_normal((4, 64, 64)))
    values = rings.spectrum(own.draw[3])[0, 1:11]
    longest = float(np.linalg.norm(values)) / (64 / math.sqrt(2))

    score = tree_ring.score(rings.mark(drawn, own), own)
    assert 2 < score.statistic < longest
    assert 3 < longest < 6


def test_the_fitted_threshold_is_a_normal_fit() -> None:
    values = np.random.default_rng(4).normal(50, 2, 4000)
    fitted = Fitted.of(list(values))

    assert fitted.log10_tail(50 - 2 * 4.753424) == pytest.approx(-6, abs=0.4)
    assert fitted.log10_tail(60) == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="distances"):
        Fitted.of([1.0])
    with pytest.raises(ValueError, match="distances"):
        Fitted.of([1.0, 1.0])


def test_bad_input_is_told() -> None:
    own, bits = code(0), message(16)
    bad = np.full(IMAGE, np.nan)
    ring = pattern(0, "ring")
    for call in (
        lambda z: gaussian_shading.score(z, own, bits),
        lambda z: gaussian_shading.correlation(z, own, bits),
        lambda z: gaussian_shading.presence(z, own),
        lambda z: tree_ring.score(z, ring),
        lambda z: tree_ring.distance(z, ring),
    ):
        with pytest.raises(InvalidSignal, match="NaN"):
            call(bad)
        with pytest.raises(InvalidSignal, match="shape"):
            call(bad[:2])
    with pytest.raises(InvalidSignal, match="bits"):
        gaussian_shading.score(np.ones(IMAGE), own, bits[1:])
    with pytest.raises(InvalidSignal, match="no secret"):
        tree_ring.score(np.ones(IMAGE), pattern(0, "zeros"))
    video = shield.code(VIDEO, bytes(32), bytes(12))
    with pytest.raises(InvalidSignal, match="NaN"):
        videoshield.frames(np.full(VIDEO, np.inf), video, message(video.bits))


def test_nothing_tested_is_nothing_found() -> None:
    zero = np.zeros(IMAGE)
    assert tree_ring.score(zero, pattern(0, "rand")).ln_p == 0.0
    assert gaussian_shading.correlation(zero, code(0), message(16)).ln_p == 0.0
