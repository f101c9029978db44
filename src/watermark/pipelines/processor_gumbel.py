"""The logits processor of `gumbel`: -inf everywhere but the token the key chooses."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from watermark.errors import NotMarked
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
    lengths,
    plain,
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
    # On a device: by position, what the key chose.
    _chosen: list[torch.Tensor | None] = field(default_factory=list, repr=False)
    _fit: torch.Tensor | None = field(default=None, repr=False)

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
            rows = self._rows = Rows(self.record, self.seed, input_ids, self.payload)
            self.start, self.messages = rows.start, rows.messages
            if self.on_device is None:
                self.on_device = not scores.is_cpu
        self.steps += 1
        if self.on_device:
            return self._on_device(rows, input_ids, scores)
        # One call of one kernel: between two steps of a model Python and numpy have
        # left the processor's caches, and every line costs a microsecond or two.
        ids, out = plain(input_ids, torch.int64), plain(scores, torch.float32)
        if out is scores and not self.in_place:
            out = scores.clone()
        keyed = gumbel.force(rows.decided, self.start, ids, out)
        return out.to(scores) if keyed else scores

    def _on_device(
        self, rows: Rows, input_ids: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        """The same with tensors: only ids come to the host, and nothing is waited for.

        States are made on the host: a hash of some hundred operations on a few bytes
        would start as many kernels. A broken row cannot raise here, and must not reach
        the sampler, which would stop the device: it is given token 0 until `verify`.
        """
        keyed = rows.step(input_ids, scores)
        usable = fit(scores)
        self._fit = usable if self._fit is None else self._fit & usable
        low, high, nonce, symbol, marked = rows.packed(scores.device)
        token = torch.zeros_like(nonce)
        if keyed:
            token, _ = device.gumbel_select(scores.float(), low, high, nonce, symbol)
        marked = marked.bool()
        chosen = torch.where(marked, token, -1)
        keep(self._chosen, input_ids.shape[1] - self.start, chosen)
        return torch.where((marked | ~usable)[:, None], forced(scores, token), scores)

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share of each row's new tokens that the key chose, after checking them.

        Raises:
            InvalidSignal: scores on an accelerator could not be sampled.
            NotMarked: a token in the output is not the one the key chose.
        """
        if self._fit is not None:
            check_fit(self._fit)
        new = sequences[:, self.start :]
        chosen = self._all_chosen()
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

    def _all_chosen(self) -> torch.Tensor:
        if self._rows is None or self.on_device:
            return columns(self._chosen, blank=-1)
        return torch.from_numpy(self._rows.decided.tokens)
