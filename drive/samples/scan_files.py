"""Loose scans in, points out: .bin (KITTI, nuScenes), .pcd, .npy, .feather (Argoverse 2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.geometry import rigid
from drive.samples.sample import POINT_COLUMNS

SUFFIXES = (".bin", ".pcd", ".npy", ".feather")


@dataclass(frozen=True)
class ScanFormat:
    """What the numbers of a scan mean. The defaults are KITTI's; :data:`FORMATS` names the common ones.

    ``bin_columns`` is the count of float32 a point in a ``.bin`` file (the file itself does not say);
    ``fifth_is_elongation`` keeps the fifth of them (Waymo), which is left out otherwise (nuScenes' ring).
    ``intensity_max`` is the recording's largest intensity: models see 0..1. The pose brings points into the ego
    frame: x forward, y left, z up, z = 0 near the ground.
    """

    bin_columns: int = 4
    fifth_is_elongation: bool = False
    intensity_max: float = 1.0
    lidar_yaw_deg: float = 0.0
    lidar_position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def ego_from_lidar(self) -> np.ndarray:
        yaw = np.deg2rad(self.lidar_yaw_deg)
        return rigid.from_translation_rotation(self.lidar_position_m, rigid.quaternion_from_yaw(yaw))


FORMATS = {
    "kitti": ScanFormat(),
    # nuScenes' LIDAR_TOP: x right, y forward; mounting as in scene-0061's calibration, to the centimetre.
    "nuscenes": ScanFormat(5, False, 255.0, -90.0, (0.94, 0.0, 1.84)),
    "av2": ScanFormat(intensity_max=255.0),
    "waymo": ScanFormat(5, fifth_is_elongation=True),
}


def list_scans(path: Path) -> list[Path]:
    """The scan files of a folder (or the one file), sorted by name.

    Raises:
        UserError: nothing is there, or nothing of a known kind.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(path, "no such file or folder", "name a scan or a folder of scans")
    scans = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not scans:
        raise UserError(path, f"no scans in it ({', '.join(SUFFIXES)})", "name the folder that holds the scans")
    return scans


def read_scan(path: Path, scan_format: ScanFormat) -> npt.NDArray[np.float32]:
    """Points [P, 6] (``POINT_COLUMNS``) of one scan in the ego frame; points that are not finite are dropped.

    Raises:
        UserError: an unreadable, truncated or unknown file.
    """
    readers = {".bin": _read_bin, ".pcd": _read_pcd, ".npy": _read_npy, ".feather": _read_feather}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UserError(path, f"unknown kind {suffix!r}", f"scans are {', '.join(SUFFIXES)}")
    try:
        xyzi = readers[suffix](path, scan_format)
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror or error})", "check the file and its rights") from error
    xyzi = xyzi[np.isfinite(xyzi).all(axis=1)]
    points = np.zeros((len(xyzi), len(POINT_COLUMNS)), np.float32)
    points[:, :3] = rigid.transform_points(scan_format.ego_from_lidar(), xyzi)
    points[:, 3] = np.clip(xyzi[:, 3] / scan_format.intensity_max, 0.0, 1.0)
    points[:, 4 : xyzi.shape[1]] = xyzi[:, 4:]
    return points


def _read_bin(path: Path, scan_format: ScanFormat) -> npt.NDArray[np.float32]:
    data = path.read_bytes()
    stride = 4 * scan_format.bin_columns
    if len(data) % stride:
        raise UserError(
            path,
            f"{len(data)} bytes are not a whole number of points of {scan_format.bin_columns} float32",
            "the file is truncated, or give its --format (kitti: 4 columns, nuscenes: 5)",
        )
    return np.frombuffer(data, "<f4").reshape(-1, scan_format.bin_columns)[:, : 4 + scan_format.fifth_is_elongation]


def _read_npy(path: Path, scan_format: ScanFormat) -> npt.NDArray[np.float32]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(
            path, f"not a plain .npy array ({error})", "save it with numpy.save, without objects"
        ) from error
    if array.ndim != 2 or array.shape[1] < 3:
        raise UserError(path, f"shape {array.shape}", "a scan is [P, 3] or [P, 4]: x y z intensity")
    array = array.astype(np.float32)
    return array[:, :4] if array.shape[1] > 3 else np.pad(array, ((0, 0), (0, 1)))


def _read_feather(path: Path, scan_format: ScanFormat) -> npt.NDArray[np.float32]:
    import pyarrow as pa
    from pyarrow import feather

    try:
        table = feather.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowIOError) as error:
        raise UserError(path, f"not a feather file ({error})", "copy the file again") from error
    missing = {"x", "y", "z", "intensity"} - set(table.column_names)
    if missing:
        raise UserError(path, f"no column {', '.join(sorted(missing))}", "a scan has x, y, z, intensity")
    return np.stack([table[name].to_numpy().astype(np.float32) for name in ("x", "y", "z", "intensity")], axis=1)


def _read_pcd(path: Path, scan_format: ScanFormat) -> npt.NDArray[np.float32]:
    """PCD 0.7, ``DATA ascii`` and ``DATA binary`` (pointclouds.org: the PCD file format)."""
    data = path.read_bytes()
    header: dict[str, list[str]] = {}
    place = 0
    while "DATA" not in header:
        end = data.find(b"\n", place)
        if end < 0 or place > 4096:
            raise UserError(path, "no PCD header", "the file is truncated or not a PCD file")
        words = data[place:end].decode("ascii", "replace").split()
        place = end + 1
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    try:
        names, kind = header["FIELDS"], header["DATA"][0]
        counts = [int(c) for c in header.get("COUNT", ["1"] * len(names))]
        codes = [t.lower() + s for t, s in zip(header["TYPE"], header["SIZE"], strict=True)]
        total = int(header["POINTS"][0])
        if any(c != 1 for c in counts):
            raise ValueError("fields with COUNT above 1")
        dtype = np.dtype([(n, f"<{c}") for n, c in zip(names, codes, strict=True)])
        columns = ["x", "y", "z", *[n for n in names if n in ("intensity", "i", "reflectivity")][:1]]
        if not {"x", "y", "z"} <= set(names):
            raise ValueError("no x, y, z")
    except (KeyError, ValueError, TypeError, IndexError, struct.error) as error:
        raise UserError(
            path, f"a PCD header that we cannot use ({error})", "write x y z intensity, one each"
        ) from error
    if kind == "binary":
        if len(data) - place < total * dtype.itemsize:
            raise UserError(path, f"{total} points announced, fewer are there", "the file is truncated: copy it again")
        rows = np.frombuffer(data, dtype, count=total, offset=place)
        table = np.stack([rows[c].astype(np.float32) for c in columns], axis=1)
    elif kind == "ascii":
        try:
            every = np.array([line.split() for line in data[place:].decode("ascii").splitlines() if line], np.float32)
        except ValueError as error:
            raise UserError(
                path, f"a line that is not numbers ({error})", "the file is damaged: copy it again"
            ) from error
        if len(every) != total:
            raise UserError(path, f"{total} points announced, {len(every)} are there", "the file is truncated")
        table = every.reshape(total, len(names))[:, [names.index(c) for c in columns]]
    else:
        raise UserError(path, f"DATA {kind} is not read", "convert it to binary: pcl_convert_pcd_ascii_binary IN OUT 1")
    return table if table.shape[1] == 4 else np.pad(table, ((0, 0), (0, 1)))
