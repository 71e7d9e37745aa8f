// Overlap of rotated rectangles in double: B is moved into the frame of A and clipped by A's four sides.
// Every corner carries the side that starts there: 0..3 B's front, left, back, right, 4..7 those of A.

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

__device__ bool can_meet(Rectangle a, Rectangle b) {
    double reach = (sqrt(a.length * a.length + a.width * a.width) + sqrt(b.length * b.length + b.width * b.width)) / 2;
    double dx = a.x - b.x, dy = a.y - b.y;
    return dx * dx + dy * dy <= reach * reach;
}

// Boxes are rows of 7: x y z length width height yaw.
extern "C" __global__ void iou_matrix(const double* a, long long N, const double* b, long long M, long long three_d,
                                      double* out) {
    FOR_EACH(n, N * M) {
        const double *p = a + n / M * 7, *q = b + n % M * 7;
        Rectangle r = {p[0], p[1], p[3], p[4], p[6]}, t = {q[0], q[1], q[3], q[4], q[6]};
        out[n] = 0.0;
        if (!can_meet(r, t)) continue;
        Corner polygon[9];
        double part = area_of(polygon, common_part(r, t, polygon));
        double size_a = p[3] * p[4], size_b = q[3] * q[4];
        if (three_d) {
            double height = fmin(p[2] + p[5] / 2, q[2] + q[5] / 2) - fmax(p[2] - p[5] / 2, q[2] - q[5] / 2);
            part *= height > 0 ? height : 0.0;
            size_a *= p[5];
            size_b *= q[5];
        }
        double joined = size_a + size_b - part;
        out[n] = joined > 0 ? part / joined : 0.0;
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
