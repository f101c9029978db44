"""Marks in the initial noise behind one interface: ours, and each peer's as published.

A peer marks a draw of noise and tests an estimate of one. A test is blind, with the key
alone, or told what is particular to the picture: its nonce and message. Every answer is
log10 of a p-value that holds over the draw of the key, for any picture, except Tree-
Ring's own distance, whose threshold has to be fitted (`robustness`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.diffusion import prc
from benchmarks.options import seeded, seeded_key
from watermark import detectors, kernels, schemes
from watermark.detectors import noise as noise_detector
from watermark.detectors import signs
from watermark.detectors.base import LN10, Score
from watermark.detectors.foreign import gaussian_shading as shading_detector
from watermark.detectors.foreign import tree_ring as ring_detector
from watermark.schemes import SCHEMES, noise
from watermark.schemes.foreign import gaussian_shading, tree_ring

Noise = NDArray[np.floating]
Bits = NDArray[np.uint8]
Test = Callable[[Noise, Any, Any], float]  # (estimate, key, told) -> log10 p
MESSAGE_BITS = 64  # PRC's, as many as ours; Gaussian Shading's follow from the shape


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way to mark noise, and the tests for it.

    Attributes:
        name: of the scheme.
        key: of (seed, shape); anybody can guess it.
        mark: of (draw, key, index) gives the marked draw and what can be told of it.
        blind: tests that need the key alone; what is told is not looked at.
        told: tests that are given nonce and message.
        read: of (estimate, key, told) says whether the message comes out right.
        needs: what `read` has to be told, or "".
    """

    name: str
    key: Callable[[object, tuple[int, ...]], Any]
    mark: Callable[[Noise, Any, int], tuple[Noise, Any]]
    blind: Mapping[str, Test]
    told: Mapping[str, Test]
    read: Callable[[Noise, Any, Any], bool] | None = None
    needs: str = ""


def _rng(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(seeded(*parts)[:16], "little"))


def _correlation(z: Noise, codeword: NDArray[np.int32]) -> float:
    """log10 p of signs that are all known, by the bound that our detectors use."""
    w = signs.weights(z)
    return signs.ln_tail(int(w.astype(np.int64) @ codeword.reshape(-1)), w) / LN10


# Ours.


def _our_key(seed: object, shape: tuple[int, ...]) -> noise.Code:
    return noise.Code(SCHEMES["noise"].record(seeded_key("noise", seed)), shape)


def _our_mark(z: Noise, code: noise.Code, index: int) -> tuple[Noise, Any]:
    marked, nonce, mark_id = noise.mark(z, code)
    return marked, (nonce, mark_id)


def our_score(z: Noise, code: noise.Code) -> Score:
    """The whole answer of our detector."""
    return noise_detector.score(z, code)


def _our_read(z: Noise, code: noise.Code, told: tuple[int, bytes]) -> bool:
    return our_score(z, code).payload == told[1]


OURS = Peer(
    name="ours",
    key=_our_key,
    mark=_our_mark,
    blind={"ours": lambda z, code, _: our_score(z, code).log10_p()},
    told={"ours": lambda z, code, told: _correlation(z, code.signs(*told))},
    read=_our_read,
)


# Gaussian Shading.


def _shading_key(seed: object, shape: tuple[int, ...]) -> gaussian_shading.Code:
    return gaussian_shading.Code(
        shape=shape,
        key=seeded("shading", seed),
        nonce=seeded("nonce", seed)[: gaussian_shading.NONCE_BYTES],
    )


def _shading_mark(
    z: Noise, code: gaussian_shading.Code, index: int
) -> tuple[Noise, Any]:
    message = _rng("message", index).integers(0, 2, code.bits, dtype=np.uint8)
    return gaussian_shading.mark(z, code, message), message


def _shading_bits(z: Noise, code: gaussian_shading.Code, told: Bits) -> float:
    return shading_detector.score(z, code, told).log10_p()


def _shading_signs(z: Noise, code: gaussian_shading.Code, told: Bits) -> float:
    return shading_detector.correlation(z, code, told).log10_p()


def _shading_frozen(z: Noise, code: gaussian_shading.Code, told: Any) -> float:
    return shading_detector.presence(z, code).log10_p()


def _shading_read(z: Noise, code: gaussian_shading.Code, told: Bits) -> bool:
    return np.array_equal(shading_detector.read(z, code), told)


def _nothing(z: Noise, key: Any, told: Any) -> float:
    return 0.0


# As published each picture has a nonce of its own, and without it p is 1. With the
# nonce frozen, as ports of it do, the key is enough; told, the two are the same.
SHADING = Peer(
    name="Gaussian Shading",
    key=_shading_key,
    mark=_shading_mark,
    blind={
        "Gaussian Shading, as published": _nothing,
        "Gaussian Shading, frozen nonce": _shading_frozen,
    },
    told={
        "Gaussian Shading, bits": _shading_bits,
        "Gaussian Shading, every sign": _shading_signs,
    },
    read=_shading_read,
    needs="the nonce",
)


# PRC.


def prc_key(
    seed: object, shape: tuple[int, ...], message_bits: int = MESSAGE_BITS
) -> prc.Key:
    """A key of PRC for messages of another length than ours."""
    n = math.prod(shape)
    return prc.keygen(n, _rng("prc", seed), message_bits=message_bits)


def _prc_mark(z: Noise, key: prc.Key, index: int) -> tuple[Noise, Any]:
    rng = _rng("prc", key.pad.tobytes().hex()[:64], index)
    message = rng.integers(0, 2, key.message_bits, dtype=np.uint8)
    payload = prc.payload(key, message, rng)
    signed = np.abs(z) * prc.signs(key, payload, rng).reshape(z.shape).astype(z.dtype)
    return signed, (payload, message)


def _prc_read(z: Noise, key: prc.Key, told: tuple[Bits, Bits]) -> bool:
    found = prc.decode(key, z.astype(np.float64).reshape(-1))
    return found is not None and np.array_equal(found, told[1])


def _prc_blind(z: Noise, key: prc.Key, told: Any, tight: bool = True) -> float:
    flat = z.astype(np.float64).reshape(-1)
    return min(0.0, prc.ln_p(key, flat, tight=tight) / LN10)


def _prc_told(z: Noise, key: prc.Key, told: tuple[Bits, Bits]) -> float:
    return _correlation(z, 1 - 2 * prc.codeword(key, told[0]).astype(np.int32))


PRC = Peer(
    name="PRC",
    key=prc_key,
    mark=_prc_mark,
    blind={"PRC": _prc_blind},
    told={"PRC, every sign": _prc_told},
    read=_prc_read,
)


# Tree-Ring.


def _pattern(seed: object, shape: tuple[int, ...], kind: str) -> tree_ring.Pattern:
    draw = _rng("tree-ring", kind, seed).standard_normal(shape)
    channel = min(tree_ring.CHANNEL, shape[0] - 1)
    return tree_ring.Pattern(draw=draw, kind=kind, channel=channel)


def _ring_exact(z: Noise, pattern: tree_ring.Pattern, told: Any) -> float:
    return ring_detector.score(z, pattern).log10_p()


def _tree_ring(kind: str) -> Peer:
    # There is nothing to tell: one key, one pattern.
    tests = {} if kind == "ring" else {f"Tree-Ring {kind}, exact": _ring_exact}
    return Peer(
        name=f"Tree-Ring {kind}",
        key=partial(_pattern, kind=kind),
        mark=lambda z, pattern, _: (tree_ring.mark(z, pattern), None),
        blind=tests,
        told=tests,
    )


RING, RAND = _tree_ring("ring"), _tree_ring("rand")

PEERS: tuple[Peer, ...] = (OURS, SHADING, PRC, RING, RAND)
# Modules that decide what a journal's rows say.
MODULES = (
    *(detectors, kernels, schemes),
    *(gaussian_shading, tree_ring, shading_detector, ring_detector),
)
