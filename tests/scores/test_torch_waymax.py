"""The loop as tensors beside the compiled one: states, and Waymax's metrics of each step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.ground import places_off_road
from drive.rollouts.simulate import step
from drive.rollouts.state import World, build_world, start_state
from drive.rollouts.torch_step import TorchWorld, reference_of, step_tensors
from drive.samples.scene import Actors
from drive.scores.torch_waymax import AROUND_M, EdgeLists, Logged, off_road, step_metrics_tensors
from drive.scores.waymax_step import step_metrics
from tests.rollouts.crowd import STEPS, as_recorded, crowd
from tests.samples.hand_made_scene import scene

MODES = [
    ActorConfig(mode="log"),
    ActorConfig(mode="idm"),
    ActorConfig(mode="idm", never_ahead_of_log=False, desired_speed_mps=18.0),
]


def world_of(actors: ActorConfig, seeds: tuple[int, ...] = (0, 1, 2)) -> World:
    # Drives of different numbers of others: rows of the shorter ones are padding.
    return build_world([crowd(n, 12 + n, f"crowd-{n}@0") for n in seeds], SimulationConfig(actors=actors))


def run_both(actors: ActorConfig, steps: int, device: str, dtype: torch.dtype) -> tuple[float, dict[str, float], int]:
    """(largest difference of a place in metres, of each metric, how much happened)."""
    world = world_of(actors)
    config = SimulationConfig(actors=actors)
    there = TorchWorld.of(world, actors, device, dtype)
    edges, logged = EdgeLists.of(world, device, dtype), Logged.of(world, device, dtype)
    state = start_state(world)
    tensors = there.state(state)
    away, worst, happened = 0.0, dict.fromkeys(("overlap", "off_road_m", "divergence_m", "infeasible"), 0.0), 0
    for k in range(steps):
        if k % 5 == 0:
            reference = as_recorded(world, k)
            plans = reference_of(torch.tensor(reference.poses, dtype=dtype, device=device), k)
        after, tensors_after = step(world, state, reference, config), step_tensors(there, tensors, plans)
        found = step_metrics(world, state, after)
        again = step_metrics_tensors(there, edges, logged, tensors, tensors_after)
        state, tensors = after, tensors_after
        np.testing.assert_array_equal(tensors.valid.cpu().numpy(), state.valid)
        places = ((state.ego[:, :2], tensors.ego[:, :2]), (state.box[..., :2], tensors.box[..., :2]))
        away = max(away, *(float(np.abs(a - b.cpu().double().numpy()).max()) for a, b in places))
        for name, values in zip(worst, again, strict=True):
            one, two = getattr(found, name).astype(float), values.cpu().double().numpy()
            worst[name] = max(worst[name], float(np.abs(one - two).max()))
        happened += int(found.overlap.sum() + (found.off_road_m > 0).sum() + found.infeasible.sum())
    return away, worst, happened


@pytest.mark.parametrize("actors", MODES, ids=["log", "idm", "idm free"])
def test_tensors_are_the_compiled_loop(actors: ActorConfig) -> None:
    away, worst, happened = run_both(actors, STEPS - 1, "cpu", torch.float64)
    assert happened > 100
    assert away < 1e-9
    assert max(worst.values()) < 1e-9


@pytest.mark.parametrize("actors", MODES, ids=["log", "idm", "idm free"])
def test_single_precision_keeps_a_tenth_of_a_millimetre_for_a_second(actors: ActorConfig) -> None:
    away, worst, _ = run_both(actors, 10, "cpu", torch.float32)
    assert away < 1e-4
    assert max(worst["off_road_m"], worst["divergence_m"]) < 1e-4
    assert worst["overlap"] == 0 == worst["infeasible"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_gpu_is_the_compiled_loop(dtype: torch.dtype, bound: float) -> None:
    for actors in MODES:
        away, worst, _ = run_both(actors, 10, "cuda", dtype)
        assert away < bound
        assert max(worst["off_road_m"], worst["divergence_m"]) < bound
        assert worst["overlap"] == 0 == worst["infeasible"]


def test_lists_hold_the_nearest_edge_everywhere() -> None:
    world = world_of(MODES[0])
    edges = EdgeLists.of(world)
    rng = np.random.default_rng(0)
    low, high = np.array([-60.0, -20.0]) - AROUND_M, np.array([140.0, 30.0]) + AROUND_M
    places = rng.uniform(low, high, (3, 3000, 2))
    z = rng.uniform(world.recording.ground_z.min(), world.recording.ground_z.max(), (3, 3000))
    found = off_road(edges, torch.tensor(places), torch.tensor(z)).numpy()
    rows = np.repeat(np.arange(3), 3000)
    wanted = places_off_road(world.ground, rows, places.reshape(-1, 2), z.ravel()).reshape(3, -1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_nobody_else() -> None:
    alone = replace(crowd(0), actors=Actors.none(STEPS))
    world = build_world([alone], SimulationConfig(actors=MODES[1]))
    there = TorchWorld.of(world, MODES[1])
    state = there.state(start_state(world))
    after = step_tensors(there, state, reference_of(torch.tensor(as_recorded(world, 0).poses)))
    metrics = step_metrics_tensors(there, EdgeLists.of(world), Logged.of(world), state, after)
    assert after.box.shape == (1, 0, 5)
    assert [m.shape for m in metrics] == [(1, 1)] * 4
    assert float(metrics[1]) < 0


def test_other_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="road edges"):
        EdgeLists.of(build_world([scene()], SimulationConfig()))
