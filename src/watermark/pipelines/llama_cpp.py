"""Mark what `llama-cpp-python` generates: any `llama_cpp.Llama`.

`attach` gives the object a subclass whose `generate` appends our logits processor
(`watermark.pipelines.llama_cpp_processors`): completion, chat and streaming all come
through there, after a caller's own processors. Each token is checked against the key's
choice before it is handed on. What cannot be marked raises.
"""

from __future__ import annotations

import functools
import inspect
import secrets
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watermark.assets import text as text_asset
from watermark.assets import text_fingerprint
from watermark.errors import NotMarked, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.pipelines.base import Attachment, OnUnsupported, Sink
from watermark.pipelines.llama_cpp_processors import (
    GreenlistProcessor,
    GumbelProcessor,
    Ids,
    Logits,
    Processor,
    Sampling,
)
from watermark.record import Mark, Record
from watermark.schemes import greenlist, gumbel
from watermark.schemes.base import option

DEFAULT_SCHEME = gumbel.SCHEME.name
LIBRARY = "llama-cpp-python"
# Outputs shorter than this are said by people too: the ledger does not vouch for them.
MIN_TOKENS, MIN_CHARACTERS = 8, 32
# An output of this many tokens without one marked token is worth a warning.
WORTH_A_WARNING = 64
# LLAMA_DEFAULT_SEED: llama.cpp draws a seed of its own where this one stands.
RANDOM_SEED = 0xFFFFFFFF
# Arguments of `generate` that reshape the distribution after our processor has chosen,
# and the value at which each does nothing.
_NEUTRAL = {
    "repeat_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "typical_p": 1.0,
    "mirostat_mode": 0,
    "grammar": None,
}


def supports(obj: Any) -> bool:
    """Whether `obj` is a `llama_cpp.Llama`."""
    from llama_cpp import Llama

    return isinstance(obj, Llama)


def vocab_size(model: Any) -> int:
    """Width of the logits of `model`."""
    return int(model.n_vocab())


def attach(
    model: Any,
    record: KeyRecord,
    sink: Sink,
    *,
    provider: str,
    payload: bytes | None = None,
    decode: Any = None,
    on_unsupported: OnUnsupported = "raise",
) -> Attachment:
    """Mark every output of `model` from now on.

    Args:
        model: a `llama_cpp.Llama`.
        record: key record of `gumbel` or `greenlist`.
        sink: receives the record of each call before its output is handed over; a
            streamed output is handed over piece by piece before that.
        provider: written into the records.
        payload: the message of every output, where the record has `payload_bits`.
        decode: not used: a `Llama` decodes its own tokens.
        on_unsupported: ``"raise"``, or ``"warn"`` to run unmarked and record that.

    Raises:
        AlreadyAttached: the object is attached.
        UnsupportedPipeline: another scheme, or a payload of another length.
    """
    if record.scheme not in (gumbel.SCHEME.name, greenlist.SCHEME.name):
        raise UnsupportedPipeline(
            f"scheme {record.scheme!r} cannot mark {LIBRARY}: expected 'gumbel' or "
            "'greenlist'"
        )
    bits = option(record.parameters, "payload_bits")
    if payload is not None and 8 * len(payload) != bits:
        raise UnsupportedPipeline(
            f"found a payload of {8 * len(payload)} bits, the key record says {bits}"
        )
    attachment = Attachment(model, record, sink, provider=provider)
    host = _Host(attachment, type(model), payload, on_unsupported)

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        return host.generate(self, _named(host.base.generate, self, args, kwargs))

    def create_completion(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _named(host.base.create_completion, self, args, kwargs)
        return host.complete(self, call)

    def sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not host.sampling:
            raise UnsupportedPipeline(
                "sample() called by itself carries no mark: use generate() or a "
                "completion, or detach()"
            )
        return host.base.sample(self, *args, **kwargs)

    attachment.swap(
        {
            function.__name__: functools.wraps(getattr(type(model), function.__name__))(
                function
            )
            for function in (generate, create_completion, sample)
        }
    )
    return attachment


def _named(
    function: Any, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """A call with every argument, also those left out, by its name."""
    bound = inspect.signature(function).bind(model, *args, **kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "self"}


@dataclass(slots=True)
class _Run:
    """One output: its processor, or None where it runs without a mark."""

    processor: Processor | None
    output: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Host:
    attachment: Attachment
    base: Any
    payload: bytes | None
    on_unsupported: OnUnsupported
    sampling: bool = False  # whether our `generate` is what runs now
    _runs: list[_Run] | None = None  # those of a completion that is not done yet

    def generate(self, model: Any, call: dict[str, Any]) -> Iterator[int]:
        record = self.attachment.key_record
        reason = _unsupported(record.scheme, model, call)
        if reason is not None:
            self._refuse(reason)
            return self._tokens(model, call, _Run(None))
        processor: Processor
        if record.scheme == gumbel.SCHEME.name:
            names = ("top_k", "top_p", "min_p")
            sampling = Sampling(call["temp"], **{name: call[name] for name in names})
            processor = GumbelProcessor(
                record, sampling, seed=_seed(model), payload=self.payload
            )
        else:
            processor = GreenlistProcessor(record)
        from llama_cpp import LogitsProcessorList

        def quiet(input_ids: Ids, scores: Logits) -> Logits:
            try:
                return processor(input_ids, scores)
            except Exception:  # ctypes would print it; `check` raises it
                return scores

        both = LogitsProcessorList([*(call["logits_processor"] or []), quiet])
        return self._tokens(model, {**call, "logits_processor": both}, _Run(processor))

    def _refuse(self, reason: str) -> None:
        scheme = self.attachment.key_record.scheme
        message = f"{reason}, so this call would not be marked by {scheme!r}"
        if self.on_unsupported == "raise":
            raise UnsupportedPipeline(message)
        warnings.warn(f"{message}: running WITHOUT a mark", UserWarning, stacklevel=4)

    def _tokens(
        self, model: Any, call: dict[str, Any], run: _Run
    ) -> Generator[int, Any, None]:
        """The tokens of the host's own generator, each checked before it is given."""
        inner = self.base.generate(model, **call)
        sent = None
        try:
            while True:
                self.sampling = True
                try:
                    token = inner.send(sent)
                except StopIteration:
                    break
                finally:
                    self.sampling = False
                if run.processor is not None:
                    run.processor.check(token)
                run.output.append(token)
                sent = yield token
                run.output += sent or []
        except GeneratorExit:  # the caller has enough
            self._ended(model, run)
            raise
        finally:
            inner.close()
        self._ended(model, run)

    def _ended(self, model: Any, run: _Run) -> None:
        if self._runs is not None:
            self._runs.append(run)
        elif run.output:
            said = model.detokenize(run.output).decode("utf-8", errors="ignore")
            self._publish(model, run, said)

    def complete(self, model: Any, call: dict[str, Any]) -> Any:
        if call["stream"]:
            return self._chunks(model, call)
        self._runs = []
        try:
            completion = self.base.create_completion(model, **call)
            runs = self._runs
        finally:
            self._runs = None
        self._publish(model, _once(runs), completion["choices"][0]["text"])
        return completion

    def _chunks(self, model: Any, call: dict[str, Any]) -> Generator[Any, None, None]:
        runs: list[_Run] = []
        self._runs = runs
        chunks, said = self.base.create_completion(model, **call), ""
        try:
            for chunk in chunks:
                said += chunk["choices"][0]["text"]
                yield chunk
        finally:  # also where the reader has enough: what was read was generated
            chunks.close()
            self._runs = None
            for run in runs:
                self._publish(model, run, said)
        _once(runs)

    def _publish(self, model: Any, run: _Run, said: str) -> None:
        processor = run.processor
        marks: tuple[Mark, ...] = ()
        if processor is not None and run.output:
            if not processor.marked and len(run.output) >= WORTH_A_WARNING:
                warnings.warn(
                    f"an output of {len(run.output)} tokens carries no mark: the "
                    "sampling left the key nothing to choose (temperature, top_k, "
                    "top_p or min_p too strict)",
                    UserWarning,
                    stacklevel=5,
                )
            marks = (_mark(processor),)
        record = Record(
            kind="text",
            provider=self.attachment.provider,
            system=_system(),
            model=Path(model.model_path.replace("\\", "/")).name or None,
            marks=marks,
            content=_digests(run.output, said),
            fingerprint=_fingerprint(run.output, said),
        )
        self.attachment.publish([record])


def _once(runs: list[_Run]) -> _Run:
    if len(runs) != 1:
        raise NotMarked(
            f"a completion called generate() {len(runs)} times, expected once: another "
            "subclass or plugin replaced the decoding loop"
        )
    return runs[0]


def _unsupported(scheme: str, model: Any, call: dict[str, Any]) -> str | None:
    """Why this call cannot be marked, or None."""
    if model.draft_model is not None:
        return "a draft model shows the processor tokens that may be rejected"
    if scheme != gumbel.SCHEME.name:
        return None
    if not call["temp"] > 0:
        return (
            f"temp={call['temp']} takes no random choices after top-k and top-p that "
            "'gumbel' could key; use a temperature above 0, or scheme='greenlist'"
        )
    if call["top_k"] == 1:
        return "top_k=1 leaves one candidate, so there is no choice to key"
    for name, neutral in _NEUTRAL.items():
        if call[name] != neutral:
            value = "" if name == "grammar" else f"={call[name]}"
            return f"{name}{value} changes the scores after the watermark has chosen"
    return None


def _seed(model: Any) -> bytes:
    """The generator's seed, so that seeds reproduce nonces."""
    seed = int(model._seed)
    if seed & 0xFFFFFFFF == RANDOM_SEED:
        return secrets.token_bytes(8)
    return seed.to_bytes(8, "little", signed=True)


def _mark(processor: Processor) -> Mark:
    record = processor.record
    return Mark(
        scheme=record.scheme,
        version=record.version,
        key_id=record.kid,
        epoch=record.epoch,
        mark_id=processor.payload,
        coverage=processor.coverage,
    )


def _system() -> str:
    import llama_cpp

    return f"{LIBRARY}/{llama_cpp.__version__}"


def _fingerprint(output: list[int], said: str) -> bytes:
    """What words the output has, or nothing where they are too few."""
    short = len(output) < MIN_TOKENS or len(said.strip()) < MIN_CHARACTERS
    return b"" if short else text_fingerprint.fingerprint(said)


def _digests(output: list[int], said: str) -> tuple[str, ...]:
    """Digests of the output as ids, with and without its last token, and as text."""
    if len(output) < MIN_TOKENS:
        return ()
    # The last id is often the end of the text, which a completion leaves out.
    digests = [text_asset.tokens_digest(ids) for ids in (output, output[:-1])]
    if len(said.strip()) >= MIN_CHARACTERS:
        digests += [text_asset.digest(text) for text in (said, said.strip())]
    return tuple(dict.fromkeys(digests))
