"""CUDA kernels without a GPU: they compile for three architectures, and their source is right as plain C++."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ops
from ops import (
    dilate,
    nvrtc,
    point_attention,
    points_in_boxes,
    rotated_iou,
    rotated_nms,
    segment,
    voxelize,
    window_attention,
)
from ops.examples import RANGE, VOXEL, make

SOURCES = sorted(Path(ops.__file__).parent.glob("*/kernel.cu"))
DEFINES = {"voxelize": "REAL float", "points_in_boxes": "REAL double", "window_attention": "DIM 16"}

# One thread that does the work of all: a kernel's loop over items then visits each of them.
SHIM = """
#include <cmath>
#include <math.h>
#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__
struct Dim { unsigned int x, y, z; };
static const Dim threadIdx{0, 0, 0}, blockIdx{0, 0, 0}, blockDim{1, 1, 1}, gridDim{1, 1, 1};
static inline void __syncthreads() {}
static inline int __popc(unsigned int x) { return __builtin_popcount(x); }
template <class T> static T atomicAdd(T* p, T x) { T old = *p; *p += x; return old; }
template <class T> static T atomicMin(T* p, T x) { T old = *p; *p = x < old ? x : old; return old; }
template <class T> static T atomicMax(T* p, T x) { T old = *p; *p = x > old ? x : old; return old; }
template <class T> static T atomicOr(T* p, T x) { T old = *p; *p |= x; return old; }
"""


def _defines(path: Path) -> tuple[tuple[str, str], ...]:
    text = DEFINES.get(path.parent.name)
    return (tuple(text.split()),) if text else ()  # type: ignore[return-value]


@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.parent.name)
def test_compiles(path: Path, architecture: int) -> None:
    pytest.importorskip("cuda.bindings", reason="NVRTC comes with torch's CUDA build")
    assert nvrtc.compile_kernels(path, architecture, _defines(path)).startswith(b"\x7fELF")


def test_a_broken_kernel_names_its_operator(tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="NVRTC comes with torch's CUDA build")
    broken = tmp_path / "kernel.cu"
    broken.write_text('extern "C" __global__ void f(float* x) { x = y; }')
    with pytest.raises(RuntimeError, match=f"{tmp_path.name}.*does not compile for sm_90"):
        nvrtc.compile_kernels(broken, 90)


def test_unproven_kernels_are_off_and_said_to_be() -> None:
    rows = {row.op: row for row in ops.kernels_in_use() if row.device == "cuda"}
    assert {row.kernel for row in rows.values()} <= {"torch reference", "cuda (never run on a GPU)"}
    unproven = {op for op, row in rows.items() if "never ran on a GPU" in row.reason}
    assert unproven == {path.parent.name for path in SOURCES}


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here to run the CUDA source as plain C++")
    folder = tmp_path_factory.mktemp("emulated")
    libraries: dict[tuple[Any, ...], ctypes.CDLL] = {}

    def launch(path: Path, name: str, count: int, *arguments: Any, defines: Any = (), blocks: int = 0) -> None:
        if count == 0:
            return
        key = (path, defines)
        if key not in libraries:
            text = folder / f"{path.parent.name}{len(libraries)}.cpp"
            text.write_text(SHIM + nvrtc.source_of(path, defines))
            library = text.with_suffix(".so")
            subprocess.run([compiler, "-O0", "-std=c++17", "-shared", "-fPIC", text, "-o", library], check=True)
            libraries[key] = ctypes.CDLL(str(library))
        converted = [
            ctypes.c_void_p(a.data_ptr())
            if isinstance(a, Tensor)
            else ctypes.c_float(a)
            if isinstance(a, float)
            else ctypes.c_longlong(a)
            for a in arguments
        ]
        assert all(a.is_contiguous() for a in arguments if isinstance(a, Tensor))
        getattr(libraries[key], name)(*converted)

    return launch


def same(ours: Any, exact: Any, tolerance: float = 0.0) -> None:
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)


def test_source_is_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    e = make(3000, 2, 60, 500, 2)
    for points in (e.points, e.points.double()):
        groups = voxelize._voxelize_cuda(points, e.point_batch, RANGE, VOXEL, 2)
        same(groups, voxelize.reference.voxelize(points, e.point_batch, RANGE, VOXEL, 2))
    coords, order, offsets = groups
    values, scores = torch.randn(len(order), 5), torch.randn(len(order), 3)
    for how in segment.REDUCTIONS:
        out = segment._reduce_cuda(values, offsets, how)
        same(out, segment.reference.segment_reduce(values, offsets, how), 1e-5)
        spread = segment._spread_cuda(out[0], offsets, out[1], len(order), how)
        same([spread], [segment.reference.segment_reduce_backward(*out[:1], offsets, out[1], len(order), how)], 1e-6)
    pooled = point_attention._forward_cuda(scores, values, offsets)
    same(pooled, point_attention.reference.point_attention(scores, values, offsets), 1e-5)
    given = torch.randn_like(pooled[0]), scores, values, offsets, *pooled
    expected = point_attention.reference.point_attention_backward(*given)
    same(point_attention._backward_cuda(*given), expected, 1e-5)
    attended = window_attention._forward_cuda(*e.qkv, e.windows, 0.25)
    same(attended, window_attention.reference.window_attention(*e.qkv, e.windows, 0.25), 1e-5)
    back = torch.randn_like(attended[0]), *e.qkv, e.windows, *attended, 0.25
    expected_grads = window_attention.reference.window_attention_backward(*back)
    same(window_attention._backward_cuda(*back), expected_grads, 1e-5)
    for three_d in (False, True):
        found = rotated_iou._iou_matrix_cuda(e.boxes, e.boxes, three_d)
        same([found], [rotated_iou.reference.iou_matrix(e.boxes, e.boxes, three_d)], 1e-6)
    a, b = e.boxes[:-1, [0, 1, 3, 4, 6]].double(), e.boxes[1:, [0, 1, 3, 4, 6]].double()
    same(rotated_iou._paired_overlap_cuda(a, b), rotated_iou.reference.paired_overlap(a, b), 1e-9)
    kept = rotated_nms._rotated_nms_cuda(e.boxes, e.scores, e.labels, [0.1, 0.2, 0.3], False)
    assert torch.equal(kept, rotated_nms.rotated_nms(e.boxes, e.scores, e.labels, [0.1, 0.2, 0.3]))
    assert len(kept) < 60
    in_boxes = e.points.double(), e.point_batch, e.boxes.double(), e.labels
    same(points_in_boxes._points_in_boxes_cuda(*in_boxes), points_in_boxes.reference.points_in_boxes(*in_boxes))
    keep = torch.rand(len(coords)) < 0.3
    _, ny, nx = voxelize.grid_shape(RANGE, VOXEL)
    grown = dilate._dilate_cuda(coords, keep, 3, ny, nx, 2)
    same(grown, dilate.reference.dilate(coords, keep, 3, ny, nx, 2))
    features = torch.randn(len(coords), 6)
    same(
        dilate._gather_max_cuda(features, grown[2], grown[3]), dilate.reference.gather_max(features, grown[2], grown[3])
    )


def test_switching_on_is_visible() -> None:
    code = (
        "import ops; names = ops.enable_unproven_cuda(); rows = {r.op: r for r in ops.kernels_in_use() "
        "if r.device == 'cuda'}; assert names and all(rows[n].kernel == 'cuda (never run on a GPU)' for n in names)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(ops.__file__).parent.parent)
