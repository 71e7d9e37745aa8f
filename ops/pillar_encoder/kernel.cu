// Linear layer, ReLU and maximum over a pillar's points. One thread a pillar and channel: neighbouring threads share
// the point (broadcast) and read neighbouring weights; the points' channels are never written.

extern "C" __global__ void pillar_max(const float* features, const long long* offsets, const float* weight,
                                      const float* bias, long long own_bias, long long V, long long K, long long C,
                                      float* out, int* where) {
    FOR_EACH(i, V * C) {
        long long v = i / C, c = i % C;
        float b = bias[own_bias ? i : c], best = 0.0f;
        int at = -1;
        for (long long p = offsets[v]; p < offsets[v + 1]; ++p) {
            float a = b;
            for (long long k = 0; k < K; ++k) a += features[p * K + k] * weight[k * C + c];
            // A NaN wins and the first one stays.
            if (a > best || (a != a && best == best)) {
                best = a;
                at = (int)p;
            }
        }
        out[i] = best;
        where[i] = at;
    }
}
