"""The logits processors of llama.cpp: numpy in, numpy out, for one sequence each.

llama.cpp calls a logits processor on raw logits, before its own sampling chain
(penalties, grammar, top-k, typical, top-p, min-p, temperature). `greenlist` adds its
bias there. `gumbel` needs the distribution that is sampled from, so its processor
applies top-k, top-p, min-p and temperature itself, in that order, and leaves the chain
one candidate.

`watermark.pipelines.llama_cpp.attach` makes them for every call; by hand it is::

    processor = GumbelProcessor(record, Sampling(top_p=0.9), seed=b"request 17")
    llm(prompt, top_p=0.9, logits_processor=LogitsProcessorList([processor]))
    processor.check()

llama.cpp calls them through ctypes, which prints an exception and samples on: errors
wait in the processor until `check`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from watermark import kernels
from watermark.errors import (
    InvalidSignal,
    NotMarked,
    UnsupportedPipeline,
    VocabularyMismatch,
)
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes import greenlist, gumbel

Ids = NDArray[np.intc]
Logits = NDArray[np.float32]
FEW = 1024  # candidates that nearly every nucleus fits in


@dataclass(frozen=True, slots=True)
class Sampling:
    """The part of llama.cpp's sampling chain that `gumbel` applies itself.

    Attributes:
        temperature: above 0.
        top_k: candidates kept; 0 or less keeps all.
        top_p: nucleus, on the distribution at temperature 1; 1 keeps all.
        min_p: least probability relative to the best one; 0 keeps all.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05

    def __post_init__(self) -> None:
        """Check the temperature.

        Raises:
            UnsupportedPipeline: it is not above 0: there is no choice to key.
        """
        if not self.temperature > 0:
            raise UnsupportedPipeline(
                f"temperature is {self.temperature}, expected more than 0: greedy "
                "decoding takes no random choices that 'gumbel' could key. Use "
                "scheme='greenlist'"
            )

    def apply(self, logits: Logits) -> Logits:
        """The logits that are sampled from: float32 (vocab,), -inf outside.

        In llama.cpp's order: top-k, top-p, min-p, temperature. Ties at the edge of
        top-k may fall differently, as they do between builds of llama.cpp.

        Raises:
            InvalidSignal: NaN or +inf in the row, or nothing finite.
        """
        top = float(logits.max(initial=-np.inf))
        if not np.isfinite(top):
            raise InvalidSignal(
                f"the largest logit is {top}: the model or an earlier logits processor "
                "is broken, and nothing was sampled from it"
            )
        kept = np.flatnonzero(logits > -np.inf)
        if 0 < self.top_k < kept.size:
            best = np.argpartition(logits[kept], -self.top_k)[-self.top_k :]
            kept = kept[best]
        if self.top_p < 1:
            kept = kept[_nucleus(logits[kept] - top, self.top_p)]
        if self.min_p > 0:
            kept = kept[logits[kept] >= top + np.log(self.min_p)]
        out = np.full_like(logits, -np.inf)
        out[kept] = logits[kept] / np.float32(self.temperature)
        return out


def _nucleus(logits: Logits, top_p: float) -> NDArray[np.intp]:
    """Positions of the likeliest tokens that reach `top_p` together, at least one."""
    p = np.exp(logits.astype(np.float64))
    wanted = top_p * p.sum()
    few = np.arange(logits.size)
    if logits.size > FEW:  # sorting a whole vocabulary would take most of the step
        best = np.argpartition(logits, -FEW)[-FEW:]
        if p[best].sum() >= wanted:
            few = best
    order = few[np.argsort(-logits[few], kind="stable")]
    reached = np.searchsorted(np.cumsum(p[order]), wanted)
    return order[: reached + 1]


@dataclass(slots=True)
class Processor:
    """What the processors of both schemes share: start, checks, and kept errors."""

    record: KeyRecord
    steps: int = field(default=0, init=False)
    marked: int = field(default=0, init=False)
    payload: bytes = field(default=b"", init=False)
    _start: int = field(default=-1, init=False, repr=False)
    _length: int = field(default=-1, init=False, repr=False)
    _checked: int = field(default=0, init=False, repr=False)
    _problem: Exception | None = field(default=None, init=False, repr=False)

    def __call__(self, input_ids: Ids, scores: Logits) -> Logits:
        """One step: ids so far (tokens,) and raw scores (vocab,) in, scores out."""
        try:
            row = np.ascontiguousarray(scores, dtype=np.float32)
            output = self._output(input_ids, row)
            self.steps += 1
            return self.step(output, row)
        except Exception as error:  # whatever it is, this step carries no mark
            self._problem = self._problem or error
            raise

    def _output(self, input_ids: Ids, row: Logits) -> list[int]:
        """The last tokens of the output so far, as many as a context may hold."""
        if self.record.vocab_size is not None and row.shape != (
            self.record.vocab_size,
        ):
            raise VocabularyMismatch(
                f"the logits have shape {row.shape}, the key record says "
                f"{self.record.vocab_size}: this is another model's key record"
            )
        if self._start < 0:
            self._start = len(input_ids)
        if len(input_ids) <= self._length:
            raise NotMarked(
                f"found {len(input_ids)} tokens after a step with {self._length}: a "
                "processor marks one sequence, token by token. Make one for each"
            )
        self._length = len(input_ids)
        width = int(self.record.parameters["width"])
        output: list[int] = input_ids[self._start :][-width:].tolist()
        return output

    def step(self, output: list[int], row: Logits) -> Logits:
        """The scores to sample from, after the last tokens of `output`."""
        raise NotImplementedError

    def check(self, token: int | None = None) -> None:
        """Raise what went wrong; with `token`, the one sampled last, check it too.

        Raises:
            WatermarkError: what a step met.
            NotMarked: no step was taken since the last check.
        """
        if self._problem is not None:
            raise self._problem
        if self.steps == self._checked:
            raise NotMarked(
                "a token was sampled without calling the watermark: another logits "
                "processor failed, or the host dropped ours"
            )
        self._checked = self.steps

    @property
    def coverage(self) -> float:
        """Share in [0, 1] of the tokens sampled so far that the key had a say in."""
        return self.marked / max(1, self.steps)


class GumbelProcessor(Processor):
    """The logits processor of `gumbel`: -inf everywhere but the chosen token.

    Steps that are sampled freely (the fresh prefix, repeated contexts) go back as they
    came: the host's own chain samples them, with the settings in `sampling`.
    """

    __slots__ = ("_chosen", "_sequencer", "_spent", "sampling")

    def __init__(
        self,
        record: KeyRecord,
        sampling: Sampling,
        *,
        seed: bytes,
        payload: bytes | None = None,
    ) -> None:
        """A processor for one sequence.

        Args:
            record: key record of `gumbel`.
            sampling: what the host is asked to sample with.
            seed: the state of the host's generator, or anything that differs between
                sequences: the nonce (and mark id) come from it.
            payload: the message; None: a mark id of this sequence's own, where the
                record has `payload_bits`.
        """
        super().__init__(record)
        self.sampling = sampling
        fresh = gumbel.fresh_nats(record, payload)
        if payload is None:
            payload = gumbel.mark_id(record, seed, 0)
        self.payload = payload
        nonce = gumbel.nonce(record, seed, 0)
        self._sequencer = gumbel.Sequencer(record, nonce, payload, fresh)
        self._spent = 0.0
        self._chosen: int | None = None

    def step(self, output: list[int], row: Logits) -> Logits:
        """-inf everywhere but the chosen token, or the row as it came."""
        self._chosen = None
        fresh = self._spent < self._sequencer.fresh
        choice = self._sequencer.choose(output, self._spent)
        if choice is None and not fresh:
            return row
        sampled = self.sampling.apply(row)
        if fresh:
            [nats] = kernels.collision_nats(sampled[None], [0])
            self._spent += nats
        if choice is None:
            return row
        self._chosen = gumbel.select(sampled, *choice)
        self.marked += 1
        only = np.full_like(row, -np.inf)
        only[self._chosen] = 0.0
        return only

    def check(self, token: int | None = None) -> None:
        """As in the base; the token must be the one the key chose, if it chose one."""
        super().check(token)
        if token is not None and self._chosen not in (None, token):
            raise NotMarked(
                f"token {token} was sampled where the key chose {self._chosen}: "
                "something after the watermark changed the scores"
            )


class GreenlistProcessor(Processor):
    """The logits processor of `greenlist`: delta added to green logits.

    It comes before the temperature, so a green token gains delta / temperature nats.
    """

    __slots__ = ("_key",)

    def __init__(self, record: KeyRecord) -> None:
        super().__init__(record)
        self._key = context_key(record)

    def step(self, output: list[int], row: Logits) -> Logits:
        """The row with delta added to its green logits."""
        state = greenlist.state(self.record, output, key=self._key)
        if state is None:
            return row
        biased = row.copy()
        self.marked += greenlist.bias(biased, state, self.record) > 1
        return biased
