"""What a call of transformers' `generate` will do, and whether a scheme can mark it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch

from watermark.errors import InvalidSignal, UnsupportedPipeline, VocabularyMismatch
from watermark.keys import KeyRecord
from watermark.pipelines.processor import Processor
from watermark.pipelines.processor_greenlist import GreenlistProcessor
from watermark.pipelines.processor_gumbel import GumbelProcessor
from watermark.pipelines.processor_tournament import TournamentProcessor
from watermark.schemes import greenlist, gumbel, tournament

SCHEMES = (gumbel.SCHEME.name, tournament.SCHEME.name, greenlist.SCHEME.name)
# Generation modes whose every token is drawn from, or chosen by, the scores we return.
_MODES = {
    "sample",
    "greedy_search",
    "beam_search",
    "beam_sample",
    "assisted_generation",
}
# Arguments of `generate` that are no setting of its generation config.
_NOT_SETTINGS = {
    "generation_config",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "streamer",
    "assistant_model",
    "assistant_tokenizer",
    "tokenizer",
    "custom_generate",
    "synced_gpus",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
}


def named(
    base: Any, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """A call of `generate` with every argument by its name."""
    bound = inspect.signature(base.generate).bind(model, *args, **kwargs).arguments
    call = {k: v for k, v in bound.items() if k not in ("self", "kwargs")}
    return {**call, **bound.get("kwargs", {})}


def settings(base: Any, model: Any, call: dict[str, Any]) -> Any:
    """The generation config that this call will run with.

    Raises:
        UnsupportedPipeline: the call has another watermark in it.
    """
    given = call.get("generation_config")
    own = given if given is not None else model.generation_config
    if own.watermarking_config is not None or call.get("watermarking_config"):
        raise UnsupportedPipeline(
            "this call has a watermarking_config of its own; two marks would disturb "
            "each other. Remove it, or detach()"
        )
    rest = {k: v for k, v in call.items() if k not in _NOT_SETTINGS}
    config, _ = base._prepare_generation_config(model, copy.deepcopy(given), **rest)
    return config


def unsupported(scheme: str, config: Any, call: dict[str, Any]) -> str | None:
    """Why a call with these settings cannot be marked, or None.

    Args:
        scheme: name of the scheme.
        config: what `settings` returned.
        call: what `named` returned.
    """
    if call.get("custom_generate") is not None:
        return "custom_generate= replaces the decoding loop"
    if config.cache_implementation == "paged":
        return "paged continuous batching drops our processor"
    mode = str(config.get_generation_mode(call.get("assistant_model")).value)
    if config.do_sample and config.top_k == 1:
        return "top_k=1 leaves one candidate, so there is no choice to key"
    if scheme != greenlist.SCHEME.name and (
        not config.do_sample or mode not in ("sample", "assisted_generation")
    ):
        return (
            f"{mode} decoding takes no random choices that {scheme!r} could key; use "
            "do_sample=True with num_beams=1, or attach(..., scheme='greenlist')"
        )
    if mode not in _MODES:
        return f"{mode} decoding replaces the decoding loop"
    return _unsound_draft(config, call) if mode == "assisted_generation" else None


def _unsound_draft(config: Any, call: dict[str, Any]) -> str | None:
    """Why the drafts of assisted decoding would cost the mark, or None.

    Drafts are checked against the marked scores, so what is returned has their
    distribution, and is the keyed token where there is one: whoever drafted.
    """
    assistant = call.get("assistant_model")
    if getattr(config, "assistant_ensemble_weight", None) is not None:
        return "assistant_ensemble_weight lets unmarked drafts through"
    if call.get("assistant_tokenizer") is not None:
        return "drafts of another tokenizer are not checked token by token"
    for name in ("assistant_early_exit", "use_mtp", "speculation_type"):
        if getattr(config, name, None):
            return f"{name} drafts with the model itself, which is attached"
    if getattr(type(assistant), "_watermark_attachment", None) is not None:
        return "the assistant model is attached itself: detach() it"
    return None


def candidates(
    base: Any, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The source of drafts, which forbids none of what the key may choose.

    Prompt lookup asks the processors, with made-up scores, what they forbid: ours would
    forbid nearly every draft, since it is to be the judge of the real ones.
    """
    processors = kwargs.get("logits_processor")
    config = kwargs.get("generation_config")
    if processors and getattr(config, "prompt_lookup_num_tokens", None) is not None:
        ours = (GreenlistProcessor, GumbelProcessor, TournamentProcessor)
        others = [p for p in processors if not isinstance(p, ours)]
        kwargs = {**kwargs, "logits_processor": type(processors)(others)}
    return base._get_candidate_generator(model, *args, **kwargs)


def check_ids(model: Any, call: dict[str, Any]) -> None:
    """Refuse a text prompt without values, or with ids the model does not know.

    On an accelerator such an id stops the device for good.

    Raises:
        InvalidSignal: a tensor on the meta device.
        VocabularyMismatch: an id outside the vocabulary.
    """
    for name, value in call.items():
        if isinstance(value, torch.Tensor) and value.is_meta:
            raise InvalidSignal(
                f"{name} is on the meta device, which holds no values; expected the "
                f"model's device, {model.device}"
            )
    text = model.config.get_text_config()
    if text is not model.config:  # placeholders of pictures are beyond the vocabulary
        return
    for name in ("inputs", "input_ids", "decoder_input_ids"):
        ids = call.get(name)
        if not isinstance(ids, torch.Tensor) or ids.is_floating_point():
            continue
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= text.vocab_size):
            raise VocabularyMismatch(
                f"{name} holds ids from {int(ids.min())} to {int(ids.max())}, the "
                f"model's vocabulary is 0 to {text.vocab_size - 1}: the tokenizer is "
                "another model's"
            )


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Tell in our words what torch says of probabilities that it cannot sample.

    Raises:
        InvalidSignal: the model or a logits processor made NaN or infinity.
    """
    try:
        yield
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise InvalidSignal(
            "the logits hold NaN or +inf, or nothing finite: the model or a logits "
            "processor is broken"
        ) from error


def with_config(call: dict[str, Any], config: Config) -> dict[str, Any]:
    """The same call with our configuration in it; the caller's objects stay theirs."""
    if call.get("generation_config") is None:
        return {**call, "watermarking_config": config}
    own = copy.deepcopy(call["generation_config"])
    own.watermarking_config = config
    return {**call, "generation_config": own}


def padding(config: Any) -> int | None:
    """The token that fills finished rows, as transformers chooses it."""
    if config.pad_token_id is not None:
        return int(config.pad_token_id)
    eos = config.eos_token_id
    return None if eos is None else int(np.atleast_1d(eos)[0])


def generator_state(model: Any) -> bytes:
    """A digest of the generator that will sample, so that seeds reproduce nonces."""
    if model.device.type == "cuda":
        state = torch.cuda.get_rng_state(model.device)
    elif model.device.type == "mps":
        state = torch.mps.get_rng_state()
    else:
        state = torch.get_rng_state()
    return hashlib.sha256(state.numpy().tobytes()).digest()


class Config:
    """Rides as `watermarking_config`: duck-typed, deep-copies to itself, no secret."""

    def __init__(
        self,
        record: KeyRecord,
        seed: bytes,
        *,
        payload: bytes | None = None,
        in_place: bool = False,
        beams: bool = False,
    ) -> None:
        """Made for one call of `generate`.

        Args:
            record: the key record.
            seed: a digest of the generator's state.
            payload: the message of every output; None: a mark id for each.
            in_place: nobody else holds the scores that the processor is given.
            beams: rows of the batch change places.
        """
        self._record = record
        self._seed = seed
        self._payload = payload
        self._in_place = in_place
        self._beams = beams
        self.processor: Processor | None = None

    def validate(self) -> None:
        """Parameters were checked when the key record was made."""

    def construct_processor(self, vocab_size: int, device: Any) -> Any:
        """Called by transformers once per `generate()`, and once for each draft.

        A draft is made with the processors of the model it is for, so it has ours
        already: it is marked as that model's output will be, and accepted more often.
        """
        if self.processor is not None:
            return _unchanged
        if self._record.scheme == greenlist.SCHEME.name:
            self.processor = GreenlistProcessor(
                self._record, in_place=self._in_place, beams=self._beams
            )
        elif self._record.scheme == gumbel.SCHEME.name:
            self.processor = GumbelProcessor(
                self._record, self._seed, self._payload, in_place=self._in_place
            )
        else:
            self.processor = TournamentProcessor(self._record, self._seed)
        return self.processor

    def to_dict(self) -> dict[str, Any]:
        """The key record, without its secret."""
        return self._record.to_dict()

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"watermark {self._record.scheme} {self._record.kid}"


def _unchanged(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return scores
