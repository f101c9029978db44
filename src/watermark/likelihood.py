"""Likelihood: the probability that a language model gives each token of a text.

With it the detector weighs tokens: where the model had no choice a token says nothing,
where it had many it says much. The weights are a function of the text and the model
alone, so they never spoil a p-value; a wrong temperature or no prompt costs power.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal

_Read = tuple[NDArray[np.float64], NDArray[np.float64]]

WINDOW = 1024  # tokens that the model sees at once, if it can see as many


class Likelihood:
    """A causal transformers model, and how it was sampled from."""

    def __init__(
        self,
        model: Any,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> None:
        """Take a model.

        Args:
            model: a causal transformers model.
            temperature: that the text was sampled at; by default what the model's own
                generation config says.
            top_p: the nucleus it was sampled from; by default the same.

        Raises:
            ValueError: a temperature that is not positive, a nucleus outside (0, 1].
        """
        own = getattr(model, "generation_config", None)
        temperature = temperature or getattr(own, "temperature", None) or 1.0
        top_p = top_p or getattr(own, "top_p", None) or 1.0
        if temperature <= 0 or not 0 < top_p <= 1:
            raise ValueError(
                f"temperature {temperature} and top_p {top_p} were given, expected a "
                "positive number and one in (0, 1]"
            )
        self.temperature, self.top_p = float(temperature), float(top_p)
        self._model = model
        self._last: tuple[bytes, _Read] | None = None
        config = model.config.get_text_config()
        self.vocab_size = int(config.vocab_size)
        self._window = min(WINDOW, getattr(config, "max_position_embeddings", WINDOW))

    def probabilities(
        self, ids: NDArray[np.uint32], prompt: Sequence[int] = ()
    ) -> NDArray[np.float64]:
        """The probability of each token after those before it.

        Args:
            ids: tokens of the text, shape (n,).
            prompt: tokens before it, where they are known.

        Returns:
            float64 (n,), in (0, 1]; NaN where nothing is known: the first token of a
            text without a prompt, and a token outside the nucleus.

        Raises:
            InvalidSignal: an id outside the model's vocabulary.
        """
        return self._read(ids, prompt)[0]

    def entropies(
        self, ids: NDArray[np.uint32], prompt: Sequence[int] = ()
    ) -> NDArray[np.float64]:
        """Entropy in nats of the distribution each token was drawn from; (n,), NaN."""
        return self._read(ids, prompt)[1]

    def _read(self, ids: NDArray[np.uint32], prompt: Sequence[int]) -> _Read:
        """Both at once; the last text is kept, since several records ask for it."""
        name = ids.tobytes() + b"/" + np.asarray(prompt, np.int64).tobytes()
        if self._last is None or self._last[0] != name:
            self._last = name, self._run(ids, prompt)
        return self._last[1]

    def _run(self, ids: NDArray[np.uint32], prompt: Sequence[int]) -> _Read:
        import torch

        every = np.concatenate([np.asarray(prompt, np.int64), ids.astype(np.int64)])
        if every.size and every.max() >= self.vocab_size:
            raise InvalidSignal(
                f"found token id {every.max()}, but the model has {self.vocab_size} "
                "tokens: these are ids of another tokenizer"
            )
        chances = np.full(every.size, np.nan)
        nats = np.full(every.size, np.nan)
        tokens = torch.from_numpy(every).to(self._model.device)
        half = self._window // 2
        with torch.inference_mode():
            # Windows overlap by half, so that every token has some context.
            for start in range(0, max(1, every.size - 1), half):
                part = tokens[start : start + self._window]
                if part.numel() < 2 or (start and part.numel() <= half):
                    break
                logits = self._model(input_ids=part[None]).logits[0, :-1].float()
                p = self._truncated((logits / self.temperature).softmax(-1))
                first = 0 if start == 0 else half - 1
                own = p.gather(1, part[1:, None])[:, 0].double().cpu().numpy()[first:]
                spread = torch.special.entr(p).sum(-1).double().cpu().numpy()[first:]
                at = slice(start + 1 + first, start + part.numel())
                chances[at] = np.where(own > 0, own, np.nan)
                nats[at] = spread
        return chances[len(prompt) :], nats[len(prompt) :]

    def _truncated(self, p: Any) -> Any:
        """Chances within the nucleus, made to sum to one."""
        if self.top_p >= 1:
            return p
        order = p.sort(-1)
        below = order.values.cumsum(-1) <= 1 - self.top_p
        below[..., -1] = False
        kept = p.masked_fill(below.scatter(-1, order.indices, below), 0.0)
        return kept / kept.sum(-1, keepdim=True)
