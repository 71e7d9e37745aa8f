"""NAVSIM's public scorer on our made-up worlds: what the parity and the speed of the PDM score are measured against.

It needs checkouts of autonomousvision/navsim (v1.1 and v2.2) and motional/nuplan-devkit, and a folder with shapely 2.0,
scipy, pandas, geopandas, pyquaternion and sqlalchemy. What they import beside and never use here (cloud, map and
learning libraries) is replaced by empty stand-ins.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any

import numpy as np

from drive.samples.scene import CARPARK, CONNECTOR, DRIVABLE, INTERSECTION, LANE, ROADBLOCK
from tests.scores.pdm_world import TIMES_S, World

START_US = 1_000_000_000
UNUSED = (
    *("PIL", "aioboto3", "aiofiles", "bokeh", "boto3", "botocore", "cachetools", "cv2", "diffusers", "docker", "fiona"),
    *("google", "grpc", "guppy", "hydra", "joblib", "matplotlib", "mock", "omegaconf", "pytorch_lightning", "rasterio"),
    *("ray", "requests", "retry", "sklearn", "timm", "torchvision", "tornado", "ujson", "urllib3"),
)


class _Meta(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        base = Warning if name.endswith("Warning") else Exception if name.endswith(("Error", "Exception")) else None
        return _Meta(name, (base, _Nothing) if base else (_Nothing,), {})


class _Nothing(metaclass=_Meta):
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *given: Any, **_: Any) -> Any:
        return given[0] if len(given) == 1 and callable(given[0]) else _Nothing()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()

    def __class_getitem__(cls, _: Any) -> Any:
        return cls


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_Nothing, name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] in UNUSED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = _Module(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: Any) -> None:
        pass


class Peer:
    """One version of the peer. Its package name is the same in both versions: one of them a process."""

    def __init__(self, version: str, navsim: str, nuplan: str, libraries: str) -> None:
        sys.path[:0] = [libraries, navsim, nuplan]
        sys.meta_path.append(_Finder())
        from navsim.evaluate import pdm_score
        from navsim.planning.simulation.planner.pdm_planner.observation import pdm_observation, pdm_occupancy_map
        from navsim.planning.simulation.planner.pdm_planner.scoring import pdm_scorer
        from navsim.planning.simulation.planner.pdm_planner.simulation import pdm_simulator
        from navsim.planning.simulation.planner.pdm_planner.utils import pdm_array_representation, pdm_path
        from nuplan.common.actor_state import (
            agent,
            oriented_box,
            scene_object,
            state_representation,
            static_object,
            tracked_objects,
            tracked_objects_types,
            vehicle_parameters,
        )
        from nuplan.common.maps import maps_datatypes
        from nuplan.planning.simulation.observation import observation_type
        from nuplan.planning.simulation.trajectory import interpolated_trajectory, trajectory_sampling

        self.version, self.score_module, self.arrays = version, pdm_score, pdm_array_representation
        self.observation, self.occupancy, self.path = pdm_observation, pdm_occupancy_map, pdm_path
        self.agent, self.box, self.scene_object, self.static = agent, oriented_box, scene_object, static_object
        self.state, self.tracked, self.kinds = state_representation, tracked_objects, tracked_objects_types
        self.maps, self.observed, self.interpolated = maps_datatypes, observation_type, interpolated_trajectory
        self.vehicle = vehicle_parameters.get_pacifica_parameters()
        self.sampling = trajectory_sampling.TrajectorySampling(num_poses=40, interval_length=0.1)
        self.poses = trajectory_sampling.TrajectorySampling(num_poses=8, interval_length=0.5)
        self.simulator = pdm_simulator.PDMSimulator(self.sampling)
        self.scorer = pdm_scorer.PDMScorer(self.sampling)

    def ego(self, row: np.ndarray, seconds: float = 0.0) -> Any:
        """An EgoState of a row [11]."""
        stamp = self.state.TimePoint(START_US + round(seconds * 1e6))
        return self.arrays.state_array_to_ego_state(row, stamp, self.vehicle)

    def scene(self, world: World) -> dict[str, Any]:
        """The peer's objects for a world: ego, observation, centerline, route_lane_ids, drivable_area_map, human."""
        import shapely

        layer = self.maps.SemanticMapLayer
        types_of = {
            LANE: layer.LANE,
            CONNECTOR: layer.LANE_CONNECTOR,
            INTERSECTION: layer.INTERSECTION,
            ROADBLOCK: layer.ROADBLOCK,
            CARPARK: layer.CARPARK_AREA,
            DRIVABLE: layer.DRIVABLE_AREA,
        }
        polygons = np.array([shapely.Polygon(r[0], r[1:]) for r in world.polygons], dtype=object)
        names = [str(n) if n >= 0 else f"area{g}" for g, n in enumerate(world.lane)]
        route = [str(n) for n in np.flatnonzero(world.on_route)]
        line = world.centreline
        heading = np.arctan2(*np.gradient(line, axis=0).T[::-1])
        path = self.path.PDMPath(
            [self.state.StateSE2(*xy, h) for xy, h in zip(line.tolist(), heading.tolist(), strict=True)]
        )
        observation = self.observation.PDMObservation(self.sampling, self.sampling, 100.0, observation_sample_res=1)
        second = self.version != "v1.1"
        count = 41 if second else 51
        tracks = [self.tracks(world, t) for t in range(count)]
        if second:
            status = self.maps.TrafficLightStatusType.RED
            lights = [
                [
                    self.maps.TrafficLightStatusData(status, int(n), START_US)
                    for n, on in zip(world.red_lane, world.red[t], strict=True)
                    if on
                ]
                for t in range(count)
            ]
            lanes = {
                str(n): types.SimpleNamespace(polygon=polygons[list(world.lane).index(n)])
                for n in world.red_lane
                if world.on_route[n]
            }
            observation.update_detections_tracks(tracks, lights, lanes, compute_traffic_light_data=True)
        else:
            observation.update_detections_tracks(tracks)
        rows = np.concatenate([world.history, world.ego0[None]])
        past = [self.ego(row, 0.1 * (k - 15)) for k, row in enumerate(rows)]
        return {
            "ego": self.ego(world.ego0),
            "observation": observation,
            "centerline": path,
            "route_lane_ids": route,
            "drivable_area_map": self.occupancy.PDMDrivableMap(
                names, [types_of[int(b)] for b in world.layer], polygons
            ),
            "human": self.interpolated.InterpolatedTrajectory(past),
        }

    def tracks(self, world: World, t: int) -> Any:
        """The objects of one instant."""
        kind = self.kinds.TrackedObjectType
        of_kind = (kind.VEHICLE, kind.PEDESTRIAN, kind.BICYCLE, kind.TRAFFIC_CONE)
        found = []
        for a in np.flatnonzero(world.valid[t]).tolist():
            x, y, length, width, heading = world.boxes[t, a].tolist()
            box = self.box.OrientedBox(self.state.StateSE2(x, y, heading), length, width, 1.5)
            name = f"a{a}"
            metadata = self.scene_object.SceneObjectMetadata(START_US + t * 100_000, name, a, name)
            if world.kind[a] == 3:
                found.append(self.static.StaticObject(of_kind[3], box, metadata))
            else:
                velocity = self.state.StateVector2D(*world.velocity[t, a].tolist())
                found.append(self.agent.Agent(of_kind[int(world.kind[a])], box, velocity, metadata))
        return self.observed.DetectionsTracks(self.tracked.TrackedObjects(found))

    def drive(self, world: World, scene: dict[str, Any]) -> np.ndarray:
        """Simulated states [P, 41, 11] of the world's plans."""
        from navsim.common.dataclasses import Trajectory

        start = scene["ego"].time_point
        plans = []
        for poses in world.plans:
            moved = self.score_module.transform_trajectory(Trajectory(poses, self.poses), scene["ego"])
            plans.append(self.score_module.get_trajectory_as_array(moved, self.sampling, start))
        return np.asarray(self.simulator.simulate_proposals(np.stack(plans), scene["ego"]))

    def score(self, states: np.ndarray, scene: dict[str, Any]) -> dict[str, np.ndarray]:
        """Sub-scores [P] by our names, progress in metres, times of the first events (inf: none)."""
        given = [scene[n] for n in ("observation", "centerline", "route_lane_ids", "drivable_area_map")]
        scorer = self.scorer
        if self.version == "v1.1":
            scores = np.asarray(scorer.score_proposals(states, *given))
            factors, weighted = scorer._multi_metrics, scorer._weighted_metrics
            out = {"nc": factors[0], "dac": factors[1]}
            out |= {"ep": weighted[0], "ttc": weighted[1], "comfort": weighted[2], "ddc": weighted[3]}
        else:
            rows = scorer.score_proposals(states, *given, human_past_trajectory=scene["human"])
            scores = np.array([row["pdm_score"].iloc[0] for row in rows])
            columns = {
                "nc": "no_at_fault_collisions",
                "dac": "drivable_area_compliance",
                "ddc": "driving_direction_compliance",
                "tlc": "traffic_light_compliance",
                "ep": "ego_progress",
                "ttc": "time_to_collision_within_bound",
                "lk": "lane_keeping",
                "comfort": "history_comfort",
            }
            out = {ours: np.array([row[theirs].iloc[0] for row in rows]) for ours, theirs in columns.items()}
        out |= {"score": scores, "progress_m": scorer._progress_raw}
        out |= {"collision_step": scorer._collision_time_idcs, "ttc_step": scorer._ttc_time_idcs}
        return {name: np.array(value, dtype=np.float64) for name, value in out.items()}


assert len(TIMES_S) == 8
