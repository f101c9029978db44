"""`gumbel`: keyed Gumbel-max sampling. Distribution-preserving; the default for text.

Each token is the argmax of ``logit - log(-log u)``, where u is a keyed word of the last
`width` output tokens and the candidate (Aaronson 2022). Two measures keep one prompt
diverse: a nonce per sequence, and a fresh prefix that is sampled with the host's own
randomness until it has spent `FRESH_NATS` (`fresh_nats` says where a mark id of each
sequence does the work of both). A context that was seen before in the same
sequence is sampled freely too, so that every marked token is independent of the others.

Two options. `payload_bits`: the mark carries a message (`schemes.payload`). `dual`:
half of the contexts are keyed by a second key that is derived from the first and can be
published (`public_record`): whoever holds it finds half of the mark, and who marks with
it alone is told apart by the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

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
    records have ``nonce_bits`` 0, unless they are dual.
    """
    digest = tag(record, "mark-id", seed, row.to_bytes(8, "little"))
    return digest[: option(record.parameters, "payload_bits") // 8]


def fresh_nats(record: KeyRecord, payload: bytes | None) -> float:
    """What a sequence spends of the host's randomness before its mark starts.

    Nothing where each sequence carries a mark id of its own: two that share a context
    are then told different tokens in all but one or two of 16 contexts. Under a dual
    record the public key's contexts carry no mark id, so the prefix stays.

    Args:
        record: the key record.
        payload: the message of all sequences; None: each its own, if the record has
            `payload_bits`.
    """
    own = payload is None and option(record.parameters, "payload_bits") > 0
    own = own and not option(record.parameters, "dual")
    return 0.0 if own else FRESH_NATS


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


def sequences(
    record: KeyRecord,
    nonces: Sequence[int],
    messages: Sequence[bytes],
    fresh: float = FRESH_NATS,
) -> kernels.Sequences:
    """What decides which tokens the key chooses in the outputs of one batch.

    Args:
        record: the key record, of `gumbel` or `tournament`.
        nonces: one for each row.
        messages: one for each row, ``payload_bits / 8`` bytes.
        fresh: nats of ordinary randomness that a row spends first.

    Raises:
        ValueError: a message of another length than the record's.
    """
    bits = option(record.parameters, "payload_bits")
    words = {  # rows that share a message share its code word
        message: code.symbols(message, bits) if bits or message else b""
        for message in messages
    }
    public = b""
    if option(record.parameters, "dual"):
        public = context_key(public_record(record))
    width = int(record.parameters["width"])
    rows = [words[message] for message in messages]
    return kernels.Sequences(context_key(record), width, fresh, nonces, rows, public)


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


def choices(decided: kernels.Sequences, nonces: Sequence[int]) -> list[Choice | None]:
    """What chooses each row's token after `decided.choose`; None: it is free."""
    return [
        None if symbol == kernels.FREE else Choice(state.tobytes(), nonce, symbol)
        for state, nonce, symbol in zip(
            decided.states.astype("<u8"),
            nonces,
            decided.symbols.tolist(),
            strict=True,
        )
    ]


@dataclass(slots=True)
class Sequencer:
    """`sequences` for one output and a host that goes token by token.

    Attributes:
        record: the key record.
        nonce: this sequence's nonce.
        payload: its message, ``payload_bits / 8`` bytes.
        fresh: nats of ordinary randomness that it spends first (`fresh_nats`).
        marked: tokens chosen by the key so far.
        offered: tokens sampled so far, by the key or freely.
    """

    record: KeyRecord
    nonce: int
    payload: bytes = b""
    fresh: float = FRESH_NATS
    marked: int = 0
    offered: int = 0
    _width: int = field(init=False, repr=False)
    _decided: kernels.Sequences = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the sub-keys and the code word.

        Raises:
            ValueError: a message of another length than the record's.
        """
        self._width = int(self.record.parameters["width"])
        self._decided = sequences(self.record, [self.nonce], [self.payload], fresh=0.0)

    def choose(self, output: Sequence[int], spent: float) -> Choice | None:
        """What chooses the next token, or None: sample it freely.

        Args:
            output: the tokens generated so far in this sequence, without the prompt, or
                at least the last `width` of them.
            spent: nats of ordinary randomness spent so far.
        """
        self.offered += 1
        if spent < self.fresh or len(output) < self._width:
            return None
        recent = np.asarray(output[-self._width :], np.int64)
        self.marked += self._decided.choose(self.offered - 1, recent[None])
        return choices(self._decided, [self.nonce])[0]


def select(logits: Any, state: bytes, nonce: int, symbol: int = -1) -> int:
    """The token the key chooses from one row of float32 logits, -inf excluded.

    Raises:
        InvalidSignal: NaN or +inf in the row, or nothing finite.
    """
    token = kernels.gumbel_select(logits, state, nonce, symbol)
    _check_choice(token)
    return token


def force(
    decided: kernels.Sequences, start: int, ids: kernels.Tensor, scores: kernels.Tensor
) -> int:
    """One step of a batch: leave each row that the key chooses in its token alone.

    Args:
        decided: from `sequences`.
        start: tokens of the prompt, padding included.
        ids: int64 (rows, length), prompt and output so far; on the CPU, contiguous.
        scores: float32 (rows, vocab), likewise; -inf excludes a token. Written over:
            a chosen token has 0 and the rest of its row -inf.

    Returns:
        How many rows the key chooses in.

    Raises:
        InvalidSignal: NaN or +inf in a row, free or not, or nothing finite.
    """
    keyed = decided.force(start, ids, scores)
    if keyed < 0:
        _check_choice(keyed)
    return keyed


def _check_choice(code: int) -> None:
    if code == -1:
        raise InvalidSignal(
            "the logits hold NaN or +inf: the model or an earlier logits processor is "
            "broken, and nothing was sampled from them"
        )
    if code == -2:
        raise InvalidSignal("every logit is -inf: no token can be sampled")
