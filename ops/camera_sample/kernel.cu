// Projection in double precision, one thread a point; sampling, one thread a row and channel (channels are adjacent, so
// a warp reads whole lines). Table columns: see cameras.py.

struct Seen {
    double u, v, depth, margin;
    bool visible;
};

__device__ __forceinline__ double smaller(double a, double b) { return a < b ? a : b; }

__device__ Seen look(const double* p, const double* m, double near) {
    Seen s;
    s.depth = m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
    double x = (m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3]) / s.depth;
    double y = (m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7]) / s.depth;
    const double* k = m + 12;
    double k1 = m[18], k2 = m[19], p1 = m[20], p2 = m[21], k3 = m[22];
    double r2 = x * x + y * y, radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3));
    double a = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x);
    double b = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y;
    s.u = (k[0] * a + k[1] * b + k[2] + 0.5) / m[24];
    s.v = (k[3] * a + k[4] * b + k[5] + 0.5) / m[25];
    s.visible = s.depth > near && r2 < m[23] && s.u >= 0 && s.u < 1 && s.v >= 0 && s.v < 1;
    s.margin = smaller(smaller(s.u, 1 - s.u) * m[24], smaller(s.v, 1 - s.v) * m[25]);
    return s;
}

extern "C" __global__ void count_pairs(const double* points, const long long* batch, const double* table,
                                       const long long* first, const double* near, long long P, long long best,
                                       long long* counts) {
    FOR_EACH(p, P) {
        long long total = 0;
        for (long long n = first[batch[p]]; n < first[batch[p] + 1]; ++n)
            total += look(points + 3 * p, table + 26 * n, *near).visible;
        counts[p] = best && total > 1 ? 1 : total;
    }
}

extern "C" __global__ void list_pairs(const double* points, const long long* batch, const double* table,
                                      const long long* first, const double* near, long long P, long long best,
                                      const long long* offsets, long long* point, long long* camera, float* place,
                                      float* depth) {
    FOR_EACH(p, P) {
        long long e = offsets[p];
        double margin = -1;
        for (long long n = first[batch[p]]; n < first[batch[p] + 1]; ++n) {
            Seen s = look(points + 3 * p, table + 26 * n, *near);
            if (!s.visible || (best && !(s.margin > margin))) continue;
            margin = s.margin;
            point[e] = p;
            camera[e] = n;
            place[2 * e] = (float)s.u;
            place[2 * e + 1] = (float)s.v;
            depth[e] = (float)s.depth;
            if (!best) ++e;
        }
    }
}

struct Taps {
    long long cell[4];
    float weight[4];
    bool usable;
};

// A cell outside the map is replaced by its neighbour inside, with weight 0.
__device__ Taps taps(double x, double y, long long h, long long w, double share) {
    Taps t;
    x = x * w - 0.5;
    y = y * h - 0.5;
    t.usable = x > -1 && x < w && y > -1 && y < h;
    x = t.usable ? x : 0.0;
    y = t.usable ? y : 0.0;
    long long x0 = (long long)floor(x), y0 = (long long)floor(y);
    for (int i = 0; i < 4; ++i) {
        long long xi = x0 + (i & 1), yi = y0 + (i >> 1);
        double wx = i & 1 ? x - x0 : 1 - (x - x0), wy = i >> 1 ? y - y0 : 1 - (y - y0);
        bool inside = xi >= 0 && xi < w && yi >= 0 && yi < h;
        xi = xi < 0 ? 0 : xi >= w ? w - 1 : xi;
        yi = yi < 0 ? 0 : yi >= h ? h - 1 : yi;
        t.cell[i] = yi * w + xi;
        t.weight[i] = inside ? (float)(wx * wy * share) : 0.0f;
    }
    return t;
}

extern "C" __global__ void sample(const float* features, const long long* camera, const float* place,
                                  const long long* offsets, long long R, long long C, long long h, long long w,
                                  long long mean, float* out) {
    FOR_EACH(i, R * C) {
        long long r = i / C, c = i % C, first = offsets[r], last = offsets[r + 1];
        double share = mean && last > first ? 1.0 / (double)(last - first) : 1.0;
        float total = 0.0f;
        for (long long e = first; e < last; ++e) {
            Taps t = taps(place[2 * e], place[2 * e + 1], h, w, share);
            for (int k = 0; t.usable && k < 4; ++k)
                total += t.weight[k] * features[(camera[e] * h * w + t.cell[k]) * C + c];
        }
        out[i] = total;
    }
}

extern "C" __global__ void spread(const float* grad, const long long* row, const long long* camera, const float* place,
                                  const long long* offsets, long long E, long long C, long long h, long long w,
                                  long long mean, float* out) {
    FOR_EACH(i, E * C) {
        long long e = i / C, c = i % C, r = row[e];
        double share = mean ? 1.0 / (double)(offsets[r + 1] - offsets[r]) : 1.0;
        Taps t = taps(place[2 * e], place[2 * e + 1], h, w, share);
        for (int k = 0; k < 4; ++k)
            if (t.weight[k] != 0.0f)
                atomicAdd(&out[(camera[e] * h * w + t.cell[k]) * C + c], t.weight[k] * grad[r * C + c]);
    }
}
