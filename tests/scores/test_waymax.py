"""Waymax-style metrics on traffic worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.dynamics.vehicle import Vehicle
from drive.rollouts.ground import ground_of
from drive.samples.scene import Actors, Lights, Scene, SceneMap
from drive.scores.waymax import (
    WaymaxConfig,
    kinematics,
    log_divergence,
    off_roads,
    off_route,
    overlaps,
    route_progress,
    wrong_way,
)


def cars(*xy: tuple[float, float]) -> np.ndarray:
    """[1, A, 5]: 4 by 2 m along x."""
    boxes = np.zeros((1, len(xy), 5))
    boxes[0, :, :2] = xy
    boxes[..., 2], boxes[..., 3] = 4.0, 2.0
    return boxes


def scene_with(scene_map: SceneMap) -> Scene:
    return Scene("made", "made", np.zeros(1, np.int64), 0, np.zeros(2), np.zeros((1, 11)), np.ones(1, bool),
                 np.zeros(1), Vehicle(), Actors.none(1), scene_map, None, Lights.none(1))  # fmt: skip


def edged(z: float = 0.0) -> Scene:
    """A road between y = -4 and y = 4: its right edge driven along +x, its left along -x (left of both is road)."""
    edges = np.array([[-100.0, -4], [0, -4], [100, -4], [100, 4], [0, 4], [-100, 4]])
    return scene_with(
        replace(SceneMap.empty(), edge_vertices=edges, edge_offsets=np.array([0, 3, 6]), edge_z=np.full(6, z),
                drivable_from="road edges")
    )  # fmt: skip


def test_overlap() -> None:
    """The first two are 3.9 m apart and touch, the third is 2.1 m to the side, the fourth is not there."""
    boxes = cars((0, 0), (3.9, 0), (0, 2.1), (0, 0))
    valid = np.array([[True, True, True, False]])
    np.testing.assert_array_equal(overlaps(boxes, valid), [[True, True, False, False]])
    np.testing.assert_array_equal(overlaps(boxes, np.ones((1, 4), bool)), [[True, True, False, True]])
    assert overlaps(np.zeros((3, 0, 5)), np.zeros((3, 0), bool)).shape == (3, 0)
    with pytest.raises(ValueError, match="boxes must be"):
        overlaps(boxes, valid[0])


def test_off_road() -> None:
    """Sides at y = -1 and 1: 3 m inside. At y = -3.2 the right side is 0.2 m beyond the edge, at 3.2 the left one."""
    boxes, z = cars((5, 0), (5, -3.2), (5, 3.2), (5, -30)), np.zeros((1, 4))
    valid = np.array([[True, True, True, False]])
    metres, off = off_roads(boxes, valid, ground_of([edged()]), z)
    np.testing.assert_allclose(metres, [[-3.0, 0.2, 0.2, 0.0]], atol=1e-9)
    np.testing.assert_array_equal(off, [[False, True, True, False]])


def test_log_divergence() -> None:
    metres, both = log_divergence(np.array([[[3.0, 4.0], [1, 1]]]), np.array([[True, True]]), np.zeros((1, 2, 2)),
                                  np.array([[True, False]]))  # fmt: skip
    np.testing.assert_allclose(metres, [[5.0, 0.0]])
    np.testing.assert_array_equal(both, [[True, False]])


def test_kinematics() -> None:
    """From 10 to 11 m/s in 0.1 s: 10 m/s^2, feasible; to 11.05: 10.5, not. A turn of 0.3 rad on 1 m is the limit."""
    heading = np.zeros((2, 5))
    speed = np.array([[10.0, 10, 10, 10, 0.5], [11, 11.05, 10, 10, 0.5]])
    heading[1, 2:] = 0.3, 0.31, 3.0
    found = kinematics(speed, heading, np.ones((2, 5), bool))
    np.testing.assert_allclose(found.acceleration_mps2[0], [10, 10.5, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(found.curvature_1pm[0, 2:], [0.3, 0.31, 0.0])  # too slow to tell
    np.testing.assert_array_equal(found.infeasible[0], [False, True, False, True, False])
    gone = kinematics(speed, heading, np.array([[True] * 5, [False] * 5]))
    assert not gone.infeasible.any()
    assert not gone.known.any()
    # Across pi the turn is the small one.
    turn = kinematics(np.full((2, 1), 10.0), np.array([[3.1], [-3.1]]), np.ones((2, 1), bool))
    assert turn.curvature_1pm[0, 0] == pytest.approx(2 * np.pi - 6.2)
    assert kinematics(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2), bool)).known.shape == (0, 2)


def test_route() -> None:
    path = np.array([[0.0, 0], [100, 0]])
    np.testing.assert_allclose(route_progress(np.array([[0.0, 1], [25, -1], [60, 0]]), path, np.array([50.0, 2])),
                               [0, 0.5, 1.2])  # fmt: skip
    with pytest.raises(ValueError, match="destination"):
        route_progress(np.zeros((1, 2)), path, np.zeros(2))
    places = np.array([[10.0, 3.4], [10, 3.6], [10, 5.1]])
    np.testing.assert_array_equal(wrong_way(places, (path,)), [False, True, True])
    np.testing.assert_array_equal(off_route(places, (path,)), [False, False, True])
    beside = path + np.array([0, 4.5])
    np.testing.assert_array_equal(off_route(places, (path,), (beside,)), [True, True, True])
    assert wrong_way(np.zeros((0, 2)), (path,)).shape == (0,)
    assert wrong_way(places, ()).all()
    assert WaymaxConfig().most_acceleration_mps2 == 10.4
