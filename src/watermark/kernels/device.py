"""The same words in torch integer operations, for logits that live on an accelerator.

Everything stays on the tensors' device: nothing here waits for it. int64 arithmetic
wraps, so products and sums are exact modulo 2**64 on every device; the noise uses
float64 only to find a leading bit, which is exact. Equal to the kernels on every value
(tests/test_device.py).
"""

from __future__ import annotations

import struct

import torch

from watermark.kernels.reference import (
    LOGIT_FLOOR,
    NOISE_BITS,
    NOISE_HIGH,
    NOISE_LOW,
)

_MASK32 = 0xFFFFFFFF
_TABLES: dict[torch.device, torch.Tensor] = {}


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _shift_right(x: torch.Tensor, n: int) -> torch.Tensor:
    return (x >> n) & ((1 << (64 - n)) - 1)


def _rotl(x: torch.Tensor, n: int) -> torch.Tensor:
    return (x << n) | _shift_right(x, 64 - n)


def _rounds(v: list[torch.Tensor], count: int) -> None:
    for _ in range(count):
        v[0] = v[0] + v[1]
        v[1] = _rotl(v[1], 13) ^ v[0]
        v[0] = _rotl(v[0], 32)
        v[2] = v[2] + v[3]
        v[3] = _rotl(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3]
        v[3] = _rotl(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1]
        v[1] = _rotl(v[1], 17) ^ v[2]
        v[2] = _rotl(v[2], 32)


def context_states(
    key: bytes, contexts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """SipHash states of token contexts.

    Args:
        key: 16 bytes.
        contexts: int64 (batch, width), ids in [0, 2**32).

    Returns:
        (low, high): the two halves of each state, int64 (batch,).
    """
    width = contexts.shape[1]
    k0, k1 = struct.unpack("<QQ", key)
    like = torch.zeros_like(contexts[:, 0])
    v = [
        like + _signed(k0 ^ 0x736F6D6570736575),
        like + _signed(k1 ^ 0x646F72616E646F6D ^ 0xEE),
        like + _signed(k0 ^ 0x6C7967656E657261),
        like + _signed(k1 ^ 0x7465646279746573),
    ]
    blocks = [
        contexts[:, i] | (contexts[:, i + 1] << 32) for i in range(0, width - 1, 2)
    ]
    last = like + _signed(((4 * width) & 0xFF) << 56)
    blocks.append(last | contexts[:, width - 1] if width % 2 else last)
    for block in blocks:
        v[3] = v[3] ^ block
        _rounds(v, 2)
        v[0] = v[0] ^ block
    v[2] = v[2] ^ 0xEE
    _rounds(v, 4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] = v[1] ^ 0xDD
    _rounds(v, 4)
    return low, v[0] ^ v[1] ^ v[2] ^ v[3]


def words(
    low: torch.Tensor, high: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four Philox words, int64 in [0, 2**32), of states and counters (broadcast)."""
    k0, k1 = low & _MASK32, _shift_right(low, 32)
    c0, c1 = first, second
    c2, c3 = high & _MASK32, _shift_right(high, 32)
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            _shift_right(p1, 32) ^ c1 ^ k0,
            p1 & _MASK32,
            _shift_right(p0, 32) ^ c3 ^ k1,
            p0 & _MASK32,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _MASK32, (k1 + 0xBB67AE85) & _MASK32
    return c0, c1, c2, c3


def gumbel_noise(word: torch.Tensor) -> torch.Tensor:
    """Gumbel quantiles of words, int64 in units of 2**-24 nats."""
    if word.device not in _TABLES:
        table = torch.tensor([list(NOISE_LOW), list(NOISE_HIGH)], dtype=torch.int64)
        _TABLES[word.device] = table.to(word.device).reshape(-1)
    table = _TABLES[word.device]
    y = 2 * word + 1
    upper = y >= 1 << 32
    y = torch.where(upper, (1 << 33) - y, y)
    bits = y.to(torch.float64).view(torch.int64)
    exponent = (bits >> 52) - 1023
    index = exponent * 256 + ((bits >> 44) & 255) + upper * len(NOISE_LOW)
    fraction = (bits >> 20) & 0xFFFFFF
    below = table[index]
    return below + (((table[index + 1] - below) * fraction) >> 24)


def token_words(
    vocab: int,
    low: torch.Tensor,
    high: torch.Tensor,
    nonce: torch.Tensor,
    symbol: torch.Tensor | None = None,
) -> torch.Tensor:
    """The word of every token of the vocabulary: `reference.token_word`.

    Args:
        vocab: tokens 0 to vocab - 1.
        low: int64 (batch,), states.
        high: int64 (batch,), states.
        nonce: int64 (batch,).
        symbol: int64 (batch,), payload symbols, -1 where a row carries none.

    Returns:
        int64 (batch, vocab) in [0, 2**32).
    """
    second, lane = nonce >> 2, nonce & 3
    if symbol is not None:
        coded = 1 << 30 | nonce << 6 | symbol >> 2
        second = torch.where(symbol < 0, second, coded)
        lane = torch.where(symbol < 0, lane, symbol & 3)
    token = torch.arange(vocab, device=low.device)[None, :]
    block = words(low[:, None], high[:, None], token, second[:, None])
    which = lane[:, None]
    return torch.where(
        which < 2,
        torch.where(which == 0, block[0], block[1]),
        torch.where(which == 2, block[2], block[3]),
    )


def gumbel_select(
    scores: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    nonce: torch.Tensor,
    symbol: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The token the key chooses in each row, and whether the row could be sampled.

    Args:
        scores: float32 (batch, vocab); -inf excludes a token.
        low: int64 (batch,), states.
        high: int64 (batch,), states.
        nonce: int64 (batch,).
        symbol: int64 (batch,), payload symbols, -1 where a row carries none.

    Returns:
        (tokens, fit): int64 (batch,) and bool (batch,); False for NaN or +inf in the
        row, or nothing finite.
    """
    word = token_words(scores.shape[1], low, high, nonce, symbol)
    top = scores.max(dim=1, keepdim=True).values
    fit = torch.isfinite(top.squeeze(1)) & ~torch.isnan(scores).any(dim=1)
    distance = (scores.double() - top.double()).clamp(min=LOGIT_FLOOR)
    value = torch.round(distance * (1 << NOISE_BITS)).nan_to_num(0).to(torch.int64)
    value = value + gumbel_noise(word)
    # The smaller token wins a tie: argmax alone does not promise which it returns.
    token = torch.arange(scores.shape[1], device=scores.device)[None, :]
    value = (value << 24) + ((1 << 24) - 1 - token)
    value = value.masked_fill(scores == -torch.inf, -(1 << 62))
    return value.argmax(dim=1), fit


def tournament_scale(
    p: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    nonce: torch.Tensor,
    layers: int,
) -> torch.Tensor:
    """The probabilities of each row after all layers of `tournament`.

    The words are the kernel's, bit for bit; a sum on a device has its own order, so the
    probabilities agree to rounding only.

    Args:
        p: float (batch, vocab), zero where a token cannot be sampled.
        low: int64 (batch,), states.
        high: int64 (batch,), states.
        nonce: int64 (batch,).
        layers: 1 to 32.

    Returns:
        As `p`, in the same dtype.
    """
    word = token_words(p.shape[1], low, high, nonce)
    for layer in range(1, layers + 1):
        bit = (word >> (32 - layer)) & 1
        p = p * (1 + bit - (p * bit).sum(1, keepdim=True))
    return p


def greenlist_mask(
    low: torch.Tensor, high: torch.Tensor, vocab: int, gamma16: int
) -> torch.Tensor:
    """Bool (batch, vocab), True where the token is green."""
    block = torch.arange((vocab + 31) // 32, device=low.device)[None, :]
    quad = torch.stack(
        words(low[:, None], high[:, None], block, torch.zeros_like(block)), dim=-1
    )  # (batch, blocks, 4)
    shifts = torch.arange(0, 32, 4, device=low.device)
    nibbles = (quad[..., None] >> shifts) & 15  # (batch, blocks, 4, 8)
    return (nibbles < gamma16).flatten(1)[:, :vocab]
