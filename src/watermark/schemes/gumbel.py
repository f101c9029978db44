"""`gumbel`: keyed Gumbel-max sampling. Distribution-preserving; the default for text.

Each token is the argmax of ``logit - log(-log u)``, where u is a keyed word of the last
`width` output tokens and the candidate (Aaronson 2022). Two measures keep one prompt
diverse: a nonce per sequence, and a fresh prefix that is sampled with the host's own
randomness until it has spent `FRESH_NATS`. A context that was seen before in the same
sequence is sampled freely too, so that every marked token is independent of the others.

Two options. `payload_bits`: the mark carries a message (`schemes.payload`). `dual`:
half of the contexts are keyed by a second key that is derived from the first and can be
published (`public_record`): whoever holds it finds half of the mark, and who marks with
it alone is told apart by the other half.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from watermark import kernels
from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord, Parameter
from watermark.prf import context_key, tag
from watermark.schemes import payload as code
from watermark.schemes.base import Scheme, option, within

# Collision entropy that ordinary sampling spends before the mark starts: at one nat
# a token, 200 tokens, this and 4 nonce bits leave self-BLEU within 2.5 % of unmarked.
FRESH_NATS = 8.0


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, 63)
    within(parameters, "nonce_bits", 0, 8)
    if option(parameters, "payload_bits") not in (0, *code.POSITIONS):
        raise ValueError(
            f"payload_bits is {parameters['payload_bits']!r}, expected 0, 16, 32 or 64"
        )
    if option(parameters, "dual") not in (0, 1):
        raise ValueError(f"dual is {parameters['dual']!r}, expected 0 or 1")


SCHEME = Scheme(
    "gumbel",
    1,
    "tokens",
    {"width": 4, "nonce_bits": 4, "payload_bits": 0, "dual": 0},
    _check,
)


def nonce(record: KeyRecord, seed: bytes, row: int) -> int:
    """The nonce of one sequence: ``HMAC(key, generator state || row)``, shortened."""
    digest = tag(record, "nonce", seed, row.to_bytes(8, "little"))
    bits = int(record.parameters["nonce_bits"])
    return int.from_bytes(digest[:2], "little") & ((1 << bits) - 1)


def mark_id(record: KeyRecord, seed: bytes, row: int) -> bytes:
    """A message of `payload_bits` for one sequence, made as its nonce is.

    Where each sequence carries a mark id of its own, that does the nonce's work: such
    records have ``nonce_bits`` 0.
    """
    digest = tag(record, "mark-id", seed, row.to_bytes(8, "little"))
    return digest[: option(record.parameters, "payload_bits") // 8]


def public_record(record: KeyRecord) -> KeyRecord:
    """The key record that a dual record's holder may publish: `gumbel`, no options.

    Its key is an ordinary key, derived from the record's for its epoch, so any detector
    tests it; the private key does not follow from it.

    Raises:
        ValueError: the record has one key only.
    """
    if not option(record.parameters, "dual"):
        raise ValueError("found a record with dual 0, expected 1: it has no public key")
    return SCHEME.record(
        Key(record.derive("public")),
        vocab_size=record.vocab_size,
        tokenizer=record.tokenizer,
        width=record.parameters["width"],
        nonce_bits=record.parameters["nonce_bits"],
    )


def is_public(state: bytes) -> bool:
    """Whether the public key owns a context, by its state under the private key."""
    return kernels.context_roles(state, 1)[2] == 0


class Choice(NamedTuple):
    """What decides one token: the arguments of `select` beside the logits.

    Attributes:
        state: 16 bytes of the context, under the key that owns it.
        nonce: the nonce of the sequence.
        symbol: the symbol that the context carries, 0 to 255, or -1: none.
    """

    state: bytes
    nonce: int
    symbol: int = -1


@dataclass(slots=True)
class Sequencer:
    """Decides for one output sequence which tokens the key chooses, and by what.

    Attributes:
        record: the key record.
        nonce: this sequence's nonce.
        payload: its message, ``payload_bits / 8`` bytes.
        marked: tokens chosen by the key so far.
        offered: tokens sampled so far, by the key or freely.
    """

    record: KeyRecord
    nonce: int
    payload: bytes = b""
    marked: int = 0
    offered: int = 0
    _layout: struct.Struct = field(init=False, repr=False)  # of a context
    _word: bytes = field(default=b"", init=False, repr=False)
    _key: bytes = field(default=b"", init=False, repr=False)
    _public: bytes = field(default=b"", init=False, repr=False)
    _seen: set[bytes] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the sub-keys and the code word.

        Raises:
            ValueError: a message of another length than the record's.
        """
        self._layout = struct.Struct(f"<{int(self.record.parameters['width'])}I")
        self._key = context_key(self.record)
        bits = option(self.record.parameters, "payload_bits")
        if bits or self.payload:
            self._word = code.symbols(self.payload, bits)
        if option(self.record.parameters, "dual"):
            self._public = context_key(public_record(self.record))

    def choose(self, output: Sequence[int], spent: float) -> Choice | None:
        """What chooses the next token, or None: sample it freely.

        Args:
            output: the tokens generated so far in this sequence, without the prompt, or
                at least the last `width` of them.
            spent: nats of ordinary randomness spent so far.
        """
        self.offered += 1
        width = self._layout.size // 4
        if spent < FRESH_NATS or len(output) < width:
            return None
        context = self._layout.pack(*output[-width:])
        if context in self._seen:
            return None
        self._seen.add(context)
        self.marked += 1
        state = kernels.siphash128(self._key, context)  # `kernels.context_state`
        if self._public and is_public(state):
            return Choice(kernels.siphash128(self._public, context), self.nonce)
        return Choice(state, self.nonce, code.symbol(state, self._word))


def select(logits: Any, state: bytes, nonce: int, symbol: int = -1) -> int:
    """The token the key chooses from one row of float32 logits, -inf excluded.

    Raises:
        InvalidSignal: NaN or +inf in the row, or nothing finite.
    """
    token = kernels.gumbel_select(logits, state, nonce, symbol)
    if token == -1:
        raise InvalidSignal(
            "the logits hold NaN or +inf: the model or an earlier logits processor is "
            "broken, and nothing was sampled from them"
        )
    if token == -2:
        raise InvalidSignal("every logit is -inf: no token can be sampled")
    return token
