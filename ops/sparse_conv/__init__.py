"""Sparse convolution on rulebooks: submanifold, strided and inverse (arXiv 1706.01307, SECOND).

rules = submanifold_rules(coords, shape, batch_size)        # once for all layers on these voxels
y = sparse_conv(x, weight, rules)                           # [V, C] x [27, C, D] -> [V, D]
down = strided_rules(coords, shape, batch_size)             # kernel 3, stride 2, padding 1
z = sparse_conv(y, weight, down)                            # on down.coords_out
back = sparse_conv(z, weight, down.reversed())              # inverse: on the voxels of y again
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import array, arrays
from ops.operator import operator
from ops.sparse_conv import cpu, cuda, reference, rulebook
from ops.sparse_conv.rulebook import TILE, Rulebook, strided_rules, submanifold_rules
from ops.sparse_conv.tiles import HAS_BF16, LANES

__all__ = ["Rulebook", "sparse_conv", "strided_rules", "submanifold_rules"]


def sparse_conv(x: Tensor, weight: Tensor, rules: Rulebook) -> Tensor:
    """y_j = sum over the pairs (i, j, k) of x_i @ weight[k]: [U, D], U the rulebook's outputs.

    Args:
        x: [V, C] floating point, a row an input voxel of the rulebook.
        weight: [K, C, D], same dtype, offsets in the order (z, y, x).

    float32 is multiplied and summed in float32; bfloat16 is multiplied as it is, summed in float32 and rounded once
    (on processors with AVX512-BF16 by its instruction, elsewhere after widening). Differentiable in x and weight; under
    autocast both are cast to its type. Non-finite values spread to the outputs that they reach, and no further.
    ValueError where shapes, dtypes or devices disagree.
    """
    checks.check_same_device("sparse_conv", x, weight, rules.inputs)
    if torch.is_autocast_enabled(x.device.type):
        # Autocast would reach into the operator and change the type of what it returns behind its gradient's back.
        half = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(half), weight.to(half)
    checks.check_float("sparse_conv", "x", x, 2)
    checks.check_float("sparse_conv", "weight", weight, 3)
    checks.check_rows("sparse_conv", "x", x, len(rules.coords_in))
    if x.dtype != weight.dtype or weight.shape[:2] != (rules.kernel, x.shape[1]):
        raise ValueError(
            f"sparse_conv: weight {tuple(weight.shape)} {weight.dtype} does not fit x {tuple(x.shape)} {x.dtype} and "
            f"{rules.kernel} offsets"
        )
    return _sparse_conv(x, weight, rules.inputs, rules.outputs, rules.starts, len(rules.coords_out), rules.mutual)


@operator("drive_ops::sparse_conv")
def _sparse_conv(
    x: Tensor, weight: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, num_out: int, mutual: bool
) -> Tensor:
    return reference.convolve(x, weight, inputs, outputs, starts, num_out)


@operator("drive_ops::sparse_conv_weight_gradient")
def _weight_gradient(x: Tensor, grad: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int) -> Tensor:
    return reference.weight_gradient(x, grad, inputs, outputs, starts, kernel)


def _padded(tensor: Tensor, axis: int, multiple: int) -> Tensor:
    """Zeros behind the last entry of an axis, up to a whole multiple."""
    missing = -tensor.shape[axis] % multiple
    if not missing:
        return tensor
    size = list(tensor.shape)
    size[axis] = missing
    return torch.cat((tensor, tensor.new_zeros(size)), axis)


@_sparse_conv.register_kernel("cpu")
def _(x: Tensor, weight: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, num_out: int, mutual: bool) -> Tensor:
    _, C, D = weight.shape
    if x.dtype == torch.float64 or 0 in (C, D):
        return reference.convolve(x, weight, inputs, outputs, starts, num_out)
    weight = _padded(weight.detach(), 2, LANES)
    if x.dtype == torch.bfloat16 and HAS_BF16:
        # Two channels stand side by side in 32 bits, in the voxels' rows as in the weights'.
        pairs = _padded(weight, 1, 2).unflatten(1, (-1, 2)).transpose(2, 3).contiguous().view(torch.int32).squeeze(3)
        given = _padded(x.detach(), 1, 2).contiguous().view(torch.int32), pairs
    else:
        given = x, weight
    lists = arrays(inputs, outputs, starts)
    found = cpu.convolve(*arrays(*given), *lists, num_out=num_out, tile=TILE, threads=torch.get_num_threads())
    y = torch.from_numpy(found)
    y = y.view(torch.bfloat16) if y.dtype == torch.uint16 else y.to(x.dtype)
    return y if y.shape[1] == D else y[:, :D].contiguous()


@_weight_gradient.register_kernel("cpu")
def _(x: Tensor, grad: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int) -> Tensor:
    C, D = x.shape[1], grad.shape[1]
    if x.dtype == torch.float64 or 0 in (C, D):
        return reference.weight_gradient(x, grad, inputs, outputs, starts, kernel)
    given = _padded(x.detach(), 1, 4), _padded(grad.detach(), 1, LANES)
    if x.dtype == torch.bfloat16 and HAS_BF16:
        given = given[0].contiguous().view(torch.int16), given[1].contiguous().view(torch.int16)
    found = cpu.weight_gradient(
        *(array(t) for t in given), *arrays(inputs, outputs, starts), kernel=kernel, threads=torch.get_num_threads()
    )
    return torch.from_numpy(found)[:, :C, :D].to(x.dtype).contiguous()


@_sparse_conv.register_fake
def _(x: Tensor, weight: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, num_out: int, mutual: bool) -> Tensor:
    return x.new_empty(num_out, weight.shape[2])


@_weight_gradient.register_fake
def _(x: Tensor, grad: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int) -> Tensor:
    return x.new_empty(kernel, x.shape[1], grad.shape[1])


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, _, ctx.mutual = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    x, weight, *lists = ctx.saved_tensors
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        turned = weight.transpose(1, 2)
        if ctx.mutual:  # i sees j at k exactly where j sees i at K - 1 - k: the same lists, the offsets turned round
            grad_x = _sparse_conv(grad, turned.flip(0), *lists, len(x), True)
        else:
            grad_x = _sparse_conv(grad, turned, *rulebook._reverse(*lists, len(weight), len(x)), len(x), False)
    if ctx.needs_input_grad[1]:
        grad_weight = _weight_gradient(x, grad, *lists, len(weight))
    return grad_x, grad_weight, None, None, None, None, None


_sparse_conv.register_autograd(_backward, setup_context=_save)


def _sparse_conv_cuda(
    x: Tensor, weight: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, num_out: int, mutual: bool
) -> Tensor:
    if x.dtype == torch.float64:
        return reference.convolve(x, weight, inputs, outputs, starts, num_out)
    lists = inputs.contiguous(), outputs.contiguous(), starts.contiguous()
    return cuda.convolve(x.float().contiguous(), weight.float().contiguous(), *lists, num_out).to(x.dtype)


def _weight_gradient_cuda(
    x: Tensor, grad: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int
) -> Tensor:
    if x.dtype == torch.float64:
        return reference.weight_gradient(x, grad, inputs, outputs, starts, kernel)
    lists = inputs.contiguous(), outputs.contiguous(), starts.contiguous()
    return cuda.weight_gradient(x.float().contiguous(), grad.float().contiguous(), *lists, kernel).to(x.dtype)


def _register_cuda() -> None:
    rulebook.register_cuda()
    _sparse_conv.register_kernel("cuda")(_sparse_conv_cuda)
    _weight_gradient.register_kernel("cuda")(_weight_gradient_cuda)


_HALF = "bfloat16 by AVX512-BF16" if HAS_BF16 else "half types widened to float32"
kernels.declare("sparse_conv", "cpu", "numba", f"float32, {_HALF}; float64 takes the torch reference")
kernels.declare_unproven_cuda("sparse_conv", _register_cuda)
