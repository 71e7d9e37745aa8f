"""nuScenes v1.0 (Caesar et al., CVPR 2020, arXiv 1903.11027): raw tables and files to logs, without the devkit.

Origin: https://www.nuscenes.org. Licence: CC BY-NC-SA 4.0 with nuScenes' terms of use (non-commercial).

Frames: ego x forward, y left, z up, origin at the rear axle on the ground, as ours; lidar x right, y forward; camera x
right, y down, z forward. Annotations are in the global frame, size (width, length, height), geometric centre. Global
from ego is recorded for every sweep and image, flat (z = 0). Timestamps are microseconds.

What a log keeps: all sweeps and images (key frames and others), as they are in the files; tokens, times, poses,
annotations as they are in the tables (``source_*``); radar's integer fields as typed columns. Added: box in the ego
frame of the key frame's LIDAR_TOP sweep, velocity by the devkit's rule (also global, ``velocity_global_mps``, as the
official metric wants it). The map expansion is kept within 150 m of the path. Standard tables: ``point_labels``
(lidarseg and panoptic), ``ego`` (of the CAN bus). Own tables: ``source`` (scene and log), ``can_bus`` and
``can_<message>``, ``point_classes``, ``map_raster``. Scenes of v1.0-test have frames without boxes. Not kept: prev/next
tokens (order and track give them), descriptions of categories, rasters above 2 MB (their name and size are kept).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data_tools.nuscenes.convert import convert_scene
from data_tools.nuscenes.load import calibrations, names
from data_tools.nuscenes.maps import read_map
from data_tools.nuscenes.scenes import Scene, Selection, list_scenes

LICENCE = "CC BY-NC-SA 4.0, nuScenes terms of use (non-commercial)"
TOWN_LICENCE = "Apache-2.0 (synthetic town)"


@dataclass(frozen=True)
class Options:
    """Convert nuScenes v1.0, or anything in its shape, to logs: one a scene."""

    content: ClassVar[tuple[str, ...]] = ("version", "sensors", "key_frames_only", "interpolate_boxes")
    listing: ClassVar[tuple[str, ...]] = ("[!cm]*/*.json",)  # tables; not can_bus/, not maps/

    version: str = ""
    """Folder of the tables, e.g. v1.0-mini; may be left out where there is only one."""
    scenes: tuple[str, ...] = ()
    """Names of scenes; all if left out."""
    split: tuple[str, ...] = ()
    """Splits (train, val, test, mini_train, mini_val, or those of splits.json); all if left out."""
    sensors: tuple[str, ...] = ()
    """Channels, e.g. LIDAR_TOP CAM_FRONT; all if left out."""
    key_frames_only: bool = False
    """Leave out the sweeps and images between key frames (2 Hz)."""
    interpolate_boxes: bool = False
    """Add a frame for every lidar sweep between two key frames, its boxes interpolated and flagged."""


def list_logs(raw: Path, options: Options) -> list[Scene]:
    """Scenes that the options select, sorted by name."""
    for cached in (calibrations, names, read_map):  # the files may have been mended since this process last looked
        cached.cache_clear()
    select = Selection(options.version, options.scenes, options.split, options.sensors, options.key_frames_only)
    return list_scenes(raw, select)


def log_files(raw: Path, spec: Scene) -> list[Path]:
    """Sensor files and labels of points that only this log needs."""
    records = [*spec.sweeps.read(raw / spec.version), *spec.files.get("lidarseg", ()), *spec.files.get("panoptic", ())]
    return [raw / record["filename"] for record in records if isinstance(record.get("filename"), str)]


def convert_log(raw: Path, spec: Scene, out_root: Path, options: Options) -> None:
    """Write one scene as a log."""
    convert_scene(
        raw,
        spec,
        out_root,
        licence=TOWN_LICENCE if "scene_3d" in spec.files else LICENCE,
        sensors=options.sensors,
        key_frames_only=options.key_frames_only,
        interpolate_boxes=options.interpolate_boxes,
    )
