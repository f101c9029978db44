"""Verifier: keys, tokenizers and trust gathered once, for any number of assets."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from watermark import verification
from watermark.assets.loading import Tokens, load
from watermark.errors import HomeError, UnsupportedPipeline
from watermark.home import Home
from watermark.keys import EngineKey, Key, KeyRecord, RingEntry
from watermark.likelihood import Likelihood
from watermark.report import Report
from watermark.schemes import default_records
from watermark.schemes.foreign.config import is_configuration, load_records
from watermark.tokenizer import TextTokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from watermark.resolution.client import Resolver

AHEAD = 4  # assets read ahead for each worker


class Options(TypedDict, total=False):
    """What `Watermark.verify` takes beside the asset."""

    pipeline: Any
    tokenizer: Any
    prompt: str | Sequence[int]
    keys: Any
    trust: bytes | str | Path | None
    effort: str
    resolve: bool | Sequence[str]


class Verifier:
    """Looks at every layer of an asset and judges: `Watermark.verify`, made ready."""

    def __init__(
        self,
        home: Home | None,
        *,
        pipeline: Any = None,
        tokenizer: Any = None,
        prompt: str | Sequence[int] = "",
        keys: Any = None,
        trust: bytes | str | Path | None = None,
        effort: str = "normal",
        resolve: bool | Sequence[str] = False,
    ) -> None:
        """Arguments are those of `Watermark.verify`; no home: `keys` are all there is.

        Raises:
            ValueError: an unknown effort, `keys` is empty, or `resolve` holds what is
                no base URL.
            HomeError: `resolve` is true, and the home names no repository.
            UnsupportedFormat: `prompt` is neither text nor token ids.
            KeyFileError: a key cannot be read.
            UnsupportedPipeline: `pipeline` is a path, and not what was loaded from it.
        """
        if isinstance(pipeline, str | bytes | os.PathLike):
            raise UnsupportedPipeline(
                f"pipeline is a {type(pipeline).__name__}, expected what was loaded "
                "from it: DiffusionPipeline.from_pretrained(...), or a language model"
            )
        if effort not in verification.LOOKS:
            raise ValueError(
                f"effort is {effort!r}, expected one of {', '.join(verification.LOOKS)}"
            )
        self._home = home
        self._pipeline, self._tokenizer = pipeline, tokenizer
        self._prompt: str | Sequence[int] = prompt
        if not isinstance(prompt, str):
            ids = load(Tokens(prompt)).tokens
            self._prompt = [] if ids is None else ids.tolist()
        self._effort = effort
        if keys is not None:
            self._records = _records_of(keys)
        else:
            self._records = home.key_records() if home is not None else []
        self._own: frozenset[str] = frozenset()
        if home is not None and keys is None:
            self._own = frozenset(entry.key.kid for entry in home.ring)
        if isinstance(trust, str | os.PathLike):
            trust = Path(trust).read_bytes()
        if trust is None:
            trust = home.anchors if home is not None else b""
        self._anchors = trust
        self._resolver = _resolver(resolve, home)

    def __call__(self, asset: Any) -> Report:
        """Judge one asset. Never raises on bad content of a file.

        Raises:
            UnsupportedFormat: an array, a film or latents of another shape, type or
                range than `load` takes.
            TokenizerMismatch: the tokenizer given is none that the key records name.
            StoreError: the ledger cannot be read, or is not as its log signed it.
        """
        loaded = load(asset)
        setting = self._text if loaded.kind == "text" else self._media
        return verification.verify(loaded, setting)

    def many(
        self, assets: Iterable[Any], *, workers: int | None = None
    ) -> Iterator[Report]:
        """Judge assets as they come, in their order, `workers` at a time.

        The kernels and tokenizers run without the interpreter's lock. A pipeline or
        language model has threads of its own and runs one asset at a time.

        Raises:
            ValueError: fewer than one worker.
        """
        count = workers if workers is not None else os.cpu_count() or 1
        if count < 1:
            raise ValueError(f"workers is {count}, expected at least 1")
        if self._pipeline is not None:
            count = 1
        with ThreadPoolExecutor(count) as pool:
            waiting: deque[Future[Report]] = deque()
            for asset in assets:
                waiting.append(pool.submit(self, asset))
                if len(waiting) >= AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @cached_property
    def _text(self) -> verification.Setting:
        tokenizers: list[TextTokenizer] = []
        if self._tokenizer is not None:
            tokenizers = [TextTokenizer.of(self._tokenizer)]
        elif self._home is not None:
            tokenizers = list(self._home.tokenizers())
        ids = not isinstance(self._prompt, str)
        return self._setting(
            tokenizers=tokenizers,
            given_tokenizer=self._tokenizer is not None,
            prompt="" if ids else self._prompt,
            prompt_ids=self._prompt if ids else (),
            likelihood=_likelihood(self._pipeline),
        )

    @cached_property
    def _media(self) -> verification.Setting:
        return self._setting(inverter=_inverter(self._pipeline))

    def _setting(self, **more: Any) -> verification.Setting:
        home = self._home
        return verification.Setting(
            records=self._records,
            ledger=home.ledger if home is not None else None,
            resolver=self._resolver,
            anchors=self._anchors,
            tsa_anchors=home.tsa_anchors if home is not None else b"",
            revoked=home.revoked if home is not None else frozenset(),
            own=self._own,
            max_fpr=home.max_fpr if home is not None else 1e-6,
            effort=self._effort,
            **more,
        )


def _likelihood(pipeline: Any) -> Likelihood | None:
    """Of a language model; a pipeline for pictures says nothing of texts."""
    if isinstance(pipeline, Likelihood):
        return pipeline
    return Likelihood(pipeline) if "transformers" in _families(pipeline) else None


@dataclass(frozen=True, slots=True)
class _Refused:
    """Of a pipeline that cannot be inverted: told by the layers that need it."""

    reason: str

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        raise UnsupportedPipeline(self.reason)

    def latents(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise UnsupportedPipeline(self.reason)


def _inverter(pipeline: Any) -> verification.Inverter | None:
    """Of a pipeline for pictures; a language model says nothing of pictures."""
    if pipeline is None or isinstance(pipeline, verification.Inverter):
        return pipeline
    if isinstance(pipeline, Likelihood) or "transformers" in _families(pipeline):
        return None
    from watermark.invert.latents import Inverter

    try:
        return Inverter(pipeline)
    except UnsupportedPipeline as error:
        return _Refused(str(error))


def _resolver(resolve: bool | Sequence[str], home: Home | None) -> Resolver | None:
    """Of the repositories that the caller, or the home, names."""
    if isinstance(resolve, str):
        raise ValueError(f"resolve is {resolve!r:.80}, expected True or a list of URLs")
    if resolve is False:
        return None
    urls = resolve
    if urls is True:
        urls = () if home is None else home.repositories
        if not urls:
            raise HomeError(
                "there is no repository to ask: name one with `wm repository add URL`, "
                "or give the URLs as resolve=[...]"
            )
    from watermark.resolution.client import Resolver

    return Resolver(urls)


def _families(obj: Any) -> set[str]:
    return {base.__module__.split(".")[0] for base in type(obj).__mro__}


def _records_of(keys: Any) -> list[KeyRecord]:
    """Key records of whatever names keys."""
    if isinstance(keys, KeyRecord):
        return [keys]
    if isinstance(keys, Key):
        return default_records(keys)
    if isinstance(keys, RingEntry):
        epochs = range(keys.epoch + 1)
        return [r for epoch in epochs for r in default_records(keys.key, epoch)]
    if is_configuration(keys):
        return load_records(keys)
    if isinstance(keys, str | os.PathLike):
        return _records_of(RingEntry.load(Path(keys)))
    if isinstance(keys, EngineKey):
        raise ValueError(
            "an EngineKey alone does not say whose it is: pass the record, as "
            "load_records makes it from the engine's configuration"
        )
    records = [record for key in keys for record in _records_of(key)]
    if not records:
        raise ValueError("keys= is empty: nothing could be tested")
    return records
