// Greedy suppression on one block: boxes in order of score, and a box that is still alive removes all that it meets.
// words[i * W + k]: bits of the worse boxes 64 k .. 64 k + 63 that box i overlaps too much. removed [W] starts at 0.

extern "C" __global__ void suppress(const unsigned long long* words, long long N, long long W,
                                    unsigned long long* removed) {
    for (long long i = 0; i < N; ++i) {
        __syncthreads();
        if (!(removed[i / 64] >> (i % 64) & 1ull))
            for (long long k = i / 64 + threadIdx.x; k < W; k += blockDim.x) removed[k] |= words[i * W + k];
    }
}
