"""What the logits processors of transformers share: a protocol, rows, small checks.

transformers builds one processor for each `generate()` and calls it with the ids so
far, (batch, length), and the scores of the next token, float32 (batch, vocab). Sampling
calls it once a token. Assisted decoding calls it for every token of a draft, and again
from the first one that was rejected: what is kept here is kept by position, and a call
at an earlier position forgets what came after it.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.errors import InvalidSignal, NotMarked, VocabularyMismatch
from watermark.keys import KeyRecord
from watermark.schemes import gumbel


class Processor(Protocol):
    """The processor of one scheme."""

    record: KeyRecord
    start: int  # tokens of the prompt, padding included
    steps: int
    messages: list[bytes]  # what each row carries; empty for presence alone

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """One step: float32 scores (batch, vocab) in, the same out."""

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share in [0, 1] of each row's new tokens that were marked, after checks.

        Args:
            sequences: int64 (rows, length), what `generate` returned, on the CPU.
            padding: the token that fills rows which ended early.

        Raises:
            InvalidSignal: scores of an accelerator could not be sampled.
            NotMarked: the output is not what the processor made of the scores.
        """


@dataclass(slots=True)
class Rows:
    """The sequencers of one batch: which tokens the key chooses, row by row.

    The nonce of a row comes from the generator's state and the row's number: a row's
    mark does not depend on how many rows there are, on the padding, or on what is in
    the others; the same prompt as another row of the batch gives another text.
    """

    record: KeyRecord
    seed: bytes = field(repr=False)
    payload: bytes | None = None  # None: a mark id of its own for each row
    start: int = 0
    width: int = 0
    messages: list[bytes] = field(default_factory=list)
    nonces: list[int] = field(default_factory=list, repr=False)
    _sequencers: list[gumbel.Sequencer] = field(default_factory=list, repr=False)
    _spent: list[list[float]] = field(default_factory=list, repr=False)  # by position

    def begin(self, input_ids: torch.Tensor) -> None:
        """Take the prompts of the batch."""
        batch, self.start = input_ids.shape
        record, seed, rows = self.record, self.seed, range(batch)
        self.width = int(record.parameters["width"])
        self.nonces = [gumbel.nonce(record, seed, row) for row in rows]
        if self.payload is None:
            self.messages = [gumbel.mark_id(record, seed, row) for row in rows]
        else:
            self.messages = [self.payload] * batch
        self._sequencers = self._fresh()
        self._spent = [[0.0] * batch]

    def step(
        self, input_ids: torch.Tensor, scores: torch.Tensor
    ) -> list[gumbel.Choice | None]:
        """What chooses each row's next token; None: sample it freely."""
        position = input_ids.shape[1] - self.start
        # Tokens that a loop adds without asking cost their rows no randomness.
        self._spent += [self._spent[-1]] * (position + 1 - len(self._spent))
        if position < len(self._spent) - 1:
            self._go_back(position, input_ids)
        spent = self._spent[position]
        self._spent.append(_spend(spent, scores))
        first = max(self.start, input_ids.shape[1] - self.width)
        return [
            sequencer.choose(tokens, nats)
            for sequencer, tokens, nats in zip(
                self._sequencers, tail(input_ids, first), spent, strict=True
            )
        ]

    def _fresh(self) -> list[gumbel.Sequencer]:
        return [
            gumbel.Sequencer(self.record, nonce, message)
            for nonce, message in zip(self.nonces, self.messages, strict=True)
        ]

    def _go_back(self, position: int, input_ids: torch.Tensor) -> None:
        """Be as before the token at `position` was asked for, on these ids."""
        del self._spent[position + 1 :]
        self._sequencers = self._fresh()
        outputs = tail(input_ids, self.start)
        for row, sequencer in enumerate(self._sequencers):
            for end in range(position):
                recent = outputs[row][max(0, end - self.width) : end]
                sequencer.choose(recent, self._spent[end][row])


def _spend(spent: list[float], scores: torch.Tensor) -> list[float]:
    """Nats spent by each row once the next token is sampled, until its mark starts."""
    if min(spent) >= gumbel.FRESH_NATS:
        return spent
    fresh = [row for row, nats in enumerate(spent) if nats < gumbel.FRESH_NATS]
    some = scores if len(fresh) == len(spent) else scores[fresh]
    after = list(spent)
    for row, nats in zip(fresh, collision_nats(some).tolist(), strict=True):
        after[row] += nats
    return after


def signed(call: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The same method with its signature made once.

    transformers asks every processor for its own at every step.
    """
    vars(call)["__signature__"] = inspect.signature(call)
    return call


def tail(ids: torch.Tensor, first: int) -> list[list[int]]:
    """The ids (rows, length) from column `first` on."""
    # A slice of an array takes a tenth of the time that one of a tensor takes.
    host: Any = ids.numpy() if ids.device.type == "cpu" else ids
    rows: list[list[int]] = host[:, first:].tolist()
    return rows


def on_host(scores: torch.Tensor) -> NDArray[np.float32]:
    """Scores on the CPU as rows of float32: their own memory where they are that."""
    if scores.dtype is not torch.float32 or not scores.is_contiguous():
        scores = scores.to(torch.float32).contiguous()
    rows: NDArray[np.float32] = scores.numpy()
    return rows


def keep(
    history: list[torch.Tensor], position: int, value: torch.Tensor, blank: int
) -> None:
    """Note `value` for a position: later ones are forgotten, skipped ones are blank."""
    del history[position:]
    while len(history) < position:
        history.append(torch.full_like(value, blank))
    history.append(value)


def collision_nats(scores: torch.Tensor) -> torch.Tensor:
    """``-log sum p**2`` of softmaxed scores along the last axis, float32."""
    wide = scores.to(torch.float32)
    # exp(-40) counts for nothing, and unlike exp(-inf) it takes no slow path.
    weight = (wide - wide.amax(-1, keepdim=True)).clamp_(min=-40).exp_()
    total = weight.sum(-1)
    return 2 * total.log() - weight.square_().sum(-1).log()


def entropy(scores: torch.Tensor) -> torch.Tensor:
    """``-sum p log p`` of softmaxed scores along the last axis, nats, float64."""
    p = scores.to(torch.float64).softmax(-1)
    return -torch.xlogy(p, p).sum(-1)


def check_width(scores: torch.Tensor, record: KeyRecord) -> None:
    """Raise VocabularyMismatch where the scores are not as wide as the record says."""
    if record.vocab_size is not None and scores.shape[-1] != record.vocab_size:
        raise VocabularyMismatch(
            f"the logits are {scores.shape[-1]} wide, the key record says "
            f"{record.vocab_size}: the model changed after attach(); attach it again"
        )


def fit(scores: torch.Tensor) -> torch.Tensor:
    """Whether each row can be sampled, bool: no NaN or +inf, and something finite."""
    return torch.isfinite(scores.amax(-1))  # NaN is the largest to amax


def check_fit(usable: torch.Tensor | np.bool) -> None:
    """Raise InvalidSignal where a row cannot be sampled."""
    if not bool(usable.all()):
        raise InvalidSignal(
            "the logits hold NaN or +inf, or nothing finite: the model or an earlier "
            "logits processor is broken"
        )


def forced(scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Scores that leave one token of each row: 0 for it, -inf for every other."""
    return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


def packed(states: Sequence[bytes | None]) -> torch.Tensor:
    """States as int64 (2, batch), low and high halves; zeros for None."""
    halves = [struct.unpack("<qq", state or bytes(16)) for state in states]
    return torch.tensor(halves, dtype=torch.int64).T.contiguous()


def lengths(new: torch.Tensor, padding: int | None) -> torch.Tensor:
    """Tokens of each row before the padding that follows its end, int64 (rows,)."""
    if padding is None or new.shape[1] == 0:
        return torch.full((new.shape[0],), new.shape[1])
    position = torch.arange(1, new.shape[1] + 1)
    return ((new != padding) * position).max(1).values


def coverage(
    marked: torch.Tensor, new: torch.Tensor, padding: int | None
) -> list[float]:
    """Share of each row's tokens that were marked.

    Args:
        marked: bool or float (rows, asked), by position; more than `new` has is cut.
        new: int64 (rows, length), the tokens of the output.
        padding: the token that fills rows which ended early.

    Raises:
        NotMarked: the output has rows or tokens that were never asked for.
    """
    if marked.shape[0] != new.shape[0] or marked.shape[1] < new.shape[1]:
        raise NotMarked(
            f"{marked.shape[1]} tokens of {marked.shape[0]} rows were asked for, but "
            f"the output has {new.shape[1]} of {new.shape[0]}"
        )
    length = lengths(new, padding)
    alive = torch.arange(new.shape[1])[None, :] < length[:, None]
    share = (marked[:, : new.shape[1]] * alive).sum(1) / length.clamp(min=1)
    return [float(x) for x in share]
