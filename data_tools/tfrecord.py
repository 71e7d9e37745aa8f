"""TFRecord files without TensorFlow: an index by one pass over the record headers, random access, masked CRC-32C.

A record is ``uint64 length | uint32 masked CRC of these 8 bytes | data | uint32 masked CRC of the data``, all little
endian (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numba import njit

from data_tools.crc32c import HAS_INSTRUCTION, crc32c, crc32c_hardware, crc32c_software, mask, masked_crc32c
from drive.errors import UserError

__all__ = ["FOOTER", "HEADER", "TFRecordFile", "crc32c", "crc32c_software", "frame_record", "masked_crc32c"]

HEADER, FOOTER = 12, 4
_AGAIN = "copy the file again"
_WINDOW = 1 << 18  # headers of small records are read many at a time


@njit(cache=True, nogil=True)
def _crc_of(data: np.ndarray, start: int, length: int, hardware: bool) -> Any:
    """Masked CRC-32C of data[start : start + length]."""
    part = data[start : start + length]
    if hardware and length >= 8:
        # A copy makes the words aligned; short records only come this way.
        whole = length // 8 * 8
        crc = crc32c_hardware(part[:whole].copy().view(np.uint64), part[whole:])
    else:
        crc = crc32c_software(part)
    return mask(crc)


@njit(cache=True, nogil=True)
def _number(data: np.ndarray, at: int, size: int) -> Any:
    """Little endian number of `size` bytes."""
    value = np.uint64(0)
    for k in range(size):
        value |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return value


@njit(cache=True, nogil=True)
def _headers(window: np.ndarray, at: Any, left: int) -> tuple[np.ndarray, int, int]:
    """Headers inside a window of the file, from byte `at` of it on, `left` bytes before the end of the file.

    Returns int64 [K, 2] (where the data begins, length), where the next header stands, and what is wrong there: 0
    nothing, 1 its checksum, 2 its length reaches beyond the end.
    """
    found = np.empty((len(window) // 16 + 1, 2), np.int64)
    count = 0
    while at + 12 <= len(window):
        length = _number(window, at, 8)
        if np.uint64(_crc_of(window, at, 8, False)) != _number(window, at + 8, 4):
            return found[:count], at, 1
        room = left - at - 16
        if room < 0 or length > np.uint64(room):
            return found[:count], at, 2
        found[count, 0], found[count, 1] = at + 12, np.int64(length)
        count += 1
        at += np.int64(length) + 16
    return found[:count], at, 0


@njit(cache=True, nogil=True)
def _first_wrong(window: np.ndarray, starts: np.ndarray, lengths: np.ndarray, hardware: bool) -> int:
    """Index of the first record whose data does not have its checksum; -1 = none."""
    for i in range(len(starts)):
        if np.uint64(_crc_of(window, starts[i], lengths[i], hardware)) != _number(window, starts[i] + lengths[i], 4):
            return i
    return -1


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
        """Data of all records in order, checksums compared; small ones are read many at a time."""
        first = 0
        while first < len(self):
            start = int(self.offsets[first])
            last = int(np.searchsorted(self.offsets + self.lengths, start + _WINDOW))
            if last <= first + 1:
                yield self.read(first)
                first += 1
                continue
            end = int(self.offsets[last - 1] + self.lengths[last - 1]) + FOOTER
            block = self._pread(end - start, start)
            if len(block) != end - start:
                raise UserError(self.place(first), "the file became shorter while it was read", _AGAIN)
            starts, lengths = self.offsets[first:last] - start, self.lengths[first:last]
            wrong = _first_wrong(np.frombuffer(block, np.uint8), starts, lengths, HAS_INSTRUCTION)
            for i, (at, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
                if i == wrong:
                    raise UserError(self.place(first + i), "the checksum of its data is wrong", _AGAIN)
                yield block[at : at + length]
            first = last

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
        length, at = int(self.lengths[record]), int(self.offsets[record])
        # Two reads instead of one and a cut: the cut would copy the data.
        data, footer = self._pread(length, at), self._pread(FOOTER, at + length) if verify else bytes(FOOTER)
        if len(data) != length or len(footer) != FOOTER:
            raise UserError(self.place(record), "the file became shorter while it was read", _AGAIN)
        if verify and masked_crc32c(data) != struct.unpack("<I", footer)[0]:
            raise UserError(self.place(record), "the checksum of its data is wrong", _AGAIN)
        return data

    def _pread(self, count: int, at: int) -> bytes:
        try:
            block = os.pread(self._file.fileno(), count, at)
            while len(block) < count and (more := os.pread(self._file.fileno(), count - len(block), at + len(block))):
                block += more  # Linux reads 2 GiB less a page at most
            return block
        except OSError as error:
            raise UserError(f"{self.path}: byte {at}", f"cannot be read ({error.strerror})", _AGAIN) from None

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        parts = [np.zeros((0, 2), np.int64)]
        at, count, last = 0, 0, 0
        while at < self._size:
            # Headers far apart: nothing of a large window would be used.
            window = self._pread(HEADER if last > _WINDOW // 4 else _WINDOW, at)
            if len(window) < HEADER:
                raise self._damaged(count, at, f"{self._size - at} bytes are left, a header has {HEADER}")
            found, step, wrong = _headers(np.frombuffer(window, np.uint8), 0, self._size - at)
            found[:, 0] += at
            parts.append(found)
            at, count = at + step, count + len(found)
            last = int(found[-1, 1]) if len(found) else last
            if wrong == 1:
                raise self._damaged(count, at, "the checksum of its header is wrong")
            if wrong == 2:
                raise self._damaged(count, at, "it reaches beyond the end of the file")
        offsets, lengths = np.concatenate(parts).T
        return np.ascontiguousarray(offsets), np.ascontiguousarray(lengths)

    def _damaged(self, record: int, at: int, what: str) -> UserError:
        mend = "give a TFRecord file that is not compressed, or copy it again" if record == 0 else _AGAIN
        return UserError(f"{self.path}: record {record} at byte {at}", what, mend)
