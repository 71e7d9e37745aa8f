"""Operators: one folder each, with a torch reference, a numba kernel for the CPU and CUDA C++ compiled at first use.

Import the operator that you need (`from ops.segment import segment_max`); this module imports nothing heavy itself.
`ops.kernels_in_use()` says which kernel runs where, and why; `ops.use_native(False)` leaves the
C kernels out that are compiled where a compiler is there.
"""

from ops.kernels import KernelRow, enable_unproven_cuda, kernels_in_use
from ops.native import use_native

__all__ = ["KernelRow", "enable_unproven_cuda", "kernels_in_use", "use_native"]
