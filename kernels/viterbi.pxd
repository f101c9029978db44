# Header only: the tail-biting search of `reference_noise.tail_biting`.
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from lanes cimport wm_loops

DEF STATES = 256
DEF BRANCHES = 65536
DEF STEPS = 8  # at most
DEF TAKEN = -2147483647 - 1


# The best closed path over `steps` tables of branches, and its sum.
cdef inline int32_t tail_biting(
    const wm_loops* wm, const int32_t* metrics, int steps, int most, uint8_t* path
) noexcept nogil:
    cdef int32_t ends[STATES]
    cdef int32_t rank[STATES]
    cdef int32_t scores[STATES]
    cdef int32_t origins[STEPS][STATES]
    cdef int i, j, p, start, step
    cdef int32_t best = 0
    memset(ends, 0, sizeof(ends))
    for i in range(2 * steps):
        wm.viterbi(ends, metrics + (i % steps) * BRANCHES, scores, origins[0])
        memcpy(ends, scores, sizeof(ends))
    for i in range(most):
        start = 0
        for j in range(1, STATES):
            if ends[j] > ends[start]:
                start = j
        if i > 0 and 2 * <int64_t>best >= ends[start]:
            break
        ends[start] = TAKEN
        memcpy(rank, metrics + STATES * start, sizeof(rank))
        for step in range(1, steps):
            wm.viterbi(rank, metrics + step * BRANCHES, scores, origins[step])
            memcpy(rank, scores, sizeof(rank))
        if i == 0 or rank[start] > best:
            best = rank[start]
            p = start
            path[steps - 1] = <uint8_t>p
            for step in range(steps - 1, 0, -1):
                p = origins[step][p]
                path[step - 1] = <uint8_t>p
    return best
