"""This operator beside spconv's CPU wheel (`python -m ops bench`): rows 3a to 3c, and the rulebook alone.

`python -m ops.sparse_conv.bench SCAN.bin` does the same on a recorded scan: float32 x y z and two features a point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ops.pair import Pair, with_gradient
from ops.scans import WAYMO_VOXELS, scan
from ops.sparse_conv import Rulebook, peer, reference, sparse_conv, strided_rules, submanifold_rules
from ops.voxelize import grid_shape, voxelize

# The sparse encoder of CenterPoint-Voxel: (rules, input channels, output channels). Its grid has one layer in z more.
STAGES = ((16, 16), (16, 32), (32, 64), (64, 128))
DOWN = {"down2": (1, 1, 1), "down3": (1, 1, 1), "down4": (0, 1, 1)}
LAYERS = [("subm1", 5, 16)]
for _stage, (_in, _out) in enumerate(STAGES, 1):
    LAYERS += [(f"down{_stage}", _in, _out)] if _stage > 1 else []
    LAYERS += [(f"subm{_stage}", _out, _out)] * 4
LAYERS += [("top", 128, 128)]


def example(seed: int = 0) -> tuple[Tensor, Tensor, Rulebook]:
    """Small arguments of `sparse_conv`: a strided convolution on the voxels of two frames."""
    coords, shape = _voxels(scan(12, 160, 1, seed), frames=2)
    rules = strided_rules(coords, shape, 2)
    g = torch.Generator().manual_seed(seed)
    return torch.randn(len(coords), 5, generator=g), torch.randn(27, 5, 33, generator=g), rules


def _voxels(points: Tensor, frames: int = 1) -> tuple[Tensor, tuple[int, int, int]]:
    batch = torch.arange(len(points)) * frames // max(len(points), 1)
    nz, ny, nx = grid_shape(*WAYMO_VOXELS)
    return voxelize(points, batch, *WAYMO_VOXELS, frames).coords, (nz + 1, ny, nx)


def rulebooks(coords: Tensor, shape: tuple[int, int, int]) -> dict[str, Rulebook]:
    """The rulebooks of the whole encoder, one frame: each is made once and shared by its layers."""
    rules = {"subm1": submanifold_rules(coords, shape, 1)}
    last = rules["subm1"]
    for stage, (name, padding) in enumerate(DOWN.items(), 2):
        rules[name] = strided_rules(last.coords_out, last.shape_out, 1, padding=padding)
        rules[f"subm{stage}"] = last = submanifold_rules(rules[name].coords_out, rules[name].shape_out, 1)
    rules["top"] = strided_rules(last.coords_out, last.shape_out, 1, (3, 1, 1), (2, 1, 1), (0, 0, 0))
    return rules


def weights() -> list[Tensor]:
    """One tensor [K, C, D] a layer, scaled so that sizes stay near one through ReLU."""
    g = torch.Generator().manual_seed(1)
    sizes = [(3 if name == "top" else 27, i, o) for name, i, o in LAYERS]
    return [torch.randn(k, i, o, generator=g) * (2 / (i * k) ** 0.5) for k, i, o in sizes]


def encode(x: Tensor, coords: Tensor, shape: tuple[int, int, int], layers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rulebooks and all 21 convolutions with ReLU, residual sums every two layers: (rows, their coords)."""
    rules = rulebooks(coords, shape)
    before = x
    for n, ((name, _, _), weight) in enumerate(zip(LAYERS, layers, strict=True)):
        x = sparse_conv(x, weight, rules[name])
        x, before = _activate(x, before, n)
    return x, rules["top"].coords_out


def _activate(x: Tensor, before: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """ReLU; the second layer of each residual block adds what entered the block."""
    second = LAYERS[n][0].startswith("subm") and n > 0 and (n % 5) in (2, 4)
    x = F.relu_(x.add_(before)) if second else F.relu_(x)
    return x, x if second or not LAYERS[n][0].startswith("subm") or n == 0 else before


def spconv_encode(
    x: Tensor, coords: Tensor, shape: tuple[int, int, int], layers: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """The same with spconv's layers."""
    at: tuple[Tensor, list[int]] = (coords.int(), list(shape))
    known: dict[str, Any] = {}
    before = x
    for n, ((name, _, _), weight) in enumerate(zip(LAYERS, layers, strict=True)):
        rules = _spconv_rules(name, *at, known)
        x, *at = peer.convolve(x, weight, rules)  # type: ignore[assignment]
        x, before = _activate(x, before, n)
    return x, at[0]


def _spconv_rules(name: str, coords: Tensor, shape: list[int], known: dict[str, Any]) -> peer.SpconvRules:
    place = name, coords, shape, 1
    if name == "top":
        return peer.SpconvRules("strided", *place, (3, 1, 1), (2, 1, 1), (0, 0, 0), known)
    if name in DOWN:
        return peer.SpconvRules("strided", *place, stride=(2, 2, 2), padding=DOWN[name], known=known)
    return peer.SpconvRules("submanifold", *place, known=known)


def _gather_add(x: Tensor, weight: Tensor, lists: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The usual way in torch: gather, matrix product, index_add, an offset at a time; the lists are given."""
    y = x.new_zeros(len(x), weight.shape[2])
    for k, (inputs, outputs) in enumerate(lists):
        y.index_add_(0, outputs, x[inputs] @ weight[k])
    return [y]


def _same_rows(allowed: float) -> Callable[[Any, Any], None]:
    """Compares (rows, coords) whose voxels may be in another order."""

    def check(ours: Any, theirs: Any) -> None:
        (x, a), (y, b) = ours, theirs
        size = torch.stack((a.amax(0), b.long().amax(0))).amax(0) + 1
        keys = [((c[:, 0].long() * size[1] + c[:, 1]) * size[2] + c[:, 2]) * size[3] + c[:, 3] for c in (a, b)]
        order = [torch.argsort(key) for key in keys]
        assert torch.equal(keys[0][order[0]], keys[1][order[1]]), "sparse_conv: spconv found other voxels"
        difference = (x[order[0]].float() - y[order[1]].float()).abs().max() / y.float().abs().max()
        assert float(difference) <= allowed, f"sparse_conv: differs from spconv by {float(difference)} of the largest"

    return check


def _same_rules(ours: Rulebook, theirs: Any) -> None:
    """Compares our lists with spconv's 13 (the others follow from them)."""
    offset = reference.offset_of_pair(ours.starts, 27)
    for k in range(13):
        pairs = theirs[0][:, k, : int(theirs[1][k])]
        mine = torch.stack((ours.inputs[offset == k], ours.outputs[offset == k]))
        assert torch.equal(mine, pairs[:, torch.argsort(pairs[1])]), (
            f"sparse_conv: spconv has other pairs at offset {k}"
        )


@torch.no_grad()
def _one_layer(channels: int, coords: Tensor, shape: tuple[int, int, int], goal: float) -> Iterator[Pair]:
    weight = torch.randn(27, channels, channels) / channels**0.5
    x = torch.randn(len(coords), channels)
    rules = submanifold_rules(coords, shape, 1)
    name = f"submanifold {channels} -> {channels}, {len(coords) // 1000}k voxels, {len(rules.inputs) // 1000}k pairs"

    def ours() -> Any:
        return sparse_conv(x, weight, submanifold_rules(coords, shape, 1)), coords

    def theirs() -> Any:
        return peer.convolve(x, weight, _spconv_rules("subm1", coords.int(), list(shape), {}))[:2]

    there = theirs if peer.installed() else None
    yield Pair(f"{name}, rulebook", "spconv CPU (Native)", ours, there, same=_same_rows(1e-5), goal=goal)
    offset = reference.offset_of_pair(rules.starts, 27)
    lists = [(rules.inputs[offset == k].long(), rules.outputs[offset == k].long()) for k in range(27)]
    given = partial(_gather_add, x, weight, lists)
    yield Pair(name, "torch gather, mm, index_add", lambda: [sparse_conv(x, weight, rules)], given, 1e-3)
    learning = with_gradient(lambda a, b: sparse_conv(a, b, rules), x, weight)
    theirs_too = with_gradient(lambda a, b: _gather_add(a, b, lists)[0], x, weight)
    yield Pair(f"{name}, gradients", "torch gather, mm, index_add", learning, theirs_too, 0.05)


@torch.no_grad()
def pairs(points: Tensor | None = None) -> Iterator[Pair]:
    """Rows 3a to 3c on a synthetic scan, or on the given points [P, 5]."""
    points = scan(64, 2770) if points is None else points
    coords, shape = _voxels(points)

    there: Any = partial(peer.rulebook, coords.int().contiguous(), shape, 1) if peer.installed() else None
    ours = partial(submanifold_rules, coords, shape, 1)
    yield Pair("rulebook of 27 offsets", "spconv CPU get_indice_pairs", ours, there, same=_same_rules, goal=5.0)
    yield from _one_layer(64, coords, shape, 3.0)
    yield from _one_layer(16, coords, shape, 3.0)
    x, layers = torch.randn(len(coords), 5), weights()
    floats = partial(encode, x, coords, shape, layers)
    halves = partial(encode, x.bfloat16(), coords, shape, [w.bfloat16() for w in layers])
    there = partial(spconv_encode, x, coords, shape, layers) if peer.installed() else None
    operations = sum(
        2 * len(rules.inputs) * i * o for (name, i, o) in LAYERS for rules in (rulebooks(coords, shape)[name],)
    )
    name = f"encoder of CenterPoint-Voxel, {operations / 1e9:.1f} GFLOP"
    yield Pair(f"{name}, float32", "spconv CPU (Native)", floats, there, same=_same_rows(1e-4), goal=1.3)
    yield Pair(f"{name}, bfloat16", "spconv CPU in float32", halves, there, same=_same_rows(0.05), goal=4.0)


def main(paths: list[str]) -> None:
    """Compare and time on each file, one thread."""
    torch.set_num_threads(1)
    for path in paths:
        points = torch.from_numpy(np.fromfile(Path(path), np.float32).reshape(-1, 5))
        _print(points)


def _print(points: Tensor | None) -> None:
    from ops.bench import _in_turns

    with torch.no_grad():
        for pair in pairs(points):
            pair.ours()
            pair.check()
            times = _in_turns(pair, 5)
            shown = "  ".join(f"{min(t):8.1f}" for t in times)
            print(f"{pair.name:70s} {shown}  {min(times[1]) / min(times[0]):6.2f}  {pair.peer}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
