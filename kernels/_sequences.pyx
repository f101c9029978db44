"""Which tokens of a batch the key chooses, and their choice. See `reference_sequences`.
"""
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

import numpy as np

from watermark.kernels._lanes import LOOPS
from watermark.kernels.reference import NOISE_HIGH, NOISE_LOW

from choice cimport choice, nats_of, top_of
from lanes cimport loops_of, wm_loops
from philox cimport keyed_words
from siphash cimport load64, siphash_tokens

DEF MOST = 63  # tokens of context
DEF FREE_TOKEN = -2  # reference_sequences.FREE
DEF PRESENCE16 = 1  # reference_payload.PRESENCE16
cdef uint32_t ROLE = <uint32_t>1 << 31

cdef const wm_loops* wm = loops_of(LOOPS)
cdef const int32_t[::1] LOWS = NOISE_LOW
cdef const int32_t[::1] HIGHS = NOISE_HIGH


cdef struct Entry:  # one row at one position
    uint64_t low  # the context's state under the private key
    uint64_t high
    double spent  # nats before the token
    int64_t token  # the one that the key chose, or -1
    bint keyed


cdef class Sequences:
    """The output sequences of one batch."""

    cdef readonly object states
    cdef readonly object symbols
    cdef uint64_t[:, ::1] _states
    cdef int32_t[::1] _symbols
    cdef uint64_t _private[2]
    cdef uint64_t _public[2]
    cdef bint _dual
    cdef int _width
    cdef double _fresh
    cdef bytes _code  # all code words, one after the other
    cdef const uint8_t* _code_bytes
    cdef Py_ssize_t _rows, _word
    cdef uint32_t* _nonces
    cdef uint32_t* _recent  # the context of each row
    # Entries of row r at position p: p * rows + r. The last ones are of the position
    # that `_asked` positions lie before: what its tokens will find spent.
    cdef Entry* _log
    cdef Py_ssize_t _asked, _room
    # Open addressing over entries (stored plus one) with distinct (row, state).
    cdef uint64_t* _table
    cdef uint64_t _mask
    cdef Py_ssize_t _used

    def __init__(self, bytes key not None, int width, double fresh, nonces, code,
                 bytes public not None=b""):
        cdef const uint8_t* k = key
        cdef const uint8_t* p = public
        cdef Py_ssize_t row
        if self._log != NULL:
            raise ValueError("found sequences that were made before, expected new ones")
        if len(key) != 16 or len(public) not in (0, 16):
            raise ValueError(
                f"keys of {len(key)} and {len(public)} bytes, expected 16, and 16 or 0"
            )
        if not 1 <= width <= MOST:
            raise ValueError(f"the context width is {width}, expected 1 to {MOST}")
        if len(nonces) != len(code) or len({len(word) for word in code}) > 1:
            raise ValueError(
                f"{len(nonces)} nonces and {len(code)} code words, expected as many, "
                "all of one length"
            )
        self._private[0], self._private[1] = load64(k), load64(k + 8)
        self._dual = len(public) > 0
        if self._dual:
            self._public[0], self._public[1] = load64(p), load64(p + 8)
        self._width, self._fresh, self._rows = width, fresh, len(code)
        self._code = b"".join(code)
        self._code_bytes = self._code
        self._word = len(code[0]) if self._rows else 0
        self.states = np.zeros((self._rows, 2), np.uint64)
        self.symbols = np.full(self._rows, FREE_TOKEN, np.int32)
        self._states, self._symbols = self.states, self.symbols
        self._nonces = <uint32_t*>malloc(4 * self._rows + 4)
        self._recent = <uint32_t*>malloc(4 * self._rows * width + 4)
        if self._nonces == NULL or self._recent == NULL:
            raise MemoryError
        for row in range(self._rows):
            if not 0 <= nonces[row] < 256:
                raise ValueError(f"found nonce {nonces[row]}, expected 0 to 255")
            self._nonces[row] = nonces[row]
        self._reserve(0)
        memset(self._log, 0, self._rows * sizeof(Entry))
        self._spread(64)

    def __dealloc__(self):
        free(self._nonces)
        free(self._recent)
        free(self._log)
        free(self._table)

    def choose(self, Py_ssize_t position, const int64_t[:, :] output):
        """Decide the tokens at `position`; how many rows the key chooses in."""
        cdef Py_ssize_t row, i, first = output.shape[1] - self._width
        cdef bint fit = True
        self._prepare(position, output.shape[0])
        for row in range(self._rows if first >= 0 else 0):
            for i in range(self._width):
                fit &= self._note(row, i, output[row, first + i])
        self._check(fit)
        return self._decide(position, first >= 0)

    def force(self, Py_ssize_t start, ids, scores):
        """`choose`, `spend` and the choice itself, in one call a step."""
        cdef const int64_t* tokens = <const int64_t*><uintptr_t>ids.data_ptr()
        cdef float* logits = <float*><uintptr_t>scores.data_ptr()
        cdef Py_ssize_t rows, length, height, n, row, i, first, keyed = 0
        cdef bint fit = True
        cdef float* tops
        rows, length = ids.shape
        height, n = scores.shape
        if height != self._rows:
            raise ValueError(f"scores of {height} rows, expected {self._rows}")
        if not 0 <= start <= length:
            raise ValueError(f"start is {start}, expected 0 to {length}")
        self._prepare(length - start, rows)
        tops = <float*>malloc(4 * ((n + 63) // 64) + 4)
        if tops == NULL:
            raise MemoryError
        with nogil:
            first = length - self._width
            for row in range(self._rows if first >= start else 0):
                for i in range(self._width):
                    fit &= self._note(row, i, tokens[row * length + first + i])
            if fit:
                self._decide(length - start, first >= start)
                for row in range(self._rows):
                    i = self._force_row(row, logits + row * n, n, tops)
                    keyed += i
                    if i < 0:
                        keyed = i
                        break
            free(tops)
        self._check(fit)
        return keyed

    @property
    def fresh(self):
        """The rows that had spent too little at the position asked for last."""
        cdef Py_ssize_t row
        cdef Entry* entry = self._log + max(0, self._asked - 1) * self._rows
        return [row for row in range(self._rows) if entry[row].spent < self._fresh]

    def spend(self, nats):
        """Add what the token asked for last spends, for each row of `fresh`."""
        cdef Entry* entry = self._log + self._asked * self._rows
        cdef double more
        rows = self.fresh
        if len(nats) != len(rows):
            raise ValueError(f"{len(nats)} numbers, expected {len(rows)}")
        for row, more in zip(rows, nats):
            entry[<Py_ssize_t>row].spent += more

    @property
    def tokens(self):
        """The tokens that `force` chose."""
        cdef Py_ssize_t row, position
        found = np.empty((self._rows, self._asked), np.int64)
        cdef int64_t[:, ::1] view = found
        for position in range(self._asked):
            for row in range(self._rows):
                view[row, position] = self._log[position * self._rows + row].token
        return found

    # Check a call's sizes; go back to its position, or on to it; room for what follows.
    cdef int _prepare(self, Py_ssize_t position, Py_ssize_t rows) except -1:
        cdef Entry* entry
        cdef Py_ssize_t row
        if not 0 <= position <= <Py_ssize_t>1 << 31 or rows != self._rows:
            raise ValueError(f"position {position}, {rows} rows: expected 0 to 2**31, "
                             f"{self._rows}")
        self._reserve(position)
        if position < self._asked:
            self._asked = position
            self._spread(self._mask + 1)
        if 2 * <uint64_t>(self._used + self._rows) > self._mask:
            self._spread(2 * (self._mask + 1 + <uint64_t>self._rows))
        while self._asked <= position:  # those skipped are free, and spent nothing
            entry = self._log + self._asked * self._rows
            memcpy(entry + self._rows, entry, self._rows * sizeof(Entry))
            for row in range(self._rows):
                entry[row].keyed, entry[row].token = False, -1
            self._asked += 1
        return 0

    cdef bint _note(self, Py_ssize_t row, Py_ssize_t i, int64_t token) noexcept nogil:
        self._recent[row * self._width + i] = <uint32_t>token
        return 0 <= token < <int64_t>1 << 32

    cdef int _check(self, bint fit) except -1:
        if not fit:
            raise ValueError("found a token outside the range expected, [0, 2**32)")
        return 0

    # Decide a position from `_recent`; how many rows the key chooses in.
    cdef Py_ssize_t _decide(self, Py_ssize_t position, bint enough) noexcept nogil:
        cdef Entry* entry = self._log + position * self._rows
        cdef Py_ssize_t row, keyed = 0
        for row in range(self._rows):
            self._states[row, 0] = self._states[row, 1] = 0
            self._symbols[row] = FREE_TOKEN
            if not enough or not entry[row].spent >= self._fresh:
                continue
            siphash_tokens(self._private[0], self._private[1],
                           self._recent + row * self._width, self._width,
                           &entry[row].low, &entry[row].high)
            if self._first_time(position * self._rows + row):
                entry[row].keyed = True
                keyed += 1
                self._assign(row, entry + row)
        return keyed

    # What a keyed context is for, and whose it is.
    cdef void _assign(self, Py_ssize_t row, const Entry* entry) noexcept nogil:
        cdef uint32_t role[4]
        cdef uint64_t low = entry.low, high = entry.high, at
        cdef const uint8_t* code = self._code_bytes
        self._symbols[row] = -1
        if self._dual or self._word:
            keyed_words(low, high, 0, ROLE, role)
            if self._dual and not role[2] >> 31:
                siphash_tokens(self._public[0], self._public[1],
                               self._recent + row * self._width, self._width,
                               &low, &high)
            elif self._word and role[0] >> 28 >= PRESENCE16:
                at = (role[1] * <uint64_t>self._word) >> 32
                self._symbols[row] = code[row * self._word + <Py_ssize_t>at]
        self._states[row, 0], self._states[row, 1] = low, high

    # One row of the position asked for last: 1 where the key chose, 0 where it did not,
    # or the code of a row that cannot be sampled.
    cdef int _force_row(
        self, Py_ssize_t row, float* x, Py_ssize_t n, float* tops
    ) noexcept nogil:
        cdef Entry* entry = self._log + (self._asked - 1) * self._rows + row
        cdef float top = -INFINITY
        cdef Py_ssize_t i
        if not top_of(wm, x, n, tops, &top):
            return -1
        if top == -INFINITY:
            return -2
        if entry.spent < self._fresh:
            entry[self._rows].spent += nats_of(wm, x, n, tops, top)
        if not entry.keyed:
            return 0
        entry.token = choice(wm, x, n, tops, top, self._states[row, 0],
                             self._states[row, 1], self._nonces[row],
                             self._symbols[row], &LOWS[0], &HIGHS[0])
        for i in range(n):
            x[i] = -INFINITY
        x[entry.token] = 0.0
        return 1

    # Room for the entries of `position` and of the one after it.
    cdef int _reserve(self, Py_ssize_t position) except -1:
        cdef Entry* log
        cdef Py_ssize_t room
        if position + 2 <= self._room:
            return 0
        room = max(position + 2, 2 * self._room, 64)
        log = <Entry*>realloc(self._log, max(1, room * self._rows) * sizeof(Entry))
        if log == NULL:
            raise MemoryError
        self._log, self._room = log, room
        return 0

    # A table of at least `size` slots with what was keyed at the positions so far.
    cdef int _spread(self, uint64_t size) except -1:
        cdef uint64_t slots = 64
        cdef uint64_t* table
        cdef Py_ssize_t i
        while slots < size:
            slots *= 2
        table = <uint64_t*>calloc(slots, sizeof(uint64_t))
        if table == NULL:
            raise MemoryError
        free(self._table)
        self._table, self._mask, self._used = table, slots - 1, 0
        for i in range(self._asked * self._rows):
            if self._log[i].keyed:
                self._first_time(i)
        return 0

    # Whether no entry of the same row has this one's state; it is noted then.
    cdef bint _first_time(self, Py_ssize_t index) noexcept nogil:
        cdef const Entry* entry = self._log + index
        cdef const Entry* other
        cdef uint64_t slot = entry.low & self._mask
        while self._table[slot]:
            other = self._log + (self._table[slot] - 1)
            if (entry.low == other.low and entry.high == other.high
                    and (entry - other) % self._rows == 0):
                return False
            slot = (slot + 1) & self._mask
        self._table[slot] = <uint64_t>index + 1
        self._used += 1
        return True
