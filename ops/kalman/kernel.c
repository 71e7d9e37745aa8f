// The update of ops/kalman/cpu.py for D states, M of them measured: eight tracks in the lanes of a vector.
// bad[k] is set where measurement k cannot be used. noise_rows: 1, or one noise a measurement.
#include <math.h>
#include <stdint.h>

#define PI 3.141592653589793
typedef double V __attribute__((vector_size(64)));

void update(int64_t start, int64_t stop, double* mean, double* covariance, const int64_t* rows, const double* measured,
            const double* noise, int64_t noise_rows, int64_t heading, uint8_t* bad) {
    V P[D][D], R[M][M], L[M][M], K[D][M], A[D][D], KR[D][M], y[M], inverse[M];
    for (int64_t first = start; first < stop; first += 8) {
        int64_t count = stop - first < 8 ? stop - first : 8;
        for (int t = 0; t < 8; ++t) {
            int64_t k = first + (t < count ? t : count - 1), n = rows[k];  // a group that is not full repeats its last
            const double *p = covariance + n * D * D, *r = noise + (noise_rows > 1 ? k : 0) * M * M;
            for (int i = 0; i < D; ++i)
                for (int j = 0; j < D; ++j) P[i][j][t] = p[i * D + j];
            for (int i = 0; i < M; ++i) {
                y[i][t] = measured[k * M + i] - mean[n * D + i];
                for (int j = 0; j < M; ++j) R[i][j][t] = r[i * M + j];
            }
            if (heading >= 0) {
                double turn = y[heading][t] / PI;
                y[heading][t] = (turn - ceil(turn - 0.5)) * PI;
            }
        }
        for (int i = 0; i < M; ++i)
            for (int j = 0; j <= i; ++j) {
                V total = P[i][j] + R[i][j];
                for (int k = 0; k < j; ++k) total -= L[i][k] * L[j][k];
                if (i == j) {
                    for (int t = 0; t < 8; ++t) total[t] = sqrt(total[t]);
                    inverse[i] = 1.0 / total;
                    L[i][i] = total;
                } else {
                    L[i][j] = total * inverse[j];
                }
            }
        for (int d = 0; d < D; ++d) {
            for (int i = 0; i < M; ++i) {
                V total = P[i][d];
                for (int k = 0; k < i; ++k) total -= L[i][k] * K[d][k];
                K[d][i] = total * inverse[i];
            }
            for (int i = M - 1; i >= 0; --i) {
                V total = K[d][i];
                for (int k = i + 1; k < M; ++k) total -= L[k][i] * K[d][k];
                K[d][i] = total * inverse[i];
            }
        }
        for (int d = 0; d < D; ++d) {
            for (int j = 0; j < D; ++j) {
                V total = P[d][j];
                for (int i = 0; i < M; ++i) total -= K[d][i] * P[i][j];
                A[d][j] = total;
            }
            for (int j = 0; j < M; ++j) {
                V total = K[d][0] * R[0][j];
                for (int i = 1; i < M; ++i) total += K[d][i] * R[i][j];
                KR[d][j] = A[d][j] - total;
            }
        }
        for (int d = 0; d < D; ++d)
            for (int j = 0; j <= d; ++j) {
                V total = A[d][j];
                for (int i = 0; i < M; ++i) total -= KR[d][i] * K[j][i];
                P[d][j] = total;
            }
        for (int t = 0; t < count; ++t) {
            int64_t k = first + t;
            double *x = mean + rows[k] * D, *p = covariance + rows[k] * D * D;
            int usable = 1;
            for (int i = 0; i < M; ++i) usable &= L[i][i][t] > 0 && L[i][i][t] < INFINITY && isfinite(y[i][t]);
            if (!usable) {
                bad[k] = 1;
                continue;
            }
            if (heading >= 0) x[heading] = measured[k * M + heading] - y[heading][t];
            for (int d = 0; d < D; ++d) {
                for (int i = 0; i < M; ++i) x[d] += K[d][i][t] * y[i][t];
                for (int j = 0; j <= d; ++j) p[d * D + j] = p[j * D + d] = P[d][j][t];
            }
            if (heading >= 0) x[heading] -= floor(x[heading] / (2 * PI) + 0.5) * (2 * PI);
        }
    }
}
