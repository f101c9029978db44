"""Mark what `transformers` models generate: `generate()` of any causal or seq2seq LM.

`attach` gives the model a subclass whose `generate` puts our own object into
`watermarking_config`. transformers applies it last, on the distribution that is really
sampled (after temperature, top-k and top-p), and builds a fresh processor for every
call. Nothing that a caller passes can lose the mark: what cannot be marked raises.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from watermark.assets import text as text_asset
from watermark.assets import text_fingerprint
from watermark.errors import NotMarked, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.pipelines import decoding
from watermark.pipelines.base import Attachment, OnUnsupported, Sink
from watermark.pipelines.decoding import Config as Config
from watermark.pipelines.processor import lengths
from watermark.pipelines.processor_greenlist import (
    GreenlistProcessor as GreenlistProcessor,
)
from watermark.pipelines.processor_gumbel import GumbelProcessor as GumbelProcessor
from watermark.pipelines.processor_tournament import (
    TournamentProcessor as TournamentProcessor,
)
from watermark.record import Mark, Record
from watermark.schemes import gumbel
from watermark.schemes.base import option

DEFAULT_SCHEME = gumbel.SCHEME.name
_BATCHED = (
    "generate_batch",
    "init_continuous_batching",
    "continuous_batching_context_manager",
)
# Outputs shorter than this are said by people too: the ledger does not vouch for them.
MIN_TOKENS, MIN_CHARACTERS = 8, 32
# A row of this many tokens without one marked token is worth a warning.
WORTH_A_WARNING = 64


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
    payload: bytes | None = None,
) -> Attachment:
    """Mark every output of `model.generate` from now on.

    Args:
        model: a transformers model.
        record: key record of `gumbel`, `tournament` or `greenlist`.
        sink: receives the records of each call before its output is handed over.
        provider: written into the records.
        decode: the tokenizer object, to recognise outputs again as text; optional.
        on_unsupported: ``"raise"``, or ``"warn"`` to run unmarked and record that.
        payload: the message of every output, ``payload_bits / 8`` bytes. None: where
            the key record has payload bits, a mark id of its own for each output.

    Raises:
        AlreadyAttached: the model is attached.
        UnsupportedPipeline: the scheme does not mark tokens, or the key record has no
            room for the payload.
    """
    if record.scheme not in decoding.SCHEMES:
        raise UnsupportedPipeline(
            f"scheme {record.scheme!r} does not mark what a language model generates; "
            f"expected one of {', '.join(decoding.SCHEMES)}"
        )
    if payload is not None:
        _check_payload(record, payload)
    attachment = Attachment(model, record, sink, provider=provider)
    host = _Host(attachment, type(model), decode, on_unsupported, payload)

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        return host.generate(self, decoding.named(host.base, self, args, kwargs))

    def candidates(self: Any, *args: Any, **kwargs: Any) -> Any:
        return decoding.candidates(host.base, self, args, kwargs)

    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedPipeline(
            "continuous batching drops our processor, so nothing would be marked: use "
            "generate(), or detach()"
        )

    overrides: dict[str, Any] = {
        "generate": functools.wraps(type(model).generate)(generate),
        **{name: refused for name in _BATCHED if hasattr(type(model), name)},
    }
    if hasattr(type(model), "_get_candidate_generator"):
        overrides["_get_candidate_generator"] = candidates
    attachment.swap(overrides)
    return attachment


def _check_payload(record: KeyRecord, payload: bytes) -> None:
    bits = option(record.parameters, "payload_bits")
    size = len(payload) if isinstance(payload, bytes) else None
    if size is None or 8 * size != bits:
        found = type(payload).__name__ if size is None else f"{size} bytes"
        raise UnsupportedPipeline(
            f"payload= is {found}, but a key record of {record.scheme!r} with "
            f"payload_bits {bits} carries {bits // 8} bytes"
        )


@dataclass(slots=True)
class _Host:
    attachment: Attachment
    base: Any
    decode: Any
    on_unsupported: OnUnsupported
    payload: bytes | None

    def refuse(self, reason: str) -> None:
        scheme = self.attachment.key_record.scheme
        message = f"{reason}, so this call would not be marked by {scheme!r}"
        if self.on_unsupported == "raise":
            raise UnsupportedPipeline(message)
        warnings.warn(f"{message}: running WITHOUT a mark", UserWarning, stacklevel=4)

    def generate(self, model: Any, call: dict[str, Any]) -> Any:
        record = self.attachment.key_record
        settings = decoding.settings(self.base, model, call)
        decoding.check_ids(model, call)
        reason = decoding.unsupported(record.scheme, settings, call)
        if reason is not None:
            self.refuse(reason)
            return self._unmarked(model, self.base.generate(model, **call), call)
        config = Config(
            record,
            decoding.generator_state(model),
            payload=self.payload,
            in_place=not settings.output_logits and not call.get("logits_processor"),
            beams=(settings.num_beams or 1) > 1,
        )
        with decoding.told():
            output = self.base.generate(model, **decoding.with_config(call, config))
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        self._publish(model, sequences.cpu(), config, decoding.padding(settings))
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
        length = lengths(ids[:, processor.start :], padding).tolist()
        bare = [n for n, c in zip(length, coverage, strict=True) if not c]
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
                mark_id=processor.messages[row] if processor.messages else b"",
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
            fingerprint=_fingerprint(ids, start, self.decode),
        )


def _fingerprint(ids: torch.Tensor, start: int, decode: Any) -> bytes:
    """What words the output has, or nothing where they are not known or too few."""
    new = ids[start:].tolist()
    if decode is None or len(new) < MIN_TOKENS:
        return b""
    said = decode.decode(new, skip_special_tokens=True)
    long_enough = len(said.strip()) >= MIN_CHARACTERS
    return text_fingerprint.fingerprint(said) if long_enough else b""


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
