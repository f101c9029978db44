/* The loops of lanes_body.h, in variants for the vectors of the machine that runs them.

   Each loop is written once. It is compiled for every instruction set of the
   architecture, and the widest that the processor has is chosen at run time. All
   variants give the same bits: integers, and doubles whose order and rounding are fixed
   (no contraction, see setup.py). What they compute is said in the references. */
#ifndef WM_VARIANTS_H
#define WM_VARIANTS_H
#include <math.h>
#include <string.h>

#include "lanes.h"

#define WM_JOIN_(a, b) wm_##a##_##b
#define WM_JOIN(a, b) WM_JOIN_(a, b)
#define WM(name) WM_JOIN(name, WM_NAME)

/* Without vectors: every architecture and compiler. */
#define WM_NAME scalar
#define WM_TARGET
#define WM_WIDE 1 /* 64-bit slots of a vector */
typedef uint64_t wm_vec_scalar;
#define WM_VEC wm_vec_scalar
#define WM_MUL(a, b) ((uint64_t)(uint32_t)(a) * (uint32_t)(b))
#define WM_NARROW(p, v) (*(p) = (uint32_t)(v))
#include "lanes_body.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define WM_X86
#include <immintrin.h>

#define WM_NAME sse2
#define WM_TARGET
#define WM_WIDE 2
typedef uint64_t wm_vec_sse2 __attribute__((vector_size(16)));
#define WM_VEC wm_vec_sse2
#define WM_MUL(a, b) ((wm_vec_sse2)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#define WM_NARROW(p, v) \
    _mm_storel_epi64((__m128i *)(p), _mm_shuffle_epi32((__m128i)(v), 0x08))
#define WM_MASK16(x, cut) \
    (_mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps(x), _mm_set1_ps(cut))) \
     | _mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps((x) + 4), _mm_set1_ps(cut))) << 4 \
     | _mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps((x) + 8), _mm_set1_ps(cut))) << 8 \
     | _mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps((x) + 12), _mm_set1_ps(cut))) << 12)
#include "lanes_body.h"

#define WM_NAME avx2
#define WM_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define WM_WIDE 4
typedef uint64_t wm_vec_avx2 __attribute__((vector_size(32)));
#define WM_VEC wm_vec_avx2
#define WM_MUL(a, b) ((wm_vec_avx2)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#define WM_NARROW(p, v) \
    _mm_storeu_si128( \
        (__m128i *)(p), \
        _mm256_castsi256_si128(_mm256_permutevar8x32_epi32( \
            (__m256i)(v), _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6) \
        )) \
    )
#define WM_HALF(x, cut) \
    _mm256_movemask_ps( \
        _mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_set1_ps(cut), _CMP_GE_OQ) \
    )
#define WM_MASK16(x, cut) (WM_HALF(x, cut) | WM_HALF((x) + 8, cut) << 8)
#include "lanes_body.h"

#define WM_NAME avx512
#define WM_TARGET \
    __attribute__((target( \
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,bmi,bmi2,popcnt" \
    )))
#define WM_WIDE 8
typedef uint64_t wm_vec_avx512 __attribute__((vector_size(64)));
#define WM_VEC wm_vec_avx512
#define WM_MUL(a, b) ((wm_vec_avx512)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define WM_NARROW(p, v) \
    _mm256_storeu_si256((__m256i *)(p), _mm512_cvtepi64_epi32((__m512i)(v)))
#define WM_MASK16(x, cut) \
    _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_set1_ps(cut), _CMP_GE_OQ)
#include "lanes_body.h"
#endif

/* The loops in use. Modules hold a pointer to it. */
static wm_loops wm_current;

/* Use variant 0 scalar, 1 sse2, 2 avx2, 3 avx512, or with -1 the widest that runs here.
   Returns 0 where the one asked for does not. */
static int wm_choose(int level) {
#ifdef WM_X86
    const wm_loops *loops[] = {
        &wm_loops_scalar, &wm_loops_sse2, &wm_loops_avx2, &wm_loops_avx512
    };
    int widest = 1;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")
        && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt")) {
        widest = 2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
            && __builtin_cpu_supports("avx512vpopcntdq"))
            widest = 3;
    }
#else
    const wm_loops *loops[] = {&wm_loops_scalar};
    int widest = 0;
#endif
    if (level > widest || level < -1) return 0;
    wm_current = *loops[level < 0 ? widest : level];
    return 1;
}

#endif
