"""The fused transformer layer on ragged windows."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import ops
from ops import native
from ops.transformer_layer import (
    LayerWeights,
    _transformer_layer,
    _transformer_layer_backward,
    composed,
    cpu,
    reference,
    transformer_layer,
)

COUNTS = [1, 2, 99, 100, 0, 37, 16, 300, 5, 5, 5]

pytestmark = pytest.mark.usefixtures("either_kernel")


def parameters(C: int, M: int, dtype: torch.dtype = torch.float32) -> LayerWeights:
    shapes = ((3 * C, C), (3 * C,), (C, C), (C,), (C,), (C,), (M, C), (M,), (C, M), (C,), (C,), (C,))
    return LayerWeights(*(torch.randn(shape, dtype=dtype) / math.sqrt(shape[-1]) for shape in shapes))


def exact(x: Tensor, offsets: Tensor, weights: LayerWeights, heads: int, bf16: bool = False) -> Tensor:
    return reference.transformer_layer(x.double(), offsets, [w.double() for w in weights], heads, 1e-5, 1e-5, bf16)


def test_reference_is_torch_modules_window_by_window(ragged) -> None:
    C, M, heads = 16, 24, 4
    offsets, weights = ragged([3, 0, 5]), parameters(C, M)
    x = torch.randn(8, C)
    layer = nn.TransformerEncoderLayer(C, heads, M, dropout=0.0, activation="gelu", batch_first=True).eval()
    attention = layer.self_attn
    modules = attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias
    rest = [p for m in (layer.norm1, layer.linear1, layer.linear2, layer.norm2) for p in (m.weight, m.bias)]
    with torch.no_grad():
        for parameter, value in zip([*modules, *rest], weights, strict=True):
            parameter.copy_(value)
        out = reference.transformer_layer(x, offsets, list(weights), heads, 1e-5, 1e-5, False)
        for first, last in pairwise(offsets):
            if first < last:
                torch.testing.assert_close(out[first:last], layer(x[None, first:last])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("C", "M", "heads"), [(128, 256, 8), (64, 64, 4), (128, 64, 4), (24, 40, 3)])
def test_kernel_equals_reference(C: int, M: int, heads: int, ragged, pure) -> None:
    offsets, weights = ragged(COUNTS), parameters(C, M)
    x = torch.randn(int(offsets[-1]), C)
    out = pure(lambda x, o, *w: transformer_layer(x, o, LayerWeights(*w), heads), x, offsets, *weights)
    # Sums of 256 terms below 1 err by 1e-6; a norm multiplies that by at most a few.
    torch.testing.assert_close(out.double(), exact(x, offsets, weights, heads), rtol=0, atol=1e-5)
    torch.testing.assert_close(composed(x, offsets, weights, heads), out, rtol=0, atol=1e-5)


def test_bfloat16_products_are_as_near_as_their_rounding(ragged, either_kernel) -> None:
    offsets, weights = ragged(COUNTS), parameters(128, 256)
    x = torch.randn(int(offsets[-1]), 128)
    out = transformer_layer(x, offsets, weights, 8, matmul_dtype=torch.bfloat16)
    assert out.dtype == torch.float32
    rounded, full = (exact(x, offsets, weights, 8, bf16).float() for bf16 in (True, False))
    # A factor rounds by 2**-9; a value just at the edge of a step falls to either side, which is 2**-8 of it.
    assert float((out - rounded).abs().max()) < (0.02 if either_kernel == "C" else 0.04)
    assert float((out - rounded).abs().mean()) < (2e-4 if either_kernel == "C" else 4e-3)
    assert float((out - full).abs().max()) < 0.04
    assert float((out - full).abs().mean()) < 4e-3
    assert not torch.equal(out, transformer_layer(x, offsets, weights, 8))


def test_the_kernel_in_use_is_the_one_asked_for(either_kernel) -> None:
    found = cpu.kernels(128, 256, 8, False)
    assert (found is not None) == (either_kernel == "C")
    assert cpu.kernels(20, 30, 2, False) is None
    row = next(row for row in ops.kernels_in_use() if (row.op, row.device) == ("transformer_layer", "cpu"))
    assert row.kernel == (native.IN_USE if either_kernel == "C" else "numba and torch")
    assert row.reason


@pytest.mark.parametrize("bf16", [False, True])
def test_gradient_and_operator_rules(bf16: bool, ragged, opcheck) -> None:
    offsets = ragged([1, 0, 3, 2])
    doubles = [t.requires_grad_() for t in (torch.randn(6, 6, dtype=torch.float64), *parameters(6, 5, torch.float64))]
    if not bf16:  # rounding has no derivative: its gradient is that of the function without it
        call = lambda x, *w: transformer_layer(x, offsets, LayerWeights(*w), 2)  # noqa: E731
        assert torch.autograd.gradcheck(call, doubles)
    x, weights = torch.randn(6, 64).requires_grad_(), [w.requires_grad_() for w in parameters(64, 64)]
    opcheck(_transformer_layer, x, offsets, weights, 4, 1e-5, 1e-5, bf16)
    plain = [w.detach() for w in weights]
    opcheck(_transformer_layer_backward, torch.randn(6, 64), x.detach(), offsets, plain, 4, 1e-5, 1e-5, bf16)


def test_gradient_equals_that_of_the_composed_layer(ragged) -> None:
    offsets = ragged(COUNTS)
    leaves = [t.requires_grad_() for t in (torch.randn(int(offsets[-1]), 64), *parameters(64, 128))]
    weight = torch.randn(leaves[0].shape)

    def gradients(call) -> tuple[Tensor, ...]:
        return torch.autograd.grad((call(leaves[0], offsets, LayerWeights(*leaves[1:]), 4) * weight).sum(), leaves)

    for ours, theirs in zip(gradients(transformer_layer), gradients(composed), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))


def test_windows_do_not_see_each_other_and_threads_change_nothing(ragged) -> None:
    offsets, weights = ragged([30] * 40), parameters(128, 256)
    x = torch.randn(1200, 128)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        out = transformer_layer(x, offsets, weights, 8)
        other = x.clone()
        other[30:] = 7.0
        torch.testing.assert_close(transformer_layer(other, offsets, weights, 8)[:30], out[:30], rtol=0, atol=2e-6)
        if native.state()[0]:  # torch's own products may sum in another order for another number of threads
            torch.set_num_threads(2)
            assert torch.equal(transformer_layer(x, offsets, weights, 8), out)
    finally:
        torch.set_num_threads(before)


def test_empty_one_token_and_strides(ragged) -> None:
    weights = parameters(64, 64)
    for counts in ([], [0, 0]):
        assert transformer_layer(torch.zeros(0, 64), ragged(counts), weights, 4).shape == (0, 64)
    x = torch.randn(64, 10).t()
    one = transformer_layer(x[:1], ragged([1]), weights, 4)
    torch.testing.assert_close(one.double(), exact(x[:1], ragged([1]), weights, 4), rtol=0, atol=1e-5)
    whole = transformer_layer(x.contiguous(), ragged([4, 6]), weights, 4)
    near = {"rtol": 0, "atol": 2e-6}  # torch's own products may sum in another order for another layout
    torch.testing.assert_close(transformer_layer(x, ragged([4, 6]), weights, 4), whole, **near)
    turned = LayerWeights(weights[0].t().contiguous().t(), *weights[1:])
    torch.testing.assert_close(transformer_layer(x, ragged([4, 6]), turned, 4), whole, **near)


@pytest.mark.parametrize("matmul_dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_window(bad: float, matmul_dtype: torch.dtype | None, ragged) -> None:
    x, weights = torch.randn(12, 64), parameters(64, 64)
    clean = transformer_layer(x, ragged([5, 7]), weights, 4, matmul_dtype=matmul_dtype)
    x[2, 7] = bad
    out = transformer_layer(x, ragged([5, 7]), weights, 4, matmul_dtype=matmul_dtype)
    assert out[:5].isnan().all()  # every token of the window attends to it
    torch.testing.assert_close(out[5:], clean[5:], rtol=0, atol=2e-6)


def test_compiles_whole(ragged) -> None:
    offsets, weights, x = ragged([4, 9]), parameters(64, 64), torch.randn(13, 64, requires_grad=True)
    eager = transformer_layer(x, offsets, weights, 4)
    compiled = torch.compile(transformer_layer, backend="aot_eager", fullgraph=True)(x, offsets, weights, 4)
    assert torch.equal(eager, compiled)
    compiled.sum().backward()
    assert x.grad is not None


def test_wrong_arguments(ragged) -> None:
    x, weights, offsets = torch.zeros(6, 64), parameters(64, 64), ragged([6])
    half = LayerWeights(*(w.bfloat16() for w in weights))
    for arguments in (
        (x[0], offsets, weights, 4),
        (x, offsets.int(), weights, 4),
        (x, ragged([5]), weights, 4),
        (x, offsets, weights, 5),
        (x, offsets, weights._replace(in_bias=weights.in_bias[:3]), 4),
        (x.double(), offsets, weights, 4),
        (x.bfloat16(), offsets, half, 4),
    ):
        with pytest.raises(ValueError, match="transformer_layer"):
            transformer_layer(*arguments)
    with pytest.raises(ValueError, match="transformer_layer: matmul_dtype"):
        transformer_layer(x, offsets, weights, 4, matmul_dtype=torch.float16)
