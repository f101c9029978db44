# Header only: windows of tokens, each once. Which tokens an engine keys: see
# `reference_engines`.
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp

DEF MOST = 64  # reference_engines.MOST_WIDTH


cdef inline int check(
    const uint32_t[::1] tokens, Py_ssize_t width, Py_ssize_t skip
) except -1:
    if not 1 <= width <= MOST:
        raise ValueError(f"the context width is {width}, expected 1 to {MOST}")
    if tokens.shape[0] >= (1 << 31) - MOST:
        raise ValueError(f"{tokens.shape[0]} tokens given, expected fewer than 2**31")
    if not 0 <= skip <= tokens.shape[0]:
        raise ValueError(f"skip is {skip}, expected 0 to {tokens.shape[0]}")
    return 0


# Open addressing over where windows end, stored plus one. Where a window goes is a
# multilinear hash (Lemire and Kaser 2014) under this process's own multipliers: no text
# can fill one slot. What is equal is decided by the tokens: they change nothing.
cdef struct Windows:
    uint32_t* ends
    uint64_t mask
    Py_ssize_t length  # tokens in a window
    const uint64_t* spread  # length + 1 multipliers


cdef inline int make(
    Windows* windows, Py_ssize_t most, Py_ssize_t length, const uint64_t* spread
) except -1:
    cdef uint64_t size = 16
    while size < 2 * <uint64_t>most:
        size *= 2
    windows.ends = <uint32_t*>calloc(size, 4)
    windows.mask, windows.length, windows.spread = size - 1, length, spread
    if windows.ends == NULL:
        raise MemoryError
    return 0


# Whether the window that ends before `end` is there; put it there if `add`.
cdef inline bint known(
    Windows* windows, const uint32_t* tokens, Py_ssize_t end, bint add
) noexcept nogil:
    cdef Py_ssize_t i, length = windows.length
    cdef const uint32_t* window = tokens + end - length
    cdef uint64_t slot = windows.spread[length]
    for i in range(length):
        slot += window[i] * windows.spread[i]
    slot = (slot >> 32) & windows.mask
    while windows.ends[slot]:
        if memcmp(tokens + windows.ends[slot] - 1 - length, window, 4 * length) == 0:
            return True
        slot = (slot + 1) & windows.mask
    if add:
        windows.ends[slot] = <uint32_t>(end + 1)
    return False


# The tokens that an engine keys: of each context the first, unless the pair stands in
# the prompt. Indices into `buffer`; how many. Contexts shorter than `width` are fresh:
# each has a length of its own.
cdef inline Py_ssize_t pick(
    Windows* seen, Windows* quoted, const uint32_t* buffer, Py_ssize_t width,
    Py_ssize_t prompt, Py_ssize_t first, Py_ssize_t stop, uint32_t* at
) noexcept nogil:
    cdef Py_ssize_t i, n = 0
    for i in range(width, prompt):
        known(quoted, buffer, i + 1, True)
    for i in range(first, stop):
        if i >= width:
            if known(seen, buffer, i, True):
                continue
            if prompt > width and known(quoted, buffer, i + 1, False):
                continue
        at[n] = <uint32_t>i
        n += 1
    return n
