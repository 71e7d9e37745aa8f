"""Waymo motion records to logs. Conventions: ``data_tools.waymo_motion``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from data_tools.scenario_log import Scenario, write_scenario
from data_tools.tfrecord import TFRecordFile
from data_tools.waymo_motion.example import read_example
from data_tools.waymo_motion.gpudrive import read_json
from data_tools.waymo_motion.lidar import add_lidar
from data_tools.waymo_motion.messages import EXAMPLE, SCENARIO, SCENARIO_HEAD
from data_tools.waymo_motion.scenario import read_scenario
from data_tools.waymo_perception.checks import named
from data_tools.waymo_perception.maps import KINDS, add_map
from data_tools.waymo_perception.messages import CAMERAS
from data_tools.wire import Description, WireError, decode
from drive.errors import UserError
from drive.logs.maps import MapFeature
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

LICENCE = "Waymo Open Dataset licence (non-commercial)"
VERSION = "1.3.0"
_FILES = re.compile(r"[^.].*(\.tfrecord(-\d+-of-\d+)?|\.json)")
_SPLITS = re.compile(r"(training|validation|testing)")
_GIVE = "give files of the Waymo motion data set (Scenario or tf.Example records), or copy it again"


@dataclass(frozen=True)
class Options:
    """What to convert of a folder of Waymo motion files."""

    files: str = "*"
    """pattern of the names of files to convert"""
    lidar: str = ""
    """folder of WOMD-LiDAR files (<scenario id>.tfrecord), absolute or below RAW; default: none"""

    content: ClassVar[tuple[str, ...]] = ("lidar",)
    listing: ClassVar[tuple[str, ...]] = ("*tfrecord*",)


@dataclass(frozen=True)
class MotionLog:
    """One scenario to convert: a record of a TFRecord file, or a JSON file (record None)."""

    path: Path
    record: int | None

    @property
    def name(self) -> str:
        """Name of the log: the file's and the record's number (a file name holds many scenarios)."""
        return self.path.stem if self.record is None else f"{self.path.name}_{self.record:05d}"


def list_logs(raw: Path, options: Options) -> list[MotionLog]:
    """All scenarios below ``raw``, sorted by file and record. Reads the records' headers only."""
    raw = Path(raw)
    lidar = _lidar_folder(raw, options)
    paths = [path for path in sorted(raw.rglob(options.files)) if _is_ours(path, lidar)]
    logs = [log for path in paths for log in _records(path)]
    if not logs:
        place = paths[0] if paths else raw
        raise UserError(place, "no TFRecord file with records, no JSON scenario", "give the folder of the motion data")
    for log in logs:
        if not NAME_PATTERN.fullmatch(log.name):
            raise UserError(log.path, "the file's name cannot be that of a log", "use letters, digits and . _ + - =")
    for first, second in pairwise(sorted(logs, key=lambda log: log.name)):
        if first.name == second.name:
            raise UserError(second.path, f"the same name as {first.path}", "convert one of the folders at a time")
    return logs


def _lidar_folder(raw: Path, options: Options) -> Path | None:
    if not options.lidar:
        return None
    folder = raw / options.lidar
    if not folder.is_dir():
        raise UserError(folder, "no such folder", "give the folder of the WOMD-LiDAR files")
    return folder


def _is_ours(path: Path, lidar: Path | None) -> bool:
    if lidar is not None and path.is_relative_to(lidar):
        return False
    return bool(_FILES.fullmatch(path.name)) and path.is_file()


def _records(path: Path) -> Iterator[MotionLog]:
    if path.suffix == ".json":
        yield MotionLog(path, None)
        return
    with TFRecordFile(path) as file:
        for record in range(len(file)):
            yield MotionLog(path, record)


def log_files(raw: Path, source: MotionLog) -> list[Path]:
    """The raw file that the logs of its records share."""
    return [source.path]


def convert_log(raw: Path, source: MotionLog, out_root: Path, options: Options) -> None:
    """Write one log.

    Raises:
        UserError: the record is damaged or no scenario; nothing is left behind then.
    """
    scenario, message = _read(source)
    lidar = _lidar_folder(Path(raw), options)
    if lidar is not None and message is not None:
        message["laser_data"] = message["laser_data"] + _separate_lidar(lidar, str(scenario.facts["scenario_id"]))
    split = _SPLITS.search(source.path.name)
    writer = LogWriter(
        out_root, source.name, dataset="waymo_motion", source_version=VERSION, licence=LICENCE,
        split=split[1] if split else "",
    )  # fmt: skip
    facts = {**scenario.facts, "file": source.path.name, "record": -1 if source.record is None else source.record}
    scenario = replace(scenario, facts=facts)
    with writer as log:
        if message is not None:
            filled, empty = _split_map(message["map_features"])
            add_map(log, filled, np.zeros(3), scenario.place)
            rows = add_lidar(log, scenario, message["laser_data"]) if message["laser_data"] else []
            scenario = replace(scenario, map_features=empty, sensor_rows=rows)
            _add_camera_tokens(log, message["camera_tokens"], scenario.place)
        write_scenario(log, scenario)


def _read(source: MotionLog) -> tuple[Scenario, dict[str, Any] | None]:
    """The scenario, and the whole message where the record is a Scenario."""
    if source.record is None:
        return read_json(source.path), None
    with TFRecordFile(source.path) as file:
        if source.record >= len(file):
            raise UserError(source.path, f"has no record {source.record}", "the file was changed: start again")
        place, data = file.place(source.record), file.read(source.record)
    if "scenario_id" in _decode(data, SCENARIO_HEAD, place):
        message = _decode(data, SCENARIO, place)
        return read_scenario(message, place), message
    return read_example(_decode(data, EXAMPLE, place), place), None


def _decode(data: bytes, description: Description, place: str) -> dict[str, Any]:
    try:
        return decode(data, description)
    except WireError as error:
        raise UserError(place, f"neither a Scenario nor a tf.Example: {error}", _GIVE) from None


def _separate_lidar(folder: Path, scenario_id: str) -> list[dict[str, Any]]:
    """``laser_data`` of the file that WOMD-LiDAR has for a scenario; [] where it has none."""
    if not NAME_PATTERN.fullmatch(scenario_id):
        raise UserError(folder, f"scenario id {scenario_id[:80]!r} cannot name a file", "copy the scenario again")
    path = folder / f"{scenario_id}.tfrecord"
    if not path.is_file():
        return []
    frames = []
    with TFRecordFile(path) as file:
        for record in range(len(file)):
            frames += _decode(file.read(record), SCENARIO, file.place(record))["laser_data"]
    return frames


def _split_map(features: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[MapFeature]]:
    """Map features that have points, and those that have none."""
    filled, empty = [], []
    for feature in features:
        field = next((name for name in KINDS if name in feature), None)
        if field is not None and field != "stop_sign" and not len(feature[field]["points"]):
            empty.append(MapFeature(str(feature.get("id", "")), KINDS[field][0], np.zeros((0, 3)), KINDS[field][1]))
        else:
            filled.append(feature)
    return filled, empty


def _add_camera_tokens(log: LogWriter, frames: list[dict[str, Any]], place: str) -> None:
    rows = [
        {
            "frame": step,
            "camera": named(CAMERAS, camera.get("camera_name", 0), "camera", place),
            "tokens": camera["tokens"],
        }
        for step, frame in enumerate(frames)
        for camera in frame["cameras"]
    ]
    if rows:
        schema = pa.schema([("frame", pa.int32()), ("camera", pa.string()), ("tokens", pa.list_(pa.uint32()))])
        log.add_table("camera_tokens", pa.Table.from_pylist(rows, schema=schema))
