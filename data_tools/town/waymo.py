"""The synthetic town in raw Waymo perception v1 shape: one TFRecord file a scene, one Frame message a record.

``<out>/{training,validation}/segment-<scene>_with_camera_labels.tfrecord``, 10 Hz. What stands where is the town's;
fields, axes and arithmetic are Waymo's (:mod:`data_tools.waymo_perception`), so that the official package reads the
files too. Beside the real data: cameras have no rolling shutter; a second return is there where a beam grazes an edge
(it meets what its neighbour meets); one square no-label zone a scene; segmentation labels on every fifth frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_tools.tfrecord import frame_record
from data_tools.town.actors import ActorPicker
from data_tools.town.labels import count_points, label_boxes
from data_tools.town.map_files import VAL_LOCATION
from data_tools.town.population import populate
from data_tools.town.record import JPEG_QUALITY, RENDER_RANGE, SceneJob, town_and_ground
from data_tools.town.scenery import build_scene
from data_tools.town.waymo_map import map_features
from data_tools.town.waymo_sensors import TOP, Camera, Lidar, Picture, cameras, lidars, pixel_poses, to_picture
from data_tools.waymo_perception.messages import FRAME, MATRIX_FLOAT, MATRIX_INT32
from data_tools.wire import encode
from drive.geometry.angles import wrap_angle
from drive.geometry.cameras import project
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw, transform_points
from drive.render.camera import render_image
from drive.render.lidar import column_poses, render_sweep

LABEL_RANGE = 75.0
SEGMENTED_EVERY = 5
ZONE_HALF = 12.0
_LEVEL = 3  # of zlib: the noise of ranges does not compress
_TYPES = {"car": 1, "truck": 1, "bus": 1, "pedestrian": 2, "bicycle": 4}  # cones are not labelled
_SEGMENTS = {"car": 1, "truck": 2, "bus": 3, "bicycle": 6, "pedestrian": 7, "cone": 11}
_EMPTY = np.float32(-1)


def write_segment(job: SceneJob, progress: Callable[[int], None]) -> None:
    """Drive, render and write one scene. `progress` is told of every frame written."""
    folder = Path(job.root) / ("validation" if job.location == VAL_LOCATION else "training")
    folder.mkdir(parents=True, exist_ok=True)
    recorder = _Recorder(job)
    with open(folder / f"segment-{job.name}_with_camera_labels.tfrecord", "xb") as file:
        for index in range(recorder.frames):
            file.write(frame_record(encode(recorder.frame(index), FRAME)))
            progress(1)


class _Recorder:
    def __init__(self, job: SceneJob) -> None:
        self.job = job
        self.town, ground = town_and_ground(job.location, job.town_seed)
        self.population = populate(self.town, job.scene_seed, job.seconds, job.standing_start)
        self.scene = build_scene(self.town, ground, job.scene_seed)
        self.picker = ActorPicker(self.population)
        self.rng = np.random.default_rng([job.scene_seed, 71])
        self.lidars = lidars(job.columns)
        self.cameras = cameras(job.image_width, np.random.default_rng([job.scene_seed, 59]))
        self.period = self.lidars[0].model.period_s
        self.frames = int(job.seconds * 1e6) // round(self.period * 1e6)
        aside = self.ego(job.seconds / 2)
        self.zone = aside[:2, 3] + aside[:2, 1] * 18.0  # its middle: 18 m to the left of where the ego will be

    def ego(self, time: float) -> np.ndarray:
        """global_from_ego [4, 4], seconds after the scene's clock."""
        x, y, yaw = self.population.ego_pose(time)
        return from_translation_rotation([x, y, 0.0], quaternion_from_yaw(yaw))

    def frame(self, index: int) -> dict[str, Any]:
        """One Frame: the top lidar's sweep ends `index` periods after the scene's clock."""
        end = index * self.period
        pose = self.ego(end - self.period / 2)
        actors, chosen = self.picker.at(end, pose[:2, 3], RENDER_RANGE)
        lasers, seen = [], {}
        for lidar in self.lidars:
            mount = lidar.laser.ego_from_sensor
            first, last = (self.ego(end - self.period), self.ego(end)) if lidar.number == TOP else (pose, pose)
            start, stop = first @ mount, last @ mount
            returns = render_sweep(self.scene, actors, lidar.model, start, stop, self.rng)
            poses = column_poses(lidar.model, start, stop)
            picture = to_picture(lidar, returns, poses, stop)
            seen[lidar.number] = picture.points[picture.range_m > 0]
            vehicle = pixel_poses(lidar, poses) if lidar.number == TOP else None
            segmented = lidar.number == TOP and index % SEGMENTED_EVERY == 0
            lasers.append(self.laser(lidar, picture, vehicle, pose, chosen if segmented else None))
        corners = self.zone + ZONE_HALF * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return {
            "context": self.context(),
            "timestamp_micros": self.job.clock_us + round((end - self.period) * 1e6),
            "pose": {"transform": pose.reshape(16)},
            "images": [self.image(camera, end) for camera in self.cameras],
            "lasers": lasers,
            "laser_labels": self.labels(end, pose, chosen, seen),
            "no_label_zones": [{"x": corners[:, 0], "y": corners[:, 1], "id": "zone"}],
            "map_features": map_features(self.town) if index == 0 else [],
            "map_pose_offset": {"x": 0.0, "y": 0.0, "z": 0.0},
        }

    def context(self) -> dict[str, Any]:
        """The Context, the same for every frame."""
        lasers = []
        for lidar in self.lidars:
            laser = lidar.laser
            lasers.append(
                {
                    "name": lidar.number,
                    "beam_inclinations": laser.inclinations,
                    "beam_inclination_min": laser.inclination_min,
                    "beam_inclination_max": laser.inclination_max,
                    "extrinsic": {"transform": laser.ego_from_sensor.reshape(16)},
                }
            )
        pictures = []
        for camera in self.cameras:
            k = camera.model.intrinsics
            pictures.append(
                {
                    "name": camera.number,
                    "intrinsic": np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2], 0, 0, 0, 0, 0]),
                    "extrinsic": {"transform": camera.extrinsic.reshape(16)},
                    "width": camera.model.width,
                    "height": camera.model.height,
                    "rolling_shutter_direction": 5,
                }
            )
        return {
            "name": self.job.name,
            "camera_calibrations": pictures,
            "laser_calibrations": lasers,
            "stats": {"time_of_day": "Day", "location": self.job.location, "weather": "sunny"},
        }

    def laser(
        self, lidar: Lidar, picture: Picture, vehicle: np.ndarray | None, pose: np.ndarray, segmented: np.ndarray | None
    ) -> dict[str, Any]:
        """One Laser: both returns; the segmentation of the actors `segmented` (indices of the population), if any."""
        second = _second_return(picture, self.rng)
        out: dict[str, Any] = {"name": lidar.number}
        for number, shown in ((1, picture), (2, second)):
            mask = shown.range_m > 0
            image = np.full((*mask.shape, 4), _EMPTY, np.float32)
            image[mask, 0], image[mask, 1] = shown.range_m[mask], shown.intensity[mask]
            image[mask, 2] = self.rng.uniform(0.0, 0.3, int(mask.sum()))
            inside = np.abs(shown.points[..., :2] - self.zone).max(axis=-1) < ZONE_HALF
            image[mask, 3] = np.where(inside[mask], 1.0, -1.0)
            message = {"range_image": _matrix(image), "camera_projection": _matrix(self.projection(shown, pose))}
            if vehicle is not None and number == 1:
                message["pose"] = _matrix(vehicle)
            if segmented is not None:
                message["segmentation"] = _matrix(self.segments(shown, segmented))
            out[f"return{number}"] = message
        return out

    def segments(self, picture: Picture, chosen: np.ndarray) -> np.ndarray:
        """int32 [H, W, 2] instance (actor + 1) and class; 0 0 where nothing or nothing that is labelled was met."""
        names = np.array([_SEGMENTS[self.population.bodies[i].kind] for i in chosen], np.int32)
        out = np.zeros((*picture.range_m.shape, 2), np.int32)
        hit = (picture.actor >= 0) & (picture.range_m > 0)
        out[hit, 0] = chosen[picture.actor[hit]] + 1
        out[hit, 1] = names[picture.actor[hit]]
        return out

    def projection(self, picture: Picture, pose: np.ndarray) -> np.ndarray:
        """int32 [H, W, 6]: the first camera that sees the pixel, where, and zeros for a second one."""
        out = np.zeros((*picture.range_m.shape, 6), np.int32)
        mask = picture.range_m > 0
        local = transform_points(invert(pose), picture.points[mask])
        found = np.zeros((len(local), 3), np.int32)
        for camera in reversed(self.cameras):
            model = camera.model
            pixels, depth = project(transform_points(invert(camera.ego_from_optical), local), model.intrinsics)
            ahead = depth > 0.5
            inside = ahead.copy()
            inside[ahead] = ((pixels[ahead] >= 0) & (pixels[ahead] < [model.width - 1, model.height - 1])).all(axis=1)
            found[inside, 0] = camera.number
            found[inside, 1:] = np.rint(pixels[inside])
        out[mask, :3] = found
        return out

    def image(self, camera: Camera, end: float) -> dict[str, Any]:
        """One CameraImage, taken in the middle of the sweep."""
        time = end - self.period / 2
        pose = self.ego(time)
        stamp = self.job.clock_us * 1e-6 + time
        actors, _ = self.picker.at(time, pose[:2, 3], RENDER_RANGE)
        rgb = render_image(self.scene, actors, camera.model, pose @ camera.ego_from_optical, self.rng).rgb
        data = BytesIO()
        Image.fromarray(rgb).save(data, format="JPEG", quality=JPEG_QUALITY)
        moved = (self.ego(time + 0.02)[:2, 3] - self.ego(time - 0.02)[:2, 3]) / 0.04
        return {
            "name": camera.number,
            "image": data.getvalue(),
            "pose": {"transform": pose.reshape(16)},
            "velocity": {"v_x": moved[0], "v_y": moved[1], "v_z": 0.0, "w_x": 0.0, "w_y": 0.0, "w_z": 0.0},
            "pose_timestamp": stamp,
            "shutter": 0.0,
            "camera_trigger_time": stamp - 0.005,
            "camera_readout_done_time": stamp + 0.01,
        }

    def labels(self, end: float, pose: np.ndarray, chosen: np.ndarray, seen: dict[int, np.ndarray]) -> list[Any]:
        """Labels of the actors with points, where the top lidar's beam met them, in the vehicle frame."""
        population = self.population
        poses, velocity = population.poses(end)[chosen], population.motion(end)[0][chosen]
        size = np.array([population.bodies[i].size for i in chosen]).reshape(-1, 3)
        boxes = label_boxes(poses, size)
        boxes[:, :2] += velocity * self.delay(boxes[:, :3], end)[:, None]
        top, every = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.int64)
        count_points(seen[TOP], boxes, top)
        count_points(np.concatenate(list(seen.values())), boxes, every)
        local = transform_points(invert(pose), boxes[:, :3])
        heading = wrap_angle(boxes[:, 6] - np.arctan2(pose[1, 0], pose[0, 0]))
        labels = []
        for n, actor in enumerate(chosen):
            kind = population.bodies[actor].kind
            if kind not in _TYPES or not every[n] or np.hypot(*local[n, :2]) > LABEL_RANGE:
                continue
            x, y, z = (float(v) for v in local[n])
            length, width, height = (float(v) for v in boxes[n, 3:6])
            labels.append(
                {
                    "box": {
                        "center_x": x, "center_y": y, "center_z": z, "length": length, "width": width,
                        "height": height, "heading": float(heading[n]),
                    },
                    "metadata": {"speed_x": float(velocity[n, 0]), "speed_y": float(velocity[n, 1])},
                    "type": _TYPES[kind],
                    "id": f"{self.job.name}-{actor}",
                    # As in the real data: set where it is hard, left open where the count of points decides.
                    **({"detection_difficulty": 2, "tracking_difficulty": 2} if every[n] <= 5 else {}),
                    "num_lidar_points": int(every[n]),
                    "num_top_lidar_points": int(top[n]),
                }
            )  # fmt: skip
        return labels

    def delay(self, centres: np.ndarray, end: float) -> np.ndarray:
        """Seconds (<= 0) from the sweep's end to when the top lidar's beam met things at `centres` [N, 3] global."""
        lidar = self.lidars[0]
        local = transform_points(invert(self.ego(end) @ lidar.laser.ego_from_sensor), centres)
        turned = np.mod(lidar.model.start_azimuth_rad - np.arctan2(local[:, 1], local[:, 0]), 2 * np.pi)
        return (turned / (2 * np.pi) - 1.0) * self.period


def _second_return(picture: Picture, rng: np.random.Generator) -> Picture:
    """What a beam meets behind an edge that it grazes: half of the pixels whose next column is 0.5 m farther."""
    beyond = np.roll(picture.range_m, -1, axis=1)
    taken = (picture.range_m > 0) & (beyond > picture.range_m + 0.5) & (rng.random(beyond.shape) < 0.5)
    return Picture(
        np.where(taken, beyond, np.float32(0)),
        np.roll(picture.intensity, -1, axis=1) * np.float32(0.5),
        np.roll(picture.actor, -1, axis=1),
        np.roll(picture.points, -1, axis=1),
    )


def _matrix(values: np.ndarray) -> bytes:
    description = MATRIX_FLOAT if values.dtype == np.float32 else MATRIX_INT32
    body = encode({"data": values.reshape(-1), "shape": {"dims": np.array(values.shape)}}, description)
    return zlib.compress(body, _LEVEL)
