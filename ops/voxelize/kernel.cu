// Grouping points by voxel: a bitmap of occupied cells, and each point's rank among them.
// REAL is float or double, the type of the points.

extern "C" __global__ void voxelize_cells(const REAL* points, const long long* point_batch, long long P,
                                          long long columns, const REAL* bounds, long long nz, long long ny,
                                          long long nx, long long* cell, unsigned int* bitmap) {
    // bounds: x0 y0 z0 x1 y1 z1 dx dy dz
    FOR_EACH(p, P) {
        const REAL* point = points + p * columns;
        bool inside = true;
        for (int a = 0; a < 3; ++a) inside = inside && point[a] >= bounds[a] && point[a] < bounds[3 + a];
        long long c = -1;
        if (inside) {
            // A point just below the upper bound may round up to the cell beyond: it belongs to the last cell.
            long long ix = (long long)((point[0] - bounds[0]) / bounds[6]);
            long long iy = (long long)((point[1] - bounds[1]) / bounds[7]);
            long long iz = (long long)((point[2] - bounds[2]) / bounds[8]);
            ix = ix < nx ? ix : nx - 1;
            iy = iy < ny ? iy : ny - 1;
            iz = iz < nz ? iz : nz - 1;
            c = ((point_batch[p] * nz + iz) * ny + iy) * nx + ix;
            atomicOr(&bitmap[c >> 5], 1u << (c & 31));
        }
        cell[p] = c;
    }
}

extern "C" __global__ void voxelize_count(const unsigned int* bitmap, long long words, int* count) {
    FOR_EACH(w, words) count[w] = __popc(bitmap[w]);
}

// before: occupied cells before each word, and the total at the end. Points out of range get rank V, the last.
extern "C" __global__ void voxelize_rank(const long long* cell, long long P, const unsigned int* bitmap,
                                         const long long* before, long long V, long long nz, long long ny,
                                         long long nx, int* rank, long long* coords) {
    FOR_EACH(p, P) {
        long long c = cell[p], r = V;
        if (c >= 0) {
            r = before[c >> 5] + __popc(bitmap[c >> 5] & ((1u << (c & 31)) - 1u));
            // All points of a voxel write the same four numbers.
            coords[4 * r + 3] = c % nx;
            coords[4 * r + 2] = c / nx % ny;
            coords[4 * r + 1] = c / (nx * ny) % nz;
            coords[4 * r] = c / (nx * ny * nz);
        }
        rank[p] = (int)r;
    }
}
