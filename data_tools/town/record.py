"""One scene, driven and recorded: sensor files on disk and the scene's rows of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from data_tools.town import can_bus
from data_tools.town.actors import ActorPicker, Population
from data_tools.town.bodies import CATEGORY
from data_tools.town.labels import (
    attribute_name,
    count_points,
    expected_rays,
    label_boxes,
    visibility_token,
)
from data_tools.town.layout import Town, build_town
from data_tools.town.population import populate
from data_tools.town.radar import PERIOD_US, RADARS, Targets, clutter_points, radar_mount, scan, to_pcd
from data_tools.town.scenery import build_scene, draw_ground
from data_tools.town.sensors import CAMERAS, LIDAR, Mounted, camera_model, camera_mount, lidar_model, lidar_mount
from data_tools.town.tables import Row, chain_annotations, link, token, write_json
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw
from drive.render.bodies import Bodies
from drive.render.camera import render_image
from drive.render.lidar import SweepReturn, beam_delay, render_sweep
from drive.render.scene import StaticScene

KEY_FRAME_US = 500_000
LABEL_RANGE = 80.0
RENDER_RANGE = 110.0
FIRST_US = 1_767_222_000_000_000  # 2026-01-01: the clock of the first scene
JPEG_QUALITY = 88


@dataclass(frozen=True)
class SceneJob:
    """All that decides a scene's bytes, and where they go."""

    root: str
    version: str
    name: str
    location: str
    town_seed: int
    scene_seed: int
    number: int
    seconds: float
    image_width: int  # 0: no cameras
    radar: bool
    beams: int
    columns: int | None
    standing_start: bool

    @property
    def clock_us(self) -> int:
        """Time of the first lidar sweep's end, microseconds."""
        return FIRST_US + self.number * 600_000_000

    @property
    def logfile(self) -> str:
        return f"n900-2026-01-{1 + self.number // 144:02d}-{self.number // 6 % 24:02d}-{self.number % 6}0-00+0000"


@lru_cache(maxsize=4)
def town_and_ground(location: str, seed: int) -> tuple[Town, np.ndarray]:
    """A town and its ground raster, built once a process."""
    town = build_town(location, seed)
    ground = draw_ground(town)
    ground.setflags(write=False)
    return town, ground


def record_scene(job: SceneJob, progress: Callable[[int], None]) -> dict[str, list[Row]]:
    """Drive, render and write one scene; returns its rows by table. `progress` is told of every sweep written."""
    town, ground = town_and_ground(job.location, job.town_seed)
    population = populate(town, job.scene_seed, job.seconds, job.standing_start)
    recorder = _Recorder(job, build_scene(town, ground, job.scene_seed), population)
    for sweep in range(recorder.sweeps):
        recorder.sweep(sweep)
        progress(1)
    return recorder.finish()


class _Recorder:
    def __init__(self, job: SceneJob, scene: StaticScene, population: Population) -> None:
        self.job, self.scene, self.population = job, scene, population
        self.root = Path(job.root)
        self.picker = ActorPicker(population)
        self.rng = np.random.default_rng([job.scene_seed, 53])
        self.model = lidar_model(job.beams, job.columns)
        self.step_us = round(self.model.period_s * 1e6)
        self.sweeps = int(job.seconds * 1e6) // self.step_us
        self.slopes = np.tan(np.asarray(self.model.beam_elevations_rad))
        mounting = np.random.default_rng([job.scene_seed, 59])
        self.mounts: dict[str, Mounted] = {LIDAR: lidar_mount(mounting)}
        if job.image_width:
            self.mounts |= {channel: camera_mount(channel, mounting) for channel in CAMERAS}
            self.cameras = {channel: camera_model(channel, job.image_width) for channel in CAMERAS}
        if job.radar:
            self.mounts |= {channel: radar_mount(channel) for channel in RADARS}
        self.radar_rng = np.random.default_rng([job.scene_seed, 61])
        self.tables: dict[str, list[Row]] = {"ego_pose": [], "sample": []}
        self.data: dict[str, list[Row]] = {channel: [] for channel in self.mounts}
        self.notes: dict[int, dict[int, Row]] = {}  # actor -> key frame -> annotation
        for channel in self.mounts:
            (self.root / "samples" / channel).mkdir(parents=True, exist_ok=True)
        for channel in (LIDAR, *(RADARS if job.radar else ())):
            (self.root / "sweeps" / channel).mkdir(parents=True, exist_ok=True)

    def seconds(self, time_us: int) -> float:
        return (time_us - self.job.clock_us) * 1e-6

    def global_from_ego(self, time_us: int) -> np.ndarray:
        x, y, yaw = self.population.ego_pose(self.seconds(time_us))
        return from_translation_rotation([x, y, 0.0], quaternion_from_yaw(yaw))

    def sweep(self, index: int) -> None:
        job, time_us = self.job, self.job.clock_us + index * self.step_us
        mount = self.mounts[LIDAR].ego_from_sensor
        end = self.global_from_ego(time_us) @ mount
        start = self.global_from_ego(time_us - self.step_us) @ mount
        actors, chosen = self.picker.at(self.seconds(time_us), end[:2, 3], RENDER_RANGE)
        returns = render_sweep(self.scene, actors, self.model, start, end, self.rng)
        key = time_us % KEY_FRAME_US == job.clock_us % KEY_FRAME_US
        folder = "samples" if key else "sweeps"
        name = f"{folder}/{LIDAR}/{job.logfile}__{LIDAR}__{time_us}.pcd.bin"
        rows = np.empty((len(returns.points), 5), np.float32)
        rows[:, :3], rows[:, 3], rows[:, 4] = returns.points, returns.intensity, returns.ring
        (self.root / name).write_bytes(rows.tobytes())
        echoes = np.zeros((0, 3))
        if job.radar and (time_us - job.clock_us) % PERIOD_US == 0:
            hits = np.bincount(returns.actor[returns.actor >= 0], minlength=len(chosen))
            visible, clutter = chosen[hits > 0], clutter_points(returns, end, self.radar_rng)
            echoes = np.concatenate([self.radar(channel, time_us, key, visible, clutter) for channel in RADARS])
        if key:
            self.key_frame(time_us, returns, end, chosen, echoes)
        self.add_data(LIDAR, time_us, name, "pcd", key, 0, 0)

    def add_data(self, channel: str, time_us: int, name: str, suffix: str, key: bool, width: int, height: int) -> None:
        job = self.job
        key_us = job.clock_us + round((time_us - job.clock_us) / KEY_FRAME_US) * KEY_FRAME_US
        own = token(job.name, "sample_data", channel, time_us)
        x, y, yaw = self.population.ego_pose(self.seconds(time_us))
        self.tables["ego_pose"].append(
            {"token": own, "timestamp": time_us, "rotation": quaternion_from_yaw(yaw).tolist(),
             "translation": [float(x), float(y), 0.0]}
        )  # fmt: skip
        self.data[channel].append(
            {"token": own, "sample_token": key_us, "ego_pose_token": own,
             "calibrated_sensor_token": token(job.name, "calibrated_sensor", channel), "timestamp": time_us,
             "fileformat": suffix, "is_key_frame": key, "height": height, "width": width, "filename": name}
        )  # fmt: skip

    def radar(self, channel: str, sweep_us: int, key: bool, visible: np.ndarray, clutter: np.ndarray) -> np.ndarray:
        """Write one radar's scan of the `visible` actors; returns its points, global [K, 3]."""
        job, population, time_us = self.job, self.population, sweep_us + RADARS[channel][2]
        time = self.seconds(time_us)
        mount = self.mounts[channel].ego_from_sensor
        pose = self.global_from_ego(time_us) @ mount
        # The radar's own velocity: its position a moment later.
        moved = (self.global_from_ego(time_us + 20_000) @ mount - self.global_from_ego(time_us - 20_000) @ mount)[:2, 3]
        targets = Targets(
            [population.bodies[i].kind for i in visible],
            population.poses(time)[visible],
            np.array([population.bodies[i].size for i in visible]).reshape(-1, 3),
            population.motion(time)[0][visible],
            clutter,
        )
        records = scan(targets, pose, moved / 0.04, self.radar_rng)
        name = f"{'samples' if key else 'sweeps'}/{channel}/{job.logfile}__{channel}__{time_us}.pcd"
        (self.root / name).write_bytes(to_pcd(records))
        self.add_data(channel, time_us, name, "pcd", key, 0, 0)
        points = np.column_stack([records["x"], records["y"], records["z"]]).astype(np.float64)
        return points @ pose[:3, :3].T + pose[:3, 3]

    def key_frame(
        self, time_us: int, returns: SweepReturn, global_from_lidar: np.ndarray, chosen: np.ndarray, echoes: np.ndarray
    ) -> None:
        job = self.job
        self.tables["sample"].append(
            {"token": token(job.name, "sample", time_us), "timestamp": time_us, "scene_token": token(job.name, "scene")}
        )
        self.annotate(time_us, returns, global_from_lidar, chosen, echoes)
        if job.image_width:
            for channel in CAMERAS:
                self.image(channel, time_us)

    def image(self, channel: str, key_us: int) -> None:
        job, camera = self.job, self.cameras[channel]
        time_us = key_us + CAMERAS[channel][3]
        pose = self.global_from_ego(time_us) @ self.mounts[channel].ego_from_sensor
        actors, _ = self.picker.at(self.seconds(time_us), pose[:2, 3], RENDER_RANGE)
        rgb = render_image(self.scene, actors, camera, pose, self.rng).rgb
        name = f"samples/{channel}/{job.logfile}__{channel}__{time_us}.jpg"
        data = BytesIO()
        Image.fromarray(rgb).save(data, format="JPEG", quality=JPEG_QUALITY)
        (self.root / name).write_bytes(data.getvalue())
        self.add_data(channel, time_us, name, "jpg", True, camera.width, camera.height)

    def annotate(
        self, time_us: int, returns: SweepReturn, global_from_lidar: np.ndarray, chosen: np.ndarray, echoes: np.ndarray
    ) -> None:
        population, time = self.population, self.seconds(time_us)
        poses, (velocity, _) = population.poses(time)[chosen], population.motion(time)
        velocity, speeds = velocity[chosen], population.speeds(time)[chosen]
        size = np.array([population.bodies[i].size for i in chosen]).reshape(-1, 3)
        boxes = label_boxes(poses, size)
        delay = beam_delay(self.model, boxes[:, :3], invert(global_from_lidar))
        boxes[:, :2] += velocity * delay[:, None]
        points = returns.points.astype(np.float64) @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
        inside, expected = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.int64)
        count_points(points, boxes, inside)
        echoed = np.zeros(len(boxes), np.int64)
        count_points(echoes, boxes, echoed)
        level = boxes.copy()
        level[:, :2] -= global_from_lidar[:2, 3]
        expected_rays(level, float(global_from_lidar[2, 3]), self.slopes, self.model.columns, expected)
        hits = np.bincount(returns.actor[returns.actor >= 0], minlength=len(chosen))
        frame = len(self.tables["sample"]) - 1
        movers = len(population.history.fleet.movers) - 1
        for n, actor in enumerate(chosen):
            distance = float(np.hypot(*level[n, :2]))
            if distance > LABEL_RANGE:
                continue
            kind = population.bodies[actor].kind
            attribute = attribute_name(kind, float(speeds[n]), parked=bool(actor >= movers))
            yaw_quaternion = quaternion_from_yaw(boxes[n, 6]).tolist()
            length, width, height = (float(v) for v in boxes[n, 3:6])
            self.notes.setdefault(int(actor), {})[frame] = {
                "token": token(self.job.name, "annotation", actor, frame),
                "sample_token": self.tables["sample"][-1]["token"],
                "instance_token": token(self.job.name, "instance", actor),
                "visibility_token": visibility_token(int(hits[n]), int(expected[n]), kind, distance),
                "attribute_tokens": [token("attribute", attribute)] if attribute else [],
                "translation": [float(v) for v in boxes[n, :3]],
                "size": [width, length, height],
                "rotation": yaw_quaternion,
                "num_lidar_pts": int(inside[n]),
                "num_radar_pts": int(echoed[n]),
            }

    def finish(self) -> dict[str, list[Row]]:
        """The scene's rows, and the files that are not sensor data."""
        job, samples = self.job, self.tables["sample"]
        link(samples)
        for rows in self.data.values():
            link(rows)
            for row in rows:
                nearest = min(round((row["sample_token"] - job.clock_us) / KEY_FRAME_US), len(samples) - 1)
                row["sample_token"] = samples[nearest]["token"]
        categories = [CATEGORY[body.kind] for body in self.population.bodies]
        instances, annotations = chain_annotations(self.notes, categories)
        for name, make in {"pose": can_bus.pose_messages, "vehicle_monitor": can_bus.monitor_messages}.items():
            rows = make(self.population, job.clock_us, job.seconds)
            write_json(self.root / "can_bus" / f"{job.name}_{name}.json", rows)
        (self.root / "scene_3d").mkdir(exist_ok=True)
        self.scene.save(self.root / "scene_3d" / f"{job.name}.arrow")
        names = [token(job.name, "instance", actor) for actor in range(len(self.population.bodies))]
        bodies = Bodies.join(names, [body.parts for body in self.population.bodies], self.model)
        (self.root / "scene_3d" / f"{job.name}_bodies.arrow").write_bytes(bodies.to_bytes())
        start = "stands at first" if job.standing_start else "drives"
        return {
            "calibrated_sensor": [self._calibration(channel) for channel in self.mounts],
            "ego_pose": self.tables["ego_pose"],
            "log": [
                {"token": token(job.name, "log"), "logfile": job.logfile, "vehicle": "n900",
                 "date_captured": job.logfile[5:15], "location": job.location}
            ],
            "scene": [
                {"token": token(job.name, "scene"), "log_token": token(job.name, "log"), "nbr_samples": len(samples),
                 "first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"],
                 "name": job.name, "description": f"Synthetic town {job.town_seed}, seed {job.scene_seed}; ego {start}"}
            ],
            "sample": samples,
            "sample_data": [row for rows in self.data.values() for row in rows],
            "instance": instances,
            "sample_annotation": annotations,
            "scene_3d": [
                {"token": token(job.name, "scene_3d"), "scene_token": token(job.name, "scene"),
                 "filename": f"scene_3d/{job.name}.arrow", "bodies_filename": f"scene_3d/{job.name}_bodies.arrow"}
            ],
        }  # fmt: skip

    def _calibration(self, channel: str) -> Row:
        mount = self.mounts[channel]
        intrinsic = self.cameras[channel].intrinsics.tolist() if channel in CAMERAS else []
        return {
            "token": token(self.job.name, "calibrated_sensor", channel), "sensor_token": token("sensor", channel),
            "translation": list(mount.translation), "rotation": list(mount.rotation), "camera_intrinsic": intrinsic,
        }  # fmt: skip
