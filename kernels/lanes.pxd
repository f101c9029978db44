# Header only: the C loops of lanes.h.
from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "lanes.h" nogil:
    enum:
        WM_LANES
    int wm_popcount32(unsigned int) noexcept
    void wm_philox_lanes(
        uint64_t, uint64_t, const uint32_t*, const uint32_t*, uint32_t (*)[8]
    ) noexcept
    int wm_largest(const float*, long, float*) noexcept
    int wm_any_above(const float*, float) noexcept
    void wm_add_green(float*, const uint32_t*, uint32_t, float) noexcept
    long wm_candidates(const float*, long) noexcept
    void wm_butterfly(int32_t*, long) noexcept
    void wm_viterbi(const int32_t*, const int32_t*, int32_t*, int32_t*) noexcept
