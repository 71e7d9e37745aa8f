"""One scene to one log."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.nuscenes import boxes as annotations_to_boxes
from data_tools.nuscenes import extras, points
from data_tools.nuscenes.boxes import Annotations
from data_tools.nuscenes.can_bus import add_can_bus
from data_tools.nuscenes.load import Samples, Sweeps, load_annotations, load_samples, load_sweeps
from data_tools.nuscenes.maps import read_map
from data_tools.nuscenes.point_labels import add_point_labels
from data_tools.nuscenes.scenes import Scene
from data_tools.nuscenes.tables import NO_FIT
from drive.errors import UserError
from drive.geometry.clock import NS_PER_US
from drive.geometry.rigid import from_translation_rotation
from drive.logs.tables import vectors
from drive.logs.writer import LogWriter

REFERENCE = "LIDAR_TOP"


def convert_scene(
    raw: Path,
    scene: Scene,
    out_root: Path,
    *,
    licence: str,
    sensors: Collection[str] = (),
    key_frames_only: bool = False,
    interpolate_boxes: bool = False,
) -> None:
    """Write ``out_root / scene.name``. UserError for any record or file that is missing or broken."""
    folder = raw / scene.version
    samples = load_samples(folder, scene)
    rows = load_sweeps(folder, scene, samples, sensors, key_frames_only=key_frames_only)
    annotations = load_annotations(folder, scene, samples)
    labels = annotations_to_boxes.by_sample(annotations, samples.timestamp, folder / "sample_annotation.json")
    with LogWriter(
        out_root,
        scene.name,
        dataset="nuscenes",
        source_version=scene.version,
        licence=licence,
        split=scene.split,
        location=str(scene.log["location"]),
    ) as log:
        row_of: dict[str, int] = {}
        counts: dict[str, int] = {}
        for name, sensor in rows.calibration.items():
            mine = [i for i, channel in enumerate(rows.channel) if channel == name]
            _add_sensor(log, raw, name, sensor, rows, mine[0])
            for i in mine:
                row_of[rows.token[i]], counts[rows.token[i]] = _add_payload(log, raw, name, sensor["modality"], rows, i)
        _add_frames(log, folder, samples, rows, row_of, labels, interpolate_boxes=interpolate_boxes)
        region = read_map(raw, str(scene.log["location"]))
        if region is not None:
            for feature in region.near_path(rows.pose_translation[rows.is_key_frame, :2]):
                log.add_map_feature(
                    feature.feature_id,
                    feature.kind,
                    feature.geometry,
                    holes=feature.holes,
                    is_polygon=feature.is_polygon,
                    attributes=feature.attributes,
                    predecessors=feature.predecessors,
                    successors=feature.successors,
                )
        add_can_bus(log, raw, scene.name)
        add_point_labels(log, raw, scene, row_of, counts)
        extras.add_rasters(log, raw, scene)
        extras.add_static_scene(log, raw, scene)
        source = {f"scene_{key}": str(value) for key, value in sorted(scene.record.items())}
        source |= {f"log_{key}": str(value) for key, value in sorted(scene.log.items())}
        log.add_table("source", pa.Table.from_pylist([source]))


def _add_sensor(log: LogWriter, raw: Path, name: str, sensor: dict[str, Any], rows: Sweeps, first: int) -> None:
    keywords: dict[str, Any] = {"source_token": sensor["token"]}
    modality = sensor["modality"]
    if modality == "camera":
        intrinsics = np.asarray(sensor["camera_intrinsic"], np.float64)
        if intrinsics.shape != (3, 3):
            place = raw / "calibrated_sensor.json"
            raise UserError(place, f"{name} has no 3x3 camera_intrinsic", "the file was damaged: get it again")
        keywords |= {"intrinsics": intrinsics, "width": int(rows.width[first]), "height": int(rows.height[first])}
    elif modality == "lidar":
        keywords |= {"columns": points.LIDAR_COLUMNS, "intensity_max": 255.0}
    elif modality == "radar":
        keywords["columns"] = points.split_radar(points.read_radar(raw / rows.filename[first]))[0]
    else:
        raise UserError(raw / "sensor.json", f"{name} is a {modality!r}", "known are camera, lidar, radar")
    log.add_sensor(name, modality, sensor["translation"], sensor["rotation"], **keywords)


def _add_payload(log: LogWriter, raw: Path, name: str, modality: str, rows: Sweeps, i: int) -> tuple[int, int]:
    """Copy one sweep or image; returns its row and its number of points (0 for an image)."""
    path, time_ns = raw / rows.filename[i], int(rows.timestamp[i]) * NS_PER_US
    pose = rows.pose_translation[i], rows.pose_rotation[i]
    if modality == "camera":
        data = points.read_file(path)
        width, height = extras.image_size(path, data)
        if rows.width[i] and (width, height) != (rows.width[i], rows.height[i]):
            what = f"is {width}x{height}, its record says {rows.width[i]}x{rows.height[i]}"
            raise UserError(path, what, "the tables and files do not fit together")
        return log.add_image(name, time_ns, data, width, height, *pose, **rows.source(i), file=path), 0
    if modality == "lidar":
        cloud = points.read_lidar(path)
        return log.add_sweep(name, time_ns, cloud, *pose, **rows.source(i)), len(cloud)
    radar = points.read_radar(path)
    _, values, extra = points.split_radar(radar)
    return log.add_sweep(name, time_ns, values, *pose, extra=extra, **rows.source(i)), len(radar)


def _add_frames(
    log: LogWriter,
    folder: Path,
    samples: Samples,
    rows: Sweeps,
    row_of: dict[str, int],
    labels: list[Annotations],
    *,
    interpolate_boxes: bool,
) -> None:
    """Key frames with their boxes; with interpolation also one frame a lidar sweep between two of them."""
    tokens, times = samples.token, samples.timestamp
    reference = REFERENCE if REFERENCE in rows.calibration else next(iter(rows.calibration), "")
    here: list[dict[str, int]] = [{} for _ in tokens]  # sensor -> index into rows
    for key in np.flatnonzero(rows.is_key_frame):
        here[rows.sample[key]][rows.channel[key]] = int(key)
    # (time, key frame or -1, index into rows or -1)
    instants = [(int(t), k, here[k].get(reference, next(iter(here[k].values()), -1))) for k, t in enumerate(times)]
    if interpolate_boxes:
        sweeps = np.flatnonzero((np.array(rows.channel) == reference) & ~rows.is_key_frame)
        between = (int(i) for i in sweeps if times[0] < rows.timestamp[i] < times[-1])
        instants += [(int(rows.timestamp[i]), -1, i) for i in between]
    for time, sample, i in sorted(instants):
        if i < 0:
            what = f"sample {tokens[sample]!r} has no key frame of any chosen sensor"
            raise UserError(folder / "sample_data.json", what, NO_FIT)
        pose = {"pose_translation": rows.pose_translation[i], "pose_rotation": rows.pose_rotation[i]}
        if sample >= 0:
            found, frame_rows = labels[sample], {name: row_of[rows.token[j]] for name, j in here[sample].items()}
        else:
            after = int(np.searchsorted(times, time))
            share = (time - times[after - 1]) / (times[after] - times[after - 1])
            found = annotations_to_boxes.interpolate(labels[after - 1], labels[after], float(share))
            frame_rows = {reference: row_of[rows.token[i]]}
        frame = log.add_frame(
            time * NS_PER_US,
            rows=frame_rows,
            source_timestamp=time,
            source_token=tokens[sample] if sample >= 0 else "",
            interpolated=sample < 0,
            **pose,
        )
        log.add_boxes(
            frame,
            found.in_ego(from_translation_rotation(*pose.values())),
            found.category,
            found.instance,
            velocity_valid=found.velocity_valid,
            num_lidar_points=found.num_lidar_points,
            num_radar_points=found.num_radar_points,
            source_translation=found.translation,
            source_rotation=found.rotation,
            source_size=found.size,
            attributes=found.attributes,
            visibility=found.visibility,
            source_token=found.token,
            interpolated=sample < 0,
            extra={"velocity_global_mps": vectors(found.velocity, 3)},
        )
