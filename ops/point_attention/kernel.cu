// Ragged softmax pooling. Sums run in row order, nothing is added atomically: the same bits every time.

extern "C" __global__ void pooling_logsumexp(const float* scores, const long long* offsets, long long V, long long H,
                                             float* logsumexp) {
    FOR_EACH(i, V * H) {
        long long v = i / H, h = i % H, first = offsets[v], last = offsets[v + 1];
        float top = -1.0f / 0.0f, total = 0.0f;
        for (long long p = first; p < last; ++p) top = scores[p * H + h] > top || p == first ? scores[p * H + h] : top;
        for (long long p = first; p < last; ++p) total += expf(scores[p * H + h] - top);
        logsumexp[i] = first < last ? top + logf(total) : top;
    }
}

extern "C" __global__ void pooling_sum(const float* scores, const float* values, const long long* offsets, long long V,
                                       long long H, long long C, const float* logsumexp, float* pooled) {
    FOR_EACH(i, V * H * C) {
        long long c = i % C, h = i / C % H, v = i / (C * H);
        float total = 0.0f, shift = logsumexp[v * H + h];
        for (long long p = offsets[v]; p < offsets[v + 1]; ++p)
            total += expf(scores[p * H + h] - shift) * values[p * C + c];
        pooled[i] = total;
    }
}

// segment[p] is the segment of row p.
extern "C" __global__ void pooling_backward_scores(const float* grad, const float* scores, const float* values,
                                                   const long long* segment, long long P, long long H, long long C,
                                                   const float* pooled, const float* logsumexp, float* grad_scores) {
    FOR_EACH(i, P * H) {
        long long p = i / H, h = i % H, v = segment[p];
        const float *g = grad + (v * H + h) * C, *out = pooled + (v * H + h) * C;
        float total = 0.0f;
        for (long long c = 0; c < C; ++c) total += g[c] * (values[p * C + c] - out[c]);
        grad_scores[i] = expf(scores[i] - logsumexp[v * H + h]) * total;
    }
}

extern "C" __global__ void pooling_backward_values(const float* grad, const float* scores, const long long* segment,
                                                   long long P, long long H, long long C, const float* logsumexp,
                                                   float* grad_values) {
    FOR_EACH(i, P * C) {
        long long p = i / C, c = i % C, v = segment[p];
        float total = 0.0f;
        for (long long h = 0; h < H; ++h)
            total += expf(scores[p * H + h] - logsumexp[v * H + h]) * grad[(v * H + h) * C + c];
        grad_values[i] = total;
    }
}
