"""Operators, one folder each: torch reference, numba kernel, CUDA kernel; nothing to compile at installation."""
