// Sparse convolution: rulebook by bitmap rank, output-stationary products, weight gradient in partial sums.

static __device__ long long cell_of(const long long* coords, long long nz, long long ny, long long nx) {
    return ((coords[0] * nz + coords[1]) * ny + coords[2]) * nx + coords[3];
}

extern "C" __global__ void sparse_mark(const long long* coords, long long V, long long nz, long long ny, long long nx,
                                       unsigned int* bitmap) {
    FOR_EACH(i, V) {
        long long cell = cell_of(coords + 4 * i, nz, ny, nx);
        atomicOr(&bitmap[cell >> 5], 1u << (cell & 31));
    }
}

extern "C" __global__ void sparse_count(const unsigned int* bitmap, long long words, int* count) {
    FOR_EACH(w, words) count[w] = __popc(bitmap[w]);
}

// table[tile][k][row of the tile]: the voxel at offset k from that output, -1 where there is none.
// before: occupied cells before each word. Voxels are sorted by cell, so a cell's rank is its row.
extern "C" __global__ void sparse_rules(const long long* coords_out, long long U, const unsigned int* bitmap,
                                        const int* before, long long nz, long long ny, long long nx, long long kz,
                                        long long ky, long long kx, long long sz, long long sy, long long sx,
                                        long long pz, long long py, long long px, long long tile, long long entries,
                                        int* table) {
    FOR_EACH(e, entries) {
        long long row = e % tile, k = e / tile % (kz * ky * kx), o = e / (tile * kz * ky * kx) * tile + row;
        int found = -1;
        if (o < U) {
            const long long* out = coords_out + 4 * o;
            long long at[4] = {out[0], out[1] * sz - pz + k / (ky * kx), out[2] * sy - py + k / kx % ky,
                               out[3] * sx - px + k % kx};
            if (at[1] >= 0 && at[1] < nz && at[2] >= 0 && at[2] < ny && at[3] >= 0 && at[3] < nx) {
                long long cell = cell_of(at, nz, ny, nx);
                unsigned int bits = bitmap[cell >> 5], mine = 1u << (cell & 31);
                if (bits & mine) found = before[cell >> 5] + __popc(bits & (mine - 1u));
            }
        }
        table[e] = found;
    }
}

// The pair lists as a table [num_out, K]: each thread spreads one group (a tile's pairs of one offset).
extern "C" __global__ void sparse_table(const int* inputs, const int* outputs, const long long* starts,
                                        long long groups, long long K, long long num_out, int* table) {
    FOR_EACH(g, groups) {
        for (long long p = starts[g]; p < starts[g + 1]; ++p)
            if (outputs[p] >= 0 && outputs[p] < num_out) table[outputs[p] * K + g % K] = inputs[p];
    }
}

// One thread an output row and channel: neighbouring threads share the row's inputs and read weights side by side.
extern "C" __global__ void sparse_conv(const float* x, long long V, const float* weight, const int* table,
                                       long long num_out, long long K, long long C, long long D, float* y) {
    FOR_EACH(e, num_out * D) {
        long long o = e / D, d = e % D;
        float sum = 0.0f;
        for (long long k = 0; k < K; ++k) {
            long long i = table[o * K + k];
            if (i < 0 || i >= V) continue;
            const float* row = x + i * C;
            const float* column = weight + k * C * D + d;
            for (long long c = 0; c < C; ++c) sum += row[c] * column[c * D];
        }
        y[e] = sum;
    }
}

// parts[chunk][k][c][d]: the sum over `tiles_each` tiles of pairs.
extern "C" __global__ void sparse_weight(const float* x, const float* grad, const int* inputs, const int* outputs,
                                         const long long* starts, long long V, long long U, long long tiles,
                                         long long tiles_each, long long K, long long C, long long D,
                                         long long entries, float* parts) {
    FOR_EACH(e, entries) {
        long long d = e % D, c = e / D % C, k = e / (D * C) % K, first = e / (D * C * K) * tiles_each;
        long long last = first + tiles_each < tiles ? first + tiles_each : tiles;
        float sum = 0.0f;
        for (long long t = first; t < last; ++t)
            for (long long p = starts[t * K + k]; p < starts[t * K + k + 1]; ++p) {
                long long i = inputs[p], o = outputs[p];
                if (i >= 0 && i < V && o >= 0 && o < U) sum += x[i * C + c] * grad[o * D + d];
            }
        parts[e] = sum;
    }
}
