"""Every registered kernel against its reference on this machine, forward and backward."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from ops import kernels


def compare(device: str) -> Iterator[tuple[str, str, float, float]]:
    """(operator, what, largest error, allowed error) of every operator on "cpu" or "cuda", from ops/<name>/check.py.

    References run on the CPU, in float64 where the operator has it; indices must be equal (error 0). The allowed errors
    are float32's: a sum of n terms of size s may be off by n * s * 6e-8.
    """
    for op in kernels.OPERATORS:
        for what, error, allowed in importlib.import_module(f"ops.{op}.check").compare(device):
            yield op, what, error, allowed


def failures(device: str) -> int:
    """Print the comparison as a table; returns the number of kernels that are off."""
    wrong = 0
    for op, what, error, allowed in compare(device):
        wrong += not error <= allowed
        verdict = "ok" if error <= allowed else "WRONG"
        print(f"{op:18s}{what:34s}{device:6s}error {error:9.2e}  allowed {allowed:7.0e}  {verdict}")
    return wrong
