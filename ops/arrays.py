"""CPU tensors as numpy arrays for the numba kernels, and back: no copy where none is needed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def array(tensor: Tensor) -> np.ndarray:
    """A C-contiguous array of the tensor; half types become float32 (numba has none)."""
    tensor = tensor.detach()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.contiguous().numpy()


def arrays(*several: Tensor) -> Any:
    """`array` of each."""
    return tuple(array(tensor) for tensor in several)


def tensors(found: Any) -> Any:
    """The tensor of an array, or a tuple of them for a tuple."""
    if isinstance(found, tuple):
        return tuple(torch.from_numpy(a) for a in found)
    return torch.from_numpy(found)
