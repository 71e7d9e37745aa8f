"""Run a model on the torch references of all operators: the other side of a before-and-after measurement."""

from __future__ import annotations

import importlib
import sys
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


def _operators(package: str, device: str) -> list[CustomOpDef]:
    """Operators of a package and its modules that have a kernel of their own for the device."""
    importlib.import_module(package)
    modules = [m for name, m in sorted(sys.modules.items()) if f"{name}.".startswith(f"{package}.")]
    # torch has no public way to ask; its own set_kernel_enabled only logs a warning where there is none.
    values = [(v, module) for module in modules for v in vars(module).values() if isinstance(v, CustomOpDef)]
    return [op for op, m in values if op._init_fn.__module__ == m.__name__ and device in op._backend_fns]
