// Do oriented rectangles (rows x y length width yaw) touch: separating axes in double, one thread a pair.

__device__ bool usable(const double* r) {
    for (int d = 0; d < 5; ++d)
        if (!(fabs(r[d]) <= 1e9)) return false;
    return r[2] >= 0 && r[3] >= 0;
}

__device__ bool touch(const double* a, const double* b) {
    if (!usable(a) || !usable(b)) return false;
    double dx = b[0] - a[0], dy = b[1] - a[1];
    double ca = cos(a[4]), sa = sin(a[4]), cb = cos(b[4]), sb = sin(b[4]);
    double c = fabs(ca * cb + sa * sb), s = fabs(ca * sb - sa * cb);
    return fabs(ca * dx + sa * dy) <= (a[2] + c * b[2] + s * b[3]) / 2 &&
           fabs(ca * dy - sa * dx) <= (a[3] + s * b[2] + c * b[3]) / 2 &&
           fabs(cb * dx + sb * dy) <= (b[2] + c * a[2] + s * a[3]) / 2 &&
           fabs(cb * dy - sb * dx) <= (b[3] + s * a[2] + c * a[3]) / 2;
}

extern "C" __global__ void pairs(const double* a, const double* b, long long N, unsigned char* out) {
    FOR_EACH(n, N) { out[n] = touch(a + n * 5, b + n * 5); }
}

// proposals [P, T, 5], agents [T, A, 5], valid [T, A], out [P, T, A]; count = P T A.
extern "C" __global__ void over_time(const double* proposals, const double* agents, const unsigned char* valid,
                                     long long count, long long T, long long A, unsigned char* out) {
    FOR_EACH(n, count) {
        long long row = n / A, seen = row % T * A + n % A;
        out[n] = valid[seen] && touch(proposals + row * 5, agents + seen * 5);
    }
}
