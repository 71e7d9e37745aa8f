// Attention of a block of LANES queries of one window and head; shared by the attention and the transformer layer.
// Lanes are queries: one key a step, so that the softmax needs no sum across lanes and keys and values are read where
// they lie. Keys come in runs of at most KEYS: a window of any size needs no more memory than this.
// DIM: channels a head.
#ifndef DRIVE_ATTENTION_BLOCK_H
#define DRIVE_ATTENTION_BLOCK_H

#include "vectors.h"

#define KEYS 128
#define PARTS ((DIM + LANES - 1) / LANES)  // vectors that hold one row of DIM channels
#define WIDE (PARTS * LANES)
#define ROOM (WIDE == DIM ? 1 : KEYS * WIDE)  // floats for rows that need zeros behind them
#define LOG2E 1.44269504f
#define LN2 0.69314718f

// `count` rows of DIM channels, zeros up to `rows` rows of WIDE; their own memory where that has this form already.
INLINE const float* rows_of(const float* x, int64_t stride, int64_t count, int64_t rows, float* room, int64_t* step) {
    if (WIDE == DIM && count == rows) {
        *step = stride;
        return x;
    }
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t d = 0; d < WIDE; ++d) room[i * WIDE + d] = i < count && d < DIM ? x[i * stride + d] : 0.0f;
    *step = WIDE;
    return room;
}

// Column d of the result holds channel d of LANES rows; missing rows repeat the last one.
INLINE void columns(const float* x, int64_t stride, int64_t count, float factor, vec* out) {
    for (int part = 0; part < PARTS; ++part) {
        vec rows[LANES];
        int64_t width = DIM - part * LANES < LANES ? DIM - part * LANES : LANES;
        for (int i = 0; i < LANES; ++i) {
            const float* row = x + (i < count ? i : count - 1) * stride + part * LANES;
            rows[i] = factor * (width == LANES ? load(row) : load_part(row, width));
        }
        transpose(rows);
        for (int d = 0; d < LANES && part * LANES + d < DIM; ++d) out[part * LANES + d] = rows[d];
    }
}

// out[j] = sum over channels of x[d] * y[j][d].
INLINE void products(const vec* x, const float* y, int64_t stride, int64_t count, vec* out) {
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const float *a = y + j * stride, *b = a + stride, *c = b + stride, *e = c + stride;
        vec s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
#pragma GCC unroll 32
        for (int d = 0; d < DIM; ++d) {
            s0 += x[d] * a[d];
            s1 += x[d] * b[d];
            s2 += x[d] * c[d];
            s3 += x[d] * e[d];
        }
        out[j] = s0, out[j + 1] = s1, out[j + 2] = s2, out[j + 3] = s3;
    }
    for (; j < count; ++j) {
        const float* a = y + j * stride;
        vec s0 = {0}, s1 = {0};
#pragma GCC unroll 32
        for (int d = 0; d + 1 < DIM; d += 2) {
            s0 += x[d] * a[d];
            s1 += x[d + 1] * a[d + 1];
        }
        if (DIM % 2) s0 += x[DIM - 1] * a[DIM - 1];
        out[j] = s0 + s1;
    }
}

// sums[i][.] += sum over j of weight[j][i] * y[j][.], for the LANES rows i; y has rows of WIDE.
INLINE void weighted(const vec* weight, const float* y, int64_t stride, int64_t count, vec* sums) {
    for (int part = 0; part < PARTS; ++part) {
        vec total[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) total[i] = sums[i * PARTS + part];
        for (int64_t j = 0; j < count; ++j) {
            vec row = load(y + j * stride + part * LANES);
            const float* w = (const float*)(weight + j);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) total[i] += row * w[i];
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) sums[i * PARTS + part] = total[i];
    }
}

// The weighted sums of the values ([LANES][PARTS], not yet divided by `total`) for `count` queries at q against all
// `size` keys and values at k and v. The scores are in units of log 2: `top` is the largest, `total` that of 2**(s - top).
INLINE void attend(const float* q, int64_t q_stride, int64_t count, const float* k, int64_t k_stride, const float* v,
                   int64_t v_stride, int64_t size, float scale, float* room, vec* sums, vec* top, vec* total) {
    vec query[DIM], score[KEYS];
    columns(q, q_stride, count, scale * LOG2E, query);
    for (int i = 0; i < LANES * PARTS; ++i) sums[i] = all(0.0f);
    *total = all(0.0f);
    for (int64_t j = 0; j < size; j += KEYS) {
        int64_t keys = size - j < KEYS ? size - j : KEYS, step;
        products(query, k + j * k_stride, k_stride, keys, score);
        vec higher = j == 0 ? score[0] : *top;
        for (int64_t c = 0; c < keys; ++c) higher = larger(higher, score[c]);
        if (j > 0) {
            vec shrink = exp2_vec(*top - higher);
            *total *= shrink;
            for (int l = 0; l < LANES; ++l)
                for (int p = 0; p < PARTS; ++p) sums[l * PARTS + p] *= shrink[l];
        }
        *top = higher;
        for (int64_t c = 0; c < keys; ++c) {
            score[c] = exp2_vec(score[c] - higher);
            *total += score[c];
        }
        const float* values = rows_of(v + j * v_stride, v_stride, keys, keys, room, &step);
        weighted(score, values, step, keys, sums);
    }
}

#endif
