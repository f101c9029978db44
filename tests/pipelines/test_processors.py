"""The logits processors alone, step by step on scores of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.pipelines.marking import VOCAB

from watermark import kernels
from watermark.errors import InvalidSignal, NotMarked, VocabularyMismatch
from watermark.keys import Key, KeyRecord
from watermark.pipelines.processor import Processor, collision_nats, entropy
from watermark.pipelines.processor_greenlist import GreenlistProcessor
from watermark.pipelines.processor_gumbel import GumbelProcessor
from watermark.pipelines.processor_tournament import TournamentProcessor
from watermark.schemes import SCHEMES
from watermark.schemes import greenlist as greenlist_scheme

RECORDS: dict[str, dict[str, Any]] = {
    "gumbel": {},
    "gumbel with a payload": {"payload_bits": 32},
    "gumbel with two keys": {"dual": 1},
    "tournament": {},
    "greenlist": {"delta": 4.0},
    "greenlist with a gate": {"gate100": 300},
}
ALL = pytest.mark.parametrize("name", RECORDS)
SEED = b"seed"
PROMPT = 5


def record_of(name: str) -> KeyRecord:
    scheme = name.split()[0]
    return SCHEMES[scheme].record(Key.generate(), vocab_size=VOCAB, **RECORDS[name])


def processor(record: KeyRecord, **more: Any) -> Any:
    if record.scheme == "greenlist":
        return GreenlistProcessor(record, **more)
    kind = GumbelProcessor if record.scheme == "gumbel" else TournamentProcessor
    return kind(record, SEED, **more)


def draws(rows: int, steps: int, seed: int = 5) -> list[torch.Tensor]:
    """Scores with and without truncation, of more and of less entropy."""
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for step in range(steps):
        row = (1 + step % 3) * torch.randn(rows, VOCAB, generator=generator)
        if step % 2:
            row = row.masked_fill(row < row.topk(20).values[:, -1:], -torch.inf)
        scores.append(row)
    return scores


def run(
    process: Processor, ids: torch.Tensor, scores: list[torch.Tensor], seed: int = 6
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Sample one token a step; (ids with the new tokens, the scores that it made)."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for step, row in enumerate(scores):
        out = process(ids, row.clone())
        made.append(out)
        chosen = torch.multinomial(out.softmax(-1), 1, generator=generator)
        if step > 30:  # run into contexts that were seen before
            chosen = ids[:, step - 20 : step - 19]
        ids = torch.cat([ids, chosen], dim=1)
    return ids, made


def prompts(rows: int, length: int = PROMPT) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(3, VOCAB, (rows, length), generator=generator)


@ALL
def test_the_device_path_makes_what_the_kernels_make(name: str) -> None:
    record = record_of(name)
    on_host, on_device = (processor(record, on_device=d) for d in (False, True))
    scores, ids = draws(4, 60), prompts(4)
    ids, made = run(on_host, ids, scores)
    for step, row in enumerate(scores):
        same = on_device(ids[:, : PROMPT + step], row.clone())
        if record.scheme == "tournament":  # its sums are taken in another order
            p, q = same.softmax(1), made[step].softmax(1)
            assert torch.allclose(p, q, rtol=1e-5, atol=1e-9)
        else:
            assert torch.equal(same, made[step])

    assert any(not torch.equal(a, b) for a, b in zip(made, scores, strict=True))


@ALL
def test_writing_over_the_scores_changes_nothing_else(name: str) -> None:
    if name == "tournament":
        pytest.skip("it never writes over its scores")
    record, scores = record_of(name), draws(3, 40)
    plain = run(processor(record), prompts(3), scores)
    over = run(processor(record, in_place=True), prompts(3), scores)

    assert torch.equal(plain[0], over[0])
    for first, second in zip(plain[1], over[1], strict=True):
        assert torch.equal(first, second)


@ALL
def test_scores_are_not_written_over_unasked(name: str) -> None:
    process, ids = processor(record_of(name)), prompts(2)
    for row in draws(2, 20):
        kept = row.clone()
        out = process(ids, row)
        assert torch.equal(row, kept)
        ids = torch.cat([ids, out.argmax(1, keepdim=True)], dim=1)


@ALL
def test_a_row_does_not_depend_on_its_batch_or_padding(name: str) -> None:
    """The first row of any batch, after a prompt of any length."""
    record, scores = record_of(name), draws(4, 40)
    ids, made = run(processor(record), prompts(4), scores)
    alone = processor(record)
    padded = torch.cat([torch.zeros(1, 7, dtype=torch.int64), ids[:1]], dim=1)
    for step, row in enumerate(scores):
        out = alone(padded[:, : 7 + PROMPT + step], row[:1].clone())
        assert torch.equal(out, made[step][:1])


def test_rows_with_one_prompt_are_marked_apart() -> None:
    """Each row has a nonce of its own: else one prompt would give one text."""
    record, ids = record_of("gumbel"), prompts(1).expand(16, -1)
    [scores] = draws(1, 1)
    process = GumbelProcessor(record, SEED)
    for step in range(8):  # every row is told the same story, and no context twice
        out = process(ids, scores.expand(16, -1).contiguous())
        ids = torch.cat([ids, torch.full((16, 1), step)], dim=1)

    assert len(set(out.argmax(1).tolist())) > 4


@ALL
def test_rejected_drafts_leave_no_trace(name: str) -> None:
    """Called as assisted decoding calls: for a draft, for the tokens that are kept of
    it, for some that are not, and again from the first of those.
    """
    record, scores, junk = record_of(name), draws(1, 30), draws(1, 1, seed=8)[0]
    plain = processor(record)
    ids, made = run(plain, prompts(1), scores)
    process, generator = processor(record), torch.Generator().manual_seed(3)
    position = 0
    while position < len(scores):
        draft = ids[:, : PROMPT + position]
        for _ in range(7):
            token = process(draft, junk.clone()).argmax(1, keepdim=True)
            draft = torch.cat([draft, token], dim=1)
        kept = int(torch.randint(1, 6, (), generator=generator))
        for step in range(position, min(position + kept, len(scores))):
            out = process(ids[:, : PROMPT + step], scores[step].clone())
            assert torch.equal(out, made[step])
        position = step + 1
        rejected = torch.cat([ids[:, : PROMPT + step], draft[:, -3:]], dim=1)
        for end in range(PROMPT + position, rejected.shape[1] + 1):
            process(rejected[:, :end], junk.clone())

    assert process.verify(ids, None) == plain.verify(ids, None)


def test_tokens_that_nobody_asked_for_are_not_marked() -> None:
    """A loop of its own may add several at once."""
    process = GumbelProcessor(record_of("gumbel"), SEED)
    ids = prompts(1)
    for row in draws(1, 10):
        out = process(ids, row)
        token = out.argmax(1, keepdim=True)
        ids = torch.cat([ids, token, token], dim=1)
    [share] = process.verify(ids[:, :-1], None)

    assert 0 < share < 0.5


def test_more_rows_or_tokens_than_asked_for_are_told() -> None:
    process = GumbelProcessor(record_of("gumbel"), SEED)
    process(prompts(2), torch.zeros(2, VOCAB))
    for shape in ((2, 9), (3, 6)):
        with pytest.raises(NotMarked, match="were asked for"):
            process.verify(torch.zeros(shape, dtype=torch.int64), None)


# --- bad input -----------------------------------------------------------------------

BROKEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda row: row.index_fill(1, torch.tensor([5]), torch.nan),
    "plus infinity": lambda row: row.index_fill(1, torch.tensor([5]), torch.inf),
    "nothing finite": lambda row: torch.full_like(row, -torch.inf),
    "all NaN": lambda row: torch.full_like(row, torch.nan),
}


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("when", [0, 30])
@pytest.mark.parametrize("broken", BROKEN)
@ALL
def test_broken_scores_are_told(
    name: str, broken: str, when: int, on_device: bool
) -> None:
    """At once on the CPU; on a device after the call, and nothing there may stop it."""
    if name.startswith("greenlist") and broken == "plus infinity" and not on_device:
        pytest.skip("a processor may force a token so; the sampler tells the rest")
    process, ids = processor(record_of(name), on_device=on_device), prompts(2)
    for row in draws(2, when):
        out = process(ids, row)
        ids = torch.cat([ids, torch.multinomial(out.softmax(-1), 1)], dim=1)
    [row] = draws(2, 1)
    row = torch.cat([row[:1], BROKEN[broken](row[1:])])
    if not on_device:
        with pytest.raises(InvalidSignal):
            process(ids, row)
        return
    out = process(ids, row)
    assert torch.isfinite(out.softmax(-1)).all()
    with pytest.raises(InvalidSignal):
        process.verify(torch.cat([ids, out.argmax(1, keepdim=True)], dim=1), None)


@ALL
def test_scores_of_another_width_raise(name: str) -> None:
    with pytest.raises(VocabularyMismatch, match=str(VOCAB + 1)):
        processor(record_of(name))(prompts(1), torch.zeros(1, VOCAB + 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@ALL
def test_scores_of_other_number_formats_come_back_in_theirs(
    name: str, dtype: torch.dtype
) -> None:
    process, ids = processor(record_of(name)), prompts(2)
    for row in draws(2, 12):
        out = process(ids, row.to(dtype))
        assert out.dtype == dtype
        assert torch.isfinite(out.float().softmax(-1)).all()
        ids = torch.cat([ids, out.float().argmax(1, keepdim=True)], dim=1)


def test_entropies_are_those_of_the_softmax() -> None:
    p = torch.tensor(
        [[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64
    )

    assert entropy(p.log()).tolist() == pytest.approx([1.5 * 0.6931471805599453, 0])
    assert collision_nats(p.log()).tolist() == pytest.approx([0.9808292530117262, 0])
    assert float(greenlist_scheme.entropy(p[0].log().numpy())) == pytest.approx(
        float(entropy(p.log())[0])
    )


def test_the_kernel_and_torch_count_the_same_nats() -> None:
    """On an accelerator the sums have another order; where a mark starts is the same
    unless it is decided by less than that.
    """
    for row in draws(3, 6):
        found = kernels.collision_nats(row.numpy(), [0, 1, 2])

        assert found == pytest.approx(collision_nats(row).tolist(), abs=3e-5)
