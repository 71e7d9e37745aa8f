// Voxel diffusion on dense maps of the grid, and the maximum over gathered rows.

extern "C" __global__ void dilate_mark(const long long* coords, const unsigned char* keep, long long V,
                                       long long reach, long long ny, long long nx, int* row_at, int* found) {
    FOR_EACH(v, V) {
        long long b = coords[4 * v], y = coords[4 * v + 2], x = coords[4 * v + 3];
        row_at[(b * ny + y) * nx + x] = (int)v;
        if (!keep[v]) continue;
        for (long long yy = y - reach < 0 ? 0 : y - reach; yy <= y + reach && yy < ny; ++yy)
            for (long long xx = x - reach < 0 ? 0 : x - reach; xx <= x + reach && xx < nx; ++xx)
                atomicAdd(&found[(b * ny + yy) * nx + xx], 1);
    }
}

extern "C" __global__ void dilate_neighbours(const long long* cells, const unsigned char* keep, long long D,
                                             long long reach, long long ny, long long nx, const int* row_at,
                                             const long long* offsets, long long* neighbours) {
    FOR_EACH(d, D) {
        long long b = cells[4 * d], y = cells[4 * d + 2], x = cells[4 * d + 3], place = offsets[d];
        for (long long yy = y - reach < 0 ? 0 : y - reach; yy <= y + reach && yy < ny; ++yy)
            for (long long xx = x - reach < 0 ? 0 : x - reach; xx <= x + reach && xx < nx; ++xx) {
                int v = row_at[(b * ny + yy) * nx + xx];
                if (v >= 0 && keep[v]) neighbours[place++] = v;
            }
    }
}

extern "C" __global__ void gather_max(const float* values, const long long* index, const long long* offsets,
                                      long long D, long long C, float* out, long long* rows) {
    FOR_EACH(i, D * C) {
        long long d = i / C, c = i % C, where = -1;
        float best = 0.0f;
        for (long long e = offsets[d]; e < offsets[d + 1]; ++e) {
            float x = values[index[e] * C + c];
            // A NaN wins and the first one stays.
            if (where < 0 || x > best || (x != x && best == best)) {
                best = x;
                where = index[e];
            }
        }
        out[i] = best;
        rows[i] = where;
    }
}
