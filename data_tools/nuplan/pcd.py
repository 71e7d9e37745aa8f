"""nuPlan's merged point clouds: binary PCD files with x y z intensity ring lidar_info (also in OpenScene)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive.errors import UserError

COLUMNS = ("x", "y", "z", "intensity")
EXTRA = {"ring": np.uint8, "lidar_info": np.uint8}  # beam, and which of the five lidars
_TYPES = {
    ("F", 4): "<f4", ("F", 8): "<f8", ("U", 1): "<u1", ("U", 2): "<u2", ("U", 4): "<u4", ("U", 8): "<u8",
    ("I", 1): "<i1", ("I", 2): "<i2", ("I", 4): "<i4", ("I", 8): "<i8",
}  # fmt: skip
_MEND = "copy the file again"


def read_pcd(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points float32 [P, 4] (x y z intensity) and the extra columns that the file has.

    Points that are not finite (no return) are left out.

    Raises:
        UserError: no binary PCD file, a column that is missing, fewer bytes than the header promises.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"point cloud cannot be read ({error.strerror})", _MEND) from None
    start = data.find(b"DATA binary\n", 0, 4096)
    if start < 0:
        raise UserError(path, "no binary PCD file (no line DATA binary)", _MEND)
    head: dict[str, list[str]] = {}
    for line in data[:start].decode("ascii", errors="replace").splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            head[words[0]] = words[1:]
    try:
        names = head["FIELDS"]
        counts = [int(word) for word in head.get("COUNT", ["1"] * len(names))]
        kinds = list(zip(head["TYPE"], [int(word) for word in head["SIZE"]], strict=True))
        dtype = np.dtype([(name, _TYPES[kind]) for name, kind in zip(names, kinds, strict=True)])
        count = int(head["POINTS"][0])
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(path, f"damaged PCD header ({type(error).__name__}: {error})", _MEND) from None
    missing = [name for name in COLUMNS if name not in names]
    if missing or any(c != 1 for c in counts):
        raise UserError(path, f"PCD columns {names} of counts {counts} are not nuPlan's", _MEND)
    body = start + len(b"DATA binary\n")
    if not 0 <= count * dtype.itemsize <= len(data) - body:
        raise UserError(path, f"{count} points do not fit in {len(data) - body} bytes", _MEND)
    cloud = np.frombuffer(data, dtype=dtype, count=count, offset=body)
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.stack([cloud[name].astype(np.float32) for name in COLUMNS], axis=1)
        extra = {name: cloud[name].astype(kind) for name, kind in EXTRA.items() if name in names}
    keep = np.isfinite(points).all(axis=1)
    return points[keep], {name: values[keep] for name, values in extra.items()}
