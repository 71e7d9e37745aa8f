"""One segment into one log: frames (decoded records of v1, or the same shape made of v2's tables) one after another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from data_tools.waymo_perception.checks import finite, named, pose_matrix, required
from data_tools.waymo_perception.labels import add_boxes, camera_rows, zone_rows
from data_tools.waymo_perception.maps import add_map
from data_tools.waymo_perception.messages import CAMERAS, CONTEXT, LASERS, VELOCITY
from data_tools.waymo_perception.scans import read_scan
from data_tools.waymo_perception.sensors import add_cameras, add_lidars
from data_tools.waymo_perception.tables import Rows
from data_tools.wire import encode
from drive.errors import UserError
from drive.geometry.rigid import invert, matrix_to_quaternion
from drive.logs.writer import LogWriter

_AGAIN = "copy the file again"
_TOP = 1


class SegmentWriter:
    """Adds frames to a log; the first one brings the calibrations, ``finish`` writes the extra tables."""

    def __init__(self, log: LogWriter, *, images: bool, projections: bool) -> None:
        self.log, self.images, self.projections = log, images, projections
        self.rows = Rows()
        self.frames = 0
        self._name = ""
        self._calibration = b""
        self._latest: dict[str, tuple[int, str]] = {}
        self._has_map = False

    def write(self, frames: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Add all frames, each with the name of its place, then the tables."""
        for place, frame in frames:
            self.add(frame, place)
        if not self.frames:
            self._declare({"camera_calibrations": [], "laser_calibrations": []}, str(self.log.path))
        self.rows.write(self.log)

    def _declare(self, context: dict[str, Any], place: str) -> None:
        self.lasers = add_lidars(self.log, context["laser_calibrations"], place)
        self.cameras = add_cameras(self.log, context["camera_calibrations"], place)

    def add(self, frame: dict[str, Any], place: str) -> None:
        """Add one frame: fields of ``messages.FRAME``."""
        context = frame["context"]
        calibration = encode({key: context[key] for key in ("laser_calibrations", "camera_calibrations")}, CONTEXT)
        if self.frames == 0:
            self._declare(context, place)
            self._name, self._calibration = context["name"], calibration
        elif context["name"] != self._name:
            raise UserError(place, f"segment {context['name']} in a file of {self._name}", "a file holds one segment")
        elif calibration != self._calibration:
            raise UserError(place, "its calibrations are not those of the first frame", _AGAIN)
        micros = int(frame["timestamp_micros"])
        self._in_order("frame", micros * 1000, place)
        pose = pose_matrix(frame.get("pose"), "the pose", place)
        shown = self._scans(frame, pose, micros, place)
        if self.images:
            shown |= self._images(frame, pose, micros, place)
        index = self.log.add_frame(
            micros * 1000, rows=shown, pose_translation=pose[:3, 3],
            pose_rotation=matrix_to_quaternion(pose[:3, :3]), source_timestamp=micros,
            source_token=f"{context['name']}/{micros}",
        )  # fmt: skip
        for row in add_boxes(self.log, index, frame["laser_labels"], pose, place):
            self.rows.add("camera_synced_boxes", *row)
        for name, what in (("camera_labels", "camera label"), ("projected_lidar_labels", "projected label")):
            for row in camera_rows(frame[name], index, what, place):
                self.rows.add(name, *row)
        for row in zone_rows(frame["no_label_zones"], index, place):
            self.rows.add("no_label_zones", *row)
        self._attributes(frame, index, pose, place)
        self.frames += 1

    def _in_order(self, what: str, stamp: int, place: str) -> None:
        before, where = self._latest.get(what, (stamp, place))
        if stamp < before or not 0 <= stamp < 1 << 62:
            raise UserError(place, f"time of {what} goes back from {before} to {stamp} (after {where})", _AGAIN)
        self._latest[what] = (stamp, place)

    def _scans(self, frame: dict[str, Any], pose: np.ndarray, micros: int, place: str) -> dict[str, int]:
        ego_from_global = invert(pose)
        shown: dict[str, int] = {}
        for message in sorted(frame["lasers"], key=lambda laser: int(laser.get("name", 0))):
            number = message.get("name", 0)
            if number not in self.lasers:
                if message.get("return1") or message.get("return2"):
                    raise UserError(place, f"laser {number} is not calibrated", _AGAIN)
                continue
            laser = self.lasers[number]
            if laser.name in shown:
                raise UserError(place, f"{laser.name} occurs twice", _AGAIN)
            scan = read_scan(
                message, laser, ego_from_global, place, needs_pose=number == _TOP, projections=self.projections
            )
            if scan is None:
                continue
            row = self.log.add_sweep(
                laser.name, micros * 1000, scan.points, pose[:3, 3], matrix_to_quaternion(pose[:3, :3]),
                extra=scan.extra, is_key_frame=True, source_timestamp=micros,
                source_name=f"{self._name}/{micros}/{LASERS[number]}", source_pose_timestamp=micros,
            )  # fmt: skip
            shown[laser.name] = row
            for kind, residue in scan.residues.items():
                self.rows.add(
                    "range_images", laser.name, row, kind, residue.height, residue.width, residue.fill,
                    residue.pixels, residue.values.reshape(-1),
                )  # fmt: skip
            if scan.semantic is not None:
                self.rows.add("point_labels", laser.name, row, scan.semantic, scan.instance)
        return shown

    def _images(self, frame: dict[str, Any], frame_pose: np.ndarray, micros: int, place: str) -> dict[str, int]:
        shown: dict[str, int] = {}
        for message in sorted(frame["images"], key=lambda image: int(image.get("name", 0))):
            number = message.get("name", 0)
            if number not in self.cameras:
                name = named(CAMERAS, number, "camera of an image", place)
                raise UserError(place, f"camera {name} is not calibrated", _AGAIN)
            camera, width, height = self.cameras[number]
            data = required(message, "image", f"the image of {camera}", place)
            if not (data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")):
                raise UserError(place, f"{camera}: JPEG of {len(data)} bytes is broken or truncated", _AGAIN)
            has_pose = "pose" in message
            pose = pose_matrix(message["pose"], f"the pose of {camera}", place) if has_pose else frame_pose
            seconds = message.get("pose_timestamp")
            stamp = micros * 1000 if seconds is None else round(float(finite(seconds, camera, place)) * 1e9)
            self._in_order(camera, stamp, place)
            if camera in shown:
                raise UserError(place, f"{camera} occurs twice", _AGAIN)
            row = self.log.add_image(
                camera, stamp, data, width, height, pose[:3, 3], matrix_to_quaternion(pose[:3, :3]),
                is_key_frame=True, source_timestamp=micros, source_name=f"{self._name}/{micros}/{CAMERAS[number]}",
                source_pose_timestamp=None if seconds is None else stamp // 1000,
            )  # fmt: skip
            shown[camera] = row
            velocity = message.get("velocity")
            moved = None if velocity is None else [velocity.get(name, 0.0) for name, _ in VELOCITY.values()]
            times = [message.get(name) for name in ("shutter", "camera_trigger_time", "camera_readout_done_time")]
            self.rows.add("images", camera, row, pose.reshape(16) if has_pose else None, seconds, *times, moved)
            self._segmentation(message.get("segmentation"), camera, row)
        return shown

    def _segmentation(self, label: dict[str, Any] | None, camera: str, row: int) -> None:
        if label is None or not label.get("panoptic_label"):
            return
        instances = label["instances"]
        self.rows.add(
            "camera_segmentation", camera, row, label.get("panoptic_label_divisor"), label["panoptic_label"],
            label.get("sequence_id"), label.get("num_cameras_covered"), instances["local"], instances["global"],
            instances["is_tracked"],
        )  # fmt: skip

    def _attributes(self, frame: dict[str, Any], index: int, pose: np.ndarray, place: str) -> None:
        offset = None
        if "map_pose_offset" in frame:
            offset = finite([frame["map_pose_offset"].get(axis, 0.0) for axis in "xyz"], "map_pose_offset", place)
        if frame["map_features"]:
            if self._has_map:
                raise UserError(place, "map features in a second frame", "the first frame of a segment holds the map")
            self._has_map = True
            add_map(self.log, frame["map_features"], np.zeros(3) if offset is None else offset, place)
        stats = frame["context"].get("stats", {})
        counts = []
        for name in ("laser_object_counts", "camera_object_counts"):
            counted = stats.get(name)
            counts += [None, None] if counted is None else [counted["type"], counted["count"]]
        self.rows.add(
            "frame_attributes", index, pose.reshape(16), offset, stats.get("time_of_day"), stats.get("location"),
            stats.get("weather"), *counts,
        )  # fmt: skip
