"""How one sample of a scheme at a strength is marked, attacked and measured.

As in the suite of its medium, with fewer attacks, and the same for every strength:
keys, prompts, draws, and what attacks draw. Texts and sounds are short, so that marks
are missed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.attacks import Attack
from benchmarks.attacks import image as image_attacks
from benchmarks.diffusion.pixel import psnr, ssim
from benchmarks.language import PROMPTS
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.robustness.audio import AudioWorker
from benchmarks.robustness.image_marks import InLatents, InPixels, Made
from benchmarks.robustness.image_marks import _judged as _marks
from benchmarks.robustness.image_studio import KEPT, Pixels, Studio
from benchmarks.robustness.image_studio import PROMPTS as PICTURES
from benchmarks.robustness.measures import average
from benchmarks.robustness.spec import Row
from benchmarks.robustness.suite import each, generator, kept
from benchmarks.robustness.text import SAMPLING, TextWorker, _judged
from benchmarks.sounds import RATE
from watermark.detectors import pixel as pixel_detector
from watermark.detectors import wave as wave_detector
from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES, latent, pixel, wave
from watermark.verifier import Verifier

T = TypeVar("T")

LENGTH = 100  # tokens of a text
SECONDS = 4  # of a sound
TEXTS = 4  # of one prompt and key, to compare with each other
GRAM = 4  # tokens that two texts may share
ATTACKS = {
    "text": ("none", "typos 0.2", "words substituted 0.2"),
    "image": ("none", "JPEG 50", "JPEG 25", "resize and back 0.5"),
    "audio": ("none", "MP3, kbit/s 64", "noise, dB 25", "noise, dB 15"),
}
PERPLEXITY, SHARED = "perplexity", f"shared {GRAM}-grams"
PSNR, DECIBELS = "PSNR, dB", "signal to mark, dB"
UNMARKED = "unmarked"


@dataclass(frozen=True)
class Sweep:
    """One scheme at several strengths.

    Attributes:
        scheme: its name.
        medium: whose attacks and measures are taken.
        parameter: what is swept.
        strengths: values of it, the weakest mark first.
        quality: the measure that the plot has as abscissa.
        trade: what a stronger mark costs, by design.
    """

    scheme: str
    medium: str
    parameter: str
    strengths: tuple[float, ...]
    quality: str
    trade: str

    @property
    def default(self) -> float:
        """The strength that a key record has by default, or `pixel.mark`."""
        return float(SCHEMES[self.scheme].defaults.get(self.parameter, pixel.PSNR))

    def subject(self, strength: float) -> str:
        """The scheme at a strength."""
        return f"{self.scheme} {self.parameter} {strength:g}"

    def record(self, strength: float, key: Key, **more: Any) -> KeyRecord:
        """A key record of the scheme at a strength."""
        scheme = SCHEMES[self.scheme]
        if self.parameter in scheme.defaults:
            kind = type(scheme.defaults[self.parameter])
            more[self.parameter] = kind(strength)
        return scheme.record(key, **more)


class Bench(Protocol):
    """Measures one medium."""

    def measure(self, sweep: Sweep, strength: float, index: int) -> Row:
        """One sample of a scheme at a strength."""


def _attacked(
    thing: T,
    table: Mapping[str, Attack[T]],
    sweep: Sweep,
    index: int,
    options: Options,
    judge: Callable[[str, T], Row],
    exact: bool | None = None,
) -> dict[str, Row]:
    """What is judged of what each attack leaves; it draws the same for every strength.

    `exact` as in `each`.
    """
    chosen = kept({n: table[n] for n in ATTACKS[sweep.medium] if n in table}, options)

    def measure(name: str) -> Row:
        rng = generator(options, "strength", sweep.scheme, index, name)
        return judge(name, chosen[name].change(thing, rng))

    return each(chosen, measure, exact)


def _keys(options: Options, *place: object) -> tuple[Key, Key]:
    """One that marks, and one that does not."""
    ours, other = (
        seeded_key("strength", options.seed, *place, what)
        for what in ("marked", "other")
    )
    return ours, other


class Texts(TextWorker):
    """Texts of one prompt."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._unmarked = functools.lru_cache(KEPT)(lambda index: self._drawn(index)[1])

    def measure(self, sweep: Sweep, strength: float, index: int) -> Row:
        """See `Bench`."""
        ours, other = (
            sweep.record(
                *(strength, key),
                vocab_size=self.language.vocab_size,
                tokenizer=self.language.reader.digest,
            )
            for key in _keys(self.options, sweep.scheme, index)
        )
        # Parameters are no part of what is keyed: under `ours` these have nonce 0.
        one = {n: 0 for n in ours.parameters if n == "nonce_bits"}
        marking = replace(ours, parameters={**ours.parameters, **one})
        text, quality = self._drawn(index, record=marking)

        def judge(name: str, seen: str) -> Row:
            return {
                "log10_p": self._log10_p(seen, ours),
                "null": self._log10_p(seen, other),
            }

        found = _attacked(text, self.every, sweep, index, self.options, judge)
        return {"attacks": found, "quality": quality, UNMARKED: self._unmarked(index)}

    def _drawn(self, index: int, **more: Any) -> tuple[str, dict[str, float]]:
        """The first of some texts, and the quality of all of them."""
        drawn = self.language.sample(
            [PROMPTS[index % len(PROMPTS)]] * TEXTS,
            sampling=SAMPLING,
            seed=seeded("strength", self.options.seed, index),
            length=LENGTH,
            **more,
        )
        every = [self._quality(*one) for one in zip(drawn.ids, drawn.nats, strict=True)]
        quality = {
            name: average(name, [one[name] for one in every]) for name in every[0]
        }
        grams = [
            [tuple(ids[i : i + GRAM]) for i in range(len(ids) - GRAM + 1)]
            for ids in drawn.ids
        ]
        quality[SHARED] = statistics.fmean(
            len({*one} & {*other}) / len({*one})
            for i, one in enumerate(grams)
            for other in grams[:i] + grams[i + 1 :]
        )
        text = self.language.tokenizer.decode(drawn.ids[0], skip_special_tokens=True)
        return text, quality

    def _log10_p(self, text: str, record: KeyRecord) -> float:
        verifier = Verifier(None, keys=record, tokenizer=self.language.folder)
        return _judged(verifier, text)[0]


class Canvas(Studio):
    """A studio that makes the final latents of a draw once for all strengths."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.latents = functools.lru_cache(KEPT)(self._latents)

    def _latents(self, index: int) -> torch.Tensor:
        """As `AutoencoderKL.decode` takes them, (1, channels, height, width)."""
        made: torch.Tensor = self.pipe(
            PICTURES[index % len(PICTURES)],
            num_inference_steps=self.steps,
            latents=torch.from_numpy(self.draw(index))[None],
            output_type="latent",
        ).images
        return made / float(self.pipe.vae.config.scaling_factor)

    def _plain(self, index: int) -> Pixels:
        return self.decoded(self.latents(index))

    def decoded(self, latents: torch.Tensor) -> Pixels:
        """The picture of latents, in 8 bits."""
        with torch.inference_mode():
            picture = self.pipe.vae.decode(latents).sample
        (image,) = self.pipe.image_processor.postprocess(picture)
        return np.asarray(image, dtype=np.uint8)


class Latents(InLatents):
    """`latent` at a strength."""

    def __init__(self, studio: Canvas, sweep: Sweep, strength: float) -> None:
        super().__init__(studio)
        self.canvas = studio
        key = self.record.key
        assert isinstance(key, Key)
        record = sweep.record(strength, key)
        self.code = latent.Code(record, studio.shape)

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `image_marks.Subject`."""
        made = []
        for index in indices:
            marked, _, mark_id = latent.mark(self.canvas.latents(index)[0], self.code)
            made.append((self.canvas.decoded(marked[None]), mark_id))
        return made

    def test(self, pictures: Mapping[str, Pixels], told: Any) -> dict[str, Row]:
        """See `image_marks.Subject`. The other key takes as long: it looks once."""
        rows = {n: _marks(self.ours, p, told) for n, p in pictures.items()}
        if "none" in pictures:
            null = _marks(self.others, pictures["none"], told)
            rows["none"]["null"] = null["log10_p"]
        return rows


class Finished(InPixels):
    """`pixel` at a strength."""

    def __init__(self, studio: Canvas, sweep: Sweep, strength: float) -> None:
        super().__init__(studio)
        self.psnr = strength

    def mark(self, indices: Sequence[int]) -> list[Made]:
        """See `image_marks.Subject`."""
        plain = (self.plain(index) for index in indices)
        made = (pixel.mark(one, self.code, psnr=self.psnr) for one in plain)
        return [(marked, mark_id) for marked, _, mark_id in made]

    def test(self, pictures: Mapping[str, Pixels], told: bytes) -> dict[str, Row]:
        """See `image_marks.Subject`. Under the other key no geometry is searched."""
        rows: dict[str, Row] = {}
        for name, pixels in pictures.items():
            score = pixel_detector.search(pixels, self.code)
            rows[name] = {"log10_p": score.log10_p(), "exact": score.payload == told}
        if "none" in pictures:
            null = pixel_detector.score(pictures["none"], self.other)
            rows["none"]["null"] = null.log10_p()
        return rows


class Pictures:
    """Pictures of the diffusion model."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.studio = Canvas(options)
        self.every = image_attacks.table()
        kinds: dict[str, Callable[[Canvas, Sweep, float], Latents | Finished]]
        kinds = {"latent": Latents, "pixel": Finished}
        self._subject = functools.cache(
            lambda sweep, strength: kinds[sweep.scheme](self.studio, sweep, strength)
        )

    def measure(self, sweep: Sweep, strength: float, index: int) -> Row:
        """See `Bench`."""
        scheme = self._subject(sweep, strength)
        ((picture, told),) = scheme.mark([index])
        plain = scheme.plain(index)

        def judge(name: str, seen: Pixels) -> Row:
            return scheme.test({name: seen}, told)[name]

        return {
            "attacks": _attacked(
                *(picture, self.every, sweep, index, self.options, judge), exact=False
            ),
            "quality": {PSNR: psnr(plain, picture), "SSIM": ssim(plain, picture)},
            "features": [self.studio.features(one) for one in (plain, picture)],
        }


class Sounds(AudioWorker):
    """Recordings, or music."""

    def measure(self, sweep: Sweep, strength: float, index: int) -> Row:
        """See `Bench`."""
        ours, other = (
            wave.Code(sweep.record(strength, key))
            for key in _keys(self.options, sweep.scheme, index)
        )
        sound = self._sound(index)[: SECONDS * RATE]
        marked, _, mark_id = wave.mark(sound, RATE, ours)
        heard = np.asarray(marked, np.float64)

        def judge(name: str, seen: NDArray[np.float64]) -> Row:
            score = wave_detector.score(seen, RATE, ours)
            row = {"log10_p": score.log10_p(), "exact": score.payload == mark_id}
            if name == "none":
                row["null"] = wave_detector.score(seen, RATE, other).log10_p()
            return row

        found = _attacked(
            *(heard, self.every, sweep, index, self.options, judge), exact=False
        )
        ratio = float(np.mean(sound**2) / np.mean((heard - sound) ** 2))
        return {"attacks": found, "quality": {DECIBELS: 10 * math.log10(ratio)}}
