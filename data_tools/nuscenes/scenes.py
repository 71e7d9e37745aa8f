"""From 13 tables to one small bundle of Arrow tables a scene, with integer joins instead of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_tools.nuscenes import tables
from data_tools.nuscenes.splits import custom_splits, split_of
from drive.errors import UserError


@dataclass(frozen=True)
class Selection:
    """What to convert: see the fields of the same names in data_tools.nuscenes.Options."""

    version: str = ""
    scenes: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    key_frames_only: bool = False


@dataclass(frozen=True)
class Scene:
    """Everything the tables say about one scene; light enough to travel to a worker process (about 1 MB).

    Attributes:
        name, token, version, split: of the scene.
        log: its record of table `log`.
        sensors: channel -> {token, modality, translation, rotation, camera_intrinsic}, sorted by channel.
        rasters: its records of table `map`; files: rows of optional tables, {table: [record]}.
        samples, sweeps, annotations: Arrow tables as compressed streams, see `table`. Samples by time; sweeps by
            channel and time, each with its pose and its sample's row; annotations by sample.
    """

    name: str
    token: str
    version: str
    split: str
    description: str
    log: dict[str, Any]
    sensors: dict[str, dict[str, Any]]
    rasters: list[dict[str, Any]]
    files: dict[str, list[dict[str, Any]]]
    samples: bytes
    sweeps: bytes
    annotations: bytes


def table(stream: bytes) -> pa.Table:
    """The table behind Scene.samples, .sweeps or .annotations."""
    return pa.ipc.open_stream(stream).read_all().combine_chunks()


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(rows.combine_chunks())
    return sink.getvalue().to_pybytes()


def find_version(raw: Path, version: str) -> str:
    """The version asked for, or the only one there; UserError otherwise."""
    there = sorted(p.name for p in raw.iterdir() if (p / "scene.json").is_file())
    if not there:
        raise UserError(raw, "holds no nuScenes tables (v1.0-*/scene.json)", "give the folder with v1.0-* and samples/")
    if version and version not in there:
        raise UserError(raw / version, "no such version", f"--version is one of: {', '.join(there)}")
    if not version and len(there) > 1:
        raise UserError(raw, f"holds several versions ({', '.join(there)})", "choose one by --version")
    return version or there[0]


def list_scenes(raw: Path, select: Selection) -> list[Scene]:
    """Read the tables once and divide them by scene, sorted by name.

    Raises:
        UserError: a table is missing, broken or does not fit the others; a scene asked for is not there.
    """
    version = find_version(raw, select.version)
    folder = raw / version
    scenes, splits = _wanted_scenes(folder, version, select)
    if not scenes:
        return []
    logs = tables.by_token(folder, "log", "logfile", "location")
    sensors = _calibrated_sensors(folder, select.sensors)
    channels = sorted({s["channel"] for s in sensors.values()})
    rasters = tables.read_records(folder, "map")
    samples = _samples(folder, scenes)
    sweeps = _sweeps(folder, samples, sensors, channels, select.key_frames_only)
    annotations = _annotations(folder, samples)
    files = _files(folder, sweeps, [s["token"] for s in scenes])
    found = []
    for index, scene in enumerate(scenes):
        rows = _slice(sweeps, "scene", index)
        if scene["log_token"] not in logs:
            what = f"scene {scene['name']} refers to log {scene['log_token']!r}, which is not there"
            raise UserError(folder / "scene.json", what, "the tables do not fit together")
        found.append(
            Scene(
                name=scene["name"],
                token=scene["token"],
                version=version,
                split=splits[scene["name"]],
                description=scene.get("description", ""),
                log=logs[scene["log_token"]],
                sensors=_sensors_of(rows, sensors, channels, scene["name"], folder),
                rasters=[r for r in rasters if scene["log_token"] in r.get("log_tokens", [])],
                files=files[index],
                samples=_stream(_slice(samples, "scene", index)),
                sweeps=_stream(rows),
                annotations=_stream(_slice(annotations, "scene", index)),
            )
        )
    return found


def _wanted_scenes(folder: Path, version: str, select: Selection) -> tuple[list[dict[str, Any]], dict[str, str]]:
    scenes = sorted(tables.by_token(folder, "scene", "name", "log_token").values(), key=lambda s: s["name"])
    names = [s["name"] for s in scenes]
    if unknown := sorted(set(select.scenes) - set(names)):
        near = f"{names[0]} to {names[-1]}" if names else "none"
        raise UserError(folder / "scene.json", f"has no scene {unknown[0]!r}", f"the scenes there: {near}")
    custom = custom_splits(folder)
    splits = {name: split_of(name, version, custom) for name in names}
    if unknown := sorted(set(select.split) - set(splits.values())):
        there = ", ".join(sorted(set(splits.values())))
        raise UserError(folder / "scene.json", f"has no scene in split {unknown[0]!r}", f"the splits there: {there}")
    wanted = [
        s
        for s in scenes
        if (not select.scenes or s["name"] in select.scenes) and (not select.split or splits[s["name"]] in select.split)
    ]
    return wanted, splits


def _calibrated_sensors(folder: Path, only: Sequence[str]) -> dict[str, dict[str, Any]]:
    sensors = tables.by_token(folder, "sensor", "channel", "modality")
    if unknown := sorted(set(only) - {s["channel"] for s in sensors.values()}):
        there = ", ".join(sorted({s["channel"] for s in sensors.values()}))
        raise UserError(folder / "sensor.json", f"has no sensor {unknown[0]!r}", f"--sensors are among: {there}")
    found = {}
    for token, record in tables.by_token(
        folder, "calibrated_sensor", "sensor_token", "translation", "rotation", "camera_intrinsic"
    ).items():
        if record["sensor_token"] not in sensors:
            what = f"refers to sensor {record['sensor_token']!r}, which is not there"
            raise UserError(folder / "calibrated_sensor.json", what, "the tables do not fit together")
        sensor = sensors[record["sensor_token"]]
        if not only or sensor["channel"] in only:
            found[token] = {**record, "channel": sensor["channel"], "modality": sensor["modality"]}
    return found


def _samples(folder: Path, scenes: list[dict[str, Any]]) -> pa.Table:
    tokens = pa.array([s["token"] for s in scenes], pa.string())
    samples = tables.read_table(
        folder, "sample", tables.SAMPLE, lambda part: part.filter(pc.is_in(part["scene_token"], value_set=tokens))
    )
    scene = pc.index_in(samples["scene_token"], value_set=tokens)
    samples = samples.append_column("scene", scene).sort_by([("scene", "ascending"), ("timestamp", "ascending")])
    counts = np.bincount(samples["scene"].to_numpy(), minlength=len(scenes))
    for record, count in zip(scenes, counts, strict=True):
        if record.get("nbr_samples", count) != count:
            what = f"has {count} samples of {record['name']}, its record says {record['nbr_samples']}"
            raise UserError(folder / "sample.json", what, "the tables do not fit together: get them again")
    # The row inside the scene: what sweeps and annotations refer to from here on.
    starts = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(samples.num_rows) - starts[samples["scene"].to_numpy()]
    return samples.append_column("sample", pa.array(within, pa.int64()))


def _sweeps(
    folder: Path, samples: pa.Table, sensors: dict[str, dict[str, Any]], channels: list[str], key_frames_only: bool
) -> pa.Table:
    calibrated = pa.array(list(sensors), pa.string())
    sample_tokens = samples["token"].combine_chunks()

    def keep(part: pa.Table) -> pa.Table:
        rows = pc.is_in(part["sample_token"], value_set=sample_tokens)
        rows = pc.and_(rows, pc.is_in(part["calibrated_sensor_token"], value_set=calibrated))
        return part.filter(pc.and_(rows, part["is_key_frame"]) if key_frames_only else rows)

    sweeps = tables.read_table(folder, "sample_data", tables.SAMPLE_DATA, keep)
    pose_tokens = sweeps["ego_pose_token"].combine_chunks()
    poses = tables.read_table(
        folder, "ego_pose", tables.EGO_POSE, lambda part: part.filter(pc.is_in(part["token"], value_set=pose_tokens))
    )
    for name, length in (("translation", 3), ("rotation", 4)):
        check_lengths(poses, name, length, folder / "ego_pose.json")
    pose = tables.rows_of(sweeps["ego_pose_token"], poses["token"], folder / "sample_data.json", "ego_pose")
    sample = pc.index_in(sweeps["sample_token"], value_set=sample_tokens)
    channel_of = np.array([channels.index(s["channel"]) for s in sensors.values()], np.int32)
    calibration = pc.index_in(sweeps["calibrated_sensor_token"], value_set=calibrated)
    columns = {
        "scene": samples["scene"].take(sample),
        "sample": samples["sample"].take(sample),
        "channel": pa.array(channel_of[calibration.to_numpy()] if sweeps.num_rows else [], pa.int32()),
        "calibration": calibration,
        "pose_timestamp": poses["timestamp"].take(pose),
        "pose_translation": poses["translation"].take(pose),
        "pose_rotation": poses["rotation"].take(pose),
    }
    for name, values in columns.items():
        sweeps = sweeps.append_column(name, values)
    sweeps = sweeps.drop_columns(["sample_token", "calibrated_sensor_token"])
    return sweeps.sort_by([("scene", "ascending"), ("channel", "ascending"), ("timestamp", "ascending")])


def _annotations(folder: Path, samples: pa.Table) -> pa.Table:
    path = folder / "sample_annotation.json"
    sample_tokens = samples["token"].combine_chunks()
    boxes = tables.read_table(
        folder,
        "sample_annotation",
        tables.SAMPLE_ANNOTATION,
        lambda part: part.filter(pc.is_in(part["sample_token"], value_set=sample_tokens)),
    )
    for name, length in (("translation", 3), ("size", 3), ("rotation", 4)):
        check_lengths(boxes, name, length, path)
    instances = tables.read_table(folder, "instance", tables.INSTANCE)
    categories = tables.by_token(folder, "category", "name")
    attributes = tables.by_token(folder, "attribute", "name")
    instance = tables.rows_of(boxes["instance_token"], instances["token"], path, "instance")
    category = instances["category_token"].take(instance)
    names = pa.array([c["name"] for c in categories.values()], pa.string())
    category = names.take(
        tables.rows_of(
            category, pa.chunked_array([list(categories)], pa.string()), folder / "instance.json", "category"
        )
    )
    sample = pc.index_in(boxes["sample_token"], value_set=sample_tokens)
    columns = {
        "scene": samples["scene"].take(sample),
        "sample": samples["sample"].take(sample),
        "category": category,
        "attributes": _attribute_names(boxes, {t: a["name"] for t, a in attributes.items()}, path),
    }
    for name, values in columns.items():
        boxes = boxes.append_column(name, values)
    boxes = boxes.drop_columns(["attribute_tokens", "sample_token"])
    # Stable: inside a sample the order of the table stays.
    order = np.lexsort((boxes["sample"].to_numpy(), boxes["scene"].to_numpy()))
    return boxes.take(pa.array(order))


def _attribute_names(boxes: pa.Table, names: dict[str, str], path: Path) -> pa.Array:
    joined = []
    for tokens in boxes["attribute_tokens"].to_pylist():
        for token in tokens:
            if token not in names:
                raise UserError(
                    path, f"refers to attribute {token!r}, which is not there", "the tables do not fit together"
                )
        joined.append(";".join(names[token] for token in tokens))
    return pa.array(joined, pa.string())


def _files(folder: Path, sweeps: pa.Table, scene_tokens: list[str]) -> list[dict[str, list[dict[str, Any]]]]:
    """Rows of the optional tables by scene: labels of points, and the static scene that our town adds."""
    found: list[dict[str, list[dict[str, Any]]]] = [{} for _ in scene_tokens]
    for name in ("lidarseg", "panoptic"):
        records = tables.read_records(folder, name, optional=True)
        if records:
            rows = pc.index_in(pa.array([r.get("sample_data_token") for r in records]), value_set=sweeps["token"])
            scene = sweeps["scene"].combine_chunks()
            for record, row in zip(records, rows.to_pylist(), strict=True):
                if row is not None:  # else: of a scene that was not asked for
                    found[scene[row].as_py()].setdefault(name, []).append(record)
    for record in tables.read_records(folder, "scene_3d", optional=True):
        if record.get("scene_token") in scene_tokens:
            found[scene_tokens.index(record["scene_token"])].setdefault("scene_3d", []).append(record)
    return found


def _sensors_of(
    rows: pa.Table, sensors: dict[str, dict[str, Any]], channels: list[str], scene: str, folder: Path
) -> dict[str, dict[str, Any]]:
    records = list(sensors.values())
    found: dict[str, dict[str, Any]] = {}
    for channel, calibration in sorted(
        {*zip(rows["channel"].to_pylist(), rows["calibration"].to_pylist(), strict=True)}
    ):
        name = channels[channel]
        if name in found:
            what = f"{scene} has two calibrations of {name}"
            raise UserError(folder / "calibrated_sensor.json", what, "divide the scene: a log has one calibration")
        found[name] = {**records[calibration], "channel_index": channel}
    return found


def _slice(rows: pa.Table, column: str, value: int) -> pa.Table:
    keys = rows[column].to_numpy()
    start, end = np.searchsorted(keys, value, "left"), np.searchsorted(keys, value, "right")
    return rows.slice(start, end - start)


def check_lengths(rows: pa.Table, name: str, length: int, path: Path) -> None:
    """UserError where a list column holds lists of another length, or nulls in them."""
    lengths = pc.list_value_length(rows[name])
    wrong = pc.not_equal(lengths, length)
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        what = f"record {rows['token'][row].as_py()!r}: {name} has {lengths[row].as_py()} numbers, not {length}"
        raise UserError(path, what, "the file was damaged: get it again")
    if pc.list_flatten(rows[name]).null_count:
        raise UserError(path, f"a {name} holds a null", "the file was damaged: get it again")


def matrix(column: pa.ChunkedArray, length: int) -> np.ndarray:
    """A checked list column as float64 [N, length]."""
    return np.asarray(pc.list_flatten(column).to_numpy(), np.float64).reshape(-1, length)
