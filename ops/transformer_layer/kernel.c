// A whole post-norm transformer layer on ragged windows: y = LN(x + out(attention(qkv(x)))), z = LN(y + mlp(y)).
// A tile of whole windows goes through all of it while it lies in the second cache; nothing between x and z is written
// to memory. Matrix products are blocks of ROWS x COLS registers over packed weights, in float32 or, with BF16, of
// bfloat16 pairs summed in float32; softmax, norms, residuals and sums are float32 in both.
// C: channels, M: channels of the hidden layer, DIM: channels a head; C and M are multiples of PANEL, C of 2 * LANES.

#include "window_attention/block.h"

#define H (C / DIM)

#if BF16
#define PER_WORD 2  // numbers in 32 bits
#else
#define PER_WORD 1
#endif
#define ROWS 6
#define COLS (LANES == 16 ? 4 : 2)
#define PANEL (COLS * LANES)

// LANES words of operand from PER_WORD * LANES floats, and the words of one vector of floats.
INLINE vec words(const float* x) {
#if BF16
    return (vec)_mm512_cvtne2ps_pbh((__m512)load(x + LANES), (__m512)load(x));
#else
    return load(x);
#endif
}

INLINE void store_words(float* out, vec x) {  // half a vector of memory with BF16
#if BF16
    __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    memcpy(out, &half, sizeof half);
#else
    store(out, x);
#endif
}

INLINE vec multiply_add(vec sum, const float* a, vec b) {
#if BF16
    int32_t pair;
    memcpy(&pair, a, 4);
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)b);
#else
    return sum + b * *a;
#endif
}

// Weights [N, K] of a linear layer -> panels of PANEL outputs: [N / PANEL][K / PER_WORD][PANEL] words. Columns of the
// result from `start` to `stop`, in steps of LANES.
void layer_pack(int64_t start, int64_t stop, const float* weight, int64_t K, float* out) {
    const int64_t depth = K / PER_WORD;
    for (int64_t n = start; n < stop; n += LANES)
        for (int64_t k = 0; k < depth; k += LANES) {
            vec rows[LANES];
            for (int i = 0; i < LANES; ++i) rows[i] = words(weight + (n + i) * K + k * PER_WORD);
            transpose(rows);
            float* to = out + n / PANEL * depth * PANEL + n % PANEL;
            for (int i = 0; i < LANES; ++i) store(to + (k + i) * PANEL, rows[i]);
        }
}

// Gauss error linear unit, x/2 (1 + erf(x / sqrt 2)), absolute error below 5e-7 max(1, |x|): erf by Abramowitz and
// Stegun 7.1.26 (error 1.5e-7).
INLINE vec gelu(vec x) {
    const ivec sign = (ivec)x & (int32_t)0x80000000;
    vec z = (vec)((ivec)x ^ sign) * 0.70710678f, t = 1.0f / (z * 0.3275911f + 1.0f);
    vec p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    vec erf = 1.0f - p * t * exp2_vec(z * z * -LOG2E);
    vec half = x * 0.5f;
    return half + half * (vec)((ivec)erf | sign);
}

enum { PLAIN, ADD, GELU };

// out[r][n] = bias[n] + sum over k of a[r][k] weight[n][k] for `rows` rows (a multiple of ROWS), then by `then`: nothing,
// + more[r][n] (row r of `more` and not behind row `known` - 1), or gelu, written as operand words.
INLINE void linear(const float* a, int64_t K, const float* packed, const float* bias, int64_t N, int64_t rows, int then,
                   const float* more, int64_t known, float* out) {
    const int64_t depth = K / PER_WORD;
    for (int64_t n = 0; n < N; n += PANEL) {
        const float* weight = packed + n * depth;
        for (int64_t r = 0; r < rows; r += ROWS) {
            vec sum[ROWS][COLS];
            const float* from = a + r * depth;
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
                for (int c = 0; c < COLS; ++c) sum[i][c] = load(bias + n + c * LANES);
            for (int64_t k = 0; k < depth; ++k) {
                vec b[COLS];
#pragma GCC unroll 4
                for (int c = 0; c < COLS; ++c) b[c] = load(weight + k * PANEL + c * LANES);
#pragma GCC unroll 6
                for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
                    for (int c = 0; c < COLS; ++c) sum[i][c] = multiply_add(sum[i][c], from + i * depth + k, b[c]);
            }
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; ++i) {
                const float* added = more + (r + i < known ? r + i : known - 1) * N + n;
#pragma GCC unroll 4
                for (int c = 0; c < COLS; ++c) {
                    vec x = sum[i][c];
                    if (then == ADD) x += load(added + c * LANES);
                    if (then == GELU) store_words(out + (r + i) * N / PER_WORD + (n + c * LANES) / PER_WORD, gelu(x));
                    else store(out + (r + i) * N + n + c * LANES, x);
                }
            }
        }
    }
}

// Rows [rows, C] normalised: to `out` as float32, and to `operand` as words where there is one.
INLINE void norm(const float* x, int64_t rows, const float* weight, const float* bias, float eps, float* out,
                 float* operand) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* row = x + r * C;
        vec total = {0}, square = {0};
        for (int c = 0; c < C; c += LANES) total += load(row + c);
        const float mean = sum_of(total) / C;
        for (int c = 0; c < C; c += LANES) {
            vec d = load(row + c) - mean;
            square += d * d;
        }
        const float factor = 1.0f / __builtin_sqrtf(sum_of(square) / C + eps);
        for (int c = 0; c < C; c += LANES) {
            vec y = (load(row + c) - mean) * factor * load(weight + c) + load(bias + c);
            store(out + r * C + c, y);
            if (operand) store_words(operand + (r * C + c) / PER_WORD, y);
        }
    }
}

// Windows from `start` to `stop`. Weights are packed. `room`: floats [capacity, 4 C + M], whose rows hold a tile: windows
// are taken until there are `tile` tokens, so capacity is at least tile + the longest window, rounded up to ROWS.
void layer_forward(int64_t start, int64_t stop, const float* x, const int64_t* offsets, int64_t tile, int64_t capacity,
                   float* room, const float* qkv_w, const float* qkv_b, const float* out_w, const float* out_b,
                   const float* norm_w, const float* norm_b, const float* in_w, const float* in_b, const float* mlp_w,
                   const float* mlp_b, const float* mlp_norm_w, const float* mlp_norm_b, float eps, float mlp_eps,
                   float* out) {
    const float scale = 1.0f / __builtin_sqrtf(DIM);
    float pad[ROOM];
    float *qkv = room, *operand = room + capacity * 3 * C;  // operand: words of x, then of the attention, of y, of GELU
    while (start < stop) {
        int64_t begin = offsets[start], end = begin, after = start;
        while (after < stop && (after == start || offsets[after + 1] - begin <= tile)) end = offsets[++after];
        const int64_t tokens = end - begin, rows = (tokens + ROWS - 1) / ROWS * ROWS;
        const float* in = x + begin * C;
        for (int64_t r = 0; r < rows; ++r)
            for (int c = 0; c < C; c += LANES)
                store_words(operand + (r * C + c) / PER_WORD, r < tokens ? load(in + r * C + c) : all(0.0f));
        linear(operand, C, qkv_w, qkv_b, 3 * C, rows, PLAIN, 0, 1, qkv);
        for (; start < after; ++start) {
            const int64_t first = offsets[start] - begin, size = offsets[start + 1] - begin - first;
            for (int64_t h = 0; h < H; ++h)
                for (int64_t i = 0; i < size; i += LANES) {
                    const int64_t count = size - i < LANES ? size - i : LANES;
                    const float* head = qkv + first * 3 * C + h * DIM;
                    vec sums[LANES * PARTS], top, total;
                    attend(head + i * 3 * C, 3 * C, count, head + C, 3 * C, head + 2 * C, 3 * C, size, scale, pad, sums,
                           &top, &total);
                    vec inverse = 1.0f / total;
                    for (int64_t l = 0; l < count; ++l)
                        for (int p = 0; p < PARTS; ++p)
                            store_words(operand + ((first + i + l) * C + h * DIM + p * LANES) / PER_WORD,
                                        sums[l * PARTS + p] * inverse[l]);
                }
        }
        // The queries, keys and values are read: their room takes the sums, y, and the sums of the second half.
        float *sum = qkv, *y = qkv + rows * C, *hidden = operand + rows * C / PER_WORD;
        linear(operand, C, out_w, out_b, C, rows, ADD, in, tokens, sum);
        norm(sum, rows, norm_w, norm_b, eps, y, operand);
        linear(operand, C, in_w, in_b, M, rows, GELU, 0, 1, hidden);
        linear(hidden, M, mlp_w, mlp_b, C, rows, ADD, y, rows, sum);
        norm(sum, tokens, mlp_norm_w, mlp_norm_b, mlp_eps, out + begin * C, 0);
    }
}
