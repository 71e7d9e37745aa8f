// Ragged window attention for the CPU: forward and backward over windows; one block of queries is block.h.

#include "window_attention/block.h"

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
    float room[ROOM];
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
                int64_t count = last - i < LANES ? last - i : LANES;
                vec sums[LANES * PARTS], top, total;
                attend(q + i * q_stride + h * DIM, q_stride, count, k + first * k_stride + h * DIM, k_stride,
                       v + first * v_stride + h * DIM, v_stride, last - first, scale, room, sums, &top, &total);
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
    float room[ROOM], query_room[LANES * WIDE], grad_room[LANES * WIDE];
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
