"""Measure the trained language model, and write its card.

    python benchmarks/models/measure_lm.py

Gives the entropy of the distribution that tokens are drawn from, at temperature 1
and where a nucleus cuts it to 0.5, 1 and 1.5 nats, and how much of a sample comes back
when its text is tokenised again. Everything is read from, and written to, `lm/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from matplotlib.figure import Figure
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

HOME = Path(__file__).parent / "lm"
PROMPTS = (
    "The function returns a",
    "This module provides a simple way to",
    "When the connection is closed, the server",
    "In mathematics, the",
    "If the file does not exist,",
    "The main difference between the two methods is that",
    "Note that this class should not be used when",
    "You may copy and distribute the program",
)
EACH, LENGTH = 8, 200  # samples for each prompt, and tokens in each
SCRIPT = "benchmarks/models/train_lm.py"
LEVELS = (0.5, 1.0, 1.5)  # nats
TOLERANCE = 0.02  # nats; the search stops well inside 0.1


class Sample(NamedTuple):
    """Sampled continuations and what each token was drawn from."""

    ids: Tensor  # (samples, LENGTH)
    entropy: Tensor  # (samples, LENGTH), nats


def sample(
    model: Any, tokenizer: Any, temperature: float, top_p: float, seed: int
) -> Sample:
    """Draw `EACH` samples for every prompt: no top-k, no early end."""
    prompts = [prompt for prompt in PROMPTS for _ in range(EACH)]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = model.generate(
            **inputs,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=top_p,
            min_new_tokens=LENGTH,
            max_new_tokens=LENGTH,
            output_scores=True,
            return_dict_in_generate=True,
        )
    # The scores are those after every processor: what multinomial was given.
    entropy = [torch.special.entr(s.softmax(-1)).sum(-1) for s in out.scores]
    return Sample(out.sequences[:, -LENGTH:], torch.stack(entropy, 1))


def common(a: list[int], b: list[int]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        above = row
        row = [0]
        for j, y in enumerate(b):
            row.append(above[j] + 1 if x == y else max(above[j + 1], row[j]))
    return row[-1]


def repeats(ids: list[int], length: int = 8) -> float:
    """Share of the runs of eight tokens that the same sample held before."""
    runs = [tuple(ids[i : i + length]) for i in range(len(ids) - length + 1)]
    return 1 - len(set(runs)) / len(runs)


def report(
    tokenizer: Any, drawn: Sample, temperature: float, top_p: float
) -> dict[str, Any]:
    """Entropy, retokenisation and repetition of one set of samples."""
    samples = drawn.ids.tolist()
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in samples]
    again = [tokenizer(text)["input_ids"] for text in texts]
    pairs = list(zip(samples, again, strict=True))
    each = drawn.entropy.mean(1)
    return {
        "temperature": round(temperature, 4),
        "top_p": top_p,
        "mean_entropy_nats": round(drawn.entropy.mean().item(), 4),
        "standard_error": round(each.std().item() / len(each) ** 0.5, 4),
        "deviation_of_rows": round(each.std().item(), 4),
        "median_entropy_nats": round(drawn.entropy.median().item(), 4),
        "retokenised_share": round(
            sum(common(a, b) for a, b in pairs) / (len(samples) * LENGTH), 5
        ),
        "retokenised_exactly": round(sum(a == b for a, b in pairs) / len(samples), 4),
        "repeated_runs_of_8": round(sum(map(repeats, samples)) / len(samples), 4),
        "characters_per_token": round(
            sum(map(len, texts)) / (len(samples) * LENGTH), 3
        ),
        "texts": texts[:: EACH * 2],
    }


def find_nucleus(model: Any, tokenizer: Any, target: float) -> float:
    """Bisect for the nucleus whose mean entropy is `target` at temperature 1."""
    low, high = 0.1, 1.0
    while high - low > 0.002:
        middle = round((low + high) / 2, 4)
        entropy = sample(model, tokenizer, 1.0, middle, seed=1).entropy.mean().item()
        print(f"top-p {middle:.4f}: {entropy:.4f} nats", flush=True)
        if abs(entropy - target) < TOLERANCE:
            break
        low, high = (middle, high) if entropy < target else (low, middle)
    return middle


def measure(home: Path) -> dict[str, Any]:
    """Load the model as users will, and measure it."""
    model: Any = AutoModelForCausalLM.from_pretrained(home, local_files_only=True)
    tokenizer: Any = AutoTokenizer.from_pretrained(home, local_files_only=True)
    model.eval()
    weights = (home / "model.safetensors").read_bytes()
    settings = {f"{n:g} nats": find_nucleus(model, tokenizer, n) for n in LEVELS}
    found = {"temperature 1": (1.0, 1.0)}
    found |= {name: (1.0, value) for name, value in settings.items()}
    return {
        "model_sha256": hashlib.sha256(weights).hexdigest(),
        "settings": {
            "samples": len(PROMPTS) * EACH,
            "tokens": LENGTH,
            "top_k": 0,
            "seed": 2,
            "prompts": PROMPTS,
        },
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "at": {
            name: report(tokenizer, sample(model, tokenizer, *pair, seed=2), *pair)
            for name, pair in found.items()
        },
    }


def draw(history: list[dict[str, float]], path: Path) -> None:
    """Loss curves against steps."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for key, label in (
        ("train", "training batches"),
        ("val_prose", "validation, prose"),
        ("val_code", "validation, code"),
    ):
        axes.plot([r["step"] for r in history], [r[key] for r in history], label=label)
    axes.set(xlabel="step", ylabel="loss (nats per token)", ylim=(None, 5.0))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=90)


CARD = """# A small English language model for the benchmarks

{parameters:,} parameters, `LlamaForCausalLM` ({layers} layers of {hidden}, {heads}
heads, context {context}, tied embeddings), with its own byte-level BPE tokenizer of
{vocab} entries.
Weights are stored in float16 ({megabytes:.1f} MB) and load in float32. It was trained
from nothing by `benchmarks/models/train_lm.py`, and serves to test watermarks on text
that a trained model sampled. It has the manner of technical prose, not its sense.

## Data

Text that the training interpreter carried; nothing was downloaded. Prose is
docstrings, comment blocks, `pydoc_data.topics` and licence texts, each paragraph
once; code is the standard library's. One file in 50 was held out for validation.

| source | version and licence | prose characters | code characters |
|---|---|---|---|
{sources}

SHA-256 of the corpus: `{digest}`.
Tokens: {tokens}.
Other versions of Python or of these packages give another corpus. Each training window
was prose with probability {share:.0%}, else code.

## Training

| | |
|---|---|
| steps | {steps}, of {batch:,} tokens: {seen:.1f} million tokens in all |
| optimisers | Muon (matrices), AdamW (embedding, norms) |
| rate | warm-up, constant, linear fall over the last {decay:.0%} |
| windows | 512 tokens, 1024 during the fall |
| arithmetic | bfloat16 autocast, float32 weights |
| seed | {seed} |
| wall time | {minutes:.0f} minutes on {device} (torch {torch}) |
| training loss, mean of the last steps | {train:.3f} nats per token |
| validation loss, prose | {val_prose:.3f} |
| validation loss, code | {val_code:.3f} |

![loss](loss.png)

Validation windows hold 512 tokens and start anywhere in the held-out stream.

## Sampling

{samples} samples of {tokens_each} tokens from {prompts} prompts, no top-k, end of text
ruled out, seed 2. Entropy is that of the distribution each token was drawn
from, in nats, averaged over the sampled tokens. Retokenised share: the longest common
subsequence of the sampled ids and of the ids of their text, over the sampled ids.
Deviation of rows: how far the samples' means lie apart. Repeated runs: the share of
8-token runs that the same sample held before: a small model that is held to its likely
tokens goes round in circles, and no mark can live there.

{rows}

{texts}

## Reproduce

    {command}
    python benchmarks/models/measure_lm.py

Several lines: a run that had ended was taken up again with a larger budget, and its
rate rose once more. A time budget gives another number of steps on another machine;
`--steps {steps}` fixes it, with the schedule counted in steps. The weights will not be
bit-equal elsewhere.
"""


def quote(text: str) -> str:
    """Text as an indented block, its first few hundred characters."""
    return "\n".join(f"    {line}" for line in text[:600].strip().split("\n"))


def card(training: dict[str, Any], measured: dict[str, Any], home: Path) -> str:
    """MODEL.md, from the records of training and of measuring."""
    config = json.loads((home / "config.json").read_text())
    found = measured["at"]
    columns = [key for key in found["temperature 1"] if key != "texts"]
    table = [["", *found], ["---"] * (1 + len(found))]
    table += [
        [k.replace("_", " "), *(str(f[k]) for f in found.values())] for k in columns
    ]
    last, options = training["history"][-1], training["options"]
    size = (home / "model.safetensors").stat().st_size
    return CARD.format(
        **{key: last[key] for key in ("train", "val_prose", "val_code")},
        parameters=options["parameters"],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        context=config["max_position_embeddings"],
        vocab=config["vocab_size"],
        megabytes=size / 1e6,
        sources="\n".join(
            f"| {name} | {s['licence']} | {s['prose']:,} | {s['code']:,} |"
            for name, s in training["corpus"]["sources"].items()
        ),
        digest=training["corpus"]["sha256"],
        tokens=", ".join(f"{k} {v:,}" for k, v in training["corpus"]["tokens"].items()),
        share=options["prose_share"],
        steps=training["step"],
        seen=training["step"] * options["batch"] / 1e6,
        decay=options["decay"],
        batch=options["batch"],
        seed=options["seed"],
        minutes=training["seconds"] / 60,
        device=options["device"],
        torch=options["torch"],
        samples=measured["settings"]["samples"],
        tokens_each=measured["settings"]["tokens"],
        prompts=len(measured["settings"]["prompts"]),
        rows="\n".join(f"| {' | '.join(row)} |" for row in table),
        texts="\n\n".join(
            f"At {name}:\n\n{quote(one['texts'][0])}" for name, one in found.items()
        ),
        command="\n    ".join(
            f"python {SCRIPT} --minutes {minutes:g}"
            for minutes in training.get("budgets", [options["minutes"]])
        ),
    )


def main() -> None:
    """Read the options, measure, and write the three files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, default=HOME)
    home = parser.parse_args().home
    training = json.loads((home / "training.json").read_text())
    measured = measure(home)
    (home / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")
    draw(training["history"], home / "loss.png")
    (home / "MODEL.md").write_text(card(training, measured, home))
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
