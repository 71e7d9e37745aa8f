"""Write one log, atomically: it appears under its name complete and synced, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs import schema
from drive.logs.choice import Filter, chosen
from drive.logs.labels import BoxTable
from drive.logs.partial import PartialFolder
from drive.logs.payload import image_batch, points_batch
from drive.logs.rows import frames_table, map_row, sensor_row
from drive.logs.sensor_files import SensorFiles
from drive.logs.standard import check_standard


def _check_name(what: str, name: str) -> str:
    if not schema.NAME_PATTERN.fullmatch(name):
        raise ValueError(f"{what} {name!r} cannot be a file name (letters, digits and . _ + - = only)")
    return name


class LogWriter:
    """Context manager that writes a log folder ``<root>/<name>``.

    Everything goes to ``<root>/.<name>.partial-<host>-<pid>``; leaving the context syncs the files, writes the
    manifest and renames the folder; leaving it by an exception removes the folder. Sensors first, then sweeps, images,
    frames, boxes in any order, but the rows of one sensor in order of time. Memory holds one sweep plus the small
    tables. Inside a `drive.logs.choice.choosing` block it leaves out what was not chosen; rows and frames are counted
    as if nothing were left out.

    Wrong shapes and names are programming errors (ValueError); values that cannot be stored because the data is bad
    (a NaN box) and a full disk are UserError.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        dataset: str,
        source_version: str,
        licence: str,
        split: str = "",
        location: str = "",
    ) -> None:
        self.name = _check_name("log name", name)
        self._folder = PartialFolder(Path(root), name)
        self._head = {
            "schema_version": schema.SCHEMA_VERSION,
            "name": name,
            "dataset": dataset,
            "source_version": source_version,
            "licence": licence,
            "split": split,
            "location": location,
        }
        self._frames: list[tuple[Any, ...]] = []
        self._frame_rows: list[dict[str, int]] = []
        self._boxes = BoxTable(name)
        self._map: list[dict[str, Any]] = []
        self._tables: list[tuple[str, pa.Table]] = []
        self._choice = chosen()
        self._filter = Filter(self._choice)
        self._sensors = SensorFiles(self._folder, self._filter)
        if self._choice.as_dict():
            self._head["choice"] = self._choice.as_dict()

    @property
    def path(self) -> Path:
        """Where the log will stand."""
        return self._folder.path

    def __enter__(self) -> LogWriter:
        self._folder.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._sensors.abandon()
            self._folder.remove()

    def begin(self, timestamp_ns: int) -> None:
        """Say when the recording begins, what a chosen range of time counts from; default: the first time written."""
        self._filter.wants_time(timestamp_ns)

    # --- sensors and their payload -------------------------------------------------------------------------------

    def add_sensor(
        self,
        name: str,
        modality: str,
        source_translation: Sequence[float] | np.ndarray,
        source_rotation: Sequence[float] | np.ndarray,
        *,
        columns: tuple[str, ...] = (),
        intrinsics: np.ndarray | None = None,
        distortion: tuple[str, list[float]] | None = None,
        width: int | None = None,
        height: int | None = None,
        source_token: str = "",
        intensity_max: float | None = None,
        ego_from_sensor: np.ndarray | None = None,
    ) -> None:
        """Declare a sensor.

        Args:
            name: unique in the log; modality: "lidar", "camera" or "radar".
            source_translation, source_rotation: ego from sensor, metres [3] and quaternion w x y z [4], as recorded.
            columns: names of the float32 point columns (lidar, radar); the first three are x, y, z.
            intrinsics: [3, 3] pixels; distortion: (model name, coefficients); width, height: pixels.
            intensity_max: value of the strongest return (255 or 1); inf where intensity has no upper bound (Waymo).
            ego_from_sensor: [4, 4] where the data set gives a matrix; default: built from the two source values.
        """
        _check_name("sensor name", name)
        row = sensor_row(
            name, modality, source_translation, source_rotation, columns, intrinsics, distortion, width, height,
            source_token, intensity_max, ego_from_sensor,
        )  # fmt: skip
        self._sensors.declare(name, row)

    def add_sweep(
        self,
        sensor: str,
        timestamp_ns: int,
        points: np.ndarray,
        pose_translation: Sequence[float] | np.ndarray,
        pose_rotation: Sequence[float] | np.ndarray,
        *,
        extra: Mapping[str, np.ndarray] | None = None,
        is_key_frame: bool,
        source_timestamp: int,
        source_name: str,
        source_token: str = "",
        source_pose_token: str = "",
        source_pose_timestamp: int | None = None,
    ) -> int:
        """Append a lidar or radar sweep and return its row.

        Args:
            points: float32 [P, C] in the sensor frame, C as declared; P may be 0.
            pose_translation, pose_rotation: global from ego at `timestamp_ns`, as recorded.
            extra: typed columns {name: [P]}; the same names and types in every sweep of the sensor.
        """
        declared = self._sensors.check(sensor, ("lidar", "radar"))
        if not self._sensors.wants(sensor, timestamp_ns):
            return self._filter.add_row(sensor, kept=False)
        place, width = f"{self.name}, {source_name}", len(declared["columns"])
        batch = points_batch(sensor, points, width, extra or {}, self._choice.points, place)
        return self._sensors.add_row(
            sensor, batch, len(points), timestamp_ns, pose_translation, pose_rotation, is_key_frame, source_timestamp,
            source_name, source_token, source_pose_token, source_pose_timestamp,
        )  # fmt: skip

    def add_image(
        self,
        sensor: str,
        timestamp_ns: int,
        data: bytes,
        width: int,
        height: int,
        pose_translation: Sequence[float] | np.ndarray,
        pose_rotation: Sequence[float] | np.ndarray,
        *,
        is_key_frame: bool,
        source_timestamp: int,
        source_name: str,
        source_token: str = "",
        source_pose_token: str = "",
        source_pose_timestamp: int | None = None,
        file: Path | None = None,
    ) -> int:
        """Append an image, the bytes of its file unchanged, and return its row. Other arguments: see add_sweep.

        Args:
            file: the image's own file, where it has one: what the log holds where images are to be referenced.

        Raises:
            UserError: images are to be referenced and this one has no file.
        """
        self._sensors.check(sensor, ("camera",))
        if not self._sensors.wants(sensor, timestamp_ns):
            return self._filter.add_row(sensor, kept=False)
        reference = file if self._choice.reference_images else None
        if self._choice.reference_images and reference is None:
            what = "its images lie inside records: there is no file to refer to"
            raise UserError(f"{self.name}, {sensor}", what, "copy them (without --reference-images)")
        batch = image_batch(data, width, height, reference)
        return self._sensors.add_row(
            sensor, batch, 0, timestamp_ns, pose_translation, pose_rotation, is_key_frame, source_timestamp,
            source_name, source_token, source_pose_token, source_pose_timestamp,
        )  # fmt: skip

    # --- labelled instants ---------------------------------------------------------------------------------------

    def add_frame(
        self,
        timestamp_ns: int,
        *,
        rows: Mapping[str, int],
        pose_translation: Sequence[float] | np.ndarray,
        pose_rotation: Sequence[float] | np.ndarray,
        source_timestamp: int,
        source_token: str = "",
        interpolated: bool = False,
    ) -> int:
        """Append a labelled instant and return its index.

        Args:
            rows: {sensor: row} of the sweeps and images that belong to it; sensors without one are left out.
            pose_translation, pose_rotation: global from ego of the frame (the reference lidar's, where there is one).
        """
        stored = self._filter.stored_rows(rows)
        pose = np.asarray(pose_translation, np.float64).reshape(3), np.asarray(pose_rotation, np.float64).reshape(4)
        kept = self._filter.wants_time(timestamp_ns)
        if kept:
            self._frames.append((int(timestamp_ns), *pose, int(source_timestamp), source_token, bool(interpolated)))
            self._frame_rows.append(stored)
        return self._filter.add_frame(kept)

    def add_boxes(
        self,
        frame: int,
        boxes: np.ndarray,
        category: Sequence[str],
        track: Sequence[str],
        *,
        velocity_valid: np.ndarray,
        num_lidar_points: np.ndarray | None = None,
        num_radar_points: np.ndarray | None = None,
        source_translation: np.ndarray,
        source_rotation: np.ndarray,
        source_size: np.ndarray,
        attributes: Sequence[str] | None = None,
        visibility: Sequence[str] | None = None,
        source_token: Sequence[str] | None = None,
        interpolated: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Add the N boxes of a frame (N may be 0; frames without a call have none).

        Args:
            boxes: float64 [N, 9], columns of drive.geometry.box.BOX_COLUMNS, EGO frame of the labelled instant.
            category: source names; track: source track tokens, or any string unique to the object in this log.
            velocity_valid: bool [N]; where false, vx and vy are stored as 0.
            num_lidar_points, num_radar_points: int [N], None where the data set has no counts.
            source_*: as recorded, any frame: translation [N, 3], quaternion [N, 4], size [N, 3] in the source's order.
            extra: further columns {name: [N]} of this data set.

        Raises:
            UserError: a box holds NaN or infinity, or has a size that is not positive.
        """
        stored = self._filter.stored_frame(frame)
        if stored is None:
            return
        self._boxes.add(
            stored, boxes, category, track, velocity_valid=velocity_valid, num_lidar_points=num_lidar_points,
            num_radar_points=num_radar_points, source_translation=source_translation,
            source_rotation=source_rotation, source_size=source_size, attributes=attributes, visibility=visibility,
            source_token=source_token, interpolated=interpolated, extra=extra,
        )  # fmt: skip

    # --- map and extras ------------------------------------------------------------------------------------------

    def add_map_feature(
        self,
        feature_id: str,
        kind: str,
        geometry: np.ndarray,
        *,
        holes: Sequence[np.ndarray] = (),
        is_polygon: bool,
        attributes: Mapping[str, Any] | None = None,
        predecessors: Sequence[str] = (),
        successors: Sequence[str] = (),
    ) -> None:
        """Add a map feature: polyline or exterior ring float64 [M, 3] and holes [K, 3], global coordinates."""
        self._map.append(
            map_row(feature_id, kind, geometry, holes, is_polygon, attributes or {}, predecessors, successors)
        )

    def add_table(self, name: str, table: pa.Table) -> None:
        """Store a table as extra_<name>.arrow. ValueError where a name of drive.logs.standard has other columns."""
        check_standard(name, table)
        file = f"extra_{_check_name('table name', name)}.arrow"
        if self._choice.leaves_out:  # which rows stay is known at the end
            self._tables.append((file, table))
        else:
            self._folder.write_table(file, table)

    def add_file(self, name: str, data: bytes) -> None:
        """Store a raw file, unchanged, as files/<name>."""
        self._folder.write_bytes(f"files/{_check_name('file name', name)}", data)

    # --- the end -------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._filter.check(self.name)
        tracks = set(self._boxes.tokens)
        for file, table in self._tables:
            self._folder.write_table(file, self._filter.table(table, tracks))
        self._sensors.finish()
        self._folder.write_table("frames.arrow", frames_table(self._frames, self._frame_rows, self._sensors.written))
        boxes = self._boxes.boxes()
        self._folder.write_table("boxes.arrow", boxes)
        self._folder.write_table("tracks.arrow", self._boxes.tracks(boxes))
        self._folder.write_table("map.arrow", pa.Table.from_pylist(self._map, schema=schema.MAP))
        counts = {
            "frames": len(self._frames),
            "boxes": boxes.num_rows,
            "tracks": self._boxes.num_tracks,
            "map_features": len(self._map),
            **self._sensors.counts(),
        }
        self._folder.publish({**self._head, "counts": counts})
