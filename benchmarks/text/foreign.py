"""transformers' own watermarks: how they mark, and how they count without a mark.

KGW counts green tokens of distinct n-grams (Kirchenbauer et al. 2023); SynthID weighs
the g-values of tokens after distinct contexts (Dathathri et al. 2024). Marked texts are
counted by transformers' classes. `under` gives the same counts for many keys quickly;
the tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import betabinom, binom
from transformers import (
    SynthIDTextWatermarkingConfig,
    WatermarkDetector,
    WatermarkingConfig,
)

from benchmarks.language import Language, Sampling
from benchmarks.options import seeded

Ids = NDArray[np.uint32]
NGRAM = 5  # of SynthID: four tokens of context and the token
DEPTH = 30  # layers, as the paper's configurations have
STATES = 1 << 16  # entries of SynthID's table: all it keeps of a hash and of a key
MULTIPLIER = 6364136223846793005 % STATES  # of its congruential hash; increment 1
WEIGHTS = 290 - 9 * np.arange(DEPTH)  # linspace(10, 1, 30), in units of 1 / 29
SPAN = 1 << 17  # of the exact sum's lattice: 9.5 standard deviations at 200 tokens
FLOOR = 1e-12  # of exact tails; below it the transform's rounding is felt


@dataclass(frozen=True, slots=True)
class Tail:
    """P(statistic >= first + i) without a mark, for every i."""

    first: int
    chances: NDArray[np.float64]

    def at(self, statistic: int) -> float:
        """P(statistic or more)."""
        i = min(statistic - self.first, len(self.chances) - 1)
        return float(self.chances[i]) if i > 0 else 1.0

    def attains(self, alpha: float) -> float:
        """The largest of these chances that is at most `alpha`, or 0."""
        i = int(np.searchsorted(-self.chances, -alpha))
        return float(self.chances[i]) if i < len(self.chances) else 0.0


class Peer(Protocol):
    """A watermark of transformers.

    Attributes:
        name: in tables.
    """

    @property
    def name(self) -> str: ...

    def config(self, key: int) -> Any:
        """For `generate(watermarking_config=...)`."""

    def count(self, ids: Ids, key: int, config: Any) -> int:
        """The statistic, by transformers' own classes; `config` is the model's."""

    def under(
        self, texts: Sequence[Ids], key: int, lengths: Sequence[int], vocab: int
    ) -> list[list[int]]:
        """The statistic of the first tokens of every text: a row for each text."""


@dataclass(frozen=True, slots=True)
class Kgw:
    """Green lists seeded by the last token, or by a window with the token itself."""

    name: str
    seeding: str = "lefthash"
    width: int = 1

    @property
    def gamma(self) -> float:
        """Share of the vocabulary that is green, before rounding."""
        return float(self.config(0).greenlist_ratio)

    def config(self, key: int) -> WatermarkingConfig:
        """Defaults but for the key, the seeding and its width."""
        return WatermarkingConfig(
            hashing_key=_odd(key), seeding_scheme=self.seeding, context_width=self.width
        )

    def count(self, ids: Ids, key: int, config: Any) -> int:
        """Green tokens of distinct n-grams, as WatermarkDetector counts them."""
        detector: Any = WatermarkDetector(
            config, "cpu", self.config(key), ignore_repeated_ngrams=True
        )
        found = detector(torch.from_numpy(ids.astype(np.int64))[None], return_dict=True)
        return int(found.num_green_tokens[0])

    def grams(self, ids: Ids) -> NDArray[np.int64]:
        """All n-grams that the detector looks at.  # (n-grams, n)"""
        n = self.width + (self.seeding == "lefthash")
        return np.lib.stride_tricks.sliding_window_view(ids.astype(np.int64), n)

    def scored(self, ids: Ids) -> int:
        """Distinct n-grams."""
        return _distinct(ids.tobytes(), self.width + (self.seeding == "lefthash"))

    def under(
        self, texts: Sequence[Ids], key: int, lengths: Sequence[int], vocab: int
    ) -> list[list[int]]:
        """See `Peer`: one green list for every seed, however often it comes."""
        grams = [self.grams(ids) for ids in texts]
        together = np.concatenate(grams)
        seeds, place = np.unique(self._seeds(together, key), return_inverse=True)
        green = np.zeros((len(seeds), vocab), dtype=bool)
        size = int(vocab * self.gamma)
        generator = torch.Generator()
        for row, seed in zip(green, seeds.tolist(), strict=True):
            generator.manual_seed(seed % (2**64 - 1))
            row[torch.randperm(vocab, generator=generator)[:size].numpy()] = True
        is_green = green[place, together[:, -1]]
        ends = np.cumsum([len(g) for g in grams])[:-1]
        return [
            [int(found[: n - g.shape[1] + 1].sum()) for n in lengths]
            for g, found in (
                (g, bits & _first(g))
                for g, bits in zip(grams, np.split(is_green, ends), strict=True)
            )
        ]

    def _seeds(self, grams: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """As `set_seed` of WatermarkLogitsProcessor: 64-bit products that wrap."""
        if self.seeding == "lefthash":
            return _odd(key) * grams[:, -2]
        table = _table(_odd(key))[grams] + 1
        seeds: NDArray[np.int64] = (_odd(key) * table * table[:, -1:]).min(axis=1)
        return seeds


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Null of `Kgw`: beta-binomial, its spread fitted to unmarked texts.

    Green lists are drawn without replacement, which narrows the binomial, and selfhash
    seeds many positions by the token alone, which widens it.

    Attributes:
        gamma: share of the vocabulary that is green.
        spread: for each number of tokens, variance over the binomial's.
        scored: for each number of tokens, distinct n-grams on average.
    """

    gamma: float
    spread: dict[int, float]
    scored: dict[int, float]

    @classmethod
    def fit(
        cls, gamma: float, counts: Mapping[int, Sequence[tuple[int, int]]]
    ) -> Dispersion:
        """From (scored, green) pairs for each number of tokens: the second moment."""
        spread, scored = {}, {}
        for length, pairs in counts.items():
            n, green = np.asarray(pairs, dtype=float).T
            normal = (green - gamma * n) ** 2 / (n * gamma * (1 - gamma))
            spread[length], scored[length] = float(normal.mean()), float(n.mean())
        return cls(gamma, spread, scored)

    def tail(self, scored: int, length: int) -> Tail:
        """Of the green count among `scored` n-grams of a text of `length` tokens."""
        alike = (self.spread[length] - 1) / max(self.scored[length] - 1, 1)
        return _beta_binomial(scored, self.gamma, max(round(alike, 9), 0.0))


@lru_cache(maxsize=4096)
def _beta_binomial(n: int, gamma: float, alike: float) -> Tail:
    """`alike`: correlation of two tokens' colours; 0 is the binomial."""
    k = np.arange(n + 1)
    if alike == 0:
        return Tail(0, binom.sf(k - 1, n, gamma))
    total = 1 / alike - 1
    mass = betabinom.pmf(k, n, gamma * total, (1 - gamma) * total)
    return Tail(0, mass[::-1].cumsum()[::-1])


@dataclass(frozen=True, slots=True)
class SynthId:
    """Tournament sampling with transformers' hash; the weighted mean of g-values."""

    name: str
    table: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Keep the g-value of every state, one congruential step ahead of its key."""
        table = self._processor(0).sampling_table.numpy()
        ahead = (np.arange(STATES) * MULTIPLIER + 1) % STATES
        object.__setattr__(self, "table", table[ahead])

    def config(self, key: int) -> SynthIDTextWatermarkingConfig:
        """Thirty keys of 16 bits: transformers uses no more of them."""
        return SynthIDTextWatermarkingConfig(
            ngram_len=NGRAM, keys=layer_keys(key).tolist()
        )

    def _processor(self, key: int) -> Any:
        config: Any = self.config(key)
        return config.construct_processor(0, torch.device("cpu"))

    def count(self, ids: Ids, key: int, config: Any) -> int:
        """Weighted sum of the g-values of tokens whose context is new."""
        processor = self._processor(key)
        row = torch.from_numpy(ids.astype(np.int64))[None]
        values = processor.compute_g_values(row)[0].numpy()  # (tokens - 4, DEPTH)
        fresh = processor.compute_context_repetition_mask(row)[0].numpy()
        return int((values[fresh] @ WEIGHTS).sum())

    def states(self, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Hash of every n-gram before the key, modulo 2^16; whether it is scored."""
        grams = np.lib.stride_tricks.sliding_window_view(ids.astype(np.int64), NGRAM)
        state = np.ones(len(grams), dtype=np.int64)
        for column in grams.T:
            state = ((state + column) * MULTIPLIER + 1) % STATES
        return state, _first(grams[:, :-1])

    def under(
        self, texts: Sequence[Ids], key: int, lengths: Sequence[int], vocab: int
    ) -> list[list[int]]:
        """See `Peer`."""
        keys, rows = layer_keys(key), []
        for ids in texts:
            state, fresh = self.states(ids)
            values = self.table[(state[:, None] + keys) % STATES] @ WEIGHTS * fresh
            rows.append([int(values[: n - NGRAM + 1].sum()) for n in lengths])
        return rows

    def tail(self, ids: Ids) -> Tail:
        """Exact for this text over independent, uniform 16-bit keys.

        A key moves all states of its layer together, so the layer's count takes 65,536
        equally likely values: all are counted, and thirty layers are convolved.
        """
        state, fresh = self.states(ids)
        twice = np.concatenate([self.table, self.table]).astype(np.uint16)
        counts = np.zeros(STATES, dtype=np.uint16)
        for one in state[fresh].tolist():
            counts += twice[one : one + STATES]
        chances = np.bincount(counts) / STATES
        layer = np.fft.fft(chances, SPAN)
        half = np.arange(SPAN // 2 + 1)
        whole = np.ones(len(half), dtype=complex)
        for weight in WEIGHTS.tolist():
            whole *= layer[half * weight % SPAN]
        middle = round(float(counts.mean()) * int(WEIGHTS.sum()))
        first = middle - SPAN // 2
        mass = np.roll(np.fft.irfft(whole, SPAN), -(first % SPAN))
        return Tail(first, np.clip(mass[::-1].cumsum()[::-1], FLOOR, 1.0))


def marked(
    peer: Peer,
    language: Language,
    sampling: Sampling,
    prompts: Sequence[str],
    *place: object,
) -> dict[str, Any]:
    """One text for each prompt, all under one key: ids, nats a token, and the key.

    Whatever a peer raises is its result: the row then says what failed.
    """
    seed = seeded("peer", peer.name, *place)
    key = int.from_bytes(seed[8:16], "little")
    try:
        drawn = language.sample(
            prompts,
            sampling=sampling,
            seed=seed,
            watermarking_config=peer.config(key),
        )
    except Exception as error:  # other people's code: it may fail in any way
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"ids": drawn.ids, "nats": drawn.nats, "key": key}


def layer_keys(key: int) -> NDArray[np.int64]:
    """SynthID's keys, one for each layer, drawn from one number."""
    generator = np.random.default_rng(list(seeded("layers", key)))
    return generator.integers(STATES, size=DEPTH)


def _odd(key: int) -> int:
    """KGW multiplies by its key: an odd one of 31 bits keeps every seed distinct."""
    return key % (1 << 31) | 1


def _first(grams: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row is the first of its kind."""
    fresh = np.zeros(len(grams), dtype=bool)
    fresh[np.unique(grams, axis=0, return_index=True)[1]] = True
    return fresh


@lru_cache(maxsize=8192)
def _distinct(ids: bytes, n: int) -> int:
    """Distinct n-grams of a text that comes again under many keys."""
    row = np.frombuffer(ids, dtype=np.uint32)
    return len(np.unique(np.lib.stride_tricks.sliding_window_view(row, n), axis=0))


@lru_cache(maxsize=2)
def _table(key: int) -> NDArray[np.int64]:
    """KGW's table of a key, as WatermarkLogitsProcessor draws it."""
    generator = torch.Generator().manual_seed(key)
    return torch.randperm(1_000_003, generator=generator).numpy()
