// Gated matching in double. Candidates: one thread a row, over the columns of its problem. Matching: one thread a problem
// (many small problems side by side), the same shortest augmenting paths over candidates as on the CPU.

#define LARGEST 1e9

// lower: Cholesky factors [N, D, D], read where use_lower. Writes the cost, or -1 where the pair is not within the gate.
__device__ __forceinline__ double pair_cost(const double* row, const double* column, const double* lower, long long D,
                                            long long angle, double gate) {
    double solved[16], total = 0.0;
    for (long long d = 0; d < D; ++d) {
        if (!(fabs(row[d]) <= LARGEST && fabs(column[d]) <= LARGEST)) return -1.0;
        double value = column[d] - row[d];
        if (d == angle) value -= 6.283185307179586 * floor(value / 6.283185307179586 + 0.5);
        if (lower) {
            for (long long k = 0; k < d; ++k) value -= lower[d * D + k] * solved[k];
            value /= lower[d * D + d];
            solved[d] = value;
        }
        total += value * value;
    }
    double cost = lower ? total : sqrt(total);
    return gate >= 0 && cost <= gate ? cost : -1.0;
}

// fill 0: counts[i] candidates of row i; fill 1: writes them from offsets[i] on. problem [N]: the problem of each row.
extern "C" __global__ void candidates(const double* rows, const double* columns, const double* gate,
                                      const double* lower, long long use_lower, long long angle, long long N,
                                      long long D, const long long* problem, const long long* column_offsets,
                                      long long fill, const long long* offsets, long long* counts, long long* column,
                                      double* cost) {
    FOR_EACH(i, N) {
        long long used = fill ? offsets[i] : 0;
        for (long long j = column_offsets[problem[i]]; j < column_offsets[problem[i] + 1]; ++j) {
            double found = pair_cost(rows + i * D, columns + j * D, use_lower ? lower + i * D * D : nullptr, D, angle,
                                     gate[i]);
            if (found < 0) continue;
            if (fill) {
                column[used] = j;
                cost[used] = found;
            }
            ++used;
        }
        if (!fill) counts[i] = used;
    }
}

// Columns of different problems differ, so problems share the arrays. At the start: row_of, column_of, seen, shut -1, v 0.
extern "C" __global__ void optimal(const long long* problems, long long B, const long long* offsets,
                                   const long long* column, const double* cost, long long* row_of,
                                   long long* column_of, double* u, double* v, double* length, long long* via,
                                   long long* seen, long long* shut, long long* open_next, long long* closed_next) {
    FOR_EACH(b, B) {
        long long first = problems[b], last = problems[b + 1];
        if (offsets[first] == offsets[last]) continue;
        double low = cost[offsets[first]], high = low;
        for (long long e = offsets[first]; e < offsets[last]; ++e) {
            low = fmin(low, cost[e]);
            high = fmax(high, cost[e]);
        }
        double alone = (high - low) * (double)(last - first + 1) + (high > low ? high - low : 1.0);
        for (long long i = first; i < last; ++i) {
            long long best = -1;
            u[i] = alone;
            for (long long e = offsets[i]; e < offsets[i + 1]; ++e)
                if (cost[e] - low < u[i]) {
                    u[i] = cost[e] - low;
                    best = column[e];
                }
            if (best >= 0 && row_of[best] < 0) {
                row_of[best] = i;
                column_of[i] = best;
            }
        }
        for (long long fresh = first; fresh < last; ++fresh) {
            if (column_of[fresh] >= 0 || offsets[fresh] == offsets[fresh + 1]) continue;
            long long row = fresh, own_row = -1, sink = -1, open_head = -1, closed_head = -1;
            double at = 0.0, own = 1e300;
            while (true) {
                if (at + alone - u[row] < own) {
                    own = at + alone - u[row];
                    own_row = row;
                }
                for (long long e = offsets[row]; e < offsets[row + 1]; ++e) {
                    long long j = column[e];
                    double reach = at + (cost[e] - low - u[row] - v[j]);
                    if (seen[j] != fresh) {
                        seen[j] = fresh;
                        length[j] = reach;
                        via[j] = row;
                        open_next[j] = open_head;
                        open_head = j;
                    } else if (reach < length[j] && shut[j] != fresh) {
                        length[j] = reach;
                        via[j] = row;
                    }
                }
                double best = 1e300;
                long long place = -1, before = -1;
                for (long long j = open_head, previous = -1; j >= 0; previous = j, j = open_next[j])
                    if (length[j] < best || (length[j] == best && row_of[j] < 0)) {
                        best = length[j];
                        place = j;
                        before = previous;
                    }
                if (own <= best) {
                    at = own;
                    break;
                }
                at = best;
                if (row_of[place] < 0) {
                    sink = place;
                    break;
                }
                if (before < 0)
                    open_head = open_next[place];
                else
                    open_next[before] = open_next[place];
                shut[place] = fresh;
                closed_next[place] = closed_head;
                closed_head = place;
                row = row_of[place];
            }
            u[fresh] += at;
            for (long long j = closed_head; j >= 0; j = closed_next[j]) {
                u[row_of[j]] += at - length[j];
                v[j] -= at - length[j];
            }
            if (sink < 0) {
                sink = column_of[own_row];
                column_of[own_row] = -1;
                if (own_row == fresh) continue;
            }
            while (true) {
                long long i = via[sink], old = column_of[i];
                row_of[sink] = i;
                column_of[i] = sink;
                sink = old;
                if (i == fresh) break;
            }
        }
    }
}

// Greedy by rows: each row in `order` takes its cheapest free candidate.
extern "C" __global__ void by_rows(const long long* problems, long long B, const long long* offsets,
                                   const long long* column, const double* cost, const long long* order,
                                   long long* row_of, long long* column_of) {
    FOR_EACH(b, B) {
        for (long long k = problems[b]; k < problems[b + 1]; ++k) {
            long long i = order[k], best = -1;
            double least = 0.0;
            for (long long e = offsets[i]; e < offsets[i + 1]; ++e)
                if (row_of[column[e]] < 0 && (best < 0 || cost[e] < least)) {
                    best = column[e];
                    least = cost[e];
                }
            if (best < 0) continue;
            row_of[best] = i;
            column_of[i] = best;
        }
    }
}

// Greedy over all candidates: `ranked` lists them by cost within each problem, row [E] names their rows.
extern "C" __global__ void by_cost(const long long* problems, long long B, const long long* offsets,
                                   const long long* column, const long long* row, const long long* ranked,
                                   long long* row_of, long long* column_of) {
    FOR_EACH(b, B) {
        for (long long k = offsets[problems[b]]; k < offsets[problems[b + 1]]; ++k) {
            long long e = ranked[k], i = row[e], j = column[e];
            if (column_of[i] >= 0 || row_of[j] >= 0) continue;
            row_of[j] = i;
            column_of[i] = j;
        }
    }
}
