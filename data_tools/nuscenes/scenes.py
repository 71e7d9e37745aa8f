"""Divide the tables by scene: a light description of each, from offsets and integer joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.nuscenes import tables
from data_tools.nuscenes.splits import custom_splits, split_of
from data_tools.nuscenes.tables import Records
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
    """One scene: its few small records, and where its many records lie (100 kB for a scene of trainval).

    Attributes:
        record, log: of tables scene and log; rasters: of table map; files: of optional tables, {table: records}.
        sweeps: records of sample_data with `poses`, their ego_pose, row by row; annotations with `instances` alike.
    """

    name: str
    version: str
    split: str
    record: dict[str, Any]
    log: dict[str, Any]
    rasters: list[dict[str, Any]]
    files: dict[str, list[dict[str, Any]]]
    samples: Records
    sweeps: Records
    poses: Records
    annotations: Records
    instances: Records


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
    """Index the tables once and divide them by scene, sorted by name.

    Raises:
        UserError: a table is missing, broken or does not fit the others; a scene asked for is not there.
    """
    version = find_version(raw, select.version)
    folder = raw / version
    scenes, splits = _wanted_scenes(folder, version, select)
    _check_sensors(folder, select.sensors)
    if not scenes:
        return []
    logs = tables.by_token(folder, "log", "logfile", "location")
    rasters = tables.read_records(folder, "map")
    joined = _join(folder, [scene["token"] for scene in scenes])
    files = _files(folder, {scene["token"]: i for i, scene in enumerate(scenes)}, joined)
    found = []
    for index, record in enumerate(scenes):
        name = record["name"]
        if record["log_token"] not in logs:
            what = f"scene {name} refers to log {record['log_token']!r}, which is not there"
            raise UserError(folder / "scene.json", what, tables.NO_FIT)
        parts = {table: rows.of(index) for table, rows in joined.items()}
        if record.get("nbr_samples", len(parts["samples"])) != len(parts["samples"]):
            what = f"has {len(parts['samples'])} samples of {name}, its record says {record['nbr_samples']}"
            raise UserError(folder / "sample.json", what, tables.NO_FIT)
        found.append(
            Scene(
                name=name,
                version=version,
                split=splits[name],
                record=record,
                log=logs[record["log_token"]],
                rasters=[r for r in rasters if record["log_token"] in r.get("log_tokens", [])],
                files=files[index],
                **parts,
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


def _check_sensors(folder: Path, only: Sequence[str]) -> None:
    there = sorted({s["channel"] for s in tables.by_token(folder, "sensor", "channel", "modality").values()})
    if unknown := sorted(set(only) - set(there)):
        mend = f"--sensors are among: {', '.join(there)}"
        raise UserError(folder / "sensor.json", f"has no sensor {unknown[0]!r}", mend)


@dataclass(frozen=True)
class _Divided:
    """Records of a table sorted by scene (stable), with the scene int64 [N] of each; keys of their tokens or None."""

    records: Records
    scene: np.ndarray
    keys: np.ndarray | None = None

    def of(self, scene: int) -> Records:
        start, end = np.searchsorted(self.scene, [scene, scene + 1])
        return self.records.take(np.arange(start, end))


def _divide(records: Records, scene: np.ndarray, keys: np.ndarray | None = None) -> _Divided:
    order = np.argsort(scene, kind="stable")
    order = order[np.searchsorted(scene[order], 0) :]  # -1: of a scene that was not asked for
    return _Divided(records.take(order), scene[order], None if keys is None else keys[order])


def _join(folder: Path, scene_tokens: list[str]) -> dict[str, _Divided]:
    """Samples, sweeps with poses, annotations with instances of the scenes, sorted by scene."""
    scene_keys = tables.token_keys([token.encode() for token in scene_tokens])
    samples, keys = tables.index_table(folder, "sample", ("token", "scene_token"))
    scene_of_sample = _scene_rows(keys["scene_token"], scene_keys)
    sample_keys = keys["token"]
    divided = {"samples": _divide(samples, scene_of_sample)}

    sweeps, keys = tables.index_table(folder, "sample_data", ("sample_token", "ego_pose_token", "token"))
    scene = _scenes_of(keys["sample_token"], sample_keys, scene_of_sample, folder, "sample_data")
    poses, pose_keys = tables.index_table(folder, "ego_pose", ("token",))
    divided["sweeps"] = _divide(sweeps, scene, keys["token"])
    divided["poses"] = _divide(_linked(poses, keys["ego_pose_token"], pose_keys["token"], folder), scene)

    boxes, keys = tables.index_table(folder, "sample_annotation", ("sample_token", "instance_token"))
    scene = _scenes_of(keys["sample_token"], sample_keys, scene_of_sample, folder, "sample_annotation")
    instances, instance_keys = tables.index_table(folder, "instance", ("token",))
    divided["annotations"] = _divide(boxes, scene)
    divided["instances"] = _divide(_linked(instances, keys["instance_token"], instance_keys["token"], folder), scene)
    return divided


def _scenes_of(
    wanted: np.ndarray, sample_keys: np.ndarray, scene_of_sample: np.ndarray, folder: Path, table: str
) -> np.ndarray:
    """Scene of every record of a table by its sample."""
    row, there = tables.rows_of(wanted, sample_keys, folder / "sample.json")
    if not there.all():
        what = f"record {int(np.flatnonzero(~there)[0])} refers to a sample that is not there"
        raise UserError(folder / f"{table}.json", what, tables.NO_FIT)
    return scene_of_sample[row]


def _linked(records: Records, wanted: np.ndarray, keys: np.ndarray, folder: Path) -> Records:
    """The record that each wanted key names. Where there is none, any other: loading compares tokens and says so."""
    row, _ = tables.rows_of(wanted, keys, folder / f"{records.table}.json")
    if len(wanted) and not len(keys):
        raise UserError(folder / f"{records.table}.json", "is empty", tables.NO_FIT)
    return records.take(row)


def _scene_rows(wanted: np.ndarray, scene_keys: np.ndarray) -> np.ndarray:
    """Index of the scene of every sample, -1 where it was not asked for."""
    order = np.argsort(scene_keys)
    at = np.minimum(np.searchsorted(scene_keys[order], wanted), len(scene_keys) - 1)
    return np.where(scene_keys[order][at] == wanted, order[at], -1)


def _files(
    folder: Path, scene_of: dict[str, int], joined: dict[str, _Divided]
) -> list[dict[str, list[dict[str, Any]]]]:
    """Rows of the optional tables by scene: labels of points, and the static scene that our town adds."""
    found: list[dict[str, list[dict[str, Any]]]] = [{} for _ in scene_of]
    sweeps = joined["sweeps"]
    for name in ("lidarseg", "panoptic"):
        records = tables.read_records(folder, name, optional=True)
        if records and sweeps.keys is not None and len(sweeps.keys):
            wanted = tables.token_keys([str(r.get("sample_data_token")).encode() for r in records])
            order = np.argsort(sweeps.keys)
            at = np.minimum(np.searchsorted(sweeps.keys[order], wanted), len(order) - 1)
            for record, row, hit in zip(records, order[at], sweeps.keys[order[at]] == wanted, strict=True):
                if hit:  # else: of a scene that was not asked for
                    found[sweeps.scene[row]].setdefault(name, []).append(record)
    for record in tables.read_records(folder, "scene_3d", optional=True):
        if record.get("scene_token") in scene_of:
            found[scene_of[record["scene_token"]]].setdefault("scene_3d", []).append(record)
    return found
