"""Detect `gumbel` token by token, with a p-value that holds at every moment.

Each scored token multiplies the wealth of a bettor by ``(1 - L) e^(L s)``, whose mean
is 1 where s is exponential and less where the word was rounded down. The average wealth
over bets L and nonces is a supermartingale that starts at 1, so under a random key it
ever reaches 1/p with probability at most p (Ville 1939): one may look after every
token, stop when one likes, and the p-value is exact in the sense that nothing more is
paid for that.

It costs a quarter more tokens than the test of a text of fixed length. Whoever reports
both halves the error between them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np

from watermark.detectors.base import LN10
from watermark.detectors.spans import BETS
from watermark.errors import InvalidSignal
from watermark.kernels import context_roles, context_state, words
from watermark.kernels.reference import PHRASE, RECALL
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes.base import option
from watermark.schemes.gumbel import public_record
from watermark.schemes.payload import PRESENCE16


class Stream:
    """A running test of one sequence. A function of the tokens pushed and nothing else.

    A push takes the same time however long the sequence is; memory grows with the
    number of distinct contexts, which are kept so that none counts twice.
    """

    def __init__(self, record: KeyRecord, prompt: Iterable[int] = ()) -> None:
        """Start before the first token.

        Args:
            record: of the scheme `gumbel`.
            prompt: tokens before the sequence, whose contexts do not count.

        Raises:
            InvalidSignal: a token outside [0, 2**32).
        """
        parameters = record.parameters
        self._key = context_key(record)
        dual = option(parameters, "dual")
        self._public = context_key(public_record(record)) if dual else b""
        self._payload = option(parameters, "payload_bits") > 0
        self._nonces = 1 << int(parameters["nonce_bits"])
        self._width = int(parameters["width"])
        self._recent: deque[int] = deque(maxlen=self._width)
        self._seen: set[tuple[int, ...]] = set()
        self._phrase: deque[int] = deque(maxlen=PHRASE)
        self._said: dict[tuple[int, ...], int] = {}  # where each phrase ended last
        bets = np.asarray(BETS)[:, None]
        self._bets, self._stakes = bets, np.log1p(-bets)
        self._wealth = np.zeros((len(BETS), self._nonces))  # logarithms
        self._records: list[tuple[float, int]] = []  # (ln wealth, tokens), both rising
        self._tokens = self._n = self._heard = 0
        for token in prompt:
            self._recent.append(_checked(token))
            if len(self._recent) == self._width:
                self._seen.add(tuple(self._recent))
            self._repeats(token)
        self._recent.clear()  # no context spans the boundary, and no phrase
        self._phrase.clear()

    def push(self, token: int) -> None:
        """Take the next token.

        Raises:
            InvalidSignal: it lies outside [0, 2**32).
        """
        token = _checked(token)
        context = tuple(self._recent)
        self._recent.append(token)
        self._tokens += 1
        again = self._repeats(token)
        if len(context) < self._width or context in self._seen:
            return
        self._seen.add(context)
        state = None if again else self._state(context)
        if state is None:
            return
        self._n += 1
        drawn = [words(state, token, b) for b in range((self._nonces + 3) // 4)]
        u = np.asarray(drawn, np.float64).reshape(-1)[: self._nonces] * 2.0**-32
        self._wealth += self._stakes - self._bets * np.log1p(-u)
        top = float(self._wealth.max())
        mean = top + math.log(float(np.exp(self._wealth - top).mean()))
        if mean > (self._records[-1][0] if self._records else 0.0):
            self._records.append((mean, self._tokens))

    def extend(self, tokens: Iterable[int]) -> None:
        """Take several tokens, as if pushed one by one."""
        for token in tokens:
            self.push(token)

    @property
    def n(self) -> int:
        """Distinct contexts scored so far."""
        return self._n

    @property
    def log10_p(self) -> float:
        """log10 of the p-value, at most 0; it never rises. Counts its own nonces."""
        return -self._records[-1][0] / LN10 if self._records else 0.0

    def first_crossing(self, alpha: float) -> int | None:
        """After how many tokens p was at most `alpha`; None: not yet.

        Raises:
            ValueError: alpha is not between 0 and 1.
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha!r}, expected a number between 0 and 1")
        wanted = -math.log(alpha)
        crossed = (tokens for wealth, tokens in self._records if wealth >= wanted)
        return next(crossed, None)

    def _repeats(self, token: int) -> bool:
        """`reference.repeats`, token by token."""
        self._phrase.append(token)
        self._heard += 1
        if len(self._phrase) < PHRASE:
            return False
        phrase = tuple(self._phrase)
        before = self._said.get(phrase)
        self._said[phrase] = self._heard
        return before is not None and self._heard - before <= RECALL

    def _state(self, context: tuple[int, ...]) -> bytes | None:
        """The state under the key that owns the context; None where it has a symbol."""
        ids = np.asarray(context, np.uint32)
        state = context_state(self._key, ids)
        if not self._payload and not self._public:
            return state
        carries, _, owner = context_roles(state, int(self._payload), PRESENCE16)
        if carries and (owner or not self._public):
            return None
        return context_state(self._public, ids) if self._public and not owner else state


def _checked(token: int) -> int:
    if not 0 <= token < 1 << 32:
        raise InvalidSignal(f"found token {token}, expected an id in [0, 2**32)")
    return int(token)
