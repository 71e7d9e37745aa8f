"""One-dimensional arrays of zarr version 2 with Blosc chunks, read without either package.

Formats: zarr specification v2; Blosc 1 frame (c-blosc README_HEADER): 16-byte header, offsets of the blocks, and in
each block one or, split by the bytes of the type, several compressed streams.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError

_MEND = "copy the file from the data set again"
_MAX_CHUNK_BYTES = 1 << 30
_MAX_SPLITS, _MIN_SPLIT = 16, 128  # BLOSC_MAX_SPLITS and the smallest part of a block that is split
_LZ4, _ZLIB, _ZSTD = 1, 3, 4


class BloscError(ValueError):
    """A chunk that is no Blosc frame of a kind that we read."""


def unpack_blosc(data: bytes) -> bytes:
    """Decompress a Blosc 1 frame (LZ4, zlib or Zstandard; byte shuffle or none). Raises BloscError."""
    if len(data) < 16:
        raise BloscError("truncated header")
    version, _, flags, size, total, block, packed = struct.unpack_from("<BBBBIII", data)
    if version != 2 or packed != len(data) or not size or total > _MAX_CHUNK_BYTES:
        raise BloscError(
            f"header says {packed} bytes, {total} unpacked, version {version}; there are {len(data)} bytes"
        )
    if not total:
        return b""
    if flags & 0x2:  # stored as it is
        if packed - 16 != total:
            raise BloscError("stored bytes do not fill the frame")
        return data[16:]
    if flags & 0x4 or not 0 < block <= total + size:
        raise BloscError("bit shuffle or a block size that cannot be")
    count = -(-total // block)
    if 16 + 4 * count > len(data):
        raise BloscError("truncated block table")
    starts = struct.unpack_from(f"<{count}I", data, 16)
    out = [
        _block(data, start, min(block, total - i * block), size, flags, whole=total >= (i + 1) * block)
        for i, start in enumerate(starts)
    ]
    return b"".join(out)


def _block(data: bytes, at: int, length: int, size: int, flags: int, *, whole: bool) -> bytes:
    split = not flags & 0x10 and size <= _MAX_SPLITS and length // size >= _MIN_SPLIT and whole
    parts = size if split else 1
    streams = []
    for _ in range(parts):
        if at + 4 > len(data):
            raise BloscError("truncated block")
        packed = struct.unpack_from("<i", data, at)[0]
        at += 4
        if packed <= 0 or at + packed > len(data):
            raise BloscError("a block's length runs beyond the frame")
        streams.append(_stream(data[at : at + packed], length // parts, flags >> 5))
        at += packed
    joined = b"".join(streams)
    return _unshuffle(joined, size) if flags & 0x1 and size > 1 else joined


def _stream(data: bytes, length: int, method: int) -> bytes:
    if len(data) == length:
        return data
    try:
        if method == _ZLIB:
            decoder = zlib.decompressobj()
            out = decoder.decompress(data, length)
        elif method in (_LZ4, _ZSTD):
            codec = "lz4_raw" if method == _LZ4 else "zstd"
            out = pa.decompress(data, decompressed_size=length, codec=codec, asbytes=True)
        else:
            raise BloscError(f"compressor {method} is not read (LZ4, zlib and Zstandard are)")
    except (pa.ArrowException, OSError, zlib.error) as error:
        raise BloscError(f"damaged stream ({str(error).splitlines()[0]})") from None
    if len(out) != length:
        raise BloscError(f"a stream holds {len(out)} bytes, not {length}")
    return bytes(out)


def _unshuffle(data: bytes, size: int) -> bytes:
    """Bytes sorted by their place in the type, back in order; what does not fill a value stays at the end."""
    whole = len(data) // size * size
    return np.frombuffer(data[:whole], np.uint8).reshape(size, -1).T.tobytes() + data[whole:]


class ZarrArray:
    """An array on disk; ``array[start:end]`` reads the chunks that it needs (the last one read is kept)."""

    def __init__(self, path: Path, fields: dict[str, tuple[str, tuple[int, ...]]]) -> None:
        self.path = Path(path)
        place = self.path / ".zarray"
        try:
            said = json.loads(place.read_bytes())
            self.length, self.chunk = int(said["shape"][0]), int(said["chunks"][0])
            kinds = [(str(f[0]), str(f[1]), tuple(int(n) for n in (f[2] if len(f) > 2 else ()))) for f in said["dtype"]]
            simple = (len(said["shape"]), said["zarr_format"], said["filters"], said["order"]) == (1, 2, None, "C")
            packer = said["compressor"]
        except OSError as error:
            raise UserError(place, f"cannot be read ({error.strerror})", _MEND) from None
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise UserError(place, f"not a zarr description ({type(error).__name__})", _MEND) from None
        blosc = isinstance(packer, dict) and packer.get("id") == "blosc"
        if not simple or not (blosc or packer is None) or self.length < 0 or self.chunk < 1:
            raise UserError(place, "a kind of array that the set has not (one axis, Blosc, no filters)", _MEND)
        found = {name: (kind, shape) for name, kind, shape in kinds}
        for name, expected in fields.items():
            if found.get(name) != expected:
                raise UserError(place, f"field {name} is {found.get(name)}, expected {expected}", _MEND)
        try:
            self.dtype = np.dtype([(name, kind, shape) for name, kind, shape in kinds])
        except (TypeError, ValueError) as error:
            raise UserError(place, f"not a data type ({error})", _MEND) from None
        if self.dtype.hasobject or self.dtype.itemsize * self.chunk > _MAX_CHUNK_BYTES:
            raise UserError(place, f"chunks of {self.chunk} x {self.dtype.itemsize} bytes", _MEND)
        self._blosc, self._held = blosc, (-1, np.zeros(0, self.dtype))

    def rows(self, start: int, end: int) -> np.ndarray:
        """Records start..end."""
        if not 0 <= start <= end <= self.length:
            raise UserError(self.path, f"rows {start} to {end} of {self.length} are asked for", _MEND)
        parts = []
        for number in range(start // self.chunk, -(-end // self.chunk)):
            first = number * self.chunk
            parts.append(self._chunk(number)[max(start - first, 0) : end - first])
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def _chunk(self, number: int) -> np.ndarray:
        if self._held[0] != number:
            path = self.path / str(number)
            try:
                data: Any = path.read_bytes()
            except OSError as error:
                raise UserError(path, f"chunk cannot be read ({error.strerror})", _MEND) from None
            try:
                data = unpack_blosc(data) if self._blosc else data
            except BloscError as error:
                raise UserError(path, f"not a Blosc chunk: {error}", _MEND) from None
            if len(data) != self.chunk * self.dtype.itemsize:
                raise UserError(path, f"chunk of {len(data)} bytes, not {self.chunk * self.dtype.itemsize}", _MEND)
            self._held = number, np.frombuffer(data, self.dtype)
        return self._held[1]
