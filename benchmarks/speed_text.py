"""Speed of marking and detecting text, against transformers' own watermarks.

Every processor is called as `generate` calls it, on float32 logits of a real width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LlamaConfig,
    SynthIDTextWatermarkLogitsProcessor,
    WatermarkDetector,
    WatermarkingConfig,
    WatermarkLogitsProcessor,
)

from benchmarks import speed_markllm
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.report import Table, Target
from benchmarks.timing import Timing, compare
from watermark import kernels
from watermark.detectors import greenlist as greenlist_detector
from watermark.detectors import gumbel as gumbel_detector
from watermark.pipelines.processor_greenlist import GreenlistProcessor
from watermark.pipelines.processor_gumbel import GumbelProcessor
from watermark.prf import context_key
from watermark.schemes import SCHEMES, greenlist, gumbel, tournament

VOCAB = 151_936  # of Qwen, the widest vocabulary in common use
TOP_K = 50
WIDE_K = 1_000  # the most that a host is expected to leave
BATCH = 64
DEPTH = 30  # tournament layers, as the paper's configurations have
PROMPT = 8
LENGTHS = (50, 200, 1_000, 10_000, 100_000)
DOCUMENTS = 50  # distinct texts of each length

Step = Callable[[], torch.Tensor]


def embedding(options: Options) -> tuple[list[Target], list[Table]]:
    """The cost of one token: processors on the full vocabulary and on survivors."""
    rounds = options.count(15, 41)
    full, top = _logits(options.seed, 1), _survivors(_logits(options.seed, 1))
    wide = _survivors(full, WIDE_K)
    batch = _logits(options.seed, 8)
    many = _survivors(_logits(options.seed, BATCH))
    cases: dict[str, Callable[[], object]] = {
        "one pass over the logits": _one_pass(full),
        "one pass over 64 rows": _one_pass(many),
        "one reading pass": full[0].numpy().max,
        "gumbel processor, full vocabulary": _gumbel(full, options.seed),
        "gumbel processor, top-k 50": _gumbel(top, options.seed),
        "gumbel processor, top-k 1000": _gumbel(wide, options.seed),
        "gumbel processor, top-k 50, 8 rows": _gumbel(_survivors(batch), options.seed),
        "gumbel in place, top-k 50, 1 row": _gumbel_in_place(top, options.seed),
        "gumbel in place, top-k 50, 64 rows": _gumbel_in_place(many, options.seed),
        "gumbel kernel, full vocabulary": _gumbel_kernel(full, options.seed),
        "gumbel kernel, top-k 50": _gumbel_kernel(top, options.seed),
        "gumbel kernel, top-k 1000": _gumbel_kernel(wide, options.seed),
        "tournament, top-k 50": _tournament(top, options.seed),
        "greenlist processor, full vocabulary": _greenlist(full, options.seed),
        "greenlist processor, 8 rows": _greenlist(batch, options.seed),
        "greenlist kernel, full vocabulary": _greenlist_kernel(full, options.seed),
        "transformers lefthash, full vocabulary": _lefthash(full),
        "transformers lefthash, 8 rows": _lefthash(batch),
        "transformers SynthID, top-k 50": _synthid(top),
        **speed_markllm.embedding(full, _contexts(1)),
    }
    times = compare(cases, options.track(range(rounds), "embedding"))
    synthid = times["transformers SynthID, top-k 50"].median
    lefthash = times["transformers lefthash, full vocabulary"].median
    one_pass = times["one pass over the logits"].median
    top_time = times["gumbel processor, top-k 50"].median
    green_time = times["greenlist processor, full vocabulary"].median
    reading = times["one reading pass"].median
    # Without the pass that puts fresh scores in: that is the model's to pay.
    alone = times["gumbel in place, top-k 50, 1 row"].median - one_pass
    batch_pass = times["one pass over 64 rows"].median
    in_batch = times["gumbel in place, top-k 50, 64 rows"].median - batch_pass
    per_row = in_batch / BATCH
    targets = [
        Target.at_most(
            "gumbel kernel, top-k 1000, beyond one reading pass: us",
            (times["gumbel kernel, top-k 1000"].median - reading) * 1e6,
            25.0,
            f"a reading pass takes {reading * 1e6:.1f} us",
        ),
        Target.at_most(
            "greenlist kernel, full vocabulary: us",
            times["greenlist kernel, full vocabulary"].micro(),
            60.0,
        ),
        Target.at_most(
            "gumbel processor, a row of 64: of one row alone",
            per_row / alone,
            1.5,
            f"{per_row * 1e6:.1f} and {alone * 1e6:.1f} us, fresh scores not counted",
        ),
        Target.at_most(
            "gumbel processor, top-k 50: of transformers SynthID",
            top_time / synthid,
            1 / 1000,
            f"{synthid / top_time:,.0f} times faster; "
            f"{top_time / one_pass:.1f} passes over the logits",
        ),
        Target.at_most(
            "greenlist processor, full vocabulary: of transformers lefthash",
            green_time / lefthash,
            1 / 5,
            f"{lefthash / green_time:.1f} times faster; "
            f"{green_time / one_pass:.1f} passes over the logits",
        ),
    ]
    rows = tuple(
        (
            name,
            timing.micro(),
            timing.low * 1e6,
            timing.high * 1e6,
            timing.median / one_pass,
            lefthash / timing.median,
            synthid / timing.median,
        )
        for name, timing in times.items()
    )
    columns = (
        "step",
        "median us",
        "lower quartile",
        "upper quartile",
        "passes over the logits",
        "times faster than lefthash",
        "times faster than SynthID",
    )
    note = (
        f"One generation step, one thread, {VOCAB:,} float32 logits, one row unless "
        f"said; SynthID with {DEPTH} layers. A pass reads and writes every logit. "
        f"{_absent(cases)}"
    )
    return targets, [Table("Marking text", columns, rows, note)]


def detection(options: Options) -> tuple[list[Target], list[Table]]:
    """Tokens per second of the detectors, deduplication and p-value included."""
    rounds = options.count(9, 41)
    gumbel_record = SCHEMES["gumbel"].record(seeded_key(options.seed))
    green_record = SCHEMES["greenlist"].record(seeded_key(options.seed))
    cases: dict[str, Callable[[], object]] = {}
    for length in LENGTHS:
        texts = _texts(options.seed, length)
        cases[f"gumbel {length}"] = _cycle(
            texts, lambda ids: gumbel_detector.score(ids, gumbel_record)
        )
        cases[f"greenlist {length}"] = _cycle(
            texts, lambda ids: greenlist_detector.score(ids, green_record)
        )
    for bits in (16, 32, 64):
        texts = _texts(options.seed, 200)
        cases[f"payload of {bits} bits 200"] = _cycle(texts, _payload(bits))
    cases["transformers lefthash 200"] = _peer_detector(options.seed)
    ids = torch.from_numpy(_texts(options.seed, 200)[0].astype(np.int64))
    cases |= speed_markllm.detection(ids, VOCAB)
    times = compare(cases, options.track(range(rounds), "detection"))
    speeds = {
        name: int(name.rpartition(" ")[2]) / timing.median
        for name, timing in times.items()
    }
    peer = speeds["transformers lefthash 200"]
    targets = [
        Target.at_least(
            f"gumbel detection, {length:,} tokens, one core: tokens/s",
            speeds[f"gumbel {length}"],
            1e7,
            f"{speeds[f'gumbel {length}'] / peer:,.0f} times transformers' detector",
        )
        for length in (200, 1_000)
    ]
    targets.append(
        Target.at_least(
            "payload of 32 bits scored and decoded, 200 tokens, one core: tokens/s",
            speeds["payload of 32 bits 200"],
            2e5,
            "unmarked texts, where the search is longest",
        )
    )
    rows = tuple(
        _detection_row(name, times[name], speeds[name] / peer) for name in times
    )
    columns = ("detector", "tokens", "median us", "tokens/s", "times the peer")
    note = (
        f"One key, {DOCUMENTS} texts in turn, one thread. The peer is transformers' "
        f"WatermarkDetector (lefthash) at {VOCAB:,} tokens of vocabulary. "
        f"{_absent(cases)}"
    )
    return targets, [Table("Detecting text", columns, rows, note)]


def _absent(cases: Iterable[str]) -> str:
    """What could not be timed here."""
    found = any(name.startswith("MarkLLM") for name in cases)
    return "" if found else speed_markllm.MISSING


def _detection_row(
    name: str, timing: Timing, ratio: float
) -> tuple[str, int, float, float, float]:
    detector, _, length = name.rpartition(" ")
    return detector, int(length), timing.micro(), int(length) / timing.median, ratio


def _logits(seed: int, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn((rows, VOCAB), generator=generator)


def _survivors(logits: torch.Tensor, count: int = TOP_K) -> torch.Tensor:
    """As top-k leaves them: minus infinity everywhere else."""
    least = logits.topk(count, dim=1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _contexts(rows: int) -> Iterator[torch.Tensor]:
    """Token ids as `generate` passes them: one column more at each call."""
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(VOCAB, (rows, 256), generator=generator)
    while True:
        yield from (ids[:, :end] for end in range(PROMPT + 4, ids.shape[1]))
        ids = torch.randint(VOCAB, (rows, 256), generator=generator)


def _one_pass(logits: torch.Tensor) -> Step:
    out = torch.empty_like(logits)
    return lambda: out.copy_(logits)


def _gumbel(logits: torch.Tensor, seed: int) -> Step:
    """Calls after the fresh prefix, each with a context that was not seen before.

    Raises:
        RuntimeError: the key does not choose, so nothing would be measured.
    """
    rows = logits.shape[0]
    record = SCHEMES["gumbel"].record(seeded_key(seed), vocab_size=VOCAB)
    processor = GumbelProcessor(record, seeded("nonce", seed))
    contexts = _contexts(rows)
    processor(next(contexts)[:, :PROMPT], logits)
    for _ in range(16):
        out = processor(next(contexts), logits)
    if int(torch.isfinite(out).sum()) != rows:
        raise RuntimeError("the key does not choose: the fresh prefix is not over")
    return lambda: processor(next(contexts), logits)


def _gumbel_in_place(logits: torch.Tensor, seed: int) -> Step:
    """As under `generate`: scores that may be written over, new at each step."""
    record = SCHEMES["gumbel"].record(seeded_key(seed), vocab_size=VOCAB)
    processor = GumbelProcessor(record, seeded("nonce", seed), in_place=True)
    contexts, fresh = _contexts(logits.shape[0]), torch.empty_like(logits)
    processor(next(contexts)[:, :PROMPT], fresh.copy_(logits))
    for _ in range(16):
        processor(next(contexts), fresh.copy_(logits))
    return lambda: processor(next(contexts), fresh.copy_(logits))


def _gumbel_kernel(logits: torch.Tensor, seed: int) -> Callable[[], int]:
    row, state = logits[0].numpy(), seeded("state", seed)[:16]
    return lambda: gumbel.select(row, state, 3)


def _tournament(logits: torch.Tensor, seed: int) -> Callable[[], object]:
    record = SCHEMES["tournament"].record(seeded_key(seed))
    row, state = logits[0].numpy(), seeded("state", seed)[:16]
    return lambda: tournament.reweigh(row, state, 3, record)


def _greenlist(logits: torch.Tensor, seed: int) -> Step:
    record = SCHEMES["greenlist"].record(seeded_key(seed), vocab_size=VOCAB)
    processor = GreenlistProcessor(record)
    contexts = _contexts(logits.shape[0])
    processor(next(contexts)[:, :PROMPT], logits)
    return lambda: processor(next(contexts), logits)


def _greenlist_kernel(logits: torch.Tensor, seed: int) -> Callable[[], object]:
    record = SCHEMES["greenlist"].record(seeded_key(seed))
    row, state = logits[0].numpy().copy(), seeded("state", seed)[:16]
    return lambda: greenlist.bias(row, state, record)


def _lefthash(logits: torch.Tensor) -> Step:
    processor: Any = WatermarkLogitsProcessor(vocab_size=VOCAB, device="cpu")
    contexts = _contexts(logits.shape[0])
    return lambda: processor(next(contexts), logits)


def _synthid(logits: torch.Tensor) -> Step:
    processor: Any = SynthIDTextWatermarkLogitsProcessor(
        ngram_len=5,
        keys=list(range(1, DEPTH + 1)),
        sampling_table_size=2**16,
        sampling_table_seed=0,
        context_history_size=1024,
        device=torch.device("cpu"),
    )
    contexts = _contexts(logits.shape[0])
    processor(next(contexts), logits)
    return lambda: processor(next(contexts), logits)


def _texts(seed: int, length: int) -> list[NDArray[np.uint32]]:
    """Token ids that repeat as words do (Zipf), without their repeated phrases."""
    generator = np.random.default_rng([seed, length])
    count = DOCUMENTS if length <= 1_000 else 3
    ids = generator.zipf(1.1, (count, length)) % VOCAB
    return list(ids.astype(np.uint32))


def _cycle(
    texts: list[NDArray[np.uint32]], score: Callable[[Any], object]
) -> Callable[[], object]:
    index = 0

    def call() -> object:
        nonlocal index
        index = (index + 1) % len(texts)
        return score(texts[index])

    return call


def _payload(bits: int) -> Callable[[Any], object]:
    """Every symbol's score and the best message, under one nonce."""
    key = context_key(SCHEMES["gumbel"].record(seeded_key(0)))
    positions = 32 if bits == 64 else 16

    def decode(ids: Any) -> object:
        sums = kernels.payload_score(ids, key, 4, positions, 0)[3]
        if bits == 16:
            return kernels.rs_decode(sums)
        return kernels.trellis256_decode(sums, bits // 8)

    return decode


def _peer_detector(seed: int) -> Callable[[], object]:
    config = LlamaConfig(vocab_size=VOCAB, bos_token_id=VOCAB - 1)
    detector: Any = WatermarkDetector(config, "cpu", WatermarkingConfig())
    ids = torch.from_numpy(_texts(seed, 200)[0].astype(np.int64))[None]
    return lambda: detector(ids, return_dict=True)
