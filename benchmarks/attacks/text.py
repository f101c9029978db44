"""Text: functions of a string.

What needs a model or somebody else's words is made for a `Sources`. No attack here
translates: the small model knows one language, and a round trip through it would be the
paraphrase that is measured anyway. Every text is tokenised anew after it was attacked,
so that tokens alone cannot be changed: an attack on them changes what is read.
"""

from __future__ import annotations

import bisect
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.attacks import Attack, named, swept, untouched

Rng = np.random.Generator

WORD = re.compile(r"\s*\S+")  # a word and the space before it
SENTENCE = re.compile(r"\S.*?(?:[.!?]+(?=\s)|\n\n|\Z)\s*", re.DOTALL)
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of a keyboard
# Letters of other scripts that print alike.
TWINS = str.maketrans("aceiopsxyABCEHKMOPTX", "асеіорѕхуАВСЕНКМОРТХ")  # noqa: RUF001
ZERO_WIDTH = "\u200b\u200c\u200d\u2060"
SPAN = 8  # tokens that a paraphrase replaces together
BAND = 50  # words around a rank that count as equally frequent
CONTEXT = 64  # tokens that the model sees before a word that it proposes
PIECES = 6  # tokens of such a word, at most
LINE = 60  # characters


def typos(text: str, rng: Rng, share: float) -> str:
    """Letters left out, doubled, exchanged or mistyped, in `share` of the words."""
    return "".join(
        _mistyped(word, rng) if rng.random() < share else word
        for word in WORD.findall(text)
    )


def _mistyped(word: str, rng: Rng) -> str:
    places = [i for i, letter in enumerate(word) if letter.isalpha()]
    if len(places) < 2:
        return word
    i = places[int(rng.integers(len(places) - 1))]
    kind = int(rng.integers(4))
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[: i + 1] + word[i:]
    if kind == 2:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    row = next((row for row in ROWS if word[i].lower() in row), ROWS[0])
    at = row.find(word[i].lower()) + int(rng.choice((-1, 1)))
    beside = row[at if 0 <= at < len(row) else 1 if at < 0 else -2]
    return word[:i] + beside + word[i + 1 :]


def deleted(text: str, rng: Rng, share: float) -> str:
    """Some words left out."""
    return "".join(w for w in WORD.findall(text) if rng.random() >= share)


def shuffled(text: str, rng: Rng) -> str:
    """Its sentences in another order."""
    sentences = SENTENCE.findall(text)
    order = rng.permutation(len(sentences))
    return " ".join(sentences[i].strip() for i in order)


def truncated(text: str, rng: Rng, share: float) -> str:
    """A run of its words that has `share` of the length, from anywhere."""
    words = WORD.findall(text)
    length = max(1, round(len(words) * share))
    start = int(rng.integers(len(words) - length + 1))
    return "".join(words[start : start + length])


def homoglyphs(text: str, rng: Rng, share: float) -> str:
    """Letters replaced by others that print alike."""
    return "".join(
        letter.translate(TWINS) if rng.random() < share else letter for letter in text
    )


def zero_width(text: str, rng: Rng, share: float) -> str:
    """Invisible characters after `share` of the characters."""
    return "".join(
        letter + str(rng.choice(list(ZERO_WIDTH))) if rng.random() < share else letter
        for letter in text
    )


def lower_case(text: str, rng: Rng) -> str:
    """All in small letters."""
    return text.lower()


def upper_case(text: str, rng: Rng) -> str:
    """All in capitals."""
    return text.upper()


def title_case(text: str, rng: Rng) -> str:
    """A capital at the start of every word."""
    return re.sub(r"(?<![\w'])\w", lambda found: found[0].upper(), text)


def normalised(text: str, rng: Rng) -> str:
    """Unicode's NFKC, as many a search index and form stores it."""
    return unicodedata.normalize("NFKC", text)


def retokenised(text: str, rng: Rng) -> str:
    """Words and punctuation apart, as a tokenised corpus has them."""
    return " ".join(re.findall(r"\w+|[^\w\s]", text))


def wrapped(text: str, rng: Rng) -> str:
    """In lines of `LINE` characters, words broken by hyphens, as out of a column."""
    lines, line = [], ""
    for word in text.split():
        line = f"{line} {word}" if line else word
        while len(line) > LINE:
            lines.append(line[: LINE - 1].rstrip() + "-" * line[LINE - 2].isalpha())
            line = line[LINE - 1 :].lstrip()
    return "\n".join([*lines, line])


def respaced(text: str, rng: Rng) -> str:
    """White space as an editor leaves it: one blank between words, lines joined."""
    return " ".join(text.split())


def requoted(text: str, rng: Rng) -> str:
    """Quotation marks, dashes and dots as a word processor turns them."""
    text = re.sub(r"(?<!\w)\"", "\u201c", text).replace('"', "\u201d")
    text = text.replace("'", "\u2019").replace("...", "\u2026")
    return text.replace(" - ", " \u2013 ").replace("--", "\u2014")


@dataclass(frozen=True)
class Sources:
    """What attacks take words from.

    Attributes:
        words: of unmarked texts, the most frequent first, each with a blank before it.
        hosts: unmarked texts, to paste passages into.
        language: a model and its tokenizer (`benchmarks.language.Language`), which
            proposes words; None leaves such attacks out.
    """

    words: tuple[str, ...]
    hosts: tuple[str, ...]
    language: Any = None

    @classmethod
    def of(cls, hosts: Sequence[str], language: Any = None) -> Sources:
        """From unmarked texts."""
        counted = Counter(w.lower() for text in hosts for w in re.findall(r"\w+", text))
        words = sorted(counted, key=lambda word: (-counted[word], word))
        return cls(tuple(words), tuple(hosts), language)

    @functools.cached_property
    def ranks(self) -> dict[str, int]:
        """Of every word, how many are more frequent."""
        return {word: rank for rank, word in enumerate(self.words)}

    def alike(self, word: str, rng: Rng) -> str:
        """Another word, about as frequent; white space and capital are kept."""
        bare = word.strip()
        rank = self.ranks.get(bare.strip(".,;:!?()\"'").lower(), len(self.words) - 1)
        low = max(0, rank - BAND)
        at = int(rng.integers(low, min(len(self.words), rank + BAND + 1) - 1))
        found = self.words[at + (at >= rank)]  # any but this one
        found = found.capitalize() if bare[:1].isupper() else found
        tail = bare[len(bare.rstrip(".,;:!?)")) :]
        return word[: len(word) - len(bare)] + found + tail

    def substituted(self, text: str, rng: Rng, share: float) -> str:
        """Words replaced by others of the same frequency."""
        return "".join(
            self.alike(word, rng) if rng.random() < share else word
            for word in WORD.findall(text)
        )

    def inserted(self, text: str, rng: Rng, share: float) -> str:
        """Words put in at random places."""
        out = []
        for word in WORD.findall(text):
            if rng.random() < share:
                out.append(" " + self.alike(word, rng).strip())
            out.append(word)
        return "".join(out)

    def pasted(self, text: str, rng: Rng, share: float) -> str:
        """Whole, somewhere in somebody else's text, of which it is `share`."""
        words = WORD.findall(text)
        around = round(len(words) * (1 / share - 1))
        host: list[str] = []
        while len(host) < around:  # short hosts follow each other
            host += WORD.findall(self.hosts[int(rng.integers(len(self.hosts)))])
        start = int(rng.integers(len(host) - around + 1))
        cut = start + int(rng.integers(around + 1))
        before, after = host[start:cut], host[cut : start + around]
        return "".join([*before, "\n\n", text.strip(), "\n\n", *after])

    def proposed(self, text: str, rng: Rng, share: float) -> str:
        """Tokens replaced by what the model would have said there instead.

        From the chances that it gives after the original's left context; never the
        token that was there.
        """
        ids = self.language.reader.encode(text)
        if len(ids) < 2:
            return text
        with torch.inference_mode():
            logits = self.language.model(torch.tensor([ids])).logits[0]
        chances = logits.float().softmax(-1).numpy().astype(np.float64)
        out = list(ids)
        for i in range(1, len(ids)):
            if rng.random() < share:
                row = chances[i - 1].copy()
                row[ids[i]] = 0.0
                out[i] = _drawn(row, rng)
        return str(self.language.tokenizer.decode(out, skip_special_tokens=True))

    def reworded(self, text: str, rng: Rng, share: float) -> str:
        """Words replaced by what the model would have said there instead.

        Each is drawn from what is before it, replaced words too; where that is the
        word that was there, one of the same frequency takes its place.
        """
        out: list[str] = []
        for word in WORD.findall(text):
            bare = word.strip().strip(".,;:!?()\"'")
            if out and bare and rng.random() < share:
                found = self._word("".join(out), rng)
                if found.lower() in ("", bare.lower()):
                    found = self.alike(bare, rng)
                word = word.replace(bare, found, 1)
            out.append(word)
        return "".join(out)

    @functools.cached_property
    def _pieces(self) -> list[str]:
        """The text of every token."""
        decode, count = self.language.tokenizer.decode, self.language.vocab_size
        return [decode([i]) for i in range(count)]

    def _word(self, before: str, rng: Rng) -> str:
        """The letters of the model's next word, or "" where it says none."""
        model, pieces, word = self.language.model, self._pieces, ""
        ids = self.language.reader.encode(before)[-CONTEXT:]
        seen, past = torch.tensor([ids]), None
        for place in range(PIECES):
            with torch.inference_mode():
                made = model(seen, past_key_values=past, use_cache=True)
            past = made.past_key_values
            row = made.logits[0, -1].float().softmax(-1).numpy().astype(np.float64)
            if not place:  # a word begins with a blank
                starts = [p[:1] == " " and p[1:].isalpha() for p in pieces]
                row *= starts if any(starts) else 1.0
            drawn = _drawn(row, rng)
            piece = pieces[drawn]
            if place and not piece.isalpha():
                break
            word += piece.strip() if piece.strip().isalpha() else ""
            seen = torch.tensor([[drawn]])
        return word

    def paraphrased(self, text: str, rng: Rng, share: float) -> str:
        """Spans of eight tokens written anew by the model, each from what is before it.

        Unmarked, of the old length; `share` of the text is replaced.
        """
        ids = list(self.language.reader.encode(text))
        starts = range(SPAN, len(ids) - SPAN + 1, SPAN)
        chosen = [start for start in starts if rng.random() < share]
        with torch.inference_mode():
            for start in chosen:
                self._rewrite(ids, start, rng)
        return str(self.language.tokenizer.decode(ids, skip_special_tokens=True))

    def _rewrite(self, ids: list[int], start: int, rng: Rng) -> None:
        model, end = self.language.model, self.language.tokenizer.eos_token_id
        room = int(model.config.max_position_embeddings) - SPAN
        seen, past = torch.tensor([ids[max(0, start - room) : start]]), None
        for i in range(start, start + SPAN):
            made = model(seen, past_key_values=past, use_cache=True)
            past = made.past_key_values
            row = made.logits[0, -1].float().softmax(-1).numpy().astype(np.float64)
            if end is not None:
                row[end] = 0.0
            ids[i] = _drawn(row, rng)
            seen = torch.tensor([[ids[i]]])


def _drawn(chances: Any, rng: Rng) -> int:
    """An index, drawn with these chances; they need not sum to one."""
    sums = np.cumsum(chances)
    return min(bisect.bisect(sums, rng.random() * sums[-1]), len(sums) - 1)


def table(sources: Sources) -> dict[str, Attack[str]]:
    """Every attack by its name."""
    attacks: list[Attack[str]] = [
        Attack("none", untouched),
        *swept("typos", typos, (0.05, 0.1, 0.2, 0.4)),
        *swept("words deleted", deleted, (0.1, 0.2, 0.3, 0.5)),
        *swept("words substituted", sources.substituted, (0.1, 0.2, 0.4)),
        *swept("words inserted", sources.inserted, (0.1, 0.3)),
        Attack("sentences shuffled", shuffled),
        *swept("truncated to", truncated, (0.75, 0.5, 0.25)),
        *swept("pasted, share", sources.pasted, (0.5, 0.25, 0.1)),
        *swept("homoglyphs", homoglyphs, (0.05, 1.0)),
        *swept("zero-width", zero_width, (0.02, 0.1, 0.3)),
        Attack("lower case", lower_case),
        Attack("upper case", upper_case),
        Attack("title case", title_case),
        Attack("NFKC", normalised),
        Attack("retokenised", retokenised),
        Attack("line breaks", wrapped),
        Attack("white space", respaced),
        Attack("quotation marks", requoted),
    ]
    if sources.language is not None:
        attacks += [
            *swept("tokens proposed", sources.proposed, (0.1, 0.3)),
            *swept("words proposed", sources.reworded, (0.1, 0.3)),
            *swept("paraphrased", sources.paraphrased, (0.1, 0.25, 0.5, 0.75)),
        ]
    return named(attacks)
