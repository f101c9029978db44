"""A message in a `gumbel` mark: which context carries which symbol, and how many.

Every context has a role, decided by a keyed word: `PRESENCE16` of 16 carry no symbol,
so that the mark is found without knowing the message; the others carry one byte of a
code word. Where a context carries symbol c, the word of candidate x is one of the 256
words that belong to x (keyed-symbol Gumbel): for each message the sampled distribution
is the model's.

16 bits are a Reed-Solomon code (16, 2) over GF(256), 32 and 64 bits a tail-biting
trellis of 4 symbols a byte; both are read softly, by the sum over a whole code word
(`watermark.kernels.rs_decode`, `trellis256_decode`).
"""

from __future__ import annotations

from watermark import kernels

# Of 16 contexts, how many carry no symbol. At 1 nat, 1 / 2 / 4 of them read 16 bits of
# 150 tokens in .996 / .986 / .972 of texts, 32 bits of 200 in .97 / .94 / .8; the joint
# test finds the mark as often with each (simulated on the synthetic source).
PRESENCE16 = 1
# Symbols of a code word by the bits of its message.
POSITIONS = {16: 16, 32: 16, 64: 32}


def symbols(message: bytes, bits: int) -> bytes:
    """The code word of a message: one symbol (0 to 255) for each position.

    Args:
        message: ``bits / 8`` bytes.
        bits: 16, 32 or 64.

    Raises:
        ValueError: a message of another length.
    """
    if bits not in POSITIONS or len(message) * 8 != bits:
        raise ValueError(
            f"found a message of {8 * len(message)} bits, expected {bits} of "
            f"{sorted(POSITIONS)}"
        )
    return kernels.payload_symbols(message, bits)


def symbol(state: bytes, word: bytes) -> int:
    """The symbol that a context carries, or -1: none.

    Args:
        state: 16 bytes of the context.
        word: the code word, from `symbols`; empty where there is no message.
    """
    if not word:
        return -1
    carries, position, _ = kernels.context_roles(state, len(word), PRESENCE16)
    return word[position] if carries else -1
