// Points in polygons and nearest points on polylines in double: one thread a group or a point, over the whole map.

extern "C" __global__ void corners_inside(const double* points, long long N, long long C, const double* vertices,
                                          const long long* rings, const long long* polygons, long long G,
                                          long long* any_of, long long* all_of, long long* touched) {
    FOR_EACH(n, N) {
        long long any = 0, all = -1, count = 0;
        for (long long g = 0; g < G; ++g) {
            long long held = 0;
            for (long long c = 0; c < C; ++c) {
                double x = points[(n * C + c) * 2], y = points[(n * C + c) * 2 + 1];
                if (!(fabs(x) <= 1e9 && fabs(y) <= 1e9)) continue;
                bool odd = false;
                for (long long r = polygons[g]; r < polygons[g + 1]; ++r)
                    for (long long k = rings[r]; k < rings[r + 1]; ++k) {
                        long long next = k + 1 < rings[r + 1] ? k + 1 : rings[r];
                        double x0 = vertices[2 * k], y0 = vertices[2 * k + 1];
                        double x1 = vertices[2 * next], y1 = vertices[2 * next + 1];
                        if ((y0 > y) == (y1 > y)) continue;
                        double side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0);
                        odd ^= (side > 0) == (y1 > y0);
                    }
                if (!odd) continue;
                any |= 1ll << c;
                ++held;
            }
            count += held > 0;
            if (held == C && all < 0) all = g;
        }
        any_of[n] = any;
        all_of[n] = all;
        touched[n] = count;
    }
}

// first [S]: the vertex at which each segment starts.
extern "C" __global__ void nearest(const double* points, long long N, const double* vertices, const long long* first,
                                   long long S, long long* segment, double* share) {
    FOR_EACH(n, N) {
        double x = points[2 * n], y = points[2 * n + 1], best = 1e300;
        segment[n] = -1;
        share[n] = 0.0;
        if (!(fabs(x) <= 1e9 && fabs(y) <= 1e9)) continue;
        for (long long s = 0; s < S; ++s) {
            const double* v = vertices + 2 * first[s];
            double dx = v[2] - v[0], dy = v[3] - v[1], ox = x - v[0], oy = y - v[1];
            double length = dx * dx + dy * dy;
            double at = length > 0 ? fmin(fmax((ox * dx + oy * dy) / length, 0.0), 1.0) : 0.0;
            double ex = ox - at * dx, ey = oy - at * dy, distance = ex * ex + ey * ey;
            if (distance < best) {
                best = distance;
                segment[n] = s;
                share[n] = at;
            }
        }
    }
}
