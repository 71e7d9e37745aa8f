"""The sensors of a town log, rendered again from any state of its scene: lidar sweeps as a detector takes them, images.

What a log of the town keeps for it: ``scene_3d.arrow`` (all that stands still) and ``bodies_3d.arrow`` (the shapes of
the tracks, the lidar's beams); mounts, intrinsics and trigger times are the log's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw
from drive.logs.store import Log
from drive.render.bodies import Bodies
from drive.render.camera import CameraModel, ImageReturn, render_image
from drive.render.lidar import SweepReturn, beam_delay, render_sweep
from drive.render.scene import Actors, StaticScene
from drive.samples.config import DataConfig
from drive.samples.sample import FrameSample
from drive.samples.scene import Scene
from drive.samples.sweeps import RawSweep, merge_sweeps

_BEYOND_M = 10.0
"""Actors whose middles are this far beyond the lidar's reach may still be seen."""


@dataclass(frozen=True)
class Instant:
    """Where everybody is at one instant of a drive, global frame.

    Attributes:
        name: of the scene and the instant.
        timestamp_ns: of the instant.
        ego: float64 [4], x, y, z, heading of the rear axle's middle on the ground.
        speed, yaw_rate: m/s forward and rad/s of the ego: where it was a moment ago.
        tokens: names [A] of the others' tracks.
        kind: int64 [A], index into drive.samples.scene.ACTOR_KINDS.
        box: float64 [A, 5] x, y of the middle, length, width, heading.
        ground_z: float64 [A], height of the boxes' undersides.
        velocity: float64 [A, 2].
    """

    name: str
    timestamp_ns: int
    ego: np.ndarray
    speed: float
    yaw_rate: float
    tokens: tuple[str, ...]
    kind: np.ndarray
    box: np.ndarray
    ground_z: np.ndarray
    velocity: np.ndarray

    def global_from_ego(self, ago_s: float = 0.0) -> np.ndarray:
        """float64 [4, 4], the ego's frame a little earlier: on the arc that its speed and yaw rate tell."""
        x, y, z, heading = self.ego
        half = 0.5 * self.yaw_rate * ago_s
        chord = self.speed * ago_s * np.sinc(half / np.pi)
        place = [x - chord * np.cos(heading - half), y - chord * np.sin(heading - half), z]
        return from_translation_rotation(place, quaternion_from_yaw(heading - 2.0 * half))


@dataclass(frozen=True, eq=False)
class RigCamera:
    """A camera on the car: ego_from_camera float64 [4, 4]; it fires ``delay_s`` (<= 0) after the sweep's end."""

    model: CameraModel
    ego_from_camera: np.ndarray
    delay_s: float


@dataclass(frozen=True, eq=False)
class SensorRig:
    """What the sensors of one log see, whatever the ego and the others do.

    Attributes:
        static, bodies: the world; see there.
        lidar: its name in the log. ego_from_lidar: float64 [4, 4]. intensity_max: its brightest return.
        cameras: of the log, in its order.
    """

    static: StaticScene
    bodies: Bodies
    lidar: str
    ego_from_lidar: np.ndarray
    intensity_max: float
    cameras: tuple[RigCamera, ...]

    @staticmethod
    def of(log: Log) -> SensorRig:
        """The rig of a log.

        Raises:
            UserError: no log of the town, or one that was made before it kept the shapes of its actors.
        """
        if not log.has_file("scene_3d.arrow"):
            what = "its sensors cannot be rendered again: only logs of the synthetic town with sensors keep their world"
            raise UserError(log.path, what, "drive there without --sensors, or make a town: python -m data_tools.town")
        if not log.has_file("bodies_3d.arrow"):
            what = "this log of the town is older than the shapes of its actors (bodies_3d.arrow)"
            raise UserError(log.path, what, "make the town again (python -m data_tools.town) and convert it")
        lidars = [s for s in log.sensors.values() if s.modality == "lidar"]
        if len(lidars) != 1:
            raise UserError(log.path, f"the log has {len(lidars)} lidars, not one", "use a town in nuScenes' shape")
        lidar = lidars[0]
        cameras = []
        for sensor in log.sensors.values():
            frame = log.frame(0)
            if sensor.modality != "camera" or sensor.name not in frame.rows or sensor.intrinsics is None:
                continue
            fired = log.sweep_timestamps_ns(sensor.name)[frame.rows[sensor.name]]
            model = CameraModel(sensor.name, int(sensor.width or 0), int(sensor.height or 0), sensor.intrinsics)
            cameras.append(RigCamera(model, sensor.ego_from_sensor, float(fired - frame.timestamp_ns) * 1e-9))
        return SensorRig(
            StaticScene.load(log.file_path("scene_3d.arrow")),
            Bodies.load(log.file_path("bodies_3d.arrow")),
            lidar.name,
            lidar.ego_from_sensor,
            float(lidar.intensity_max or 255.0),
            tuple(cameras),
        )

    def sweep(self, instant: Instant, rng: np.random.Generator, ago_s: float = 0.0) -> SweepReturn:
        """One turn of the lidar that ends ``ago_s`` before the instant.

        Boxes are where labels have them: where the beam meets an object, not where that is when the turn ends.
        """
        model = self.bodies.lidar
        start, end = (instant.global_from_ego(t) @ self.ego_from_lidar for t in (ago_s + model.period_s, ago_s))
        return render_sweep(self.static, self._actors(instant, end, -ago_s, -ago_s), model, start, end, rng)

    def image(self, instant: Instant, camera: RigCamera, rng: np.random.Generator) -> ImageReturn:
        """What a camera sees at its moment of an instant's turn."""
        end = instant.global_from_ego() @ self.ego_from_lidar
        pose = instant.global_from_ego(-camera.delay_s) @ camera.ego_from_camera
        actors = self._actors(instant, end, 0.0, camera.delay_s)
        return render_image(self.static, actors, camera.model, pose, rng)

    def sample(self, instant: Instant, data: DataConfig, seed: int) -> FrameSample:
        """The instant as a detector trained with ``data`` takes it. Noise depends on the seed and the time alone, so
        that two drives of one scene differ by what was driven.

        ``boxes`` and ``labels`` hold the true boxes, labels into ACTOR_KINDS: for detectors that stand in.
        """
        sweeps, now = [], invert(instant.global_from_ego())
        for n in range(data.sweeps):
            ago = n * self.bodies.lidar.period_s
            rng = np.random.default_rng([seed, instant.timestamp_ns, n])
            seen = self.sweep(instant, rng, ago)
            points = np.column_stack([seen.points, seen.intensity]).astype(np.float32)
            key = now @ instant.global_from_ego(ago) @ self.ego_from_lidar
            sweeps.append(RawSweep(points, 3, -1, self.intensity_max, key, ago))
        boxes = self._boxes(instant)
        count = len(boxes)
        return FrameSample(
            points=merge_sweeps(sweeps, data.ego_radius_m, data.range_m),
            boxes=transform_boxes(now, boxes).astype(np.float32),
            labels=instant.kind.astype(np.int64),
            velocity_valid=np.ones(count, bool),
            num_points=np.zeros(count, np.int64),
            frame_id=instant.name,
            timestamp_ns=instant.timestamp_ns,
            global_from_ego=instant.global_from_ego(),
        )

    def _boxes(self, instant: Instant) -> np.ndarray:
        """Global boxes [A, 9]; heights are the bodies'."""
        height = self.bodies.heights[self._rows(instant)]
        box = instant.box
        return np.column_stack(
            [box[:, :2], instant.ground_z + height / 2, box[:, 2:4], height, box[:, 4], instant.velocity]
        )

    def require(self, scene: Scene) -> None:
        """UserError where the shape of one of a scene's actors is not kept."""
        missing = [token for token in scene.actors.token if token not in self.bodies.row_of]
        if missing:
            what = f"no shape is kept of track {missing[0]}"
            raise UserError(scene.name, what, "make the town again (python -m data_tools.town) and convert it")

    def _rows(self, instant: Instant) -> np.ndarray:
        return np.array([self.bodies.row_of[token] for token in instant.tokens], np.int64)

    def _actors(self, instant: Instant, global_from_lidar: np.ndarray, end_s: float, at_s: float) -> Actors:
        """Everybody at ``at_s`` from the instant, seen in the turn that ends at ``end_s`` from it at that pose."""
        model, rows = self.bodies.lidar, self._rows(instant)
        middle = instant.ground_z + self.bodies.heights[rows] / 2
        label = instant.box[:, :2] + instant.velocity * end_s
        # It stands where the beam met its object, ``delay`` before the turn's end, which depends on where that is then.
        ends, lidar_from_global = label, invert(global_from_lidar)
        for _ in range(3):
            delay = beam_delay(model, np.column_stack([ends, middle]), lidar_from_global)
            ends = label - instant.velocity * delay[:, None]
        place = ends + instant.velocity * (at_s - end_s)
        near = np.hypot(*(place - global_from_lidar[:2, 3]).T) < model.max_range_m + _BEYOND_M
        pose = np.column_stack([place, instant.ground_z, instant.box[:, 4]])
        return self.bodies.actors(rows[near], pose[near], instant.velocity[near])
