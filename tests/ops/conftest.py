"""What every operator's test does: call twice, compare bit by bit, and see that the inputs are as they were."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import ops
from ops import native


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def pure() -> Callable[..., Any]:
    """pure(call, *inputs) -> the output, after checking it twice and the inputs' bits."""

    def check(call: Callable[..., Any], *inputs: Any) -> Any:
        before = [value.detach().clone() if isinstance(value, Tensor) else value for value in inputs]
        first, second = call(*inputs), call(*inputs)
        for one, two in zip(_flat(first), _flat(second), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)
        for old, new in zip(before, inputs, strict=True):
            assert isinstance(old, Tensor) or old == new
            if isinstance(old, Tensor):
                torch.testing.assert_close(old, new, rtol=0, atol=0, equal_nan=True)
        return first

    return check


@pytest.fixture(params=["C", "numba"])
def either_kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs with the C kernels and with numba's."""
    if request.param == "C" and not native.state()[0]:
        pytest.skip(f"no C kernels here: {native.state()[1]}")
    ops.use_native(request.param == "C")
    yield request.param
    ops.use_native(True)


def _flat(output: Any) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else tuple(output)


@pytest.fixture
def opcheck() -> Callable[..., None]:
    """torch.library.opcheck of an operator; torch warns about its own test's use of .grad."""

    def check(op: Any, *arguments: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
            torch.library.opcheck(op.definition, arguments)

    return check


@pytest.fixture
def ragged() -> Callable[..., Tensor]:
    """ragged(counts) -> offsets int64."""
    return lambda counts: torch.tensor([0, *counts]).cumsum(0)
