"""What the logits processors of transformers share: a protocol, rows, small checks.

transformers builds one processor for each `generate()` and calls it with the ids so
far, (batch, length), and the scores of the next token, float32 (batch, vocab). Sampling
calls it once a token. Assisted decoding calls it for every token of a draft, and again
from the first one that was rejected: what is kept here is kept by position, and a call
at an earlier position forgets what came after it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from watermark import kernels
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


class Rows:
    """One batch: which tokens the key chooses, row by row.

    The nonce of a row comes from the generator's state and the row's number: a row's
    mark does not depend on how many rows there are, on the padding, or on what is in
    the others; the same prompt as another row of the batch gives another text.

    Attributes:
        start: tokens of the prompt, padding included.
        messages: what each row carries.
        nonces: of each row.
        decided: what `step` decided last.
    """

    def __init__(
        self,
        record: KeyRecord,
        seed: bytes,
        input_ids: torch.Tensor,
        payload: bytes | None = None,
    ) -> None:
        """Take the prompts of the batch.

        Args:
            record: the key record, of `gumbel` or `tournament`.
            seed: a digest of the generator's state.
            input_ids: int64 (rows, length).
            payload: the message of every row; None: a mark id of its own for each.
        """
        batch, self.start = input_ids.shape
        rows = range(batch)
        self.nonces = [gumbel.nonce(record, seed, row) for row in rows]
        self.messages = (
            [gumbel.mark_id(record, seed, row) for row in rows]
            if payload is None
            else [payload] * batch
        )
        fresh = gumbel.fresh_nats(record, payload)
        self.decided = gumbel.sequences(record, self.nonces, self.messages, fresh)
        self._width = int(record.parameters["width"])

    def step(self, input_ids: torch.Tensor, scores: torch.Tensor) -> int:
        """Decide each row's next token; in how many rows the key chooses it."""
        length = input_ids.shape[1]
        first = max(self.start, length - self._width)
        keyed = self.decided.choose(
            length - self.start, plain(input_ids[:, first:], torch.int64).numpy()
        )
        fresh = self.decided.fresh
        if fresh:
            self.decided.spend(_spent(scores, fresh))
        return keyed

    def packed(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """What `step` decided, int64 (rows,): state low, high, nonce, symbol, keyed."""
        symbols = self.decided.symbols.astype(np.int64)
        columns = (
            *self.decided.states.view(np.int64).T,
            np.asarray(self.nonces, np.int64),
            np.maximum(symbols, -1),
            symbols != kernels.FREE,
        )
        return tuple(torch.from_numpy(np.stack(columns)).to(device))


def _spent(scores: torch.Tensor, rows: list[int]) -> list[float]:
    """Nats that the next token of some rows spends."""
    if scores.is_cpu:
        return kernels.collision_nats(plain(scores, torch.float32).numpy(), rows)
    nats: list[float] = collision_nats(scores[rows]).tolist()
    return nats


def signed(call: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The same method with its signature made once.

    transformers asks every processor for its own at every step.
    """
    vars(call)["__signature__"] = inspect.signature(call)
    return call


def plain(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor as kernels read it: of `dtype`, on the CPU, contiguous."""
    if tensor.dtype is dtype and tensor.is_cpu and tensor.is_contiguous():
        return tensor
    return tensor.to("cpu", dtype).contiguous()


def keep(history: list[Any], position: int, value: Any) -> None:
    """Note `value` for a position: later ones are forgotten, skipped ones are None."""
    del history[position:]
    history += [None] * (position - len(history))
    history.append(value)


def columns(history: list[Any], blank: int) -> torch.Tensor:
    """What `keep` has noted, each (rows,), as (rows, positions); None as `blank`."""
    nothing = torch.full_like(torch.as_tensor(history[-1]), blank)
    found = [nothing if one is None else torch.as_tensor(one) for one in history]
    return torch.stack(found, dim=1).cpu()


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


def check_scores(
    scores: torch.Tensor, input_ids: torch.Tensor, record: KeyRecord
) -> None:
    """Refuse scores that are not those of the model that was attached.

    Raises:
        InvalidSignal: they are on another device than the ids.
        VocabularyMismatch: they are not as wide as the record says.
    """
    if scores.device != input_ids.device:
        raise InvalidSignal(
            f"the scores are on {scores.device}, the ids on {input_ids.device}: "
            "another logits processor moved them"
        )
    if record.vocab_size is not None and scores.shape[-1] != record.vocab_size:
        raise VocabularyMismatch(
            f"the logits are {scores.shape[-1]} wide, the key record says "
            f"{record.vocab_size}: the model changed after attach(); attach it again"
        )


def fit(scores: torch.Tensor) -> torch.Tensor:
    """Whether each row can be sampled, bool: no NaN or +inf, and something finite."""
    return torch.isfinite(scores.amax(-1))  # NaN is the largest to amax


def check_fit(usable: torch.Tensor) -> None:
    """Raise InvalidSignal where a row cannot be sampled."""
    if not bool(usable.all()):
        raise InvalidSignal(
            "the logits hold NaN or +inf, or nothing finite: the model or an earlier "
            "logits processor is broken"
        )


def forced(scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Scores that leave one token of each row: 0 for it, -inf for every other."""
    return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


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
