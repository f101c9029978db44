"""Train the small English language model that the text benchmarks use.

    python benchmarks/models/train_lm.py --minutes 90
    python benchmarks/models/measure_lm.py

The corpus is what this script's own interpreter carries (`lm_corpus.py`). A run that
was killed goes on from its last checkpoint. On a CPU under glibc,
`MALLOC_MMAP_THRESHOLD_=4000000000` and `MALLOC_TRIM_THRESHOLD_=8000000000` keep large
buffers and save a tenth or more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from lm_corpus import Document, collect, describe
from rich.progress import Progress, TimeElapsedColumn
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

HOME = Path(__file__).parent / "lm"
SPECIAL = {"pad": "<pad>", "bos": "<s>", "eos": "</s>"}  # ids 0, 1, 2
SPECIAL_IDS = {f"{name}_token_id": i for i, name in enumerate(SPECIAL)}
# Few entries: a token of two characters has about the entropy that a large model's
# token has, so that one nat a token is near temperature 1 and not text in circles.
VOCAB, CONTEXT = 512, 1024
BATCH, PART = 8192, 4096  # tokens in a step, and in one forward pass
PROSE = 0.75  # share of the windows; the rest is code
RATE, WARM_UP = 3e-3, 100
DECAY = 0.3  # last part of the run: falling rate, and windows of full length
HELD_OUT = 50  # one file in so many is kept for validation
SAVE, EXPORT = 3 * 60, 20 * 60  # seconds between checkpoints, and between exports


# Tokens


def train_tokenizer(documents: list[Document]) -> Tokenizer:
    """A byte-level BPE tokenizer of exactly VOCAB entries: no padding rows."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=alphabet,
    )
    chosen = [d for i, d in enumerate(documents) if d.kind == "prose" or i % 4 == 0]
    tokenizer.train_from_iterator((d.text for d in chosen), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[Document]) -> dict[str, Tensor]:
    """Streams `train.prose`, `train.code`, `val.prose`, `val.code` of token ids.

    A file's prose and code share a name, so both fall on the same side.
    """
    streams: dict[str, list[int]] = {}
    for document in random.Random(0).sample(documents, len(documents)):
        held = int(hashlib.sha256(document.name.encode()).hexdigest(), 16) % HELD_OUT
        stream = f"{'train' if held else 'val'}.{document.kind}"
        ids = [1, *tokenizer.encode(document.text).ids, 2]
        streams.setdefault(stream, []).extend(ids)
    return {name: torch.tensor(ids) for name, ids in streams.items()}


def prepare(work: Path, extra: Path | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Token streams and the description of the corpus, made once per work folder."""
    about = work / "corpus.json"
    if not about.exists():
        documents = collect(extra)
        tokenizer = train_tokenizer(documents)
        tokenizer.save(str(work / "tokenizer.json"))
        streams = encode(tokenizer, documents)
        save_file(streams, work / "tokens.safetensors")
        tokens = {name: len(ids) for name, ids in sorted(streams.items())}
        about.write_text(json.dumps(describe(documents) | {"tokens": tokens}))
    return load_file(work / "tokens.safetensors"), json.loads(about.read_text())


def windows(ids: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Random stretches of a stream.  # (count, length + 1)"""
    starts = torch.randint(len(ids) - length, (count, 1), generator=generator)
    return ids[starts + torch.arange(length + 1)]


def batch(streams: dict[str, Tensor], step: int, length: int, seed: int) -> Tensor:
    """The windows of one step: a function of seed and step, so resuming is exact."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    rows = BATCH // length
    code = int(torch.rand(rows, generator=generator).gt(PROSE).sum())
    both = [
        windows(streams["train.prose"], rows - code, length, generator),
        windows(streams["train.code"], code, length, generator),
    ]
    return torch.cat(both)[torch.randperm(rows, generator=generator)]


# Training


def build(seed: int, device: str) -> transformers.LlamaForCausalLM:
    """A fresh model; on a CPU plain attention outruns the fused one at this size."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 5}
    config = transformers.LlamaConfig(
        **sizes,
        **SPECIAL_IDS,
        vocab_size=VOCAB,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        dtype="float32",
        attn_implementation="eager" if device == "cpu" else "sdpa",
    )
    return transformers.LlamaForCausalLM(config).to(device)


def optimizers(model: transformers.LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embedding and norms."""
    inner = [p for p in model.model.layers.parameters() if p.ndim == 2]
    outer = [p for p in model.parameters() if all(p is not q for q in inner)]
    adamw = torch.optim.AdamW(outer, RATE, betas=(0.9, 0.95), weight_decay=0.0)
    return [torch.optim.Muon(inner, RATE, adjust_lr_fn="match_rms_adamw"), adamw]


def loss_of(model: transformers.LlamaForCausalLM, rows: Tensor) -> Tensor:
    """Mean cross-entropy in nats, computed in bfloat16 with float32 weights."""
    rows = rows.to(model.device)
    with torch.autocast(model.device.type, torch.bfloat16):
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


class Trainer:
    """A model under training, and everything that a checkpoint must hold."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.streams, self.corpus = prepare(args.work, args.data)
        self.model = build(args.seed, "cuda" if torch.cuda.is_available() else "cpu")
        self.optims = optimizers(self.model)
        self.state: dict[str, Any] = {"step": 0, "seconds": 0.0, "history": []}
        self.path = args.work / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        kept = {"state": self.state, "model": self.model.state_dict()}
        kept["optims"] = [optim.state_dict() for optim in self.optims]
        torch.save(kept, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def load(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.path.exists():
            kept = torch.load(self.path, self.model.device, weights_only=True)
            self.state = kept["state"]
            self.model.load_state_dict(kept["model"])
            for optim, values in zip(self.optims, kept["optims"], strict=True):
                optim.load_state_dict(values)

    def done(self) -> float:
        """How much of the budget is spent."""
        if self.args.steps:
            return float(self.state["step"] / self.args.steps)
        return float(self.state["seconds"] / (60 * self.args.minutes))

    def advance(self, done: float) -> float:
        """One step: warm up, stay, then fall linearly (WSD). Gives the loss."""
        step, fall = self.state["step"], max(0.0, 1 - done) / DECAY
        for group in (g for optim in self.optims for g in optim.param_groups):
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP, fall)
        length = CONTEXT if fall < 1 else CONTEXT // 2
        total = 0.0
        rows = batch(self.streams, step, length, self.args.seed)
        for part in rows.chunk(BATCH // PART):
            loss = loss_of(self.model, part) * PART / BATCH
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optim in self.optims:
            optim.step()
            optim.zero_grad()
        self.state["step"] = step + 1
        return total

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss on held-out windows of 512 tokens, the same each time."""
        losses = {}
        for kind in ("prose", "code"):
            same = torch.Generator().manual_seed(0)
            rows = windows(self.streams[f"val.{kind}"], 64, 512, same).chunk(8)
            losses[f"val_{kind}"] = sum(loss_of(self.model, r).item() for r in rows) / 8
        return losses

    def note(self, losses: list[float]) -> None:
        """Add a row to the history: the losses since the last one, and validation."""
        row = {"step": self.state["step"], "seconds": round(self.state["seconds"])}
        row |= {"train": sum(losses) / len(losses)} | self.validate()
        self.state["history"].append(row)
        losses.clear()

    def run(self, bar: Progress) -> None:
        """Train until the budget is spent; save and export on the way."""
        state, losses, task = self.state, list[float](), bar.add_task("", total=1.0)
        budgets = state.setdefault("budgets", [])  # for the card
        if not self.args.steps and budgets[-1:] != [self.args.minutes]:
            budgets.append(self.args.minutes)
        saved = exported = time.monotonic()
        start = saved - state["seconds"]
        while (done := self.done()) < 1:
            losses.append(self.advance(done))
            state["seconds"] = (now := time.monotonic()) - start
            text = f"step {state['step']} loss {losses[-1]:.3f}"
            bar.update(task, completed=done, description=text)
            if state["step"] % 100 == 0:
                self.note(losses)
                bar.console.print(state["history"][-1])
            if now - saved > SAVE:
                saved = now
                self.save()
            early = state["history"] and not (self.args.out / "config.json").exists()
            if now - exported > EXPORT or early:
                exported = now
                self.export()
        if losses:
            self.note(losses)
        self.save()
        self.export()

    def export(self) -> None:
        """Write a folder that `from_pretrained` reads, one file at a time.

        Weights are stored in float16 and, as the config says, loaded in float32.
        """
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(self.args.work / "tokenizer.json"),
            **{f"{name}_token": token for name, token in SPECIAL.items()},
            padding_side="left",
            model_max_length=CONTEXT,
            clean_up_tokenization_spaces=False,
        )
        sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        weights = {k: v.half().contiguous() for k, v in self.model.state_dict().items()}
        del weights["lm_head.weight"]  # the embedding, tied
        with tempfile.TemporaryDirectory(dir=self.args.work) as name:
            out = Path(name)
            fast.save_pretrained(out)
            settings = json.loads((out / "tokenizer_config.json").read_text())
            settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # known before 5.0
            (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
            self.model.config.save_pretrained(out)
            transformers.GenerationConfig(**sampling, **SPECIAL_IDS).save_pretrained(
                out
            )
            save_file(weights, out / "model.safetensors", {"format": "pt"})
            (out / "training.json").write_text(json.dumps(self.record(), indent=1))
            self.args.out.mkdir(parents=True, exist_ok=True)
            for path in out.iterdir():
                path.chmod(0o644)
                path.replace(self.args.out / path.name)

    def record(self) -> dict[str, Any]:
        """What the model card tells about this run."""
        about = {key: getattr(self.args, key) for key in ("seed", "minutes", "steps")}
        about |= {"batch": BATCH, "prose_share": PROSE, "decay": DECAY}
        about["torch"] = torch.__version__
        about |= {"device": self.model.device.type, "extra_data": bool(self.args.data)}
        about["parameters"] = sum(p.numel() for p in self.model.parameters())
        return {"options": about, "corpus": self.corpus, **self.state}


def main() -> None:
    """Read the options, and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="more .txt, .rst and .py files")
    parser.add_argument("--work", type=Path, default=Path("build/train-lm"))
    parser.add_argument("--out", type=Path, default=HOME)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--steps", type=int, default=0, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args)
    if args.resume:
        trainer.load()
    with Progress(*Progress.get_default_columns()[:3], TimeElapsedColumn()) as bar:
        trainer.run(bar)


if __name__ == "__main__":
    main()
