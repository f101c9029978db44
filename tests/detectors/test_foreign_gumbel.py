"""vLLM, SGLang, TextSeal: rates under random keys are as stated; marks are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from watermark import kernels
from watermark.detectors.foreign import gumbel
from watermark.detectors.stats import ln_gamma_tail
from watermark.keys import Key, KeyRecord
from watermark.schemes.foreign import engine_numbers, sglang, textseal, vllm
from watermark.schemes.foreign.base import Foreign

Ids = NDArray[np.uint32]
KEYS = 3000
VOCABULARY = 200


def records(
    scheme: Foreign, count: int, seed: int, **parameters: Any
) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield scheme.record(Key(rng.bytes(32)), **parameters)


def prose() -> Ids:
    """A text that repeats itself, as texts do; ids by rank of first use."""
    words = ((np.random.Generator.choice.__doc__ or "") * 2).split()[:350]
    order = {word: 31 * i + 7 for i, word in enumerate(dict.fromkeys(words))}
    return np.asarray([order[word] for word in words], np.uint32)


def p_values(scheme: Foreign, tokens: Ids, seed: int, **parameters: Any) -> Any:
    found = records(scheme, KEYS, seed, **parameters)
    return np.exp([gumbel.score(tokens, record).ln_p for record in found])


def likely(found: Any, *, exact: bool) -> None:
    """That so many p-values are so small (99.9 %; from above alone unless exact)."""
    for alpha in (0.5, 0.1, 1e-2, 1e-3):
        hits = int((found <= alpha).sum())
        low, high = scipy.stats.binom.interval(0.999, len(found), alpha)
        assert hits <= high, (alpha, hits)
        assert not exact or hits >= low, (alpha, hits)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    ("module", "parameters"),
    [(vllm, {}), (sglang, {}), (sglang, {"dual": 1, "alpha": 0.3})],
    ids=["vllm", "sglang", "sglang-dual"],
)
def test_p_values_are_exact_under_random_keys(
    module: Any, parameters: dict[str, Any], width: int
) -> None:
    found = p_values(module.SCHEME, prose(), 1, width=width, **parameters)

    likely(found, exact=True)
    assert scipy.stats.kstest(found, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_p_values_of_a_coin_nobody_can_toss_again_are_valid(alpha: float) -> None:
    found = p_values(vllm.SCHEME, prose(), 2, dual=1, alpha=alpha)

    likely(found, exact=alpha in (0.0, 0.5, 1.0))
    assert (found <= 0.1).mean() > 0.08  # and not empty


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("dual", [0, 1])
def test_p_values_of_textseal_are_valid(width: int, dual: int) -> None:
    found = p_values(textseal.SCHEME, prose(), 3, width=width, dual=dual)

    likely(found, exact=False)
    assert (found <= 0.1).mean() > 0.07


def test_a_text_that_counts_is_no_evidence_of_textseal() -> None:
    """Its sums are in progression, so its words depend on one another: 2 % at 1 %."""
    tokens = np.arange(11, 250 * 37, 37, dtype=np.uint32)
    found = p_values(textseal.SCHEME, tokens, 4, width=4)
    [record] = records(textseal.SCHEME, 1, 4, width=4)
    naive = []
    for other in records(textseal.SCHEME, KEYS, 4, width=4):
        n, totals = textseal.totals(tokens, other, 0)
        naive.append(ln_gamma_tail(n, float(totals[0])))

    assert (np.exp(naive) <= 0.01).mean() > 0.015  # so that the test could fail
    assert textseal.dispersion(tokens, record, 0) > 1.2
    likely(found, exact=False)


def test_without_deduplication_the_rate_would_break() -> None:
    """So the tests above have the power to see a missing deduplication."""
    tokens = np.tile(np.arange(20, dtype=np.uint32), 12)
    found = []
    for record in records(vllm.SCHEME, 500, 5):
        words = kernels.vllm_words(tokens, vllm.keys(record), 4)[1][:, 0]
        terms = -np.log1p(words / -(2.0**32))
        repeated = terms[:4].sum() + 12 * terms[4:].sum()
        found.append(ln_gamma_tail(4 + 12 * (len(terms) - 4), repeated))

    assert np.mean(np.exp(found) <= 0.01) > 0.05


def exact_mixed_tail(n: int, a: float, b: float, x: float) -> float:
    """Of a G + b H, the larger scale as a random number of terms of the smaller.

    An exponential of mean a is a geometric number of exponentials of mean b < a, so the
    sum is Gamma(2n + K) of scale b, K negative binomial: all terms are positive.
    """
    a, b = max(a, b), min(a, b)
    y, share = x / b, b / a
    k = np.arange(int(60 * n / share + 40 * y + 4000))
    ln_k = scipy.special.gammaln(n + k) - scipy.special.gammaln(k + 1)
    ln_k += n * math.log(share) + k * math.log1p(-share) - math.lgamma(n)
    j = np.arange(2 * n + len(k))
    ln_poisson = j * math.log(y) - y - scipy.special.gammaln(j + 1)
    ln_gamma = np.logaddexp.accumulate(ln_poisson)[2 * n + k - 1]
    return float(scipy.special.logsumexp(ln_k + ln_gamma))


@pytest.mark.parametrize("n", [1, 2, 5, 20, 200])
@pytest.mark.parametrize("a", [0.9, 0.8, 0.6, 0.501])
def test_the_tail_of_a_mixed_sum_is_a_bound_and_close(n: int, a: float) -> None:
    for z in (-2.0, -1.0, -0.01, 0.0, 0.5, 1.0, 3.0, 6.0, 12.0, 40.0):
        x = n + z * math.hypot(a, 1 - a) * math.sqrt(n)
        if x <= 0:
            continue
        excess = gumbel.ln_mixed_tail(n, a, 1 - a, x) - exact_mixed_tail(n, a, 1 - a, x)

        assert -1e-9 <= excess < 0.1


# --- power ---------------------------------------------------------------------------


def generate(record: KeyRecord, prompt: list[int], length: int, seed: int) -> list[int]:
    """Tokens of a toy model of about 1 nat, chosen by the engine's rule."""
    rng = np.random.default_rng(seed)
    width = int(record.parameters["width"])
    numbers = np.asarray(engine_numbers(record), np.uint64)
    seen: set[tuple[int, ...]] = set()
    out: list[int] = []
    while len(out) < length:
        p = np.exp(2 * rng.gumbel(size=VOCABULARY))
        p /= p.sum()
        history = out if record.scheme == "vllm-gumbel" else prompt + out
        context = tuple(([-1] * width + history)[-width:])
        if context in seen:
            out.append(int(rng.choice(VOCABULARY, p=p)))
            continue
        seen.add(context)
        u = [draw(record, numbers, context, x) for x in range(VOCABULARY)]
        out.append(int(np.argmax(np.log(u) / p)))
    return out


def draw(record: KeyRecord, numbers: Any, context: tuple[int, ...], x: int) -> float:
    """u of one candidate, through the very kernel that is tested against vectors."""
    window = np.asarray([c for c in (*context, x) if c >= 0], np.uint32)
    if record.scheme == "vllm-gumbel":  # pads by itself; the last context is this one
        word = kernels.vllm_words(window, numbers, len(context))[1][-1, 0]
    else:
        word = kernels.sglang_words(window, numbers, len(context))[1][-1]
    return float(word + 0.5) / 2**32


@pytest.mark.parametrize("module", [vllm, sglang], ids=["vllm", "sglang"])
def test_a_marked_text_is_found_under_its_key_alone(module: Any) -> None:
    record, other = records(module.SCHEME, 2, 6)
    prompt = list(range(20, 30))
    text = generate(record, prompt, 80, 0)
    with_prompt = gumbel.score([*prompt, *text], record, len(prompt))
    alone = gumbel.score(text, record)

    assert with_prompt.log10_p() < -6
    assert alone.log10_p() < -6
    assert with_prompt.n - alone.n == (4 if module is sglang else 0)
    assert gumbel.score(text, other).log10_p() > -3


# --- the text ------------------------------------------------------------------------


@pytest.mark.parametrize("module", [vllm, sglang, textseal])
@pytest.mark.parametrize("dual", [0, 1])
def test_an_empty_text_is_no_evidence(module: Any, dual: int) -> None:
    [record] = records(module.SCHEME, 1, 7, dual=dual)
    score = gumbel.score([], record)

    assert (score.n, score.ln_p, score.log10_p()) == (0, 0.0, 0.0)


@pytest.mark.parametrize("module", [vllm, sglang, textseal])
def test_any_integer_sequence_gives_the_same_score(module: Any) -> None:
    [record] = records(module.SCHEME, 1, 8)
    tokens = prose()

    assert gumbel.score(tokens.tolist(), record) == gumbel.score(tokens, record)
    assert gumbel.score(tokens.astype(np.int64), record, 9) == gumbel.score(
        tuple(tokens.tolist()), record, 9
    )
    for skip in (-1, len(tokens) + 1):
        with pytest.raises(ValueError, match="skip"):
            gumbel.score(tokens, record, skip)


def test_a_quotation_of_the_prompt_does_not_count() -> None:
    tokens = np.arange(100, dtype=np.uint32)
    for module in (vllm, sglang, textseal):
        [record] = records(module.SCHEME, 1, 9, width=2)
        quoted = gumbel.score(np.tile(tokens, 2), record, len(tokens))

        assert quoted.n <= 2
