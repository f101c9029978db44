"""Texts of the language model, marked by ours and by transformers' own schemes.

All are judged by one `Verifier`, which has exact p-values for either: a peer is found
as often as it can be at the realised rate, more often than by its own z-score.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import SynthIDTextWatermarkingConfig, WatermarkingConfig

from benchmarks.attacks import text as attacks
from benchmarks.checkpoints import named, variant
from benchmarks.fpr_corpus import texts as human_texts
from benchmarks.journal import code_version
from benchmarks.language import PROMPTS, Language, Sample, Sampling
from benchmarks.options import (
    Options,
    Unavailable,
    seeded,
    seeded_key,
    weights_sha256,
)
from benchmarks.report import Part
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, each, few, generator, kept
from benchmarks.robustness.unmarked import UNMARKED, with_table
from watermark import detectors, kernels, pipelines, schemes, verification
from watermark.keys import KeyRecord, Parameter
from watermark.schemes import SCHEMES, foreign
from watermark.schemes.foreign.config import load_records
from watermark.verifier import Verifier

LENGTH = 200
SAMPLING = Sampling(temperature=1.0, no_repeat=8)
OURS: dict[str, tuple[str, dict[str, Parameter]]] = {
    "gumbel": ("gumbel", {}),
    "gumbel-robust": ("gumbel", {"width": 2}),
    "gumbel-16-bits": ("gumbel", {"payload_bits": 16, "nonce_bits": 0}),
    "tournament": ("tournament", {}),
    "greenlist": ("greenlist", {}),
}
RUN = 8  # tokens; `SAMPLING` forbids those that come again
KINDS = ("prose", "licences")  # of texts that passages are pasted into
PIECE = 20_000  # characters of one host


def _kgw(key: int, seeding: str, width: int) -> WatermarkingConfig:
    odd = key % (1 << 31) | 1  # it multiplies by its key
    return WatermarkingConfig(
        hashing_key=odd, seeding_scheme=seeding, context_width=width
    )


def _synthid(key: int) -> SynthIDTextWatermarkingConfig:
    drawn = np.random.default_rng(key).integers(1 << 16, size=30)
    return SynthIDTextWatermarkingConfig(ngram_len=5, keys=drawn.tolist())


PEERS = {
    "KGW-lefthash": lambda key: _kgw(key, "lefthash", 1),
    "KGW-selfhash": lambda key: _kgw(key, "selfhash", 4),
    "SynthID": _synthid,
}


class TextSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """The schemes and peers here."""
        sha256 = weights_sha256(options.lm)
        if not (options.lm / "config.json").is_file():
            raise Unavailable(f"no language model in {options.lm.name}/ (config.json)")
        pieces = hosts()
        sources = attacks.Sources.of(pieces, language=object())
        table = few(attacks.table(sources), options)
        return Spec(
            name="text",
            schemes=(*OURS, UNMARKED),
            peers=tuple(PEERS),
            unavailable={},
            attacks={a.name: (a.family, a.strength) for a in table.values()},
            identity={
                "code": code_version(
                    (schemes, foreign, detectors, kernels, pipelines, verification),
                    *("language.py", "attacks/text.py", "robustness/text.py"),
                    "fpr_corpus.py",
                ),
                "model": sha256,
                "hosts": hashlib.sha256("\0".join(pieces).encode()).hexdigest(),
                "shown": {
                    "model": named(options.lm, sha256),
                    "tokens": LENGTH,
                    "sampling": str(SAMPLING),
                },
            },
            variant=variant(options.lm, "lm", sha256),
            payloads=frozenset({"gumbel-16-bits"}),
            notes=(
                f"Texts: {LENGTH} tokens of the small language model, {SAMPLING}, "
                "decoded, attacked, and tokenised again; a new key for each.",
                "Perplexity under the unmarked model, of the unattacked text. Runs of "
                f"{SAMPLING.no_repeat} tokens that came before are never sampled.",
                f"{UNMARKED}: under a key of each scheme and peer in turn; a table has "
                "it for each of them.",
            ),
        )

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """Unmarked texts beside the rest."""
        return with_table(super().part(spec, rows, count, new), spec, rows)

    def worker(self, options: Options) -> TextWorker:
        """With the model loaded."""
        return TextWorker(options)


def hosts() -> list[str]:
    """Unmarked texts by people, cut into pieces."""
    found = human_texts()
    return [
        found[kind][start : start + PIECE]
        for kind in KINDS
        if kind in found
        for start in range(0, len(found[kind]), PIECE)
    ]


class TextWorker:
    """Generates, attacks and verifies."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.language = Language.load(options.lm)
        sources = attacks.Sources.of(hosts(), self.language)
        self.every = attacks.table(sources)
        self.attacks = kept(few(self.every, options), options)

    def sample(self, subject: str, index: int) -> Row:
        """One text and what becomes of it."""
        if subject == UNMARKED:
            return self._plain(index)
        keys, more = self._keys(subject, "marked", index)
        drawn, text = self._said(index, **more)
        ours = self._verifier(keys)
        others = self._verifier(self._keys(subject, "other", index)[0])
        message = drawn.messages[0]

        def measure(name: str) -> Row:
            rng = generator(self.options, subject, index, name)
            changed = self.attacks[name].change(text, rng)
            log10_p, payload = _judged(ours, changed)
            row: Row = {"log10_p": log10_p, "exact": None}
            if message:
                row |= {"exact": payload == message, "told": bool(payload)}
            return {**row, "null": _judged(others, changed)[0]}

        found = each(self.attacks, measure, False if message else None)
        return {"attacks": found, "quality": self._quality(drawn.ids[0], drawn.nats[0])}

    def _plain(self, index: int) -> Row:
        """One text that nobody marked."""
        drawn, text = self._said(index)
        names = (*OURS, *PEERS)
        verifier = functools.cache(
            lambda name: self._verifier(self._keys(name, UNMARKED, index)[0])
        )
        turns = {name: index + place for place, name in enumerate(self.attacks)}

        def measure(name: str) -> Row:
            rng = generator(self.options, UNMARKED, index, name)
            scheme = names[turns[name] % len(names)]
            changed = self.attacks[name].change(text, rng)
            log10_p = _judged(verifier(scheme), changed)[0]
            told = {"null": log10_p, "under": {scheme: log10_p}}
            return {"log10_p": log10_p, "exact": None, **told}

        quality = self._quality(drawn.ids[0], drawn.nats[0])
        return {"attacks": each(self.attacks, measure), "quality": quality}

    def _said(self, index: int, **more: Any) -> tuple[Sample, str]:
        """What the model says, and as a text."""
        drawn = self.language.sample(
            [PROMPTS[index % len(PROMPTS)]],
            sampling=SAMPLING,
            seed=seeded("robustness", self.options.seed, index),  # for all subjects
            length=LENGTH,
            **more,
        )
        text = self.language.tokenizer.decode(drawn.ids[0], skip_special_tokens=True)
        return drawn, text

    def _verifier(self, keys: Any) -> Verifier:
        return Verifier(None, keys=keys, tokenizer=self.language.folder)

    def _keys(self, subject: str, *place: object) -> tuple[Any, dict[str, Any]]:
        """What verifies a subject's texts, and what marks them."""
        key = seeded_key("robustness", self.options.seed, subject, *place)
        if subject in OURS:
            scheme, parameters = OURS[subject]
            more: dict[str, Any] = dict(parameters)
            record: KeyRecord = SCHEMES[scheme].record(
                key,
                vocab_size=self.language.vocab_size,
                tokenizer=self.language.reader.digest,
                **more,
            )
            return record, {"record": record}
        number = int.from_bytes(seeded("peer", key.kid)[:8], "little")
        config = PEERS[subject](number)
        width = self.language.vocab_size if subject.startswith("KGW") else None
        return load_records(config, vocab_size=width), {"watermarking_config": config}

    def _quality(self, ids: list[int], nats: float) -> dict[str, float]:
        return {**self.quality(ids), "nats a token": nats}

    @torch.inference_mode()
    def quality(self, ids: list[int]) -> dict[str, float]:
        """Of a text's tokens: what the unmarked model thinks of it, and its variety.

        Distinct: the share of runs that are different ones. Repeated: of runs that
        the text held before.
        """
        row = torch.tensor([ids])
        loss = self.language.model(row, labels=row).loss
        return {
            "perplexity": math.exp(float(loss)),
            **{f"distinct {n}-grams": _distinct(ids, n) for n in (2, 4)},
            f"repeated {RUN}-grams": 1 - _distinct(ids, RUN),
        }


def _distinct(ids: list[int], n: int) -> float:
    runs = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def _judged(verifier: Verifier, text: str) -> tuple[float, bytes]:
    """log10 p, everything counted, and the payload; 0 where nothing is tested."""
    marks = [e for e in verifier(text).evidence if e.log10_p is not None]
    if not marks:
        return 0.0, b""
    best = min(marks, key=lambda e: e.log10_p or 0.0)
    return float(best.log10_p or 0.0), best.payload or b""
