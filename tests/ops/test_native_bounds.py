"""The C kernels under the address and undefined-behaviour sanitizers, on arrays that end exactly where they must."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ops import native
from ops.kalman import AB3DMOT
from ops.kalman.host import NATIVE as KALMAN_SOURCE
from ops.pillar_encoder import cpu as pillars
from ops.transformer_layer import cpu as layer
from ops.window_attention import cpu as attention

START = """
#include <stdlib.h>
static const int64_t sizes[] = {1, 0, 17, 3, 130, 16, 33, 5}, windows = 8;
static float* made(int64_t count) {  // exactly this long
    float* x = malloc(count * sizeof(float));
    for (int64_t i = 0; i < count; ++i) x[i] = (float)(i * 7919 % 1000) / 500.0f - 1.0f;
    return x;
}
int main(void) {
    int64_t offsets[9] = {0}, T, longest = 0;
    for (int w = 0; w < windows; ++w) {
        offsets[w + 1] = offsets[w] + sizes[w];
        if (sizes[w] > longest) longest = sizes[w];
    }
    T = offsets[windows];
"""
ATTENTION = """
    const int64_t heads = 3, n = T * heads * DIM, row = 3 * heads * DIM;
    float *packed = made(3 * n), *q = packed, *k = q + heads * DIM, *v = k + heads * DIM;
    float *out = made(n), *lse = made(T * heads), *gq = made(n), *gk = made(n), *gv = made(n), *grad = made(n);
    attention_forward(0, windows, q, row, k, row, v, row, offsets, heads, 0.25f, out, lse);
    attention_backward(0, windows, grad, q, row, k, row, v, row, offsets, heads, 0.25f, out, lse, gq, gk, gv);
    for (int64_t i = 0; i < n; ++i)
        if (!((out[i] + gq[i] + gk[i] + gv[i]) * 0 == 0)) return 3;
    return 0;
}
"""
LAYER = """
    const int64_t tile = 24, capacity = (tile + longest + 5) / 6 * 6;
    const int64_t inputs[4] = {C, C, C, M}, outputs[4] = {3 * C, C, M, C};
    float *packed[4], *bias[4];
    for (int i = 0; i < 4; ++i) {
        float* weight = made(inputs[i] * outputs[i]);
        packed[i] = made(inputs[i] * outputs[i] / PER_WORD);
        layer_pack(0, outputs[i], weight, inputs[i], packed[i]);
        bias[i] = made(outputs[i]);
    }
    float *x = made(T * C), *out = made(T * C), *norm = made(C), *room = made(capacity * (4 * C + M));
    layer_forward(0, windows, x, offsets, tile, capacity, room, packed[0], bias[0], packed[1], bias[1], norm, norm,
                  packed[2], bias[2], packed[3], bias[3], norm, norm, 1e-5f, 1e-5f, out);
    for (int64_t i = 0; i < T * C; ++i) if (!(out[i] * 0 == 0)) return 3;
    return 0;
}
"""
PILLARS = """
    const int64_t K = 7, H = 64, C = 128;
    float *x = made(T * K), *w1 = made(K * H), *b1 = made(H), *w2 = made(H * C), *own = made(windows * H);
    float *pooled = made(windows * H), *out = made(windows * C);
    int32_t *first = malloc(windows * H * 4), *second = malloc(windows * C * 4);
    uint8_t* left = malloc(windows);
    for (int keep = 0; keep < 2; ++keep) {
        layer(0, windows, x, offsets, K, w1, own, H, 1, 1.0f, 1.0f, 1e37f, pooled, keep ? first : 0, keep, left);
        layer(0, windows, x, offsets, K, w1, b1, H, 0, 1.0f, 1.0f, 1e37f, pooled, keep ? first : 0, keep, left);
        net(0, windows, x, offsets, K, w1, b1, H, w2, C, 1e30f, keep, pooled, out, keep ? first : 0,
            keep ? second : 0);
    }
    for (int64_t i = 0; i < C; ++i)
        if (!(out[i] * 0 == 0) || second[i] != 0 || second[C + i] != -1) return 3;
    return 0;
}
"""
KALMAN = """
    static int64_t derivative[D] = {DERIVATIVE};
    for (int64_t N = 0; N < 20; N += 3)
        for (int64_t K = 0; K <= N; K += 2)
            for (int64_t each = 0; each < 2; ++each) {  // one matrix of noise for all, or one each
                int64_t processes = each ? N : 1, noises = each ? K : 1;
                double *mean = malloc(N * D * 8), *covariance = calloc(N * D * D, 8), *dt = malloc(N * 8);
                double *process = calloc(processes * D * D, 8), *z = malloc(K * M * 8), *R = calloc(noises * M * M, 8);
                double *out = malloc(N * D * 8), *spread = malloc(N * D * D * 8);
                int64_t *rows = malloc(K * 8), *seen = malloc(N * 8), *wrong = malloc(8);
                for (int64_t i = 0; i < N * D; ++i) mean[i] = (double)(i * 7919 % 1000) / 500 - 1;
                for (int64_t i = 0; i < K * M; ++i) z[i] = (double)(i * 104729 % 1000) / 500 - 1;
                for (int64_t n = 0; n < N; ++n) dt[n] = 0.1 * n;
                for (int64_t n = 0; n < N; ++n) for (int i = 0; i < D; ++i) covariance[(n * D + i) * D + i] = 1 + i;
                for (int64_t n = 0; n < processes; ++n) for (int i = 0; i < D; ++i) process[(n * D + i) * D + i] = 0.1;
                for (int64_t k = 0; k < noises; ++k) for (int i = 0; i < M; ++i) R[(k * M + i) * M + i] = 1;
                for (int64_t k = 0; k < K; ++k) rows[k] = N - 1 - k;
                *wrong = (int64_t)1 << 62;
                step(0, N, N, mean, covariance, dt, process, processes, derivative, rows, K, z, R, noises, 3, out,
                     spread, seen, wrong);
                if (*wrong != (int64_t)1 << 62) return 2;
                for (int64_t i = 0; i < N * D; ++i) if (!(out[i] * 0 == 0)) return 3;
                for (int64_t i = 0; i < N * D * D; ++i) if (!(spread[i] * 0 == 0)) return 4;
                if (K > 1) {
                    rows[1] = rows[0];
                    step(0, N, N, mean, covariance, 0, process, processes, derivative, rows, K, z, R, noises, -1, out,
                         spread, seen, wrong);
                    if (*wrong >= 0) return 5;  // a row named twice is found
                }
                free(mean), free(covariance), free(dt), free(process), free(z), free(R), free(out), free(spread);
                free(rows), free(seen), free(wrong);
            }
    return 0;
}
"""
KALMAN_SIZES = (
    ("D", str(AB3DMOT.states)),
    ("M", str(AB3DMOT.measured)),
    ("DERIVATIVE", ",".join(map(str, AB3DMOT.derivative))),
)
NARROW = pytest.mark.skipif(not native.has("__AVX512BF16__"), reason="no bfloat16 instructions here")


@pytest.mark.parametrize(
    ("source", "driver", "defines"),
    [
        pytest.param(attention.SOURCE, ATTENTION, (("DIM", "16"),), id="attention 16"),
        pytest.param(attention.SOURCE, ATTENTION, (("DIM", "10"),), id="attention 10"),
        pytest.param(pillars.SOURCE, PILLARS, (), id="pillars"),
        pytest.param(KALMAN_SOURCE, KALMAN, KALMAN_SIZES, id="kalman"),
        pytest.param(layer.SOURCE, LAYER, layer.defines(128, 192, 4, False), id="layer"),
        pytest.param(layer.SOURCE, LAYER, layer.defines(128, 64, 8, True), id="layer bf16", marks=NARROW),
    ],
)
def test_no_access_outside_the_arrays(source: Path, driver: str, defines: native.Defines, tmp_path: Path) -> None:
    found = native._compiler()
    if found is None:
        pytest.skip("no C compiler on this machine")
    text = tmp_path / "driver.c"
    text.write_text(f'#include "{source}"\n{START}{driver}')
    options = [
        "-g",
        "-O1",
        "-std=gnu11",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fno-math-errno",
    ]
    command = [*found[0], *options, *(f"-D{n}={v}" for n, v in defines), f"-I{native.HEADERS}", str(text)]
    built = subprocess.run([*command, "-o", str(tmp_path / "driver"), "-lm"], capture_output=True, text=True)
    if "san" in built.stderr and "cannot find" in built.stderr:
        pytest.skip("the compiler's sanitizers are not installed")
    assert built.returncode == 0, built.stderr
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    run = subprocess.run([str(tmp_path / "driver")], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
