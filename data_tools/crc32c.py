"""CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), and the masked form that stands in TFRecord files.

It runs on the processor's own instruction where it has one (SSE 4.2, ARMv8), three lanes at a time, else by slicing:
eight table look-ups for eight bytes.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import llvmlite.ir
import numba
import numba.extending
import numpy as np
from numba import njit


def _tables() -> np.ndarray:
    """Slicing tables uint32 [8, 256] of the reflected polynomial 0x82F63B78."""
    tables = np.zeros((8, 256), np.uint32)
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = np.where(value & 1, (value >> 1) ^ np.uint32(0x82F63B78), value >> 1).astype(np.uint32)
    tables[0] = value
    for k in range(1, 8):
        tables[k] = (tables[k - 1] >> 8) ^ tables[0][tables[k - 1] & 0xFF]
    return tables


_TABLES = _tables()


@njit(cache=True, nogil=True)
def crc32c_software(data: np.ndarray) -> Any:
    """CRC-32C of uint8 [N] by slicing tables."""
    t = _TABLES
    c = np.uint32(0xFFFFFFFF)
    whole = len(data) // 8 * 8
    for i in range(0, whole, 8):
        a = c ^ (
            np.uint32(data[i])
            | (np.uint32(data[i + 1]) << np.uint32(8))
            | (np.uint32(data[i + 2]) << np.uint32(16))
            | (np.uint32(data[i + 3]) << np.uint32(24))
        )
        c = (
            t[7, a & np.uint32(0xFF)]
            ^ t[6, (a >> np.uint32(8)) & np.uint32(0xFF)]
            ^ t[5, (a >> np.uint32(16)) & np.uint32(0xFF)]
            ^ t[4, a >> np.uint32(24)]
            ^ t[3, data[i + 4]]
            ^ t[2, data[i + 5]]
            ^ t[1, data[i + 6]]
            ^ t[0, data[i + 7]]
        )
    for i in range(whole, len(data)):
        c = t[0, (c ^ np.uint32(data[i])) & np.uint32(0xFF)] ^ (c >> np.uint32(8))
    return np.int64(c ^ np.uint32(0xFFFFFFFF))


def _hardware_intrinsic() -> tuple[str, int] | None:
    """LLVM name and width in bits of the running CRC of the 8-byte instruction, or None."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("sse4.2"):
        return "llvm.x86.sse42.crc32.64.64", 64
    if features.get("crc"):
        return "llvm.aarch64.crc32cx", 32
    return None


_INSTRUCTION = _hardware_intrinsic()
HAS_INSTRUCTION = _INSTRUCTION is not None


def _crc_instruction(typing_context: Any, crc: Any, word: Any) -> Any:
    """uint64 CRC after the 8 bytes of `word` (uint64), by the processor's instruction."""
    assert _INSTRUCTION is not None
    name, bits = _INSTRUCTION

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        state, wide = llvmlite.ir.IntType(bits), llvmlite.ir.IntType(64)
        kind = llvmlite.ir.FunctionType(state, [state, wide])
        function = numba.core.cgutils.get_or_insert_function(builder.module, kind, name)
        start = arguments[0] if bits == 64 else builder.trunc(arguments[0], state)
        result = builder.call(function, [start, arguments[1]])
        return result if bits == 64 else builder.zext(result, wide)

    return numba.uint64(numba.uint64, numba.uint64), generate


_crc_step: Any = numba.extending.intrinsic(_crc_instruction)


def _zeros_operator(count: int) -> np.ndarray:
    """uint64 [4, 256] tables that carry a CRC state over `count` zero bytes: state -> xor of one entry a byte."""
    basis = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    for _ in range(count):
        basis = (basis >> 8) ^ _TABLES[0][basis & 0xFF]
    tables = np.zeros((4, 256), np.uint64)
    for byte in range(4):
        for value in range(256):
            for bit in range(8):
                if value >> bit & 1:
                    tables[byte, value] ^= np.uint64(basis[8 * byte + bit])
    return tables


_LANE = 1024  # bytes of one of the three interleaved lanes: the instruction takes three cycles, but one can start each
_OVER_LANE = _zeros_operator(_LANE)


@njit(cache=True, nogil=True)
def _over_lane(state: Any) -> Any:
    t = _OVER_LANE
    return t[0, state & 255] ^ t[1, (state >> 8) & 255] ^ t[2, (state >> 16) & 255] ^ t[3, (state >> 24) & 255]


@njit(cache=True, nogil=True)
def crc32c_hardware(words: np.ndarray, rest: np.ndarray) -> Any:
    """CRC-32C of uint64 [W] words and the uint8 [N < 8] behind them; only where HAS_INSTRUCTION."""
    c = np.uint64(0xFFFFFFFF)
    lane = _LANE // 8
    at = 0
    while at + 3 * lane <= len(words):
        b, d = np.uint64(0), np.uint64(0)
        for i in range(at, at + lane):
            c = _crc_step(c, words[i])
            b = _crc_step(b, words[i + lane])
            d = _crc_step(d, words[i + 2 * lane])
        c = _over_lane(_over_lane(np.int64(c)) ^ b) ^ d
        at += 3 * lane
    for i in range(at, len(words)):
        c = _crc_step(c, words[i])
    low = np.uint32(c)
    for value in rest:
        low = _TABLES[0, (low ^ np.uint32(value)) & np.uint32(0xFF)] ^ (low >> np.uint32(8))
    return np.int64(low ^ np.uint32(0xFFFFFFFF))


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """CRC-32C (Castagnoli) of some bytes, 0..2^32 - 1. ``crc32c(b"123456789") == 0xE3069283``."""
    array = np.frombuffer(data, np.uint8)
    if _INSTRUCTION is None:
        return int(crc32c_software(array))
    whole = len(array) // 8 * 8
    return int(crc32c_hardware(array[:whole].view(np.uint64), array[whole:]))


@njit(cache=True, nogil=True)
def mask(crc: Any) -> Any:
    """TensorFlow's mask over a CRC: ``((c >> 15) | (c << 17)) + 0xA282EAD8`` modulo 2^32."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """The masked CRC-32C that stands in TFRecord files."""
    return int(mask(crc32c(data)))
