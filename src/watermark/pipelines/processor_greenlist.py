"""The logits processor of `greenlist`: delta added to green logits. Stateless.

What it does to a row follows from the row's ids alone, so it marks greedy and sampled
decoding, beams that change places, and drafts that are rejected, all alike.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import torch

from watermark.kernels import device
from watermark.keys import KeyRecord
from watermark.pipelines.processor import (
    check_fit,
    check_scores,
    columns,
    coverage,
    entropy,
    fit,
    forced,
    keep,
    signed,
)
from watermark.prf import context_key
from watermark.schemes import greenlist


@dataclass(slots=True)
class GreenlistProcessor:
    """Biases every row whose output is long enough for a context.

    Attributes:
        record: the key record.
        on_device: bias where the scores are; None: where that is not the CPU.
        in_place: the scores may be written over.
        beams: rows of the batch change places, so coverage is of all rows together.
    """

    record: KeyRecord
    on_device: bool | None = None
    in_place: bool = False
    beams: bool = False
    start: int = 0
    steps: int = 0
    messages: list[bytes] = field(default_factory=list)
    _key: bytes = field(default=b"", repr=False)
    _width: int = field(default=0, repr=False)
    _fit: torch.Tensor | None = field(default=None, repr=False)
    # By position, whether each row's bias could change anything.
    _open: list[torch.Tensor] = field(default_factory=list, repr=False)

    @signed
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """One step of generation: float32 scores (batch, vocab) in, the same out.

        Raises:
            InvalidSignal: a row on the CPU cannot be sampled, or the scores are on
                another device than the ids.
            VocabularyMismatch: the scores are not as wide as the key record says.
        """
        check_scores(scores, input_ids, self.record)
        if self.steps == 0:
            self.start = input_ids.shape[1]
            self._key = context_key(self.record)
            self._width = int(self.record.parameters["width"])
            if self.on_device is None:
                self.on_device = scores.device.type != "cpu"
        self.steps += 1
        position = input_ids.shape[1] - self.start
        states = []
        if position >= self._width:
            for context in input_ids[:, -self._width :].tolist():
                state = greenlist.state(self.record, context, key=self._key)
                states += [state] if state else []
        step = self._step_on_device if self.on_device else self._step_on_host
        out, several = step(states, scores)
        keep(self._open, position, several)
        return out

    def _step_on_host(
        self, states: list[bytes], scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not states:
            check_fit(fit(scores))
            return scores, torch.zeros(scores.shape[0], dtype=torch.bool)
        out = scores.to(torch.float32, copy=not self.in_place).contiguous()
        several = []
        for row, state in zip(out.numpy(), states, strict=True):
            count = greenlist.bias(row, state, self.record)
            if count == 0:  # the gate is closed, or there is nothing to bias
                check_fit(fit(torch.from_numpy(row)))
            several.append(count > 1)
        return out.to(scores.dtype), torch.tensor(several)

    def _step_on_device(
        self, states: list[bytes], scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with tensors; a broken row is given token 0 until `verify`."""
        usable = fit(scores)
        self._fit = usable if self._fit is None else self._fit & usable
        several = torch.zeros_like(usable)
        out = scores
        if states:
            halves = [struct.unpack("<qq", state) for state in states]
            low, high = torch.tensor(halves).T.to(scores.device)
            gamma16 = int(self.record.parameters["gamma16"])
            green = device.greenlist_mask(low, high, scores.shape[1], gamma16)
            # A step with one candidate left carries nothing, whatever its colour.
            several = (scores > -torch.inf).sum(1) > 1
            gate = greenlist.gate(self.record)
            if gate:
                several = entropy(scores) > gate
                green &= several[:, None]
            out = scores + green * float(self.record.parameters["delta"])
        nothing = torch.zeros_like(usable, dtype=torch.int64)
        return torch.where(usable[:, None], out, forced(out, nothing)), several

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share of each row's new tokens that were offered with a bias.

        Raises:
            InvalidSignal: scores on an accelerator could not be sampled.
            NotMarked: the output has tokens that were never asked for.
        """
        if self._fit is not None:
            check_fit(self._fit)
        new = sequences[:, self.start :]
        marked = columns(self._open, blank=0).double()
        if self.beams:
            marked = marked.mean(0, keepdim=True).expand(new.shape[0], -1)
        return coverage(marked, new, padding)
