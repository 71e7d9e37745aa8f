// Float vectors for the C kernels, in the compilers' own vector types: the widest registers of the processor, or the
// narrowest ones everywhere else. Included by the kernel.c files; see ops/native.py.
#ifndef DRIVE_VECTORS_H
#define DRIVE_VECTORS_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float* p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(float* p, vec x) { memcpy(p, &x, sizeof x); }

INLINE vec all(float x) { return (vec){0} + x; }

// The first n lanes of memory, 0 in the others; reads nothing behind the nth.
INLINE vec load_part(const float* p, int64_t n) {
    vec x = {0};
    memcpy(&x, p, n * sizeof(float));
    return x;
}

INLINE void store_part(float* p, vec x, int64_t n) { memcpy(p, &x, n * sizeof(float)); }

// The larger of both; where one is NaN, `x`: a NaN in x stays, one in `low` is forgotten.
INLINE vec larger(vec low, vec x) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)low, (__m512)x);
#elif defined(__AVX__)
    return (vec)_mm256_max_ps((__m256)low, (__m256)x);
#elif defined(__SSE__)
    return (vec)_mm_max_ps((__m128)low, (__m128)x);
#else
    vec y;
    for (int i = 0; i < LANES; ++i) y[i] = low[i] > x[i] ? low[i] : x[i];
    return y;
#endif
}

// 2**x: relative error below 1.8e-7 for -126 <= x <= 127, 2**-126 below that (also for -infinity); NaN stays NaN.
// x = n + r with n whole (adding 1.5 * 2**23 rounds) and |r| <= 1/2; the polynomial of 2**r has degree 5 and the
// least largest relative error there (9.2e-8); n goes into the exponent's bits of a float that multiplies. Must not be compiled with reassociation.
INLINE vec exp2_vec(vec x) {
    const vec magic = all(12583039.0f);  // 1.5 * 2**23 + 127: the low bits of the sum are n + 127
    x = larger(all(-126.0f), x);
    vec shifted = x + magic, r = x - (shifted - magic);
    ivec power = (ivec)shifted << 23;
    vec p = r * 1.32647272e-3f + 9.67151281e-3f;
    p = p * r + 5.55073374e-2f;
    p = p * r + 2.40222421e-1f;
    p = p * r + 6.93146978e-1f;
    p = p * r + 1.0f;
    return p * (vec)power;
}

INLINE float sum_of(vec x) {
    float total = 0.0f;
    for (int i = 0; i < LANES; ++i) total += x[i];
    return total;
}

#endif
