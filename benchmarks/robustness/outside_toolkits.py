"""The outside toolkits: what each is asked for, and how its scores are read."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import norm

from benchmarks.diffusion.found import CLASSES, PROMPT
from benchmarks.language import PROMPTS
from benchmarks.options import Options
from benchmarks.robustness import image, text
from benchmarks.robustness.fitted import LEAST, log10

MOST = 1 - 2.0**-53  # LEAST to MOST: p-values that have a quantile


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a scheme's score is read.

    Attributes:
        normal: to a number that grows with the evidence, and is about normal for things
            that another key marked.
        log10_p: of the p-value that the toolkit states by it, or None.
    """

    normal: Callable[[float], float]
    log10_p: Callable[[float], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """One toolkit. Its functions go to other processes by their names.

    Attributes:
        name: of its package, and the beginning of its subjects' names.
        variable: of the environment; names the Python that has it.
        script: beside this file, without ".py": run by that Python.
        schemes: by the toolkit's own names.
        opening: what the script is told first.
        prompt: of the sample at an index.
        ours: from what the script sends to what the attacks take.
        theirs: the other way.
        quality: of a marked thing, by the suite's worker.
        notes: what a reader has to know.
    """

    name: str
    variable: str
    script: str
    schemes: Mapping[str, Scheme]
    opening: Callable[[Options], Mapping[str, Any]]
    prompt: Callable[[int], str]
    ours: Callable[[str], Any]
    theirs: Callable[[Any], str]
    quality: Callable[[Any, Any], dict[str, float]]
    notes: tuple[str, ...]


def as_it_is(score: Any) -> Any:
    """A z-score, a sum or a share of bits; or a text."""
    return score


def quantile(p: float) -> float:
    """The normal quantile of a p-value."""
    return float(norm.isf(min(max(p, LEAST), MOST)))


def log10_tail(z: float) -> float:
    """Of the normal tail of a z-score."""
    return float(norm.logsf(z)) / math.log(10)


def sampled(options: Options) -> dict[str, Any]:
    """As the text suite samples."""
    sampling = {
        "do_sample": True,
        "temperature": text.SAMPLING.temperature,
        "top_k": 0,
        "top_p": text.SAMPLING.top_p,
        "no_repeat_ngram_size": text.SAMPLING.no_repeat,
    }
    folder = str(options.lm.resolve())
    return {"folder": folder, "length": text.LENGTH, "sampling": sampling}


def text_prompt(index: int) -> str:
    """As in the text suite."""
    return PROMPTS[index % len(PROMPTS)]


def text_quality(worker: Any, marked: str) -> dict[str, float]:
    """As in the text suite, of the text tokenised again."""
    quality: dict[str, float] = worker.quality(worker.language.reader.encode(marked))
    return quality


def generated(options: Options) -> dict[str, Any]:
    """As the image suite generates."""
    steps, inversion = image.FULL if options.full else image.QUICK
    folder = str(options.pipeline.resolve())
    return {"folder": folder, "steps": steps, "inversion": inversion}


def image_prompt(index: int) -> str:
    """As in the image suite."""
    return PROMPT.format(CLASSES[index % len(CLASSES)])


def pixels(png: str) -> image.Pixels:
    """Of a PNG in base 64."""
    data = io.BytesIO(base64.b64decode(png, validate=True))
    return np.asarray(Image.open(data, formats=("PNG",)).convert("RGB"))


def png(found: image.Pixels) -> str:
    """The other way."""
    data = io.BytesIO()
    Image.fromarray(found).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode("ascii")


def no_quality(worker: Any, marked: Any) -> dict[str, float]:
    """A mark in the noise has no unmarked picture beside it."""
    return {}


FIT = (
    "{0}: in an environment of its own. p is the tail of a normal fitted, for each "
    "attack, to its detector's scores of the same {1} under four other keys, widened "
    "for their number (Student's t): 1e-6 is an extrapolation. No fit: those scores "
    "are not normal, or alike for one of the {1}."
)
MARKLLM = Toolkit(
    name="MarkLLM",
    variable="MARKLLM_PYTHON",
    script="outside_markllm",
    schemes={
        **{s: Scheme(as_it_is, log10_tail) for s in ("KGW", "Unigram", "SWEET", "EWD")},
        "EXP": Scheme(quantile, log10),
    },
    opening=sampled,
    prompt=text_prompt,
    ours=as_it_is,
    theirs=as_it_is,
    quality=text_quality,
    notes=(
        FIT.format("MarkLLM", "texts"),
        "MarkLLM without the key: p as it states it, or as its z-score does. EXP "
        "samples by a loop of its own: one text for a prompt and a key, in which runs "
        "of tokens may come twice. SWEET and EWD detect with the model.",
    ),
)
MARKDIFFUSION = Toolkit(
    name="MarkDiffusion",
    variable="MARKDIFFUSION_PYTHON",
    script="outside_markdiffusion",
    schemes={
        "TR": Scheme(quantile, log10),
        "GS": Scheme(as_it_is),
        "PRC": Scheme(as_it_is),
    },
    opening=generated,
    prompt=image_prompt,
    ours=pixels,
    theirs=png,
    quality=no_quality,
    notes=(
        FIT.format("MarkDiffusion", "pictures"),
        "MarkDiffusion's Tree-Ring by its p-value, with rings: its default pattern, "
        "zeros, has no key, and distances to two keys are not alike. "
        "Gaussian Shading is told its message and one nonce for all pictures. PRC's "
        "own verdict would take its decoding, which lasts seconds: there is none here.",
    ),
)
