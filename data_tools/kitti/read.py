"""Readers of KITTI files, object and tracking: scan, calibration, labels, plane, image sizes. Bad input: UserError."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive.errors import UserError

# The label line after its type, in order; names of columns in the log too.
LABEL_NUMBERS = (
    "truncated", "occluded", "alpha", "bbox_left", "bbox_top", "bbox_right", "bbox_bottom",
    "dim_height", "dim_width", "dim_length", "camera_x", "camera_y", "camera_z", "rotation_y",
)  # fmt: skip

# Tracking files abbreviate three of the names.
_MATRIX_SHAPES = {
    "P0": (3, 4), "P1": (3, 4), "P2": (3, 4), "P3": (3, 4), "R0_rect": (3, 3), "R_rect": (3, 3),
    "Tr_velo_to_cam": (3, 4), "Tr_velo_cam": (3, 4), "Tr_imu_to_velo": (3, 4), "Tr_imu_velo": (3, 4),
}  # fmt: skip
MAX_FRAMES = 1_000_000  # of a sequence: a day at 10 Hz
_NEEDED = ("P2", "R0_rect", "Tr_velo_to_cam")
_SYNONYMS = {"R_rect": "R0_rect", "Tr_velo_cam": "Tr_velo_to_cam", "Tr_imu_velo": "Tr_imu_to_velo"}


@dataclass(frozen=True)
class Labels:
    """One label file: ``types`` [N], ``numbers`` f64 [N, 14] in LABEL_NUMBERS order, ``lines`` [N] counted from 1."""

    types: list[str]
    numbers: np.ndarray
    lines: list[int]

    def select(self, keep: np.ndarray) -> Labels:
        """The lines where ``keep`` bool [N] is true."""
        rows = np.flatnonzero(keep)
        return Labels([self.types[i] for i in rows], self.numbers[rows], [self.lines[i] for i in rows])


def read_bytes(path: Path, what: str) -> bytes:
    """The file's bytes; a missing or unreadable file is a ``UserError``."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(path, f"{what} is missing", "copy the file from the data set again") from None
    except OSError as error:
        raise UserError(path, f"{what} cannot be read ({error.strerror})", "check the file and its rights") from None


def read_text(path: Path, what: str) -> str:
    """The file as ASCII text."""
    try:
        return read_bytes(path, what).decode("ascii")
    except UnicodeDecodeError as error:
        raise UserError(
            path, f"{what} is not plain text (byte {error.start})", "copy the file from the data set again"
        ) from None


def read_scan(path: Path) -> np.ndarray:
    """Points float32 [P, 4] (x y z reflectance), Velodyne frame."""
    data = read_bytes(path, "scan")
    if not data or len(data) % 16:
        raise UserError(
            path, f"scan of {len(data)} bytes is empty or truncated (16 bytes a point)", "copy the file again"
        )
    points = np.frombuffer(data, dtype="<f4").reshape(-1, 4)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise UserError(f"{path}: byte {bad[0] * 16}", f"{len(bad)} points are not finite", "copy the file again")
    return points


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    """Matrices by KITTI's object names (P2, R0_rect, Tr_velo_to_cam ...), float64, exactly the numbers in the file."""
    matrices: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_text(path, "calibration").splitlines(), start=1):
        name, *fields = line.replace(":", " ").split() or [""]
        if name not in _MATRIX_SHAPES or not (fields or name in _NEEDED):  # View-of-Delft names matrices it has not
            continue
        matrices[_SYNONYMS.get(name, name)] = parse_numbers(
            f"{path}:{number}", name, fields, int(np.prod(_MATRIX_SHAPES[name]))
        ).reshape(_MATRIX_SHAPES[name])
    for name in _NEEDED:
        if name not in matrices:
            raise UserError(path, f"calibration has no {name}", "take the calib file of the data set")
    return matrices


def read_labels(path: Path, columns: tuple[int, ...] = (15,)) -> Labels:
    """All lines of an object label file, DontCare included; ``columns`` = how many a line may have (16 = a score).

    A file of zero bytes is refused: the set has none, so it is a broken copy. A frame that truly holds nothing is
    written as one blank line.
    """
    text = read_text(path, "label file")
    if not text:
        raise UserError(
            path, "label file is empty", "copy it again, or write one blank line for a frame without objects"
        )
    return _labels_of(path, text, 0, columns)[0]


def read_tracking_labels(path: Path) -> tuple[Labels, np.ndarray]:
    """Labels of a sequence, and their frame number and track id as int64 [N, 2] (DontCare: track -1).

    An empty file is a sequence without labelled objects (sequences of the set always have some).
    """
    labels, keys = _labels_of(path, read_text(path, "label file"), 2, (17, 18))
    ids = keys.astype(np.int64)
    for line, key, number in zip(labels.lines, keys, ids, strict=True):
        if (key != number).any() or not 0 <= number[0] <= MAX_FRAMES:
            raise UserError(f"{path}:{line}", "frame or track is not a whole number in range", "mend the line")
    return labels, ids


def _labels_of(path: Path, text: str, lead: int, columns: tuple[int, ...]) -> tuple[Labels, np.ndarray]:
    """Lines of ``lead`` numbers, a type and 14 numbers (a score may follow); the leading numbers beside them."""
    types, keys, rows, lines = [], [], [], []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        place = f"{path}:{number}"
        if len(fields) not in columns:
            raise UserError(place, f"label line has {len(fields)} columns, not {columns[0]}", "mend the line")
        kind = fields[lead]
        values = parse_numbers(place, "label", fields[lead + 1 : lead + 15], 14)
        if kind != "DontCare" and not (values[7:10] > 0).all():
            raise UserError(place, "box has a side that is not positive", "mend or remove the line")
        keys.append(parse_numbers(place, "frame and track", fields[:lead], lead))
        types.append(kind)
        rows.append(values)
        lines.append(number)
    numbers = np.array(rows, dtype=np.float64).reshape(-1, 14)
    return Labels(types, numbers, lines), np.array(keys, dtype=np.float64).reshape(len(types), lead)


def read_plane(path: Path) -> np.ndarray:
    """Ground plane (a, b, c, d) with a x + b y + c z + d = 0 in the rectified camera frame."""
    lines = read_text(path, "ground plane").splitlines()
    if len(lines) < 4:
        raise UserError(path, f"ground plane file has {len(lines)} lines, not 4", "copy or remove the file")
    return parse_numbers(f"{path}:4", "ground plane", lines[3].split(), 4)


def png_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height in the header of a PNG file."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise UserError(path, "image is not a PNG file or is truncated", "copy the file from the data set again")
    if not data.endswith(b"IEND\xaeB\x60\x82"):
        raise UserError(path, f"PNG of {len(data)} bytes has no end mark", "copy the file from the data set again")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def jpeg_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height in the frame header (SOF0..SOF15) of a JPEG file."""
    if not (data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")):
        raise UserError(path, f"JPEG of {len(data)} bytes is broken or truncated", "copy the file again")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # these three are tables, not frames
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            if height and width:
                return int(width), int(height)
            break
        at += 2 + length
    raise UserError(path, "JPEG states no size", "copy the file again")


def parse_numbers(place: str, what: str, fields: list[str], count: int) -> np.ndarray:
    """``count`` finite numbers of text fields."""
    if len(fields) != count:
        raise UserError(place, f"{what} has {len(fields)} numbers, not {count}", "mend the line")
    try:
        values = np.array([float(field) for field in fields])
    except ValueError as error:
        raise UserError(place, f"{what}: {error}", "mend the line") from None
    if not np.isfinite(values).all():
        raise UserError(place, f"{what} holds a number that is not finite", "mend or remove the line")
    return values
