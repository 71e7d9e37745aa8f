"""The town without sensors: converted logs of traffic alone (boxes, the ego's poses, the map), for planners.

``python -m data_tools.town OUT --format log`` writes them where `drive plan` and `drive simulate` read them: no
rendering and no raw data set in between, a second a log or so. Many towns, one a seed; those of the validation logs are
no training log's. Frames are FRAME_S apart. The recorded labels are exact (no annotator's margin, nobody is hidden);
everybody within LABEL_RANGE of the ego is labelled. The town's junctions have no signals that change: who goes first
is settled among the drivers, so a log has no lights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_tools.nuscenes.maps import RegionMap, region_map
from data_tools.town.actors import ego_from_centre
from data_tools.town.bodies import CATEGORY
from data_tools.town.layout import Town, build_town
from data_tools.town.map_files import map_expansion
from data_tools.town.population import populate
from data_tools.town.record import SceneJob
from data_tools.town.tables import token
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.writer import LogWriter

FRAME_S = 0.2
LABEL_RANGE = 80.0
SPEED_LIMIT_KMH = 40.0
"""Of every lane; the ego's own wish is 31 km/h to 41 km/h."""
DATASET = "town"


@lru_cache(maxsize=4)
def _town(location: str, seed: int) -> tuple[Town, RegionMap]:
    """A town and its map as features, built once a process."""
    town = build_town(location, seed)
    return town, region_map(map_expansion(town))


def frames(job: SceneJob) -> int:
    """Frames of a log."""
    return int(job.seconds / FRAME_S + 1e-6) + 1


def write_log(job: SceneJob, progress: Callable[[int], None]) -> None:
    """Drive one scene and write its log to the folder `job.root`; its split is `job.version`."""
    town, region = _town(job.location, job.town_seed)
    population = populate(town, job.scene_seed, job.seconds, job.standing_start)
    sizes = np.array([body.size for body in population.bodies]).reshape(-1, 3)
    categories = np.array([CATEGORY[body.kind] for body in population.bodies], object)
    tokens = np.array([token(job.name, "instance", i) for i in range(len(sizes))], object)
    times = np.arange(frames(job)) * FRAME_S
    where, velocity = population.over_time(times)
    egos = np.array([ego_from_centre(pose) for pose in where[:, 0]])
    writer = LogWriter(
        Path(job.root), job.name, dataset=DATASET, source_version=f"town {job.town_seed}", licence="none (generated)",
        split=job.version, location=job.location,
    )  # fmt: skip
    with writer as log:
        for index, (time, ego) in enumerate(zip(times, egos, strict=True)):
            stamp = job.clock_us * 1000 + round(time * 1e9)
            log.add_frame(
                stamp, rows={}, pose_translation=[ego[0], ego[1], 0.0], pose_rotation=quaternion_from_yaw(ego[2]),
                source_timestamp=stamp // 1000, source_token=str(index),
            )  # fmt: skip
            poses = where[index, 1:]
            near = np.flatnonzero(np.hypot(*(poses[:, :2] - ego[:2]).T) < LABEL_RANGE)
            moving = velocity[index, 1:][near]
            _add_boxes(log, index, ego, poses[near], moving, sizes[near], categories[near], tokens[near])
        for feature in region.near_path(egos[:: round(2.0 / FRAME_S), :2]):
            if feature.kind in ("lane", "lane_connector"):
                feature = replace(feature, attributes={**_plain(feature), "speed_limit_kmh": SPEED_LIMIT_KMH})
            log.add_map_feature(
                feature.feature_id, feature.kind, feature.geometry, is_polygon=feature.is_polygon, holes=feature.holes,
                attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
            )  # fmt: skip
    progress(len(times))


def _plain(feature: object) -> dict[str, object]:
    """A lane's attributes without its arcs, which are nine tenths of a map's bytes and are in its centre line."""
    return {name: value for name, value in feature.attributes.items() if name != "arcline_path"}  # type: ignore[attr-defined]


def _add_boxes(
    log: LogWriter,
    frame: int,
    ego: np.ndarray,
    poses: np.ndarray,
    velocity: np.ndarray,
    sizes: np.ndarray,
    categories: np.ndarray,
    tokens: np.ndarray,
) -> None:
    """Everybody near, in the ego's frame."""
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    turn = np.array([[cos, -sin], [sin, cos]])  # row vectors of the town times it are the ego's
    boxes = np.zeros((len(poses), 9))
    boxes[:, :2], boxes[:, 2] = (poses[:, :2] - ego[:2]) @ turn, sizes[:, 2] / 2
    boxes[:, 3:6], boxes[:, 6] = sizes, wrap_angle(poses[:, 2] - ego[2])
    boxes[:, 7:9] = velocity @ turn
    log.add_boxes(
        frame, boxes, categories.tolist(), tokens.tolist(), velocity_valid=np.ones(len(poses), bool),
        source_translation=np.column_stack([poses[:, :2], sizes[:, 2] / 2]),
        source_rotation=quaternion_from_yaw(poses[:, 2]).reshape(-1, 4), source_size=sizes,
    )  # fmt: skip
