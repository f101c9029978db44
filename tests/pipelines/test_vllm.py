"""vLLM: its native configuration, and `greenlist` through the V1 interface.

The logits processor is driven as vLLM drives it, by its documented interface; where
vLLM is installed, by vLLM's own classes too.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import stat
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from watermark.detectors import greenlist as greenlist_detector
from watermark.errors import (
    KeyFileError,
    NotMarked,
    UnsupportedPipeline,
    VocabularyMismatch,
    WeakKey,
)
from watermark.keys import Key, KeyRecord
from watermark.pipelines import vllm
from watermark.pipelines.native import write_secret
from watermark.schemes import SCHEMES, greenlist

KEY = Key(hashlib.sha256(b"engines").digest())
PLAIN = SCHEMES["gumbel"].record(KEY, vocab_size=1000, tokenizer="ab" * 32)
DUAL = SCHEMES["gumbel"].record(KEY, width=3, dual=1)
VOCAB = 200
GREEN = SCHEMES["greenlist"].record(KEY, vocab_size=VOCAB, delta=4.0)

# --- the native watermark ------------------------------------------------------------

# What vLLM 0.33.0's own parser (--config, then WatermarkConfig) accepted.
ACCEPTED = {
    "plain": {
        "key": "KEY",
        "algorithm": "gumbel",
        "context_width": 4,
        "deduplicate_contexts": "single_turn",
        "deduplicate_contexts_max_history": 8192,
        "prf": "philox",
    },
    "dual": {
        "key": "KEY",
        "algorithm": "dual_key_gumbel",
        "context_width": 3,
        "deduplicate_contexts": "single_turn",
        "deduplicate_contexts_max_history": 8192,
        "prf": "philox",
        "alpha": 0.5,
    },
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_file_is_what_vllm_accepted(tmp_path: Path, name: str) -> None:
    record = {"plain": PLAIN, "dual": DUAL}[name]
    path = tmp_path / "wm.yaml"
    written = vllm.write(record, KEY, path)
    secret = int.from_bytes(written.derive("vllm", length=8), "big")
    expected = {k: secret if v == "KEY" else v for k, v in ACCEPTED[name].items()}

    assert json.loads(path.read_text()) == {"watermark-config": expected}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_sub_key_stays_what_it_is() -> None:
    """Golden: text that vLLM marked is found by this for ever."""
    assert (
        vllm.engine_record(PLAIN).derive("vllm", length=8).hex() == "b606d9c4c2766ceb"
    )


def test_the_record_for_detection_names_everything_but_the_key(tmp_path: Path) -> None:
    written = vllm.write(DUAL, KEY, tmp_path / "wm.yaml")
    found = KeyRecord.from_dict(json.loads(json.dumps(written.to_dict())), key=KEY)

    assert found == written
    assert found.scheme == "vllm-gumbel"
    assert dict(found.parameters) == {
        "width": 3,
        "dual": 1,
        "alpha": 0.5,
        "prf": "philox4x32-10-v1",
    }
    assert found.derive("vllm") == written.derive("vllm")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    written = vllm.write(PLAIN, KEY, tmp_path / "wm.yaml")
    secret = json.loads((tmp_path / "wm.yaml").read_text())["watermark-config"]["key"]

    for shown in (
        repr(written),
        str(written.to_dict()),
        str(vllm.native_config(PLAIN)),
    ):
        assert str(secret) not in shown
        assert KEY._secret.hex() not in shown


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    vllm.write(PLAIN, KEY, tmp_path / "wm.yml")
    with pytest.raises(KeyFileError, match="never overwritten"):
        vllm.write(PLAIN, KEY, tmp_path / "wm.yml")
    with pytest.raises(KeyFileError, match="yaml"):
        vllm.write(PLAIN, KEY, tmp_path / "wm.json")
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_secret(tmp_path / "no folder" / "wm.yaml", {})


def test_a_record_read_without_its_key_takes_it(tmp_path: Path) -> None:
    bare = dataclasses.replace(PLAIN, key=None)
    vllm.write(bare, KEY, tmp_path / "a.yaml")
    vllm.write(PLAIN, KEY, tmp_path / "b.yaml")

    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()
    with pytest.raises(WeakKey, match="was given key"):
        vllm.write(bare, Key.generate(), tmp_path / "c.yaml")


def test_what_vllm_cannot_write_is_refused(tmp_path: Path) -> None:
    payload = SCHEMES["gumbel"].record(KEY, payload_bits=16, nonce_bits=0)
    for record in (payload, GREEN):
        with pytest.raises(UnsupportedPipeline):
            vllm.write(record, KEY, tmp_path / "wm.yaml")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [PLAIN, DUAL], ids=["plain", "dual"])
def test_vllms_own_parser_takes_the_file(tmp_path: Path, record: KeyRecord) -> None:
    reason = "vllm is not installed"
    config = pytest.importorskip("vllm.config.watermarking", reason=reason)
    parsing = pytest.importorskip("vllm.utils.argparse_utils", reason=reason)
    path = tmp_path / "wm.yaml"
    written = vllm.write(record, KEY, path)
    parser = parsing.FlexibleArgumentParser()
    parser.add_argument("--watermark-config", type=json.loads)
    given = parser.parse_args(["--config", str(path)]).watermark_config
    parsed = config.WatermarkConfig(**given)

    assert parsed.key == int.from_bytes(written.derive("vllm", length=8), "big")
    assert parsed.context_width == record.parameters["width"]
    assert parsed.supports_speculative_decoding == (record is DUAL)
    assert str(parsed.key) not in repr(parsed)


# --- greenlist -----------------------------------------------------------------------


class Direction(enum.Enum):
    UNIDIRECTIONAL = enum.auto()
    SWAP = enum.auto()


@dataclasses.dataclass
class Engine:
    """Drives a processor as vLLM's model runner does."""

    processor: Any
    update: Any  # BatchUpdate, or what has its documented fields
    direction: Any

    def change(self, size: int, **changes: Any) -> None:
        fields: dict[str, Any] = {"removed": [], "added": [], "moved": []}
        self.processor.update_state(self.update(batch_size=size, **fields | changes))

    def add(self, row: int, output: list[int], size: int = 3) -> None:
        self.change(size, added=[(row, None, [1, 2, 3], output)])


def settings(tmp_path: Path, record: KeyRecord, **more: Any) -> Any:
    """The parts of `VllmConfig` that a processor may read."""
    (tmp_path / "watermark.json").write_text(json.dumps(record.to_dict()))
    if not (tmp_path / "wm.key").exists():
        KEY.save(tmp_path / "wm.key")
    named = {"folder": str(tmp_path), "key": str(tmp_path / "wm.key")}
    config = {"additional_config": {"watermark": named}, **more}
    config.setdefault("model_config", SimpleNamespace(get_vocab_size=lambda: VOCAB))
    return SimpleNamespace(**config)


@pytest.fixture(params=["documented interface", "vllm"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    config = settings(tmp_path, GREEN)
    if request.param == "vllm":
        real = pytest.importorskip(
            "vllm.v1.sample.logits_processor",
            reason="vllm is not installed: driven by its documented interface only",
        )
        processor = vllm.GreenlistLogitsProcessor(config, "cpu", False)
        assert isinstance(processor, real.LogitsProcessor)
        return Engine(processor, real.BatchUpdate, real.MoveDirectionality)
    return Engine(vllm.Greenlist(config, "cpu", False), SimpleNamespace, Direction)


def logits(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(rows, VOCAB, generator=generator)


def test_a_batch_is_marked_and_found(engine: Engine) -> None:
    outputs: list[list[int]] = [[], [], []]
    for row, output in enumerate(outputs):
        engine.add(row, output)
    generator = torch.Generator().manual_seed(4)
    for step in range(100):
        engine.processor.update_state(None)
        p = engine.processor.apply(logits(3, step)).softmax(-1)
        tokens = torch.multinomial(p, 1, generator=generator)[:, 0].tolist()
        for output, token in zip(outputs, tokens, strict=True):
            output.append(token)  # vLLM appends to the list it gave

    found = [greenlist_detector.score(o, GREEN).log10_p() for o in outputs]
    assert max(found) < -6
    assert engine.processor.is_argmax_invariant() is False


def expected(row: torch.Tensor, output: list[int]) -> torch.Tensor:
    """The row as the kernels bias it."""
    out = row.clone()
    state = greenlist.state(GREEN, output)
    if state is not None:
        greenlist.bias(out.numpy(), state, GREEN)
    return out


def test_every_row_gets_its_own_bias_wherever_it_moves(engine: Engine) -> None:
    one, two, three = [1, 2, 3, 4, 5], [9, 8, 7, 6], [5, 5, 5]
    for row, output in enumerate((one, two, three)):
        engine.add(row, output)

    def check(*rows: list[int]) -> None:
        before = logits(len(rows), 1)
        after = engine.processor.apply(before.clone())
        for row, output in enumerate(rows):
            assert torch.equal(after[row], expected(before[row], output))

    check(one, two, three)
    three.append(5)
    check(one, two, three)
    engine.change(3, moved=[(0, 2, engine.direction.SWAP)])
    check(three, two, one)
    engine.change(2, removed=[0], moved=[(2, 0, engine.direction.UNIDIRECTIONAL)])
    check(one, two)
    engine.change(2, removed=[1], added=[(1, None, None, three)])
    check(one, three)
    engine.change(0, removed=[0, 1])
    check([], [])


def test_masked_tokens_stay_masked(engine: Engine) -> None:
    engine.add(0, [1, 2, 3, 4])
    row = torch.full((1, VOCAB), -torch.inf)
    row[0, :9] = 0.0

    assert (engine.processor.apply(row) > -torch.inf).sum() == 9


def test_a_placeholder_is_told(engine: Engine) -> None:
    """Token -1 stands for one that asynchronous scheduling has not filled in."""
    engine.add(0, [1, 2, 3, 4, -1])
    with pytest.raises(NotMarked, match="entry point"):
        engine.processor.apply(logits(1, 1))


def test_the_gate_leaves_certain_steps_alone(tmp_path: Path) -> None:
    gated = SCHEMES["greenlist"].record(KEY, gate100=30)
    processor = vllm.Greenlist(settings(tmp_path, gated), "cpu", False)
    for row in range(2):
        Engine(processor, SimpleNamespace, Direction).add(row, [1, 2, 3, 4])
    rows = torch.zeros(2, VOCAB)
    rows[0, 7] = 12.0  # 0.016 nats
    after = processor.apply(rows.clone())

    assert torch.equal(after[0], rows[0])
    assert not torch.equal(after[1], rows[1])


def test_gumbel_is_refused_and_the_native_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPipeline, match=r"vllm\.write"):
        vllm.Greenlist(settings(tmp_path, PLAIN), "cpu", False)


def test_another_model_is_refused(tmp_path: Path, engine: Engine) -> None:
    other = SimpleNamespace(get_vocab_size=lambda: VOCAB + 1)
    with pytest.raises(VocabularyMismatch, match="201"):
        vllm.Greenlist(settings(tmp_path, GREEN, model_config=other), "cpu", False)
    with pytest.raises(VocabularyMismatch, match="199"):
        engine.processor.apply(torch.zeros(1, VOCAB - 1))


@pytest.mark.parametrize(
    "named", [{}, {"watermark": None}, {"watermark": {"folder": "wm"}}]
)
def test_a_start_without_the_files_names_them(tmp_path: Path, named: Any) -> None:
    config = settings(tmp_path, GREEN, additional_config=named)
    with pytest.raises(KeyFileError, match="additional-config"):
        vllm.Greenlist(config, "cpu", False)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema": 3}', b"\xff"])
def test_a_damaged_record_is_told(tmp_path: Path, content: bytes) -> None:
    config = settings(tmp_path, GREEN)
    (tmp_path / "watermark.json").write_bytes(content)
    with pytest.raises(KeyFileError):
        vllm.Greenlist(config, "cpu", False)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    config = settings(tmp_path, GREEN)
    (tmp_path / "watermark.json").unlink()
    with pytest.raises(KeyFileError, match=r"watermark\.json"):
        vllm.Greenlist(config, "cpu", False)
    config = settings(tmp_path, GREEN)
    (tmp_path / "wm.key").unlink()
    with pytest.raises(KeyFileError, match=r"wm\.key"):
        vllm.Greenlist(config, "cpu", False)


def test_no_secret_is_shown_by_the_processor(engine: Engine) -> None:
    engine.add(0, [1, 2, 3, 4])

    assert repr(engine.processor).startswith("<greenlist k")
    assert KEY._secret.hex() not in repr(engine.processor)


def test_vllm_finds_the_class_by_its_name() -> None:
    """As ``--logits-processors module:name`` does; and no entry point names it."""
    loading = pytest.importorskip(
        "vllm.v1.sample.logits_processor", reason="vllm is not installed"
    )
    name = "watermark.pipelines.vllm:GreenlistLogitsProcessor"
    (found,) = loading._load_logitsprocs_by_fqcns([name])

    assert found is vllm.GreenlistLogitsProcessor


def test_no_entry_point_is_registered() -> None:
    points = entry_points(group="vllm.logits_processors")

    assert [point for point in points if "watermark" in point.value] == []
