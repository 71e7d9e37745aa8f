"""CUDA C++ compiled at first use by NVRTC, which comes with torch, and launched on torch's current stream.

No compiler, no torch headers: a kernel is an `extern "C" __global__` function in an operator's `kernel.cu`, whose
parameters are pointers, `long long` and `float`. Compiled code is kept for the life of the process, by source,
architecture and defines (about 0.2 s a file).
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Every kernel walks its items in this loop, so any grid gives the same result.
PRELUDE = """
#define FOR_EACH(i, n)                                                             \\
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n); \\
         i += (long long)gridDim.x * blockDim.x)
"""
BLOCK, LARGEST_GRID = 128, 1 << 20


def source_of(path: Path, defines: tuple[tuple[str, str], ...] = ()) -> str:
    """The text that NVRTC compiles: defines, the prelude, the file."""
    lines = [f"#define {name} {value}" for name, value in defines]
    return "\n".join([*lines, PRELUDE, path.read_text(encoding="utf-8")])


@cache
def compile_kernels(path: Path, architecture: int, defines: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Machine code (cubin) of one kernel file for sm_<architecture>. RuntimeError with NVRTC's log where it fails."""
    from cuda.bindings import nvrtc

    text = source_of(path, defines).encode()
    program = _checked(nvrtc.nvrtcCreateProgram(text, str(path.name).encode(), 0, [], []), path)
    options = [f"--gpu-architecture=sm_{architecture}".encode(), b"--std=c++17", b"--fmad=true"]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(status) != 0:
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program), path)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(f"{path.parent.name}: {path.name} does not compile for sm_{architecture}:\n{log.decode()}")
    code = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program), path)
    _checked(nvrtc.nvrtcGetCUBIN(program, code), path)
    nvrtc.nvrtcDestroyProgram(program)
    return code


@cache
def _kernel(path: Path, name: str, architecture: int, defines: tuple[tuple[str, str], ...]) -> Any:
    from cuda.bindings import driver

    code = compile_kernels(path, architecture, defines)
    library = _checked(driver.cuLibraryLoadData(code, [], [], 0, [], [], 0), path)
    return _checked(driver.cuLibraryGetKernel(library, name.encode()), path)


def launch(
    path: Path, name: str, count: int, *arguments: Any, defines: tuple[tuple[str, str], ...] = (), blocks: int = 0
) -> None:
    """Run kernel `name` over `count` items on the current stream of the first tensor's device.

    Tensors (contiguous, one device) pass their address, ints pass as long long, floats as float. `blocks` fixes the
    number of blocks. RuntimeError naming the operator where the launch fails.
    """
    if count == 0:
        return
    from cuda.bindings import driver

    tensors = [a for a in arguments if isinstance(a, Tensor)]
    device = tensors[0].device
    if any(t.device != device or not t.is_contiguous() for t in tensors):
        raise RuntimeError(f"{path.parent.name}: {name} needs contiguous tensors on one device")
    values = tuple(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
    types = tuple(
        ctypes.c_void_p if isinstance(a, Tensor) else ctypes.c_float if isinstance(a, float) else ctypes.c_longlong
        for a in arguments
    )
    with torch.cuda.device(device):
        major, minor = torch.cuda.get_device_capability(device)
        kernel = _kernel(path, name, 10 * major + minor, defines)
        grid = blocks or min(-(-count // BLOCK), LARGEST_GRID)
        stream = torch.cuda.current_stream(device).cuda_stream
        _checked(
            driver.cuLaunchKernel(
                driver.CUfunction(int(kernel)), grid, 1, 1, BLOCK, 1, 1, 0, stream, (values, types), 0
            ),
            path,
        )


def _checked(result: Any, path: Path) -> Any:
    """The value of a (status, value) answer. RuntimeError naming the operator where the status is no success."""
    if int(result[0]) != 0:
        raise RuntimeError(f"{path.parent.name}: {result[0].name} from CUDA while running {path.name}")
    return result[1] if len(result) > 1 else None
