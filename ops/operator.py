"""How an operator is made known to torch, and called past torch's dispatcher where that has nothing to add.

A call through the dispatcher costs 20 to 30 us (twice into Python, twice out again), more than some kernels take. It is
needed for gradients, for torch.compile, export and tracing, for functions of torch.func, under dispatch modes and the
profiler, and for tensors that do not lie plainly in the CPU's memory. Everywhere else the kernel is called itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

PLAIN = (Tensor, torch.nn.Parameter)
NUMBERS = (int, float, bool, str, type(None))


class Operator:
    """An operator of `torch.library.custom_op` with a short way to its CPU kernel: same arguments, same answers.

    Attributes:
        definition: torch's own side of it.
        kernels: Own kernels by device, "cpu" and "cuda".
        module: Name of the module that it was defined in.
        register_fake: As `torch.library.CustomOpDef` has it; register_autograd too.
    """

    def __init__(self, name: str, reference: Callable[..., Any]) -> None:
        self.definition = torch.library.custom_op(name, reference, mutates_args=())
        self.kernels: dict[str, Callable[..., Any]] = {}
        self.module = reference.__module__
        self.register_fake = self.definition.register_fake
        self.register_autograd = self.definition.register_autograd

    def register_kernel(self, device: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates the kernel of "cpu" or "cuda"."""

        def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
            self.kernels[device] = kernel
            self.definition.register_kernel(device, kernel)
            return kernel

        return register

    @contextmanager
    def reference_only(self, device: str) -> Iterator[None]:
        """Inside, the torch reference runs on this device, which must have a kernel."""
        kernel = self.kernels.pop(device)
        try:
            with self.definition.set_kernel_enabled(device, enabled=False):
                yield
        finally:
            self.kernels[device] = kernel

    def __call__(self, *arguments: Any) -> Any:
        if torch.compiler.is_compiling() or "cpu" not in self.kernels or _watched() or not _plain(arguments):
            return self.definition(*arguments)
        return self.kernels["cpu"](*arguments)


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Decorates the torch reference of operator "drive_ops::...", which is the kernel of devices that have no other.

    An operator changes none of its arguments and returns new tensors.
    """
    return lambda reference: Operator(name, reference)


def _watched() -> bool:
    """Whether somebody sees or rewrites torch's calls: a dispatch mode, torch.func, torch.jit.trace, the profiler."""
    return bool(
        torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or torch.autograd._profiler_enabled()
    )


def _plain(arguments: Iterable[Any]) -> bool:
    """Whether all tensors lie plainly in the CPU's memory and none wants a gradient."""
    for one in arguments:
        kind = type(one)
        if kind in PLAIN:
            wants_gradient = one.requires_grad and torch.is_grad_enabled()
            if wants_gradient or not one.is_cpu or one.layout != torch.strided or one.is_neg() or one.is_conj():
                return False
        elif kind in (list, tuple):
            if not _plain(one):
                return False
        elif kind not in NUMBERS:
            return False
    return True
