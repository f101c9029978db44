"""Strength: each scheme at several strengths, what it costs beside what it finds.

    python -m benchmarks robustness --suite strength [--schemes greenlist,wave]
        [--only JPEG] --out DIR

A subject is a scheme at one strength, such as ``greenlist delta 2``; ``--schemes``
takes the scheme alone for all of its strengths. To add one, add its line to `SWEEPS`;
how a sample is measured is in `benchmarks.robustness.strength_media`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.attacks import Attack
from benchmarks.attacks import audio as audio_attacks
from benchmarks.attacks import image as image_attacks
from benchmarks.attacks import text as text_attacks
from benchmarks.journal import code_version
from benchmarks.options import Options
from benchmarks.report import Part
from benchmarks.robustness import strength_summary as summary
from benchmarks.robustness.audio import AudioSuite
from benchmarks.robustness.image import ImageSuite
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.strength_media import (
    ATTACKS,
    DECIBELS,
    GRAM,
    LENGTH,
    PERPLEXITY,
    PSNR,
    SECONDS,
    SHARED,
    TEXTS,
    UNMARKED,
    Bench,
    Pictures,
    Sounds,
    Sweep,
    Texts,
)
from benchmarks.robustness.suite import Marks, Suite
from benchmarks.robustness.text import TextSuite
from watermark.schemes import pixel

SUITES: dict[str, Suite] = {
    "text": TextSuite(),
    "image": ImageSuite(),
    "audio": AudioSuite(),
}

SWEEPS = (
    Sweep(
        *("greenlist", "text", "delta", (0.5, 1, 2, 3, 4), PERPLEXITY),
        "a larger bias takes words that the model would not have taken",
    ),
    Sweep(
        *("tournament", "text", "layers", (10, 20, 30), SHARED),
        "one text has the distribution of the model at any depth; a deeper tournament "
        "leaves less to chance, so that texts of one prompt and nonce are alike",
    ),
    Sweep(
        *("gumbel", "text", "width", (8, 4, 2, 1), SHARED),
        "an edit hurts all tokens whose context it is in; narrow contexts come again, "
        "which leaves tokens unmarked and makes texts of one nonce alike",
    ),
    Sweep(
        *("latent", "image", "delta", (60, 100, 160, 250), PSNR),
        "a larger step is seen; it is a limit that large latents do not meet",
    ),
    Sweep(
        *("pixel", "image", "psnr", (46, 44, pixel.PSNR, 40, 38), PSNR),
        "every decibel less is more of a change to see",
    ),
    Sweep(
        *("wave", "audio", "decibels", (38, 35, 32, 29, 26), DECIBELS),
        "every decibel less is more of a noise to hear",
    ),
)
SUBJECTS = {s.subject(value): (s, value) for s in SWEEPS for value in s.strengths}


class StrengthSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """What the suites of the media say, for these attacks."""
        parts = {medium: suite.spec(options) for medium, suite in SUITES.items()}
        tables: dict[str, Mapping[str, Attack[Any]]] = {
            "text": text_attacks.table(text_attacks.Sources.of([])),
            "image": image_attacks.table(),
            "audio": audio_attacks.table(),
        }
        shown = {
            f"{medium}, {name}": value
            for medium, part in parts.items()
            for name, value in part.identity["shown"].items()
        }
        return Spec(
            name="strength",
            schemes=tuple(SUBJECTS),
            unavailable={},
            attacks={
                name: (table[name].family, table[name].strength)
                for medium, table in tables.items()
                for name in ATTACKS[medium]
                if name in table  # codecs may be missing
            },
            variant="-".join(filter(None, (part.variant for part in parts.values()))),
            identity={
                "code": code_version((), "robustness/strength_media.py"),
                "media": {medium: part.identity for medium, part in parts.items()},
                "shown": {**shown, "text, tokens": LENGTH, "audio, seconds": SECONDS},
            },
            notes=(
                f"Texts: {LENGTH} tokens, {TEXTS} of one prompt and key, of which the "
                f"first is attacked and judged. {SHARED}: the share of a text's "
                f"{GRAM}-grams that another one has too. Perplexity under the model "
                f"without a mark. {UNMARKED}: of the same prompts and seeds.",
                "Texts of one prompt have one nonce, where a scheme has nonces: the "
                "worst case, by default that of one pair in 16. The test tries all.",
                "Pictures and sounds, and their measures: as in their own suites, but "
                f"{SECONDS} seconds of a sound.",
                "Attacks on one sample belong together: intervals of all attacks "
                "together allow for it. Perplexity: geometric means.",
            ),
        )

    def worker(self, options: Options) -> StrengthWorker:
        """Models are loaded when they are needed."""
        return StrengthWorker(options)

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """The sets' feature distances."""
        ImageSuite().finish(rows)

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """A table and a plot for each scheme, and what they say of its default."""
        whole = super().part(spec, rows, count, new)
        also = ("without the key", "failed")
        every = [(sweep, summary.by_strength(sweep, rows)) for sweep in SWEEPS]
        swept = [(sweep, found) for sweep, found in every if found]
        return replace(
            whole,
            tables=(
                *(summary.table(*one) for one in swept),
                *(t for t in whole.tables if t.title.endswith(also)),
            ),
            plots=tuple(summary.plot(*one) for one in swept),
            notes=(*spec.notes, *(summary.told(*one) for one in swept)),
        )


class StrengthWorker:
    """Hands each sample to the bench of its medium."""

    def __init__(self, options: Options) -> None:
        benches: dict[str, Callable[[Options], Bench]]
        benches = {"text": Texts, "image": Pictures, "audio": Sounds}
        self._bench = functools.cache(lambda medium: benches[medium](options))

    def sample(self, subject: str, index: int) -> Row:
        """One text, picture or sound and what becomes of it."""
        sweep, strength = SUBJECTS[subject]
        return self._bench(sweep.medium).measure(sweep, strength, index)
