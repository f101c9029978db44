"""Readings: the ways to read an asset as token ids, each a hypothesis to be counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from watermark.assets.loading import Asset
from watermark.assets.normalise import normalise
from watermark.report import Reason
from watermark.tokenizer import TextTokenizer
from watermark.verification.setting import Findings, Setting


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text.

    Attributes:
        ids: token ids uint32 of the prompt, where one is known, and of the text.
        skip: how many of them are the prompt's: its contexts do not count.
        tokenizer: digest of what read it, or "": the ids were given.
        view: what was done to the text before, or "".
        places: for each token of the text, the characters of the original it covers;
            empty where ids were given, whose places are their own indices.
    """

    ids: NDArray[np.uint32]
    skip: int = 0
    tokenizer: str = ""
    view: str = ""
    places: Sequence[tuple[int, int]] = field(default=(), repr=False)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Tokens ``start..end`` (the prompt counted) as characters of the text."""
        start, end = start - self.skip, end - self.skip
        if not self.places:
            return start, end
        return self.places[start][0], self.places[end - 1][1]


def readings(asset: Asset, setting: Setting, found: Findings) -> list[Reading]:
    """Every reading of a text that this setting asks for."""
    if asset.tokens is not None:
        return [_behind(Reading(asset.tokens), setting.prompt_ids)]
    text = asset.text or ""
    views = list(_views(text, setting, found))
    return [
        _read(view, said, offsets, tokenizer, setting)
        for tokenizer in setting.tokenizers
        for view, said, offsets in views
    ]


def _views(
    text: str, setting: Setting, found: Findings
) -> Iterator[tuple[str, str, NDArray[np.int64] | None]]:
    """Name, text, and for each of its characters the original's; None: the same."""
    yield "", text, None
    if setting.effort == "quick":
        return
    plain = normalise(text)
    if plain.text != text:
        changes = ", ".join(f"{n} {kind}" for kind, n in sorted(plain.changes.items()))
        found.notes.append(
            Reason("altered-characters", f"read a second time without them: {changes}")
        )
        yield "normalised", plain.text, np.asarray(plain.offsets, np.int64)
    if setting.effort == "thorough" and text:
        # An excerpt may begin within a token: one reading with the space that stood
        # before its first word, one without that word.
        yield "with a space before", " " + text, np.arange(-1, len(text)).clip(0)
        head, space, rest = text.lstrip().partition(" ")
        if space and rest:
            start = text.index(head) + len(head)
            yield "without the first word", text[start:], np.arange(start, len(text))


def _read(
    view: str,
    said: str,
    offsets: NDArray[np.int64] | None,
    tokenizer: TextTokenizer,
    setting: Setting,
) -> Reading:
    ids, places = tokenizer.read(said)
    if offsets is not None and len(offsets):
        last = len(offsets) - 1
        places = [
            (int(offsets[min(a, last)]), int(offsets[min(max(a, b - 1), last)]) + 1)
            for a, b in places
        ]
    prompt = setting.prompt_ids
    if setting.prompt:
        prompt = tokenizer.encode(setting.prompt)
    reading = Reading(
        np.asarray(ids, dtype=np.uint32), 0, tokenizer.digest, view, places
    )
    return _behind(reading, prompt)


def _behind(reading: Reading, prompt: Sequence[int]) -> Reading:
    """The same reading with the ids of a prompt before it."""
    ids = np.concatenate([np.asarray(prompt, np.uint32), reading.ids])
    return Reading(ids, len(prompt), reading.tokenizer, reading.view, reading.places)
