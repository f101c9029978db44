"""Text: how often a mark is found, and whether one prompt stays diverse.

    python -m benchmarks text

200 new tokens, decoded and tokenised again, then verified as `watermark.verify` does:
one key, one tokenizer, two schemes, every nonce counted.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bleu import self_bleu
from benchmarks.journal import Journal, code_version
from benchmarks.language import BATCH, LENGTH, PROMPTS, Language, one_nat
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Result, Table, Target
from watermark import detectors, kernels, schemes, verification
from watermark.assets.loading import Tokens, load
from watermark.keys import Key
from watermark.pipelines import transformers as adapter
from watermark.schemes import SCHEMES, default_records

FPR = 1e-6
HYPOTHESES = {"gumbel": 2 * 16, "greenlist": 2}  # two schemes tested, and its nonces
PREFIXES = (50, 100, 150)
REFERENCES = 50  # of self-BLEU
APART = 0.05  # how far marked diversity may lie from unmarked


@dataclass(frozen=True, slots=True)
class Set:
    """Samples of one kind: `scheme` None means unmarked, `nats` None temperature 1."""

    name: str
    scheme: str | None
    nats: float | None
    one_prompt: bool = False

    def ids(self, count: int, temperature: float) -> list[str]:
        """Journal ids of its samples."""
        return [f"{self.name}@{temperature:.4f}/{i}" for i in range(count)]


SETS = (
    Set("gumbel, 1 nat", "gumbel", 1.0),
    Set("gumbel, T = 1", "gumbel", None),
    Set("greenlist, 1 nat", "greenlist", 1.0),
    Set("greenlist, T = 1", "greenlist", None),
    Set("unmarked, 1 nat", None, 1.0),
    Set("one prompt, gumbel", "gumbel", 1.0, one_prompt=True),
    Set("one prompt, unmarked", None, 1.0, one_prompt=True),
)

Rows = list[dict[str, Any]]


def run(options: Options) -> Result:
    """Sample, verify, count.

    Raises:
        Unavailable: there is no language model.
    """
    language = Language.load(options.lm)
    count = options.count(40, 200)
    identity = {
        "code": code_version(
            (detectors, schemes, adapter, kernels), "text.py", "language.py"
        ),
        "model": language.sha256,
        "length": LENGTH,
        "batch": BATCH,
        "seed": options.seed,
    }
    with Journal(options.work, "text", identity) as journal:
        cool, source = one_nat(language, options, journal)
        found: dict[str, Rows] = {}
        for part in SETS:
            temperature = 1.0 if part.nats is None else cool
            _fill(part, temperature, count, language, options, journal)
            names = part.ids(count, temperature)
            found[part.name] = [journal.rows[name] for name in names]
        new = journal.added
    targets, diverse = _diversity(found)
    return Result(
        name="text",
        parameters={
            "samples": count,
            "tokens": LENGTH,
            "prompts": len(PROMPTS),
            "seed": options.seed,
            "temperature of 1 nat": f"{cool:.4f} ({source})",
            "model": language.sha256[:12],
        },
        targets=(*_found_targets(found), *targets),
        tables=(_found_table(found), _length_table(found), diverse),
        notes=(
            f"A text counts as found where the adjusted p is at most {FPR:g}: one key, "
            "one tokenizer, two schemes, 16 nonces of gumbel.",
            f"A new key for every {BATCH} samples; those of one prompt share theirs.",
            "Nats: mean entropy of the distribution before the mark, over the tokens "
            "sampled; intervals are Clopper-Pearson at 95 %.",
        ),
        new=new,
        reused=max(0, len(SETS) * count - new),
    )


def _fill(
    part: Set,
    temperature: float,
    count: int,
    language: Language,
    options: Options,
    journal: Journal,
) -> None:
    """Make the samples of one set that are not on file yet."""
    missing = journal.missing(part.ids(count, temperature))
    batches = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
    for names in options.track(batches, part.name) if batches else ():
        places = [int(name.rpartition("/")[2]) for name in names]
        prompts = [PROMPTS[0 if part.one_prompt else i % len(PROMPTS)] for i in places]
        first = "all" if part.one_prompt else places[0]
        key = seeded_key("text", options.seed, part.scheme, part.nats, first)
        record = None
        if part.scheme is not None:
            record = SCHEMES[part.scheme].record(key, vocab_size=language.vocab_size)
        seed = seeded("sample", options.seed, part.name, places[0])
        drawn = language.sample(
            prompts, temperature=temperature, seed=seed, record=record, length=LENGTH
        )
        for name, ids, nats, coverage in zip(
            names, drawn.ids, drawn.nats, drawn.coverage, strict=True
        ):
            row = _verify(ids, part.scheme, key, language)
            journal.add(name, {**row, "ids": ids, "nats": nats, "coverage": coverage})


def _verify(
    ids: list[int], scheme: str | None, key: Key, language: Language
) -> dict[str, Any]:
    """log10 p of one sample: from its text, from its ids, from prefixes of them."""
    text = language.tokenizer.decode(ids, skip_special_tokens=True)
    return {
        "exact": language.reader.encode(text) == ids,
        "text": log10_p(text, scheme, key, language),
        "ids_p": log10_p(Tokens(ids), scheme, key, language),
        "prefixes": {
            str(n): log10_p(Tokens(ids[:n]), scheme, key, language) for n in PREFIXES
        },
    }


def log10_p(source: Any, scheme: str | None, key: Key, language: Language) -> float:
    """The adjusted log10 p of `scheme`, or the least of any where it is None.

    Raises:
        RuntimeError: verification counts other hypotheses than are stated here.
    """
    setting = verification.Setting(
        records=default_records(key), tokenizers=[language.reader]
    )
    report = verification.verify(load(source), setting)
    found = []
    for evidence in report.evidence:
        if evidence.layer != "mark" or evidence.log10_p is None:
            continue
        if evidence.hypotheses != HYPOTHESES[evidence.scheme]:
            raise RuntimeError(
                f"{evidence.hypotheses} hypotheses counted for {evidence.scheme}, "
                f"expected {HYPOTHESES[evidence.scheme]}"
            )
        if scheme in (None, evidence.scheme):
            found.append(evidence.log10_p)
    return min(found)


def _rate(rows: Rows, column: str = "text") -> Rate:
    hits = sum(row[column] <= math.log10(FPR) for row in rows)
    return Rate(hits, len(rows))


def _mean(rows: Rows, column: str) -> float:
    return statistics.fmean(row[column] for row in rows)


def _found_targets(found: dict[str, Rows]) -> list[Target]:
    cool, warm = found["gumbel, 1 nat"], found["gumbel, T = 1"]
    nats, unmarked = _mean(cool, "nats"), _rate(found["unmarked, 1 nat"])
    return [
        Target(
            name="gumbel: nats a token of the samples",
            target="1.0 +- 0.1",
            measured=nats,
            reached=abs(nats - 1.0) <= 0.1,
        ),
        Target.of_rate("gumbel, 1 nat: found at 1e-6", _rate(cool), 0.95),
        Target.of_rate("gumbel, T = 1: found at 1e-6", _rate(warm), 0.99),
        Target(
            name="unmarked texts found at 1e-6",
            target="0",
            measured=float(unmarked.hits),
            reached=unmarked.hits == 0,
            interval=unmarked.interval(),
            note=f"{unmarked.hits} of {unmarked.n}; the interval is of the rate",
        ),
    ]


def _found_table(found: dict[str, Rows]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, samples in found.items():
        rows.append(
            (
                name,
                len(samples),
                _mean(samples, "nats"),
                _mean(samples, "coverage"),
                str(_rate(samples)),
                str(_rate(samples, "ids_p")),
                statistics.median(row["text"] for row in samples),
                _mean(samples, "exact"),
            )
        )
    columns = (
        "samples of",
        "n",
        "nats a token",
        "share marked",
        "found, from text",
        "found, from ids",
        "median log10 p",
        "same ids again",
    )
    return Table("Found at 1e-6", columns, tuple(rows))


def _length_table(found: dict[str, Rows]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for part in SETS:
        if part.scheme is None or part.one_prompt:
            continue
        samples = found[part.name]
        for n in PREFIXES:
            cut: Rows = [{"p": row["prefixes"][str(n)]} for row in samples]
            rows.append((part.name, n, str(_rate(cut, "p"))))
        rows.append((part.name, LENGTH, str(_rate(samples, "ids_p"))))
    return Table("Against length", ("samples of", "tokens", "found"), tuple(rows))


def _diversity(found: dict[str, Rows]) -> tuple[list[Target], Table]:
    """Distinct outputs and self-BLEU of one prompt, marked against unmarked."""
    marked, plain = found["one prompt, gumbel"], found["one prompt, unmarked"]
    distinct = [len({tuple(row["ids"]) for row in rows}) for rows in (marked, plain)]
    scores = [_self_bleu(rows) for rows in (marked, plain)]
    ratio = scores[0][0] / scores[1][0] if scores[1][0] else math.nan
    error = ratio * math.hypot(*(error / mean for mean, error in scores if mean))
    targets = [
        Target.at_least(
            "one prompt: distinct outputs, of unmarked",
            distinct[0] / distinct[1],
            1 - APART,
            f"{distinct[0]} of {len(marked)}, unmarked {distinct[1]}",
        ),
        Target(
            name="one prompt: self-BLEU, of unmarked",
            target=f"1 +- {APART:g}",
            measured=ratio,
            reached=abs(ratio - 1) <= APART,
            note=f"standard error about {error:.3f}",
        ),
    ]
    rows = tuple(
        (name, len(samples), number, mean, sigma)
        for name, samples, number, (mean, sigma) in zip(
            ("marked", "unmarked"), (marked, plain), distinct, scores, strict=True
        )
    )
    columns = ("samples of one prompt", "n", "distinct", "self-BLEU", "standard error")
    note = (
        f"BLEU-4 of token ids against {REFERENCES} others of the set; the standard "
        "error takes samples as independent."
    )
    return targets, Table("Diversity at 1 nat", columns, rows, note)


def _self_bleu(rows: Rows) -> tuple[float, float]:
    ids: list[Sequence[int]] = [row["ids"] for row in rows]
    scores = self_bleu(ids, references=REFERENCES)
    if len(scores) < 2:
        return statistics.fmean(scores), math.nan
    return statistics.fmean(scores), statistics.stdev(scores) / math.sqrt(len(scores))
