"""DGP scenes to logs. Conventions: ``data_tools.dgp``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from data_tools.av2.velocity import track_velocities
from data_tools.dgp.read import (
    Mount,
    number,
    part,
    read_annotations,
    read_calibration,
    read_json,
    read_ontology,
    read_pose,
    read_stamp_us,
    text,
)
from data_tools.dgp.sensors import Datum, Samples, add_sensors
from data_tools.nuplan.sensors import sensor_file
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import from_translation_rotation, invert, yaw_of_matrix
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

_MEND = "copy the file from the data set again"
_BOX_2D, _BOX_3D = "0", "1"  # keys of annotations: DGP's AnnotationType


@dataclass(frozen=True)
class Options:
    """What to convert of DGP scenes."""

    images: bool = True
    """copy the camera images"""
    licence: str = "CC BY-NC-SA 4.0"
    """licence of the data set, as it shall stand in the logs"""

    content: ClassVar[tuple[str, ...]] = ("images", "licence")


@dataclass(frozen=True)
class DgpScene:
    """One scene to convert: its scene_*.json."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the log: that of the folder."""
        return self.path.parent.name

    def file(self, name: str) -> Path:
        """A file of the scene by its name in the JSON, which must stay below the folder."""
        return sensor_file(self.path.parent, name, str(self.path))


def list_logs(raw: Path, options: Options) -> list[DgpScene]:
    """Every folder with a ``scene_*.json`` at ``raw`` or below, sorted by name."""
    found: dict[str, DgpScene] = {}
    for path in sorted(Path(raw).rglob("scene_*.json")):
        if path.name.startswith("scene_dataset"):
            continue
        scene = DgpScene(path.resolve())
        if not NAME_PATTERN.fullmatch(scene.name):
            raise UserError(path, "odd folder name", "rename it: letters, digits and . _ + - = only")
        if scene.name in found:
            raise UserError(path, f"the scene is also at {found[scene.name].path}", "convert one of them at a time")
        found[scene.name] = scene
    if not found:
        raise UserError(raw, "holds no scene_*.json", "give the folder of the DGP scenes")
    return [found[name] for name in sorted(found)]


def log_files(raw: Path, scene: DgpScene) -> list[Path]:
    """The folder that only this log needs."""
    return [scene.path.parent]


def convert_log(raw: Path, scene: DgpScene, out_root: Path, options: Options) -> None:
    """Write one scene. ``raw`` is not used: the scene knows its folder.

    Raises:
        UserError: a file is missing or damaged; nothing is left behind then.
    """
    place = str(scene.path)
    record = read_json(scene.path)
    samples = part(record, "samples", list, place)
    keys = {text(s.get("calibration_key") if isinstance(s, dict) else None, f"{place}: sample") for s in samples}
    if len(keys) != 1:
        raise UserError(place, f"its samples have {len(keys)} calibrations, not one", "split the scene")
    mounts = read_calibration(scene.file(f"calibration/{keys.pop()}.json"))
    data = {key: datum for key, datum in _data(part(record, "data", list, place), mounts, place)}
    rows = [_sample(sample, data, f"{place}: sample {i}") for i, sample in enumerate(samples)]
    rows.sort(key=lambda row: row[0])
    if any(first[0] == second[0] for first, second in pairwise(rows)):
        raise UserError(place, "two samples of the same time", _MEND)
    ontologies = record.get("ontologies") or {}
    names = {
        kind: read_ontology(scene.file(f"ontology/{text(ontologies.get(kind), place)}.json"))
        for kind in (_BOX_2D, _BOX_3D) if isinstance(ontologies, dict) and kind in ontologies
    }  # fmt: skip
    writer = LogWriter(
        out_root, scene.name, dataset="dgp", source_version="DGP", licence=options.licence,
        location=str(record.get("log") or ""),
    )  # fmt: skip
    with writer as log:
        payload = add_sensors(log, scene.path, scene.file, rows, mounts, options.images)
        for stamp, own in rows:
            lead = next((d for d in own if d.kind == "point_cloud"), own[0])
            log.add_frame(
                stamp * 1000, rows={d.sensor: payload[d.sensor, d.stamp_us] for d in own
                                    if (d.sensor, d.stamp_us) in payload},
                pose_translation=lead.pose[0], pose_rotation=lead.pose[1], source_timestamp=stamp,
            )  # fmt: skip
        _add_boxes(log, scene, rows, mounts, names.get(_BOX_3D, {}))
        log.add_table("camera_labels", _camera_labels(scene, rows, names.get(_BOX_2D, {})))
        log.add_file("scene.json", scene.path.read_bytes())


def _data(records: list[Any], mounts: dict[str, Mount], place: str) -> list[tuple[str, Datum]]:
    found = []
    for i, entry in enumerate(records):
        where = f"{place}: datum {i}"
        datum = part(entry, "datum", dict, where)
        kind = next((name for name in ("point_cloud", "image") if isinstance(datum.get(name), dict)), None)
        if kind is None:
            continue  # radar clouds, files and agents are other kinds of data
        sensor = text(part(entry, "id", dict, where).get("name"), f"{where}: name")
        if sensor not in mounts or not NAME_PATTERN.fullmatch(sensor):
            raise UserError(where, f"sensor {sensor[:40]!r} is not in the calibration", _MEND)
        pose = from_translation_rotation(*read_pose(datum[kind].get("pose"), f"{where}: pose"))
        global_from_ego = pose @ invert(mounts[sensor].ego_from_sensor)
        stamp = read_stamp_us(entry, where)
        found.append(
            (text(entry.get("key"), f"{where}: key"), Datum(sensor, kind, datum[kind], stamp, global_from_ego))
        )
    return found


def _sample(sample: dict[str, Any], data: dict[str, Datum], place: str) -> tuple[int, list[Datum]]:
    """Time of a sample and its data."""
    own = [data[key] for key in part(sample, "datum_keys", list, place) if isinstance(key, str) and key in data]
    if not own:
        raise UserError(place, "names no image and no point cloud", _MEND)
    cloud = next((d for d in own if d.kind == "point_cloud"), None)
    return (read_stamp_us(sample, place) if cloud is None else cloud.stamp_us), own


def _annotations(scene: DgpScene, datum: Datum, kind: str) -> tuple[str, list[dict[str, Any]]]:
    files = datum.record.get("annotations")
    if not isinstance(files, dict) or not isinstance(files.get(kind), str):
        return "", []
    path = scene.file(files[kind])
    return str(path), read_annotations(path)


def _category(names: dict[int, str], record: dict[str, Any], place: str) -> str:
    key = record.get("class_id")
    if not isinstance(key, int) or key not in names:
        raise UserError(place, f"class {str(key)[:40]} is not in the ontology", _MEND)
    return names[key]


def _add_boxes(
    log: LogWriter, scene: DgpScene, samples: Samples, mounts: dict[str, Mount], names: dict[int, str]
) -> None:
    """Boxes of the clouds of all samples, with velocities of their tracks."""
    frame, stamps, records, poses, places = [], [], [], [], []
    for k, (_, own) in enumerate(samples):
        for datum in own:
            if datum.kind != "point_cloud":
                continue
            path, found = _annotations(scene, datum, _BOX_3D)
            for i, record in enumerate(found):
                frame.append(k)
                stamps.append(datum.stamp_us * 1000)
                records.append(record)
                poses.append((datum.global_from_ego, mounts[datum.sensor].ego_from_sensor))
                places.append(f"{path}: annotation {i}")
    if not records:
        return
    source = [read_pose(r["box"].get("pose"), p) for r, p in zip(records, places, strict=True)]
    translation, rotation = np.stack([s[0] for s in source]), np.stack([s[1] for s in source])
    size = np.array([
        [number(r["box"].get(name), f"{p}: {name}") for name in ("length", "width", "height")]
        for r, p in zip(records, places, strict=True)
    ])  # fmt: skip
    flat = np.flatnonzero(~(size > 0).all(axis=1))
    if len(flat):
        raise UserError(places[flat[0]], "the box has a side that is not positive", _MEND)
    in_ego = np.stack([pose[1] for pose in poses]) @ from_translation_rotation(translation, rotation)
    boxes = np.zeros((len(records), 9))
    boxes[:, :3], boxes[:, 3:6], boxes[:, 6] = in_ego[:, :3, 3], size, wrap_angle(yaw_of_matrix(in_ego))
    tracks = [str(r.get("instance_id", f"{p}")) for r, p in zip(records, places, strict=True)]
    index: dict[str, int] = {}
    numbers = np.array([index.setdefault(track, len(index)) for track in tracks], dtype=np.int64)
    world = np.stack([pose[0] for pose in poses])
    place = (world @ in_ego)[:, :3, 3]
    velocity, valid = track_velocities(numbers, np.array(stamps, dtype=np.int64), place)
    boxes[:, 7:9] = np.einsum("nji,nj->ni", world[:, :3, :3], velocity)[:, :2]
    frames = np.array(frame)
    counts = [r.get("num_points") for r in records]
    known = all(isinstance(n, int) and 0 <= n < 1 << 31 for n in counts)
    for k in np.unique(frames):
        at = np.flatnonzero(frames == k)
        log.add_boxes(
            int(k), boxes[at], [_category(names, records[i], places[i]) for i in at], [tracks[i] for i in at],
            velocity_valid=valid[at], num_lidar_points=np.array(counts)[at] if known else None,
            source_translation=translation[at], source_rotation=rotation[at], source_size=size[at],
        )  # fmt: skip


def _camera_labels(scene: DgpScene, samples: Samples, names: dict[int, str]) -> pa.Table:
    """Standard table ``camera_labels``."""
    rows = []
    for k, (_, own) in enumerate(samples):
        for datum in own:
            if datum.kind != "image":
                continue
            path, found = _annotations(scene, datum, _BOX_2D)
            for i, record in enumerate(found):
                where = f"{path}: annotation {i}"
                x, y, w, h = (number(record["box"].get(name), f"{where}: {name}") for name in "xywh")
                track = record.get("instance_id")
                category = _category(names, record, where)
                rows.append((k, datum.sensor, category, None if track is None else str(track), x, y, x + w, y + h))
    kinds = (pa.int32(), pa.string(), pa.string(), pa.string(), *[pa.float64()] * 4)
    titles = ("frame", "sensor", "category", "track", "x_min", "y_min", "x_max", "y_max")
    return pa.table({
        title: pa.array([row[i] for row in rows], kind)
        for i, (title, kind) in enumerate(zip(titles, kinds, strict=True))
    })  # fmt: skip
