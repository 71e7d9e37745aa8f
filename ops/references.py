"""Run a model on the torch references of all operators: the other side of a before-and-after measurement."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch.library import CustomOpDef

from ops.kernels import OPERATORS


@contextmanager
def reference_kernels(device: str = "cpu") -> Iterator[int]:
    """Inside, every operator takes its torch reference on tensors of "cpu" or "cuda". Yields how many calls change."""
    with ExitStack() as stack:
        found = [op for name in OPERATORS for op in _operators(f"ops.{name}", device)]
        for op in found:
            stack.enter_context(op.set_kernel_enabled(device, enabled=False))
        yield len(found)


def _operators(module: str, device: str) -> list[CustomOpDef]:
    """Operators of a module that have a kernel of their own for the device."""
    values = vars(importlib.import_module(module)).values()
    # torch has no public way to ask; its own set_kernel_enabled only logs a warning where there is none.
    mine = [v for v in values if isinstance(v, CustomOpDef) and v._init_fn.__module__ == module]
    return [op for op in mine if device in op._backend_fns]
