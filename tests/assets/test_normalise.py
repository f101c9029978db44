"""The normaliser undoes disguises, says so, and leaves real writing alone."""

# ruff: noqa: RUF001  (look-alikes are the subject)

from __future__ import annotations

import re
import time
import unicodedata
from operator import ne
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.assets.codepoints import codes, string
from watermark.assets.homoglyphs import HOMOGLYPHS, STYLED
from watermark.assets.normalise import MARKS, normalise

PROSE = (
    "The committee agreed on Thursday that every bridge in the district should be "
    "inspected before winter, and that the report would be published in full. "
)
FLAG = "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "gbeng") + "\U000e007f"

# Texts in real use, with the invisible characters and the mixtures that belong there.
GENUINE = {
    "english": PROSE + "Naïve façade, 50 µm, Δx, sinα, hν, β-blocker, x̂.",
    "russian": "Мама мыла раму, а сор остался. Он купил iPhone с Android и рад. "
    "Наш IT-отдел принял PDFку, а USBа нет; РАО ЕЭС и СССР тоже.",
    "russian, look-alikes only": "сор росу ссора",
    "ukrainian": "Сьогодні є сир і хор, а також Windows і Linux у нашому офісі.",
    "serbian": "Београд је главни град Србије. Ја јесам, а оса је ту. Džep i njiva, "
    "ljubav i žaba.",
    "greek": "Το σπίτι μας και ο κήπος· η ΑΕΚ νίκησε τον ΟΦΗ. ΝΑΤΟ και ΟΗΕ.",
    "armenian": "Հայաստանը գեղեցիկ երկիր է, որտեղ սոսու ծառեր կան։",
    "japanese": "今日、ＮＨＫ\u3000のニュース。葛\U000e0100城市、Ｔシャツ！",
    "chinese": "我们在北京工作，很高兴\u3000见到你。",
    "korean": "안녕하세요 세계, ＫＢＳ 뉴스입니다.",
    "hindi": "क्\u200dष और क्\u200cष अलग हैं।",
    "bengali": "র\u200d\u09cd\u09af\u09be\u09ac ও ক\u09cd\u200cষ।",
    "persian": "می\u200cخواهم کتاب\u200cها را بخوانم. ه\u200d",
    "thai": "ประเทศ\u200bไทย\u200bสวยงาม",
    "khmer": "ភាសា\u200bខ្មែរ",
    "mongolian": "ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ\u180e\u1820 ᠠ\u180b",
    "emoji": "👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 👍🏽 "
    "🙂\u200d↔\ufe0f ☎\ufe0e " + FLAG,
    "mathematics": "Let 𝑥 ∈ ℝ and 𝛼 > 0, so that ∩\ufe00 holds.",
}


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_text_is_left_alone(name: str) -> None:
    text = unicodedata.normalize("NFC", GENUINE[name])

    found = normalise(text)

    assert found.text == text
    assert found.changes == {}
    assert found.offsets.tolist() == list(range(len(text) + 1))


@pytest.mark.parametrize(
    ("disguised", "plain", "changes"),
    [
        ("in\u200bvis\u2060ible\ufeff", "invisible", {"zero-width": 3}),
        ("le\u202eft \u2066right\u2069\u200f", "left right", {"bidi": 4}),
        ("hy\u00adphen", "hyphen", {"soft-hyphen": 1}),
        ("a\ufe01b\U000e0155c\ufe0f", "abc", {"variation-selector": 3}),
        ("a\U000e0068\U000e0069b", "ab", {"tag": 2}),
        ("odd\u00a0spaces\u2009all\u3000here", "odd spaces all here", {"space": 3}),
        ("one\u2028two", "one\ntwo", {"space": 1}),
        ("a\u200db\u200cc\u034fd", "abcd", {"zero-width": 3}),
        ("cafe\u0301", "café", {"composed": 1}),
        ("cafe\u200b\u0301", "café", {"composed": 1, "zero-width": 1}),
        ("1\ufe0f2 #\ufe0f", "12 #", {"variation-selector": 2}),
        ("🙂\u200d\u200d\u200b🔥", "🙂\u200d🔥", {"zero-width": 2}),
        ("❤\ufe0f\ufe0f\ufe0e", "❤\ufe0f", {"variation-selector": 2}),
        ("می\u200c\u200c\u200dخ", "می\u200cخ", {"zero-width": 2}),
        (
            "\U0001f3f4\U000e0068\U000e0069\U000e007f",
            "\U0001f3f4",
            {"tag": 3},
        ),
        ("pаypаl", "paypal", {"homoglyph": 2}),
        ("ｗｏｒｌｄ 𝐡𝐞𝐥𝐥𝐨 𝓮𝓷𝓭", "world hello end", {"styled": 13}),
        ("reαl gοοd hօme", "real good home", {"homoglyph": 4}),
        ("ӓnd", "ӓnd", {}),  # no Latin letter prints like this one in our table
    ],
)
def test_a_disguise_is_undone_and_counted(
    disguised: str, plain: str, changes: dict[str, int]
) -> None:
    found = normalise(disguised)

    assert found.text == plain
    assert found.changes == changes


def test_words_of_look_alikes_change_in_latin_text_only() -> None:
    russian = "Сегодня она убрала весь {} из большого дома, и стало чисто."

    assert "the cop said" in normalise(PROSE + "the сор said " + PROSE).text
    assert normalise(russian.format("сор")).changes == {}
    assert normalise(PROSE + russian.format("сор")).changes == {}
    assert normalise("two words: сор").changes == {}


def test_a_text_swapped_throughout_is_restored() -> None:
    """Every letter that has a Cyrillic twin, in every word."""
    twins = {
        latin: alike for alike, latin in HOMOGLYPHS.items() if 0x400 <= alike < 0x530
    }
    text = (PROSE * 3).translate(twins)

    found = normalise(text)

    assert found.text == PROSE * 3
    assert found.changes["homoglyph"] == sum(map(ne, text, PROSE * 3))


def test_random_swaps_and_insertions_are_undone() -> None:
    rng = np.random.default_rng(1)
    hidden = "\u200b\u200d\u200c\u2060\ufeff\u00ad\u202e\ufe0f\U000e0061"
    twins: dict[str, list[str]] = {}
    for alike, latin in (HOMOGLYPHS | STYLED).items():
        if not 0x370 <= alike < 0x3FF:  # Greek symbols change only inside a word
            twins.setdefault(chr(latin), []).append(chr(alike))
    for share in (0.01, 0.1, 0.3):
        out = []
        for letter in PROSE * 10:
            choice = twins.get(letter)
            swap = choice and rng.random() < share
            out.append(str(rng.choice(choice)) if choice and swap else letter)
            if rng.random() < share:
                out.append(hidden[rng.integers(len(hidden))])

        assert normalise("".join(out)).text == PROSE * 10, share


# --- offsets -------------------------------------------------------------------------


def test_spans_lead_back_to_the_original() -> None:
    original = "\ufeffA cа\u200bfe\u0301 with\u00a0ﬂags \U0001d41e\U0001d427\U0001d41d."
    found = normalise(original)

    def source(part: str) -> str:
        at = found.text.index(part)
        start, stop = found.span(at, at + len(part))
        return original[start:stop]

    assert found.text == "A café with ﬂags end."
    assert source("café") == "cа\u200bfe\u0301"
    assert source("é") == "e\u0301"
    assert source("a") == "а\u200b"
    assert source(" ﬂ") == "\u00a0ﬂ"
    assert source("end.") == original[-4:]
    assert found.span(0, len(found.text)) == (1, len(original))


def test_several_characters_from_one_have_its_span() -> None:
    found = normalise("x\u0958y")  # Devanagari qa: two characters in normal form C

    assert found.text == "x\u0915\u093cy"
    assert found.offsets.tolist() == [0, 1, 1, 2, 3]
    assert found.span(1, 2) == found.span(2, 3) == found.span(1, 3) == (1, 2)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (2, 1), (-1, 2), (0, 4)])
def test_a_span_outside_the_text_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= start < stop <= 3"):
        normalise("abc").span(start, stop)


# --- any string ----------------------------------------------------------------------

# Characters that one step or another treats apart, so that Hypothesis mixes them.
TELLING = (
    "ab tТсоржαωοσｗ𝐚ℝ漢字かが가ᄀ\u1161\u11a8\u3000\u00a0\u2000\u2028"
    "\u200b\u200c\u200d\u034f\u2060\u00ad\u202e\ufe00\ufe0e\ufe0f\U000e0100"
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e007f🙂🏽1#\u20e3"
    "\u0301\u0338\u0344\u0316\u0958\u2adc=\u09c7\u09be\u094d\u0915ไيم\u1820\u180b\u180e"
    "\u05d0\u05bc\u115f\u1160\u212a\u2126\0\ud800\udc00İßﬁ"
)
telling = st.lists(
    st.one_of(
        st.sampled_from(TELLING),
        st.sampled_from(["сор ", "word bright ", "жук ", FLAG, "\u0301" * 40]),
        st.characters(exclude_categories=()),
    ),
    max_size=60,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(telling)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    twice = normalise(once.text)

    assert twice.text == once.text
    assert twice.changes == {}
    assert (once.changes == {}) == (once.text == text)


@settings(max_examples=100, deadline=None)
@given(telling)
def test_offsets_fit_and_what_is_unchanged_is_where_they_say(text: str) -> None:
    found = normalise(text)
    offsets = found.offsets

    assert unicodedata.is_normalized("NFC", found.text)
    assert len(offsets) == len(found.text) + 1
    assert offsets[-1] == len(text)
    assert (np.diff(offsets) >= 0).all()
    assert not offsets.size or offsets[0] >= 0
    if not set(found.changes) & {"composed", "space", "homoglyph", "styled"}:
        assert found.text == "".join(text[i] for i in offsets[:-1])
    for at in range(len(found.text)):
        start, stop = found.span(at, at + 1)
        assert start == offsets[at] < stop <= len(text)


def test_composition_knows_every_canonical_pair_of_this_unicode() -> None:
    """A character that composes backwards must not begin a sequence of its own."""
    every = (unicodedata.normalize("NFD", chr(code)) for code in range(0x110000))
    text = "жж".join(parts for parts in every if len(parts) > 1)

    found = normalise(text)

    assert found.text == unicodedata.normalize("NFC", text)
    assert found.changes["composed"] > 10_000
    for at in np.flatnonzero(np.diff(found.offsets) > 1).tolist():
        start, stop = found.span(at, at + 1)
        assert found.text[at] in unicodedata.normalize("NFC", text[start:stop])


def test_any_string_survives_the_trip_through_code_points() -> None:
    text = "a\0\ud800\udc00\udfff😀é"

    assert string(codes(text)) == text
    assert normalise(text).text == text


@pytest.mark.parametrize(
    "piece",
    [
        "e\u0301",
        "\u0301\u0316",
        "\u200d",
        "a\ufe0f",
        "pаypal bright ",
        "ж ",
        "\0\ud800",
    ],
    ids=ascii,
)
def test_time_is_linear_whatever_the_text_holds(piece: str) -> None:
    """A megabyte takes about a second; sorting its marks could take half an hour."""
    started = time.thread_time()
    found = normalise(piece * (1_000_000 // len(piece)))
    spent = time.thread_time() - started

    assert spent < 5
    if piece == "\u0301\u0316":
        assert len(found.text) <= MARKS


def test_the_tables_hold_letters_and_their_latin_twins() -> None:
    for table in (HOMOGLYPHS, STYLED):
        for letter, latin in table.items():
            assert chr(letter).isalpha()
            assert re.fullmatch("[A-Za-z]", chr(latin))
    assert not set(HOMOGLYPHS) & set(STYLED)


def test_this_file_is_a_text_that_it_can_read() -> None:
    text = Path(__file__).read_text(encoding="utf-8")

    assert normalise(normalise(text).text).changes == {}
