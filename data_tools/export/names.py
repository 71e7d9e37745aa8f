"""What an export calls things: the source's own tokens and file names, or made ones that depend on names only."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from drive.geometry.clock import NS_PER_US
from drive.logs.records import Row
from drive.logs.store import Log

NUSCENES = "nuscenes"
_SUFFIX = {"lidar": ".pcd.bin", "radar": ".pcd", "camera": ".jpg"}
_SAFE = re.compile(r"[A-Za-z0-9._+=-]+")


def made_token(*parts: object) -> str:
    """32 hexadecimal characters that depend on nothing but `parts`."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def token_of(log: Log, source: str, *parts: object) -> str:
    """The source's token in a log of nuScenes, else one made of the log's name and `parts`."""
    return source if log.dataset == NUSCENES and source else made_token(log.name, *parts)


def microseconds(row: Row) -> int:
    """Time of a sweep or image in nuScenes' unit."""
    return row.timestamp_ns // NS_PER_US


def file_name(log: Log, sensor: str, row: Row, index: int, image: bytes = b"") -> str:
    """Name below the data root: the source's where it is of nuScenes' layout, else one in that layout."""
    name = PurePosixPath(row.source_name)
    parts = name.parts
    if len(parts) == 3 and parts[0] in ("samples", "sweeps") and all(_SAFE.fullmatch(part) for part in parts):
        return str(name)
    suffix = ".png" if image.startswith(b"\x89PNG") else _SUFFIX[log.sensors[sensor].modality]
    folder = "samples" if row.is_key_frame else "sweeps"
    return f"{folder}/{sensor}/{log.name}__{sensor}__{microseconds(row)}_{index}{suffix}"
