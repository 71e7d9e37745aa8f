// ops/kalman/cpu.py for D states, M of them measured: eight tracks in the lanes of a vector.
#include <math.h>
#include <stdint.h>
#include <string.h>

#define PI 3.141592653589793
#define LANES 8
#define OUTSIDE -2  // as in cpu.py
#define TWICE -3
#define INLINE static inline __attribute__((always_inline))
typedef double V __attribute__((vector_size(64)));
typedef int64_t Mask __attribute__((vector_size(64)));

#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (Mask){__VA_ARGS__})
#endif

typedef struct {
    const double *mean, *covariance, *dt, *process;
    int64_t process_rows;  // 1, or one a track
    const int64_t *derivative, *seen;
    const double *measured, *noise;
    int64_t noise_rows, heading;  // noise_rows: 1, or one a measurement
    double *out_mean, *out_covariance;
    int64_t* wrong;
} Job;

typedef struct {
    V x[D], P[D][D];
} State;

static void report(int64_t* wrong, int64_t code) {
    int64_t least = __atomic_load_n(wrong, __ATOMIC_RELAXED);
    while (code < least && !__atomic_compare_exchange_n(wrong, &least, code, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

INLINE V root(V x) {
    double a[LANES];
    memcpy(a, &x, sizeof x);
    for (int t = 0; t < LANES; ++t) a[t] = sqrt(a[t]);
    memcpy(&x, a, sizeof x);
    return x;
}

INLINE V down(V x) {
    double a[LANES];
    memcpy(a, &x, sizeof x);
    for (int t = 0; t < LANES; ++t) a[t] = floor(a[t]);
    memcpy(&x, a, sizeof x);
    return x;
}

// Rows become columns: each round merges the upper with the lower half of the rows.
INLINE void transpose(V* rows) {
#pragma GCC unroll 4
    for (int round = 0; round < 3; ++round) {
        V merged[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; ++i) {
            merged[2 * i] = PICK(rows[i], rows[i + LANES / 2], 0, 8, 1, 9, 2, 10, 3, 11);
            merged[2 * i + 1] = PICK(rows[i], rows[i + LANES / 2], 4, 12, 5, 13, 6, 14, 7, 15);
        }
#pragma GCC unroll 8
        for (int i = 0; i < LANES; ++i) rows[i] = merged[i];
    }
}

// `size` numbers of each track, a vector for each number. The last vectors overlap those before.
INLINE void gather(V* to, const double* from, const int64_t* tracks, int size) {
    for (int first = 0; size >= LANES && first < size; first += LANES) {
        int at = first < size - LANES ? first : size - LANES;
        V rows[LANES];
#pragma GCC unroll 8
        for (int t = 0; t < LANES; ++t) memcpy(&rows[t], from + tracks[t] * size + at, sizeof(V));
        transpose(rows);
        memcpy(to + at, rows, sizeof rows);
    }
    for (int i = 0; size < LANES && i < size; ++i)
        for (int t = 0; t < LANES; ++t) to[i][t] = from[tracks[t] * size + i];
}

INLINE void scatter(double* to, const V* from, const int64_t* tracks, int count, int size) {
    for (int first = 0; size >= LANES && first < size; first += LANES) {
        int at = first < size - LANES ? first : size - LANES;
        V rows[LANES];
        memcpy(rows, from + at, sizeof rows);
        transpose(rows);
#pragma GCC unroll 8
        for (int t = 0; t < LANES; ++t)
            if (t < count) memcpy(to + tracks[t] * size + at, &rows[t], sizeof(V));
    }
    for (int i = 0; size < LANES && i < size; ++i)
        for (int t = 0; t < count; ++t) to[tracks[t] * size + i] = from[i][t];
}

static void forecast(const Job* job, const int64_t* tracks, State* s) {
    V dt;
    for (int t = 0; t < LANES; ++t) dt[t] = job->dt[tracks[t]];
    // Rates come after what they change, so the transition is upper triangular and both products may be done in place.
    for (int i = 0; i < D; ++i) {
        V factor = dt;
        double order = 1.0;
        for (int64_t rate = job->derivative[i]; rate != -1; rate = job->derivative[rate]) {
            s->x[i] += factor * s->x[rate];
            for (int j = 0; j < D; ++j) s->P[i][j] += factor * s->P[rate][j];
            factor *= dt / ++order;
        }
    }
    for (int j = 0; j < D; ++j) {
        V factor = dt;
        double order = 1.0;
        for (int64_t rate = job->derivative[j]; rate != -1; rate = job->derivative[rate]) {
            for (int i = 0; i < D; ++i) s->P[i][j] += factor * s->P[i][rate];
            factor *= dt / ++order;
        }
    }
    if (job->process_rows > 1) {
        V Q[D][D];
        gather(&Q[0][0], job->process, tracks, D * D);
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j) s->P[i][j] += Q[i][j];
    } else {
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j) s->P[i][j] += job->process[i * D + j];
    }
}

// With S = P + R = L L^T and G = P H^T L^-T the mean gains G L^-1 y and the covariance loses G G^T, of which only the
// half below the diagonal is computed. The lanes whose measurement can be used are not 0.
static Mask correct(const Job* job, const int64_t* tracks, State* s) {
    V S[M][M], L[M][M], G[M][D], z[M], y[M], inverse[M], (*P)[D] = s->P;
    Mask finite = ~(Mask){0};
    int64_t rows[LANES];
    for (int t = 0; t < LANES; ++t) rows[t] = job->seen[tracks[t]];
    gather(z, job->measured, rows, M);
    for (int i = 0; i < M; ++i) y[i] = z[i] - s->x[i];
    if (job->heading >= 0) {
        V turn = y[job->heading] / PI;
        turn = (turn + down(0.5 - turn)) * PI;  // to the nearest of the two headings, in (-PI / 2, PI / 2]
        y[job->heading] = turn;
        s->x[job->heading] = z[job->heading] - turn;
    }
    if (job->noise_rows > 1) gather(&S[0][0], job->noise, rows, M * M);
    for (int i = 0; i < M; ++i)
        for (int j = 0; j < M; ++j)
            S[i][j] = job->noise_rows > 1 ? S[i][j] + P[i][j] : P[i][j] + job->noise[i * M + j];
    for (int i = 0; i < M; ++i)
        for (int j = 0; j <= i; ++j) {
            V total = S[i][j];
            for (int k = 0; k < j; ++k) total -= L[i][k] * L[j][k];
            if (i == j) {
                total = root(total);
                finite &= (total > 0) & (total < INFINITY) & (y[i] - y[i] == 0);
                inverse[i] = 1.0 / total;
                L[i][i] = total;
            } else {
                L[i][j] = total * inverse[j];
            }
        }
    // Forward, all rows of G together; y becomes L^-1 y.
    for (int i = 0; i < M; ++i) {
        V total[D], turned = y[i];
        for (int d = 0; d < D; ++d) total[d] = P[d][i];
        for (int k = 0; k < i; ++k) {
            turned -= L[i][k] * y[k];
            for (int d = 0; d < D; ++d) total[d] -= L[i][k] * G[k][d];
        }
        y[i] = turned * inverse[i];
        for (int d = 0; d < D; ++d) {
            G[i][d] = total[d] * inverse[i];
            s->x[d] += G[i][d] * y[i];
        }
    }
    for (int d = 0; d < D; ++d) {
        V own[M];
        for (int i = 0; i < M; ++i) own[i] = G[i][d];
        for (int j = 0; j <= d; ++j) {
            V total = P[d][j];
            for (int i = 0; i < M; ++i) total -= own[i] * G[i][j];
            P[d][j] = P[j][d] = total;
        }
    }
    if (job->heading >= 0) {
        V angle = s->x[job->heading];
        s->x[job->heading] = angle - down(angle / (2 * PI) + 0.5) * (2 * PI);
    }
    return finite;
}

static void group(const Job* job, int64_t* tracks, int count, int measured) {
    State s;
    if (count == 0) return;
    for (int t = count; t < LANES; ++t) tracks[t] = tracks[count - 1];  // a group that is not full repeats its last
    gather(s.x, job->mean, tracks, D);
    gather(&s.P[0][0], job->covariance, tracks, D * D);
    if (job->dt) forecast(job, tracks, &s);
    if (measured) {
        Mask usable = correct(job, tracks, &s);
        for (int t = 0; t < count; ++t)
            if (!usable[t]) report(job->wrong, job->seen[tracks[t]]);
    }
    scatter(job->out_mean, s.x, tracks, count, D);
    scatter(job->out_covariance, &s.P[0][0], tracks, count, D * D);
}

// seen[n], for tracks start..stop: the measurement of track n, or -1.
static void find(const Job* job, int64_t start, int64_t stop, const int64_t* rows, int64_t count, int64_t tracks,
                 int64_t* seen) {
    memset(seen + start, -1, (stop - start) * sizeof *seen);
    for (int64_t k = 0; k < count; ++k) {
        int64_t n = rows[k];
        if (n < 0 || n >= tracks) report(job->wrong, OUTSIDE);
        if (n < start || n >= stop) continue;
        if (seen[n] >= 0) report(job->wrong, TWICE);
        seen[n] = k;
    }
}

// Tracks start..stop of N: predicted where dt is given, then updated where one of `rows` [count] names them. `seen` [N] is room
// to work in. `wrong` becomes the least of what it is, OUTSIDE, TWICE and the measurements that cannot be used.
void step(int64_t start, int64_t stop, int64_t N, const double* mean, const double* covariance, const double* dt,
          const double* process, int64_t process_rows, const int64_t* derivative, const int64_t* rows, int64_t count,
          const double* measured, const double* noise, int64_t noise_rows, int64_t heading, double* out_mean,
          double* out_covariance, int64_t* seen, int64_t* wrong) {
    Job job = {mean,     covariance, dt,         process, process_rows, derivative,     seen,
               measured, noise,      noise_rows, heading, out_mean,     out_covariance, wrong};
    int64_t with[LANES], without[LANES];
    int seeing = 0, blind = 0;
    find(&job, start, stop, rows, count, N, seen);
    for (int64_t n = start; n < stop; ++n) {
        if (seen[n] >= 0) {
            with[seeing++] = n;
            if (seeing == LANES) group(&job, with, seeing, 1), seeing = 0;
        } else if (dt) {
            without[blind++] = n;
            if (blind == LANES) group(&job, without, blind, 0), blind = 0;
        } else {
            memcpy(out_mean + n * D, mean + n * D, D * sizeof(double));
            memcpy(out_covariance + n * D * D, covariance + n * D * D, D * D * sizeof(double));
        }
    }
    group(&job, with, seeing, 1);
    group(&job, without, blind, 0);
}
