"""Generation with the mark against generation without it, in pairs.

Each pair samples the same prompts twice, one after the other, in an order that changes;
processor time and pairs keep out what the machine did meanwhile.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from benchmarks.language import PROMPTS, Language
from benchmarks.options import Options, seeded_key
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.text.samples import Sampler
from watermark.keys import KeyRecord
from watermark.pipelines import transformers as adapter
from watermark.schemes import SCHEMES

BATCHES = (1, 8, 32)
TOKENS = 64
MOST = 1.05
LEVEL = 0.95


def measure(sampler: Sampler, options: Options) -> Part:
    """Median ratio of times, and its upper bound, for batches of 1, 8 and 32."""
    pairs = options.count(8, 40)
    language = sampler.language
    record = SCHEMES["gumbel"].record(
        seeded_key("throughput", options.seed), vocab_size=language.vocab_size
    )
    rows: list[tuple[Cell, ...]] = []
    targets = []
    for batch in BATCHES:
        ratios, speed = _ratios(language, record, batch, pairs, options)
        middle, upper = float(np.median(ratios)), upper_bound(ratios)
        rows.append((batch, pairs, speed, middle, upper))
        targets.append(
            Target(
                name=f"generation with the mark, batch {batch}: upper bound of median",
                target=f"<= {MOST:g}",
                measured=upper,
                reached=upper <= MOST,
                note=f"median {middle:.4f} of {pairs} pairs, {TOKENS} tokens each",
            )
        )
    columns = (
        *("batch", "pairs", "unmarked tokens/s", "median ratio of times"),
        f"upper {LEVEL:.0%} bound",
    )
    return Part(
        targets=tuple(targets), tables=(Table("Throughput", columns, tuple(rows)),)
    )


def upper_bound(ratios: list[float]) -> float:
    """One-sided upper bound of the median: an order statistic (sign test)."""
    ordered = sorted(ratios)
    n = len(ordered)
    # P(the k-th smallest lies below the median) = P(Bin(n, 1/2) >= k).
    rank = next((k for k in range(1, n + 1) if binom.cdf(k - 1, n, 0.5) >= LEVEL), n)
    return ordered[rank - 1]


def _ratios(
    language: Language, record: KeyRecord, batch: int, pairs: int, options: Options
) -> tuple[list[float], float]:
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(batch)]
    for marked in (True, False):
        _seconds(language, prompts, record if marked else None)  # to warm up
    ratios, plain = [], []
    for i in options.track(range(pairs), f"throughput, batch {batch}"):
        order = (None, record) if i % 2 else (record, None)
        seconds = {one is None: _seconds(language, prompts, one) for one in order}
        ratios.append(seconds[False] / seconds[True])
        plain.append(seconds[True])
    return ratios, batch * TOKENS / float(np.median(plain))


def _seconds(language: Language, prompts: list[str], record: KeyRecord | None) -> float:
    """Processor time of one `generate`: temperature 1, 50 candidates."""
    inputs = language.tokenizer(prompts, return_tensors="pt", padding=True)
    attached: Any = nullcontext()
    if record is not None:
        attached = adapter.attach(
            language.model, record, lambda records, outputs: None, provider="benchmark"
        )
    with torch.random.fork_rng(), attached:
        torch.manual_seed(0)
        begin = time.process_time()
        language.model.generate(
            **inputs,
            do_sample=True,
            top_k=50,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
        )
        return time.process_time() - begin
