"""A whole transformer layer for the CPU in C (kernel.c); there is no numba form: without a compiler the layer is made
of plain matrix products and ops.window_attention.

Floor: the layer's matrix products, 2 T (4 C C + 2 C M), at the processor's rate (AVX512-BF16 doubles it).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ops import native
from ops import threads as threading

SOURCE = Path(__file__).with_name("kernel.c")
TILE = 96  # tokens: with all that is between x and z they fill half of a second cache of 1 MiB
ROWS = 6  # as in kernel.c
GRAIN = 64.0  # tokens worth a thread


Functions = tuple[Callable[..., None], Callable[..., None]]
"""layer_pack and layer_forward."""


def defines(channels: int, hidden: int, heads: int, bf16: bool) -> tuple[tuple[str, str], ...]:
    """What kernel.c is compiled for."""
    values = (("C", channels), ("M", hidden), ("DIM", channels // heads), ("BF16", int(bf16)))
    return tuple((name, str(value)) for name, value in values)


def _lanes() -> int:
    return 16 if native.has("__AVX512F__") else 8 if native.has("__AVX__") else 4


def fits(channels: int, hidden: int, heads: int, bf16: bool) -> bool:
    """Whether kernel.c can be compiled here and takes these sizes; bf16 needs the instructions for it."""
    if not native.state()[0] or (bf16 and not native.has("__AVX512BF16__")):
        return False
    lanes = _lanes()
    panel = lanes * (4 if lanes == 16 else 2)
    whole = channels % panel == 0 and hidden % panel == 0 and channels % (2 * lanes) == 0
    return whole and channels <= 512 and hidden <= 2048 and channels // heads <= 64 and channels // heads % lanes == 0


def kernels(channels: int, hidden: int, heads: int, bf16: bool) -> Functions | None:
    """The C functions, or None where they cannot be had."""
    if not fits(channels, hidden, heads, bf16):
        return None
    chosen = defines(channels, hidden, heads, bf16)
    pack, forward = (native.kernel(SOURCE, name, chosen) for name in ("layer_pack", "layer_forward"))
    return None if pack is None or forward is None else (pack, forward)


def _aligned(count: int) -> np.ndarray:
    """Floats that begin at a multiple of 64 bytes: a vector then lies in one line of the cache."""
    room = np.empty(count + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    return room[first : first + count]


def forward(
    found: Functions,
    x: np.ndarray,
    offsets: np.ndarray,
    weights: list[np.ndarray],
    *,
    eps: float,
    mlp_eps: float,
    bf16: bool,
    threads: int,
) -> np.ndarray:
    """x float32 [T, C] -> [T, C] by the two functions of `kernels`; weights as in LayerWeights."""
    pack, kernel = found
    out = np.empty_like(x)
    if x.size == 0:
        return out
    for i in (0, 2, 6, 8):
        packed = _aligned(weights[i].size // (2 if bf16 else 1))
        pack(0, weights[i].shape[0], weights[i], weights[i].shape[1], packed)
        weights[i] = packed
    counts = np.diff(offsets)
    capacity = -(-max(TILE, int(counts.max())) // ROWS) * ROWS
    width = 4 * x.shape[1] + weights[7].size

    def part(start: int, stop: int) -> None:
        room = _aligned(capacity * width)
        kernel(start, stop, x, offsets, TILE, capacity, room, *weights, np.float32(eps), np.float32(mlp_eps), out)

    # Attention costs a token what its window's length adds to its products: about 1 / 400 of them a token.
    cost = np.concatenate([[0.0], np.cumsum(counts * (1.0 + counts / 400.0))])
    threading.run(part, threading.balanced_parts(cost, threads, GRAIN), threads)
    return out
