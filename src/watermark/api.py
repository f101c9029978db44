"""The whole flow in one object: attach, embed, verify.

`attach` marks what a model generates and records it before it is handed over; `embed`
signs an output and publishes it; `verify` looks at every layer and judges.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import (
    Any,
    Concatenate,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    get_args,
)

from watermark import finished, verification
from watermark.assets import media_type_for_suffix
from watermark.assets.loading import Asset, Audio, load
from watermark.errors import (
    AmbiguousRecord,
    NotMarked,
    UnsupportedFormat,
    UnsupportedPipeline,
    VocabularyMismatch,
)
from watermark.home import Home, default_path
from watermark.keys import Parameter
from watermark.labelling import Explicit, Order
from watermark.labels import containers, platform
from watermark.labels.regimes import Regime
from watermark.labels.unmarked import UnmarkedRequest
from watermark.marked import Marked
from watermark.pipelines import adapter_for
from watermark.pipelines.base import Attachment, OnUnsupported
from watermark.record import Record
from watermark.report import Report
from watermark.schemes import SCHEMES
from watermark.schemes.learned.codec import Codec
from watermark.sign.stamps import When
from watermark.store.leaf import CONTENT, Entry
from watermark.tokenizer import TextTokenizer
from watermark.verifier import Options, Verifier

Carrier = Literal["sidecar", "wrapper", "structured", "html"]


class Watermark:
    """A provider's keys, credential and ledger, and the three verbs that use them."""

    def __init__(self, home: Home) -> None:
        """Use `create` or `open`."""
        self.home = home
        self._outputs: dict[int, tuple[weakref.ref[Any], str]] = {}

    @classmethod
    def create(
        cls, path: str | Path, *, provider: str, passphrase: str | None = None
    ) -> Self:
        """A new home: keys, development credential, ledger. Refuses to overwrite.

        Raises:
            HomeError: `path` exists or cannot be written.
        """
        return cls(Home.create(Path(path), provider=provider, passphrase=passphrase))

    @classmethod
    def open(
        cls, path: str | Path | None = None, *, passphrase: str | None = None
    ) -> Self:
        """An existing home: `path`, ``$WATERMARK_HOME``, or the user data folder.

        Raises:
            HomeError: there is no home there.
        """
        where = None if path is None else Path(path)
        return cls(Home.open(where, passphrase=passphrase))

    # --- attach ----------------------------------------------------------------------

    def attach(
        self,
        /,
        obj: Any,
        *,
        tokenizer: Any = None,
        scheme: str | None = None,
        payload: bytes | int | None = None,
        layers: Sequence[str] | None = None,
        latents: Literal["re-sign", "respect", "error"] | None = None,
        on_unsupported: OnUnsupported = "raise",
        **parameters: Parameter,
    ) -> Attachment:
        """Mark everything that `obj` generates from now on.

        Args:
            obj: a transformers model, a diffusers pipeline that makes pictures, videos
                or sound, or a `llama_cpp.Llama`.
            tokenizer: of a language model; kept in the home for detection.
            scheme: ``gumbel``, ``tournament`` or ``greenlist`` for text, ``noise`` for
                diffusion; None is the host's default, which never biases what is
                generated.
            payload: what a `gumbel` mark carries: 2, 4 or 8 bytes, the same in every
                output; or 16, 32 or 64, the bits of a mark id of its own for each.
            layers: of a diffusers pipeline: ``"noise"``, ``"latent"`` or both; None is
                `noise`, and `latent` where that cannot carry a mark.
            latents: what a diffusers pipeline does with the caller's own ``latents=``:
                ``"re-sign"`` them (as None), ``"respect"`` them, or ``"error"``.
            on_unsupported: ``"raise"``, or ``"warn"`` to run unmarked and record that.
            parameters: of the scheme, such as ``width=2`` for text that will be edited.

        Raises:
            UnsupportedPipeline: the object, scheme or payload is not supported.
            ValueError: the scheme has no such parameter, or it is out of range.
            AlreadyAttached: the object is attached.
            VocabularyMismatch: the tokenizer has more tokens than the model.
        """
        adapter = adapter_for(obj)
        name = scheme or adapter.DEFAULT_SCHEME
        wanted = SCHEMES[adapter.DEFAULT_SCHEME].carrier
        known = [s.name for s in SCHEMES.values() if s.carrier == wanted]
        if wanted == "latents":  # a call's layers are chosen by layers=
            known = [adapter.DEFAULT_SCHEME]
        if name not in known:
            raise UnsupportedPipeline(
                f"scheme {name!r} is not for a model of {wanted}; expected one of "
                f"{known}" + "; layers= says what else marks" * (wanted == "latents")
            )
        newest = self.home.ring.newest
        more: dict[str, Any] = {"layers": layers, "latents": latents}
        more = {name: value for name, value in more.items() if value is not None}
        if more and wanted != "latents":
            raise UnsupportedPipeline(
                f"{' and '.join(more)}= are for diffusers pipelines, found a model of "
                f"{wanted}"
            )
        carried = _payload(name, payload, bool(parameters.get("dual")))
        about: dict[str, Any] = {**carried, **parameters}
        if wanted == "tokens":
            about |= self._vocabulary(adapter.vocab_size(obj), tokenizer)
            more["decode"] = tokenizer if hasattr(tokenizer, "decode") else None
            more["payload"] = payload if isinstance(payload, bytes) else None
        elif wanted == "latents":  # what calibrate measured
            more["home"] = self.home.path
        record = SCHEMES[name].record(newest.key, epoch=newest.epoch, **about)
        self.home.ledger.checkpoint()  # a broken ledger stops here, not mid-generation
        if wanted == "tokens" or parameters:
            self.home.add_key_record(record)
        attachment: Attachment = adapter.attach(
            obj,
            record,
            self._generated,
            provider=self.home.provider,
            on_unsupported=on_unsupported,
            **more,
        )
        return attachment

    def _vocabulary(self, width: int, tokenizer: Any) -> dict[str, Any]:
        if tokenizer is None:
            return {"vocab_size": width}
        read = TextTokenizer.of(tokenizer)
        if read.size > width:
            raise VocabularyMismatch(
                f"the tokenizer has {read.size} tokens, the model's logits are {width} "
                "wide: it is the tokenizer of another model"
            )
        self.home.add_tokenizer(read)
        return {"vocab_size": width, "tokenizer": read.digest}

    def _generated(self, records: Sequence[Record], outputs: Sequence[Any]) -> None:
        self.home.ledger.append(
            [Entry(event="generated", record=record) for record in records]
        )
        for record, output in zip(records, outputs, strict=False):
            name = id(output)

            def forget(_: Any, name: int = name) -> None:
                self._outputs.pop(name, None)

            try:
                reference = weakref.ref(output, forget)
            except TypeError:  # arrays and the like are found by digest
                continue
            self._outputs[name] = (reference, record.record_id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Watermark is never pickled: open its home instead")

    # --- embed -----------------------------------------------------------------------

    def embed(
        self,
        asset: Any,
        *,
        record: Record | None = None,
        carrier: Carrier | None = None,
        format: str | None = None,
        mark: bool = True,
        layers: Sequence[str | Codec] | None = None,
        require_mark: bool = False,
        timestamp: When | None = None,
        regimes: str | Regime | Sequence[str | Regime] = (),
        as_of: date | None = None,
        explicit: Explicit = None,
        notice: Audio | None = None,
        unmarked: UnmarkedRequest | None = None,
    ) -> Marked:
        """Sign an output, read it back, and publish it in the ledger.

        A generated output is found by identity or digest and signed under its record;
        anything else is finished media. A picture or a sound without a mark is given
        one first (`pixel`, `wave`): what is published differs a little from what came.

        Args:
            asset: text, bytes, a path, a PIL image or Audio.
            record: the record to publish under, where it cannot be found. It is taken
                at its word: that this file is what it tells of is not tested where
                nothing here reads the file, as for video.
            carrier: how a text carries its manifest: ``"sidecar"``, a file beside it
                (default); ``"wrapper"``, invisible characters at its end;
                ``"structured"``, a comment or front matter; ``"html"``, in the head.
            format: container of a PIL image: ``"png"``, ``"jpeg"`` or ``"webp"``; by
                default the suffix at `Marked.save` decides.
            mark: whether finished media may be changed to carry a mark.
            layers: which marks a picture or sound is given: ``"pixel"`` or ``"wave"``,
                and learned marks by the names of their codecs, as ``["rivagan",
                "pixel"]`` (docs/learned.md); None: ours, where there is none. Those
                that its record names stay as they are.
            require_mark: raise where nothing at all was marked, instead of a warning.
                A short text may be marked and still be too short to be found.
            timestamp: ``"now"``, ``"deferred"`` or ``"never"``; None: as `wm stamp`
                was told.
            regimes: laws that the file shall satisfy, such as ``["cn", "eu"]``; see
                `watermark.labels.regimes`. What they require is written and read back
                (`Marked.layers`), or nothing is handed out. A text in memory is plain
                text, which holds no label; one from a file is what its name says.
            as_of: the day whose rules are meant; None: today.
            explicit: whether there shall be a mark that people see or hear;
                ``"placed"``: it is there already; None: as the regimes say.
            notice: what is said at the start of a sound, where a regime wants words.
            unmarked: the user's request to get it without the explicit mark.

        Raises:
            LabelError: a regime requires what this file cannot have; with its clause.
            NotMarked: no mark, and `require_mark` is set or `layers` asked for some.
            MissingDependency: a learned mark's package is not installed.
            MissingCodec: there is no such codec, or its weights are not here.
            CodecError: a codec failed, or is for another medium or size.
            AmbiguousRecord: several records match.
            UnsupportedFormat: no manifest can be written for this type.
            SigningError: signing or reading back failed.
        """
        loaded = load(asset)
        if carrier not in (None, *get_args(Carrier)) or (
            carrier and loaded.kind != "text"
        ):
            raise UnsupportedFormat(
                f"carrier {carrier!r} is not supported for {loaded.kind}; a text takes "
                f"one of {', '.join(get_args(Carrier))}, every other file holds its "
                "manifest itself"
            )
        if loaded.problem:
            raise UnsupportedFormat(f"this asset cannot be signed: {loaded.problem}")
        if loaded.text is None and loaded.tokens is not None:
            raise UnsupportedFormat(
                "token ids cannot be signed: decode them and embed the text"
            )
        if loaded.latents is not None:
            raise UnsupportedFormat(
                "latents cannot be signed: decode them and embed what they show"
            )
        found = record or self._record_of(asset, loaded)
        carried, reason = loaded, ""
        if layers is not None and not mark:
            raise ValueError("layers= found with mark=False, expected one of them")
        if mark and (layers is not None or not _is_marked(found)):
            newest = self.home.ring.newest
            made = finished.mark(loaded, found, newest.key, newest.epoch, layers)
            carried, found, reason = made.asset, made.record, made.reason
            if layers is not None and reason:
                raise NotMarked(reason)
            for each in made.keys:
                self.home.add_key_record(each)
        if not _is_marked(found):
            message = (
                f"this {found.kind} carries no mark (record {found.record_id}: mark "
                "none): its manifest can be stripped without a trace"
                + f"; {reason}"
                * bool(reason)
            )
            if require_mark:
                raise NotMarked(message)
            warnings.warn(message, UserWarning, stacklevel=2)
        marked = Marked(
            record=found,
            carrier=carrier or "sidecar",
            _home=self.home,
            _asset=carried,
            _original=loaded,
            _suffix=_suffix(asset),
            _named=isinstance(asset, os.PathLike),
            _when=timestamp,
        )
        wanted: dict[str, Any] = {
            "as_of": as_of,
            "explicit": explicit,
            "notice": notice,
            "unmarked": unmarked,
        }
        if regimes:
            if isinstance(regimes, str | Regime):
                regimes = [regimes]
            marked._order = Order(
                regimes=tuple(regimes),
                timestamp=timestamp,
                own=record is not None,
                **wanted,
            )
        elif given := [name for name, value in wanted.items() if value is not None]:
            raise ValueError(f"{', '.join(given)} found, expected with regimes= only")
        if format is not None:
            marked.finish(media_type_for_suffix(f".{format.lower().lstrip('.')}"))
        elif loaded.data is not None or loaded.text is not None:
            marked.finish(loaded.media_type or "text/plain")
        return marked

    def propagate(
        self,
        asset: Any,
        *,
        code: str,
        propagate_id: str,
        declared: bool = False,
        traces: bool = False,
    ) -> Marked:
        """Add this platform to a file's label, and sign that; what was there stays.

        The producer's label and its signature stay good, and the producer's manifest
        is kept as the parent ingredient of ours (Labelling Measures, Art. 6).

        Args:
            asset: a path or bytes of somebody's file.
            code: the platform's code of 27 characters, or its name in ASCII.
            propagate_id: the platform's own number of this file.
            declared: the user says that it is generated.
            traces: an explicit mark or other traces were detected.

        Raises:
            LabelError: there is nothing to say of this file, or not so.
            UnsupportedFormat: no label or no manifest can be written for this type.
            SigningError: signing or reading back failed.
        """
        loaded = load(asset)
        if loaded.problem or loaded.data is None or loaded.kind == "text":
            raise UnsupportedFormat(
                "this asset cannot be propagated: "
                + (loaded.problem or "expected a file that holds its metadata itself")
            )
        changed = platform.propagated(
            *(loaded.data, loaded.media_type),
            code=code,
            propagate_id=propagate_id,
            declared=declared,
            traces=traces,
        )
        marked = Marked(
            record=Record(
                kind=loaded.kind,  # type: ignore[arg-type]  # load() told bad kinds
                origin="altered",
                provider=self.home.provider,
            ),
            _home=self.home,
            _asset=replace(loaded, data=changed),
            _original=loaded,
            _labels=tuple(containers.read(io.BytesIO(changed), loaded.media_type)),
        )
        marked.finish(loaded.media_type)
        return marked

    def _record_of(self, asset: Any, loaded: Asset) -> Record:
        reference, record_id = self._outputs.get(id(asset), (None, ""))
        if reference is not None and reference() is asset:
            record = self.home.ledger.record(record_id)
            # An object may have been drawn on since: what it holds decides.
            seen = set(verification.content_digests(loaded))
            known = set(record.content) if record is not None else set()
            if record is not None and (seen & known or not (seen and known)):
                return record
        found = {
            row.record.record_id: row.record
            for digest in verification.content_digests(loaded)
            for row in self.home.ledger.by_binding(CONTENT, bytes.fromhex(digest))
            # Finished media that was marked here is known by its marked pixels.
            if row.event == "generated" or row.record.marks
        }
        if len(found) > 1:
            raise AmbiguousRecord(
                f"{len(found)} records match this output ({', '.join(sorted(found))}): "
                "pass record= with the one it is"
            )
        if found:
            return next(iter(found.values()))
        return Record(
            kind=loaded.kind,  # type: ignore[arg-type]  # load() told bad kinds
            origin="altered",
            provider=self.home.provider,
            system="",
        )

    # --- verify ----------------------------------------------------------------------

    def verify(
        self,
        asset: Any,
        *,
        pipeline: Any = None,
        tokenizer: Any = None,
        prompt: str | Sequence[int] = "",
        keys: Any = None,
        trust: bytes | str | Path | None = None,
        effort: str = "normal",
        resolve: bool | Sequence[str] = False,
    ) -> Report:
        """Look at every layer of an asset and judge. Never raises on bad content.

        Args:
            asset: text (str), a path, bytes, `Tokens` or one axis of integers; a PIL
                image, a list of them (a film), arrays or tensors of either
                (`watermark.assets.arrays`), `Audio` or `Latents`.
            pipeline: the diffusers pipeline that could have made a picture or film; or
                the transformers model that could have written a text (or a `Likelihood`
                of it): tokens are then weighed, which finds shorter texts.
            tokenizer: of the model that could have made a text: an object or a folder;
                by default every tokenizer that was attached here.
            prompt: that the text was written to (text, or ids where ids are given):
                what repeats it does not count as evidence.
            keys: a `Key` (of epoch 0), a `KeyRing`, a `KeyRecord`, the path of a key
                file, an engine's watermark configuration or whatever else
                `load_records` reads, or several of them; by default this home's.
            trust: root certificates (PEM bytes or a path); by default this home's own.
            effort: ``"quick"``, ``"normal"`` or ``"thorough"``.
            resolve: where this home has no manifest for a mark, ask other repositories
                (Soft Binding Resolution API): True: those of ``wm repository``; or
                their base URLs. They are sent what the mark carries, never the asset.
                By default nothing is asked, and no socket opened.

        Raises:
            UnsupportedFormat: no asset; or an array of another shape, dtype or range.
            HomeError: `resolve` is True, and the home names no repository.
            TokenizerMismatch: `tokenizer` is none that the key records name.
            VocabularyMismatch: it has more tokens than an engine's record says.
            KeyFileError: a key cannot be read.
            ConfigError: an engine's configuration cannot be read.
        """
        return Verifier(
            self.home,
            pipeline=pipeline,
            tokenizer=tokenizer,
            prompt=prompt,
            keys=keys,
            trust=trust,
            effort=effort,
            resolve=resolve,
        )(asset)

    def verify_many(
        self,
        assets: Iterable[Any],
        *,
        workers: int | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Report]:
        """`verify` of many assets, in their order, several at a time.

        Args:
            assets: as for `verify`; read as needed, so they may be a generator.
            workers: threads; by default one for each core.
            options: as for `verify`.
        """
        return Verifier(self.home, **options).many(assets, workers=workers)


def _payload(
    scheme: str, payload: bytes | int | None, dual: bool
) -> dict[str, Parameter]:
    """Parameters of a scheme that carries `payload`."""
    if payload is None:
        return {}
    if scheme != "gumbel":
        raise UnsupportedPipeline(f"{scheme} carries no payload of the caller's")
    if isinstance(payload, bytes):
        return {"payload_bits": 8 * len(payload)}
    # A mark id that differs in every output does the work of the nonce, but not in the
    # contexts of a public key, which carry none; 0 bits do nobody's.
    if dual or not payload:
        return {"payload_bits": payload}
    return {"payload_bits": payload, "nonce_bits": 0}


def _suffix(asset: Any) -> str:
    """Of the file that a text came from; a text in memory is taken for Markdown."""
    return Path(asset).suffix.lower() if isinstance(asset, os.PathLike) else ".md"


def _is_marked(record: Record) -> bool:
    return any(mark.coverage > 0 for mark in record.marks)


# --- module functions ----------------------------------------------------------------


def _default() -> Watermark:
    """The default home, opened once for each place it is at."""
    return _opened(str(default_path().absolute()))


@functools.lru_cache(maxsize=8)
def _opened(path: str) -> Watermark:
    return Watermark.open(path)


P = ParamSpec("P")
R = TypeVar("R")


def _of_default(method: Callable[Concatenate[Watermark, P], R]) -> Callable[P, R]:
    """A function that calls `method` of the default home."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(_default(), *args, **kwargs)

    own = inspect.signature(method)
    bare = [p for name, p in own.parameters.items() if name != "self"]
    call.__signature__ = own.replace(parameters=bare)  # type: ignore[attr-defined]
    call.__qualname__ = method.__name__
    return call


attach = _of_default(Watermark.attach)
embed = _of_default(Watermark.embed)


def verify(
    asset: Any,
    *,
    pipeline: Any = None,
    tokenizer: Any = None,
    prompt: str | Sequence[int] = "",
    keys: Any = None,
    trust: bytes | str | Path | None = None,
    effort: str = "normal",
    resolve: bool | Sequence[str] = False,
) -> Report:
    """`Watermark.verify` with the default home; with `keys` no home is needed."""
    return _verifier(
        pipeline=pipeline,
        tokenizer=tokenizer,
        prompt=prompt,
        keys=keys,
        trust=trust,
        effort=effort,
        resolve=resolve,
    )(asset)


def verify_many(
    assets: Iterable[Any], *, workers: int | None = None, **options: Unpack[Options]
) -> Iterator[Report]:
    """`Watermark.verify_many` with the default home; with `keys` none is needed."""
    return _verifier(**options).many(assets, workers=workers)


def _verifier(**options: Unpack[Options]) -> Verifier:
    keys = options.get("keys")
    without_home = keys is not None and not default_path().exists()
    return Verifier(None if without_home else _default().home, **options)
