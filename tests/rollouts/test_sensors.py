"""Sensors in the loop on a street made by hand: what is rendered, what planners are told, what a drive makes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from drive.boxes.detections import Detections
from drive.cli import main
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.plans.baselines import IdmLaneFollower
from drive.plans.plan import Plan
from drive.plans.planner import HISTORY, Observation
from drive.render.bodies import Bodies
from drive.render.lidar import NUSCENES_32, SweepReturn, beam_delay, render_sweep
from drive.render.scene import BOX, Ground, Material, Primitives, StaticScene
from drive.rollouts.config import SimulationConfig
from drive.rollouts.history import History
from drive.rollouts.sensor_loop import SensorConfig, SensorSuite, instant_of
from drive.rollouts.sensor_rig import Instant, SensorRig
from drive.rollouts.simulate import simulate
from drive.rollouts.state import build_world
from drive.samples.sample import FrameSample
from drive.samples.scene import CYCLIST, PEDESTRIAN, VEHICLE, Scene, X
from drive.samples.scene_load import load_scene
from drive.sensor_run import TrueBoxes
from drive.tracks.sequence import read_tracks
from drive.tracks.track import FrameDetections, TrackedFrame
from tests.rollouts.test_simulate import Straight
from tests.samples.hand_made_scene import straight_road

LIDAR = replace(NUSCENES_32, columns=360)
MOUNT = from_translation_rotation([0.9, 0.0, 1.8], quaternion_from_yaw(-np.pi / 2))
FACING = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # a camera that looks ahead
# name, category, length, width, height, x, y and speeds at the first instant.
WHO = (
    ("leader", "vehicle.car", 4.0, 2.0, 1.6, 18.0, 0.0, 6.0, 0.0),
    ("walker", "human.pedestrian.adult", 0.6, 0.6, 1.7, 40.0, -12.0, 0.0, 1.2),
    ("rider", "vehicle.bicycle", 1.8, 0.6, 1.7, 25.0, 3.5, 4.0, 0.0),
)
EGO_MPS = 8.0


def block(x: float, y: float, z: float, length: float, width: float, height: float, of: Material) -> Primitives:
    centre, half = np.array([[x, y, z + height / 2]]), np.array([[length, width, height]]) / 2
    colour = np.full((1, 3), 150)
    return Primitives(np.array([BOX]), centre, half, np.zeros(1), np.array([of]), colour, np.zeros(1))


def world() -> StaticScene:
    houses = Primitives.concatenate(
        [block(x, y, 0.0, 14.0, 6.0, 8.0, Material.BUILDING) for x in (0.0, 30.0, 60.0) for y in (-18.0, 22.0)]
    )
    ground = Ground(np.zeros((200, 400), np.uint8), 0.5, (-50.0, -50.0))
    return StaticScene(houses, ground, 1.0, 0.9, 0.4, (120, 160, 220), 7)


def shapes() -> Bodies:
    parts = [block(0, 0, 0, length, width, height, Material.CAR_PAINT) for _, _, length, width, height, *_ in WHO]
    return Bodies.join([row[0] for row in WHO], parts, LIDAR)


def lidar_at(seconds: float) -> np.ndarray:
    return from_translation_rotation([EGO_MPS * seconds, 0.0, 0.0], quaternion_from_yaw(0.0)) @ MOUNT


def recorded(k: int, seed: int = 0) -> tuple[SweepReturn, np.ndarray]:
    """The sweep of instant k and where an annotator puts the boxes in it: rows of x, y."""
    seconds = 0.1 * k
    place = np.array([[x + u * seconds, y + v * seconds] for *_, x, y, u, v in WHO])
    velocity = np.array([row[-2:] for row in WHO])
    end = lidar_at(seconds)
    pose = np.column_stack([place, np.zeros(len(WHO)), np.zeros(len(WHO))])
    actors = shapes().actors(np.arange(len(WHO)), pose, velocity)
    rng = np.random.default_rng([seed, 100_000_000 * k, 0])
    seen = render_sweep(world(), actors, LIDAR, lidar_at(seconds - LIDAR.period_s), end, rng)
    delay = beam_delay(LIDAR, np.column_stack([place, [row[4] / 2 for row in WHO]]), invert(end))
    return seen, place + velocity * delay[:, None]


def write_town(
    root: Path, name: str = "street", frames: int = 61, keep: Sequence[str] = ("scene_3d", "bodies_3d")
) -> Path:
    """10 Hz with a sweep at each instant."""
    files = {"scene_3d": world().to_bytes, "bodies_3d": shapes().to_bytes}
    size = np.array([row[2:5] for row in WHO])
    with LogWriter(root, name, dataset="nuscenes", source_version="v1.0-town", licence="CC0-1.0") as log:
        log.add_sensor(
            "LIDAR_TOP", "lidar", [0.9, 0.0, 1.8], quaternion_from_yaw(-np.pi / 2),
            columns=("x", "y", "z", "intensity", "ring"), intensity_max=255.0,
        )  # fmt: skip
        log.add_sensor(
            "CAM_FRONT", "camera", [1.7, 0.0, 1.5], [0.5, -0.5, 0.5, -0.5], width=80, height=45,
            intrinsics=np.array([[63.0, 0, 40], [0, 63.0, 22], [0, 0, 1]]),
        )  # fmt: skip
        for k in range(frames):
            seen, place = recorded(k)
            pose: dict[str, Any] = {
                "pose_translation": [0.1 * EGO_MPS * k, 0.0, 0.0],
                "pose_rotation": quaternion_from_yaw(0.0),
            }
            points = np.column_stack([seen.points, seen.intensity, seen.ring]).astype(np.float32)
            log.add_sweep(
                "LIDAR_TOP", 100_000_000 * k, points, is_key_frame=True, source_timestamp=k, source_name=f"{k}", **pose
            )
            rows = {"LIDAR_TOP": k}
            if k == 0:
                log.add_image(
                    "CAM_FRONT", -20_000_000, _jpeg(), 80, 45, is_key_frame=True, source_timestamp=k, source_name="0",
                    **pose,
                )  # fmt: skip
                rows["CAM_FRONT"] = 0
            frame = log.add_frame(100_000_000 * k, rows=rows, source_timestamp=k, **pose)
            own = place - [0.1 * EGO_MPS * k, 0.0]
            boxes = np.column_stack([own, size[:, 2] / 2, size, np.zeros(len(WHO)), [row[-2:] for row in WHO]])
            log.add_boxes(
                frame, boxes, [row[1] for row in WHO], [row[0] for row in WHO],
                velocity_valid=np.ones(len(WHO), bool), source_translation=boxes[:, :3],
                source_rotation=quaternion_from_yaw(boxes[:, 6]), source_size=size,
            )  # fmt: skip
        for feature in straight_road():
            log.add_map_feature(
                feature.feature_id, feature.kind, feature.geometry, is_polygon=feature.is_polygon,
                attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
            )  # fmt: skip
        for file in keep:
            log.add_file(f"{file}.arrow", files[file]())
    return root / name


def _jpeg() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.zeros((45, 80, 3), np.uint8)).save(data, format="JPEG")
    return data.getvalue()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log.open(write_town(tmp_path_factory.mktemp("town")))


@dataclass
class Echo:
    """Stands in for a tracker: reports the detections as they are, numbered; the state is how many frames it saw."""

    class_names: tuple[str, ...] = TrueBoxes.class_names

    def start(self) -> int:
        return 0

    def step(self, state: int, found: FrameDetections) -> tuple[int, TrackedFrame]:
        n = len(found)
        true, zero = np.ones(n, bool), np.zeros((n, 4))
        return state + 1, TrackedFrame(
            found.timestamp_ns, np.arange(n), found.boxes, found.scores, found.labels, true, zero[:, :2], ~true, zero,
            ~true, np.arange(n), true,
        )  # fmt: skip


@dataclass
class Finds:
    """Stands in for a detector: what ``found`` gives at every look, the same for all."""

    found: Any
    class_names: tuple[str, ...] = TrueBoxes.class_names
    measures_velocity: bool = True
    data: Any = TrueBoxes().data

    def __call__(self, samples: Sequence[FrameSample]) -> list[Detections]:
        return [Detections(*self.found(sample)) for sample in samples]


class Notes(Straight):
    """Drives straight on and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Observation] = []

    def plan(self, observation: Observation) -> Plan:
        self.told.append(observation)
        return super().plan(observation)


def suite(log: Log, detector: Any = None, tracker: Any = None, **config: Any) -> SensorSuite:
    rigs = {log.name: SensorRig.of(log)}
    return SensorSuite(rigs, detector or TrueBoxes(), tracker or Echo(), SensorConfig(**config))


def boxes(*rows: tuple[float, float, float] | None, scores: Sequence[float] = (1.0, 1.0)) -> Any:
    """A detector's answer: cars at x, y, heading."""
    there = [row for row in rows if row is not None]
    found = torch.tensor([[x, y, 0.8, 4, 2, 1.6, heading, 0, 0] for x, y, heading in there]).reshape(-1, 9)
    return found, torch.tensor(list(scores[: len(there)])), torch.zeros(len(there), dtype=torch.int64)


def told(scene: Scene, sensors: SensorSuite | None = None) -> list[Observation]:
    planner = Notes()
    simulate([scene], planner, SimulationConfig(longest_s=1.0), sensors)
    return planner.told


# --- what is rendered ---------------------------------------------------------------------------------------------


def test_the_logged_state_gives_the_logged_sweep(town: Log) -> None:
    scene = load_scene(town, 1.0)
    rig, history = SensorRig.of(town), History(build_world([scene], SimulationConfig()))
    for k in (-10, 0):  # a History knows nothing yet of what comes after the start
        noise = np.random.default_rng([0, 100_000_000 * (10 + k), 0])
        seen = rig.sweep(instant_of(scene, history, 0, k), noise)
        logged = town.points("LIDAR_TOP", 10 + k)
        assert len(seen.points) == len(logged) > 5000
        np.testing.assert_allclose(seen.points, logged[:, :3], atol=1e-4)
        np.testing.assert_array_equal(seen.ring, logged[:, 4])
        assert np.abs(seen.intensity - logged[:, 3]).max() <= 1.0  # rounded
        assert set(seen.actor.tolist()) == {-1, 0, 1, 2}


def instant(x: float = 0.0, y: float = 0.0, heading: float = 0.0, **more: Any) -> Instant:
    nobody: dict[str, Any] = {
        "tokens": (), "kind": np.zeros(0, np.int64), "box": np.zeros((0, 5)), "ground_z": np.zeros(0),
        "velocity": np.zeros((0, 2)), "speed": 0.0, "yaw_rate": 0.0,
    }  # fmt: skip
    return Instant("here", 0, np.array([x, y, 0.0, heading]), **nobody | more)


def test_an_ego_elsewhere_sees_the_same_world_from_there(town: Log) -> None:
    """The house whose wall stands at y = 19: 19 m to the left, 15 m after four metres aside; then on the right."""
    rig, data = SensorRig.of(town), TrueBoxes().data
    for where, side, far in (
        (instant(), 1, 19.0),
        (instant(y=4.0), 1, 15.0),
        (instant(y=4.0, heading=np.pi), -1, 15.0),
    ):
        points = rig.sample(where, data, 0).points
        wall = points[(np.abs(points[:, 0]) < 3) & (points[:, 1] * side > 5) & (points[:, 2] > 0.5)]
        assert len(wall) > 20
        np.testing.assert_allclose(wall[:, 1] * side, far, atol=0.1)
    assert rig.sample(where, data, 0).points.shape[1] == 6
    assert points[:, 3].max() <= 1.0


def test_noise_belongs_to_seed_and_time(town: Log) -> None:
    rig, data = SensorRig.of(town), TrueBoxes().data
    one, same, other = (rig.sample(instant(), data, seed).points for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or (one != other).any()


def test_where_the_ego_was_a_moment_ago() -> None:
    turning = instant(speed=10.0, yaw_rate=0.5)  # a circle of 20 m about (0, 20)
    then = turning.global_from_ego(1.0)
    np.testing.assert_allclose(then[:2, 3], [-20 * np.sin(0.5), 20 - 20 * np.cos(0.5)], atol=1e-9)
    np.testing.assert_allclose(then[:2, 0], [np.cos(0.5), -np.sin(0.5)], atol=1e-9)
    np.testing.assert_allclose(instant(speed=10.0).global_from_ego(0.5)[:2, 3], [-5.0, 0.0])
    np.testing.assert_allclose(turning.global_from_ego(), np.eye(4), atol=1e-12)


def test_earlier_sweeps_of_a_detector_that_wants_them(town: Log) -> None:
    """Four sweeps, 50 ms apart, carried into the last one's frame: the wall stays where it is."""
    points = SensorRig.of(town).sample(instant(speed=10.0), replace(TrueBoxes().data, sweeps=4), 0).points
    np.testing.assert_allclose(np.unique(points[:, 5]), [0.0, 0.05, 0.10, 0.15], atol=1e-6)
    wall = points[(np.abs(points[:, 0]) < 3) & (points[:, 1] > 5) & (points[:, 2] > 0.5)]
    np.testing.assert_allclose(wall[:, 1], 19.0, atol=0.1)


# --- what a drive makes of it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [0.5, 0.1])
def test_perfect_perception_drives_as_the_true_boxes_do(town: Log, period: float) -> None:
    """IDM behind the slower leader: the same drive but for float32 boxes; blind, it would run into it."""
    scenes = [load_scene(town, start) for start in (0.0, 1.0)]
    true = simulate(scenes, IdmLaneFollower())
    sensors = suite(town, period_s=period)
    seen = simulate(scenes, IdmLaneFollower(), sensors=sensors)
    blind = simulate(scenes, IdmLaneFollower(), sensors=suite(town, Finds(lambda _: boxes())))
    for a, b, c in zip(true, seen, blind, strict=True):
        assert (a.planner, b.planner, a.end, b.end) == ("idm", "idm_sensors", "end of the log", "end of the log")
        np.testing.assert_allclose(b.ego, a.ego, atol=1e-4)
        np.testing.assert_array_equal(b.actors.box, a.actors.box)  # what is recorded is what was there
        assert c.ego[-1, X] > a.ego[-1, X] + 0.5
    steps = round(10 * period)  # the second scene begins a second into the log and looks before it starts
    assert sensors.spent.looks == 60 // steps + (50 + 10) // steps


def test_what_planners_are_told(town: Log) -> None:
    scene = load_scene(town, 2.0)
    true, seen = told(scene), told(scene, suite(town))
    assert [o.step for o in seen] == [0, 5]
    for a, b in zip(true, seen, strict=True):
        for name in ("ego", "ego_valid"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.command, a.timestamp_ns, a.map is b.map, a.route is b.route) == (
            b.command,
            b.timestamp_ns,
            True,
            True,
        )
        assert b.actors.token == ("track-0", "track-1", "track-2")
        assert b.actors.kind.tolist() == a.actors.kind.tolist() == [VEHICLE, PEDESTRIAN, CYCLIST]
        assert b.actors.valid.all()  # looked at during the recorded 2 s, and straight in between
        np.testing.assert_allclose(b.actors.box, a.actors.box, atol=2e-2)  # labels move with the beam, not straight
        np.testing.assert_allclose(b.actors.box[:, ::5], a.actors.box[:, ::5], atol=1e-5)
        np.testing.assert_allclose(b.actors.velocity[:, ::5], a.actors.velocity[:, ::5], atol=1e-5)
        np.testing.assert_allclose(b.actors.ground_z, 0.0, atol=1e-6)


def test_nothing_seen_and_weak_tracks(town: Log) -> None:
    scene = load_scene(town, 2.0)
    (first, _) = told(scene, suite(town, Finds(lambda _: boxes())))
    assert (len(first.actors), first.actors.valid.shape) == (0, (0, HISTORY))
    weak = boxes((9.0, 0.0, 0.0), (30.0, 0.0, 0.0), scores=(0.29, 0.31))
    (first, _) = told(scene, suite(town, Finds(lambda _: weak)))
    assert first.actors.token == ("track-1",)
    (first, _) = told(scene, suite(town, Finds(lambda _: weak), min_score=0.2))
    assert len(first.actors) == 2


def test_a_track_that_was_lost_is_history(town: Log) -> None:
    """Seen at the instants before the last two looks, turning through pi: valid there alone, the shorter way round."""

    def found(sample: FrameSample) -> Any:
        k = int(sample.frame_id.rpartition(":")[2])
        return boxes((20.0, 0.0, {-20: 3.0, -15: -3.0, -10: -3.0}.get(k, 0.0)) if k < -5 else None)

    (first, _) = told(load_scene(town, 2.0), suite(town, Finds(found)))
    assert np.flatnonzero(first.actors.valid[0]).tolist() == list(range(11))
    heading = np.unwrap(first.actors.box[0, :11, 4])
    np.testing.assert_allclose(heading[:6], np.linspace(3.0, 2 * np.pi - 3.0, 6), atol=1e-6)


class NoVelocity(Echo):
    """A tracker that knows no velocities yet."""

    def step(self, state: int, found: FrameDetections) -> tuple[int, TrackedFrame]:
        state, frame = super().step(state, found)
        still = frame.boxes.copy()
        still[:, 7:] = 0.0
        return state, replace(frame, boxes=still, velocity_valid=np.zeros(len(frame), bool))


@pytest.mark.parametrize(("measured", "speed"), [(True, 6.0), (False, 0.0)])
def test_until_the_tracker_knows_a_velocity_the_detectors_counts(town: Log, measured: bool, speed: float) -> None:
    detector = TrueBoxes()
    detector.measures_velocity = measured
    first = told(load_scene(town, 0.0), suite(town, detector, NoVelocity()))[0]
    np.testing.assert_allclose(first.actors.velocity[0, -1], [speed, 0.0], atol=1e-5)


def test_looks_must_fall_on_plans(town: Log) -> None:
    scene = load_scene(town, 0.0)
    with pytest.raises(ValueError, match=r"looks every 0\.4 s"):
        simulate([scene], Straight(), sensors=suite(town, period_s=0.4))
    for wrong in (0.05, 0.25):
        with pytest.raises(ValueError, match="not a multiple"):
            SensorConfig(period_s=wrong)


# --- the verb -----------------------------------------------------------------------------------------------------


def test_the_verb_drives_both_loops(town: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", str(town.path), "--planner", "idm", "--seconds", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "--sensors", "true", "--cameras"]) == 0
    document = json.loads((tmp_path / "out" / "infractions.json").read_text())
    assert list(document["planners"]) == ["idm", "idm_sensors"]
    assert document["planners"]["idm_sensors"]["sensors"]["looks"] == 2
    tracks = read_tracks(tmp_path / "out" / "idm_sensors" / "tracks.arrow")
    assert tracks.frame_ids == ["street@0:0", "street@0:5"]
    np.testing.assert_allclose(np.sort(tracks.frame(1).boxes[:, 0]), [21.0, 27.0, 40.0], atol=0.5)  # global
    images = sorted((tmp_path / "out" / "idm_sensors" / "cameras" / "street@0").iterdir())
    assert [p.name for p in images] == ["000_CAM_FRONT.jpg", "005_CAM_FRONT.jpg"]
    pixels = np.asarray(Image.open(images[0]), np.float64)
    assert pixels.shape == (45, 80, 3)
    assert pixels[:10].mean() > pixels[-10:].mean()  # sky over road
    assert "idm_sensors: 1 drives, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keep", "said"), [((), "only logs of the synthetic town"), (("scene_3d",), "older than the shapes")]
)
def test_a_log_without_its_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: tuple[str, ...], said: str
) -> None:
    write_town(tmp_path / "logs", frames=21, keep=keep)
    words = ["simulate", str(tmp_path / "logs"), "--planner", "stop", "--seconds", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "--sensors", "true"]) == 1
    out = capsys.readouterr().out
    assert "stop: 1 drives, 0 failed" in out
    lines = [line for line in out.splitlines() if "failed: stop_sensors in street@0" in line]
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sensors", "true", "--ego", "longest"], "mounted on the recording vehicle"),
        (["--sensors", "true", "--sensing.period-s", "0.4"], "wants a look at its instant"),
        (["--sensors", "true", "--tracker", "only_cyclists"], "follows Cyclist; the detector finds car, pedestrian"),
        (["--sensors", "nowhere"], "cannot be read"),
        (["--sensors", "true", "--tracker", "configs.none"], "no such module"),
    ],
)
def test_refused(
    town: Log,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    (tmp_path / "only_cyclists.py").write_text(
        "from configs.kitti_ab3dmot import experiment as base\nfrom dataclasses import replace\n"
        "from drive.tracks.ab3dmot import Ab3dmotConfig\n"
        "def experiment():\n    e = base()\n    only = Ab3dmotConfig.kitti(('Cyclist',))\n"
        "    return replace(e, tracker=only, classes=e.classes.only(('Cyclist',)))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["simulate", str(town.path), "--planner", "stop", "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_body_that_is_missing(town: Log) -> None:
    scene = load_scene(town, 0.0)
    rig = SensorRig.of(town)
    rig.require(scene)
    actors = replace(scene.actors, token=("leader", "walker", "stranger"))
    with pytest.raises(UserError, match="stranger"):
        rig.require(replace(scene, actors=actors))
