// Lift pooling: one thread a cell and channel adds the cell's interval in order; the gradients are gathers.
// depth and cells [N, D, area], context [N, area, C], area = h * w.

extern "C" __global__ void lift_forward(const float* depth, const float* context, const long long* occupied,
                                        const long long* offsets, const long long* place, const long long* pixel,
                                        long long I, long long C, float* out) {
    FOR_EACH(t, I * C) {
        long long i = t / C, c = t % C;
        float total = 0.0f;
        for (long long k = offsets[i]; k < offsets[i + 1]; ++k) total += depth[place[k]] * context[pixel[k] * C + c];
        out[occupied[i] * C + c] = total;
    }
}

extern "C" __global__ void lift_depth(const float* grad, const float* context, const long long* cells, long long N,
                                      long long D, long long area, long long C, float* grad_depth) {
    FOR_EACH(i, N * D * area) {
        if (cells[i] < 0) continue;
        long long pixel = i / (D * area) * area + i % area;
        float product = 0.0f;
        for (long long c = 0; c < C; ++c) product += context[pixel * C + c] * grad[cells[i] * C + c];
        grad_depth[i] = product;
    }
}

extern "C" __global__ void lift_context(const float* grad, const float* depth, const long long* cells, long long N,
                                        long long D, long long area, long long C, float* grad_context) {
    FOR_EACH(t, N * area * C) {
        long long pixel = t / C, c = t % C, first = pixel / area * D * area + pixel % area;
        float total = 0.0f;
        for (long long d = 0; d < D; ++d) {
            long long i = first + d * area;
            if (cells[i] >= 0) total += depth[i] * grad[cells[i] * C + c];
        }
        grad_context[t] = total;
    }
}
