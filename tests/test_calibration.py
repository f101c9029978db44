"""Calibration: the rates are the key's own, and the price of choosing is the stated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark.calibration import (
    LUCK,
    Document,
    Level,
    calibrate,
    screen,
)
from watermark.detectors import gumbel
from watermark.errors import KeyFileError
from watermark.keys import Key, KeyRecord
from watermark.rates import clopper_pearson, mean_interval
from watermark.schemes import SCHEMES
from watermark.schemes import gumbel as marking

Ids = NDArray[np.uint32]


def keys(count: int, seed: int) -> list[Key]:
    rng = np.random.default_rng(seed)
    return [Key(rng.bytes(32)) for _ in range(count)]


def record(key: Key, scheme: str = "gumbel") -> KeyRecord:
    return SCHEMES[scheme].record(key)


def tokens(rng: np.random.Generator, size: int) -> Ids:
    return rng.integers(0, 50_000, size).astype(np.uint32)


def unlike(count: int, seed: int, size: int = 60) -> list[Document]:
    """Documents that share nothing."""
    rng = np.random.default_rng(seed)
    return [Document(name=f"d{i}", tokens=tokens(rng, size)) for i in range(count)]


def alike(count: int, seed: int) -> list[Document]:
    """Documents that begin with the same licence, and add little of their own."""
    rng = np.random.default_rng(seed)
    licence = tokens(rng, 150)
    return [
        Document(name=f"d{i}", tokens=np.concatenate([licence, tokens(rng, 20)]))
        for i in range(count)
    ]


# --- rates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 1), (1, 1), (0, 37), (37, 37), (3, 1000), (1, 37_000), (51, 97)]
)
def test_intervals_are_those_of_clopper_and_pearson(hits: int, n: int) -> None:
    expected = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="exact")

    assert clopper_pearson(hits, n) == pytest.approx(tuple(expected), rel=1e-7)


def test_nothing_measured_is_nothing_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert mean_interval([], 10) == mean_interval([3], 10) == (0.0, 1.0)


def test_the_mean_interval_is_students_and_never_narrower_than_exact() -> None:
    rng = np.random.default_rng(1)
    spread = rng.integers(0, 40, 30).tolist()
    even = [1] * 50
    low, high = mean_interval(spread, 100)
    rates = np.asarray(spread) / 100
    student = scipy.stats.t.interval(0.95, 29, rates.mean(), scipy.stats.sem(rates))

    assert (low, high) == pytest.approx(student, rel=1e-4)
    assert mean_interval(even, 100) == clopper_pearson(50, 5000)
    assert mean_interval([0] * 50, 100) == clopper_pearson(0, 5000)


def test_a_rate_is_the_share_of_documents_at_or_below_the_level() -> None:
    [key] = keys(1, 1)
    documents = unlike(300, 2)
    p = [gumbel.score(d.tokens, record(key)).log10_p() for d in documents]

    found = calibrate(record(key), documents, levels=(0.01, 0.3), others=[])

    assert [level.level for level in found.levels] == [0.3, 0.01]
    for level in found.levels:
        assert level.hits == sum(x <= math.log10(level.level) for x in p)
        assert level.rate == level.hits / 300
        assert level.interval == clopper_pearson(level.hits, 300)
    assert [f.log10_p for f in found.worst] == sorted(p)[:10]


def test_the_interval_covers_the_rate_that_is_stated_for_independent_documents() -> (
    None
):
    """With one nonce p is exact, so 95 % of the intervals hold the level itself."""
    covered = 0
    for number, key in enumerate(keys(150, 3)):
        exact = SCHEMES["gumbel"].record(key, nonce_bits=0)
        found = calibrate(exact, unlike(100, 100 + number), levels=(0.1,), others=[])
        low, high = found.levels[0].interval
        covered += low <= 0.1 <= high

    assert covered >= scipy.stats.binom.ppf(0.001, 150, 0.95)


def test_the_mean_over_keys_is_as_stated_whatever_the_documents_share() -> None:
    [key, *others] = keys(151, 4)
    for documents in (unlike(60, 5), alike(60, 5)):
        exact = SCHEMES["gumbel"].record(key, nonce_bits=0)
        [level] = calibrate(exact, documents, levels=(0.1,), others=others).levels
        low, high = level.mean_interval
        print(
            f"mean {level.mean:.4f} [{low:.4f}, {high:.4f}], spread {level.spread:.2f}"
        )

        assert low <= 0.1 <= high
        assert level.mean == pytest.approx(np.mean(level.others) / 60)


def test_documents_that_share_text_share_their_luck() -> None:
    [key, *others] = keys(101, 6)
    apart = calibrate(record(key), unlike(100, 7), levels=(0.1,), others=others)
    shared = calibrate(record(key), alike(100, 7), levels=(0.1,), others=others)

    assert 0.7 < apart.levels[0].spread < 1.4
    assert shared.levels[0].spread > 3


# --- whether to keep a key -----------------------------------------------------------


@pytest.fixture(scope="module")
def licence() -> tuple[list[Document], list[Key], list[Key]]:
    """A corpus that shares a licence, keys that are kept on it, and unlucky ones."""
    documents = alike(60, 8)
    lucky: list[Key] = []
    unlucky: list[Key] = []
    for key in keys(120, 9):
        kept = calibrate(record(key), documents, levels=(0.1, 0.01), others=[]).kept
        (lucky if kept else unlucky).append(key)
    return documents, lucky, unlucky


def test_an_unlucky_key_is_not_kept_and_its_documents_are_named(
    licence: tuple[list[Document], list[Key], list[Key]],
) -> None:
    documents, lucky, unlucky = licence
    found = calibrate(record(unlucky[0]), documents, levels=(0.1, 0.01), others=lucky)

    assert 3 <= len(unlucky) <= 30
    assert not found.kept
    assert any(level.interval[0] > level.level for level in found.levels)
    assert found.worst[0].log10_p < -1
    assert min(level.as_bad for level in found.levels) == 1 / (1 + len(lucky))


def test_screening_takes_the_first_that_is_kept(
    licence: tuple[list[Document], list[Key], list[Key]],
) -> None:
    documents, lucky, unlucky = licence
    candidates = [record(k) for k in (unlucky[0], unlucky[1], lucky[0], lucky[1])]

    found = screen(candidates, documents, levels=(0.1, 0.01), others=[])

    assert [c.kept for c in found] == [False, False, True]
    assert found[-1].record.kid == lucky[0].kid
    none = screen(candidates[:2], documents, levels=(0.1, 0.01), others=[])
    assert [c.kept for c in none] == [False, False]


def test_the_price_is_one_over_the_share_of_keys_that_are_kept(
    licence: tuple[list[Document], list[Key], list[Key]],
) -> None:
    documents, lucky, unlucky = licence
    found = calibrate(
        record(lucky[0]), documents, levels=(0.1, 0.01), others=lucky + unlucky
    )
    share = clopper_pearson(len(lucky), 120)

    assert found.others_kept == len(lucky)
    assert found.factor == 1 / share[0]
    assert found.factor is not None
    assert 1 < found.factor < 1.5
    alone = calibrate(record(lucky[0]), documents, others=[])
    assert alone.factor is None


def test_kept_keys_stay_below_the_price_on_other_texts(
    licence: tuple[list[Document], list[Key], list[Key]],
) -> None:
    """On the worst text for it: one that shares the licence."""
    _, lucky, unlucky = licence
    other = alike(61, 8)[-1].tokens  # the same licence, another ending
    p = np.asarray([gumbel.score(other, record(key)).log10_p() for key in lucky])
    share = len(lucky) / (len(lucky) + len(unlucky))
    for level in (0.3, 0.1):
        hits = int((p <= math.log10(level)).sum())

        assert hits <= scipy.stats.binom.ppf(0.999, len(lucky), level / share)


def test_a_rank_among_keys_is_exact() -> None:
    """P(as_bad <= t) <= t for a key that is drawn like the others."""
    documents = alike(12, 10)
    drawn = keys(19 * 40 + 40, 11)
    ranks = []
    for number in range(40):
        own, others = drawn[number], drawn[40 + 19 * number : 59 + 19 * number]
        found = calibrate(record(own), documents, levels=(0.3,), others=others)
        ranks.append(found.levels[0].as_bad)

    assert min(ranks) >= 1 / 20
    assert sum(r <= 0.25 for r in ranks) <= scipy.stats.binom.ppf(0.999, 40, 0.25)


def test_a_marked_document_is_a_suspect() -> None:
    [key] = keys(1, 12)
    rng = np.random.default_rng(13)
    order = marking.Sequencer(record(key), 5)
    text: list[int] = []
    while len(text) < 150:
        choice = order.choose(text, 100.0)
        logits = rng.gumbel(size=200).astype(np.float32)
        free = int(rng.integers(200))
        text.append(free if choice is None else marking.select(logits, *choice))
    marked = Document(name="marked.txt", tokens=np.asarray(text, dtype=np.uint32))

    found = calibrate(record(key), [*unlike(50, 14), marked], others=[])

    assert [f.name for f in found.suspects] == ["marked.txt"]
    assert found.worst[0].name == "marked.txt"


# --- the corpus ----------------------------------------------------------------------


def test_copies_and_texts_without_a_context_are_left_out() -> None:
    [key] = keys(1, 15)
    documents = unlike(20, 16)
    copy = replace(documents[0], name="again")
    short = Document(name="short", tokens=np.arange(4, dtype=np.uint32))

    found = calibrate(record(key), [*documents, copy, short], others=[])

    assert (found.copies, found.untestable) == (1, 1)
    assert found.levels[0].documents == 20


def test_a_level_says_how_many_documents_would_show_it() -> None:
    [key] = keys(1, 17)
    for level in calibrate(record(key), unlike(5, 18), others=[]).levels:
        assert clopper_pearson(0, level.needed)[1] <= level.level
        assert clopper_pearson(0, level.needed - 1)[1] > level.level


@pytest.mark.parametrize("scheme", ["greenlist", "tournament"])
def test_every_text_scheme_can_be_calibrated(scheme: str) -> None:
    [key, *others] = keys(31, 19)
    found = calibrate(
        record(key, scheme), unlike(100, 20, 80), levels=(0.1,), others=others
    )

    assert found.levels[0].mean_interval[0] <= 0.1
    assert found.record.scheme == scheme


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("no documents", "none of 0 documents"),
        ("short documents", "none of 1 documents"),
        ("no levels", "expected rates in"),
        ("level 1", "expected rates in"),
        ("noise", "expected a scheme of text"),
        ("no record", "expected at least one"),
        ("two schemes", "differ in scheme"),
    ],
)
def test_a_wrong_call_is_refused(call: str, message: str) -> None:
    one, two = keys(2, 21)
    records, documents, levels = [record(one)], unlike(2, 22), [0.1]
    if call == "no documents":
        documents = []
    elif call == "short documents":
        documents = unlike(1, 22, size=3)
    elif call == "no levels":
        levels = []
    elif call == "level 1":
        levels = [1.0]
    elif call == "noise":
        records = [record(one, "noise")]
    elif call == "no record":
        records = []
    else:
        records.append(record(two, "greenlist"))
    with pytest.raises(ValueError, match=message):
        screen(records, documents, levels=levels, others=[])


def test_a_record_without_its_key_is_refused() -> None:
    [key] = keys(1, 23)
    with pytest.raises(KeyFileError, match="not at hand"):
        calibrate(replace(record(key), key=None), unlike(2, 24), others=[])


# --- what is written -----------------------------------------------------------------


def test_json_says_everything_and_no_secret() -> None:
    [key, *others] = keys(11, 25)
    found = calibrate(record(key), unlike(30, 26), others=others)
    data = json.loads(found.to_json())

    assert data == found.to_dict()
    assert data["schema"] == "watermark.calibration/1"
    assert data["meaning"] == LUCK
    assert data["inflation_at_most"] == found.factor
    assert [row["level"] for row in data["levels"]] == [1e-2, 1e-3, 1e-4]
    assert all(len(row["others"]) == 10 for row in data["levels"])
    for shown in (found.to_json(), repr(found)):
        for secret in (key, *others):
            assert secret._secret.hex() not in shown
    alone = calibrate(record(key), unlike(30, 26), others=[]).to_dict()
    assert alone["inflation_at_most"] is None
    assert alone["levels"][0]["as_bad"] is None
    json.dumps(alone, allow_nan=False)


def test_progress_is_told_record_by_record() -> None:
    [key, *others] = keys(4, 27)
    seen: list[str] = []

    def track(records: object) -> Iterator[KeyRecord]:
        assert isinstance(records, list)
        for one in records:
            seen.append(one.kid)
            yield one

    calibrate(record(key), unlike(5, 28), others=others, track=track)

    assert seen == [k.kid for k in (*others, key)]


def test_a_level_without_other_keys_compares_with_nothing() -> None:
    level = Level(
        level=0.1,
        hits=1,
        documents=10,
        interval=(0, 1),
        others=(),
        mean_interval=(0, 1),
    )

    assert math.isnan(level.mean)
    assert math.isnan(level.spread)
    assert level.as_bad == 1
