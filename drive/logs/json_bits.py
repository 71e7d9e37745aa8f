"""Machine operations that numba has no name for: unaligned loads, wide products, counting of zero bits.

Made untyped for the type checker's sake: an intrinsic's first argument, the compiler's context, is not the caller's.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_U64 = ir.IntType(64)
_U128 = ir.IntType(128)


def _load64(context: Any, data: Any, at: Any) -> Any:
    """The 8 bytes from ``data[at]`` on as a little-endian uint64; the caller keeps within the buffer."""

    def code(context_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = make_array(signature.args[0])(context_, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(pointer, _U64.as_pointer()), align=1)

    return types.uint64(data, types.int64), code


def _high_product(context: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits of a 64 x 64 bit product."""

    def code(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.mul(builder.zext(arguments[0], _U128), builder.zext(arguments[1], _U128))
        return builder.trunc(builder.lshr(wide, ir.Constant(_U128, 64)), _U64)

    return types.uint64(types.uint64, types.uint64), code


def _leading_zeros(context: Any, a: Any) -> Any:
    """Zero bits above the highest set one of a number that is not 0."""

    def code(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), code


def _trailing_zeros(context: Any, a: Any) -> Any:
    """Zero bits below the lowest set one of a number that is not 0."""

    def code(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), code


def _as_double(context: Any, bits: Any) -> Any:
    """The double with these bits."""

    def code(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), code


load64: Any = intrinsic(_load64)
high_product: Any = intrinsic(_high_product)
leading_zeros: Any = intrinsic(_leading_zeros)
trailing_zeros: Any = intrinsic(_trailing_zeros)
as_double: Any = intrinsic(_as_double)
