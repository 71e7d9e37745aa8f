"""A driving scenario (times, agents, map, signals, no sensors) as a log: the part that all motion data sets share.

Frames of a scenario's log: one a step. The EGO FRAME is that of the recording vehicle's own box as the source gives
it: origin at the point that the source calls its position (the box's centre in Waymo's data, its height included),
x along its heading, z up, no roll or pitch. The ego itself is a track like any other, so that planners know its size.

A frame needs a pose even where the ego's state is missing: there it is interpolated between the neighbouring valid
steps, or is that of the nearest one at the ends, and ``scenario_steps.ego_valid`` is false. That loses nothing, since
boxes are moved into the ego frame and out again by the same pose. A scenario without a known ego has one constant
frame, axes parallel to the global ones, origin at the mean of all positions.

Box columns beside the standard ones: ``source_heading`` (radians as recorded, not wrapped). Tables: ``lights``,
``track_roles`` and ``ego`` (drive.logs.standard), ``scenario_steps`` (seconds as recorded, ego_valid),
``scenario`` (one row of what the source says about the whole), ``track_attributes`` (one row a track).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.maps import MapFeature
from drive.logs.standard import STANDARD_TABLES
from drive.logs.writer import LogWriter

MAX_STATES = 20_000_000  # agents times steps: 2 GB when all of it is expanded
# Beyond these a number is damage, not a road user (Waymo's global coordinates reach some 1e5 m).
_LIMITS = {"position": 1e8, "size": 1e4, "heading": 1e4, "velocity": 1e4}
_MEND = "mend the source or leave this scenario out"

# Waymo's names of what a signal shows (map.proto) as the states of drive.logs.standard; number = the enum's value.
SIGNAL_STATES = (
    ("LANE_STATE_UNKNOWN", "unknown"),
    ("LANE_STATE_ARROW_STOP", "arrow_red"),
    ("LANE_STATE_ARROW_CAUTION", "arrow_yellow"),
    ("LANE_STATE_ARROW_GO", "arrow_green"),
    ("LANE_STATE_STOP", "red"),
    ("LANE_STATE_CAUTION", "yellow"),
    ("LANE_STATE_GO", "green"),
    ("LANE_STATE_FLASHING_STOP", "flashing_red"),
    ("LANE_STATE_FLASHING_CAUTION", "flashing_yellow"),
)


@dataclass(frozen=True)
class Agents:
    """States of N road users at T steps, global coordinates; values where ``valid`` is false mean nothing.

    Attributes:
        token: [N] unique names in the source; category: [N] source names.
        position: float64 [N, T, 3] metres, the box's centre; size: [N, T, 3] length, width, height.
        heading: [N, T] radians counter-clockwise from x; velocity: [N, T, 2] metres a second.
        valid: bool [N, T].
        columns: further box columns {name: [N, T]} of a data set.
        source_size: [N, T, 3] where the source's numbers are not `size` (swapped, or not there: 0).
    """

    token: Sequence[str]
    category: Sequence[str]
    position: np.ndarray
    size: np.ndarray
    heading: np.ndarray
    velocity: np.ndarray
    valid: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    source_size: np.ndarray | None = None


@dataclass(frozen=True)
class Light:
    """What one signal shows at one step. `state` is one of LIGHT_STATES; `stop_point` global [3] or None."""

    step: int
    feature_id: str
    state: str
    source_state: str
    stop_point: Sequence[float] | None = None


@dataclass(frozen=True)
class Scenario:
    """All that a motion data set says about one scenario.

    Attributes:
        place: file and record, for messages.
        seconds: float64 [T] increasing; start_ns: time of second 0 (0 where the source does not tell).
        ego: row of `agents` of the recording vehicle; None = not known.
        roles: (token, role, difficulty or None), roles of drive.logs.standard; the ego's is added.
        facts: one row of the table ``scenario``: numbers, strings, lists of them.
        track_columns: {name: [N]} for the table ``track_attributes``.
        sensor_rows: {sensor: row} of each of the first steps, for sweeps that were added to the log before.
    """

    place: str
    seconds: np.ndarray
    agents: Agents
    ego: int | None
    map_features: Sequence[MapFeature] = ()
    lights: Sequence[Light] = ()
    roles: Sequence[tuple[str, str, int | None]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    track_columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    start_ns: int = 0
    sensor_rows: Sequence[Mapping[str, int]] = ()


def check_states(count: int, steps: int, place: str) -> None:
    """UserError where so many agents at so many steps are no scenario. To be called before arrays are made."""
    if steps < 1 or count * steps > MAX_STATES:
        what = f"{count} agents at {steps} steps are no scenario (1 step at least, {MAX_STATES} states at most)"
        raise UserError(place, what, _MEND)


def write_scenario(log: LogWriter, scenario: Scenario) -> None:
    """Write frames, boxes, map and tables of a scenario into an open log.

    Raises:
        UserError: times that do not increase, a state that is not finite, a size that is not positive, a signal or
            role of something that is not there.
    """
    _check(scenario)
    translation, heading, ego_valid = ego_poses(scenario)
    _add_frames(log, scenario, translation, heading, ego_valid)
    _add_boxes(log, scenario, translation, heading)
    _add_map(log, scenario)
    _add_lights(log, scenario)
    _add_tracks(log, scenario)


def _check(scenario: Scenario) -> None:
    agents, place, steps = scenario.agents, scenario.place, len(scenario.seconds)
    check_states(len(agents.token), steps, place)
    if not np.isfinite(scenario.seconds).all() or np.abs(scenario.seconds).max() > 1e9:
        raise UserError(place, "a timestamp is not a finite number of seconds", _MEND)
    back = np.flatnonzero(np.diff(_stamps(scenario)) <= 0)
    if len(back):
        raise UserError(f"{place}: step {back[0] + 1}", "time does not increase", _MEND)
    twice = [token for token, count in Counter(agents.token).items() if count > 1]
    if twice:
        raise UserError(f"{place}: track {twice[0]}", "the track is there twice", _MEND)
    for name, limit in _LIMITS.items():
        values = getattr(agents, name)
        values = values[..., None] if values.ndim == 2 else values
        with np.errstate(invalid="ignore"):  # NaN compares as false, as it should
            good = (np.abs(values) <= limit).all(axis=2) & (name != "size" or (values > 0).all(axis=2))
        bad = np.argwhere(agents.valid & ~good)
        if len(bad):
            track, step = bad[0]
            shown = ", ".join(f"{v:g}" for v in values[track, step])
            where = f"{place}: track {agents.token[track]}, step {step}"
            raise UserError(where, f"{name} ({shown}) is not that of a road user", _MEND)


def _stamps(scenario: Scenario) -> np.ndarray:
    return scenario.start_ns + np.rint(scenario.seconds * 1e9).astype(np.int64)


def ego_poses(scenario: Scenario) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pose of the ego frame at every step: translation [T, 3], heading [T], and whether it is recorded, bool [T]."""
    agents, steps = scenario.agents, len(scenario.seconds)
    valid = np.zeros(steps, bool) if scenario.ego is None else agents.valid[scenario.ego]
    if scenario.ego is None or not valid.any():
        known = agents.position[agents.valid]
        centre = known.mean(axis=0) if len(known) else np.zeros(3)
        return np.tile(centre, (steps, 1)), np.zeros(steps), valid
    position, heading = agents.position[scenario.ego], agents.heading[scenario.ego].copy()
    if valid.all():
        return position, heading, valid
    at, known_at = scenario.seconds, scenario.seconds[valid]
    filled = np.stack([np.interp(at, known_at, position[valid, i]) for i in range(3)], axis=1)
    turned = np.interp(at, known_at, np.unwrap(heading[valid]))
    filled[valid], turned[valid] = position[valid], heading[valid]
    return filled, turned, valid


def _add_frames(
    log: LogWriter, scenario: Scenario, translation: np.ndarray, heading: np.ndarray, ego_valid: np.ndarray
) -> None:
    stamps, rotations = _stamps(scenario), quaternion_from_yaw(heading)
    for step, stamp in enumerate(stamps.tolist()):
        rows = scenario.sensor_rows[step] if step < len(scenario.sensor_rows) else {}
        log.add_frame(
            stamp, rows=rows, pose_translation=translation[step], pose_rotation=rotations[step],
            source_timestamp=stamp, source_token=str(step),
        )  # fmt: skip
    log.add_table(
        "scenario_steps",
        pa.table(
            {
                "frame": pa.array(range(len(stamps)), pa.int32()),
                "source_seconds": pa.array(scenario.seconds, pa.float64()),
                "ego_valid": pa.array(ego_valid, pa.bool_()),
            }
        ),
    )
    if scenario.ego is not None and ego_valid.any():
        velocity = _turned(scenario.agents.velocity[scenario.ego], -heading)[ego_valid]
        columns = {"timestamp_ns": stamps[ego_valid], "vx_mps": velocity[:, 0], "vy_mps": velocity[:, 1]}
        schema = STANDARD_TABLES["ego"]
        arrays = [
            pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(len(velocity), f.type) for f in schema
        ]
        log.add_table("ego", pa.Table.from_arrays(arrays, schema=schema))


def _turned(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Plane vectors [..., 2] turned by angles [...]."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _add_boxes(log: LogWriter, scenario: Scenario, translation: np.ndarray, heading: np.ndarray) -> None:
    agents = scenario.agents
    source_size = agents.size if agents.source_size is None else agents.source_size
    for step in range(len(scenario.seconds)):
        rows = np.flatnonzero(agents.valid[:, step]).tolist()
        position, size, angle = (values[rows, step] for values in (agents.position, agents.size, agents.heading))
        boxes = np.zeros((len(rows), 9))
        offset = position - translation[step]
        boxes[:, :2] = _turned(offset[:, :2], -heading[step])
        boxes[:, 2], boxes[:, 3:6] = offset[:, 2], size
        boxes[:, 6] = wrap_angle(angle - heading[step])
        boxes[:, 7:9] = _turned(agents.velocity[rows, step], -heading[step])
        log.add_boxes(
            step, boxes, [agents.category[i] for i in rows], [agents.token[i] for i in rows],
            velocity_valid=np.ones(len(rows), bool), source_translation=position,
            source_rotation=quaternion_from_yaw(angle), source_size=source_size[rows, step],
            extra={"source_heading": angle, **{k: v[rows, step] for k, v in agents.columns.items()}},
        )  # fmt: skip


def _add_map(log: LogWriter, scenario: Scenario) -> None:
    empty = []
    for feature in scenario.map_features:
        if not np.isfinite(feature.geometry).all() or (np.abs(feature.geometry) > _LIMITS["position"]).any():
            where = f"{scenario.place}: {feature.kind} {feature.feature_id}"
            raise UserError(where, "a point of the map is not a finite place", _MEND)
        if not len(feature.geometry):
            empty.append(feature)
            continue
        log.add_map_feature(
            feature.feature_id, feature.kind, feature.geometry, is_polygon=feature.is_polygon, holes=feature.holes,
            attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
        )  # fmt: skip
    if empty:  # the source names them but gives no point: nothing can be drawn, but they shall not vanish
        columns = {"feature_id": [f.feature_id for f in empty], "kind": [f.kind for f in empty]}
        log.add_table("map_features_without_points", pa.table(columns))


def _add_lights(log: LogWriter, scenario: Scenario) -> None:
    if not scenario.lights:
        return
    lights = sorted(scenario.lights, key=lambda light: light.step)  # stable: the source's order within a step
    if lights[0].step < 0 or lights[-1].step >= len(scenario.seconds):
        raise UserError(scenario.place, "a signal's state belongs to no step", _MEND)
    columns = {
        "frame": [light.step for light in lights],
        "feature_id": [light.feature_id for light in lights],
        "state": [light.state for light in lights],
        "stop_point": [None if light.stop_point is None else [float(v) for v in light.stop_point] for light in lights],
        "source_state": [light.source_state for light in lights],
    }
    log.add_table("lights", pa.Table.from_pydict(columns, schema=STANDARD_TABLES["lights"]))


def _add_tracks(log: LogWriter, scenario: Scenario) -> None:
    agents = scenario.agents
    roles: list[tuple[str, str, int | None]] = []
    if scenario.ego is not None:
        roles.append((agents.token[scenario.ego], "ego", None))
    roles += [
        (token, role, None if difficulty is None else int(difficulty)) for token, role, difficulty in scenario.roles
    ]
    strange = sorted({token for token, *_ in roles} - set(agents.token))
    if strange:
        raise UserError(f"{scenario.place}: track {strange[0]}", "a track that is not there has a role", _MEND)
    columns = (
        dict(zip(("track", "role", "difficulty"), map(list, zip(*roles, strict=True)), strict=True)) if roles else {}
    )
    schema = STANDARD_TABLES["track_roles"]
    log.add_table("track_roles", pa.Table.from_pydict(columns, schema=schema) if columns else schema.empty_table())
    attributes = {
        "track": pa.array(list(agents.token), pa.string()),
        "category": pa.array(list(agents.category), pa.string()),
        "num_valid": pa.array(agents.valid.sum(axis=1), pa.int32()),
        **{name: pa.array(list(values)) for name, values in scenario.track_columns.items()},
    }
    log.add_table("track_attributes", pa.table(attributes))
    if scenario.facts:
        log.add_table("scenario", pa.table({name: [value] for name, value in scenario.facts.items()}))
