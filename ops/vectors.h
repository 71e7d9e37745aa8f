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

// 2**x: relative error below 2.5e-7 (1.8e-7 with fused multiply-add) for -126 <= x <= 127, 2**-126 below that (also
// for -infinity); NaN stays NaN.
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

// ln x for normal x > 0, absolute error below 1.2e-7 * max(1, |ln x|); NaN stays NaN. x = 2**n * m with
// sqrt(1/2) <= m < sqrt(2); the polynomial is that of Cephes' logf.
INLINE vec log_vec(vec x) {
    ivec bits = (ivec)x - 0x3f3504f3;
    ivec n = bits >> 23;
    vec m = (vec)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f, square = m * m;
    vec p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    vec whole = __builtin_convertvector(n, vec);
    vec y = p * m * square + whole * -2.12194440e-4f - 0.5f * square;
    return (m + y) + whole * 0.693359375f + (x - x);
}

INLINE float sum_of(vec x) {
    float total = 0.0f;
    for (int i = 0; i < LANES; ++i) total += x[i];
    return total;
}

#if LANES == 16
#define PICK_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define PICK_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define PICK_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define PICK_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define PICK_LOW 0, 4, 1, 5
#define PICK_HIGH 2, 6, 3, 7
#endif
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

// Rows become columns: LANES vectors in place. Each round merges the upper with the lower half of the rows.
INLINE void transpose(vec* rows) {
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
        vec merged[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES / 2; ++i) {
            merged[2 * i] = PICK(rows[i], rows[i + LANES / 2], PICK_LOW);
            merged[2 * i + 1] = PICK(rows[i], rows[i + LANES / 2], PICK_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) rows[i] = merged[i];
    }
}

#endif
