"""The logits processor of `tournament`: log-probabilities after the keyed rounds.

The host samples from them with its own randomness, so drafts of assisted decoding are
accepted and rejected as ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from watermark.kernels import device
from watermark.keys import KeyRecord
from watermark.pipelines.processor import (
    Rows,
    check_fit,
    check_scores,
    columns,
    coverage,
    fit,
    forced,
    keep,
    signed,
)
from watermark.schemes import gumbel, tournament


@dataclass(slots=True)
class TournamentProcessor:
    """Runs the tournament of every context that the key may use.

    Attributes:
        record: the key record.
        seed: a digest of the generator's state: nonces come from it.
        on_device: run it where the scores are; None: where that is not the CPU.
    """

    record: KeyRecord
    seed: bytes = field(repr=False)
    on_device: bool | None = None
    start: int = 0
    steps: int = 0
    messages: list[bytes] = field(default_factory=list)
    _rows: Rows | None = field(default=None, repr=False)
    _fit: torch.Tensor | None = field(default=None, repr=False)
    # By position, whether each row's rounds could change anything.
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
        rows = self._rows
        if rows is None:
            rows = self._rows = Rows(self.record, self.seed, input_ids)
            self.start, self.messages = rows.start, rows.messages
            if self.on_device is None:
                self.on_device = not scores.is_cpu
        self.steps += 1
        keyed = rows.step(input_ids, scores)
        step = self._step_on_device if self.on_device else self._step_on_host
        out, several = step(rows, keyed, scores)
        keep(self._open, input_ids.shape[1] - self.start, several)
        return out

    def _step_on_host(
        self, rows: Rows, keyed: int, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        check_fit(fit(scores))
        several = torch.zeros(len(scores), dtype=torch.bool)
        if not keyed:
            return scores, several
        given = scores.to(torch.float32).contiguous().numpy()
        out = scores.to(torch.float32, copy=True).contiguous()
        for row, choice in enumerate(gumbel.choices(rows.decided, rows.nonces)):
            if choice is not None:
                new = tournament.reweigh(
                    given[row], choice.state, choice.nonce, self.record
                )
                out[row] = torch.from_numpy(new)
                several[row] = bool(new.max() < 0)  # no one token has it all
        return out.to(scores.dtype), several

    def _step_on_device(
        self, rows: Rows, keyed: int, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with tensors; a broken row is given token 0 until `verify`.

        Sums are taken in another order than on the host, so probabilities agree to
        rounding only.
        """
        usable = fit(scores)
        self._fit = usable if self._fit is None else self._fit & usable
        several = torch.zeros_like(usable)
        out = scores
        if keyed:
            low, high, nonce, _, marked = rows.packed(scores.device)
            layers = int(self.record.parameters["layers"])
            p = scores.to(torch.float64).softmax(1)
            p = device.tournament_scale(p, low, high, nonce, layers).clamp(min=0)
            new = p.log().to(scores.dtype)
            several = marked.bool() & (new.amax(1) < 0)  # no one token has it all
            out = torch.where(marked.bool()[:, None], new, scores)
        nothing = torch.zeros_like(usable, dtype=torch.int64)
        return torch.where(usable[:, None], out, forced(out, nothing)), several

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share of each row's new tokens that were sampled after a tournament.

        Raises:
            InvalidSignal: scores on an accelerator could not be sampled.
            NotMarked: the output has tokens that were never asked for.
        """
        if self._fit is not None:
            check_fit(self._fit)
        several = columns(self._open, blank=0)
        return coverage(several, sequences[:, self.start :], padding)
