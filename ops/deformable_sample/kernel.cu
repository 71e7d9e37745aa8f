// Multi-scale deformable sampling. Forward: one thread an output channel (channels are adjacent, so a warp reads whole
// rows). Backward: one thread a sample, which owns the gradients of its place and weight; the value's gradient is added
// atomically. value [B, S, M, D], locations [B, Q, M, L, K, 2], weights [B, Q, M, L, K].

struct Taps {
    long long cell[4];
    float weight[4], along_x[4], along_y[4];
    bool usable;
};

// A cell outside the map is replaced by its neighbour inside, with weight and slope 0.
__device__ Taps taps(double x, double y, long long h, long long w) {
    Taps t;
    x = x * w - 0.5;
    y = y * h - 0.5;
    t.usable = x > -1 && x < w && y > -1 && y < h;
    x = t.usable ? x : 0.0;
    y = t.usable ? y : 0.0;
    long long x0 = (long long)floor(x), y0 = (long long)floor(y);
    for (int i = 0; i < 4; ++i) {
        long long xi = x0 + (i & 1), yi = y0 + (i >> 1);
        double wx = i & 1 ? x - x0 : 1 - (x - x0), wy = i >> 1 ? y - y0 : 1 - (y - y0);
        bool inside = xi >= 0 && xi < w && yi >= 0 && yi < h;
        xi = xi < 0 ? 0 : xi >= w ? w - 1 : xi;
        yi = yi < 0 ? 0 : yi >= h ? h - 1 : yi;
        t.cell[i] = yi * w + xi;
        t.weight[i] = inside ? (float)(wx * wy) : 0.0f;
        t.along_x[i] = inside ? (float)((i & 1 ? wy : -wy) * w) : 0.0f;
        t.along_y[i] = inside ? (float)((i >> 1 ? wx : -wx) * h) : 0.0f;
    }
    return t;
}

extern "C" __global__ void deformable_forward(const float* value, const long long* levels, const long long* starts,
                                              const float* locations, const float* weights, long long B, long long Q,
                                              long long S, long long M, long long L, long long K, long long D,
                                              float* out) {
    FOR_EACH(i, B * Q * M * D) {
        long long d = i % D, head = i / D, m = head % M, b = head / (M * Q);
        float total = 0.0f;
        for (long long l = 0; l < L; ++l) {
            for (long long k = 0; k < K; ++k) {
                long long sample = (head * L + l) * K + k;
                Taps t = taps(locations[2 * sample], locations[2 * sample + 1], levels[2 * l], levels[2 * l + 1]);
                for (int j = 0; t.usable && j < 4; ++j) {
                    long long row = (b * S + starts[l] + t.cell[j]) * M + m;
                    total += t.weight[j] * weights[sample] * value[row * D + d];
                }
            }
        }
        out[i] = total;
    }
}

extern "C" __global__ void deformable_backward(const float* grad, const float* value, const long long* levels,
                                               const long long* starts, const float* locations, const float* weights,
                                               long long B, long long Q, long long S, long long M, long long L,
                                               long long K, long long D, float* grad_value, float* grad_locations,
                                               float* grad_weights) {
    FOR_EACH(sample, B * Q * M * L * K) {
        long long l = sample / K % L, head = sample / (K * L), m = head % M, b = head / (M * Q);
        Taps t = taps(locations[2 * sample], locations[2 * sample + 1], levels[2 * l], levels[2 * l + 1]);
        if (!t.usable) continue;
        float weight = weights[sample], by_weight = 0.0f, by_x = 0.0f, by_y = 0.0f;
        for (int j = 0; j < 4; ++j) {
            long long row = (b * S + starts[l] + t.cell[j]) * M + m;
            float product = 0.0f;
            for (long long d = 0; d < D; ++d) {
                float g = grad[head * D + d];
                product += g * value[row * D + d];
                if (t.weight[j] != 0.0f) atomicAdd(&grad_value[row * D + d], t.weight[j] * weight * g);
            }
            by_weight += t.weight[j] * product;
            by_x += t.along_x[j] * product;
            by_y += t.along_y[j] * product;
        }
        grad_weights[sample] = by_weight;
        grad_locations[2 * sample] = weight * by_x;
        grad_locations[2 * sample + 1] = weight * by_y;
    }
}
