"""Output sequences in plain Python: which of their tokens the key chooses.

One object for a batch, one call a step: between two steps of a model every line of
Python costs several times what it costs in a loop.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from watermark.kernels.reference import context_state, gumbel_select
from watermark.kernels.reference_payload import PRESENCE16, context_roles

FREE = -2  # the symbol of a token that is sampled freely
FAINT = -40.0  # nats below the best, where a candidate's chance counts for nothing
LANES = 16
# 2**x for x in [-1/2, 1/2], highest power first: off by at most 3e-6 of the value.
POWERS = tuple(
    np.float32(c)
    for c in (0.0013333558, 0.0096181291, 0.0555041087, 0.2402265070, 0.6931471806, 1)
)
LOG2_E = np.float32(1.4426950408889634)
INTEGERS = np.float32(12582912.0)  # adding 1.5 * 2**23 to a float32 rounds it


class Tensor(Protocol):
    """What `Sequences.force` needs of a tensor of torch, on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its length along each axis."""

    def data_ptr(self) -> int:
        """The address of its first element."""

    def __array__(self, dtype: Any = None) -> Any: ...


class Sequences:
    """Which tokens the key chooses in the output sequences of one batch.

    The token at a position (the number of tokens before it) is keyed where the sequence
    has spent `fresh` nats of ordinary randomness, and its last `width` tokens keyed no
    token before. To be asked for one position after the other; an earlier position
    forgets what was decided from there on, a later one skips what was not asked for.
    Rows do not depend on each other.

    Attributes:
        states: of the position asked for last, uint64 (rows, 2): the halves of the
            context's state, under the key that owns it. Overwritten by the next call.
        symbols: likewise int32 (rows,): the payload symbol, 0 to 255; -1 where the
            context carries none; -2 where the token is free (and the state is 0).
    """

    def __init__(
        self,
        key: bytes,
        width: int,
        fresh: float,
        nonces: Sequence[int],
        code: Sequence[bytes],
        public: bytes = b"",
    ) -> None:
        """Sequences without a token.

        Args:
            key: 16-byte SipHash key.
            width: tokens of context, 1 to 63.
            fresh: nats of ordinary randomness before the mark starts.
            nonces: one for each row, 0 to 255.
            code: one code word of a payload for each row, all of one length; empty
                ones where there is no payload.
            public: 16 bytes: the key that owns half of the contexts; or none does.

        Raises:
            ValueError: a key, a width, nonces or code words of another size.
        """
        if len(key) != 16 or len(public) not in (0, 16):
            raise ValueError(
                f"keys of {len(key)} and {len(public)} bytes, expected 16, and 16 or 0"
            )
        if not 1 <= width <= 63:
            raise ValueError(f"the context width is {width}, expected 1 to 63")
        if len(nonces) != len(code) or len({len(word) for word in code}) > 1:
            raise ValueError(
                f"{len(nonces)} nonces and {len(code)} code words, expected as many, "
                "all of one length"
            )
        for nonce in nonces:
            if not 0 <= nonce < 256:
                raise ValueError(f"found nonce {nonce}, expected 0 to 255")
        self.states = np.zeros((len(code), 2), np.uint64)
        self.symbols = np.full(len(code), FREE, np.int32)
        self._key, self._public, self._width = key, public, width
        self._fresh, self._nonces, self._code = fresh, nonces, code
        # By position and row: states that keyed a token, and that token where `force`
        # chose it; nats spent before it.
        self._keyed: list[list[bytes | None]] = []
        self._tokens: list[list[int]] = []
        self._spent = [[0.0] * len(code)]

    def choose(self, position: int, output: NDArray[np.int64]) -> int:
        """Decide the tokens at `position`: fill `states` and `symbols`.

        Args:
            position: tokens generated so far, 0 to 2**31.
            output: int64 (rows, any), those tokens, without the prompt, or at least the
                last `width` of them; ids in [0, 2**32).

        Returns:
            How many rows the key chooses in.

        Raises:
            ValueError: another number of rows, or a number that is no id.
        """
        rows, width = len(self._code), self._width
        if not 0 <= position <= 1 << 31 or len(output) != rows:
            raise ValueError(
                f"position {position}, {len(output)} rows: expected 0 to 2**31, {rows}"
            )
        del self._keyed[position:], self._tokens[position:], self._spent[position + 1 :]
        while len(self._keyed) <= position:  # those skipped are free, and spent nothing
            self._keyed.append([None] * rows)
            self._tokens.append([-1] * rows)
            self._spent.append(list(self._spent[-1]))
        recent = output[:, -width:].tolist() if output.shape[1] >= width else []
        if any(not 0 <= token < 1 << 32 for row in recent for token in row):
            raise ValueError("found a token outside the range expected, [0, 2**32)")
        self.states[:], self.symbols[:] = 0, FREE
        for row, context in enumerate(recent):
            if self._spent[position][row] >= self._fresh:
                self._decide(position, row, context)
        return int((self.symbols != FREE).sum())

    def _decide(self, position: int, row: int, context: list[int]) -> None:
        state, word = context_state(self._key, context), self._code[row]
        if any(then[row] == state for then in self._keyed):
            return
        self._keyed[position][row] = state
        carries, at, owner = context_roles(state, len(word), PRESENCE16)
        self.symbols[row] = word[at] if carries else -1
        if self._public and owner == 0:
            state, self.symbols[row] = context_state(self._public, context), -1
        self.states[row] = struct.unpack("<QQ", state)

    @property
    def fresh(self) -> list[int]:
        """The rows that had spent less than `fresh` at the position asked for last."""
        spent = self._spent[-2] if self._keyed else self._spent[0]
        return [row for row, nats in enumerate(spent) if nats < self._fresh]

    def spend(self, nats: Sequence[float]) -> None:
        """Add what the token asked for last spends, for each row of `fresh`.

        Raises:
            ValueError: another number of rows.
        """
        if len(nats) != len(self.fresh):
            raise ValueError(f"{len(nats)} numbers, expected {len(self.fresh)}")
        for row, more in zip(self.fresh, nats, strict=True):
            self._spent[-1][row] += more

    def force(self, start: int, ids: Tensor, scores: Tensor) -> int:
        """One step: `choose`, `spend`, and the choice, written into the scores.

        Each row that the key chooses in is left one candidate, with score 0. Tensors
        and not arrays: numpy, if nothing else of a step uses it, has left the
        processor's caches, and one call of it costs as much as the choice itself.

        Args:
            start: tokens of the prompt, padding included.
            ids: int64 (rows, length), prompt and output so far, ids in [0, 2**32).
            scores: float32 (rows, vocab), -inf excludes a token. Both tensors lie on
                the CPU, contiguous; that and their dtypes are the caller's to check.

        Returns:
            How many rows the key chooses in; or the code of the first row, free or not,
            that cannot be sampled, as `gumbel_select` gives it (the scores may be
            written in part then).

        Raises:
            ValueError: another number of rows, a number that is no id, or a start
                beyond the ids.
        """
        rows, output = np.asarray(scores), np.asarray(ids)[:, start:]
        if len(rows) != len(self._code):
            raise ValueError(f"scores of {len(rows)} rows, expected {len(self._code)}")
        if not 0 <= start <= np.shape(ids)[1]:
            raise ValueError(f"start is {start}, expected 0 to {np.shape(ids)[1]}")
        keyed = self.choose(np.shape(ids)[1] - start, output)
        fresh, then = set(self.fresh), self._spent[-1]
        for row, symbol in enumerate(self.symbols.tolist()):
            state = struct.pack("<QQ", *self.states[row].tolist())
            one, nonce = rows[row].tolist(), self._nonces[row]
            token = gumbel_select(one, state, nonce, max(symbol, -1))
            if token < 0:
                return token
            if row in fresh:
                then[row] += collision_nats(rows, [row])[0]
            if symbol != FREE:
                self._tokens[-1][row] = token
                rows[row] = -np.inf
                rows[row, token] = 0.0
        return keyed

    @property
    def tokens(self) -> NDArray[np.int64]:
        """What `force` chose, int64 (rows, positions); -1 where a token is free."""
        shape = len(self._tokens), len(self._code)
        return np.asarray(self._tokens, np.int64).reshape(shape).T.copy()


def collision_nats(scores: NDArray[np.float32], rows: Sequence[int]) -> list[float]:
    """Collision entropy ``-log sum p**2`` of the softmax of some rows, in nats.

    Within 2e-5 of the exact value, and the same double everywhere: it decides where a
    mark starts, and a seed is to give the same text on every machine. Weights are
    float32, ``2**(x log2 e)`` by a polynomial; lane ``i % 16`` sums the tokens i in
    their order, in float64, and the lanes are added in theirs.

    Args:
        scores: float32 (any, vocab), C-contiguous; -inf excludes a token.
        rows: which of them.

    Returns:
        One number for each of `rows`; 0 where a row cannot be sampled.
    """
    found = []
    for row in rows:
        if not 0 <= row < len(scores):
            raise ValueError(f"row {row}, expected 0 to {len(scores) - 1}")
        top = scores[row].max(initial=-np.inf)  # NaN where there is one
        weight = np.zeros(0) if not np.isfinite(top) else _weights(scores[row] - top)
        one, two = _lane_sum(weight), _lane_sum(weight * weight)
        found.append(2.0 * math.log(one) - math.log(two) if weight.size else 0.0)
    return found


def _weights(distance: NDArray[np.float32]) -> NDArray[np.float64]:
    """``exp(distance)`` of float32, none above 0; 0 below `FAINT`."""
    x = np.maximum(distance, np.float32(FAINT)) * LOG2_E
    whole = (x + INTEGERS) - INTEGERS
    part, value = x - whole, np.full_like(x, POWERS[0])
    for c in POWERS[1:]:
        value = value * part + c
    value *= np.ldexp(np.float32(1), whole.astype(np.int32))
    return np.where(distance >= FAINT, value, 0).astype(np.float64)


def _lane_sum(weight: NDArray[np.float64]) -> float:
    lanes = [0.0] * LANES
    for i, value in enumerate(weight.tolist()):
        lanes[i % LANES] += value
    total = 0.0
    for lane in lanes:  # `sum` compensates for rounding since Python 3.12
        total += lane
    return total
