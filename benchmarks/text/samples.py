"""Samples of the language model, marked or not: made once, scored as often as liked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from benchmarks.journal import Journal, code_version
from benchmarks.language import BATCH, LENGTH, PROMPTS, Language, Sampling, sampling_at
from benchmarks.options import Options, seeded, seeded_key
from watermark import kernels, pipelines, schemes
from watermark.keys import KeyRecord, Parameter
from watermark.schemes import SCHEMES

Parameters = tuple[tuple[str, Parameter], ...]


# Below its natural entropy the small model runs in circles where a large one does not:
# one text in 25 holds less than half the mean. transformers' own remedy is on in the
# sets of a stated entropy, and one set shows what comes without it.
NO_REPEAT = 8
NOTE = (
    f"Texts of a stated entropy hold no run of {NO_REPEAT} tokens twice "
    "(`no_repeat_ngram_size`), but where it says that they are free to run in circles, "
    "as this small model does."
)


@dataclass(frozen=True, slots=True)
class Set:
    """Samples of one kind.

    Attributes:
        name: in tables; part of every seed.
        scheme: None means unmarked.
        nats: mean entropy of a token; None means temperature 1, the whole vocabulary.
        length: new tokens in each sample.
        parameters: of the scheme, where they are not its defaults.
        prompts: taken in turn.
        fixed_key: one key for all samples, instead of a new one for every batch.
        no_repeat: no run of this many tokens comes twice; 0: it may.
    """

    name: str
    scheme: str | None
    nats: float | None
    length: int = LENGTH
    parameters: Parameters = ()
    prompts: tuple[str, ...] = PROMPTS
    fixed_key: bool = False
    no_repeat: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """One sample.

    Attributes:
        ids: new tokens.
        nats: mean entropy of the distributions that the first 200 were drawn from.
        coverage: share of them that the key chose.
        record: what it was marked with, or None.
        message: its mark id, or empty.
    """

    ids: list[int]
    nats: float
    coverage: float
    record: KeyRecord | None
    message: bytes

    def said(self, language: Language, tokens: int | None = None) -> str:
        """The text of its first `tokens` tokens."""
        return str(
            language.tokenizer.decode(self.ids[:tokens], skip_special_tokens=True)
        )


class Sampler:
    """Makes sets of samples, and keeps them in a journal of their own.

    The journal is known by what decides a sample: the model, and the code of schemes,
    kernels and adapter. Detectors may change without a new sample.
    """

    def __init__(self, language: Language, options: Options) -> None:
        """Open the journal of this model and this code."""
        self.language = language
        self.options = options
        identity = {
            "code": code_version(
                (schemes, kernels, pipelines), "language.py", "text/samples.py"
            ),
            "model": language.sha256,
            "batch": BATCH,
            "seed": options.seed,
        }
        self.journal = Journal(options.work, "text-samples", identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.journal.close()

    def sampling(self, part: Set) -> Sampling:
        """Temperature and nucleus of a set."""
        if part.nats is None:
            return Sampling()
        return sampling_at(
            *(self.language, part.nats, self.options, self.journal),
            no_repeat=part.no_repeat,
        )

    def texts(self, part: Set, count: int) -> list[Text]:
        """`count` samples of a set: those on file, and the rest made now."""
        sampling = self.sampling(part)
        stem = f"{part}/{sampling}"
        # A batch is made as a whole, and named by its size: a sample is the same
        # whatever was asked for first, or was on file.
        batches = [
            range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)
        ]
        names = {i: f"{stem}/{len(b)}/{i}" for b in batches for i in b}
        missing = [b for b in batches if self.journal.missing(names[i] for i in b)]
        for places in self.options.track(missing, part.name) if missing else ():
            self._make(part, sampling, places, names)
        return [self._text(part, i, self.journal.rows[n]) for i, n in names.items()]

    def _make(
        self, part: Set, sampling: Sampling, places: range, names: dict[int, str]
    ) -> None:
        drawn = self.language.sample(
            [part.prompts[i % len(part.prompts)] for i in places],
            sampling=sampling,
            seed=seeded("sample", self.options.seed, part.name, places[0]),
            record=self._record(part, places[0]),
            length=part.length,
        )
        rows = zip(
            places, drawn.ids, drawn.nats, drawn.coverage, drawn.messages, strict=True
        )
        for i, ids, nats, coverage, message in rows:
            row = {"ids": ids, "nats": nats, "coverage": coverage}
            self.journal.add(names[i], {**row, "message": message.hex()})

    def _text(self, part: Set, place: int, row: dict[str, Any]) -> Text:
        return Text(
            row["ids"],
            row["nats"],
            row["coverage"],
            self._record(part, place),
            bytes.fromhex(row["message"]),
        )

    def _record(self, part: Set, place: int) -> KeyRecord | None:
        if part.scheme is None:
            return None
        batch = "all" if part.fixed_key else place // BATCH
        key = seeded_key("text", self.options.seed, part.name, batch)
        more: dict[str, Any] = dict(part.parameters)
        return SCHEMES[part.scheme].record(
            key, vocab_size=self.language.vocab_size, **more
        )
