"""A whole post-norm transformer layer on ragged windows in one operator (SWFormer, spec 1.5).

y = LN(x + out(attention(qkv(x)))), z = LN(y + mlp(y)), attention inside each window only, MLP with GELU, no dropout.
The C kernel keeps a tile of whole windows in the cache from x to z (lidar_detection.md 8.6). Matrix products are in
float32, or of bfloat16 factors with float32 sums (FlashAttention's and oneDNN's practice), which AVX512-BF16 does twice
as fast; norms, softmax, residuals and biases are float32 in both.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import checks, kernels, native
from ops.arrays import array, tensors
from ops.operator import operator
from ops.transformer_layer import cpu, reference
from ops.window_attention import window_attention

MATMUL_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class LayerWeights(NamedTuple):
    """Parameters of the layer: linear weights [outputs, inputs] and biases, norm weights and biases."""

    qkv_weight: Tensor  # [3 C, C]: queries, keys, values, each head by head
    qkv_bias: Tensor
    out_weight: Tensor  # [C, C]
    out_bias: Tensor
    norm_weight: Tensor  # [C]
    norm_bias: Tensor
    in_weight: Tensor  # [M, C]
    in_bias: Tensor
    mlp_weight: Tensor  # [C, M]
    mlp_bias: Tensor
    mlp_norm_weight: Tensor  # [C]
    mlp_norm_bias: Tensor


def transformer_layer(
    x: Tensor,
    offsets: Tensor,
    weights: LayerWeights,
    heads: int,
    *,
    eps: float = 1e-5,
    mlp_eps: float = 1e-5,
    matmul_dtype: torch.dtype | None = None,
) -> Tensor:
    """One layer: x [T, C] sorted by window, `offsets` int64 [W + 1] -> [T, C], float32 or float64.

    matmul_dtype: x's dtype (None), or torch.bfloat16: both factors of the products with weights are rounded to it.
    Differentiable in x and the weights; only x is kept for it, the rest is computed again. ValueError where shapes,
    dtypes or heads do not fit or the offsets do not split the T tokens.
    """
    _check(x, offsets, weights, heads)
    if matmul_dtype not in (None, x.dtype, torch.bfloat16):
        raise ValueError(f"transformer_layer: matmul_dtype must be {x.dtype} or torch.bfloat16, got {matmul_dtype}")
    return _transformer_layer(x, offsets, list(weights), heads, eps, mlp_eps, matmul_dtype == torch.bfloat16)


def composed(
    x: Tensor, offsets: Tensor, weights: LayerWeights, heads: int, eps: float = 1e-5, mlp_eps: float = 1e-5
) -> Tensor:
    """The same layer made of torch's operators and ops.window_attention, whose results autograd keeps: what training
    takes, because computing everything again costs more time than it saves. Follows torch.autocast.
    """
    return reference.layer(x, offsets, weights, heads, eps, mlp_eps, F.linear, window_attention)


def _check(x: Tensor, offsets: Tensor, weights: LayerWeights, heads: int) -> None:
    checks.check_float("transformer_layer", "x", x, 2, full_only=True)
    checks.check_index("transformer_layer", "offsets", offsets)
    checks.check_same_device("transformer_layer", x, offsets, *weights)
    C, M = x.shape[1], weights.in_weight.shape[0]
    if heads < 1 or C == 0 or C % heads:
        raise ValueError(f"transformer_layer: {C} channels do not divide into {heads} heads")
    shapes = ((3 * C, C), (3 * C,), (C, C), (C,), (C,), (C,), (M, C), (M,), (C, M), (C,), (C,), (C,))
    for name, weight, shape in zip(LayerWeights._fields, weights, shapes, strict=True):
        if tuple(weight.shape) != shape or weight.dtype != x.dtype:
            found = f"{weight.dtype} {tuple(weight.shape)}"
            raise ValueError(f"transformer_layer: {name} must be {x.dtype} {shape}, got {found}")


@operator("drive_ops::transformer_layer")
def _transformer_layer(
    x: Tensor, offsets: Tensor, weights: list[Tensor], heads: int, eps: float, mlp_eps: float, bf16: bool
) -> Tensor:
    checks.check_offsets("transformer_layer", offsets, x.shape[0])
    with torch.autocast(x.device.type, enabled=False):
        return reference.transformer_layer(x, offsets, weights, heads, eps, mlp_eps, bf16)


@operator("drive_ops::transformer_layer_backward")
def _transformer_layer_backward(
    grad: Tensor, x: Tensor, offsets: Tensor, weights: list[Tensor], heads: int, eps: float, mlp_eps: float, bf16: bool
) -> list[Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return reference.transformer_layer_backward(grad, x, offsets, weights, heads, eps, mlp_eps, bf16)


@_transformer_layer.register_kernel("cpu")
def _(x: Tensor, offsets: Tensor, weights: list[Tensor], heads: int, eps: float, mlp_eps: float, bf16: bool) -> Tensor:
    checks.check_offsets("transformer_layer", offsets, x.shape[0])
    found = cpu.kernels(x.shape[1], weights[6].shape[0], heads, bf16) if x.dtype == torch.float32 else None
    if found is None:
        linear = F.linear if not bf16 else _torch_bf16_linear if _fast_bf16() else reference.rounded_linear
        with torch.autocast("cpu", enabled=False):
            return reference.layer(x, offsets, weights, heads, eps, mlp_eps, linear, window_attention)
    given, threads = [array(w) for w in weights], torch.get_num_threads()
    out = cpu.forward(found, array(x), array(offsets), given, eps=eps, mlp_eps=mlp_eps, bf16=bf16, threads=threads)
    return tensors(out)


def _fast_bf16() -> bool:
    """Whether torch's own bfloat16 products are faster here than its float32 ones."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def _torch_bf16_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """torch's bfloat16 product, whose result is rounded as well."""
    return F.linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16()).to(x.dtype)


@_transformer_layer.register_fake
def _(x: Tensor, offsets: Tensor, weights: list[Tensor], heads: int, eps: float, mlp_eps: float, bf16: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_transformer_layer_backward.register_fake
def _(
    grad: Tensor, x: Tensor, offsets: Tensor, weights: list[Tensor], heads: int, eps: float, mlp_eps: float, bf16: bool
) -> list[Tensor]:
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, *weights)]


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, offsets, weights, *ctx.scalars = inputs
    ctx.save_for_backward(x, offsets, *weights)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    x, offsets, *weights = ctx.saved_tensors
    to_x, *to_weights = _transformer_layer_backward(grad, x, offsets, weights, *ctx.scalars)
    return to_x, None, to_weights, None, None, None, None


_transformer_layer.register_autograd(_backward, setup_context=_save)


def _in_use() -> tuple[str, str]:
    kernel, reason = native.kernel_in_use(cpu.SOURCE, cpu.defines(128, 256, 8, False))
    if kernel == native.IN_USE:
        return kernel, reason + ("; bfloat16 too" if cpu.fits(128, 256, 8, True) else "; no bfloat16 instructions here")
    return "numba and torch", kernel.removeprefix("numba ").strip("()") + ": torch's products, ops.window_attention"


kernels.declare_native("transformer_layer", _in_use)
kernels.declare("transformer_layer", "cuda", "torch reference", "torch's matrix products; no kernel of its own")
