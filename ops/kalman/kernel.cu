// Batched Kalman filters in double, one thread a track (update: a measurement). At most 16 states.

#define MOST 16
#define PI 3.141592653589793

extern "C" __global__ void predict(const double* mean, const double* covariance, const double* dt, const double* noise,
                                   long long noise_rows, const long long* derivative, long long N, long long D,
                                   double* out_mean, double* out_covariance) {
    FOR_EACH(n, N) {
        const double *x = mean + n * D, *P = covariance + n * D * D;
        const double* Q = noise + (noise_rows > 1 ? n : 0) * D * D;
        double* out = out_covariance + n * D * D;
        for (long long i = 0; i < D; ++i) {
            double total = x[i], factor = 1.0, order = 1.0;
            for (long long j = 0; j < D; ++j) out[i * D + j] = P[i * D + j];
            for (long long rate = derivative[i]; rate != -1; rate = derivative[rate]) {
                factor *= dt[n] / order;
                order += 1.0;
                total += factor * x[rate];
                for (long long j = 0; j < D; ++j) out[i * D + j] += factor * P[rate * D + j];
            }
            out_mean[n * D + i] = total;
        }
        for (long long i = 0; i < D; ++i)
            for (long long j = 0; j < D; ++j) {
                double total = out[i * D + j], factor = 1.0, order = 1.0;
                for (long long rate = derivative[j]; rate != -1; rate = derivative[rate]) {
                    factor *= dt[n] / order;
                    order += 1.0;
                    total += factor * out[i * D + rate];
                }
                out[i * D + j] = total + Q[i * D + j];
            }
    }
}

// In place. bad[k] is set where measurement k cannot be used.
extern "C" __global__ void update(double* mean, double* covariance, const long long* rows, const double* measured,
                                  const double* noise, long long noise_rows, long long heading, long long count,
                                  long long D, long long m, unsigned char* bad) {
    FOR_EACH(k, count) {
        double *x = mean + rows[k] * D, *P = covariance + rows[k] * D * D;
        const double* R = noise + (noise_rows > 1 ? k : 0) * m * m;
        double y[MOST], L[MOST * MOST], G[MOST * MOST], z = 0;  // as in cpu.py
        bool usable = true;
        for (long long i = 0; i < m; ++i) y[i] = measured[k * m + i] - x[i];
        if (heading >= 0) {
            double turn = y[heading] / PI;
            y[heading] = (turn - ceil(turn - 0.5)) * PI;
            z = measured[k * m + heading] - y[heading];
        }
        for (long long i = 0; i < m; ++i) {
            usable = usable && isfinite(y[i]);
            for (long long j = 0; j <= i; ++j) {
                double total = P[i * D + j] + R[i * m + j];
                for (long long q = 0; q < j; ++q) total -= L[i * m + q] * L[j * m + q];
                L[i * m + j] = i == j ? sqrt(total) : total / L[j * m + j];
            }
            usable = usable && L[i * m + i] > 0 && isfinite(L[i * m + i]);
        }
        bad[k] = !usable;
        if (!usable) continue;
        if (heading >= 0) x[heading] = z;
        for (long long i = 0; i < m; ++i) {
            for (long long q = 0; q < i; ++q) y[i] -= L[i * m + q] * y[q];
            y[i] /= L[i * m + i];
        }
        for (long long d = 0; d < D; ++d)
            for (long long i = 0; i < m; ++i) {
                double total = P[d * D + i];
                for (long long q = 0; q < i; ++q) total -= L[i * m + q] * G[d * m + q];
                G[d * m + i] = total / L[i * m + i];
                x[d] += G[d * m + i] * y[i];
            }
        for (long long d = 0; d < D; ++d)
            for (long long j = 0; j <= d; ++j) {
                double total = P[d * D + j];
                for (long long i = 0; i < m; ++i) total -= G[d * m + i] * G[j * m + i];
                P[d * D + j] = P[j * D + d] = total;
            }
        if (heading >= 0) x[heading] -= floor(x[heading] / (2 * PI) + 0.5) * (2 * PI);
    }
}
