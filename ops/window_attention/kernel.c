// Ragged window attention for the CPU. Lanes are queries: a block of LANES queries of one window and head against its
// keys, one key a step, so that the softmax needs no sum across lanes and keys and values are read where they lie.
// Keys come in runs of at most KEYS: a window of any size needs no more memory than this. DIM: channels a head.

#include "vectors.h"

#define KEYS 128
#define PARTS ((DIM + LANES - 1) / LANES)  // vectors that hold one row of DIM channels
#define WIDE (PARTS * LANES)
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

// grad[j][.] += sum over the LANES rows i of weight[j][i] * x[i][.]; `first`: the sum replaces what was there.
INLINE void outer(const vec* weight, const float* x, int64_t x_step, int64_t count, float* grad, int64_t stride,
                  int first) {
    for (int part = 0; part < PARTS; ++part) {
        vec rows[LANES];
        int64_t width = DIM - part * LANES < LANES ? DIM - part * LANES : LANES, j = 0;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) rows[i] = load(x + i * x_step + part * LANES);
        for (; j < count; j += 2) {
            int64_t j2 = j + 1 < count ? j + 1 : j;
            const float *w = (const float*)(weight + j), *w2 = (const float*)(weight + j2);
            float *to = grad + j * stride + part * LANES, *to2 = grad + j2 * stride + part * LANES;
            vec a = {0}, b = {0}, a2 = {0}, b2 = {0};
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i += 2) {
                a += rows[i] * w[i];
                a2 += rows[i] * w2[i];
                b += rows[i + 1] * w[i + 1];
                b2 += rows[i + 1] * w2[i + 1];
            }
            a += b, a2 += b2;
            if (!first) a += load_part(to, width), a2 += load_part(to2, width);
            store_part(to2, a2, width);  // of an odd run's last key: the same sum, then overwritten
            store_part(to, a, width);
        }
    }
}

// Heads lie apart in memory, so the processor does not see what comes next: it is told. While head h of H is computed,
// the h-th part of the rows [from, to) is brought to the second cache.
#define AHEAD 32  // rows in advance
INLINE void prefetch(const float* x, int64_t stride, int64_t H, int64_t h, int64_t from, int64_t to) {
    for (int64_t t = from + (to - from) * h / H; t < from + (to - from) * (h + 1) / H; ++t)
        for (int64_t c = 0; c < H * DIM; c += 16) __builtin_prefetch(x + t * stride + c, 0, 2);
}

// q, k, v: row t of head h begins at t * stride + h * DIM; out [T, H, DIM], logsumexp [T, H].
void attention_forward(int64_t start, int64_t stop, const float* q, int64_t q_stride, const float* k, int64_t k_stride,
                       const float* v, int64_t v_stride, const int64_t* offsets, int64_t H, float scale, float* out,
                       float* logsumexp) {
    float room[WIDE == DIM ? 1 : KEYS * WIDE];
    int64_t fetched = start < stop ? offsets[start] : 0;
    for (int64_t w = start; w < stop; ++w) {
        int64_t first = offsets[w], last = offsets[w + 1];
        int64_t to = last + AHEAD < offsets[stop] ? last + AHEAD : offsets[stop];
        for (int64_t h = 0; h < H; ++h) {
            prefetch(q, q_stride, H, h, fetched, to);
            prefetch(k, k_stride, H, h, fetched, to);
            prefetch(v, v_stride, H, h, fetched, to);
            prefetch(out, H * DIM, H, h, fetched, to);
            for (int64_t i = first; i < last; i += LANES) {
                int64_t count = last - i < LANES ? last - i : LANES, step;
                vec query[DIM], score[KEYS], sums[LANES * PARTS] = {{0}}, top = {0}, total = {0};
                columns(q + i * q_stride + h * DIM, q_stride, count, scale * LOG2E, query);
                for (int64_t j = first; j < last; j += KEYS) {
                    int64_t keys = last - j < KEYS ? last - j : KEYS;
                    products(query, k + j * k_stride + h * DIM, k_stride, keys, score);
                    vec higher = j == first ? score[0] : top;
                    for (int64_t c = 0; c < keys; ++c) higher = larger(higher, score[c]);
                    if (j > first) {
                        vec shrink = exp2_vec(top - higher);
                        total *= shrink;
                        for (int l = 0; l < LANES; ++l)
                            for (int p = 0; p < PARTS; ++p) sums[l * PARTS + p] *= shrink[l];
                    }
                    top = higher;
                    for (int64_t c = 0; c < keys; ++c) {
                        score[c] = exp2_vec(score[c] - top);
                        total += score[c];
                    }
                    const float* values = rows_of(v + j * v_stride + h * DIM, v_stride, keys, keys, room, &step);
                    weighted(score, values, step, keys, sums);
                }
                vec inverse = 1.0f / total, lse = top * LN2 + log_vec(total);
                for (int64_t l = 0; l < count; ++l) {
                    float* to = out + ((i + l) * H + h) * DIM;
                    for (int p = 0; p < PARTS; ++p) {
                        vec row = sums[l * PARTS + p] * inverse[l];
                        if (DIM - p * LANES >= LANES) store(to + p * LANES, row);
                        else store_part(to + p * LANES, row, DIM - p * LANES);
                    }
                    logsumexp[(i + l) * H + h] = lse[l];
                }
            }
        }
        fetched = to;
    }
}

// grad, out and the three gradients are [T, H, DIM]; see attention_forward.
void attention_backward(int64_t start, int64_t stop, const float* grad, const float* q, int64_t q_stride,
                        const float* k, int64_t k_stride, const float* v, int64_t v_stride, const int64_t* offsets,
                        int64_t H, float scale, const float* out, const float* logsumexp, float* grad_q, float* grad_k,
                        float* grad_v) {
    float room[WIDE == DIM ? 1 : KEYS * WIDE], query_room[LANES * WIDE], grad_room[LANES * WIDE];
    const int64_t stride = H * DIM;
    int64_t fetched = start < stop ? offsets[start] : 0;
    for (int64_t w = start; w < stop; ++w) {
        int64_t first = offsets[w], last = offsets[w + 1];
        int64_t to = last + AHEAD < offsets[stop] ? last + AHEAD : offsets[stop];
        for (int64_t h = 0; h < H; ++h) {
            prefetch(q, q_stride, H, h, fetched, to);
            prefetch(k, k_stride, H, h, fetched, to);
            prefetch(v, v_stride, H, h, fetched, to);
            prefetch(out, stride, H, h, fetched, to);
            prefetch(grad, stride, H, h, fetched, to);
            prefetch(grad_q, stride, H, h, fetched, to);
            prefetch(grad_k, stride, H, h, fetched, to);
            prefetch(grad_v, stride, H, h, fetched, to);
            for (int64_t i = first; i < last; i += LANES) {
                int64_t count = last - i < LANES ? last - i : LANES, q_step, g_step, k_step;
                const float *qi = q + i * q_stride + h * DIM, *gi = grad + i * stride + h * DIM;
                vec query[DIM], g[DIM], weight[KEYS], slope[KEYS], sums[LANES * PARTS] = {{0}}, delta = {0}, lse;
                columns(qi, q_stride, count, scale * LOG2E, query);
                columns(out + i * stride + h * DIM, stride, count, 1.0f, g);
                vec attended[DIM];
                memcpy(attended, g, sizeof g);
                columns(gi, stride, count, 1.0f, g);
                for (int d = 0; d < DIM; ++d) delta += g[d] * attended[d];
                for (int64_t l = 0; l < LANES; ++l)
                    lse[l] = logsumexp[(i + (l < count ? l : count - 1)) * H + h] * LOG2E;
                const float* q_rows = rows_of(qi, q_stride, count, LANES, query_room, &q_step);
                const float* g_rows = rows_of(gi, stride, count, LANES, grad_room, &g_step);
                for (int64_t j = first; j < last; j += KEYS) {
                    int64_t keys = last - j < KEYS ? last - j : KEYS, at = j * stride + h * DIM;
                    products(query, k + j * k_stride + h * DIM, k_stride, keys, weight);
                    products(g, v + j * v_stride + h * DIM, v_stride, keys, slope);
                    for (int64_t c = 0; c < keys; ++c) {
                        weight[c] = exp2_vec(weight[c] - lse);
                        slope[c] = weight[c] * (slope[c] - delta) * scale;
                    }
                    const float* kj = rows_of(k + j * k_stride + h * DIM, k_stride, keys, keys, room, &k_step);
                    weighted(slope, kj, k_step, keys, sums);
                    outer(slope, q_rows, q_step, keys, grad_k + at, stride, i == first);
                    outer(weight, g_rows, g_step, keys, grad_v + at, stride, i == first);
                }
                for (int64_t l = 0; l < count; ++l)
                    for (int p = 0; p < PARTS; ++p)
                        store_part(grad_q + ((i + l) * H + h) * DIM + p * LANES, sums[l * PARTS + p],
                                   DIM - p * LANES < LANES ? DIM - p * LANES : LANES);
            }
        }
        fetched = to;
    }
}
