"""Waymax on our scenes, for `closed_loop_speed`: it is imported from a throw-away folder, nothing of it is in here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from benchmarks.closed_loop_scenes import HISTORY, OBJECTS, POINTS
from drive.samples.scene import HEADING, VX, Scene, X, Y

METRICS = ("log_divergence", "overlap", "offroad", "kinematic_infeasibility")
CLASSES = np.array([1, 2, 3, 4])
"""Waymax's numbers of vehicle, pedestrian, cyclist, other, by our kinds."""


def import_waymax(folder: Path) -> None:
    """FOLDER/src is waymax's checkout, FOLDER/site what `pip install --target` put there: jax, chex, dm-env, dm-tree,
    immutabledict. TensorFlow and flax, which only read records and wrap environments, are replaced by empty modules."""
    sys.path[:0] = [str(folder / "src")]
    sys.path.append(str(folder / "site"))
    for name in ("tensorflow", "flax"):
        module = MagicMock()
        module.Tensor = type("Tensor", (), {})
        sys.modules.setdefault(name, module)


def waymax_state(scene: Scene) -> Any:
    """A scene as Waymax's SimulatorState, with room for 128 objects: the ego, then the others, each its box's middle.

    A road edge is its points, each with the direction to the next one (the last: from the one before).
    """
    import jax.numpy as jnp
    from waymax import datatypes

    steps, count = len(scene.timestamps_ns), len(scene.actors) + 1
    box, velocity = np.full((OBJECTS, steps, 5), -1.0), np.full((OBJECTS, steps, 2), -1.0)
    valid, z = np.zeros((OBJECTS, steps), bool), np.full((OBJECTS, steps), -1.0)
    heading, speed, centre = scene.ego[:, HEADING], scene.ego[:, VX], scene.vehicle.centre
    box[0] = np.stack(
        [
            scene.ego[:, X] + centre * np.cos(heading), scene.ego[:, Y] + centre * np.sin(heading),
            np.full(steps, scene.vehicle.length), np.full(steps, scene.vehicle.width), heading,
        ],
        axis=-1,
    )  # fmt: skip
    velocity[0] = np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=-1)
    valid[0], z[0] = scene.ego_valid, scene.ego_z
    actors = scene.actors
    known = actors.valid
    box[1:count] = np.where(known[..., None], actors.box, -1.0)
    velocity[1:count] = np.where(known[..., None], actors.velocity, -1.0)
    valid[1:count], z[1:count] = known, np.where(known, actors.ground_z, -1.0)
    f32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    trajectory = datatypes.Trajectory(
        x=f32(box[..., 0]), y=f32(box[..., 1]), z=f32(z), vel_x=f32(velocity[..., 0]), vel_y=f32(velocity[..., 1]),
        yaw=f32(box[..., 4]), valid=jnp.asarray(valid), length=f32(box[..., 2]), width=f32(box[..., 3]),
        height=f32(np.full((OBJECTS, steps), 1.6)),
        timestamp_micros=jnp.asarray(np.tile(100_000 * np.arange(steps), (OBJECTS, 1)), jnp.int32),
    )  # fmt: skip
    kinds = np.zeros(OBJECTS, np.int32)
    kinds[0], kinds[1:count] = 1, CLASSES[actors.kind]
    first = np.arange(OBJECTS) == 0
    metadata = datatypes.ObjectMetadata(
        ids=jnp.arange(OBJECTS, dtype=jnp.int32), object_types=jnp.asarray(kinds), is_sdc=jnp.asarray(first),
        is_modeled=jnp.asarray(first), is_valid=jnp.asarray(valid.any(axis=1)),
        objects_of_interest=jnp.zeros(OBJECTS, bool), is_controlled=jnp.asarray(first),
    )  # fmt: skip
    points = road_points(scene)
    there = len(points["edge"])
    if there > POINTS:
        raise ValueError(f"{scene.name} has {there} points of road edges, more than {POINTS}")
    points = {k: np.concatenate([v, np.zeros((POINTS - there, *v.shape[1:]), v.dtype)]) for k, v in points.items()}
    roadgraph = datatypes.RoadgraphPoints(
        x=f32(points["xyz"][:, 0]), y=f32(points["xyz"][:, 1]), z=f32(points["xyz"][:, 2]),
        dir_x=f32(points["direction"][:, 0]), dir_y=f32(points["direction"][:, 1]),
        dir_z=f32(np.zeros(len(points["edge"]))), types=jnp.full(len(points["edge"]), 15, jnp.int32),
        ids=jnp.asarray(points["edge"], jnp.int32), valid=jnp.arange(POINTS) < there,
    )  # fmt: skip
    dark = np.zeros((1, steps))
    lights = datatypes.TrafficLights(
        x=f32(dark), y=f32(dark), z=f32(dark), state=jnp.asarray(dark, jnp.int32),
        lane_ids=jnp.asarray(dark, jnp.int32), valid=jnp.zeros((1, steps), bool),
    )  # fmt: skip
    return datatypes.SimulatorState(
        sim_trajectory=trajectory, log_trajectory=trajectory, log_traffic_light=lights, object_metadata=metadata,
        timestep=jnp.asarray(HISTORY, jnp.int32), roadgraph_points=roadgraph,
    )  # fmt: skip


def road_points(scene: Scene) -> dict[str, np.ndarray]:
    """Points [M, 3] of road edges, the unit direction [M, 2] at each and the edge [M] that it belongs to."""
    m = scene.map
    direction, edge = np.zeros((len(m.edge_vertices), 2)), np.zeros(len(m.edge_vertices), np.int64)
    for e in range(len(m.edge_offsets) - 1):
        rows = slice(m.edge_offsets[e], m.edge_offsets[e + 1])
        edge[rows] = e
        if rows.stop - rows.start > 1:
            ahead = np.diff(m.edge_vertices[rows], axis=0)
            ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
            direction[rows] = np.concatenate([ahead, ahead[-1:]])
    return {"xyz": np.column_stack([m.edge_vertices, m.edge_z]), "direction": direction, "edge": edge}


def waymax_loop(mode: str, steps: int, keep: bool) -> Callable[[Any], Any]:
    """A compiled loop of `steps` steps, each with the metrics of all 128 objects. The ego repeats its recording as
    Waymax's invertible bicycle can; the others repeat theirs, or are Waymax's IDM drivers. `keep`: the metrics and the
    states of every step; else sums alone, so that nothing is computed in vain and nothing is copied out."""
    import jax
    import jax.numpy as jnp
    from waymax import agents, config, dynamics, env, metrics
    from waymax.agents import expert

    bicycle = dynamics.InvertibleBicycleModel()
    wanted = config.MetricsConfig(metrics_to_run=METRICS)
    settings = config.EnvironmentConfig(
        max_num_objects=OBJECTS, init_steps=HISTORY + 1, controlled_object=config.ObjectType.SDC, compute_reward=False,
        metrics=wanted,
    )  # fmt: skip
    world: Any
    if mode == "log":
        world = env.MultiAgentEnvironment(bicycle, settings)
        actor = expert.create_expert_actor(bicycle)
    else:
        traffic = agents.IDMRoutePolicy(is_controlled_func=lambda s: ~s.object_metadata.is_sdc)
        world = env.PlanningAgentEnvironment(bicycle, settings, [traffic], [{}])
        actor = expert.create_expert_actor(env.PlanningAgentDynamics(bicycle))

    def one(state: Any, _: Any) -> Any:
        action = actor.select_action({}, state, None, None).action
        state = world.step(state, action)
        found = metrics.run_metrics(state, wanted)
        if not keep:
            return state, {name: jnp.where(m.valid, m.value, 0.0).sum() for name, m in found.items()}
        now = state.current_sim_trajectory
        return state, (found, jax.tree.map(lambda a: a[..., 0], now))

    @jax.jit
    def run(state: Any) -> Any:
        state = world.reset(state)
        before = jax.tree.map(lambda a: a[..., 0], state.current_sim_trajectory)
        _, out = jax.lax.scan(one, state, None, length=steps)
        return before, out

    return run
