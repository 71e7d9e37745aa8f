"""Run a model on the torch references of all operators: the other side of a before-and-after measurement."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ops.kernels import OPERATORS
from ops.operator import Operator


@contextmanager
def reference_kernels(device: str = "cpu") -> Iterator[int]:
    """Inside, every operator takes its torch reference on tensors of "cpu" or "cuda". Yields how many calls change."""
    with ExitStack() as stack:
        found = [op for name in OPERATORS for op in _operators(f"ops.{name}", device)]
        for op in found:
            stack.enter_context(op.reference_only(device))
        yield len(found)


def _operators(package: str, device: str) -> list[Operator]:
    """Operators of a package and its modules that have a kernel of their own for the device."""
    importlib.import_module(package)
    modules = [m for name, m in sorted(sys.modules.items()) if f"{name}.".startswith(f"{package}.")]
    found = [(v, module) for module in modules for v in vars(module).values() if isinstance(v, Operator)]
    return [op for op, module in found if op.module == module.__name__ and device in op.kernels]
