"""Register tiles for numba: small matrix products of gathered rows, written as LLVM vector instructions.

Numba has no vector type, and LLVM does not find these tiles in scalar loops. A tile keeps ROWS x VECTORS accumulators
of 16 floats in registers, reads its rows through the pair list (nothing is gathered into a copy) and adds to its target
rows once (nothing is scattered from a copy). LLVM splits the 16 lanes on machines with narrower registers.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

LANES = 16
I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS, WORDS, SHORTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES), ir.VectorType(I16, LANES)


def _features() -> set[str]:
    """Of the processor that numba compiles for."""
    chosen: Any = config
    if chosen.CPU_NAME or chosen.CPU_FEATURES:  # the user asked for another one than this machine's
        return {name[1:] for name in (chosen.CPU_FEATURES or "").split(",") if name.startswith("+")}
    return {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}


WIDE = "avx512f" in _features()
"""32 registers of 16 floats: tiles of up to 6 x 64; elsewhere tiles of 6 x 16."""
HAS_BF16 = {"avx512f", "avx512bf16"} <= _features()
"""A machine instruction for pairs of bfloat16 products, summed in float32."""


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no name for."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


HALVES = ir.VectorType(_BFloat(), 2 * LANES)


def _splat(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    blank = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(blank, scalar, I32(0))
    return builder.shuffle_vector(first, blank, ir.Constant(WORDS, [0] * LANES))


def _multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v16f32")
    return builder.call(function, [a, b, total])


def _multiply_add_halves(builder: Any, a: Any, b: Any, total: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS, HALVES, HALVES])
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [total, builder.bitcast(a, HALVES), builder.bitcast(b, HALVES)])


def _at(builder: Any, base: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(base, [index]), kind.as_pointer())


class _Accumulators:
    """A counted loop whose ROWS x VECTORS sums live in registers."""

    def __init__(self, builder: Any, rows: int, vectors: int, first: Any, stop: Any) -> None:
        self.builder, self.stop = builder, stop
        before = builder.block
        self.body, self.after = builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.index = builder.phi(I64)
        self.index.add_incoming(first, before)
        self.sums = [[builder.phi(FLOATS) for _ in range(vectors)] for _ in range(rows)]
        for row in self.sums:
            for total in row:
                total.add_incoming(ir.Constant(FLOATS, [0.0] * LANES), before)

    def close(self, new: list[list[Any]]) -> None:
        """Ends the loop; the builder stands behind it."""
        builder = self.builder
        following = builder.add(self.index, I64(1))
        self.index.add_incoming(following, self.body)
        for row, row_new in zip(self.sums, new, strict=True):
            for total, value in zip(row, row_new, strict=True):
                total.add_incoming(value, self.body)
        builder.cbranch(builder.icmp_signed("<", following, self.stop), self.body, self.after)
        builder.position_at_end(self.after)

    def add_to(self, targets: list[Any], new: list[list[Any]]) -> None:
        """targets[r][0 .. 16 * VECTORS) += the sums of row r."""
        for target, row in zip(targets, new, strict=True):
            for v, value in enumerate(row):
                place = _at(self.builder, target, I64(v * LANES), FLOATS)
                self.builder.store(self.builder.fadd(self.builder.load(place, align=4), value), place, align=4)


def product_tile(rows: int, vectors: int, half: bool) -> Any:
    """tile(x, w, y, inputs, outputs, p, k, C, D, j, base), C at least 1, for the pairs q = p .. p + rows - 1:

    y[outputs[q] - base, j : j + 16 * vectors] += sum over c < C of x[inputs[q], c] * w[k, c, j : j + 16 * vectors].
    half: x int32 [., C] and w int32 [K, C, D] hold two bfloat16 each, channels 2c and 2c + 1. No bounds are checked.
    """

    @intrinsic
    def tile(typingctx, x, w, y, inputs, outputs, p, k, C, D, j, base):  # type: ignore[no-untyped-def]
        signature = types.void(x, w, y, inputs, outputs, *[types.int64] * 6)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, y, inputs, outputs = (
                context.make_array(kind)(context, builder, value).data
                for kind, value in zip(signature.args[:5], args[:5], strict=True)
            )
            p, k, C, D, j, base = args[5:]
            sources, targets = [], []
            for r in range(rows):
                pair = builder.add(p, I64(r))
                i = builder.sext(builder.load(builder.gep(inputs, [pair])), I64)
                o = builder.sub(builder.sext(builder.load(builder.gep(outputs, [pair])), I64), base)
                sources.append(builder.gep(x, [builder.mul(i, C)]))
                targets.append(builder.gep(y, [builder.add(builder.mul(o, D), j)]))
            weights = builder.gep(w, [builder.add(builder.mul(builder.mul(k, C), D), j)])
            kind, multiply = (WORDS, _multiply_add_halves) if half else (FLOATS, _multiply_add)
            loop = _Accumulators(builder, rows, vectors, I64(0), C)
            row = builder.gep(weights, [builder.mul(loop.index, D)])
            columns = [builder.load(_at(builder, row, I64(v * LANES), kind), align=4) for v in range(vectors)]
            new = []
            for r in range(rows):
                scalar = _splat(builder, builder.load(builder.gep(sources[r], [loop.index])), kind)
                new.append([multiply(builder, scalar, columns[v], loop.sums[r][v]) for v in range(vectors)])
            loop.close(new)
            loop.add_to(targets, new)
            return context.get_dummy_value()

        return signature, codegen

    return tile


def outer_tile(rows: int, vectors: int, half: bool) -> Any:
    """tile(x, g, w, inputs, outputs, p, stop, k, C, D, c, j), p < stop; for r < rows:

    w[k, c + r, j : j + 16 * vectors] += sum over the pairs p <= q < stop of x[inputs[q], c + r] * g[outputs[q], j ...].
    half: x and g are int16 and hold bfloat16; w and the sums are float32. No bounds are checked.
    """

    @intrinsic
    def tile(typingctx, x, g, w, inputs, outputs, p, stop, k, C, D, c, j):  # type: ignore[no-untyped-def]
        signature = types.void(x, g, w, inputs, outputs, *[types.int64] * 7)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, g, w, inputs, outputs = (
                context.make_array(kind)(context, builder, value).data
                for kind, value in zip(signature.args[:5], args[:5], strict=True)
            )
            p, stop, k, C, D, c, j = args[5:]
            loop = _Accumulators(builder, rows, vectors, p, stop)
            i = builder.sext(builder.load(builder.gep(inputs, [loop.index])), I64)
            o = builder.sext(builder.load(builder.gep(outputs, [loop.index])), I64)
            source = builder.gep(x, [builder.add(builder.mul(i, C), c)])
            row = builder.gep(g, [builder.add(builder.mul(o, D), j)])
            columns = []
            for v in range(vectors):
                column = builder.load(_at(builder, row, I64(v * LANES), SHORTS if half else FLOATS), align=2)
                columns.append(_widen(builder, column, WORDS, FLOATS) if half else column)
            new = []
            for r in range(rows):
                scalar = builder.load(builder.gep(source, [I64(r)]))
                splat = _splat(builder, _widen(builder, scalar, I32, F32) if half else scalar, FLOATS)
                new.append([_multiply_add(builder, splat, columns[v], loop.sums[r][v]) for v in range(vectors)])
            loop.close(new)
            first = builder.add(builder.mul(k, C), c)
            targets = [
                builder.gep(w, [builder.add(builder.mul(builder.add(first, I64(r)), D), j)]) for r in range(rows)
            ]
            loop.add_to(targets, new)
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _widen(builder: Any, value: Any, word: Any, real: Any) -> Any:
    """bfloat16 in the upper half of a float32."""
    shift = ir.Constant(WORDS, [16] * LANES) if word is WORDS else I32(16)
    return builder.bitcast(builder.shl(builder.zext(value, word), shift), real)
