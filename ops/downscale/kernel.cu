// Nearest-to-centre downscaling: a bitmap of occupied coarse cells ranks them; the best fine cell wins an atomic minimum
// of (rank of nearness, row), so the result is the same every time.

extern "C" __global__ void downscale_mark(const long long* coords, long long V, long long ratio, long long nz,
                                          long long ny, long long nx, long long* key, unsigned int* bitmap) {
    // ny, nx: coarse cells
    FOR_EACH(v, V) {
        const long long* c = coords + 4 * v;
        long long k = ((c[0] * nz + c[1]) * ny + c[2] / ratio) * nx + c[3] / ratio;
        key[v] = k;
        atomicOr(&bitmap[k >> 5], 1u << (k & 31));
    }
}

extern "C" __global__ void downscale_count(const unsigned int* bitmap, long long words, int* count) {
    FOR_EACH(w, words) count[w] = __popc(bitmap[w]);
}

// best: rank of nearness << 32 | row, starting from all ones; the caller takes the row from it.
extern "C" __global__ void downscale_choose(const long long* coords, const long long* key, long long V, long long ratio,
                                            const unsigned int* bitmap, const long long* before,
                                            const long long* nearness, unsigned long long* best, long long* cells,
                                            long long* parent) {
    FOR_EACH(v, V) {
        const long long* c = coords + 4 * v;
        long long k = key[v], u = before[k >> 5] + __popc(bitmap[k >> 5] & ((1u << (k & 31)) - 1u));
        parent[v] = u;
        long long rank = nearness[c[2] % ratio * ratio + c[3] % ratio];
        atomicMin(&best[u], ((unsigned long long)rank << 32) | (unsigned long long)v);
        // All cells of a coarse one write the same four numbers.
        cells[4 * u] = c[0];
        cells[4 * u + 1] = c[1];
        cells[4 * u + 2] = c[2] / ratio;
        cells[4 * u + 3] = c[3] / ratio;
    }
}
