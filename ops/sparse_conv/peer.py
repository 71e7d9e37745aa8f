"""spconv behind the same calls: the parity check, the peer of the benchmark, and a choice where its wheel is installed.

Checked with spconv 2.3.8. Its CPU wheel needs `cumm<0.8`, has the "Native" algorithm only, no bias, and cannot compute
a gradient: training with it needs its CUDA wheel and a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


def installed() -> bool:
    """Whether spconv can be imported here."""
    return importlib.util.find_spec("spconv") is not None


def _spconv() -> Any:
    if not installed():
        raise ModuleNotFoundError("spconv is not installed: install its wheel (extra `peers`), or use our own operator")
    return importlib.import_module("spconv.pytorch")


@dataclass(frozen=True)
class SpconvRules:
    """One convolution's place in a network, as spconv wants it: made by the first layer that uses it, then shared.

    coords_in: int32 [V, 4]. After a strided layer ran, `after` knows the output's voxels (spconv's own order).
    """

    kind: str  # "submanifold", "strided" or "inverse"
    key: str
    coords_in: Tensor
    shape_in: list[int]
    batch_size: int
    kernel_size: Sequence[int] = (3, 3, 3)
    stride: Sequence[int] = (1, 1, 1)
    padding: Sequence[int] = (1, 1, 1)
    known: dict[str, Any] = field(default_factory=dict)
    layers: dict[Any, Any] = field(default_factory=dict)

    def layer(self, channels: int, outputs: int) -> Any:
        """spconv's layer of that size without a weight of its own."""
        if (channels, outputs) not in self.layers:
            spconv = _spconv()
            settings = {"bias": False, "indice_key": self.key}
            if self.coords_in.device.type == "cpu":
                settings["algo"] = spconv.ConvAlgo.Native
            if self.kind == "submanifold":
                made = spconv.SubMConv3d(channels, outputs, list(self.kernel_size), **settings)
            elif self.kind == "strided":
                shape = list(self.kernel_size), list(self.stride), list(self.padding)
                made = spconv.SparseConv3d(channels, outputs, *shape, **settings)
            else:
                made = spconv.SparseInverseConv3d(channels, outputs, list(self.kernel_size), **settings)
            del made.weight  # ours takes its place, as a plain attribute through which gradients flow
            self.layers[channels, outputs] = made
        return self.layers[channels, outputs]


def convolve(x: Tensor, weight: Tensor, rules: SpconvRules) -> tuple[Tensor, Tensor, list[int]]:
    """(rows, their coords int32 [U, 4], the grid's shape) of x [V, C] and weight [K, C, D], our layout."""
    spconv = _spconv()
    learning = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learning and x.device.type == "cpu":
        raise RuntimeError("spconv has no gradient on a CPU: train with implementation 'ops', or on a GPU")
    layer = rules.layer(*weight.shape[1:])
    layer.weight = weight.unflatten(0, tuple(rules.kernel_size)).permute(4, 0, 1, 2, 3).contiguous()
    layer.train(learning)
    # It reads memory as if it were contiguous, whatever the strides.
    given = spconv.SparseConvTensor(x.contiguous(), rules.coords_in.contiguous(), rules.shape_in, rules.batch_size)
    given.indice_dict = rules.known
    out = layer(given)
    return out.features, out.indices, list(out.spatial_shape)


def rulebook(coords: Tensor, shape: Sequence[int], batch_size: int) -> tuple[Tensor, Tensor]:
    """spconv's own pairs of a submanifold convolution of 27 offsets: int32 [2, 27, V], and how many of each count.

    coords: int32 [V, 4], contiguous. It lists the first 13 offsets; the others are the same pairs turned round, the
    middle one is each voxel with itself.
    """
    spconv = _spconv()
    find = importlib.import_module("spconv.pytorch.ops").get_indice_pairs
    three, ones, zeros = [3] * 3, [1] * 3, [0] * 3
    algorithm = spconv.ConvAlgo.Native
    _, pairs, counts = find(
        coords, batch_size, list(shape), algorithm, three, ones, ones, ones, zeros, subm=True, transpose=False
    )
    return pairs, counts
