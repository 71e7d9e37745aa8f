"""Four machine instructions that numba has no name for, and a fast exponential built on them."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _popcount(typingctx: Any, bits: Any) -> Any:
    """Number of set bits of a uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


def _float_bits(typingctx: Any, value: Any) -> Any:
    """The bits of a float32 as int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


def _bits_float(typingctx: Any, bits: Any) -> Any:
    """The float32 that an int32's bits spell."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


def _prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of element `index` of a C-contiguous array, counted flat; any index is harmless."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, i32, i32, i32])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", (place.type,), kind)
        builder.call(instruction, [place, i32(0), i32(3), i32(1)])  # read, keep in all caches, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


popcount: Any = intrinsic(_popcount)
prefetch: Any = intrinsic(_prefetch)
float_bits: Any = intrinsic(_float_bits)
bits_float: Any = intrinsic(_bits_float)


@njit(cache=True, nogil=True, fastmath={"contract"})
def exp32(x):  # type: ignore[no-untyped-def]
    """e**x in float32, relative error below 1e-7 for -87 <= x <= 88, 1.6e-38 below that; NaN stays NaN.

    Branch-free, so LLVM turns a loop of it into vector instructions. x = n ln 2 + r; the polynomial of e**r is
    Cephes' expf; adding n to the exponent's bits multiplies by 2**n. Must not be compiled with reassociation.
    """
    x = np.float32(x)
    given = x
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    magic = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to a whole number, kept in the low bits
    shifted = x * np.float32(1.44269504) + magic
    n = shifted - magic
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    power = bits_float(np.int32(float_bits(p) + (float_bits(shifted) << np.int32(23))))
    return power if given == given else given
