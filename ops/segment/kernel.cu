// Reductions over consecutive rows. One thread a segment and channel: neighbouring threads read neighbouring channels,
// rows add in order, so the result has the same bits every time.

extern "C" __global__ void segment_sum(const float* values, const long long* offsets, long long V, long long C,
                                       long long mean, float* out) {
    FOR_EACH(i, V * C) {
        long long v = i / C, c = i % C, first = offsets[v], last = offsets[v + 1];
        float total = 0.0f;
        for (long long p = first; p < last; ++p) total += values[p * C + c];
        out[i] = mean && last > first ? total / (float)(last - first) : total;
    }
}

extern "C" __global__ void segment_max(const float* values, const long long* offsets, long long V, long long C,
                                       float* out, long long* argmax) {
    FOR_EACH(i, V * C) {
        long long v = i / C, c = i % C, where = -1;
        float best = 0.0f;
        for (long long p = offsets[v]; p < offsets[v + 1]; ++p) {
            float x = values[p * C + c];
            // A NaN wins and the first one stays.
            if (where < 0 || x > best || (x != x && best == best)) {
                best = x;
                where = p;
            }
        }
        out[i] = best;
        argmax[i] = where;
    }
}

extern "C" __global__ void segment_spread(const float* grad, const long long* offsets, const long long* argmax,
                                          long long V, long long C, long long mean, long long maximum, float* out) {
    FOR_EACH(i, V * C) {
        long long v = i / C, c = i % C, first = offsets[v], last = offsets[v + 1];
        float g = mean ? grad[i] / (float)(last - first) : grad[i];
        long long chosen = maximum ? argmax[i] : -1;
        for (long long p = first; p < last; ++p) out[p * C + c] = maximum && p != chosen ? 0.0f : g;
    }
}
