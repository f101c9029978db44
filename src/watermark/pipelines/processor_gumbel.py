"""The logits processor of `gumbel`: -inf everywhere but the token the key chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from watermark.errors import NotMarked
from watermark.kernels import device
from watermark.keys import KeyRecord
from watermark.pipelines.processor import (
    Rows,
    check_fit,
    check_width,
    coverage,
    fit,
    forced,
    keep,
    lengths,
    on_host,
    packed,
    signed,
)
from watermark.schemes import gumbel


@dataclass(slots=True)
class GumbelProcessor:
    """Forces the keyed choice; a token without one keeps the scores it has.

    What the loop samples is the keyed token whatever it does with the scores, so drafts
    of assisted decoding are accepted where they are that token, and only there.

    Attributes:
        record: the key record.
        seed: a digest of the generator's state: nonces and mark ids come from it.
        payload: the message of every row; None: a mark id of its own for each.
        on_device: choose where the scores are; None: where that is not the CPU.
        in_place: the scores may be written over.
    """

    record: KeyRecord
    seed: bytes = field(repr=False)
    payload: bytes | None = None
    on_device: bool | None = None
    in_place: bool = False
    start: int = 0
    steps: int = 0
    messages: list[bytes] = field(default_factory=list)
    _rows: Rows | None = field(default=None, repr=False)
    _chosen: list[torch.Tensor] = field(default_factory=list, repr=False)
    _fit: torch.Tensor | None = field(default=None, repr=False)

    @signed
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """One step of generation: float32 scores (batch, vocab) in, the same out.

        Raises:
            InvalidSignal: a row on the CPU cannot be sampled.
            VocabularyMismatch: the scores are not as wide as the key record says.
        """
        check_width(scores, self.record)
        if self._rows is None:
            self._rows = Rows(self.record, self.seed, self.payload)
            self._rows.begin(input_ids)
            self.start, self.messages = self._rows.start, self._rows.messages
            if self.on_device is None:
                self.on_device = scores.device.type != "cpu"
        self.steps += 1
        choices = self._rows.step(input_ids, scores)
        step = self._on_device if self.on_device else self._on_host
        out, chosen = step(choices, scores)
        position = input_ids.shape[1] - self.start
        keep(self._chosen, position, chosen, -1)
        return out

    def _on_host(
        self, choices: Sequence[gumbel.Choice | None], scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # In arrays where it can be: between two steps of a model every kind of tensor
        # operation has left the processor's caches, and costs some 20 us.
        chosen = np.full(len(choices), -1, np.int64)
        if not any(choices):
            check_fit(fit(scores))
            return scores, torch.from_numpy(chosen)
        given = on_host(scores)
        out = given if self.in_place else given.copy()
        for row, choice in enumerate(choices):
            if choice is None:
                check_fit(np.isfinite(given[row].max()))  # NaN is the largest to max
                continue
            chosen[row] = token = gumbel.select(given[row], *choice)
            out[row].fill(-np.inf)
            out[row, token] = 0.0
        made = torch.from_numpy(out)
        return made.to(scores.dtype), torch.from_numpy(chosen)

    def _on_device(
        self, choices: Sequence[gumbel.Choice | None], scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with tensors: only ids come to the host, and nothing is waited for.

        States are made on the host: a hash of some hundred operations on a few bytes
        would start as many kernels. A broken row cannot raise here, and must not reach
        the sampler, which would stop the device: it is given token 0 until `verify`.
        """
        usable = fit(scores)
        self._fit = usable if self._fit is None else self._fit & usable
        low, high = packed([c and c.state for c in choices]).to(scores.device)
        rest = [(0, -1, 0) if c is None else (c.nonce, c.symbol, 1) for c in choices]
        nonce, symbol, keyed = torch.tensor(rest).T.to(scores.device)
        token = torch.zeros_like(nonce)
        if any(choices):
            token, _ = device.gumbel_select(scores.float(), low, high, nonce, symbol)
        marked = keyed.bool()
        out = torch.where((marked | ~usable)[:, None], forced(scores, token), scores)
        return out, torch.where(marked, token, -1)

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share of each row's new tokens that the key chose, after checking them.

        Raises:
            InvalidSignal: scores on an accelerator could not be sampled.
            NotMarked: a token in the output is not the one the key chose.
        """
        if self._fit is not None:
            check_fit(self._fit)
        new = sequences[:, self.start :]
        chosen = torch.stack(self._chosen, dim=1).cpu()
        share = coverage(chosen >= 0, new, padding)
        # What a row that ended early was asked for is no token of its own.
        own = torch.arange(new.shape[1])[None, :] < lengths(new, padding)[:, None]
        chosen = chosen[:, : new.shape[1]]
        if bool((own & (chosen >= 0) & (chosen != new)).any()):
            raise NotMarked(
                "a generated token is not the one the key chose: something after the "
                "watermark changed the scores"
            )
        return share
