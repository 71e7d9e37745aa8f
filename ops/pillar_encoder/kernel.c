// ops/pillar_encoder where no number can overflow, for channels in whole tiles (64 divides by all of them): a tile of
// points by channels is summed in registers and its maxima are folded there, so that nothing is stored for a point.
#include "vectors.h"

#if LANES == 16
#define POINTS 6  // at a time, with TILE vectors of channels each: 24 sums of the 32 registers
#define TILE 4
#else
#define POINTS 4  // 8 sums of 16 registers leave room for weights and maxima
#define TILE 2
#endif
#define WIDTH (TILE * LANES)
#define CHUNK 48  // points whose hidden rows are in memory at a time

// Sum of sizes, not finite where a number is not.
static float size_of(const float* x, int64_t count) {
    vec total = {0};
    int64_t i = 0;
    float rest = 0.0f;
    for (; i + LANES <= count; i += LANES) total += (vec)((ivec)load(x + i) & 0x7fffffff);
    for (; i < count; ++i) rest += __builtin_fabsf(x[i]);
    return sum_of(total) + rest;
}

// a = bias + x @ w for n rows of x, and WIDTH of the `stride` channels of w.
INLINE void sums(vec a[POINTS][TILE], const int n, const float* x, int64_t inputs, const float* w, int64_t stride,
                 const vec bias[TILE]) {
#pragma GCC unroll 6
    for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) a[r][t] = bias[t];
    for (int64_t k = 0; k < inputs; ++k) {
        vec u[TILE];
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) u[t] = load(w + k * stride + t * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < n; ++r) {
            vec y = all(x[r * inputs + k]);
#pragma GCC unroll 4
            for (int t = 0; t < TILE; ++t) a[r][t] += y * u[t];
        }
    }
}

typedef struct {
    vec top[TILE];
    ivec at[TILE];
} Best;

INLINE void fold(Best* best, vec a[TILE], int32_t row, int keep) {
#pragma GCC unroll 4
    for (int t = 0; t < TILE; ++t) {
        if (keep) {
#if LANES == 16
            __mmask16 better = _mm512_cmp_ps_mask((__m512)a[t], (__m512)best->top[t], _CMP_GT_OQ);
            best->at[t] = (ivec)_mm512_mask_mov_epi32((__m512i)best->at[t], better, _mm512_set1_epi32(row));
#else
            ivec better = a[t] > best->top[t];
            best->at[t] = (better & row) | (~better & best->at[t]);
#endif
        }
        best->top[t] = larger(best->top[t], a[t]);
    }
}

INLINE void some(Best* best, const int n, const float* x, int64_t inputs, const float* w, int64_t stride,
                 const vec bias[TILE], int64_t row, int keep) {
    vec a[POINTS][TILE];
    sums(a, n, x, inputs, w, stride, bias);
#pragma GCC unroll 6
    for (int r = 0; r < n; ++r) fold(best, a[r], (int32_t)(row + r), keep);
}

// Raises best [C] to the maxima of bias + x @ w over `count` rows of x, where they are larger; where: numbers of the
// rows, counted from `row`. The first of equals stays.
INLINE void maxima(const float* x, int64_t count, int64_t inputs, const float* w, const float* bias, int64_t C,
                   float* best, int32_t* where, int64_t row, int keep) {
    for (int64_t c = 0; c < C; c += WIDTH) {
        Best b;
        vec start[TILE];
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) {
            b.top[t] = load(best + c + t * LANES);
            start[t] = bias ? load(bias + c + t * LANES) : all(0.0f);
            if (keep) memcpy(&b.at[t], where + c + t * LANES, sizeof(ivec));
        }
        int64_t p = 0;
        for (; p + POINTS <= count; p += POINTS) some(&b, POINTS, x + p * inputs, inputs, w + c, C, start, row + p, keep);
        const float* y = x + p * inputs;
        switch (count - p) {
#if POINTS > 4
            case 5: some(&b, 5, y, inputs, w + c, C, start, row + p, keep); break;
            case 4: some(&b, 4, y, inputs, w + c, C, start, row + p, keep); break;
#endif
            case 3: some(&b, 3, y, inputs, w + c, C, start, row + p, keep); break;
            case 2: some(&b, 2, y, inputs, w + c, C, start, row + p, keep); break;
            case 1: some(&b, 1, y, inputs, w + c, C, start, row + p, keep); break;
        }
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) {
            store(best + c + t * LANES, b.top[t]);
            if (keep) memcpy(where + c + t * LANES, &b.at[t], sizeof(ivec));
        }
    }
}

INLINE void fill(float* best, float value, int32_t* where, int64_t C, int keep) {
    for (int64_t c = 0; c < C; ++c) best[c] = value;
    if (keep) memset(where, 255, C * sizeof(int32_t));
}

// pillar_max of pillars start..stop; own: 1 where each has its own bias, else 0. left[v] is set where pillar v was left
// to the caller. where: NULL unless the rows are wanted.
INLINE void one_layer(int64_t start, int64_t stop, const float* x, const int64_t* offsets, int64_t K, const float* w,
                      const float* bias, int64_t C, int64_t own, float w_most, float b_most, float limit, float* out,
                      int32_t* where, uint8_t* left, int keep) {
    for (int64_t v = start; v < stop; ++v) {
        const float* rows = x + offsets[v] * K;
        int64_t count = offsets[v + 1] - offsets[v];
        int32_t* at = keep ? where + v * C : 0;
        left[v] = !(size_of(rows, count * K) * w_most + b_most < limit);
        fill(out + v * C, 0.0f, at, C, keep);
        if (!left[v]) maxima(rows, count, K, w, bias + v * own * C, C, out + v * C, at, offsets[v], keep);
    }
}

void layer(int64_t start, int64_t stop, const float* x, const int64_t* offsets, int64_t inputs, const float* w,
           const float* bias, int64_t C, int64_t own, float w_most, float b_most, float limit, float* out,
           int32_t* where, int64_t keep, uint8_t* left) {
    const int64_t K = inputs;
    if (keep)
        one_layer(start, stop, x, offsets, K, w, bias, C, own, w_most, b_most, limit, out, where, left, 1);
    else
        one_layer(start, stop, x, offsets, K, w, bias, C, own, w_most, b_most, limit, out, where, left, 0);
}

// The hidden rows of some points, and their maxima.
INLINE void hidden_some(Best* best, const int n, const float* x, int64_t K, const float* w, int64_t H, const vec* bias,
                        float* h, int64_t row, int keep) {
    vec a[POINTS][TILE];
    sums(a, n, x, K, w, H, bias);
#pragma GCC unroll 6
    for (int r = 0; r < n; ++r) {
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) store(h + r * H + t * LANES, larger(all(0.0f), a[r][t]));
        fold(best, a[r], (int32_t)(row + r), keep);
    }
}

// h [count, H] = ReLU(x @ w + bias); best and where as in `maxima`.
INLINE void hidden(const float* x, int64_t count, int64_t K, const float* w, const float* bias, int64_t H, float* h,
                   float* best, int32_t* where, int64_t row, int keep) {
    for (int64_t c = 0; c < H; c += WIDTH) {
        Best b;
        vec start[TILE];
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) {
            b.top[t] = load(best + c + t * LANES);
            start[t] = load(bias + c + t * LANES);
            if (keep) memcpy(&b.at[t], where + c + t * LANES, sizeof(ivec));
        }
        int64_t p = 0;
        for (; p + POINTS <= count; p += POINTS)
            hidden_some(&b, POINTS, x + p * K, K, w + c, H, start, h + p * H + c, row + p, keep);
        for (; p + 2 <= count; p += 2) hidden_some(&b, 2, x + p * K, K, w + c, H, start, h + p * H + c, row + p, keep);
        for (; p < count; ++p) hidden_some(&b, 1, x + p * K, K, w + c, H, start, h + p * H + c, row + p, keep);
#pragma GCC unroll 4
        for (int t = 0; t < TILE; ++t) {
            store(best + c + t * LANES, b.top[t]);
            if (keep) memcpy(where + c + t * LANES, &b.at[t], sizeof(ivec));
        }
    }
}

INLINE void two_layers(int64_t start, int64_t stop, const float* x, const int64_t* offsets, int64_t K, const float* w1,
                       const float* b1, int64_t H, const float* w2, int64_t C, float safe, float* pooled, float* out,
                       int32_t* first, int32_t* second, int keep) {
    float h[CHUNK * H];
    for (int64_t v = start; v < stop; ++v) {
        int32_t *one = keep ? first + v * H : 0, *two = keep ? second + v * C : 0;
        int fit = size_of(x + offsets[v] * K, (offsets[v + 1] - offsets[v]) * K) < safe;
        fill(pooled + v * H, fit ? 0.0f : __builtin_nanf(""), one, H, keep);
        fill(out + v * C, -__builtin_inff(), two, C, keep);
        for (int64_t p = offsets[v]; fit && p < offsets[v + 1]; p += CHUNK) {
            int64_t n = offsets[v + 1] - p < CHUNK ? offsets[v + 1] - p : CHUNK;
            hidden(x + p * K, n, K, w1, b1, H, h, pooled + v * H, one, p, keep);
            maxima(h, n, H, w2, 0, C, out + v * C, two, p, keep);
        }
    }
}

// Maxima of the hidden rows and of hidden @ w2, as `_net_kernel` in cpu_net.py. H is at most 1024: `h` is on the stack.
void net(int64_t start, int64_t stop, const float* x, const int64_t* offsets, int64_t K, const float* w1,
         const float* b1, int64_t H, const float* w2, int64_t C, float safe, int64_t keep, float* pooled, float* out,
         int32_t* first, int32_t* second) {
    if (keep)
        two_layers(start, stop, x, offsets, K, w1, b1, H, w2, C, safe, pooled, out, first, second, 1);
    else
        two_layers(start, stop, x, offsets, K, w1, b1, H, w2, C, safe, pooled, out, first, second, 0);
}
