"""Mark what `transformers` models generate: `generate()` of any causal or seq2seq LM.

`attach` gives the model a subclass whose `generate` puts our own object into
`watermarking_config`. transformers applies it last, on the distribution that is really
sampled (after temperature, top-k and top-p), and builds a fresh processor for every
call. Nothing that a caller passes can lose the mark: what cannot be marked raises.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import warnings
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch

from watermark.assets import text as text_asset
from watermark.errors import (
    InvalidSignal,
    NotMarked,
    UnsupportedPipeline,
    VocabularyMismatch,
)
from watermark.kernels import device
from watermark.keys import KeyRecord
from watermark.pipelines.base import Attachment, OnUnsupported, Sink
from watermark.prf import context_key
from watermark.record import Mark, Record
from watermark.schemes import greenlist, gumbel

DEFAULT_SCHEME = gumbel.SCHEME.name
_SEQUENTIAL = {"sample"}  # one row stays one sequence, one token a step
_NOT_SETTINGS = {
    "generation_config",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "streamer",
    "assistant_model",
    "custom_generate",
    "synced_gpus",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
}
_BATCHED = (
    "generate_batch",
    "init_continuous_batching",
    "continuous_batching_context_manager",
)
# Outputs shorter than this are said by people too: the ledger does not vouch for them.
MIN_TOKENS, MIN_CHARACTERS = 8, 32
# A row of this many tokens without one marked token is worth a warning.
WORTH_A_WARNING = 64
_BIASED = {"sample", "greedy_search", "beam_search", "beam_sample"}


def supports(obj: Any) -> bool:
    """Whether `obj` is a transformers model that can generate text."""
    from transformers import GenerationMixin, PreTrainedModel

    return isinstance(obj, PreTrainedModel) and isinstance(obj, GenerationMixin)


def vocab_size(model: Any) -> int:
    """Width of the logits of `model`."""
    return int(model.config.get_text_config().vocab_size)


def attach(
    model: Any,
    record: KeyRecord,
    sink: Sink,
    *,
    provider: str,
    decode: Any = None,
    on_unsupported: OnUnsupported = "raise",
) -> Attachment:
    """Mark every output of `model.generate` from now on.

    Args:
        model: a transformers model.
        record: key record of `gumbel` or `greenlist`.
        sink: receives the records of each call before its output is handed over.
        provider: written into the records.
        decode: the tokenizer object, to recognise outputs again as text; optional.
        on_unsupported: ``"raise"``, or ``"warn"`` to run unmarked and record that.

    Raises:
        AlreadyAttached: the model is attached.
    """
    attachment = Attachment(model, record, sink, provider=provider)
    host = _Host(attachment, type(model), decode, on_unsupported)

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        return host.generate(self, _named(host.base, self, args, kwargs))

    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedPipeline(
            "continuous batching drops our processor, so nothing would be marked: use "
            "generate(), or detach()"
        )

    overrides: dict[str, Any] = {
        "generate": functools.wraps(type(model).generate)(generate),
        **{name: refused for name in _BATCHED if hasattr(type(model), name)},
    }
    attachment.swap(overrides)
    return attachment


def _named(
    base: Any, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """A call of `generate` with every argument by its name."""
    bound = inspect.signature(base.generate).bind(model, *args, **kwargs).arguments
    named = {k: v for k, v in bound.items() if k not in ("self", "kwargs")}
    return {**named, **bound.get("kwargs", {})}


@dataclass(slots=True)
class _Host:
    attachment: Attachment
    base: Any
    decode: Any
    on_unsupported: OnUnsupported

    def refuse(self, reason: str) -> None:
        scheme = self.attachment.key_record.scheme
        message = f"{reason}, so this call would not be marked by {scheme!r}"
        if self.on_unsupported == "raise":
            raise UnsupportedPipeline(message)
        warnings.warn(f"{message}: running WITHOUT a mark", UserWarning, stacklevel=4)

    def generate(self, model: Any, call: dict[str, Any]) -> Any:
        record = self.attachment.key_record
        settings = _settings(self.base, model, call)
        reason = _unsupported(record.scheme, settings, call)
        if reason is not None:
            self.refuse(reason)
            return self._unmarked(model, self.base.generate(model, **call), call)
        config = Config(record, _generator_state(model))
        output = self.base.generate(model, **_with_config(call, config))
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        self._publish(model, sequences.cpu(), config, _padding(settings))
        return output

    def _publish(
        self, model: Any, ids: torch.Tensor, config: Config, padding: int | None
    ) -> None:
        processor = config.processor
        if processor is None or processor.steps == 0:
            raise NotMarked(
                "generate() returned without calling the watermark: nothing was marked."
                " Another subclass or plugin replaced the decoding loop"
            )
        coverage = processor.verify(ids, padding)
        lengths = _lengths(ids[:, processor.start :], padding).tolist()
        bare = [n for n, c in zip(lengths, coverage, strict=True) if not c]
        if bare and max(bare) >= WORTH_A_WARNING:
            warnings.warn(
                f"{len(bare)} outputs of up to {max(bare)} tokens carry no mark: the "
                "sampling left the key nothing to choose (temperature, top_k or top_p "
                "too low)",
                UserWarning,
                stacklevel=5,
            )
        records = []
        for row in range(ids.shape[0]):
            mark = Mark(
                scheme=processor.record.scheme,
                version=processor.record.version,
                key_id=processor.record.kid,
                epoch=processor.record.epoch,
                coverage=coverage[row],
            )
            records.append(self._record(model, ids[row], processor.start, (mark,)))
        self.attachment.publish(records)

    def _unmarked(self, model: Any, output: Any, call: dict[str, Any]) -> Any:
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        ids = sequences.cpu()
        prompt = call.get("input_ids", call.get("inputs"))
        start = 0 if prompt is None else prompt.shape[-1]
        if model.config.is_encoder_decoder:
            start = 1  # the decoder's own start token
        self.attachment.publish([self._record(model, row, start, ()) for row in ids])
        return output

    def _record(
        self, model: Any, ids: torch.Tensor, start: int, marks: tuple[Mark, ...]
    ) -> Record:
        name = getattr(model.config, "_name_or_path", "") or type(model).__name__
        return Record(
            kind="text",
            provider=self.attachment.provider,
            system=f"transformers/{type(model).__name__}",
            model=name.replace("\\", "/").rstrip("/").split("/")[-1],
            marks=marks,
            content=_digests(ids, start, self.decode),
        )


def _digests(ids: torch.Tensor, start: int, decode: Any) -> tuple[str, ...]:
    """Digests of the output as ids and as the texts that users commonly make of it."""
    whole, new = ids.tolist(), ids[start:].tolist()
    if len(new) < MIN_TOKENS:
        return ()
    digests = [text_asset.tokens_digest(whole), text_asset.tokens_digest(new)]
    if decode is not None:
        for skip in (True, False):
            said = decode.decode(new, skip_special_tokens=skip)
            if len(said.strip()) < MIN_CHARACTERS:
                continue
            for text in (said, decode.decode(whole, skip_special_tokens=skip)):
                digests += [text_asset.digest(text), text_asset.digest(text.strip())]
    return tuple(dict.fromkeys(digests))


def _settings(base: Any, model: Any, call: dict[str, Any]) -> Any:
    """The generation config that this call will run with."""
    given = call.get("generation_config")
    own = given if given is not None else model.generation_config
    if own.watermarking_config is not None or call.get("watermarking_config"):
        raise UnsupportedPipeline(
            "this call has a watermarking_config of its own; two marks would disturb "
            "each other. Remove it, or detach()"
        )
    rest = {k: v for k, v in call.items() if k not in _NOT_SETTINGS}
    settings, _ = base._prepare_generation_config(model, copy.deepcopy(given), **rest)
    return settings


def _unsupported(scheme: str, settings: Any, call: dict[str, Any]) -> str | None:
    """Why this call cannot be marked, or None."""
    for name in ("assistant_model", "custom_generate"):
        if call.get(name) is not None:
            return f"{name}= replaces the decoding loop"
    if settings.cache_implementation == "paged":
        return "paged continuous batching drops our processor"
    mode = str(settings.get_generation_mode(None).value)
    if settings.do_sample and settings.top_k == 1:
        return "top_k=1 leaves one candidate, so there is no choice to key"
    if scheme == gumbel.SCHEME.name and mode not in _SEQUENTIAL:
        return (
            f"{mode} decoding takes no random choices that 'gumbel' could key; use "
            "do_sample=True with num_beams=1, or attach(..., scheme='greenlist')"
        )
    if mode not in _BIASED:
        return f"{mode} decoding replaces the decoding loop"
    return None


def _with_config(call: dict[str, Any], config: Config) -> dict[str, Any]:
    """The same call with our configuration in it; the caller's objects stay theirs."""
    if call.get("generation_config") is None:
        return {**call, "watermarking_config": config}
    own = copy.deepcopy(call["generation_config"])
    own.watermarking_config = config
    return {**call, "generation_config": own}


def _padding(settings: Any) -> int | None:
    """The token that fills finished rows, as transformers chooses it."""
    if settings.pad_token_id is not None:
        return int(settings.pad_token_id)
    eos = settings.eos_token_id
    return None if eos is None else int(np.atleast_1d(eos)[0])


def _generator_state(model: Any) -> bytes:
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

    def __init__(self, record: KeyRecord, seed: bytes) -> None:
        self._record = record
        self._seed = seed
        self.processor: GumbelProcessor | GreenlistProcessor | None = None

    def validate(self) -> None:
        """Parameters were checked when the key record was made."""

    def construct_processor(
        self, vocab_size: int, device: Any
    ) -> GumbelProcessor | GreenlistProcessor:
        """Called by transformers once per `generate()`."""
        if self._record.scheme == gumbel.SCHEME.name:
            self.processor = GumbelProcessor(self._record, self._seed)
        else:
            self.processor = GreenlistProcessor(self._record)
        return self.processor

    def to_dict(self) -> dict[str, Any]:
        """The key record, without its secret."""
        return self._record.to_dict()

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"watermark {self._record.scheme} {self._record.kid}"


@dataclass(slots=True)
class GumbelProcessor:
    """The logits processor of `gumbel`: -inf everywhere but the chosen token."""

    record: KeyRecord
    seed: bytes = field(repr=False)
    start: int = 0
    steps: int = 0
    _rows: list[gumbel.Sequencer] = field(default_factory=list, repr=False)
    _spent: torch.Tensor | None = field(default=None, repr=False)
    _nonces: torch.Tensor | None = field(default=None, repr=False)
    _chosen: list[torch.Tensor] = field(default_factory=list, repr=False)
    _unfit: torch.Tensor | None = field(default=None, repr=False)
    on_device: bool | None = None  # None: by where the logits are

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """One step of generation: float32 scores (batch, vocab) in, the same out."""
        _check_width(scores, self.record)
        if self.steps == 0:
            self._begin(input_ids, scores)
        self.steps += 1
        if self.on_device:
            return self._step_on_device(input_ids, scores)
        return self._step_on_host(input_ids, scores)

    def _begin(self, input_ids: torch.Tensor, scores: torch.Tensor) -> None:
        self.start = input_ids.shape[1]
        if self.on_device is None:
            self.on_device = scores.device.type != "cpu"
        batch = scores.shape[0]
        nonces = [gumbel.nonce(self.record, self.seed, row) for row in range(batch)]
        self._rows = [gumbel.Sequencer(self.record, nonce) for nonce in nonces]
        self._nonces = torch.tensor(nonces, device=scores.device)
        self._spent = torch.zeros(batch, dtype=torch.float64, device=scores.device)
        self._unfit = torch.zeros(batch, dtype=torch.bool, device=scores.device)

    def _step_on_host(
        self, input_ids: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        chosen = torch.full((scores.shape[0],), -1, dtype=torch.int64)
        rows = scores.to(torch.float32).contiguous().numpy()
        width = int(self.record.parameters["width"])
        output = input_ids[:, self.start :][:, -width:].tolist()
        spent = _tensor(self._spent)
        fresh = spent < gumbel.FRESH_NATS
        nats = spent.tolist()
        if bool(fresh.any()):
            self._spent = torch.where(fresh, spent + _collision_nats(scores), spent)
        for row, sequence in enumerate(self._rows):
            state = sequence.state(output[row], nats[row])
            if state is None:
                continue
            chosen[row] = gumbel.select(rows[row], state, sequence.nonce)
        self._chosen.append(chosen)
        if bool((chosen < 0).all()):
            return scores
        out = torch.full_like(scores, -torch.inf)
        for row, token in enumerate(chosen.tolist()):
            if token < 0:
                out[row] = scores[row]
            else:
                out[row, token] = 0.0
        return out

    def _step_on_device(
        self, input_ids: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        """The same with tensors only: nothing here waits for the device."""
        width = int(self.record.parameters["width"])
        output = input_ids[:, self.start :]
        spent, nonces = _tensor(self._spent), _tensor(self._nonces)
        marked = torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
        token = torch.zeros_like(nonces)
        if output.shape[1] >= width:
            windows = output.unfold(1, width, 1)  # (batch, contexts, width)
            context = windows[:, -1]
            repeated = (windows[:, :-1] == context[:, None]).all(-1)
            # A repeat counts only where the earlier one was marked: kept per step.
            if repeated.shape[1]:
                earlier = torch.stack(self._chosen[width:], dim=1) >= 0
                repeated &= earlier[:, : repeated.shape[1]]
            marked = (spent >= gumbel.FRESH_NATS) & ~repeated.any(dim=1)
            low, high = device.context_states(context_key(self.record), context)
            token, fit = device.gumbel_select(scores.float(), low, high, nonces)
            self._unfit = _tensor(self._unfit) | (marked & ~fit)
        fresh = spent < gumbel.FRESH_NATS
        self._spent = torch.where(fresh, spent + _collision_nats(scores), spent)
        only = torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)
        self._chosen.append(torch.where(marked, token, -1))
        return torch.where(marked[:, None], only, scores)

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share of each row's new tokens that the key chose, after checking them.

        Raises:
            InvalidSignal: the logits of a marked step could not be sampled.
            NotMarked: a token in the output is not the one the key chose.
        """
        if bool(_tensor(self._unfit).any()):
            raise InvalidSignal("the logits held NaN or infinity while being marked")
        chosen = torch.stack(self._chosen, dim=1).cpu()
        new = sequences[:, self.start :]
        length = _lengths(new, padding)
        chosen = chosen[:, : new.shape[1]]
        alive = torch.arange(new.shape[1])[None, :] < length[:, None]
        marked = (chosen >= 0) & alive
        if bool((marked & (chosen != new)).any()):
            raise NotMarked(
                "a generated token is not the one the key chose: something after the "
                "watermark changed the scores"
            )
        return (marked.sum(1) / length.clamp(min=1)).tolist()


@dataclass(slots=True)
class GreenlistProcessor:
    """The logits processor of `greenlist`: delta added to green logits. Stateless."""

    record: KeyRecord
    start: int = 0
    steps: int = 0
    on_device: bool | None = None
    _open: torch.Tensor | None = field(default=None, repr=False)
    _key: bytes = field(default=b"", repr=False)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """One step of generation: float32 scores (batch, vocab) in, the same out."""
        _check_width(scores, self.record)
        if self.steps == 0:
            self.start = input_ids.shape[1]
            self._open = torch.zeros((), dtype=torch.float64, device=scores.device)
            self._key = context_key(self.record)
            if self.on_device is None:
                self.on_device = scores.device.type != "cpu"
        self.steps += 1
        width = int(self.record.parameters["width"])
        output = input_ids[:, self.start :]
        if output.shape[1] < width:
            return scores
        if not self.on_device:
            out = scores.to(torch.float32, copy=True).contiguous()
            contexts = output[:, -width:].tolist()
            choices = 0
            for row, ids in zip(out.numpy(), contexts, strict=True):
                state = greenlist.state(self.record, ids, key=self._key)
                if state is not None:
                    choices += greenlist.bias(row, state, self.record) > 1
            self._open = _tensor(self._open) + choices / len(contexts)
            return out.to(scores.dtype)
        low, high = device.context_states(self._key, output[:, -width:])
        gamma16 = int(self.record.parameters["gamma16"])
        # A step with one candidate left carries nothing, whatever its colour.
        several = (scores > -torch.inf).sum(1) > 1
        self._open = _tensor(self._open) + several.double().mean()
        green = device.greenlist_mask(low, high, scores.shape[1], gamma16)
        return scores + green * float(self.record.parameters["delta"])

    def verify(self, sequences: torch.Tensor, padding: int | None) -> list[float]:
        """Share of each row's new tokens that were offered with a bias."""
        length = _lengths(sequences[:, self.start :], padding)
        width = int(self.record.parameters["width"])
        offered = (length - width).clamp(min=0) / length.clamp(min=1)
        steps = max(1, self.steps - width)
        share = float(_tensor(self._open)) / steps  # rows of a beam change places
        return (offered * min(1.0, share)).tolist()


def _tensor(value: torch.Tensor | None) -> torch.Tensor:
    if value is None:
        raise NotMarked("the processor was used before its first step")
    return value


def _check_width(scores: torch.Tensor, record: KeyRecord) -> None:
    if record.vocab_size is not None and scores.shape[-1] != record.vocab_size:
        raise VocabularyMismatch(
            f"the logits are {scores.shape[-1]} wide, the key record says "
            f"{record.vocab_size}: the model changed after attach(); attach it again"
        )


def _collision_nats(scores: torch.Tensor) -> torch.Tensor:
    """``-log sum p**2`` of softmaxed scores along the last axis, float64."""
    wide = scores.to(torch.float64)
    return 2 * torch.logsumexp(wide, -1) - torch.logsumexp(2 * wide, -1)


def _lengths(new: torch.Tensor, padding: int | None) -> torch.Tensor:
    """Tokens of each row before the padding that follows its end."""
    if padding is None or new.shape[1] == 0:
        return torch.full((new.shape[0],), new.shape[1])
    position = torch.arange(1, new.shape[1] + 1)
    return ((new != padding) * position).max(1).values
