// Which box holds which point: one thread a point, over all boxes, in double. REAL: the points' float or double.
// turn: cosine and sine of each box's yaw; usable: the box has finite numbers.

extern "C" __global__ void points_in_boxes(const REAL* points, const long long* point_batch, long long P,
                                           long long columns, const double* boxes, const long long* box_batch,
                                           const double* turn, const unsigned char* usable, long long N,
                                           long long* first, unsigned long long* counts) {
    FOR_EACH(p, P) {
        const REAL* point = points + p * columns;
        long long found = -1;
        for (long long n = 0; n < N; ++n) {
            const double* box = boxes + n * 7;
            if (!usable[n] || point_batch[p] != box_batch[n]) continue;
            double dx = point[0] - box[0], dy = point[1] - box[1], dz = point[2] - box[2];
            double ahead = turn[2 * n] * dx + turn[2 * n + 1] * dy, aside = turn[2 * n] * dy - turn[2 * n + 1] * dx;
            if (fabs(ahead) <= box[3] / 2 && fabs(aside) <= box[4] / 2 && fabs(dz) <= box[5] / 2) {
                if (found < 0) found = n;
                atomicAdd(&counts[n], 1ull);
            }
        }
        first[p] = found;
    }
}
