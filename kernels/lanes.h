/* Inner loops over lanes: their types, and what little is not in variants. */
#ifndef WM_LANES_H
#define WM_LANES_H
#include <stdint.h>

#define WM_LANES 16 /* Philox blocks of one group */

/* Philox counters and keys of one group; halves of SipHash states as in philox.pxd. */
typedef struct {
    uint64_t low[WM_LANES], high[WM_LANES];
    uint64_t first[WM_LANES], second[WM_LANES]; /* below 2**32 */
} wm_group;

/* One variant of every loop: see lanes_body.h for what they do. */
typedef struct {
    const char *name;
    void (*philox)(const wm_group *, uint32_t (*)[WM_LANES]);
    void (*siphash)(uint64_t, uint64_t, const uint32_t *, long, uint64_t *, uint64_t *);
    void (*gumbel_products)(
        const uint64_t *, const uint64_t *, const uint32_t *, long, long, double *
    );
    void (*symbol_products)(uint64_t, uint64_t, uint32_t, uint32_t, double *);
    int (*block_tops)(const float *, long, float *);
    long (*survivors)(const float *, long, const float *, float, uint32_t *);
    uint32_t (*hopeful)(const uint32_t *, const float *, float);
    void (*collision)(const float *, long, const float *, float, double *);
    long (*add_green)(float *, long, uint64_t, uint64_t, uint32_t, float);
    void (*layer_counts)(const uint32_t *, long, int, int32_t *);
    void (*differences)(
        uint64_t, uint64_t, uint64_t, const uint32_t *, long, uint32_t, int32_t *
    );
    void (*signed_sums)(
        uint64_t, uint64_t, const uint64_t *, const int32_t *, long, int32_t *
    );
    void (*butterfly)(int32_t *, long);
    void (*viterbi)(const int32_t *, const int32_t *, int32_t *, int32_t *);
    void (*branches)(const int32_t *, const uint8_t *, int32_t *);
    void (*codewords)(const double *, const uint8_t *, double *);
} wm_loops;

#if defined(__GNUC__) || defined(__clang__)
#define WM_ALWAYS static inline __attribute__((always_inline, unused))
#define wm_trailing_zeros __builtin_ctz
#define wm_popcount32 __builtin_popcount
#else
#define WM_ALWAYS static __inline
static __inline int wm_popcount32(uint32_t x) {
    x -= (x >> 1) & 0x55555555u;
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    return (int)((((x + (x >> 4)) & 0x0F0F0F0Fu) * 0x01010101u) >> 24);
}
static __inline int wm_trailing_zeros(uint32_t x) {
    return wm_popcount32((x & (0u - x)) - 1u);
}
#endif

/* The place of the leading one of x > 0. */
static inline int wm_log2(uint64_t x) {
#if defined(__GNUC__) || defined(__clang__)
    return 63 - __builtin_clzll(x);
#else
    int place = 0;
    while (x >>= 1) place++;
    return place;
#endif
}

#endif
