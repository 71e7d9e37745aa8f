// Windows of sparse cells: each counts itself into its window, then a thread a window lists its cells from a dense map
// of the frame, row by row, so the order needs no sort and is the same every time.

extern "C" __global__ void window_count(const long long* coords, long long V, long long nz, long long ny, long long nx,
                                        long long window, long long shift, long long high, long long wide,
                                        int* count, int* row_at) {
    FOR_EACH(v, V) {
        long long b = coords[4 * v], z = coords[4 * v + 1], y = coords[4 * v + 2], x = coords[4 * v + 3];
        atomicAdd(&count[(b * high + (y + shift) / window) * wide + (x + shift) / window], 1);
        row_at[((b * ny + y) * nx + x) * nz + z] = (int)v;
    }
}

// before: cells before each window.
extern "C" __global__ void window_list(const int* row_at, const long long* before, long long windows, long long nz,
                                       long long ny, long long nx, long long window, long long shift, long long high,
                                       long long wide, long long* order, long long* inverse, long long* position) {
    FOR_EACH(w, windows) {
        long long place = before[w];
        if (before[w + 1] == place) continue;
        long long b = w / (high * wide), y0 = w / wide % high * window - shift, x0 = w % wide * window - shift;
        for (long long j = 0; j < window; ++j)
            for (long long i = 0; i < window; ++i) {
                long long y = y0 + j, x = x0 + i;
                if (y < 0 || y >= ny || x < 0 || x >= nx) continue;
                for (long long z = 0; z < nz; ++z) {
                    long long v = row_at[((b * ny + y) * nx + x) * nz + z];
                    if (v < 0) continue;
                    order[place] = v;
                    inverse[v] = place;
                    position[place++] = j * window + i;
                }
            }
    }
}
