"""Read logs: memory-mapped, nothing copied, nothing opened before it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation
from drive.logs import schema
from drive.logs.files import OPEN, list_logs, read_manifest, read_table
from drive.logs.maps import MapFeature
from drive.logs.payload import extra_columns, image_bytes, point_fields, points_of
from drive.logs.records import Frame, FrameBoxes, Image, Row, Sensor, Sweep
from drive.logs.rows_read import frame_boxes, map_feature, sensor_of
from drive.logs.tables import matrix, numbers

__all__ = ["Frame", "FrameBoxes", "Image", "Log", "Row", "Sensor", "Sweep", "list_logs", "read_manifest"]


class Log:
    """A finished log folder. Opening reads the manifest and compares file sizes; the rest is lazy.

    Pickles as its path (spawned workers open it again). Arrays that come out are read-only where they are views.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = Path(path)
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.dataset: str = manifest["dataset"]
        self.split: str = manifest["split"]
        self.location: str = manifest["location"]
        self._paths: dict[str, Path] = {}
        self._raw = manifest.get("choice", {}).get("points", "raw") == "raw"

    @staticmethod
    def open(path: Path) -> Log:
        """Open a log folder.

        Raises:
            UserError: no log, a schema version that we do not know, a missing file, a file of the wrong size.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if (path / schema.ADDRESS).is_file():
            from drive.logs.remote import RemoteLog  # it is a Log itself

            return RemoteLog.open_cached(path, manifest)
        for name, entry in manifest["files"].items():
            try:
                size = (path / name).stat().st_size
            except OSError as error:
                raise UserError(path / name, "the file is missing", "convert this log again") from error
            if size != entry["bytes"]:
                what = f"has {size} bytes, the manifest says {entry['bytes']}"
                raise UserError(path / name, what, "it was cut or changed: convert this log again")
        return Log(path, manifest)

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Log.open, (self.path,)

    def __repr__(self) -> str:
        return f"Log({str(self.path)!r})"

    def verify_checksums(self) -> None:
        """Read every file and compare its SHA-256 with the manifest's; UserError names the first that differs."""
        for name, entry in self.manifest["files"].items():
            with open(self.local_path(name), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                what = "its SHA-256 is not the manifest's"
                raise UserError(self.path / name, what, "it was damaged or changed: convert this log again")

    # --- tables --------------------------------------------------------------------------------------------------

    def _reader(self, name: str) -> pa.RecordBatchFileReader:
        if name not in self.manifest["files"]:
            raise UserError(self.path / name, "the log has no such file", "see the list in log.json")
        return OPEN.reader(self.local_path(name))

    def _table(self, name: str) -> pa.Table:
        return read_table(self.path / name, self._reader(name))

    def _payload(self, sensor: str) -> str:
        return schema.payload_file(self.sensors[sensor].modality, sensor)

    def _batch(self, sensor: str, row: int, points_only: bool = False) -> pa.RecordBatch:
        start, end = self._sensor_rows[sensor]
        if not 0 <= row < end - start:
            raise IndexError(f"{self.name}: {sensor} has rows 0 to {end - start - 1}, not {row}")
        name = self._payload(sensor)
        try:
            reader = self._reader(name)
            if points_only:
                reader = OPEN.reader(self.local_path(name), point_fields(reader.schema))
            batch = reader.get_batch(row)
            batch.validate()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(self.path / name, f"row {row} is damaged ({error})", "convert this log again") from error
        return batch

    def local_path(self, name: str) -> Path:
        """Where a file of the log can be mapped into memory."""
        if (path := self._paths.get(name)) is None:  # joining a path takes longer than looking a view up
            path = self._paths[name] = self.path / name
        return path

    def _expect(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise UserError(self.path / name, what, "it is damaged: convert this log again")

    @cached_property
    def sensors(self) -> dict[str, Sensor]:
        """Sensors by name, in the order in which they were declared."""
        rows = self._table("sensors.arrow").to_pylist()
        for row in rows:
            self._expect("sensors.arrow", row["modality"] in schema.MODALITIES, f"has modality {row['modality']!r}")
            self._expect("sensors.arrow", None not in (row["name"], row["columns"]), "holds an empty name")
        return {row["name"]: sensor_of(row) for row in rows}

    @cached_property
    def _sweeps(self) -> dict[str, Any]:
        table = self._table("sweeps.arrow")
        stamps, stamps_valid = numbers(table["source_pose_timestamp"], np.int64)
        return {
            "sensor": table["sensor"].to_numpy(),
            "timestamp_ns": table["timestamp_ns"].to_numpy(),
            "translation": matrix(table["pose_translation"], 3),
            "rotation": matrix(table["pose_rotation"], 4),
            "source_pose_timestamp": stamps,
            "source_pose_timestamp_valid": stamps_valid,
            "table": table,
        }

    @cached_property
    def _sensor_rows(self) -> dict[str, tuple[int, int]]:
        column = self._sweeps["sensor"]
        index = np.arange(len(self.sensors))
        starts, ends = np.searchsorted(column, index, "left"), np.searchsorted(column, index, "right")
        return {name: (int(starts[i]), int(ends[i])) for i, name in enumerate(self.sensors)}

    @cached_property
    def _frames(self) -> dict[str, Any]:
        table = self._table("frames.arrow")
        self._expect("frames.arrow", table.num_rows == self.num_frames, "has not as many rows as the manifest says")
        for name in self.sensors:
            self._expect("frames.arrow", f"row_{name}" in table.column_names, f"lacks column row_{name}")
        rows = {name: numbers(table[f"row_{name}"], np.int64) for name in self.sensors}
        return {
            "translation": matrix(table["pose_translation"], 3),
            "rotation": matrix(table["pose_rotation"], 4),
            "source_timestamp": table["source_timestamp"].to_numpy(),
            "timestamp_ns": table["timestamp_ns"].to_numpy(),
            "interpolated": table["interpolated"].to_numpy(zero_copy_only=False),
            "token": table["source_token"].to_pylist(),
            "rows": rows,
        }

    # --- frames --------------------------------------------------------------------------------------------------

    @property
    def num_frames(self) -> int:
        """Number of labelled instants F."""
        return int(self.manifest["counts"]["frames"])

    @property
    def frame_timestamps_ns(self) -> np.ndarray:
        """int64 [F]."""
        return self._frames["timestamp_ns"]

    @property
    def frame_tokens(self) -> list[str]:
        """Source tokens [F] ("" where the data set has none)."""
        return self._frames["token"]

    @property
    def frame_interpolated(self) -> np.ndarray:
        """bool [F]: frames whose boxes were interpolated, not labelled."""
        return self._frames["interpolated"]

    def frame(self, index: int) -> Frame:
        """Frame by index 0..F-1."""
        if not 0 <= index < self.num_frames:
            raise IndexError(f"{self.name} has frames 0 to {self.num_frames - 1}, not {index}")
        data = self._frames
        translation, rotation = data["translation"][index], data["rotation"][index]
        return Frame(
            index=index,
            timestamp_ns=int(data["timestamp_ns"][index]),
            token=data["token"][index],
            source_timestamp=int(data["source_timestamp"][index]),
            global_from_ego=from_translation_rotation(translation, rotation),
            pose_translation=translation,
            pose_rotation=rotation,
            interpolated=bool(data["interpolated"][index]),
            rows={name: int(rows[index]) for name, (rows, valid) in data["rows"].items() if valid[index]},
        )

    # --- payload -------------------------------------------------------------------------------------------------

    def num_sweeps(self, sensor: str) -> int:
        """Rows of a sensor: sweeps of a lidar or radar, images of a camera."""
        start, end = self._sensor_rows[sensor]
        return end - start

    def sweep_timestamps_ns(self, sensor: str) -> np.ndarray:
        """int64 [rows], not decreasing."""
        start, end = self._sensor_rows[sensor]
        return self._sweeps["timestamp_ns"][start:end]

    def sweep_poses(self, sensor: str) -> np.ndarray:
        """global_from_ego float64 [rows, 4, 4] of every sweep or image of a sensor."""
        return self.poses(sensor, slice(None))

    def poses(self, sensor: str, rows: slice | np.ndarray) -> np.ndarray:
        """global_from_ego float64 [R, 4, 4] of some rows of a sensor."""
        start, end = self._sensor_rows[sensor]
        data = self._sweeps
        return from_translation_rotation(data["translation"][start:end][rows], data["rotation"][start:end][rows])

    def _row(self, sensor: str, row: int) -> dict[str, Any]:
        data, at = self._sweeps, self._sensor_rows[sensor][0] + row
        table = data["table"]
        translation, rotation = data["translation"][at], data["rotation"][at]
        pose_time = int(data["source_pose_timestamp"][at]) if data["source_pose_timestamp_valid"][at] else None
        return {
            "timestamp_ns": int(data["timestamp_ns"][at]),
            "global_from_ego": from_translation_rotation(translation, rotation),
            "pose_translation": translation,
            "pose_rotation": rotation,
            "is_key_frame": table["is_key_frame"][at].as_py(),
            "source_timestamp": table["source_timestamp"][at].as_py(),
            "source_name": table["source_name"][at].as_py(),
            "source_token": table["source_token"][at].as_py(),
            "source_pose_token": table["source_pose_token"][at].as_py(),
            "source_pose_timestamp": pose_time,
        }

    def sweep(self, sensor: str, row: int) -> Sweep:
        """Lidar or radar sweep by row; the points are a view into the file, nothing is copied unless it is packed."""
        batch = self._batch(sensor, row)
        points, columns = self._points_of(sensor, row, batch), self.sensors[sensor].columns
        return Sweep(points=points, columns=columns, extra=extra_columns(batch), **self._row(sensor, row))

    def points(self, sensor: str, row: int) -> np.ndarray:
        """The points of a sweep and nothing else: float32 [P, C], sensor frame, read-only where they are a view."""
        if not self._raw:
            return self._points_of(sensor, row, self._batch(sensor, row, points_only=True))
        views = OPEN.views(self.local_path(self._payload(sensor)))
        if (points := views.get(row)) is None:
            points = views[row] = self._points_of(sensor, row, self._batch(sensor, row, points_only=True))
        return points

    def _points_of(self, sensor: str, row: int, batch: pa.RecordBatch) -> np.ndarray:
        columns = len(self.sensors[sensor].columns)
        points = points_of(batch, columns)
        if points is None:
            what = f"row {row} does not hold points of {columns} columns"
            raise UserError(self.path / self._payload(sensor), what, "convert this log again")
        return points

    def image(self, sensor: str, row: int) -> Image:
        """Camera image by row. UserError where the log refers to a file that is gone or has another size."""
        data, width, height = image_bytes(self._batch(sensor, row), self.path / self._payload(sensor))
        return Image(data=data, width=width, height=height, **self._row(sensor, row))

    # --- labels --------------------------------------------------------------------------------------------------

    @cached_property
    def _boxes(self) -> tuple[pa.RecordBatch, np.ndarray]:
        table = self._table("boxes.arrow")
        track = table["track"].to_numpy()
        inside = track.size == 0 or (track.min() >= 0 and track.max() < len(self.track_tokens))
        self._expect("boxes.arrow", bool(inside), "refers to tracks that are not there")
        offsets = np.searchsorted(table["frame"].to_numpy(), np.arange(self.num_frames + 1))
        columns = [c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in table.columns]
        return pa.record_batch(columns, schema=table.schema), offsets  # its slices, unlike a table's, are plain arrays

    @cached_property
    def track_tokens(self) -> list[str]:
        """Source token of every track; FrameBoxes.track indexes it."""
        return self.tracks["source_token"].to_pylist()

    @property
    def tracks(self) -> pa.Table:
        """One row a track: source_token, category, num_boxes, first_frame, last_frame."""
        return self._table("tracks.arrow")

    def labels(self, frame: int) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
        """What a detector is trained on: boxes float64 [N, 9], category, velocity_valid [N], num_lidar_points [N]."""
        batch, offsets = self._boxes
        rows = batch.slice(offsets[frame], offsets[frame + 1] - offsets[frame])
        valid = rows["velocity_valid"].to_numpy(zero_copy_only=False)
        counts = numbers(rows["num_lidar_points"], np.int64)[0]
        return matrix(rows["box"], 9), rows["category"].to_pylist(), valid, counts

    def boxes(self, frame: int) -> FrameBoxes:
        """Boxes of a frame; N = 0 where it has none."""
        if not 0 <= frame < self.num_frames:
            raise IndexError(f"{self.name} has frames 0 to {self.num_frames - 1}, not {frame}")
        batch, offsets = self._boxes
        rows = batch.slice(offsets[frame], offsets[frame + 1] - offsets[frame])
        return frame_boxes(rows, self.track_tokens)

    # --- map and extras ------------------------------------------------------------------------------------------

    def map_features(self, kinds: Collection[str] | None = None) -> list[MapFeature]:
        """Map features, all or of some kinds, in the order in which they were added. Global coordinates."""
        rows = self._table("map.arrow").to_pylist()
        return [map_feature(r, self.path / "map.arrow") for r in rows if kinds is None or r["kind"] in kinds]

    def has_table(self, name: str) -> bool:
        """Whether the log holds extra_<name>.arrow."""
        return f"extra_{name}.arrow" in self.manifest["files"]

    def table(self, name: str) -> pa.Table:
        """An extra table; UserError where the log has none of this name."""
        return self._table(f"extra_{name}.arrow")

    @property
    def file_names(self) -> list[str]:
        """Names of the raw files that the log carries."""
        return [name.removeprefix("files/") for name in self.manifest["files"] if name.startswith("files/")]

    def has_file(self, name: str) -> bool:
        """Whether the log carries this raw file."""
        return f"files/{name}" in self.manifest["files"]

    def file_path(self, name: str) -> Path:
        """Path of a raw file; UserError where the log has none of this name."""
        if not self.has_file(name):
            raise UserError(self.path / "files" / name, "the log has no such file", "see the list in log.json")
        return self.local_path(f"files/{name}")
