"""Submanifold convolution in plain torch: gather the neighbours' rows, one matrix product."""

import torch
from torch import Tensor


def submanifold_conv(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    """x [V, C], weight [K, C, D], neighbours int64 [V, K] (V: empty) -> [V, D]."""
    return _gathered(x, neighbours) @ weight.flatten(0, 1)


def submanifold_conv_backward(grad: Tensor, x: Tensor, weight: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x [V, C] and weight [K, C, D].

    Neighbourhood is mutual: row i reads row j at offset k exactly where row j reads row i at offset K - 1 - k. So the
    gradient of x is the same gather with the weights turned round, and nothing is scattered.
    """
    turned = weight.flip(0).transpose(1, 2)
    grad_x = _gathered(grad, neighbours) @ turned.flatten(0, 1)
    grad_weight = _gathered(x, neighbours).t() @ grad
    return grad_x, grad_weight.view(weight.shape)


def _gathered(x: Tensor, neighbours: Tensor) -> Tensor:
    """[V, K * C]: each row's neighbours side by side, zeros where there is none."""
    padded = torch.cat((x, x.new_zeros(1, x.shape[1])))
    return padded.index_select(0, neighbours.flatten()).view(len(x), neighbours.shape[1] * x.shape[1])
