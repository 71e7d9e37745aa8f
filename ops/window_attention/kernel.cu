// Ragged window attention. One thread a query (or key, for the gradients of keys and values) and head; the threads of
// a window read the same rows at the same time, so the cache hands each row out once. Nothing is added atomically.
// DIM is the number of channels a head; window[t] is the window of token t.

__device__ __forceinline__ float dot(const float* a, const float* b) {
    float total = 0.0f;
    for (int d = 0; d < DIM; ++d) total += a[d] * b[d];
    return total;
}

extern "C" __global__ void attention_forward(const float* q, const float* k, const float* v, const long long* offsets,
                                             const long long* window, long long T, long long H, float scale,
                                             float* out, float* logsumexp) {
    FOR_EACH(i, T * H) {
        long long t = i / H, h = i % H, w = window[t];
        float query[DIM], sum[DIM], total = 0.0f, top = -3.4e38f;
        for (int d = 0; d < DIM; ++d) {
            query[d] = q[i * DIM + d] * scale;
            sum[d] = 0.0f;
        }
        for (long long j = offsets[w]; j < offsets[w + 1]; ++j) {
            const float* value = v + (j * H + h) * DIM;
            float score = dot(query, k + (j * H + h) * DIM);
            if (score > top) {
                float shrink = expf(top - score);
                for (int d = 0; d < DIM; ++d) sum[d] *= shrink;
                total *= shrink;
                top = score;
            }
            float weight = expf(score - top);
            total += weight;
            for (int d = 0; d < DIM; ++d) sum[d] += weight * value[d];
        }
        for (int d = 0; d < DIM; ++d) out[i * DIM + d] = sum[d] / total;
        logsumexp[i] = top + logf(total);
    }
}

extern "C" __global__ void attention_backward_q(const float* grad, const float* q, const float* k, const float* v,
                                                const long long* offsets, const long long* window, long long T,
                                                long long H, float scale, const float* out, const float* logsumexp,
                                                float* delta, float* grad_q) {
    FOR_EACH(i, T * H) {
        long long t = i / H, h = i % H, w = window[t];
        float query[DIM], g[DIM], sum[DIM];
        for (int d = 0; d < DIM; ++d) {
            query[d] = q[i * DIM + d] * scale;
            g[d] = grad[i * DIM + d];
            sum[d] = 0.0f;
        }
        float own = dot(g, out + i * DIM);
        for (long long j = offsets[w]; j < offsets[w + 1]; ++j) {
            const float* key = k + (j * H + h) * DIM;
            float weight = expf(dot(query, key) - logsumexp[i]);
            float slope = weight * (dot(g, v + (j * H + h) * DIM) - own) * scale;
            for (int d = 0; d < DIM; ++d) sum[d] += slope * key[d];
        }
        for (int d = 0; d < DIM; ++d) grad_q[i * DIM + d] = sum[d];
        delta[i] = own;
    }
}

extern "C" __global__ void attention_backward_kv(const float* grad, const float* q, const float* k, const float* v,
                                                 const long long* offsets, const long long* window, long long T,
                                                 long long H, float scale, const float* logsumexp, const float* delta,
                                                 float* grad_k, float* grad_v) {
    FOR_EACH(j, T * H) {
        long long t = j / H, h = j % H, w = window[t];
        float key[DIM], value[DIM], sum_k[DIM], sum_v[DIM];
        for (int d = 0; d < DIM; ++d) {
            key[d] = k[j * DIM + d] * scale;
            value[d] = v[j * DIM + d];
            sum_k[d] = sum_v[d] = 0.0f;
        }
        for (long long u = offsets[w]; u < offsets[w + 1]; ++u) {
            long long i = u * H + h;
            float weight = expf(dot(key, q + i * DIM) - logsumexp[i]);
            float slope = weight * (dot(value, grad + i * DIM) - delta[i]) * scale;
            for (int d = 0; d < DIM; ++d) {
                sum_k[d] += slope * q[i * DIM + d];
                sum_v[d] += weight * grad[i * DIM + d];
            }
        }
        for (int d = 0; d < DIM; ++d) {
            grad_k[j * DIM + d] = sum_k[d];
            grad_v[j * DIM + d] = sum_v[d];
        }
    }
}
