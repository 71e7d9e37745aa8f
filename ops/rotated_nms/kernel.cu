// Greedy suppression on one block: boxes in order of score, and a box that is still alive removes all that it meets.
// meets[i * N + j]: box i overlaps box j of its group by more than the threshold. alive starts at 1.

extern "C" __global__ void suppress(const unsigned char* meets, long long N, unsigned char* alive) {
    for (long long i = 0; i < N; ++i) {
        if (alive[i])
            for (long long j = i + 1 + threadIdx.x; j < N; j += blockDim.x)
                if (meets[i * N + j]) alive[j] = 0;
        __syncthreads();
    }
}
