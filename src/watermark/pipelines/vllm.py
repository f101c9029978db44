"""vLLM: its own watermark from our key record, and `greenlist` as a logits processor.

Two ways, and no third:

- *Native.* vLLM (0.33) marks by keyed Gumbel-max inside its sampler. `write` makes its
  configuration from a `gumbel` key record: one file that only its owner can read, for
  ``vllm serve MODEL --config watermark.yaml``. The key stands on no command line.
- *`greenlist`.* `GreenlistLogitsProcessor` biases logits in the V1 model runner::

      vllm serve MODEL
        --logits-processors watermark.pipelines.vllm:GreenlistLogitsProcessor
        --additional-config '{"watermark": {"folder": "wm", "key": "wm/key.json"}}'

  with the key record as ``watermark.json`` in the folder, and the file of `Key.save`.
  Pass the class in this way and not by an entry point: vLLM then fills in the tokens
  that asynchronous scheduling leaves open before it calls us. Together with speculative
  decoding or the V2 model runner, vLLM refuses it (``VLLM_USE_V2_MODEL_RUNNER=0``).

The native mark is not ours bit for bit: vLLM's PRF is "philox4x32-10-v1" under a 64-bit
key, it marks from the first token, and it has no nonce and no payload. So the key that
is handed over is a sub-key made for vLLM alone, and `engine_record` names what is
written: scheme ``vllm-gumbel``. `watermark.load_records` reads that file,
or a record of that scheme and the key, and `verify` finds the mark.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watermark.errors import (
    KeyFileError,
    NotMarked,
    UnsupportedPipeline,
    VocabularyMismatch,
)
from watermark.keys import Key, KeyRecord
from watermark.pipelines import native
from watermark.pipelines.base import load_record
from watermark.prf import context_key
from watermark.schemes import greenlist

if TYPE_CHECKING:
    import torch

PRF = "philox4x32-10-v1"  # vllm/v1/watermarking/prfs/philox.py at 0.33.0
PURPOSE = "vllm"  # of the sub-key: 8 bytes, read as a big-endian integer
# vLLM searches this many tokens back for a repeated context: its default at 0.33.0.
HISTORY = 8192


# --- the native watermark ------------------------------------------------------------


def engine_record(record: KeyRecord) -> KeyRecord:
    """The key record of what vLLM writes under `record`: all a detector needs.

    Its sub-key is ``derive("vllm", length=8)``. Under dual 1, vLLM makes its two keys
    from that by SHA-256, and chooses between them at random for each token.

    Raises:
        UnsupportedPipeline: another scheme than `gumbel`, or a payload.
    """
    return native.engine_record(record, "vllm", PRF)


def native_config(record: KeyRecord) -> dict[str, Any]:
    """The `watermark_config` of vLLM for a key record, without the key.

    Every setting is named, so that another default in another vLLM changes nothing.

    Raises:
        UnsupportedPipeline: as `engine_record`.
    """
    parameters = engine_record(record).parameters
    settings: dict[str, Any] = {
        "algorithm": "gumbel",
        "context_width": parameters["width"],
        "deduplicate_contexts": "single_turn",
        "deduplicate_contexts_max_history": HISTORY,
        "prf": "philox",
    }
    if parameters["dual"]:
        settings |= {"algorithm": "dual_key_gumbel", "alpha": native.DUAL_ALPHA}
    return settings


def write(record: KeyRecord, key: Key, path: Path) -> KeyRecord:
    """Write vLLM's configuration with its key to a file that only its owner can read.

    The file is for ``--config``; where there is such a file already, move the entry
    ``watermark-config`` there. It is JSON, which YAML includes.

    Args:
        record: key record of `gumbel`.
        key: the record's key.
        path: a new file, ``.yaml`` or ``.yml``: vLLM reads no other.

    Returns:
        What to keep for detection: `engine_record`.

    Raises:
        UnsupportedPipeline: as `engine_record`.
        WeakKey: another key than the record's.
        KeyFileError: the name is taken or has another suffix, or the file cannot be
            written.
    """
    written = engine_record(replace(record, key=key))
    if path.suffix not in (".yaml", ".yml"):
        raise KeyFileError(
            f"{path.name} has suffix {path.suffix!r}, expected '.yaml' or '.yml': vLLM "
            "reads no other configuration file"
        )
    secret = int.from_bytes(written.derive(PURPOSE, length=8), "big")
    settings = {"key": secret, **native_config(record)}
    native.write_secret(path, {"watermark-config": settings})
    return written


# --- greenlist -----------------------------------------------------------------------


class Greenlist:
    """The greenlist of a running batch: what vLLM's interface asks for, without vLLM.

    `GreenlistLogitsProcessor` is this and vLLM's `LogitsProcessor`. The bias comes
    before the temperature, so a green token gains delta / temperature nats. No record
    enters a ledger: the engine runs in a process of its own.
    """

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        """Called by vLLM once for each worker.

        Raises:
            KeyFileError: no record or key is named, or they cannot be read.
            UnsupportedPipeline: another scheme than `greenlist`.
            VocabularyMismatch: the model is not the key record's.
        """
        self._record = _configured(vllm_config.additional_config)
        self._key = context_key(self._record)
        self._width = int(self._record.parameters["width"])
        # Row of the batch -> its running output: vLLM's own list, always up to date.
        self._outputs: dict[int, list[int]] = {}
        _check_width(vllm_config.model_config.get_vocab_size(), self._record)

    def is_argmax_invariant(self) -> bool:
        """False: a bias changes which token is the best."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the rows of the batch: removed, then added, then moved."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._outputs.pop(row, None)
        for row, _params, _prompt, output in batch_update.added:
            self._outputs[row] = output
        for source, target, direction in batch_update.moved:
            first = self._outputs.pop(source, None)
            second = self._outputs.pop(target, None)
            if first is not None:
                self._outputs[target] = first
            if second is not None and direction.name == "SWAP":
                self._outputs[source] = second

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Add delta to the green logits, (rows, vocab), in place.

        Raises:
            VocabularyMismatch: logits of another width.
            NotMarked: a token of the context is not known yet.
        """
        _check_width(logits.shape[-1], self._record)
        contexts = {
            row: _known(output[-self._width :])
            for row, output in self._outputs.items()
            if len(output) >= self._width
        }
        if contexts:
            self._bias(logits, list(contexts), list(contexts.values()))
        return logits

    def _bias(
        self, logits: torch.Tensor, rows: list[int], contexts: list[list[int]]
    ) -> None:
        import torch

        from watermark.kernels import device

        ids = torch.tensor(contexts, dtype=torch.int64, device=logits.device)
        low, high = device.context_states(self._key, ids)
        gamma16 = int(self._record.parameters["gamma16"])
        green = device.greenlist_mask(low, high, logits.shape[-1], gamma16)
        bias = green * float(self._record.parameters["delta"])
        threshold = greenlist.gate(self._record)
        if threshold:
            bias = bias * (_entropies(logits[rows]) > threshold)[:, None]
        logits[rows] += bias.to(logits.dtype)

    def __repr__(self) -> str:
        return f"<greenlist {self._record.kid}, {len(self._outputs)} rows>"


def _known(context: list[int]) -> list[int]:
    if -1 in context:
        raise NotMarked(
            "the last tokens of a request are placeholders (-1), so its next token "
            "cannot be marked: pass the class by --logits-processors, not by an entry "
            "point, or run with --no-async-scheduling"
        )
    return context


def _check_width(width: int, record: KeyRecord) -> None:
    if record.vocab_size is not None and width != record.vocab_size:
        raise VocabularyMismatch(
            f"the logits are {width} wide, the key record says {record.vocab_size}: "
            "this is another model's key record"
        )


def _entropies(logits: torch.Tensor) -> torch.Tensor:
    """Nats of the softmax of each row, float64; -inf excluded."""
    p = logits.double().softmax(-1)
    entropies: torch.Tensor = (p * -p.clamp_min(1e-300).log()).sum(-1)
    return entropies


def _configured(additional: Any) -> KeyRecord:
    """The greenlist record that vLLM's `additional_config` names, with its key."""
    try:
        named = additional["watermark"]
        folder, key = Path(named["folder"]), Path(named["key"])
    except (KeyError, TypeError):
        raise KeyFileError(
            "vLLM was started without the watermark's files: pass --additional-config "
            '\'{"watermark": {"folder": "wm", "key": "wm/key.json"}}\''
        ) from None
    record = load_record(folder, key=Key.load(key))
    if record.scheme != greenlist.SCHEME.name:
        raise UnsupportedPipeline(
            f"scheme {record.scheme!r} cannot run as a logits processor of vLLM: "
            "expected 'greenlist'. For 'gumbel' use vLLM's own watermark: "
            "watermark.pipelines.vllm.write(record, key, path), then --config path"
        )
    return record


@functools.cache
def _processor_class() -> type:
    from vllm.v1.sample.logits_processor import LogitsProcessor

    body = {"__module__": __name__, "__doc__": Greenlist.__doc__}
    return type("GreenlistLogitsProcessor", (Greenlist, LogitsProcessor), body)


def __getattr__(name: str) -> Any:
    """`GreenlistLogitsProcessor`, made when vLLM asks for it: it needs vLLM."""
    if name == "GreenlistLogitsProcessor":
        return _processor_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> Sequence[str]:
    return [*globals(), "GreenlistLogitsProcessor"]
