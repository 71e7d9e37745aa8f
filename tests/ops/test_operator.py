"""The short way to a CPU kernel: taken where torch has nothing to add, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.library import CustomOpDef
from torch.utils._python_dispatch import TorchDispatchMode

from ops.operator import operator


@operator("drive_ops::test_twice")
def _twice(x: Tensor, several: list[Tensor], factor: float) -> Tensor:
    return 2 * factor * x + sum(one.sum() for one in several)


@_twice.register_kernel("cpu")
def _(x: Tensor, several: list[Tensor], factor: float) -> Tensor:
    given = [torch.from_numpy(one.detach().contiguous().numpy()) for one in (x, *several)]
    return 2 * factor * given[0] + sum(one.sum() for one in given[1:])


@_twice.register_fake
def _(x: Tensor, several: list[Tensor], factor: float) -> Tensor:
    return x.new_empty(x.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.factor, ctx.several = inputs[2], inputs[1]


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return 2 * ctx.factor * grad, [grad.sum().expand(one.shape).contiguous() for one in ctx.several], None


_twice.register_autograd(_backward, setup_context=_setup)


@pytest.fixture
def dispatched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with every call that goes through torch's dispatcher."""
    calls: list[str] = []
    own = CustomOpDef.__call__

    def counted(self: CustomOpDef, *given: Any) -> Any:
        calls.append(str(self))
        return own(self, *given)

    monkeypatch.setattr(CustomOpDef, "__call__", counted)
    return calls


def test_plain_call_takes_the_kernel_itself(dispatched: list[str], pure: Callable[..., Any]) -> None:
    x, y = torch.randn(3), torch.randn(2)
    found = pure(_twice, x, [y], 1.5)
    torch.testing.assert_close(found, 3 * x + y.sum())
    with torch.no_grad():
        _twice(x.requires_grad_(), [y], 1.5)
    with torch.inference_mode():
        _twice(x, (y, y.exp()), 1)
    assert not dispatched


def test_gradient_goes_through_torch(dispatched: list[str], opcheck: Callable[..., None]) -> None:
    for wants in (0, 1):
        x, y = (torch.randn(3, requires_grad=wants == i) for i in range(2))
        (gradient,) = torch.autograd.grad(_twice(x, [y], 1.0).sum(), (x, y)[wants])
        assert torch.equal(gradient, torch.full((3,), 2.0 if wants == 0 else 3.0))
    assert len(dispatched) == 2
    opcheck(_twice, torch.randn(3, requires_grad=True), [torch.randn(2)], 1.0)


class _Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, given=(), named=None):  # type: ignore[no-untyped-def]
        self.names.append(str(function))
        return function(*given, **(named or {}))


def test_who_watches_sees_the_operator(dispatched: list[str]) -> None:
    x, y = torch.randn(3), torch.randn(2)
    with _Names() as seen:
        _twice(x, [y], 1.0)
    assert seen.names[0] == "drive_ops.test_twice.default"
    with torch.profiler.profile() as profile:
        _twice(x, [y], 1.0)
    assert "drive_ops::test_twice" in {event.name for event in profile.events()}
    graph = make_fx(lambda x: _twice(x, [x], 1.0))(x)
    assert "drive_ops.test_twice" in graph.code
    assert len(dispatched) == 3
    with pytest.raises(RuntimeError, match=r"vmap|functorch|Batch"):
        torch.vmap(lambda x: _twice(x, [y], 1.0))(torch.randn(2, 3))
    assert len(dispatched) == 4


def test_compiled_call_is_one_node(opcheck: Callable[..., None]) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    x, y = torch.randn(3), torch.randn(2)
    found = torch.compile(lambda x, y: _twice(x + 1, [y], 1.0), backend=backend, fullgraph=True)(x, y)
    torch.testing.assert_close(found, 2 * (x + 1) + y.sum())
    assert "drive_ops.test_twice" in graphs[0].code


def test_other_tensors_go_through_torch(dispatched: list[str]) -> None:
    x, y = torch.randn(3), torch.randn(2)
    assert _twice(x.to("meta"), [y.to("meta")], 1.0).is_meta
    turned = torch._neg_view(x)
    torch.testing.assert_close(_twice(turned, [y], 1.0), -2 * x + y.sum())
    torch.testing.assert_close(_twice(x, [torch._neg_view(y)], 1.0), 2 * x - y.sum())

    class Own(Tensor):
        pass

    torch.testing.assert_close(_twice(x.as_subclass(Own), [y], 1.0).as_subclass(Tensor), 2 * x + y.sum())
    assert len(dispatched) == 4


def test_reference_instead(dispatched: list[str]) -> None:
    x = torch.randn(3)
    with _twice.reference_only("cpu"):
        torch.testing.assert_close(_twice(x, [], 1.0), 2 * x)
    assert len(dispatched) == 1
    _twice(x, [], 1.0)
    assert len(dispatched) == 1
