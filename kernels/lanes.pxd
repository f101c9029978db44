# Header only: the types of lanes.h. The loops themselves are compiled once, in
# _lanes.pyx; the other modules hold a pointer to the table of those in use.
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef extern from "lanes.h" nogil:
    ctypedef struct wm_group:
        uint64_t low[16]
        uint64_t high[16]
        uint64_t first[16]
        uint64_t second[16]
    ctypedef struct wm_loops:
        const char* name
        void (*philox)(const wm_group*, uint32_t (*)[16]) noexcept nogil
        void (*siphash)(
            uint64_t, uint64_t, const uint32_t*, long, uint64_t*, uint64_t*
        ) noexcept nogil
        void (*gumbel_products)(
            const uint64_t*, const uint64_t*, const uint32_t*, long, long, double*
        ) noexcept nogil
        void (*symbol_products)(
            uint64_t, uint64_t, uint32_t, uint32_t, double*
        ) noexcept nogil
        int (*block_tops)(const float*, long, float*) noexcept nogil
        long (*survivors)(
            const float*, long, const float*, float, uint32_t*
        ) noexcept nogil
        uint32_t (*hopeful)(const uint32_t*, const float*, float) noexcept nogil
        void (*collision)(
            const float*, long, const float*, float, double*
        ) noexcept nogil
        long (*add_green)(
            float*, long, uint64_t, uint64_t, uint32_t, float
        ) noexcept nogil
        void (*layer_counts)(const uint32_t*, long, int, int32_t*) noexcept nogil
        void (*differences)(
            uint64_t, uint64_t, uint64_t, const uint32_t*, long, uint32_t, int32_t*
        ) noexcept nogil
        void (*signed_sums)(
            uint64_t, uint64_t, const uint64_t*, const int32_t*, long, int32_t*
        ) noexcept nogil
        void (*butterfly)(int32_t*, long) noexcept nogil
        void (*viterbi)(
            const int32_t*, const int32_t*, int32_t*, int32_t*
        ) noexcept nogil
        void (*branches)(const int32_t*, const uint8_t*, int32_t*) noexcept nogil
        void (*codewords)(const double*, const uint8_t*, double*) noexcept nogil
    int wm_popcount32(unsigned int) noexcept
    int wm_log2(uint64_t) noexcept
    int wm_trailing_zeros(uint32_t) noexcept


cdef inline const wm_loops* loops_of(object capsule) except NULL:
    return <const wm_loops*>PyCapsule_GetPointer(capsule, "watermark.kernels.loops")
