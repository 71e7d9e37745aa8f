// Overlap of rotated rectangles in double, B moved into the frame of A. All pairs: one integral without
// branches. Pairs with a gradient: B is clipped by A's four sides, and every corner carries the side that starts there: 0..3 B's front, left,
// back, right, 4..7 those of A.

struct Corner {
    double x, y;
    int side;
};

struct Rectangle {
    double x, y, length, width, yaw;
};

// One copy of the long code of sine and cosine in double, not six.
__device__ __noinline__ void direction(double angle, double* cosine, double* sine) {
    *cosine = cos(angle);
    *sine = sin(angle);
}

__device__ __noinline__ int clip(const Corner* now, int count, int plane, double half, Corner* then) {
    double sign = plane < 2 ? 1.0 : -1.0;
    int kept = 0;
    for (int i = 0; i < count; ++i) {
        const Corner &p = now[i], &q = now[i + 1 < count ? i + 1 : 0];
        double here = half - sign * (plane % 2 ? p.y : p.x), there = half - sign * (plane % 2 ? q.y : q.x);
        if (here >= 0) then[kept++] = p;
        if ((here >= 0) != (there >= 0)) {
            double t = here / (here - there);
            then[kept++] = {p.x + t * (q.x - p.x), p.y + t * (q.y - p.y), here >= 0 ? plane + 4 : p.side};
        }
    }
    return kept;
}

// The common part's corners go to `polygon` [9], in the frame of A; returns their number.
__device__ __noinline__ int common_part(Rectangle a, Rectangle b, Corner* polygon) {
    double ca, sa, c, s;
    direction(a.yaw, &ca, &sa);
    direction(b.yaw - a.yaw, &c, &s);
    double cx = ca * (b.x - a.x) + sa * (b.y - a.y), cy = ca * (b.y - a.y) - sa * (b.x - a.x);
    double lx = c * b.length / 2, ly = s * b.length / 2, wx = -s * b.width / 2, wy = c * b.width / 2;
    Corner other[9];
    polygon[0] = {cx + lx - wx, cy + ly - wy, 0};
    polygon[1] = {cx + lx + wx, cy + ly + wy, 1};
    polygon[2] = {cx - lx + wx, cy - ly + wy, 2};
    polygon[3] = {cx - lx - wx, cy - ly - wy, 3};
    int count = clip(polygon, 4, 0, a.length / 2, other);
    count = clip(other, count, 1, a.width / 2, polygon);
    count = clip(polygon, count, 2, a.length / 2, other);
    return clip(other, count, 3, a.width / 2, polygon);
}

__device__ double area_of(const Corner* polygon, int count) {
    double area = 0.0;
    for (int i = 0; i < count; ++i) {
        const Corner &p = polygon[i], &q = polygon[i + 1 < count ? i + 1 : 0];
        area += p.x * q.y - p.y * q.x;
    }
    return area > 0 ? area / 2 : 0.0;
}

// A box with a number beyond 1e9, or with none, or without a size overlaps nothing.
__device__ bool usable(Rectangle r) {
    return fabs(r.x) <= 1e9 && fabs(r.y) <= 1e9 && fabs(r.yaw) <= 1e9 && r.length <= 1e9 && r.width <= 1e9 &&
           r.length > 0 && r.width > 0;
}

__device__ bool can_meet(Rectangle a, Rectangle b) {
    double reach = (sqrt(a.length * a.length + a.width * a.width) + sqrt(b.length * b.length + b.width * b.width)) / 2;
    double dx = a.x - b.x, dy = a.y - b.y;
    return usable(a) && usable(b) && dx * dx + dy * dy <= reach * reach;
}

// The side from (x0, y0) to (x0 + dx, y0 + dy): integral over |x| <= half_l of its height clamped to +-half_w.
__device__ __forceinline__ double under(double x0, double y0, double dx, double dy, double inverse_x, double inverse_y,
                                        double half_l, double half_w) {
    double t = (-half_l - x0) * inverse_x, u = (half_l - x0) * inverse_x;
    double low = fmax(fmin(t, u), 0.0), high = fmax(low, fmin(fmax(t, u), 1.0));
    double a = fmin(fmax(y0 + low * dy, -half_w), half_w), b = fmin(fmax(y0 + high * dy, -half_w), half_w);
    t = (-half_w - y0) * inverse_y, u = (half_w - y0) * inverse_y;
    double enter = fmin(fmax(fmin(t, u), low), high), leave = fmin(fmax(fmax(t, u), low), high);
    return dx * ((enter - low) * a + (leave - enter) * (a + b) * 0.5 + (high - leave) * b);
}

// Rows x y cos sin half_length half_width bottom top size; reach is half the diagonal, or -1 for a box that overlaps
// nothing.
__device__ __forceinline__ double row_iou(const double* p, double reach_p, const double* q, double reach_q,
                                          long long three_d) {
    double gx = q[0] - p[0], gy = q[1] - p[1], far = reach_p + reach_q;
    double height = three_d ? fmin(p[7], q[7]) - fmax(p[6], q[6]) : 1.0;
    if (!(reach_p >= 0 && reach_q >= 0 && height > 0 && gx * gx + gy * gy <= far * far)) return 0.0;
    double x = p[2] * gx + p[3] * gy, y = p[2] * gy - p[3] * gx;
    double c = p[2] * q[2] + p[3] * q[3], s = p[2] * q[3] - p[3] * q[2];
    double lx = c * q[4], ly = s * q[4], wx = -s * q[5], wy = c * q[5];
    // Apart along one of the four axes: exactly 0, where the sum below would leave a rounding of either sign.
    if (fabs(x) >= p[4] + fabs(lx) + fabs(wx) || fabs(y) >= p[5] + fabs(ly) + fabs(wy) ||
        fabs(x * c + y * s) >= q[4] + p[4] * fabs(c) + p[5] * fabs(s) ||
        fabs(y * c - x * s) >= q[5] + p[4] * fabs(s) + p[5] * fabs(c))
        return 0.0;
    // A side shorter than 1e-30 along an axis adds nothing: no division by it.
    double ilx = fabs(lx) > 1e-30 ? -0.5 / lx : 0.0, ily = fabs(ly) > 1e-30 ? -0.5 / ly : 0.0;
    double iwx = fabs(wx) > 1e-30 ? 0.5 / wx : 0.0, iwy = fabs(wy) > 1e-30 ? 0.5 / wy : 0.0;
    double area = -under(x + lx - wx, y + ly - wy, 2 * wx, 2 * wy, iwx, iwy, p[4], p[5]);
    area -= under(x + lx + wx, y + ly + wy, -2 * lx, -2 * ly, ilx, ily, p[4], p[5]);
    area -= under(x - lx + wx, y - ly + wy, -2 * wx, -2 * wy, -iwx, -iwy, p[4], p[5]);
    area -= under(x - lx - wx, y - ly - wy, 2 * lx, 2 * ly, -ilx, -ily, p[4], p[5]);
    double part = fmin(fmax(area, 0.0) * height, fmin(p[8], q[8]));
    return part / (p[8] + q[8] - part);
}

// a [N, 9], b [M, 9] rows and their reaches.
extern "C" __global__ void iou_matrix(const double* a, const double* reach_a, long long N, const double* b,
                                      const double* reach_b, long long M, long long three_d, double* out) {
    FOR_EACH(n, N * M) {
        long long i = n / M, j = n % M;
        out[n] = row_iou(a + i * 9, reach_a[i], b + j * 9, reach_b[j], three_d);
    }
}

// Boxes in order of score: bit j % 64 of words[i * W + j / 64] says that box i (better) overlaps box j of its group by
// more than the group's threshold. W = (N + 63) / 64.
extern "C" __global__ void suppression_words(const double* rows, const double* reach, const long long* group,
                                             const double* limit, long long N, long long W, unsigned long long* words) {
    FOR_EACH(n, N * W) {
        long long i = n / W, first = n % W * 64, last = first + 64 < N ? first + 64 : N;
        unsigned long long word = 0;
        for (long long j = first > i ? first : i + 1; j < last; ++j)
            if (group[i] == group[j] && row_iou(rows + i * 9, reach[i], rows + j * 9, reach[j], 0) > limit[i])
                word |= 1ull << (j - first);
        words[n] = word;
    }
}

// Rectangles are rows of 5: x y length width yaw. A side that moves outward by d adds d times its length to the area.
extern "C" __global__ void paired_overlap(const double* a, const double* b, long long N, double* area, double* grad_a,
                                          double* grad_b) {
    FOR_EACH(n, N) {
        const double *p = a + n * 5, *q = b + n * 5;
        Rectangle r = {p[0], p[1], p[2], p[3], p[4]}, t = {q[0], q[1], q[2], q[3], q[4]};
        double to_a[5] = {0, 0, 0, 0, 0}, to_b[5] = {0, 0, 0, 0, 0}, total = 0.0;
        if (can_meet(r, t)) {
            Corner polygon[9];
            int count = common_part(r, t, polygon);
            total = area_of(polygon, count);
            if (total == 0) count = 0;  // no gradient where nothing is common
            double ca, sa, cb, sb;
            direction(r.yaw, &ca, &sa);
            direction(t.yaw, &cb, &sb);
            for (int i = 0; i < count; ++i) {
                const Corner &u = polygon[i], &v = polygon[i + 1 < count ? i + 1 : 0];
                double length = sqrt((v.x - u.x) * (v.x - u.x) + (v.y - u.y) * (v.y - u.y));
                double x = (u.x + v.x) / 2, y = (u.y + v.y) / 2, mx = ca * x - sa * y, my = sa * x + ca * y;
                bool of_a = u.side >= 4;
                if (!of_a) {
                    mx += r.x - t.x;
                    my += r.y - t.y;
                }
                double* grad = of_a ? to_a : to_b;
                double c = of_a ? ca : cb, s = of_a ? sa : sb, sign = u.side % 4 < 2 ? 1.0 : -1.0;
                double nx = sign * (u.side % 2 ? -s : c), ny = sign * (u.side % 2 ? c : s);
                grad[0] += length * nx;
                grad[1] += length * ny;
                grad[2 + u.side % 2] += length / 2;
                grad[4] += length * (mx * ny - my * nx);
            }
        }
        area[n] = total;
        for (int d = 0; d < 5; ++d) {
            grad_a[n * 5 + d] = to_a[d];
            grad_b[n * 5 + d] = to_b[d];
        }
    }
}

// Rows of `a` and `b` pair by pair: GIoU in 3D with the convex hull of the two rectangles times the joint height.
extern "C" __global__ void convex_giou(const double* a, const double* reach_a, const double* b, const double* reach_b,
                                       long long N, double* out) {
    FOR_EACH(n, N) {
        const double *p = a + n * 9, *q = b + n * 9;
        out[n] = -1.0;
        if (reach_a[n] < 0 || reach_b[n] < 0) continue;
        double iou = row_iou(p, reach_a[n], q, reach_b[n], 1), x[8], y[8], hull = 0.0;
        double gx = q[0] - p[0], gy = q[1] - p[1];
        double cx = p[2] * gx + p[3] * gy, cy = p[2] * gy - p[3] * gx;
        double c = p[2] * q[2] + p[3] * q[3], s = p[2] * q[3] - p[3] * q[2];
        for (int k = 0; k < 4; ++k) {
            double u = k < 2 ? 1.0 : -1.0, v = k == 1 || k == 2 ? 1.0 : -1.0;
            x[k] = u * p[4], y[k] = v * p[5];
            x[4 + k] = cx + u * q[4] * c - v * q[5] * s, y[4 + k] = cy + u * q[4] * s + v * q[5] * c;
        }
        int start = 0;
        for (int k = 1; k < 8; ++k)
            if (x[k] < x[start] || (x[k] == x[start] && y[k] < y[start])) start = k;
        int here = start;
        for (int step = 0; step < 8; ++step) {
            int next = here == 0 ? 1 : 0;
            for (int k = 0; k < 8; ++k) {
                double ax = x[next] - x[here], ay = y[next] - y[here], bx = x[k] - x[here], by = y[k] - y[here];
                double turn = ax * by - ay * bx;
                if (turn < 0 || (turn == 0 && bx * bx + by * by > ax * ax + ay * ay)) next = k;
            }
            hull += (x[here] - x[start]) * (y[next] - y[start]) - (x[next] - x[start]) * (y[here] - y[start]);
            here = next;
            if (here == start) break;
        }
        double joint = fmax(p[7], q[7]) - fmin(p[6], q[6]), whole = hull * 0.5 * joint;
        double part = iou * (p[8] + q[8]) / (1.0 + iou);
        out[n] = iou - (whole - (p[8] + q[8] - part)) / whole;
    }
}
