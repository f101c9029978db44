"""Strip and recover, for what the trained models make: pictures and texts.

A picture of the pipeline is marked in its noise, a text of the language model with a
message of 16 bits; each is signed and entered in the ledger. Then its manifest is taken
away, it is attacked, and the whole of verify says which manifest it finds.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.diffusion.found import CLASSES, PROMPT, load_pipeline
from benchmarks.language import PROMPTS, Language
from benchmarks.ledger_recovery import ATTACKS, GEOMETRIC, recovered
from benchmarks.options import Options, seeded, weights_sha256
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.text.edits import WORD, deleted, substituted
from watermark.api import Watermark
from watermark.invert.latents import Inverter

STEPS = 20
LENGTH = 400  # tokens of a text
NO_REPEAT = 8  # no run of so many tokens comes twice: the small model runs in circles
BITS = 16
BATCH = 10

PICTURES = {name: attack for name, attack in ATTACKS.items() if name not in GEOMETRIC}
SAVED, JPEG = list(PICTURES)[:2]

Edit = Callable[[str, random.Random], str]


def _words(edit: Callable[..., list[str]], share: float) -> Edit:
    return lambda said, rng: "".join(edit(WORD.findall(said), share, rng))


TEXTS: dict[str, Edit] = {
    "copied": lambda said, rng: said,
    "5 % of the words deleted": _words(deleted, 0.05),
    "10 % of the words deleted": _words(deleted, 0.1),
    "10 % of the words replaced": _words(substituted, 0.1),
    "the second half alone": lambda said, rng: said[len(said) // 2 :],
}


@dataclass
class Counts:
    """What was found, attack by attack.

    Attributes:
        own: outputs whose own manifest was found.
        wrong: outputs for which another was, perhaps beside their own.
        unmarked: outputs without a mark for which any was.
    """

    own: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    unmarked: int = 0

    def add(self, attack: str, own: str, found: set[str]) -> None:
        """Count the records whose manifests were found for one output of `own`."""
        self.own[attack] = self.own.get(attack, 0) + (own in found)
        self.wrong[attack] = self.wrong.get(attack, 0) + bool(found - {own})


def recover(options: Options) -> Part:
    """How often the stripped manifest of a generated picture or text is found again.

    Raises:
        Unavailable: there is no pipeline, or no language model.
    """
    digests = {
        "pipeline": weights_sha256(options.pipeline)[:12],
        "language model": weights_sha256(options.lm)[:12],
    }
    n_pictures, n_texts = options.count(3, 200), options.count(10, 400)
    with tempfile.TemporaryDirectory() as folder:
        w = Watermark.create(Path(folder) / "home", provider="benchmark")
        with w.home.ledger:
            seen = pictures(w, options, n_pictures)
            said = texts(w, options, n_texts)
    saved, jpeg = (Rate(seen.own.get(name, 0), n_pictures) for name in (SAVED, JPEG))
    wrong = sum(seen.wrong.values()) + sum(said.wrong.values())
    return Part(
        parameters={
            "pictures": n_pictures,
            "texts": n_texts,
            "steps": STEPS,
            "tokens": LENGTH,
            **digests,
        },
        targets=(
            Target.of_rate("pictures recovered after a Pillow re-save", saved, 1.0),
            Target.of_rate("pictures recovered after JPEG 75", jpeg, 0.99),
            Target.at_most("wrong recoveries of outputs", wrong, 0),
            Target.at_most(
                "recoveries of unmarked outputs", seen.unmarked + said.unmarked, 0
            ),
        ),
        tables=(
            _table("pictures", PICTURES, seen, n_pictures, f"`noise`, {STEPS} steps"),
            _table(
                *("texts", TEXTS, said, n_texts),
                f"`gumbel` with a message of {BITS} bits in {LENGTH} tokens at "
                f"temperature 1, no {NO_REPEAT} tokens twice; {n_texts} records",
            ),
        ),
    )


def _table(
    what: str, attacks: Mapping[str, Any], found: Counts, count: int, how: str
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in attacks:
        rate = Rate(found.own.get(name, 0), count)
        wrong = found.wrong.get(name, 0)
        rows.append((name, rate.value, *rate.interval(), wrong, count))
    return Table(
        f"Stripped manifests of generated {what}, recovered by the mark",
        ("attack", "recovered", "lower", "upper", "wrong", what),
        tuple(rows),
        f"{how}; the whole of verify with its default effort; 95 % Clopper-Pearson.",
    )


def pictures(w: Watermark, options: Options, count: int) -> Counts:
    """Pictures of the pipeline, each with an unmarked one beside it."""
    pipe = load_pipeline(options.pipeline)
    inverter, found = Inverter(pipe), Counts()
    for index in options.track(range(count), "recover: pictures"):
        start = int.from_bytes(seeded("recover", options.seed, index)[:8], "little")
        with w.attach(pipe) as attachment:
            picture = _picture(pipe, index, start >> 1)
        record = attachment.records[-1]
        w.embed(picture, record=record, format="png")
        for name, attack in PICTURES.items():
            ids = recovered(w, attack(picture), pipeline=inverter)
            found.add(name, record.record_id, ids)
        plain = PICTURES[SAVED](_picture(pipe, index, start >> 2))
        found.unmarked += bool(recovered(w, plain, pipeline=inverter))
    return found


def _picture(pipe: Any, index: int, seed: int) -> Image.Image:
    made: Image.Image = pipe(
        PROMPT.format(CLASSES[index % len(CLASSES)]),
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]
    return made


def texts(w: Watermark, options: Options, count: int) -> Counts:
    """Texts of the language model, and as many unmarked ones."""
    language, found = Language.load(options.lm), Counts()
    made: list[tuple[str, str]] = []
    starts = range(0, count, BATCH)
    for start in options.track(starts, "recover: sampling"):
        places = range(start, min(start + BATCH, count))
        with w.attach(
            language.model, tokenizer=language.tokenizer, payload=BITS
        ) as attachment:
            drawn = _sampled(language, places, options.seed)
        for text, record in zip(drawn, attachment.records, strict=True):
            w.embed(text, record=record)
            made.append((text, record.record_id))
    for text, own in options.track(made, "recover: texts"):
        for name, edit in TEXTS.items():
            edited = edit(text, random.Random(f"{name}/{own}"))
            found.add(name, own, recovered(w, edited))
    for start in starts:
        places = range(start, min(start + BATCH, count))
        for text in _sampled(language, places, options.seed + 1):
            found.unmarked += bool(recovered(w, text))
    return found


def _sampled(language: Language, places: Sequence[int], seed: int) -> list[str]:
    """Continuations of the prompts, without them."""
    prompts = [PROMPTS[place % len(PROMPTS)] for place in places]
    inputs = language.tokenizer(prompts, return_tensors="pt", padding=True)
    drawn = seeded("recover: texts", seed, places[0])
    with torch.random.fork_rng():
        torch.manual_seed(int.from_bytes(drawn[:8], "little") >> 1)
        ids = language.model.generate(
            **inputs,
            do_sample=True,
            top_k=0,
            no_repeat_ngram_size=NO_REPEAT,
            min_new_tokens=LENGTH,
            max_new_tokens=LENGTH,
        )
    new = ids[:, -LENGTH:]
    return [str(t) for t in language.tokenizer.batch_decode(new)]
