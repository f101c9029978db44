"""Code that is marked in every way, at equal cost: the model's, and synthetic.

The language model continues function heads at the setting where prose has one nat; code
has less. Its texts are decoded and tokenised again. Each scheme that biases is given
the delta that costs the same (`cost`); `gumbel` costs nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import sources
from benchmarks.language import BATCH, Language, Sampling, nucleus
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.text import cost, kgw
from benchmarks.text.samples import Parameters, Sampler, Set, Text
from watermark.likelihood import Likelihood
from watermark.schemes import SCHEMES

LENGTHS = (50, 100, 150, 200, 300, 400)
NATS = 1.0  # of prose: the setting that code is sampled at
# Nats a token that a bias costs. Both need a delta near 2, as it is used. The nucleus
# of the model's code leaves so few candidates that no bias costs more than 0.105.
COST, COST_SYNTHETIC = 0.03, 0.1
GATE = 0.3
CHOSEN_ON = 20  # unmarked texts that delta is chosen on, 400 tokens each
STEPS = 4000  # the same of a synthetic source
COSTED = 60  # texts whose cost is measured
HEADS = (
    'def read_config(path):\n    """Read a configuration file and return a dict."""\n',
    'def count_words(text):\n    """Return how often each word occurs in text."""\n',
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(",
    'def main():\n    parser = argparse.ArgumentParser(description="',
    "def test_copy(self):\n        a = [1, 2, 3]\n        b = copy.copy(a)\n",
    'def parse_date(value):\n    """Parse a date of the form YYYY-MM-DD."""\n',
    "import os\nimport sys\n\n\ndef find_files(root, suffix):\n",
    'def merge(left, right):\n    """Merge two sorted lists."""\n    result = []\n',
    "class Node:\n    def __init__(self, value, parent=None):\n",
    "    def close(self):\n        if self._closed:\n            return\n",
    'def is_prime(n):\n    """Return True if n is prime."""\n    if n < 2:\n',
    "    try:\n        data = sock.recv(1024)\n    except OSError as exc:\n",
)

GREEN, GATED, GUMBEL, KGW = "greenlist", "greenlist, gate 0.3", "gumbel", "HF KGW"
UNMARKED = "unmarked"
BIASED = {GREEN: 0.0, GATED: GATE, KGW: 0.0}  # and the gate of each
KEYS = 100  # of KGW's null


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as a detector gets it.

    Attributes:
        ids: its tokens.
        probabilities: that the unmarked model gave them, NaN where nobody asked.
        entropies: of the distributions that it would have drawn them from, the same.
        key: its key record, or the hashing key of KGW.
    """

    ids: NDArray[np.uint32]
    probabilities: NDArray[np.float64]
    entropies: NDArray[np.float64]
    key: Any = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where texts come from, marked in every way.

    Attributes:
        name: in tables.
        nats: mean entropy of a token of unmarked texts.
        deltas: of every scheme that biases.
        costs: nats a token measured on these texts, and the standard error.
        readings: texts by scheme, `UNMARKED` among them.
        null: KGW's, of unmarked texts.
    """

    name: str
    nats: float
    deltas: dict[str, float]
    costs: dict[str, tuple[float, float]]
    readings: dict[str, list[Reading]]
    null: kgw.Null


# --- the language model --------------------------------------------------------------


def code_set(name: str, scheme: str | None, parameters: Parameters = ()) -> Set:
    return Set(f"code, {name}", scheme, NATS, LENGTHS[-1], parameters, HEADS)


def sampled(sampler: Sampler, options: Options, count: int) -> Source:
    """Code that the language model writes."""
    language = sampler.language
    part = code_set(UNMARKED, None)
    sampling = sampler.sampling(part)
    plain = sampler.texts(part, count)
    log_p = np.concatenate(
        [_log_p(language, t, i, sampling) for i, t in enumerate(plain[:CHOSEN_ON])]
    )
    deltas = _deltas(COST, log_p, options)
    biased = (("delta", deltas[GREEN]),)
    gated = (("delta", deltas[GATED]), ("gate100", round(100 * GATE)))
    foreign = code_set(KGW, None)
    drawn = {
        UNMARKED: plain,
        GUMBEL: sampler.texts(code_set(GUMBEL, "gumbel"), count),
        GREEN: sampler.texts(code_set(GREEN, "greenlist", biased), count),
        GATED: sampler.texts(code_set(GATED, "greenlist", gated), count),
        KGW: kgw.texts(sampler, foreign, deltas[KGW], count),
    }
    keys: dict[str, list[Any]] = {k: [t.record for t in v] for k, v in drawn.items()}
    keys[KGW] = [kgw.batch_key(sampler, foreign, i // BATCH) for i in range(count)]
    model = Likelihood(
        language.model, temperature=sampling.temperature, top_p=sampling.top_p
    )
    readings, costs = {}, {}
    for name, texts in drawn.items():
        seen = enumerate(options.track(texts[:COSTED], f"code, {name}: cost"))
        costs[name] = cost.measured([_view(language, model, t.ids, i) for i, t in seen])
        every = enumerate(options.track(texts, f"code, {name}: read"))
        readings[name] = [
            _reading(language, model, text, i, key, name in (GUMBEL, GATED))
            for (i, text), key in zip(every, keys[name], strict=True)
        ]
    null = _null([r.ids for r in readings[UNMARKED]], language.vocab_size, options)
    nats = statistics.fmean(text.nats for text in plain)
    return Source("code of the model", nats, deltas, costs, readings, null)


def _prompt(language: Language, place: int) -> list[int]:
    return list(language.tokenizer(HEADS[place % len(HEADS)])["input_ids"])


def _ids(language: Language, text: Text) -> NDArray[np.uint32]:
    """A sample decoded and tokenised again."""
    return np.asarray(language.reader.encode(text.said(language)), np.uint32)


def _view(
    language: Language, model: Likelihood, ids: Any, place: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities and entropies of tokens after their prompt."""
    tokens, prompt = np.asarray(ids, np.uint32), _prompt(language, place)
    return model.probabilities(tokens, prompt), model.entropies(tokens, prompt)


def _reading(
    language: Language, model: Likelihood, text: Text, place: int, key: Any, view: bool
) -> Reading:
    ids = _ids(language, text)
    if not view:
        unknown = np.full(len(ids), np.nan)
        return Reading(ids, unknown, unknown, key)
    probabilities, entropies = _view(language, model, ids, place)
    return Reading(ids, probabilities, entropies, key)


@torch.inference_mode()
def _log_p(
    language: Language, text: Text, place: int, sampling: Sampling
) -> NDArray[np.float64]:
    """The distributions that a text was drawn from.  # (tokens, vocab)"""
    ids = torch.tensor([_prompt(language, place) + text.ids])
    logits = language.model(input_ids=ids).logits[0, -len(text.ids) - 1 : -1].double()
    logits[:, language.tokenizer.eos_token_id] = -torch.inf  # min_new_tokens
    p = nucleus((logits / sampling.temperature).softmax(-1), sampling)
    return np.asarray(p.log().numpy())


def _deltas(
    wanted: float, log_p: NDArray[np.float64], options: Options
) -> dict[str, float]:
    return {
        name: cost.delta_for(wanted, log_p, kgw.GAMMA, gate, options.seed)
        for name, gate in BIASED.items()
    }


def _null(
    unmarked: Sequence[NDArray[np.uint32]], vocab: int, options: Options
) -> kgw.Null:
    keys = [kgw.key("null", options.seed, k) for k in range(KEYS)]
    return kgw.Null.of(unmarked, keys, LENGTHS, vocab)


# --- synthetic sources ---------------------------------------------------------------


def synthetic(nats: float, options: Options, count: int) -> Source:
    """Texts of a source of `nats`, marked in every way."""

    def generator(*name: object) -> np.random.Generator:
        return np.random.default_rng(list(seeded("code", options.seed, nats, *name)))

    rows = sources.rows(nats, generator("rows"))
    log_p = np.stack([row for row, _ in zip(rows, range(STEPS), strict=False)])
    deltas = _deltas(COST_SYNTHETIC, log_p, options)
    schemes: dict[str, tuple[str, dict[str, Any]]] = {
        GUMBEL: ("gumbel", {}),
        GREEN: ("greenlist", {"delta": deltas[GREEN]}),
        GATED: ("greenlist", {"delta": deltas[GATED], "gate100": round(100 * GATE)}),
    }
    readings: dict[str, list[Reading]] = {k: [] for k in (UNMARKED, *schemes, KGW)}
    for i in options.track(range(count), f"code, synthetic {nats:g} nats"):
        plain = sources.text(LENGTHS[-1], nats, generator(UNMARKED, i))
        readings[UNMARKED].append(_of(plain, None))
        for name, (scheme, parameters) in schemes.items():
            key = seeded_key("code", options.seed, nats, name, i)
            record = SCHEMES[scheme].record(key, **parameters)
            rng = generator(name, i)
            nonce = int(rng.integers(16))
            text = sources.text(LENGTHS[-1], nats, rng, record, nonce)
            readings[name].append(_of(text, record))
        hashing = kgw.key("code", options.seed, nats, i)
        mark = kgw.mark(hashing, deltas[KGW], sources.VOCAB)
        text = sources.text(LENGTHS[-1], nats, generator(KGW, i), mark=mark)
        readings[KGW].append(_of(text, hashing))
    costs = {
        name: cost.measured([(r.probabilities, r.entropies) for r in several])
        for name, several in readings.items()
    }
    null = _null([r.ids for r in readings[UNMARKED]], sources.VOCAB, options)
    name = f"synthetic, {nats:g} nats"
    return Source(name, nats, deltas, costs, readings, null)


def _of(text: sources.Text, key: Any) -> Reading:
    return Reading(text.tokens, text.probabilities, text.entropies, key)
