"""Readings: the ways to read an asset as token ids, each a hypothesis to be counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.assets.loading import Asset
from watermark.assets.normalise import normalise
from watermark.errors import TokenizerMismatch
from watermark.report import Reason
from watermark.tokenizer import TextTokenizer
from watermark.verification.setting import Findings, Setting


@dataclass(frozen=True)
class Reading:
    """One way to read a text. It is read when it is asked for.

    Attributes:
        said: the text as it is read, or the ids where they were given.
        view: what was done to the text before, or "".
        by: what reads it; None: the ids were given.
        prompt: that comes before, text or ids: its contexts do not count.
        origins: for each character of `said` that of the original; None: the same.
    """

    said: str | NDArray[np.uint32] = field(repr=False)
    view: str = ""
    by: TextTokenizer | None = None
    prompt: str | Sequence[int] = field(default=(), repr=False)
    origins: NDArray[np.int32] | None = field(default=None, repr=False)

    @property
    def tokenizer(self) -> str:
        """Digest of what reads it, or "": the ids were given."""
        return "" if self.by is None else self.by.digest

    @cached_property
    def skip(self) -> int:
        """How many ids are the prompt's."""
        return len(self._before)

    @cached_property
    def ids(self) -> NDArray[np.uint32]:
        """Token ids of the prompt, where one is known, and of the text."""
        own: Any = self.said
        if self.by is not None and isinstance(self.said, str):
            own = self.by.encode(self.said)
        return np.concatenate([self._before, np.asarray(own, np.uint32)])

    @cached_property
    def _before(self) -> NDArray[np.uint32]:
        ids: Any = self.prompt
        if self.by is not None and isinstance(self.prompt, str):
            ids = self.by.encode(self.prompt)
        return np.asarray(ids, np.uint32)

    @cached_property
    def _places(self) -> NDArray[np.int32]:
        """The characters of the original that each token covers, int32 (n, 2).

        Only a text with a passage needs them: ten million tokens have a gigabyte of
        them while they are Python's, so it is read a second time then.
        """
        if self.by is None or not isinstance(self.said, str):
            index = np.arange(len(self.said), dtype=np.int32)
            return np.stack([index, index + 1], axis=1)
        places = self.by.places(self.said)
        if self.origins is None or not len(self.origins):
            return places
        start, end = places.T
        within = np.stack([start, np.maximum(start, end - 1)], axis=1)
        last = len(self.origins) - 1
        found: NDArray[np.int32] = self.origins[np.minimum(within, last)]
        found[:, 1] += 1
        return found

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Tokens ``start..end`` (the prompt counted) as characters of the text."""
        first, last = self._places[[start - self.skip, end - self.skip - 1]]
        return int(first[0]), int(last[1])


def readings(asset: Asset, setting: Setting, found: Findings) -> list[Reading]:
    """Every reading of a text that this setting asks for.

    Raises:
        TokenizerMismatch: ids with a prompt that no one tokenizer can read.
    """
    if asset.tokens is not None:
        before: Any = setting.prompt_ids
        if setting.prompt:
            if len(setting.tokenizers) != 1:
                raise TokenizerMismatch(
                    "the prompt is text, but what is verified is token ids, and found "
                    f"{len(setting.tokenizers)} tokenizers, expected one: pass "
                    "tokenizer=, or the prompt as ids"
                )
            before = setting.tokenizers[0].encode(setting.prompt)
        return [Reading(asset.tokens, prompt=before)]
    prompt = setting.prompt or setting.prompt_ids
    views = list(_views(asset.text or "", setting, found))
    return [
        Reading(said, view, tokenizer, prompt, origins)
        for tokenizer in setting.tokenizers
        for view, said, origins in views
    ]


def _views(
    text: str, setting: Setting, found: Findings
) -> Iterator[tuple[str, str, NDArray[np.int32] | None]]:
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
        yield "normalised", plain.text, plain.offsets.astype(np.int32)
    if setting.effort == "thorough" and text:
        # An excerpt may begin within a token: one reading with the space that stood
        # before its first word, one without that word.
        index = np.arange(-1, len(text), dtype=np.int32)
        yield "with a space before", " " + text, index.clip(0)
        head, space, rest = text.lstrip().partition(" ")
        if space and rest:
            start = text.index(head) + len(head)
            yield "without the first word", text[start:], index[start + 1 :]
