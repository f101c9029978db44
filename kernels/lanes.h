/* Inner loops over arrays, written so that a compiler vectorises them on the plain
   baseline of each architecture. What they compute is said in reference.py. */
#ifndef WM_LANES_H
#define WM_LANES_H
#include <math.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define wm_popcount32 __builtin_popcount
#else
static int wm_popcount32(unsigned int x) {
    x -= (x >> 1) & 0x55555555u;
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    return (int)((((x + (x >> 4)) & 0x0F0F0F0Fu) * 0x01010101u) >> 24);
}
#endif

/* Where the loader can choose, some loops also exist for wider vectors. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) \
    && defined(__gnu_linux__)
#define WM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WM_CLONES
#endif

#define WM_LANES 8

/* Philox4x32-10 on eight counters (first[l], second[l], high) under one key. */
static inline void wm_philox_lanes(
    uint64_t low, uint64_t high, const uint32_t *first, const uint32_t *second,
    uint32_t out[4][WM_LANES]
) {
    uint32_t *a = out[0], *b = out[1], *c = out[2], *d = out[3];
    uint32_t k0 = (uint32_t)low, k1 = (uint32_t)(low >> 32);
    for (int l = 0; l < WM_LANES; l++) {
        a[l] = first[l];
        b[l] = second[l];
        c[l] = (uint32_t)high;
        d[l] = (uint32_t)(high >> 32);
    }
    for (int r = 0; r < 10; r++) {
        for (int l = 0; l < WM_LANES; l++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * a[l];
            uint64_t p1 = (uint64_t)0xCD9E8D57u * c[l];
            uint32_t na = (uint32_t)(p1 >> 32) ^ b[l] ^ k0;
            uint32_t nc = (uint32_t)(p0 >> 32) ^ d[l] ^ k1;
            b[l] = (uint32_t)p1;
            d[l] = (uint32_t)p0;
            a[l] = na;
            c[l] = nc;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The largest of n floats into *top; 0 where one is NaN or +inf. */
static inline int wm_largest(const float *x, long n, float *top) {
    float best[16];
    int32_t bad[16];
    long i = 0;
    int32_t any = 0;
    for (int l = 0; l < 16; l++) {
        best[l] = -INFINITY;
        bad[l] = 0;
    }
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) {
            float v = x[i + l];
            best[l] = v > best[l] ? v : best[l];
            bad[l] |= !(v < INFINITY);
        }
    for (; i < n; i++) {
        best[0] = x[i] > best[0] ? x[i] : best[0];
        any |= !(x[i] < INFINITY);
    }
    *top = -INFINITY;
    for (int l = 0; l < 16; l++) {
        *top = best[l] > *top ? best[l] : *top;
        any |= bad[l];
    }
    return !any;
}

/* Whether one of 64 floats is at least cut. */
static inline int wm_any_above(const float *x, float cut) {
    int32_t found[16] = {0};
    int32_t any = 0;
    for (int q = 0; q < 64; q += 16)
        for (int l = 0; l < 16; l++) found[l] |= x[q + l] >= cut;
    for (int l = 0; l < 16; l++) any |= found[l];
    return any;
}

/* Add bias to those of 32 floats whose nibble of the four words is below gamma. */
static inline void wm_add_green(
    float *x, const uint32_t *word, uint32_t gamma, float bias
) {
    for (int j = 0; j < 4; j++)
        for (int t = 0; t < 8; t++) {
            float add = ((word[j] >> (4 * t)) & 15) < gamma ? bias : 0.0f;
            x[8 * j + t] += add;
        }
}

/* How many of n floats are above -inf, or -1 where one is NaN. */
static inline long wm_candidates(const float *x, long n) {
    int32_t bad[16] = {0}, open[16] = {0};
    int32_t any = 0;
    long count = 0, i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) {
            bad[l] |= x[i + l] != x[i + l];
            open[l] += x[i + l] > -INFINITY;
        }
    for (; i < n; i++) {
        any |= x[i] != x[i];
        count += x[i] > -INFINITY;
    }
    for (int l = 0; l < 16; l++) {
        any |= bad[l];
        count += open[l];
    }
    return any ? -1 : count;
}

/* Walsh-Hadamard transform in place; size is a power of two. */
WM_CLONES static void wm_butterfly(int32_t *table, long size) {
    for (long half = 1; half < size; half *= 2)
        for (long i = 0; i < size; i += 2 * half)
            for (long j = i; j < i + half; j++) {
                int32_t a = table[j], b = table[j + half];
                table[j] = a + b;
                table[j + half] = a - b;
            }
}

/* One step of Viterbi over 256 states; the smaller origin wins a tie. */
WM_CLONES static void wm_viterbi(
    const int32_t *before, const int32_t *metric, int32_t *after, int32_t *origin
) {
    for (int s = 0; s < 256; s++) {
        after[s] = before[0] + metric[s];
        origin[s] = 0;
    }
    for (int p = 1; p < 256; p++)
        for (int s = 0; s < 256; s++) {
            int32_t score = before[p] + metric[256 * p + s];
            int better = score > after[s];
            after[s] = better ? score : after[s];
            origin[s] = better ? p : origin[s];
        }
}

#endif
