"""TFRecord files without TensorFlow: an index by one pass over the record headers, random access, masked CRC-32C.

A record is ``uint64 length | uint32 masked CRC of these 8 bytes | data | uint32 masked CRC of the data``, all little
endian (tensorflow/core/lib/io/record_writer.h). The mask is ``((c >> 15) | (c << 17)) + 0xA282EAD8`` modulo 2^32 over
CRC-32C (Castagnoli). The CRC runs on the processor's own instruction where it has one (SSE 4.2, ARMv8), else by
slicing: eight table look-ups for eight bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import llvmlite.binding
import llvmlite.ir
import numba
import numba.extending
import numpy as np

from drive.errors import UserError

HEADER, FOOTER = 12, 4
_MASK_DELTA = 0xA282EAD8
_AGAIN = "copy the file again"
_WINDOW = 1 << 18  # headers of small records are read many at a time


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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def _over_lane(state: Any) -> Any:
    t = _OVER_LANE
    return t[0, state & 255] ^ t[1, (state >> 8) & 255] ^ t[2, (state >> 16) & 255] ^ t[3, (state >> 24) & 255]


@numba.njit(cache=True, nogil=True)
def _crc32c_hardware(words: np.ndarray, rest: np.ndarray) -> Any:
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
    return int(_crc32c_hardware(array[:whole].view(np.uint64), array[whole:]))


def masked_crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """The masked CRC-32C that stands in TFRecord files."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """One record as it stands in a file."""
    head = struct.pack("<Q", len(data))
    return b"".join([head, struct.pack("<I", masked_crc32c(head)), data, struct.pack("<I", masked_crc32c(data))])


class TFRecordFile:
    """A TFRecord file whose R records are read at random. Usable as a context manager; pickles as its path.

    Attributes:
        offsets: int64 [R], where the data of each record begins.
        lengths: int64 [R], bytes of data.

    Raises:
        UserError: the file cannot be opened, a header's checksum is wrong, or the last record is cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file: BinaryIO = open(self.path, "rb", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise UserError(self.path, f"cannot be opened ({error.strerror})", "give a TFRecord file") from None
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self.offsets, self.lengths = self._index()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TFRecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[TFRecordFile], tuple[Path]]:
        return TFRecordFile, (self.path,)

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[bytes]:
        return (self.read(i) for i in range(len(self)))

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()

    def place(self, record: int) -> str:
        """Name of a record for messages: file, number and byte."""
        return f"{self.path}: record {record} at byte {self.offsets[record] - HEADER}"

    def read(self, record: int, verify: bool = True) -> bytes:
        """Data of record 0..R-1; `verify` compares its checksum (UserError where it differs)."""
        if not 0 <= record < len(self):
            raise IndexError(f"{self.path} has records 0 to {len(self) - 1}, not {record}")
        length = int(self.lengths[record])
        block = self._pread(length + FOOTER, int(self.offsets[record]))
        if len(block) != length + FOOTER:
            raise UserError(self.place(record), "the file became shorter while it was read", _AGAIN)
        data = memoryview(block)[:length]
        if verify and masked_crc32c(data) != struct.unpack_from("<I", block, length)[0]:
            raise UserError(self.place(record), "the checksum of its data is wrong", _AGAIN)
        return block[:length]

    def _pread(self, count: int, at: int) -> bytes:
        try:
            block = os.pread(self._file.fileno(), count, at)
            while len(block) < count and (more := os.pread(self._file.fileno(), count - len(block), at + len(block))):
                block += more  # Linux reads 2 GiB less a page at most
            return block
        except OSError as error:
            raise UserError(f"{self.path}: byte {at}", f"cannot be read ({error.strerror})", _AGAIN) from None

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        offsets: list[int] = []
        lengths: list[int] = []
        at, base, window = 0, 0, b""
        while at < self._size:
            if not base <= at <= base + len(window) - HEADER:
                # Headers far apart: nothing of a large window would be used.
                far = bool(lengths) and lengths[-1] > _WINDOW // 4
                base, window = at, self._pread(HEADER if far else _WINDOW, at)
            if len(window) - (at - base) < HEADER:
                raise self._damaged(len(offsets), at, f"{self._size - at} bytes are left, a header has {HEADER}")
            head = window[at - base : at - base + HEADER]
            length, crc = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != crc:
                raise self._damaged(len(offsets), at, "the checksum of its header is wrong")
            if length > self._size - at - HEADER - FOOTER:
                raise self._damaged(len(offsets), at, f"its {length} bytes reach beyond the end of the file")
            offsets.append(at + HEADER)
            lengths.append(length)
            at += HEADER + length + FOOTER
        return np.array(offsets, np.int64), np.array(lengths, np.int64)

    def _damaged(self, record: int, at: int, what: str) -> UserError:
        mend = "give a TFRecord file that is not compressed, or copy it again" if record == 0 else _AGAIN
        return UserError(f"{self.path}: record {record} at byte {at}", what, mend)
