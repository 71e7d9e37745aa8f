// Targets around the centres of boxes. row_at: the row of every cell of the batch, -1 where it is empty.
// frame: x0 y0 dx dy, on the device.

#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __int_as_float(0x7f800000)
#endif

__device__ __forceinline__ int centre_cell(float place, float low, float size, long long limit, long long* cell) {
    float at = floorf((place - low) / size);
    if (!(at >= -1e9f && at <= 1e9f)) return 0;  // not finite, or beyond any grid
    *cell = (long long)at;
    return limit > 0;
}

// Row of cell s of the square of (2 reach + 1)^2 cells around box n, -1 where there is none, and its offset from the centre.
__device__ __forceinline__ int cell_around(const float* box, long long batch, long long s, long long reach,
                                           const float* frame, long long ny, long long nx, const int* row_at,
                                           float* off_x, float* off_y) {
    long long x, y, wide = 2 * reach + 1;
    if (!centre_cell(box[0], frame[0], frame[2], nx, &x) || !centre_cell(box[1], frame[1], frame[3], ny, &y)) return -1;
    x += s % wide - reach;
    y += s / wide - reach;
    if (x < 0 || x >= nx || y < 0 || y >= ny) return -1;
    *off_x = ((float)x + 0.5f) * frame[2] + frame[0] - box[0];
    *off_y = ((float)y + 0.5f) * frame[3] + frame[1] - box[1];
    return row_at[(batch * ny + y) * nx + x];
}

extern "C" __global__ void centre_nearest(const float* boxes, const long long* batch, long long N, long long columns,
                                          long long reach, const float* frame, long long ny, long long nx,
                                          const int* row_at, float* nearest) {
    FOR_EACH(n, N) {
        float best = INFINITY, x, y;
        for (long long s = 0; s < (2 * reach + 1) * (2 * reach + 1); ++s)
            if (cell_around(boxes + n * columns, batch[n], s, reach, frame, ny, nx, row_at, &x, &y) >= 0)
                best = fminf(best, hypotf(x, y));
        nearest[n] = best;
    }
}

// rows, values [N, S]: -1 and 0 where a cell holds no heat of the box.
extern "C" __global__ void centre_heat(const float* boxes, const long long* batch, const long long* labels,
                                       const float* scales, long long N, long long columns, long long K, long long reach,
                                       const float* frame, long long ny, long long nx, const int* row_at,
                                       const float* nearest, float* heat, long long* rows, float* values) {
    long long S = (2 * reach + 1) * (2 * reach + 1);
    FOR_EACH(i, N * S) {
        long long n = i / S;
        float x, y, value = 0.0f;
        int row = cell_around(boxes + n * columns, batch[n], i % S, reach, frame, ny, nx, row_at, &x, &y);
        if (row >= 0) {
            value = expf(-(hypotf(x, y) - nearest[n]) / scales[labels[n]]);
            // Bits of numbers that are not negative compare as the numbers do.
            if (value > 0.01f)
                atomicMax((int*)heat + row * K + labels[n], *(int*)&value);
            else
                row = -1;
        }
        rows[i] = row;
        values[i] = row >= 0 ? value : 0.0f;
    }
}

extern "C" __global__ void centre_foreground(const float* boxes, const long long* batch, const long long* labels,
                                             long long N, long long columns, long long K, long long reach,
                                             const float* frame, long long ny, long long nx, const int* row_at,
                                             unsigned char* target) {
    long long S = (2 * reach + 1) * (2 * reach + 1);
    FOR_EACH(i, N * S) {
        long long n = i / S;
        const float* box = boxes + n * columns;
        float x, y;
        int row = cell_around(box, batch[n], i % S, reach, frame, ny, nx, row_at, &x, &y);
        if (row < 0 || !(fabsf(box[3]) < INFINITY && fabsf(box[4]) < INFINITY && fabsf(box[6]) < INFINITY)) continue;
        float cs = cosf(box[6]), sn = sinf(box[6]), c = fabsf(cs), s = fabsf(sn);
        float l = box[3] / 2, w = box[4] / 2, half_x = frame[2] / 2, half_y = frame[3] / 2;
        if (fabsf(x) <= half_x + l * c + w * s && fabsf(y) <= half_y + l * s + w * c &&
            fabsf(x * cs + y * sn) <= l + half_x * c + half_y * s &&
            fabsf(y * cs - x * sn) <= w + half_x * s + half_y * c)
            target[row * K + labels[n]] = 1;
    }
}

// frame64: x0 y0 dx dy overlap.
extern "C" __global__ void centre_gaussian(const float* boxes, const long long* batch, const long long* labels,
                                           long long N, long long columns, long long K, const double* frame64,
                                           long long ny, long long nx, long long least_radius, float* heat) {
    FOR_EACH(n, N) {
        const float* box = boxes + n * columns;
        double at_x = (box[0] - frame64[0]) / frame64[2], at_y = (box[1] - frame64[1]) / frame64[3];
        double l = box[3] / frame64[2], w = box[4] / frame64[3], overlap = frame64[4], total = l + w;
        if (!(l > 0 && w > 0 && l < INFINITY && w < INFINITY)) continue;
        if (!(at_x >= 0 && at_x < nx && at_y >= 0 && at_y < ny)) continue;
        double first = (total + sqrt(total * total - 4 * l * w * (1 - overlap) / (1 + overlap))) / 2;
        double second = (2 * total + sqrt(4 * total * total - 16 * (1 - overlap) * l * w)) / 2;
        double b = -2 * overlap * total, third = (b + sqrt(b * b - 16 * overlap * (overlap - 1) * l * w)) / 2;
        double shortest = first < second ? first : second;
        shortest = shortest < third ? shortest : third;
        long long radius = (long long)(shortest < 1e6 ? shortest : 1e6), i = (long long)at_x, j = (long long)at_y;
        radius = radius > least_radius ? radius : least_radius;
        double sigma = (2 * radius + 1) / 6.0;
        int* plane = (int*)heat + (batch[n] * K + labels[n]) * ny * nx;
        for (long long y = j - radius < 0 ? 0 : j - radius; y <= j + radius && y < ny; ++y)
            for (long long x = i - radius < 0 ? 0 : i - radius; x <= i + radius && x < nx; ++x) {
                float value = (float)exp(-(double)((x - i) * (x - i) + (y - j) * (y - j)) / (2 * sigma * sigma));
                atomicMax(&plane[y * nx + x], *(int*)&value);
            }
    }
}
